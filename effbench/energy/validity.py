"""Owns what makes a figure of energy invalid or suspect although its sensor answered: heat, strangers, a swap, a beat.

A device that was slowed by heat or by its board did not do its usual work for its usual power: invalid. Foreign load,
a temperature that ran away or a beat with the sensor leave doubts: suspect. A power cap is how the node is set: marked.
"""

import statistics
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from effbench.device.disturb import DISTURBING, SLOWDOWN_LIMIT, judge
from effbench.device.nvml_reasons import GPU_IDLE, HARDWARE, THERMAL, clock_reasons
from effbench.energy.series import between
from effbench.model.energy import Held, Sensor
from effbench.model.event import Telemetry, Window
from effbench.model.finding import Finding, Severity
from effbench.model.inventory import Accelerator

# Leakage makes power rise with temperature; a window that crosses more than this has no one power (measuring-power (a)
# rule 8 asks for a band and does not give it: 10 degC is ours).
TEMPERATURE_BAND = 10.0
# Enforced and default limits are whole watts; less than this is rounding.
LIMIT_SLACK_W = 1.0
# Swapped devices: this one stays within a tenth (and 10 W) of its idle while another one rises by 30 W and five times
# as much. A working data-centre GPU rises by hundreds of watts.
# An idle that was not measured is the least power of the run, which above a quarter of the limit was work all along.
IDLE_SHARE, IDLE_SLACK_W, RISE_W, RISE_TIMES, IDLE_LIMIT_SHARE = 0.10, 10.0, 30.0, 5.0, 0.25
# A repetition this near to a multiple or simple fraction of the sensor's period may keep its phase. Beyond ten periods
# a repetition is resolved; shorter than a quarter period it is averaged within the 25 % that the sensor sees.
LOCK_SHARE, LOCK_RATIOS = 0.01, (*(float(n) for n in range(1, 11)), 1 / 2, 1 / 3, 1 / 4)
# No device draws half as much again as its enforced limit over seconds; the limiter acts within milliseconds.
IMPLAUSIBLE_TIMES = 1.5
# So many equal readings over so long are a frozen sensor (seen on AMD: amdsmi issue 22), not a steady load.
FROZEN_READINGS, FROZEN_S = 30, 5.0
# A reading stands for at most this long when time and energy under a reason are added up.
LONGEST_HOLD_S = 0.5
_GRAVITY = {"error": "invalid", "warning": "suspect"}


class Verdict(msgspec.Struct, frozen=True):
    """`findings` of severity error make the figure invalid, of severity warning suspect; `capped` ones do neither."""

    findings: list[Finding]
    capped: bool = False

    @property
    def status(self) -> str:
        """`valid`, `suspect` or `invalid`: the gravest finding counts."""
        found = {_GRAVITY[f.severity] for f in self.findings if f.severity in _GRAVITY and f.code != "power-capped"}
        return next((name for name in ("invalid", "suspect") if name in found), "valid")

    @property
    def reason(self) -> str:
        """The first finding of the gravest kind, in words; empty when all is well."""
        grave = [f for f in self.findings if _GRAVITY.get(f.severity) == self.status and f.code != "power-capped"]
        return grave[0].message if grave else ""


def check(
    device: Accelerator, points: Sequence[Telemetry], windows: Sequence[Window], fault: str = "", once: bool = False
) -> Verdict:
    """Judge the telemetry lines (of `device`, inside `windows`, in time order).

    A single execution (`once`) need not be steady: it drew what it drew, so heat makes its figure suspect, not invalid,
    and its temperature may move.
    """
    findings = []
    if fault:
        findings.append(_finding("energy-fault", "error", f"{device.key}: {fault}", device.key))
    findings += _slowed(device, points, "warning" if once else "error")
    findings += _unchecked(device, points)
    findings += _shared(device, points)
    findings += [] if once else _warmed(device.key, points, windows)
    capped = list(_capped(device, points))
    return Verdict([*findings, *capped[:1]], bool(capped))


def locked(card: Sensor, windows: Sequence[Window], seen: float | None) -> Iterator[Finding]:
    """Name windows whose repetitions keep step with a sensor that sees only the share `seen` of the time.

    They keep step when their phase against the sensor does not walk through a whole period within the window.
    """
    if not card.update_s or seen is None or seen >= 1:
        return
    for window in windows:
        step, seconds = window.step_s or 0.0, (window.t_ns - window.start_ns) * 1e-9
        for ratio in LOCK_RATIOS if step > 0 else ():
            off = abs(step / (ratio * card.update_s) - 1)
            if off <= LOCK_SHARE and off * seconds < card.update_s:
                text = (
                    f"repetitions of {step * 1e3:.1f} ms keep step with {card.key}, which sees {seen:.0%} of the time"
                )
                yield _finding("energy-locked", "warning", text, window.device, step_s=step, update_s=card.update_s)
                return


