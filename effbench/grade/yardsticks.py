"""What one figure is of all that it can be held against: peak, reference, baseline; shown whichever a rule asks for."""

from collections.abc import Sequence

from effbench.catalog.metrics import lookup
from effbench.model.grade import Yardstick, YardstickKind
from effbench.model.record import USABLE
from effbench.model.scorecard import Metric

__all__ = ["SHARES", "untrusted", "yardsticks"]

# A share that a threshold may be put to; each needs an interval and something trusted behind it.
SHARES = ("fraction_of_reference", "fraction_of_baseline")
# Names of the share of the peak: rated where there is one, else at the clock held; whole steps have names of their own.
PEAKS = ("fraction_of_rated_peak", "fraction_at_held_clock", "mfu", "fraction_of_bandwidth")


def yardsticks(key: str, metrics: Sequence[Metric]) -> list[Yardstick]:
    """Return the three yardsticks of the figure behind `key`, the node's aggregate; empty when it has none at all.

    The absolute one stands beside the others always, so that a fleet that is slow as a whole shows as such.
    """
    stem, _, word = key.rpartition(".")
    if word not in (*SHARES, *PEAKS):
        return []
    of = f"{stem}."
    mine = {m.key: m for m in metrics if m.device is None and m.key.startswith(of) and m.status in USABLE}
    if not mine:
        return []
    peak = next((f"{stem}.{name}" for name in PEAKS if f"{stem}.{name}" in mine), "")
    found = [
        _one(mine.get(peak), "peak", peak or f"{stem}.{PEAKS[0]}", "no rated peak and no held clock is known for it"),
        _one(
            mine.get(f"{stem}.{SHARES[0]}"), "reference", f"{stem}.{SHARES[0]}", "the catalogue has none for the part"
        ),
        _one(mine.get(f"{stem}.{SHARES[1]}"), "baseline", f"{stem}.{SHARES[1]}", "none was given that has this figure"),
    ]
    known = [one for one in found if lookup(one.metric) is not None]
    return known if any(one.share is not None for one in known) else []


def untrusted(metric: Metric) -> str:
    """Say why a share may be shown and not judged; empty when it may be, and for figures that are no such share."""
    if metric.key.rpartition(".")[2] not in SHARES:
        return ""
    if metric.interval is None:
        return "its interval reaches zero or is unknown, so it has no pessimistic end"
    if metric.ceiling is None:
        return "what it is a share of is not known"
    if metric.ceiling.confidence == "low":
        return "what it is a share of is of low confidence, which is shown and never graded"
    return ""


def _one(metric: Metric | None, kind: YardstickKind, key: str, absent: str) -> Yardstick:
    if metric is None:
        return Yardstick(kind, key, absent=absent)
    ceiling, ends = metric.ceiling, metric.interval
    source = ceiling.source if ceiling is not None else ""
    if ceiling is not None and ceiling.confidence == "low":
        source += " (low confidence: shown, never graded)"
    return Yardstick(
        kind=kind,
        metric=key,
        share=metric.quantity.value,
        low=ends.low if ends is not None else None,
        high=ends.high if ends is not None else None,
        source=source,
        as_of=ceiling.as_of if ceiling is not None else "",
        provisional=ceiling is not None and ceiling.provisional,
    )
