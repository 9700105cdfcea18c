"""Owns which measured steps belong to one curve: trials of `parallel_step`, joined by strategy, mode and parameters.

Nothing is joined that is not the same work on the same share of a node: other parameters, other cores per rank or an
unusable measurement leave a point out, never in.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, cast

import msgspec

from effbench.model.inventory import Accelerator
from effbench.model.plan import Trial
from effbench.model.quantity import Interval
from effbench.model.record import USABLE, Measurement, Record
from effbench.model.scaling import Ratio, Scaling, Span
from effbench.model.suite import DeviceClass
from effbench.stats.interval import ROUNDS_FOR_TAU, ratio_interval, spread_half
from effbench.stats.quantile import median

__all__ = ["KERNEL", "Group", "Step", "difference", "groups", "ratio", "time_of"]

KERNEL = "parallel_step"
PARTS = ("both", "compute", "communication")
# Params that differ between the points of one curve by its very nature.
_OF_A_POINT = ("part", "ranks", "nodes")


class Step(msgspec.Struct, frozen=True):
    """One usable measurement of a step, with its trial."""

    trial: Trial
    measurement: Measurement
    accelerator: Accelerator

    @property
    def ranks(self) -> int:
        """The number of ranks that ran it together."""
        return self.trial.placement.ranks

    @property
    def seconds(self) -> float:
        """The step time, s."""
        assert self.measurement.step_s is not None
        return self.measurement.step_s.value


class Group(msgspec.Struct, frozen=True):
    """One curve's steps: `steps[part][ranks]`. `base` is the count that efficiency is relative to."""

    strategy: str
    scaling: Scaling
    span: Span
    base: int
    capacity: int
    steps: dict[str, dict[int, Step]]
    params: dict[str, str]
    kind: DeviceClass

    @property
    def counts(self) -> list[int]:
        """The measured counts, the base first."""
        return sorted(self.steps["both"])


def groups(record: Record) -> Iterator[Group]:
    """Yield every curve of the record that has a base and at least one count beside it."""
    families: dict[str, dict[str, list[Step]]] = {}
    accelerators = {a.key: a for a in record.inventory_before.accelerators}
    trials = {t.id: t for t in record.plan.trials}
    for measured in record.measurements:
        trial = trials.get(measured.trial)
        if trial is None or trial.kernel != KERNEL or measured.status not in USABLE or measured.step_s is None:
            continue
        part = str(trial.params.get("part", "both"))
        if part in PARTS and measured.step_s.value > 0 and measured.device in accelerators:
            step = Step(trial, measured, accelerators[measured.device])
            families.setdefault(_family(trial), {}).setdefault(part, []).append(step)
    for parts in families.values():
        yield from _spans(parts, len([a for a in accelerators.values() if a.kind == "gpu"]))


def _family(trial: Trial) -> str:
    """What every point of a curve has in common: parameters, kernel version and cores per rank."""
    left_out = (*_OF_A_POINT, "batch") if trial.params.get("scaling") == "strong" else _OF_A_POINT
    same = sorted((k, str(v)) for k, v in trial.params.items() if k not in left_out)
    cores = len(trial.placement.cores[0]) if trial.placement.cores else 0
    return repr((same, cores, trial.kernel_version))


def _spans(parts: Mapping[str, list[Step]], gpus: int) -> Iterator[Group]:
    """The curve within one node, and the one over nodes whose base is the largest count of one node."""
    whole = parts.get("both", [])
    inside = {s.ranks for s in whole if s.trial.placement.nodes == 1}
    across = {s.ranks for s in whole if s.trial.placement.nodes > 1}
    base = max(inside) if inside else min(across, default=0)
    wanted: list[tuple[Span, set[int], int]] = [("node", inside, min(inside, default=0))]
    wanted.append(("cluster", (across - inside) | {base}, base))
    for span, counts, first in wanted:
        if len(counts) < 2 or min(counts) != first:
            continue
        some = next(s for s in whole if s.ranks == first)
        steps = {part: _of(parts.get(part, []), counts) for part in PARTS}
        yield Group(
            strategy=str(some.trial.params.get("strategy", "")),
            scaling=cast(Literal["weak", "strong"], some.trial.params.get("scaling", "weak")),
            span=span,
            base=first,
            capacity=_capacity(whole, gpus),
            steps=steps,
            params=_shown(some.trial.params),
            kind=some.accelerator.kind,
        )


