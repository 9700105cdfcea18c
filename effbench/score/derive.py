"""One measurement to the metrics that its trial declares: values, intervals, and the figures they are held against."""

import msgspec

from effbench.catalog.metrics import lookup
from effbench.catalog.references import reference
from effbench.model.finding import Finding
from effbench.model.inventory import Accelerator
from effbench.model.plan import Output, Trial
from effbench.model.quantity import Ceiling, Interval, Quantity
from effbench.model.record import Measurement
from effbench.model.scorecard import Metric
from effbench.model.unit import Unit
from effbench.score import ceilings
from effbench.score.ceilings import Absent

# measuring-flops 6 and 7.10: more than this over the peak at the held clock is an error to investigate.
ABOVE_PEAK = 1.02
# The segment of the keys of a soak's last third: the same work, later in one long window.
SOAK = "soak"
SHARES = ("fraction", "hardware_fraction", "memory_fraction")


class Source(msgspec.Struct, frozen=True):
    """A measured trial on its device, with what the same run measured of the device's memory."""

    trial: Trial
    measurement: Measurement
    accelerator: Accelerator
    measured_read: Ceiling | None = None


class Derived(msgspec.Struct, frozen=True):
    """A metric, the output it came from, and the findings of making it."""

    metric: Metric
    output: Output
    source: Source


def derive(source: Source, findings: list[Finding]) -> list[Derived]:
    """Return the metrics that the trial's outputs declare. What cannot be had is a finding instead."""
    derived = []
    if source.trial.emulated:
        text = f"{source.trial.id} is emulated: the part has no unit for it, so it is shown and held against nothing"
        findings.append(Finding("emulated-dtype", "info", text, device=source.accelerator.key, trial=source.trial.id))
    for output in source.trial.outputs:
        metric = _metric(source, output, findings)
        if metric is not None:
            derived.append(Derived(metric, output, source))
    return derived


def _metric(source: Source, output: Output, findings: list[Finding]) -> Metric | None:
    row = lookup(output.key)
    if row is None:
        raise KeyError(f"no row in metrics.yaml for {output.key}; add one")
    value, interval = _value(source, output)
    ceiling: Ceiling | None = None
    if value is not None and output.of in SHARES:
        found = _denominator(source, output)
        if isinstance(found, Absent):
            findings.append(_absent(source, output.key, found))
            return None
        ceiling = found
        value, interval = value / found.value, _scaled(interval, 1 / found.value)
    if value is None:
        return None
    return Metric(
        key=output.key,
        quantity=Quantity(value, row.unit),
        better=row.better,
        status=source.measurement.status,
        evidence=[source.trial.id],
        device=source.accelerator.key,
        interval=interval,
        ceiling=ceiling,
        params=source.trial.params,
    )


def _value(source: Source, output: Output) -> tuple[float | None, Interval | None]:
    """The figure before any ratio: a rate, a time, a quantile or a fact of the step."""
    measurement, work = source.measurement, source.trial.work
    if output.of.startswith("fact:"):
        return measurement.facts.get(output.of.removeprefix("fact:")), None
    if measurement.step_s is None:
        return None, None
    step, interval = measurement.step_s.value, measurement.interval
    if output.of in ("time", "p50"):
        return step, interval
    if output.of == "p99":
        return measurement.quantiles_s.get("99"), None
    amount = {
        "flop": work.flop,
        "fraction": work.flop,
        "hardware_flop": work.hardware_flop,
        "hardware_fraction": work.hardware_flop,
        "memory_bytes": work.memory_bytes,
        "memory_fraction": work.memory_bytes,
        "link_bytes": work.link_bytes,
        "payload_bytes": work.payload_bytes,
        "items": work.items,
    }[output.of]
    if amount <= 0:
        return None, None
    return amount / step, _inverted(interval, amount)


def _inverted(interval: Interval | None, amount: float) -> Interval | None:
    """The interval of amount / time from that of time. A time interval reaching 0 has no finite rate: absent."""
    if interval is None or interval.low <= 0:
        return None
    return msgspec.structs.replace(interval, low=amount / interval.high, high=amount / interval.low)


def _scaled(interval: Interval | None, factor: float) -> Interval | None:
    if interval is None:
        return None
    return msgspec.structs.replace(interval, low=interval.low * factor, high=interval.high * factor)