def swapped(
    device: Accelerator, readings: Mapping[str, Sequence[Telemetry]], windows: Sequence[Window], idle_w: float | None
) -> Iterator[Finding]:
    """Find another device of the same kind that rose while this one, said to be at work, stayed at its idle power.

    Only trials are held to it: a user's command may well have worked on the other device.
    """
    key, busy = device.key, [window for window in windows if window.name == "trial"]
    own = _level(readings.get(key, ()), busy)
    idle = idle_w if idle_w is not None else _quiet(readings.get(key, ()))
    if own is None or idle is None or own > idle * (1 + IDLE_SHARE) + IDLE_SLACK_W:
        return
    if idle_w is None and device.power_limit_w is not None and own > IDLE_LIMIT_SHARE * device.power_limit_w:
        return
    kind = key.rstrip("0123456789")
    for other, points in readings.items():
        if other in (key, "node") or other.rstrip("0123456789") != kind:
            continue
        level, quiet = _level(points, busy), _quiet(points)
        if level is None or quiet is None:
            continue
        rise = level - quiet
        if rise > max(RISE_W, RISE_TIMES * (own - idle)):
            text = f"{key} stayed at {own:.0f} W (idle {idle:.0f} W) while {other} rose by {rise:.0f} W"
            yield _finding("energy-swapped", "error", text, key, watts=round(own, 2), other_rise_w=round(rise, 2))
            return


def implausible(device: Accelerator, watts: float) -> Iterator[Finding]:
    """Refuse a mean power that the enforced limit forbids: whatever the sensor counted, it was not this device."""
    limit = device.power_limit_w
    if limit is not None and limit > 0 and watts > IMPLAUSIBLE_TIMES * limit:
        text = f"a mean of {watts:.0f} W is more than {device.key} may draw (its limit is {limit:g} W)"
        yield _finding("energy-irreconcilable", "error", text, device.key, watts=round(watts, 2), limit_w=limit)


def frozen(card: Sensor, values: Sequence[float], seconds: float, counter_dead: bool) -> Iterator[Finding]:
    """Doubt watts that never moved at all: real power jitters in its last digits.

    With `counter_dead` the device's energy counter gave nothing over the same time: then nothing says that its sensors
    live, and the figure is refused.
    """
    if card.unit == "W" and len(values) >= FROZEN_READINGS and seconds >= FROZEN_S and len(set(values)) == 1:
        text = f"{card.key} read {values[0]:g} W {len(values)} times in a row and never moved"
        severity: Severity = "error" if counter_dead else "warning"
        yield _finding("sensor-doubtful", severity, text, card.device, readings=len(values))


def remedy(verdict: Verdict) -> str:
    """Say in one sentence what to do about the gravest finding."""
    severity = {"invalid": "error", "suspect": "warning"}.get(verdict.status)
    code = next((f.code for f in verdict.findings if f.severity == severity and f.code != "power-capped"), "")
    return f"`effbench explain {code}` says what to do; then measure again." if code else ""


def held(points: Sequence[Telemetry], windows: Sequence[Window]) -> list[Held]:
    """Add up time and energy under each clock-event reason: a reading stands until the next, idling left out.

    Joules are of the watts of the same lines, absent where one of them has none.
    """
    seconds: dict[str, float] = {}
    joules: dict[str, float | None] = {}
    for window in windows:
        lines = [p for p in between(points, window.start_ns, window.t_ns) if p.reasons is not None]
        ends = [*(p.t_ns for p in lines[1:]), window.t_ns]
        for line, end in zip(lines, ends, strict=False):
            stands = min((end - line.t_ns) * 1e-9, LONGEST_HOLD_S)
            for name in clock_reasons((line.reasons or 0) & ~GPU_IDLE):
                watts = line.power_w if line.power_w is not None else line.power_average_w
                seconds[name] = seconds.get(name, 0.0) + stands
                before = joules.get(name, 0.0)
                joules[name] = None if watts is None or before is None else before + watts * stands
    return [Held(name, seconds[name], joules[name]) for name in sorted(seconds)]


