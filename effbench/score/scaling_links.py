"""Owns what links cost by their own sweep, and what the mechanistic model makes of it for a step on many ranks.

T(N) = compute + sum over the step's collectives of (calls, ring steps and bus bytes of each) - what overlaps with
compute. Links come from trials of `collective`, compute and the collectives' counts and bytes from the step's own
trials, so that the measured step tests the model instead of feeding it.
"""

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from effbench.model.quantity import Interval
from effbench.model.record import USABLE, Record
from effbench.model.scaling import LinkCost, Prediction, Ratio, Span
from effbench.model.suite import DeviceClass
from effbench.score.scaling_groups import Group, Step
from effbench.stats.collective_cost import FACTORS, CostFit, Sized, cost_fit, pipelined_s, redrawn, sigma_of
from effbench.stats.scaling_models import efficiency

__all__ = ["Costs", "Model", "collectives", "link_costs", "links", "model_at", "overlap_rule", "predict", "stages"]

Array = NDArray[np.float64]
Costs = Mapping[tuple[str, Span], CostFit]

# Of a training step's work the backward pass is two thirds (measuring-flops: 2 flop per weight forward, 4 backward).
BACKWARD = 2 / 3
RULES = {
    "ddp": "gradients are sent bucket by bucket while the backward pass goes on; the last bucket is never hidden",
    "fsdp2": "weights and gradients move layer by layer beside the work; the first and the last layer are not hidden",
    "tp": "every all_reduce is waited for: nothing is hidden",
}
# fsdp2 overlaps by device streams, which a CPU does not have (measured with gloo: overlap 0.00).
FSDP2_ON_A_CPU = "a CPU has no streams to move weights beside the work: nothing is hidden"