def _of(steps: list[Step], counts: set[int]) -> dict[int, Step]:
    found: dict[int, Step] = {}
    for step in steps:
        if step.ranks in counts:
            found.setdefault(step.ranks, step)
    return found


def _capacity(steps: list[Step], gpus: int) -> int:
    """How many ranks one node can hold: its devices, or on a CPU its cores over those of one rank; at least as seen."""
    seen = max(-(-s.ranks // s.trial.placement.nodes) for s in steps)
    some = steps[0]
    if some.accelerator.kind == "gpu":
        return max(seen, gpus)
    cores = len(some.trial.placement.cores[0]) if some.trial.placement.cores else 0
    usable = int(some.accelerator.cpu.cores_usable) if some.accelerator.cpu else 0
    return max(seen, usable // cores if cores else 0)


def _shown(params: Mapping[str, Any]) -> dict[str, str]:
    return {k: str(v) for k, v in sorted(params.items()) if k not in (*_OF_A_POINT, "strategy", "scaling")}


def time_of(step: Step) -> Ratio:
    """Return the step time with its interval, s."""
    return Ratio(step.seconds, step.measurement.interval)


def ratio(over: Step, under: Step, factor: float = 1.0) -> Ratio:
    """Return the ratio of two step times, times `factor`.

    From four shared rounds on each round gives a ratio of its own, and what both times had in common in a round (heat,
    a busy host) drops out. Below that the two intervals are taken as independent; without both there is none.
    """
    pairs = _paired(over, under)
    if len(pairs) >= ROUNDS_FOR_TAU:
        ratios = [a / b * factor for a, b in pairs]
        center = median(ratios)
        half = _half([r / center - 1 for r in ratios])
        # Beyond one half the hyperbola that touches it, so that the low end is never zero (as in stats.interval).
        low = center * (1 - half if half <= 0.5 else 0.25 / half)
        return Ratio(center, Interval(low, center * (1 + half), method="paired rounds", n_processes=len(pairs)))
    value = over.seconds / under.seconds * factor
    spans = [_span(over), _span(under)]
    if spans[0] is None or spans[1] is None:
        return Ratio(value)
    _, low, high = ratio_interval(spans[0], spans[1])
    return Ratio(value, Interval(low * factor, high * factor, method=_method(over, under), n_processes=len(pairs)))


def difference(more: Step, less: Step) -> Ratio:
    """Return `more` - `less` in s, with its interval, by pairs of rounds where there are four."""
    pairs = _paired(more, less)
    if len(pairs) >= ROUNDS_FOR_TAU:
        gaps = [a - b for a, b in pairs]
        center, half = median(gaps), _half(gaps)
        return Ratio(center, Interval(center - half, center + half, method="paired rounds", n_processes=len(pairs)))
    value = more.seconds - less.seconds
    a, b = more.measurement.interval, less.measurement.interval
    if a is None or b is None:
        return Ratio(value)
    half = (a.half_width**2 + b.half_width**2) ** 0.5
    return Ratio(value, Interval(value - half, value + half, method=_method(more, less), n_processes=len(pairs)))


def _half(values: list[float]) -> float:
    """Half-width at 95 % of the median of one value per round, from their own spread."""
    mean = sum(values) / len(values)
    spread = (sum((v - mean) ** 2 for v in values) / (len(values) - 1)) ** 0.5
    return spread_half(spread, len(values), len(values) - 1)


def _method(a: Step, b: Step) -> str:
    methods = sorted({i.method for s in (a, b) if (i := s.measurement.interval) is not None})
    return "two times, " + " and ".join(methods)


def _paired(a: Step, b: Step) -> list[tuple[float, float]]:
    mine, theirs = _rounds(a), _rounds(b)
    return [(mine[r], theirs[r]) for r in sorted(mine.keys() & theirs.keys())]


def _rounds(step: Step) -> dict[int, float]:
    done = [r for r in step.measurement.rounds if r.status == "done"]
    return {r.round: r.step_s for r in done if r.step_s is not None and r.step_s > 0}


def _span(step: Step) -> tuple[float, float, float] | None:
    found = step.measurement.interval
    if found is None or not 0 < found.low <= step.seconds <= found.high:
        return None
    return step.seconds, found.low, found.high
