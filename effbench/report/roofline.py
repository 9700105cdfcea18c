"""Where every kernel stands under the roofs of its device: work over bytes against work over time."""

from statistics import median

import msgspec

from effbench.model.inventory import Accelerator
from effbench.model.plan import Trial
from effbench.model.record import Measurement, Record
from effbench.report import format
from effbench.report.view_evidence import label

SHOWN = ("valid", "suspect")


class Dot(msgspec.Struct, frozen=True):
    """One kernel. `intensity` in flop/byte, `rate` in flop/s; `roof` is what the device allows there, where known."""

    number: int
    label: str
    domain: str
    intensity: float
    rate: float
    roof: float | None
    bound: str
    intensity_text: str
    rate_text: str
    share_text: str


class Bandwidth(msgspec.Struct, frozen=True):
    """A slope: byte/s, `rated` or `measured`."""

    value: float
    kind: str


class Roofline(msgspec.Struct, frozen=True):
    """The chart of one device. `absent` names what could not be placed, and why."""

    device: str
    dots: list[Dot]
    peaks: list[tuple[str, float]]
    bandwidths: list[Bandwidth]
    absent: list[str]


def _dtype(trial: Trial) -> str | None:
    """Find the dtype whose peak applies to a trial: from its outputs, else from its parameters."""
    for output in trial.outputs:
        if output.peak and output.peak != "bandwidth":
            return output.peak
    dtype = trial.params.get("dtype")
    return str(dtype) if dtype else None


def _peak(accelerator: Accelerator, dtype: str | None, clock_hz: float | None) -> float | None:
    """Peak of `dtype`, flop/s: a GPU's rated peak; a CPU's cores x flop per clock x the clock that was held."""
    part = accelerator.part
    if part is None or dtype is None or dtype in part.emulated:
        return None
    if accelerator.kind == "gpu":
        tensor = part.peak_flops.get(f"{dtype}_tensor")
        return tensor if tensor is not None else part.peak_flops.get(dtype)
    per_clock = part.flops_per_clock.get(dtype)
    if per_clock is None or clock_hz is None or accelerator.cpu is None:
        return None
    return per_clock * accelerator.cpu.cores_usable * clock_hz


def _bandwidths(accelerator: Accelerator, pairs: list[tuple[Trial, Measurement]]) -> list[Bandwidth]:
    """The rated bandwidth where it is known, and the best that any pure memory kernel of the same run reached."""
    found = []
    if accelerator.part is not None and accelerator.part.memory_bandwidth:
        found.append(Bandwidth(accelerator.part.memory_bandwidth, "rated"))
    rates = [
        trial.work.memory_bytes / m.step_s.value
        for trial, m in pairs
        if m.step_s is not None and trial.outputs and trial.outputs[0].key.startswith("memory.stream.")
    ]
    return [*found, Bandwidth(max(rates), "measured")] if rates else found


def _roof(peak: float | None, bandwidth: float | None, intensity: float, emulated: bool) -> tuple[float | None, str]:
    """The lower of both roofs at `intensity`, and which one it is. What is emulated has none."""
    if emulated:
        return None, ""
    memory = None if bandwidth is None else bandwidth * intensity
    if memory is not None and (peak is None or memory < peak):
        return memory, "memory"
    return (peak, "compute") if peak is not None else (None, "")


def _reason_absent(trial: Trial, measurement: Measurement) -> str:
    if measurement.status not in SHOWN or measurement.step_s is None:
        return ""
    work = trial.work
    missing = [name for name, amount in (("flop", work.flop), ("bytes", work.memory_bytes)) if not amount]
    return f"{trial.workload} (no {' and no '.join(missing)} counted)" if missing else ""


def roofline(record: Record, device: str) -> Roofline | None:
    """Place every kernel of `device` that has both flop and bytes; None when there is no such kernel."""
    accelerator = next((a for a in record.inventory_before.accelerators if a.key == device), None)
    if accelerator is None:
        return None
    trials = {trial.id: trial for trial in record.plan.trials}
    pairs = [(trials[m.trial], m) for m in record.measurements if m.device == device and m.trial in trials]
    held = [m.clock_hz.p50 for _, m in pairs if m.clock_hz is not None]
    clock = median(held) if held else None
    slopes = _bandwidths(accelerator, pairs)
    dots: list[Dot] = []
    peaks: dict[str, float] = {}
    for trial, m in pairs:
        work = trial.work
        if m.status not in SHOWN or m.step_s is None or work.flop <= 0 or work.memory_bytes <= 0:
            continue
        dtype = None if trial.emulated else _dtype(trial)
        peak = _peak(accelerator, dtype, m.clock_hz.p50 if m.clock_hz else clock)
        if dtype and peak:
            peaks[dtype] = max(peak, peaks.get(dtype, 0.0))
        dots.append(_dot(len(dots) + 1, trial, m.step_s.value, peak, slopes))
    if not dots:
        return None
    absent = [why for trial, m in pairs if (why := _reason_absent(trial, m))]
    return Roofline(device, dots, sorted(peaks.items(), key=lambda p: -p[1]), slopes, list(dict.fromkeys(absent)))


def _dot(number: int, trial: Trial, step_s: float, peak: float | None, slopes: list[Bandwidth]) -> Dot:
    intensity, rate = trial.work.flop / trial.work.memory_bytes, trial.work.flop / step_s
    roof, bound = _roof(peak, slopes[0].value if slopes else None, intensity, trial.emulated)
    return Dot(
        number=number,
        label=label(trial.id),
        domain=trial.outputs[0].key.split(".", 1)[0] if trial.outputs else "compute",
        intensity=intensity,
        rate=rate,
        roof=roof,
        bound=bound,
        intensity_text=f"{format.quantity(intensity, '1')} flop/B",
        rate_text=format.quantity(rate, "flop/s"),
        share_text="" if roof is None else format.percent(rate / roof),
    )
