"""Owns single-device kernels on all devices at once: the spread over devices, and the loss against running alone."""

from collections.abc import Mapping

from effbench.model.plan import Trial
from effbench.model.record import USABLE, Measurement, Record
from effbench.model.scaling import Together
from effbench.score.scaling_groups import Step, ratio
from effbench.score.stragglers import by_rank

__all__ = ["KERNEL", "together"]

KERNEL = "at_once"


def together(record: Record) -> list[Together]:
    """Return every usable trial of `at_once` on two devices or more.

    Alone is the same kernel and parameters on one rank by `at_once` itself, which has the same cores, or on a GPU the
    kernel's own trial. A CPU's own trial uses all its cores and is no comparison.
    """
    accelerators = {a.key: a for a in record.inventory_before.accelerators}
    trials = {t.id: t for t in record.plan.trials}
    steps = [
        Step(trials[m.trial], m, accelerators[m.device])
        for m in record.measurements
        if m.status in USABLE and m.step_s is not None and m.trial in trials and m.device in accelerators
    ]
    found = []
    for step in steps:
        if step.trial.kernel != KERNEL or step.ranks < 2:
            continue
        times = by_rank(step.measurement.facts, "step_s", step.ranks)
        if times and min(times) > 0:
            found.append(_one(step, times, [s for s in steps if _same_alone(s, step)]))
    return found


def _one(step: Step, times: list[float], alone: list[Step]) -> Together:
    # One device alone may be better than the next: the slowest rank is held against the same kind of device.
    beside = alone[0] if alone else None
    loss = None
    if beside is not None:
        kept = ratio(beside, step)
        own = kept.interval
        ends = type(own)(1 - own.high, 1 - own.low, own.level, own.method, own.n_processes) if own else None
        loss = type(kept)(1 - kept.value, ends)
    suspect = "suspect" in (step.measurement.status, beside.measurement.status if beside else "")
    return Together(
        kernel=str(step.trial.params.get("kernel", "")),
        ranks=step.ranks,
        trial=step.trial.id,
        step_s=times,
        spread=max(times) / min(times) - 1,
        slowest=max(range(len(times)), key=lambda rank: times[rank]),
        loss=loss,
        alone=beside.trial.id if beside else "",
        key=_stem(step.trial, step.measurement),
        status="suspect" if suspect else "valid",
    )


def _stem(trial: Trial, measured: Measurement) -> str:
    """The stem of the trial's metrics, as its own outputs have it."""
    return next((o.key.rsplit(".", 1)[0] for o in trial.outputs if o.key.endswith(".spread")), "")


def _same_alone(one: Step, step: Step) -> bool:
    asked: Mapping[str, object] = step.trial.params
    if one.trial.kernel == KERNEL:
        same = all(one.trial.params.get(name) == asked.get(name) for name in ("kernel", "params"))
        return same and one.ranks == 1 and _cores(one) == _cores(step)
    alone = one.trial.scope == "device" and one.accelerator.kind == "gpu"
    return alone and one.trial.kernel == asked.get("kernel") and one.trial.params == asked.get("params")


def _cores(step: Step) -> int:
    return len(step.trial.placement.cores[0]) if step.trial.placement.cores else 0
