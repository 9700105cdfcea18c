"""Owns what quality costs: training runs of a recipe joined over their seeds, and how far two recipes lie apart. Pure.

A figure is the geometric mean over the seeds; its interval is Student's on the logarithms (the runs of different seeds
are independent), widened by what the seeds have in common and cannot show: the uncertainty of the timing or of the
sensor. The end of a run is known to within the steps between two evaluations, whose uniform variance is added, so that
seeds that end at the same evaluation do not yield an interval of no width.

Nothing is dropped: one seed that missed the target, failed or was cut off leaves the recipe without any cost to
quality, because the seeds that got there would flatter it.
"""

import math
from collections.abc import Mapping, Sequence

import msgspec

from effbench.catalog.metrics import lookup
from effbench.model.finding import Finding
from effbench.model.plan import Trial
from effbench.model.quantity import Interval, Quantity
from effbench.model.record import USABLE, Measurement, Record, Status
from effbench.model.scorecard import Metric
from effbench.score.seeds import SEEDS_MIN, Joined, joined, ratio

__all__ = ["KERNEL", "to_quality"]

KERNEL = "to_quality"
STEM = "quality.to_quality"
# Metric name and the fact of one run that it is made of.
COSTS = {"time": "time_to_quality_s", "flop": "flop_to_quality", "steps": "steps_to_quality"}
LOSS = "heldout_loss"
NEEDED = (*COSTS.values(), LOSS, "pass_s", "evaluate_every")
# An energy window must be the training run and nothing else, to within this share of it.
WINDOW_TOLERANCE = 0.02


class Runs(msgspec.Struct, frozen=True):
    """All seeds of one recipe on one device, with their measurements."""

    recipe: str
    device: str
    entries: list[tuple[Trial, Measurement]]

    @property
    def key(self) -> str:
        """The stem of its metrics' keys."""
        return f"{STEM}.{self.recipe.replace('-', '_')}"

    @property
    def status(self) -> Status:
        """`suspect` when any of the runs was disturbed."""
        return "suspect" if any(m.status == "suspect" for _, m in self.entries) else "valid"


class Cost(msgspec.Struct, frozen=True):
    """What quality costs under one recipe, by metric name: joined over seeds, and each seed's own figure."""

    runs: Runs
    figures: dict[str, Joined]
    by_seed: dict[str, dict[int, float]]


def to_quality(record: Record, findings: list[Finding]) -> list[Metric]:
    """Return `quality.to_quality.<recipe>.*` and `.separation*` of every device; what is absent is a finding.

    Args:
        record: a record with or without trials of the kernel `to_quality`.
        findings: gains one finding for every recipe or figure that cannot be had.
    """
    metrics: list[Metric] = []
    for device in record.plan.devices:
        runs = _runs(record, device)
        costs = [cost for one in runs if (cost := _cost(one, findings)) is not None]
        for cost in costs:
            metrics += [_metric(cost, name, figure) for name, figure in cost.figures.items()]
        metrics += _separation(runs, costs, device, findings)
    return metrics


def _runs(record: Record, device: str) -> list[Runs]:
    """The recipes that were planned and apply to the device; a trial without a measurement counts as not completed."""
    measured = {m.trial: m for m in record.measurements}
    found: dict[str, list[tuple[Trial, Measurement]]] = {}
    for trial in record.plan.trials:
        if trial.kernel == KERNEL and device in trial.placement.devices and trial.skipped is None:
            none = Measurement(trial.id, device, "invalid", "it was not measured")
            found.setdefault(str(trial.params.get("recipe")), []).append((trial, measured.get(trial.id, none)))
    return [Runs(recipe, device, entries) for recipe, entries in found.items()]


