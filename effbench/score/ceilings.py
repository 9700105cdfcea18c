"""What a device could do at most: rated peaks, peaks at the clock that was held, bandwidths, with their sources."""

import msgspec

from effbench.model.inventory import Accelerator, Part
from effbench.model.quantity import Ceiling
from effbench.model.record import Measurement
from effbench.model.unit import Unit


class Absent(msgspec.Struct, frozen=True):
    """Why there is no ceiling, as a finding's code and sentence."""

    code: str
    why: str


def peak_key(part: Part, dtype: str) -> str:
    """Return the catalogue's key for `dtype`: fp64 runs on the tensor cores where the part has them."""
    return "fp64_tensor" if dtype == "fp64" and "fp64_tensor" in part.peak_flops else dtype


def rated(accelerator: Accelerator, dtype: str) -> Ceiling | Absent:
    """Dense rated peak of `dtype`, flop/s. GPUs only: a CPU has no rated clock to multiply with."""
    part = accelerator.part
    if part is None:
        return Absent("part-unknown", f"{accelerator.name or accelerator.key} is not in the catalogue")
    if accelerator.kind == "cpu":
        return Absent("no-peak-known", "a CPU has no rated peak; its peak is taken at the clock it held")
    key = peak_key(part, dtype)
    if key not in part.peak_flops:
        return Absent("no-peak-known", f"the catalogue has no {dtype} rate for {part.title}")
    confidence = part.peak_confidence.get(key, part.confidence)
    return Ceiling(part.peak_flops[key], Unit.FLOP_PER_S, part.source, part.as_of, confidence)


def held(accelerator: Accelerator, measurement: Measurement, dtype: str) -> Ceiling | Absent:
    """Peak at the clock held while `measurement` was timed: units x flop per clock x median clock, flop/s."""
    part = accelerator.part
    if part is None:
        return Absent("part-unknown", f"{accelerator.name or accelerator.key} is not in the catalogue")
    if dtype in part.emulated:
        return Absent("emulated-dtype", f"{part.title} has no unit for {dtype}")
    per_clock = part.flops_per_clock.get(peak_key(part, dtype))
    units = _units(accelerator)
    if per_clock is None or units is None:
        return Absent("no-peak-known", f"the catalogue has no {dtype} rate per clock for {part.title}")
    if measurement.clock_hz is None:
        return Absent("clock-unknown", f"the clock held during {measurement.trial} is unknown")
    clock = measurement.clock_hz.p50
    source = f"{units:g} units x {per_clock:g} flop per clock x the median clock held ({clock / 1e9:.3f} GHz)"
    confidence = part.peak_confidence.get(dtype, part.confidence)
    return Ceiling(units * per_clock * clock, Unit.FLOP_PER_S, f"{source}; {part.source}", part.as_of, confidence)


def _units(accelerator: Accelerator) -> float | None:
    if accelerator.kind == "cpu":
        return accelerator.cpu.cores_usable if accelerator.cpu else None
    return accelerator.sm_count


def compute(accelerator: Accelerator, measurement: Measurement, dtype: str) -> Ceiling | Absent:
    """The denominator of MFU: the rated peak of a GPU, the peak at the held clock of a CPU."""
    if accelerator.kind == "cpu":
        return held(accelerator, measurement, dtype)
    return rated(accelerator, dtype)


def bandwidth(accelerator: Accelerator, measured_read: Ceiling | None) -> Ceiling | Absent:
    """Rated memory bandwidth, byte/s; without one, what `stream` read in the same run, and it says so."""
    part = accelerator.part
    if part is not None and part.memory_bandwidth is not None:
        return Ceiling(part.memory_bandwidth, Unit.BYTE_PER_S, part.source, part.as_of, part.confidence)
    if measured_read is not None:
        return measured_read
    return Absent("no-peak-known", f"the memory bandwidth of {accelerator.key} is neither known nor measured here")
