"""One metric over many nodes: its distribution, who stands out by spread and by the anchor, who lacks it. Pure."""

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec
import numpy as np

from effbench.model.cluster import Anchor, Distribution, Ground, Halves, Outlier
from effbench.model.record import USABLE
from effbench.model.scorecard import Metric, Scorecard
from effbench.stats.outlying import FAR, robust_sigma, split
from effbench.stats.quantile import mad, median, normal_quantile, quantile

__all__ = ["distributions", "is_share", "judged", "ratio_of"]

# INTERFACES section 5: below this difference nobody is called slower, whatever the statistics say.
MARGINS = {"gpu": 0.03, "cpu": 0.10}
# INTERFACES section 8: a healthy part keeps 0.75 of its reference (grade C). Only references are a bar: how much of a
# rated peak is healthy depends on the kernel, so a share of that is shown and judges nobody.
BAR = 0.75
ANCHORS = (("fraction_of_reference", BAR), ("fraction_of_rated_peak", None), ("fraction_of_bandwidth", None))
ANCHORED = ("flops", "bandwidth", "tokens_per_s", "busbw")
WORST_MAX = 5
# What three significant digits resolve: identical figures have no spread, and a last digit is no outlier.
RESOLUTION = 0.001
# A figure further off than this is absurd and no speed; it is named, and must not end the comparison of the others.
RATIO_MAX = 1e12
QUANTILES = {"5": 0.05, "25": 0.25, "75": 0.75, "95": 0.95}


def is_share(key: str) -> bool:
    """Say whether `key` is a fraction of a ceiling: another form of a figure that is judged already."""
    last = key.rsplit(".", 1)[-1]
    return last.startswith("fraction") or last in ("mfu", "hfu", "scaling_efficiency")


def judged(key: str) -> bool:
    """Say whether nodes can stand out by `key`: counters of faults are gates of the node's own verdict instead."""
    return not is_share(key) and not key.startswith("health.")


def ratio_of(value: float, middle: float) -> float:
    """Return `value` over the nodes' median, which is above zero, held within `RATIO_MAX` on either side."""
    found = value / middle
    return min(max(found, 1 / RATIO_MAX), RATIO_MAX) if value > 0 else max(found, -RATIO_MAX)


def distributions(
    cards: Mapping[str, Scorecard], group: str, device_class: str
) -> "list[tuple[Distribution, dict[str, float]]]":
    """Return every metric of one group's nodes, by key, with its value per node (`Distribution.values` comes later).

    Only aggregates (no device) with usable evidence count: a node whose figure is invalid or absent is in `missing`.
    """
    table: dict[str, dict[str, Metric]] = {}
    for name, card in cards.items():
        for metric in card.metrics:
            if metric.device is None and metric.status in USABLE:
                table.setdefault(metric.key, {})[name] = metric
    margin = MARGINS.get(device_class, MARGINS["cpu"])
    return [_distribution(key, table, list(cards), group, margin) for key in sorted(table)]


def _distribution(
    key: str, table: Mapping[str, Mapping[str, Metric]], names: Sequence[str], group: str, margin: float
) -> tuple[Distribution, dict[str, float]]:
    found = table[key]
    first = next(iter(found.values()))
    values = {name: metric.quantity.value for name, metric in found.items()}
    xs = np.array(list(values.values()), dtype=np.float64)
    middle, floor = median(xs), _floor(list(found.values()))
    sign = -1.0 if first.better == "higher" else 1.0
    shown = Distribution(
        key=key,
        unit=first.quantity.unit,
        better=first.better,
        n=len(values),
        median=middle,
        mad=mad(xs),
        floor=floor,
        margin=margin,
        low=float(xs.min()),
        high=float(xs.max()),
        values=[],
        worst=sorted(values, key=lambda name: (-sign * values[name], name))[:WORST_MAX],
        sigma=robust_sigma(xs, max(floor, RESOLUTION * abs(middle))),
        quantiles={name: quantile(xs, q) for name, q in QUANTILES.items()} if xs.size >= 8 else {},
        missing=[name for name in names if name not in found],
        anchor=_anchor(key, table) if judged(key) else None,
        group=group,
    )
    if not judged(key):
        return shown, values
    shown = msgspec.structs.replace(shown, halves=_halves(values, floor, margin))
    shares = table.get(shown.anchor.key, {}) if shown.anchor is not None else {}
    return msgspec.structs.replace(shown, outliers=_outliers(shown, found, shares)), values


def _floor(metrics: Sequence[Metric]) -> float:
    """Return the median of the nodes' own standard uncertainties, in the metric's unit; 0 where none gives one."""
    own = [_standard(metric) for metric in metrics if metric.interval is not None]
    return median(own) if own else 0.0