def _cost(runs: Runs, findings: list[Finding]) -> Cost | None:
    missed = _missed(runs)
    why = missed or _incomplete(runs)
    if why:
        code = "to-quality-missed" if missed else "to-quality-incomplete"
        message = f"what quality costs under {runs.recipe} is absent: {why}"
        findings.append(Finding(code, "warning", message, device=runs.device, evidence={"recipe": runs.recipe}))
        return None
    by_seed = {name: _by_seed(runs, _of_fact(runs, of)) for name, of in {**COSTS, LOSS: LOSS}.items()}
    joules, why = _joules(runs)
    if joules:
        by_seed["joules"] = joules
    else:
        message = f"{runs.key}.joules is absent: {why}"
        findings.append(Finding("to-quality-no-joules", "info", message, device=runs.device))
    if len(by_seed["flop"]) < SEEDS_MIN:
        message = f"{runs.recipe} ran with {len(by_seed['flop'])} seeds: below {SEEDS_MIN} its figures have no interval"
        findings.append(Finding("to-quality-few-seeds", "warning", message, device=runs.device))
    return Cost(runs, {name: _figure(runs, name, values) for name, values in by_seed.items()}, by_seed)


def _figure(runs: Runs, name: str, values: Mapping[int, float]) -> Joined:
    """Join one figure over its seeds with what they have in common."""
    facts = [r.facts for _, m in runs.entries for r in m.rounds]
    resolution = _mean([f["evaluate_every"] / f["steps_to_quality"] for f in facts])
    if name == LOSS:
        return joined(values, 0.0, 0.0, "")
    if name == "time":
        return joined(values, resolution, _widest([(m.step_s, m.interval) for _, m in runs.entries]), "timing")
    if name == "joules":
        own = [(m.energy.energy, m.energy.energy_interval) for _, m in runs.entries if m.energy is not None]
        return joined(values, resolution, _widest(own), "sensor")
    return joined(values, resolution, 0.0, "")


def _widest(of: Sequence[tuple[Quantity | None, Interval | None]]) -> float | None:
    """Largest relative half-width; None when one of them has none, for then it is unknown."""
    widths = [i.half_width / q.value for q, i in of if q is not None and i is not None and q.value > 0]
    return max(widths) if len(widths) == len(of) and widths else None


def _missed(runs: Runs) -> str:
    """The first run that was whole and did not reach the target, in words; empty when there is none."""
    for trial, measurement in runs.entries:
        for one in measurement.rounds:
            if measurement.status in USABLE and one.facts.get("reached") == 0.0:
                loss = one.facts.get(LOSS)
                came = f"; it came to {loss:.4g}" if loss is not None else ""
                steps = one.facts.get("steps", 0.0)
                return (
                    f"seed {trial.params.get('seed')} did not reach the held-out loss {trial.params.get('target')} "
                    f"in {steps:.0f} steps{came}"
                )
    return ""


def _incomplete(runs: Runs) -> str:
    """Why these runs cannot be joined, in words; empty when they can."""
    if len({_without_seed(trial) for trial, _ in runs.entries}) > 1:
        return "its trials differ in more than the seed, so they are not runs of one thing"
    for trial, measurement in runs.entries:
        seed = f"seed {trial.params.get('seed')}"
        if measurement.status not in USABLE:
            return f"{seed} is {measurement.status}: {measurement.detail or 'no reason was given'}"
        if measurement.verify is None or not measurement.verify.ok:
            return f"the held-out loss of {seed} was not verified"
        if not measurement.rounds or any(one.status != "done" for one in measurement.rounds):
            return f"a round of {seed} was cut off"
        if any(one.facts.get("reached") != 1.0 or not _all(one.facts) for one in measurement.rounds):
            return f"{seed} does not say what it took; the kernel needs the procedure mode `once`"
    return ""


def _all(facts: Mapping[str, float]) -> bool:
    return all(facts.get(name, 0.0) > 0 for name in NEEDED)


def _without_seed(trial: Trial) -> str:
    return repr(sorted((name, value) for name, value in trial.params.items() if name != "seed"))


