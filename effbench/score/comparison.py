"""Two sides of runs, metric by metric: worse, same, better, undecided, or not comparable and why. Pure."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from effbench.catalog.references import assumed_tau, practical_margin
from effbench.model.error import InputError
from effbench.model.plan import Trial
from effbench.model.record import USABLE, Record
from effbench.model.scorecard import Better, Metric, Scorecard
from effbench.model.suite import DeviceClass
from effbench.score.node import score
from effbench.stats.compare import Side, compare
from effbench.stats.quantile import median

Outcome = Literal["worse", "same", "better", "undecided", "not-comparable"]
ORDER: tuple[Outcome, ...] = ("worse", "undecided", "better", "same", "not-comparable")
# The chance that one or more of all intervals of a comparison misses: that of the single interval elsewhere.
ALL_TOGETHER = 0.05
# Logarithms that differ by less come from the same number.
SAME_NUMBER = 1e-7


class Compared(msgspec.Struct, frozen=True, omit_defaults=True):
    """One metric of B against A. `ratio` is B over A, with its interval; `resolution` is the least change that a
    comparison of these runs could have called worse or better, relative; `level` is that of the interval.
    """

    key: str
    outcome: Outcome
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    note: str = ""
    resolution: float | None = None
    margin: float | None = None
    level: float | None = None


def compare_records(
    a: Record | Sequence[Record],
    b: Record | Sequence[Record],
    margin: float | None = None,
    names: tuple[str, str] = ("A", "B"),
) -> list[Compared]:
    """Compare the node's aggregates of two sides, each one record or several. A record against itself is the same.

    Every interval is wide enough for all figures together: with m different ones each is held at 1 - 0.05 / m
    (Bonferroni; Dunn, J. Am. Stat. Assoc. 56, 1961), so that 19 times of 20 not one of them is misjudged. Figures that
    are one measured time in other words, as a rate and its share of a peak, count once.

    Args:
        a, b: the records; B is judged against A. Of several, the median counts, and a figure that one of them lacks
            is not compared: the runs that have it are not the rest.
        margin: relative change that matters in practice; absent, the device class's own (3 % GPU, 10 % shared CPU).
        names: what notes call the two sides.

    Raises:
        InputError: a side has no record, or a record is given twice.
    """
    sides = tuple(_Runs.of(name, x) for name, x in zip(names, (a, b), strict=True))
    mine, theirs = sides
    if len(mine.records) == len(theirs.records) == 1 and mine.journals == theirs.journals:
        return [Compared(key, "same", 1.0, 1.0, 1.0, "the same journal") for key in mine.figures[0]]
    _check_repeats(mine, theirs)
    kind = mine.kind
    allowed = practical_margin(kind) if margin is None else margin
    judged = [_pair(key, mine, theirs) for key in dict.fromkeys(k for side in sides for f in side.figures for k in f)]
    pairs = [x for x in judged if isinstance(x, _Pair)]
    level = 1 - ALL_TOGETHER / max(1, len({_one_time(pair) for pair in pairs}))
    rows = [_judged(x, kind, allowed, level) if isinstance(x, _Pair) else x for x in judged]
    return sorted(rows, key=lambda c: (ORDER.index(c.outcome), c.key))


class _Runs(msgspec.Struct, frozen=True):
    """The runs of one side: their records, and for each the node's figures by key and its trials by id."""

    name: str
    records: Sequence[Record]
    figures: Sequence[Mapping[str, Metric]]
    trials: Sequence[Mapping[str, Trial]]
    kind: DeviceClass

    @classmethod
    def of(cls, name: str, given: Record | Sequence[Record]) -> "_Runs":
        records = [given] if isinstance(given, Record) else list(given)
        if not records:
            raise InputError(f"side {name} of the comparison has no run")
        cards = [score(record) for record in records]
        trials = [{t.id: t for t in record.plan.trials} for record in records]
        return cls(name, records, [_nodes(card) for card in cards], trials, cards[0].device_class)

    @property
    def journals(self) -> list[str]:
        return [record.journal_digest for record in self.records]


class _Pair(msgspec.Struct, frozen=True):
    """One figure with an interval on both sides, ready to be compared."""

    key: str
    better: Better
    a: Sequence[Side]
    b: Sequence[Side]
    note: str


def _check_repeats(a: _Runs, b: _Runs) -> None:
    """A copy of a run is no repetition: its spread is none, and would be taken for that of the node."""
    known: dict[str, str] = {}
    for side in (a, b):
        for number, journal in enumerate(side.journals, 1):
            place = f"run {number} of {side.name}"
            if journal in known:
                raise InputError(f"{place} is {known[journal]} again; a copy is no further measurement, leave it out")
            known[journal] = place


