"""A soak to metrics: the speed held in its last third, how far it slowed, how steadily it ran. Pure."""

from collections.abc import Iterator, Sequence

import msgspec

from effbench.catalog.metrics import lookup
from effbench.model.finding import Finding
from effbench.model.plan import Output, Plan
from effbench.model.quantity import Interval, Quantity
from effbench.model.record import USABLE, Measurement, Record, Soak
from effbench.model.scorecard import Metric
from effbench.score.derive import SOAK, Derived, Source, derive

__all__ = ["planned", "settled", "steadiness"]

RATES = ("flop", "memory_bytes")


def planned(plan: Plan) -> list[str]:
    """Return the stems of the figures that the trials of `plan` give when nothing goes wrong, soaks included."""
    stems = set()
    for trial in plan.trials:
        for output in trial.outputs if trial.skipped is None else []:
            stems |= {key.rpartition(".")[0] for key in (output.key, output.headline) if key}
            if trial.procedure.soaks and output.of in RATES:
                stems.add(_stem(output))
    return sorted(stems)


def settled(record: Record, findings: list[Finding]) -> list[Derived]:
    """Return the rate in the last third of every soak, to be held against peaks and references like any other."""
    found: list[Derived] = []
    for source, stem in _soaked(record):
        soak = source.measurement.soak
        assert soak is not None
        output = next(o for o in source.trial.outputs if o.of in RATES)
        last = (output.headline or output.key).rpartition(".")[2]
        again = msgspec.structs.replace(output, key=f"{stem}.{last}", headline=None)
        if lookup(again.key) is None:
            continue
        trial = msgspec.structs.replace(source.trial, outputs=[again])
        measured = msgspec.structs.replace(source.measurement, step_s=soak.step_s, interval=soak.interval)
        found += derive(msgspec.structs.replace(source, trial=trial, measurement=measured), findings)
    return found


def steadiness(record: Record, others: Sequence[Metric]) -> list[Metric]:
    """Return what says how steadily each soak ran. What was faster than possible says nothing of it either."""
    impossible = {trial for metric in others if metric.status == "invalid" for trial in metric.evidence}
    metrics = []
    for source, stem in _soaked(record):
        measured = source.measurement
        status = "invalid" if measured.trial in impossible else measured.status
        for name, value, interval in _figures(measured):
            row = lookup(f"{stem}.{name}")
            if row is not None:
                metrics.append(
                    Metric(
                        key=f"{stem}.{name}",
                        quantity=Quantity(value, row.unit),
                        better=row.better,
                        status=status,
                        evidence=[measured.trial],
                        device=measured.device,
                        interval=interval,
                        params=source.trial.params,
                    )
                )
    return metrics


def _soaked(record: Record) -> Iterator[tuple[Source, str]]:
    """Every usable soak of a single device, with the stem of its keys: `compute.gemm.bf16.soak`."""
    trials = {t.id: t for t in record.plan.trials}
    devices = {a.key: a for a in record.inventory_before.accelerators}
    for measured in record.measurements:
        trial = trials[measured.trial]
        if measured.soak is None or measured.status not in USABLE or trial.scope != "device":
            continue
        output = next((o for o in trial.outputs if o.of in RATES), None)
        if output is not None:
            yield Source(trial, measured, devices[measured.device]), _stem(output)


def _stem(output: Output) -> str:
    return f"{(output.headline or output.key).rpartition('.')[0]}.{SOAK}"


def _figures(measured: Measurement) -> Iterator[tuple[str, float, Interval | None]]:
    soak: Soak | None = measured.soak
    assert soak is not None
    ends = Interval(min(soak.movement_low, soak.movement), max(soak.movement_high, soak.movement), method="Theil-Sen")
    yield "slowdown", soak.movement, ends
    yield "variation", soak.variation, None
    yield "p5_over_p50", soak.p5_over_p50, None
    if soak.throttle_share is not None:
        yield "throttle_share", soak.throttle_share, None