def _joules(runs: Runs) -> tuple[dict[int, float], str]:
    """Joules of one run by seed, or why not. Every window must be the whole training run and nothing else."""
    joules: dict[str, float] = {}
    for trial, measurement in runs.entries:
        energy, seed = measurement.energy, f"seed {trial.params.get('seed')}"
        if energy is None:
            return {}, f"no energy was measured of {seed}"
        if energy.energy is None or energy.status not in ("valid", "suspect"):
            remedy = f"; {energy.remedy}" if energy.remedy else ""
            return {}, f"{seed}: {energy.reason or 'its energy is ' + energy.status}{remedy}"
        whole = sum(one.facts["pass_s"] for one in measurement.rounds)
        if abs(energy.window_s / whole - 1) > WINDOW_TOLERANCE:
            return {}, f"the energy windows of {seed} are {energy.window_s:.3g} s, its training {whole:.3g} s"
        joules[trial.id] = energy.energy.value / len(measurement.rounds)
    return _by_seed(runs, joules), ""


def _of_fact(runs: Runs, name: str) -> dict[str, float]:
    """A fact by trial: its mean over rounds, which repeat the same seed."""
    return {trial.id: _mean([one.facts[name] for one in m.rounds]) for trial, m in runs.entries}


def _by_seed(runs: Runs, values: Mapping[str, float]) -> dict[int, float]:
    """Figures by trial to figures by seed: trials of one seed are no independent runs and are averaged."""
    found: dict[int, list[float]] = {}
    for trial, _ in runs.entries:
        found.setdefault(int(trial.params["seed"]), []).append(values[trial.id])
    return {seed: _mean(many) for seed, many in sorted(found.items())}


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _metric(cost: Cost, name: str, figure: Joined) -> Metric:
    runs = cost.runs
    trial = runs.entries[0][0]
    params = {
        "recipe": runs.recipe,
        "target": trial.params.get("target"),
        "by_seed": {str(seed): value for seed, value in cost.by_seed[name].items()},
    }
    evidence = [trial.id for trial, _ in runs.entries]
    return _made(f"{runs.key}.{name}", figure.value, figure.interval, runs.status, evidence, runs.device, params)


def _made(
    key: str,
    value: float,
    interval: Interval | None,
    status: Status,
    evidence: list[str],
    device: str,
    params: dict[str, object],
) -> Metric:
    row = lookup(key)
    if row is None:
        raise KeyError(f"no row in metrics.yaml for {key}; add one")
    return Metric(key, Quantity(value, row.unit), row.better, status, evidence, device, interval, params=params)


def _separation(runs: Sequence[Runs], costs: Sequence[Cost], device: str, findings: list[Finding]) -> list[Metric]:
    """The dearest recipe over the cheapest, by FLOP; the same two by time and, where both have them, by joules.

    Chosen by FLOP, the ratio by time may lie below 1: fewer steps can still take longer.
    """
    if len(runs) < 2:
        return []
    why = _incomparable(runs, costs)
    if why:
        findings.append(
            Finding("to-quality-incomplete", "warning", f"{STEM}.separation is absent: {why}", device=device)
        )
        return []
    ranked = sorted(costs, key=lambda cost: cost.figures["flop"].value)
    best, worst = ranked[0], ranked[-1]
    pairs = len(ranked) * (len(ranked) - 1) // 2
    status: Status = "suspect" if "suspect" in (best.runs.status, worst.runs.status) else "valid"
    evidence = [trial.id for cost in (worst, best) for trial, _ in cost.runs.entries]
    params: dict[str, object] = {"over": worst.runs.recipe, "under": best.runs.recipe, "recipes": len(ranked)}
    metrics = []
    for name, key in (("flop", "separation"), ("time", "separation_time"), ("joules", "separation_joules")):
        if name in worst.figures and name in best.figures:
            value, interval = ratio(worst.figures[name], best.figures[name], pairs)
            metrics.append(_made(f"{STEM}.{key}", value, interval, status, evidence, device, params))
    return metrics


def _incomparable(runs: Sequence[Runs], costs: Sequence[Cost]) -> str:
    """Why the recipes cannot be held against each other, in words; empty when they can."""
    absent = {one.recipe for one in runs} - {cost.runs.recipe for cost in costs}
    if absent:
        return f"{' and '.join(sorted(absent))} has no cost to quality"
    targets = {str(trial.params.get("target")) for one in runs for trial, _ in one.entries}
    if len(targets) > 1:
        return f"the recipes had different targets ({', '.join(sorted(targets))})"
    return ""
