"""One trial's rounds to its measurement: medians, the interval, clocks, watts, and whether it can be trusted. Pure."""

from collections.abc import Sequence

import msgspec

from effbench.catalog.references import assumed_tau
from effbench.device.disturb import judge
from effbench.device.nvml_reasons import HARDWARE, THERMAL
from effbench.model.event import Closed, Sample, Telemetry, Verify
from effbench.model.finding import Finding
from effbench.model.plan import Trial
from effbench.model.quantity import Interval, Quantity
from effbench.model.record import ClockSpread, Measurement, PowerSpread, Round, Status
from effbench.model.suite import DeviceClass
from effbench.model.unit import Unit
from effbench.run.soak import THROTTLED, soak
from effbench.run.windows import EDGE_NS, Readings, around, of_sample
from effbench.stats.drift import drift
from effbench.stats.interval import estimate
from effbench.stats.quantile import median, quantile

PERCENTILES = (0, 1, 5, 25, 50, 75, 95, 99, 100)
EVENTS_AGAINST_HOST = 0.01  # measuring-flops 7.5: event time and host time of a batch agree within 1 %
CLOCK_CHECK_MIN_S = 0.010


class Take(msgspec.Struct, frozen=True):
    """What the journal holds of one trial in one round."""

    round: int
    samples: list[Sample]
    closed: Closed | None
    findings: list[Finding]


def measurement(trial: Trial, kind: DeviceClass, takes: Sequence[Take], readings: Readings) -> Measurement:
    """Join the rounds of one trial. Nothing is judged here but whether the evidence can be used."""
    device = trial.placement.devices[0]
    if trial.skipped is not None:
        return Measurement(trial.id, device, "skipped", trial.skipped)
    takes = [_screened(take, trial, device, readings) for take in takes]
    usable = [t for t in takes if t.closed is not None and t.closed.status == "done" and _times(t)]
    telemetry = _telemetry(device, takes, readings)
    findings = [f for take in takes for f in take.findings]
    disturbances = judge(kind, telemetry)
    findings += [msgspec.structs.replace(f, device=device, trial=trial.id) for f in disturbances.findings]
    status, detail = _status(trial, takes, usable, disturbances.suspect)
    result = Measurement(
        trial=trial.id,
        device=device,
        status=status,
        detail=detail,
        rounds=[_round(take) for take in takes],
        n_accepted=sum(s.accepted for t in takes for s in t.samples),
        n_rejected=sum(not s.accepted for t in takes for s in t.samples),
        power_w=_power(telemetry),
        temperature_max_degc=max(
            (p.temperature_degc for p in telemetry if p.temperature_degc is not None), default=None
        ),
        clock_hz=_clock(usable, telemetry, kind),
        throttle_reasons=disturbances.reasons,
        verify=_verify(takes),
        facts=_facts(takes),
        texts=next((t.closed.texts for t in reversed(takes) if t.closed and t.closed.texts), {}),
        findings=findings,
    )
    if not usable:
        return result
    went = [(t.samples, _telemetry(device, [t], readings)) for t in usable]
    return msgspec.structs.replace(_timed(result, trial, kind, usable), soak=soak(trial.procedure, kind, went))


def _timed(result: Measurement, trial: Trial, kind: DeviceClass, usable: Sequence[Take]) -> Measurement:
    """Add what only accepted samples give: centre, interval, quantiles, drift, and the findings about them."""
    times = [_times(take) for take in usable]
    found = estimate(times, assumed_tau(kind)[0])
    pooled = [t for one in times for t in one]
    interval = Interval(found.low, found.high, found.level, found.method, found.n_processes, found.n_samples)
    longest = max(times, key=len)
    slope = drift(longest).movement if len(longest) >= 8 else None
    findings = [*result.findings, *_doubts(trial, found.center, interval, usable)]
    return msgspec.structs.replace(
        result,
        step_s=Quantity(found.center, Unit.SECOND),
        interval=interval,
        quantiles_s={str(p): quantile(pooled, p / 100) for p in PERCENTILES},
        drift=slope,
        findings=findings,
    )