class Model(msgspec.Struct, frozen=True):
    """A predicted step, s, with replicates of it."""

    time_s: float
    compute_s: float
    latency_s: float
    transfer_s: float
    replicates: Array

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % range, which holds the value itself."""
        low, high = np.quantile(self.replicates, (0.025, 0.975))
        return min(float(low), self.time_s), max(float(high), self.time_s)


def links(record: Record) -> tuple[Costs, list[LinkCost]]:
    """Fit the sweep of every operation in every class of links; what has too few sizes is left out."""
    found: dict[tuple[str, Span], list[tuple[Sized, str]]] = {}
    trials = {t.id: t for t in record.plan.trials}
    for measured in record.measurements:
        trial, span = trials.get(measured.trial), measured.interval
        if trial is None or trial.kernel != "collective" or measured.status not in USABLE:
            continue
        op, place = str(trial.params.get("op")), trial.placement
        if op not in FACTORS or trial.params.get("group", "all") != "all" or place.ranks < 2:
            continue
        if measured.step_s is None or span is None or trial.work.payload_bytes <= 0 or measured.step_s.value <= 0:
            continue
        sigma = sigma_of(measured.step_s.value, span.low, span.high, span.level)
        sized = Sized(place.ranks, trial.work.payload_bytes, measured.step_s.value, sigma)
        found.setdefault((op, "cluster" if place.nodes > 1 else "node"), []).append((sized, trial.id))
    costs, cards = dict[tuple[str, Span], CostFit](), list[LinkCost]()
    for (op, where), sizes in sorted(found.items()):
        if len({s.size for s, _ in sizes}) >= 2:
            costs[op, where] = cost_fit(op, [s for s, _ in sizes])
            cards.append(link_costs(costs[op, where], where, [s for s, _ in sizes], [t for _, t in sizes]))
    return costs, cards


def link_costs(found: CostFit, span: Span, sizes: Sequence[Sized], trials: list[str]) -> LinkCost:
    """Return a fit as a card for reports."""
    inverse, (low, high) = found.cost.inverse_s_per_byte, found.spread(2)
    bandwidth = None
    if inverse > 0 and low > 0:
        bandwidth = Ratio(1 / inverse, _interval(1 / inverse, 1 / high, 1 / low))
    return LinkCost(
        found.op,
        span,
        Ratio(found.cost.call_s, _interval(found.cost.call_s, *found.spread(0))),
        Ratio(found.cost.latency_s, _interval(found.cost.latency_s, *found.spread(1))),
        bandwidth,
        sorted({s.ranks for s in sizes}),
        sorted({s.size for s in sizes}),
        found.worst_residual,
        trials,
    )


def _interval(value: float, low: float, high: float) -> Interval:
    return Interval(min(low, value), max(high, value), method="sweep redrawn")


def collectives(step: Step) -> dict[str, tuple[float, float]]:
    """Return (calls, bytes) of every operation in one step, as the kernel counted them."""
    facts = step.measurement.facts
    found = {}
    for op in FACTORS:
        calls, sent = facts.get(f"collective_count.{op}"), facts.get(f"collective_bytes.{op}")
        if calls and sent and calls > 0 and sent > 0:
            found[op] = (calls, sent)
    return found


def overlap_rule(strategy: str, kind: DeviceClass) -> str:
    """Return in words what the model takes to be hidden behind compute."""
    if (strategy, kind) == ("fsdp2", "cpu"):
        return FSDP2_ON_A_CPU
    return RULES.get(strategy, "nothing is taken to be hidden")


def stages(strategy: str, kind: DeviceClass, calls: Mapping[str, tuple[float, float]]) -> tuple[float, float]:
    """Return how many equal pieces the exchange has and which last share of the work yields them."""
    if strategy == "ddp" and "all_reduce" in calls:
        return calls["all_reduce"][0], BACKWARD
    if strategy == "fsdp2" and kind == "gpu" and "reduce_scatter" in calls:
        return calls["reduce_scatter"][0], 1.0
    return 1.0, 1.0


def model_at(
    group: Group,
    compute: tuple[float, Array],
    calls: Mapping[str, tuple[float, float]],
    costs: Costs,
    at: tuple[int, Span],
) -> Model | str:
    """Return the mechanistic step at a count and class of links, or in words what it lacks."""
    ranks, span = at
    missing = sorted(op for op in calls if (op, span) not in costs)
    if missing or not calls:
        where = "within the node" if span == "node" else "between nodes"
        if not calls:
            return "the step does not say which collectives it runs"
        return f"no sweep of {', '.join(missing)} {where} was measured (two sizes at least)"
    latency = transfer = 0.0
    drawn = np.zeros_like(compute[1])
    for op, (count, sent) in calls.items():
        cost = costs[op, span]
        parts = cost.time_s(ranks, count, sent)
        latency, transfer = latency + parts[0], transfer + parts[1]
        drawn = drawn + np.array(cost.row(ranks, count, sent)) @ cost.replicates
    pieces, share = stages(group.strategy, group.kind, calls)
    time = float(pipelined_s(compute[0], latency + transfer, pieces, share))
    return Model(time, compute[0], latency, transfer, pipelined_s(compute[1], drawn, pieces, share))


def predict(group: Group, ranks: int, costs: Costs) -> Prediction | str:
    """Hold the measured step at `ranks` against the model, or say in words why that cannot be done."""
    step, compute = group.steps["both"][ranks], group.steps["compute"].get(ranks)
    if compute is None:
        return "the step without communication was not measured at this count"
    if step.measurement.interval is None or compute.measurement.interval is None:
        return "a step without an interval cannot test anything"
    span: Span = "cluster" if step.trial.placement.nodes > 1 else "node"
    found = model_at(group, _redrawn(compute), collectives(step), costs, (ranks, span))
    if isinstance(found, str):
        return found
    low, high = found.interval
    measured, own = step.seconds, step.measurement.interval
    # The half-widths that face each other: the measured one towards the prediction and the other way round.
    above = measured > found.time_s
    noise = float(
        np.hypot(measured - own.low if above else own.high - measured, (high if above else low) - found.time_s)
    )
    base = group.steps["both"][group.base].seconds
    return Prediction(
        time_s=found.time_s,
        low_s=low,
        high_s=high,
        compute_s=found.compute_s,
        latency_s=found.latency_s,
        transfer_s=found.transfer_s,
        overlapped_s=found.compute_s + found.latency_s + found.transfer_s - found.time_s,
        efficiency=efficiency(group.scaling, group.base, base, ranks, found.time_s),
        residual=(measured - found.time_s) / measured,
        noise=noise / measured,
        beyond_noise=abs(measured - found.time_s) > noise,
    )


def _redrawn(step: Step) -> tuple[float, Array]:
    """The step's time and replicates of it, drawn within its interval."""
    own = step.measurement.interval
    assert own is not None
    sigma = max(sigma_of(step.seconds, own.low, own.high, own.level), 1e-6 * step.seconds)
    times = redrawn(np.array([step.seconds]), np.array([sigma]), np.random.default_rng(step.ranks))
    return step.seconds, times[0]
