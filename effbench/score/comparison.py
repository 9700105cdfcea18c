"""Two sides of runs, metric by metric: worse, same, better, undecided, or not comparable and why. Pure."""

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from effbench.catalog.references import assumed_tau, practical_margin
from effbench.model.plan import Trial
from effbench.model.record import USABLE, Record
from effbench.model.scorecard import Metric, Scorecard
from effbench.model.suite import DeviceClass
from effbench.score.node import score
from effbench.stats.compare import Side, compare

Outcome = Literal["worse", "same", "better", "undecided", "not-comparable"]
ORDER: tuple[Outcome, ...] = ("worse", "undecided", "better", "same", "not-comparable")


class Compared(msgspec.Struct, frozen=True, omit_defaults=True):
    """One metric of B against A. `ratio` is B over A, with its interval; `resolution` is the least change that a
    comparison of these two could have called worse or better, relative.
    """

    key: str
    outcome: Outcome
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    note: str = ""
    resolution: float | None = None
    margin: float | None = None


def compare_records(a: Record, b: Record, margin: float | None = None) -> list[Compared]:
    """Compare the node's aggregates of two records. A record against itself is the same by definition.

    Args:
        a, b: the records; B is judged against A.
        margin: relative change that matters in practice; absent, the device class's own (3 % GPU, 10 % shared CPU).
    """
    cards = score(a), score(b)
    if a.journal_digest == b.journal_digest:
        return [Compared(m.key, "same", 1.0, 1.0, 1.0, "the same journal") for m in _nodes(cards[0]).values()]
    kind = cards[0].device_class
    allowed = practical_margin(kind) if margin is None else margin
    mine, theirs = _nodes(cards[0]), _nodes(cards[1])
    trials = {t.id: t for t in a.plan.trials}, {t.id: t for t in b.plan.trials}
    rounds = a.rounds_done, b.rounds_done
    compared = []
    for key in dict.fromkeys([*mine, *theirs]):
        if key not in mine or key not in theirs:
            compared.append(Compared(key, "not-comparable", note=f"only in {'A' if key in mine else 'B'}"))
            continue
        pair = mine[key], theirs[key]
        differs = _difference(pair, trials)
        if differs:
            compared.append(Compared(key, "not-comparable", note=differs))
        else:
            compared.append(_judged(key, pair, kind, allowed, rounds))
    return sorted(compared, key=lambda c: (ORDER.index(c.outcome), c.key))


def _nodes(card: Scorecard) -> dict[str, Metric]:
    return {m.key: m for m in card.metrics if m.device is None}


def _judged(
    key: str, pair: tuple[Metric, Metric], kind: DeviceClass, margin: float, rounds: tuple[int, int]
) -> Compared:
    note = _disturbed(pair)
    a, b = pair
    if any(m.status not in USABLE for m in pair):
        return Compared(key, "not-comparable", note=f"A is {a.status}, B is {b.status}")
    if key.startswith("health."):
        return Compared(key, _counts(a.quantity.value, b.quantity.value, a.better), note=note)
    if a.interval is None or b.interval is None or a.quantity.value <= 0 or b.quantity.value <= 0:
        ratio = b.quantity.value / a.quantity.value if a.quantity.value else None
        return Compared(key, "undecided", ratio, note=_joined("it carries no interval", note))
    sides = [
        Side(m.quantity.value, m.interval.low, m.interval.high, n)
        for m, n in zip(pair, rounds, strict=True)
        if m.interval is not None
    ]
    found = compare(sides[0], sides[1], better=a.better, margin=margin, tau=assumed_tau(kind)[0])
    return Compared(key, found.outcome, found.ratio, found.low, found.high, note, found.resolution, margin)


def _counts(a: float, b: float, better: str) -> Outcome:
    if a == b:
        return "same"
    return "worse" if (b > a) == (better == "lower") else "better"


def _disturbed(pair: tuple[Metric, Metric]) -> str:
    names = [name for name, metric in zip("AB", pair, strict=True) if metric.status == "suspect"]
    return f"{' and '.join(names)} disturbed: foreign load during the trial" if names else ""


def _joined(*notes: str) -> str:
    return "; ".join(note for note in notes if note)


def _difference(pair: tuple[Metric, Metric], trials: tuple[Mapping[str, Trial], Mapping[str, Trial]]) -> str:
    """Name what makes two figures incomparable: the fields of the trial key (INTERFACES section 5) that differ."""
    found = [
        {trial.trial_key: trial for name in metric.evidence if (trial := known.get(name)) is not None}
        for metric, known in zip(pair, trials, strict=True)
    ]
    if pair[0].key.startswith("health.") or set(found[0]) == set(found[1]):
        return ""
    a, b = next(iter(found[0].values()), None), next(iter(found[1].values()), None)
    if a is None or b is None:
        return "the trial behind it is not in the plan"
    return "; ".join(_fields(a, b)) or "the catalogue row of the part differs"


def _fields(a: Trial, b: Trial) -> Sequence[str]:
    differing = []
    for name in ("kernel", "kernel_version"):
        if getattr(a, name) != getattr(b, name):
            differing.append(f"{name} {getattr(a, name)} against {getattr(b, name)}")
    for name in dict.fromkeys([*a.params, *b.params]):
        if a.params.get(name) != b.params.get(name):
            differing.append(f"params.{name} {a.params.get(name)} against {b.params.get(name)}")
    for name in ("procedure", "work"):
        if getattr(a, name) != getattr(b, name):
            differing.append(f"{name} differs")
    return differing