def _doubts(trial: Trial, center: float, interval: Interval, usable: Sequence[Take]) -> list[Finding]:
    findings = []
    relative = interval.half_width / center
    target = trial.procedure.target_relative_half_width
    device = trial.placement.devices[0]
    if relative > 4 * target:
        text = f"{trial.id}: the interval is {relative:.1%} wide on each side, four times the target of {target:.1%}"
        findings.append(Finding("interval-wide", "warning", text, device=device, trial=trial.id))
    accepted = [s for t in usable for s in t.samples if s.accepted and s.host_s >= CLOCK_CHECK_MIN_S]
    if trial.procedure.mode == "sustained" and accepted:
        gap = abs(sum(s.device_s for s in accepted) / sum(s.host_s for s in accepted) - 1)
        if gap > EVENTS_AGAINST_HOST:
            text = f"{trial.id}: device events and the host clock differ by {gap:.1%} over the timed batches"
            findings.append(Finding("clock-disagreement", "warning", text, device=device, trial=trial.id))
    return findings


def _screened(take: Take, trial: Trial, device: str, readings: Readings) -> Take:
    """Discard samples that were taken under a hardware slowdown or thermal reason, if the procedure says so."""
    if trial.procedure.throttle == "keep":
        return take
    samples = []
    for sample in take.samples:
        points = readings.within(of_sample(device, sample), EDGE_NS)
        hard = any((p.reasons or 0) & (HARDWARE | THERMAL) for p in points)
        if hard and sample.accepted:
            sample = msgspec.structs.replace(sample, accepted=False, reason=THROTTLED)
        samples.append(sample)
    return msgspec.structs.replace(take, samples=samples)


def _times(take: Take) -> list[float]:
    return [s.device_s / s.inner_steps for s in take.samples if s.accepted]


def _telemetry(device: str, takes: Sequence[Take], readings: Readings) -> list[Telemetry]:
    windows = [around(device, take.samples) for take in takes]
    return [point for window in windows if window is not None for point in readings.within(window)]


def _status(trial: Trial, takes: Sequence[Take], usable: Sequence[Take], suspect: bool) -> tuple[Status, str]:
    for take in takes:
        if take.closed is not None and take.closed.status in ("failed", "lost"):
            return "failed", take.closed.detail
    throttled = sum(s.reason == THROTTLED for t in takes for s in t.samples)
    if throttled and trial.procedure.throttle == "fail":
        return "failed", f"{throttled} samples were taken under a thermal or hardware slowdown"
    if not usable:
        return "invalid", f"all {throttled} samples were throttled" if throttled else "no round was completed"
    return ("suspect", "foreign load during the trial") if suspect else ("valid", "")


def _round(take: Take) -> Round:
    times = _times(take)
    clocks = [s.clock_hz for s in take.samples if s.clock_hz is not None and s.accepted]
    closed = take.closed
    return Round(
        round=take.round,
        status=closed.status if closed else "cut off",
        detail=closed.detail if closed else "",
        step_s=median(times) if times else None,
        n_accepted=len(times),
        n_rejected=len(take.samples) - len(times),
        clock_hz=median(clocks) if clocks else None,
        facts=closed.facts if closed else {},
    )


def _clock(usable: Sequence[Take], telemetry: Sequence[Telemetry], kind: str) -> ClockSpread | None:
    """The held clock: by the probe after each block on a CPU, by telemetry inside the windows on a GPU."""
    if kind == "cpu":
        clocks = [s.clock_hz for t in usable for s in t.samples if s.clock_hz is not None and s.accepted]
    else:
        clocks = [p.clock_hz for p in telemetry if p.clock_hz is not None]
    return ClockSpread(quantile(clocks, 0.05), median(clocks)) if clocks else None


def _power(telemetry: Sequence[Telemetry]) -> PowerSpread | None:
    watts = [p.power_w for p in telemetry if p.power_w is not None]
    return PowerSpread(sum(watts) / len(watts), quantile(watts, 0.99)) if watts else None


def _verify(takes: Sequence[Take]) -> Verify | None:
    """The worst verification: a wrong one before a right one, then the one nearest to its tolerance."""
    checks = [t.closed.verify for t in takes if t.closed is not None and t.closed.verify is not None]
    if not checks:
        return None
    return max(checks, key=lambda v: (not v.ok, v.error / v.tolerance if v.tolerance else v.error))


def _facts(takes: Sequence[Take]) -> dict[str, float]:
    """Medians over rounds; errors add up, because one flipped bit in one round is one too many."""
    names = dict.fromkeys(name for t in takes if t.closed for name in t.closed.facts)
    facts = {}
    for name in names:
        values = [t.closed.facts[name] for t in takes if t.closed and name in t.closed.facts]
        facts[name] = sum(values) if name.endswith("errors") else median(values)
    return facts