def _denominator(source: Source, output: Output) -> Ceiling | Absent:
    if source.trial.emulated or output.peak is None:
        return Absent("emulated-dtype", f"{source.trial.id} ran without a hardware unit, so no peak applies")
    if output.of == "memory_fraction":
        return ceilings.bandwidth(source.accelerator, source.measured_read)
    return ceilings.compute(source.accelerator, source.measurement, output.peak)


def _absent(source: Source, key: str, absent: Absent) -> Finding:
    message = f"{key} is absent: {absent.why}"
    return Finding(absent.code, "info", message, device=source.accelerator.key, trial=source.trial.id)


def fractions(derived: Derived, findings: list[Finding]) -> list[Metric]:
    """Return the metric's shares of the rated peak, of the peak at the held clock, and of the reference."""
    output, metric, source = derived.output, derived.metric, derived.source
    if not output.fractions or output.peak is None or source.trial.emulated:
        return []
    stem = metric.key.rsplit(".", 1)[0]
    made: list[Metric] = []
    candidates: list[tuple[str, Ceiling | Absent]] = []
    if output.peak == "bandwidth":
        if source.accelerator.kind == "gpu":
            candidates.append(("fraction_of_rated_peak", ceilings.bandwidth(source.accelerator, None)))
    else:
        if source.accelerator.kind == "gpu":
            candidates.append(("fraction_of_rated_peak", ceilings.rated(source.accelerator, output.peak)))
        candidates.append(
            ("fraction_at_held_clock", ceilings.held(source.accelerator, source.measurement, output.peak))
        )
    for name, ceiling in candidates:
        if isinstance(ceiling, Absent):
            findings.append(_absent(source, f"{stem}.{name}", ceiling))
            continue
        made.append(share(metric, f"{stem}.{name}", ceiling))
    return [_checked(m, source, findings) for m in made]


def share(metric: Metric, key: str, ceiling: Ceiling) -> Metric:
    """Return `metric` over `ceiling` as a metric of its own. A lower-is-better figure is inverted first."""
    value, interval = metric.quantity.value, metric.interval
    if metric.better == "lower":
        ratio = Quantity(ceiling.value / value, Unit.ONE)
        scaled = _inverted(interval, ceiling.value)
    else:
        ratio = Quantity(value / ceiling.value, Unit.ONE)
        scaled = _scaled(interval, 1 / ceiling.value)
    return msgspec.structs.replace(metric, key=key, quantity=ratio, interval=scaled, ceiling=ceiling, better="higher")


def _checked(metric: Metric, source: Source, findings: list[Finding]) -> Metric:
    """Above the peak at the held clock is an error to investigate: the figure is shown as invalid, never graded."""
    if not metric.key.endswith("fraction_at_held_clock") or metric.quantity.value <= ABOVE_PEAK:
        return metric
    message = (
        f"{metric.key} is {metric.quantity.value:.3f}: more than the units can do at that clock, so the clock, the "
        "catalogue row or the result is wrong"
    )
    findings.append(Finding("above-peak", "error", message, device=source.accelerator.key, trial=source.trial.id))
    return msgspec.structs.replace(metric, status="invalid")


def against_reference(derived: Derived, shares: list[Metric], findings: list[Finding]) -> Metric | None:
    """Return the metric's share of the catalogue's reference for this part, or None with a finding why.

    A CPU's reference is a share of the peak at the held clock, so it divides that fraction; all others divide the
    figure itself. INTERFACES section 8: only like protocols are compared.
    """
    source, metric = derived.source, derived.metric
    if source.accelerator.part is None or source.trial.emulated:
        return None
    protocol = "burst" if source.trial.procedure.mode == "burst" or ".achievable." in metric.key else "sustained"
    key = metric.key.replace(f".{SOAK}.", ".")
    found = reference(source.accelerator.part, source.accelerator, key, protocol)
    if found is None:
        return None
    stem = metric.key.rsplit(".", 1)[0]
    base = metric
    if found.unit != metric.quantity.unit:
        base_candidates = [m for m in shares if m.quantity.unit == found.unit]
        if not base_candidates:
            return None
        base = base_candidates[-1]
    return share(base, f"{stem}.fraction_of_reference", found)
