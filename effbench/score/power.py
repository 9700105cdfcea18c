"""Energy figures to metrics: work per joule, joules per token and step, watts, idles, proportionality. Pure.

A trial without a believable energy figure yields no metric here; its reason and remedy stand in its measurement.
"""

from collections.abc import Iterator, Mapping

import msgspec

from effbench.catalog.metrics import lookup
from effbench.model.energy import Energy, Idle
from effbench.model.inventory import Accelerator
from effbench.model.plan import Trial
from effbench.model.quantity import Ceiling, Interval, Quantity
from effbench.model.record import USABLE, Measurement, Record, Status
from effbench.model.scorecard import Metric
from effbench.model.unit import Unit

# What one joule buys, per kernel: the work counts that are worth a figure of their own.
USEFUL: Mapping[str, tuple[str, ...]] = {
    "gemm": ("flop",),
    "attention": ("flop",),
    "stream": ("memory_bytes",),
    "train_step": ("flop", "items"),
    "prefill_step": ("flop", "items"),
    "decode_step": ("items",),
}
PER_JOULE = {"flop": "flops_per_joule", "memory_bytes": "bytes_per_joule", "items": "tokens_per_joule"}
HELD = "held_"
SHOWN = ("valid", "suspect")


def power(record: Record) -> list[Metric]:
    """Return every power metric of a record, per device."""
    trials = {trial.id: trial for trial in record.plan.trials}
    devices = {a.key: a for a in record.inventory_before.accelerators}
    metrics: list[Metric] = []
    for measured in record.measurements:
        energy = measured.energy
        if energy is None or measured.status not in USABLE or energy.status not in SHOWN or energy.steps <= 0:
            continue
        metrics += _of_trial(trials[measured.trial], measured, energy, devices[measured.device])
    metrics += [metric for idle in record.idle for metric in _of_idle(idle)]
    for key in record.plan.devices:
        metrics += [*_proportionality(record, key), *_held(record, key), *_violations(record, key)]
    return [metric for metric in metrics if lookup(metric.key) is not None]


def stem(trial: Trial) -> str | None:
    """Return the middle of a trial's power keys: `gemm.bf16`, `stream.copy`, `train_step`, `decode.b8`."""
    if trial.kernel not in USEFUL or not trial.outputs:
        return None
    if trial.kernel == "train_step":
        return "train_step"
    key = trial.outputs[0].headline or trial.outputs[0].key
    return ".".join(key.split(".")[1:-1])


def _of_trial(trial: Trial, measured: Measurement, energy: Energy, device: Accelerator) -> Iterator[Metric]:
    name = stem(trial)
    if name is None or energy.energy is None or energy.energy_interval is None or energy.energy.value <= 0:
        return
    status: Status = "suspect" if "suspect" in (measured.status, energy.status) else "valid"
    make = _Maker(f"power.{name}", status, trial, device.key)
    joules = energy.energy.value / energy.steps
    low, high = energy.energy_interval.low / energy.steps, energy.energy_interval.high / energy.steps
    interval = msgspec.structs.replace(energy.energy_interval, low=low, high=high)
    yield make("joules_per_step", joules, interval)
    for count in USEFUL[trial.kernel]:
        amount = float(getattr(trial.work, count))
        if amount > 0 and low > 0:
            yield make(PER_JOULE[count], amount / joules, _ratio(interval, amount))
        if count == "items" and amount > 0:
            yield make("joules_per_token", joules / amount, _scaled(interval, 1 / amount))
    if energy.power is not None and energy.power_interval is not None:
        yield make("watts", energy.power.value, energy.power_interval)
        yield from _of_limit(make, energy, device)
    if measured.step_s is not None and measured.interval is not None:
        delay, times = measured.step_s.value, measured.interval
        both = msgspec.structs.replace(interval, low=low * times.low, high=high * times.high)
        yield make("energy_delay", joules * delay, both)


def _of_limit(make: "_Maker", energy: Energy, device: Accelerator) -> Iterator[Metric]:
    limit = device.power_limit_w
    if not limit or energy.power is None or energy.power_interval is None:
        return
    metric = make("fraction_of_limit", energy.power.value / limit, _scaled(energy.power_interval, 1 / limit))
    said = "the enforced power limit as the driver reports it"
    yield msgspec.structs.replace(metric, ceiling=Ceiling(limit, Unit.WATT, said, "at the start of the run"))