def _unchecked(device: Accelerator, points: Sequence[Telemetry]) -> Iterator[Finding]:
    """Say when nobody could tell whether a GPU was slowed: silence is not health."""
    if device.kind == "gpu" and all(p.reasons is None for p in points):
        text = f"{device.key} gives no clock-event reasons: whether it was slowed by heat or by its board is unknown"
        yield _finding("energy-unchecked", "info", text, device.key)


def _slowed(device: Accelerator, points: Sequence[Telemetry], severity: Severity) -> Iterator[Finding]:
    masks = [p.reasons for p in points if p.reasons is not None]
    hot = [mask for mask in masks if mask & (THERMAL | HARDWARE)]
    if masks and len(hot) > SLOWDOWN_LIMIT * len(masks):
        share, names = len(hot) / len(masks), {n for mask in hot for n in clock_reasons(mask & (THERMAL | HARDWARE))}
        text = f"{device.key} was slowed in {share:.0%} of the readings ({', '.join(sorted(names))})"
        yield _finding("energy-throttled", severity, text, device.key, share=round(share, 4), limit=SLOWDOWN_LIMIT)
    times = sum(p.counters.get("thermal_throttle_new", 0.0) for p in points)
    if device.kind == "cpu" and times > 0:
        text = f"{device.key} throttled {times:.0f} times because of heat"
        yield _finding("energy-throttled", severity, text, device.key, times=times)


def _shared(device: Accelerator, points: Sequence[Telemetry]) -> Iterator[Finding]:
    if device.other_pids:
        text = f"{len(device.other_pids)} other processes held {device.key} open"
        yield _finding("energy-not-exclusive", "warning", text, device.key, processes=len(device.other_pids))
        return
    strangers = [f.message for f in judge(device.kind, points).findings if f.code in DISTURBING]
    if strangers:
        yield _finding("energy-not-exclusive", "warning", f"{device.key}: {strangers[0]}", device.key)


def _warmed(key: str, points: Sequence[Telemetry], windows: Sequence[Window]) -> Iterator[Finding]:
    for window in windows:
        lines = between(points, window.start_ns, window.t_ns)
        degrees = [p.temperature_degc for p in lines if p.temperature_degc is not None]
        if degrees and max(degrees) - min(degrees) > TEMPERATURE_BAND:
            text = f"{key} went from {min(degrees):.0f} to {max(degrees):.0f} degC within a window"
            yield _finding("energy-temperature", "warning", text, key, low=min(degrees), high=max(degrees))
            return


def _capped(device: Accelerator, points: Sequence[Telemetry]) -> Iterator[Finding]:
    limit, default = device.power_limit_w, device.power_limit_default_w
    if limit is not None and default is not None and abs(limit - default) > LIMIT_SLACK_W:
        text = f"the enforced power limit of {device.key} is {limit:g} W, the default {default:g} W"
        yield _finding("power-capped", "info", text, device.key, limit_w=limit, default_w=default)
    seen = [p.sensors["power_limit_w"] for p in points if "power_limit_w" in p.sensors]
    seen += [limit] if limit is not None and seen else []
    if seen and max(seen) - min(seen) > LIMIT_SLACK_W:
        text = f"the power limit of {device.key} changed during the run, between {min(seen):g} and {max(seen):g} W"
        yield _finding("power-capped", "warning", text, device.key, limit_w=min(seen), limit_high_w=max(seen))


def _level(points: Sequence[Telemetry], windows: Sequence[Window]) -> float | None:
    """Mean power of a device in the windows, W, of whatever watts its lines have."""
    lines = [p for window in windows for p in between(points, window.start_ns, window.t_ns)]
    watts = _watts(lines)
    return statistics.fmean(watts) if watts else None


def _quiet(points: Sequence[Telemetry]) -> float | None:
    """The power that a device falls back to in a run, W: the mean of its lowest tenth."""
    watts = sorted(_watts(points))
    return statistics.fmean(watts[: max(1, len(watts) // 10)]) if watts else None


def _watts(points: Sequence[Telemetry]) -> list[float]:
    values = (p.power_w if p.power_w is not None else p.power_average_w for p in points)
    return [watts for watts in values if watts is not None and watts > 0]


def _finding(code: str, severity: Severity, text: str, device: str, **evidence: float) -> Finding:
    return Finding(code, severity, text, device, evidence=dict(evidence))