def _standard(metric: Metric) -> float:
    """Half-width of the interval as a standard deviation: over 1.96 at a level of 0.95."""
    if metric.interval is None:
        return 0.0
    return metric.interval.half_width / normal_quantile(metric.interval.level)


def _anchor(key: str, table: Mapping[str, Mapping[str, Metric]]) -> Anchor | None:
    """Find the share that says how good the figure is in itself, and who keeps less than the bar of it.

    A share of low confidence is shown without a bar. A node is below only when the better end of its interval is, on
    undisturbed evidence; the fleet is slow only when more than half of the evidence is undisturbed.
    """
    stem, _, last = key.rpartition(".")
    if last not in ANCHORED:
        return None
    for name, bar in ANCHORS:
        shares = table.get(f"{stem}.{name}")
        if not shares:
            continue
        weak = any(m.ceiling is not None and m.ceiling.confidence == "low" for m in shares.values())
        judges = None if weak else bar
        middle = median([m.quantity.value for m in shares.values()])
        source = next((m.ceiling.source for m in shares.values() if m.ceiling is not None), "")
        # suspect evidence is the ground for nothing (INTERFACES section 3)
        sound = {node: m for node, m in shares.items() if m.status == "valid"}
        below = [node for node, m in sound.items() if judges is not None and _best(m) < judges]
        told = judges is not None and 2 * len(sound) > len(shares)
        slow = told and judges is not None and median([m.quantity.value for m in sound.values()]) < judges
        return Anchor(f"{stem}.{name}", middle, judges, sorted(below), slow, source)
    return None


def _best(metric: Metric) -> float:
    return metric.interval.high if metric.interval is not None else metric.quantity.value


def _halves(values: Mapping[str, float], floor: float, margin: float) -> Halves | None:
    found = split(list(values.values()), floor, margin)
    if found is None:
        return None
    low = sorted(name for name, value in values.items() if value <= found.cut)
    return Halves(found.low, found.high, found.distance, low, found.n_high)


def _outliers(shown: Distribution, found: Mapping[str, Metric], shares: Mapping[str, Metric]) -> list[Outlier]:
    """Name the nodes that stand out, the worst first, then those that are too good.

    Of a fleet that is slow as a whole no node is named by the anchor: that would be all of them, and is said once.
    """
    below = set(shown.anchor.below) if shown.anchor is not None and not shown.anchor.slow else set()
    named = []
    for name, metric in found.items():
        outlier = _outlier(shown, name, metric, name in below)
        if outlier is not None:
            share = shares[name].quantity.value if name in shares else None
            named.append(msgspec.structs.replace(outlier, share=share))
    sign = 1.0 if shown.better == "higher" else -1.0
    return sorted(named, key=lambda o: (o.side == "better", sign * o.ratio, o.node))


def _outlier(shown: Distribution, name: str, metric: Metric, below: bool) -> Outlier | None:
    """Hold one node's figure against the others: far in deviations and by more than the margin; and against the bar."""
    value = metric.quantity.value
    if shown.median <= 0:
        return None
    worse_by = (shown.median - value) if shown.better == "higher" else (value - shown.median)
    deviation, far = None, False
    if shown.sigma is not None and shown.sigma > 0:
        deviation = max(-RATIO_MAX, min(RATIO_MAX, worse_by / max(shown.sigma, _standard(metric))))
        far = abs(deviation) >= FAR and abs(worse_by) > shown.margin * shown.median
    if not far and not below:
        return None
    side: Literal["worse", "better"] = "better" if worse_by < 0 and not below else "worse"
    grounds: list[Ground] = ["spread"] if far and (worse_by > 0 or side == "better") else []
    grounds += ["anchor"] if below else []
    ratio = ratio_of(value, shown.median)
    text = _sentence(shown, name, ratio, deviation if "spread" in grounds else None, below, metric.status == "suspect")
    return Outlier(name, shown.key, value, shown.unit, ratio, grounds, text, deviation, None, side, metric.status)


def _sentence(
    shown: Distribution, name: str, ratio: float, deviation: float | None, below: bool, disturbed: bool
) -> str:
    parts = []
    if deviation is not None:
        parts.append(
            f"{ratio:.3g} times the median of {shown.n} nodes, {abs(deviation):.1f} robust standard deviations "
            f"{'worse' if deviation > 0 else 'better'}"
        )
    if below and shown.anchor is not None:
        parts.append(f"below {shown.anchor.bar:g} of {shown.anchor.key}, which a healthy part keeps")
    return f"{name}, {shown.key}: {'; '.join(parts)}{' (disturbed while it was measured)' if disturbed else ''}"