class _Maker:
    """Makes the metrics of one trial on one device."""

    def __init__(self, prefix: str, status: Status, trial: Trial, device: str) -> None:
        self._prefix, self._status, self._trial, self._device = prefix, status, trial, device

    def __call__(self, name: str, value: float, interval: Interval | None) -> Metric:
        """Return `<prefix>.<name>`; a key without a row is left out later, so its unit does not matter."""
        return _metric(
            f"{self._prefix}.{name}",
            value,
            interval,
            self._status,
            self._device,
            [self._trial.id],
            self._trial.params,
        )


def _metric(
    key: str,
    value: float,
    interval: Interval | None,
    status: Status,
    device: str,
    evidence: list[str],
    params: dict[str, object] | None = None,
) -> Metric:
    row = lookup(key)
    unit, better = (row.unit, row.better) if row is not None else (Unit.ONE, "higher")
    return Metric(
        key=key,
        quantity=Quantity(value, unit),
        better=better,
        status=status,
        evidence=evidence,
        device=device,
        interval=interval,
        params=params or {},
    )


def _of_idle(idle: Idle) -> Iterator[Metric]:
    energy = idle.energy
    if energy.status not in SHOWN or energy.power is None:
        return
    status: Status = "suspect" if energy.status == "suspect" else "valid"
    yield _metric(f"power.idle.{idle.name}.watts", energy.power.value, energy.power_interval, status, idle.device, [])


def _proportionality(record: Record, device: str) -> Iterator[Metric]:
    """1 - idle / full power, by the bare idle and the highest mean power of an energy window (SPECpower's idea)."""
    rest = next(
        (i.energy for i in record.idle if i.device == device and i.name == "bare" and i.energy.status in SHOWN), None
    )
    busy = [m for m in record.measurements if m.device == device and m.energy is not None and m.status in USABLE]
    full = [m for m in busy if m.energy is not None and m.energy.status in SHOWN and m.energy.power is not None]
    if rest is None or rest.power is None or rest.power_interval is None or not full:
        return
    top = max(full, key=lambda m: m.energy.power.value if m.energy and m.energy.power else 0.0)
    energy = top.energy
    if energy is None or energy.power is None or energy.power_interval is None or energy.power_interval.low <= 0:
        return
    low = 1 - rest.power_interval.high / energy.power_interval.low
    high = 1 - rest.power_interval.low / energy.power_interval.high
    interval = Interval(low, high, method="both powers at their ends")
    status: Status = "suspect" if "suspect" in (rest.status, energy.status, top.status) else "valid"
    value = 1 - rest.power.value / energy.power.value
    yield _metric("power.device.proportionality", value, interval, status, device, [top.trial])


def _held(record: Record, device: str) -> Iterator[Metric]:
    """Time and energy of all energy windows that were spent under each clock-event reason.

    Joules are of every one of these windows or of none: a sum of some would look like little.
    """
    seconds: dict[str, float] = {}
    joules: dict[str, float | None] = {}
    evidence: dict[str, list[str]] = {}
    for measured in record.measurements:
        if measured.device != device or measured.energy is None or measured.energy.status not in SHOWN:
            continue
        for held in measured.energy.held:
            seconds[held.reason] = seconds.get(held.reason, 0.0) + held.seconds
            evidence.setdefault(held.reason, []).append(measured.trial)
            before = joules.get(held.reason, 0.0)
            joules[held.reason] = None if before is None or held.joules is None else before + held.joules
    for reason, value in seconds.items():
        yield _metric(f"power.held.{reason}.time", value, None, "valid", device, evidence[reason])
        spent = joules[reason]
        if spent is not None:
            yield _metric(f"power.held.{reason}.joules", spent, None, "valid", device, evidence[reason])


def _violations(record: Record, device: str) -> Iterator[Metric]:
    """Seconds of the whole run under each reason for lower clocks, by the driver's own counters."""
    for name, seconds in record.health.get(device, {}).items():
        if name.startswith(HELD):
            cause = name.removeprefix(HELD).removesuffix("_s")
            yield _metric(f"power.violation.{cause}.time", seconds, None, "valid", device, [])


def _scaled(interval: Interval, factor: float) -> Interval:
    return msgspec.structs.replace(interval, low=interval.low * factor, high=interval.high * factor)


def _ratio(interval: Interval, amount: float) -> Interval:
    return msgspec.structs.replace(interval, low=amount / interval.high, high=amount / interval.low)