def _pair(key: str, a: _Runs, b: _Runs) -> Compared | _Pair:
    """Bring one figure of both sides together; what forbids a judgement by intervals is judged or named at once."""
    absent = [_lacking(key, side) for side in (a, b)]
    if any(absent):
        return Compared(key, "not-comparable", note=_only(absent, (a, b)))
    runs = [(side, i, side.figures[i][key]) for side in (a, b) for i in range(len(side.records))]
    first = a.figures[0][key]
    for side, i, metric in runs[1:]:
        differs = _difference((first, metric), (a.trials[0], side.trials[i]))
        if differs:
            return Compared(key, "not-comparable", note=differs)
    if any(metric.status not in USABLE for _, _, metric in runs):
        states = [", ".join(dict.fromkeys(m.status for s, _, m in runs if s is side)) for side in (a, b)]
        return Compared(key, "not-comparable", note=f"{a.name} is {states[0]}, {b.name} is {states[1]}")
    note = _disturbed(runs)
    ours, theirs = ([m for s, _, m in runs if s is side] for side in (a, b))
    if key.startswith("health."):
        worst = max if first.better == "lower" else min
        counts = [worst(m.quantity.value for m in side) for side in (ours, theirs)]
        return Compared(key, _counts(counts[0], counts[1], first.better), note=note)
    if any(m.interval is None or m.interval.low <= 0 or m.quantity.value <= 0 for _, _, m in runs):
        values = [median([m.quantity.value for m in side]) for side in (ours, theirs)]
        ratio = values[1] / values[0] if values[0] else None
        return Compared(key, "undecided", ratio, note=_joined("it carries no interval", note))
    one, other = (
        [
            Side(m.quantity.value, m.interval.low, m.interval.high, record.rounds_done)
            for m, record in zip(metrics, side.records, strict=True)
            if m.interval is not None
        ]
        for metrics, side in ((ours, a), (theirs, b))
    )
    return _Pair(key, first.better, one, other, _joined(note, _cores(a, b)))


def _lacking(key: str, side: _Runs) -> str:
    """Say in how many runs of a side a figure is absent; empty when all have it."""
    n = sum(key not in figures for figures in side.figures)
    return f"absent in {n} of the {len(side.figures)} runs of {side.name}" if n else ""


def _only(absent: Sequence[str], sides: tuple[_Runs, _Runs]) -> str:
    if all(len(side.records) == 1 for side in sides):
        return f"only in {sides[1].name if absent[0] else sides[0].name}"
    return _joined(*absent)


def _one_time(pair: _Pair) -> tuple[float, ...]:
    """What two figures share that are one measured time in other words: ratios and widths, whichever way up."""
    runs = [*pair.a, *pair.b]
    shifts = [math.log(side.value / runs[0].value) for side in runs]
    sign = -1.0 if next((x for x in shifts if abs(x) > SAME_NUMBER), 0.0) < 0 else 1.0
    widths = [math.log(side.high / side.low) for side in runs]
    return tuple(round(x / SAME_NUMBER) for x in [*(sign * s for s in shifts), *widths])


def _nodes(card: Scorecard) -> dict[str, Metric]:
    return {m.key: m for m in card.metrics if m.device is None}


def _judged(pair: _Pair, kind: DeviceClass, margin: float, level: float) -> Compared:
    found = compare(pair.a, pair.b, better=pair.better, margin=margin, tau=assumed_tau(kind)[0], level=level)
    return Compared(
        pair.key, found.outcome, found.ratio, found.low, found.high, pair.note, found.resolution, margin, level
    )


def _counts(a: float, b: float, better: str) -> Outcome:
    if a == b:
        return "same"
    return "worse" if (b > a) == (better == "lower") else "better"


def _disturbed(runs: Sequence[tuple[_Runs, int, Metric]]) -> str:
    names = list(dict.fromkeys(side.name for side, _, metric in runs if metric.status == "suspect"))
    return f"{' and '.join(names)} disturbed: foreign load during the trial" if names else ""


def _cores(a: _Runs, b: _Runs) -> str:
    """Name it when a quota or an affinity mask left the sides different cores: it is context, and explains much."""
    counts = [
        sorted({x.cpu.cores_usable for r in side.records for x in r.inventory_before.accelerators if x.cpu is not None})
        for side in (a, b)
    ]
    if a.kind != "cpu" or not all(counts) or counts[0] == counts[1]:
        return ""
    words = [" or ".join(f"{n:g}" for n in side) for side in counts]
    return f"{a.name} could use {words[0]} cores, {b.name} {words[1]}"


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
