"""Simulated time and simulated steps: every kernel and dtype through engine, score and report without its hardware.

`VirtualRig` keeps a clock that only moves when a step spends time on it; `fake_step` is a stand-in for a kernel's step
that spends what its counted work would plausibly take on the device's catalogue row. Everything measured this way is
marked by `Accelerator.simulated`. Needs neither torch nor numpy.
"""

import hashlib
import math
import os
import random
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from effbench.kernels.contract import Kernel, Step, Timing
from effbench.model.event import Sample, Verify
from effbench.model.inventory import Accelerator, Part
from effbench.model.plan import Output, Trial, Work

# Share of simulated time that really passes, so that telemetry beside the worker has something to see.
REAL_SHARE = 0.01
# Plausible shares of peak. They only make simulated figures look ordinary; nothing is ever held against them.
COMPUTE_SHARE, MEMORY_SHARE, LINK_BANDWIDTH = 0.72, 0.90, 55.0e9
ASSUMED_FLOPS, ASSUMED_BANDWIDTH, ASSUMED_CLOCK_HZ, LAUNCH_S = 50e12, 1e12, 3.0e9, 5e-6
PASS_SAMPLES = 24


class Faults(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What shall go wrong in a simulated step. `*_after` counts repetitions (`flip_after`: fingerprints); -1 is never.

    `slow` multiplies every time; `wrong` fails the verification; `flip_after` changes the fingerprint; `crash_after`
    kills the process; `hang_after` sleeps for ever; `nan_after` makes times NaN; `error_after` raises; `noise`
    multiplies the spread; `refuse` fails the build with this sentence; `memory_errors` is a reported figure.
    """

    slow: float = 1.0
    noise: float = 1.0
    wrong: bool = False
    flip_after: int = -1
    crash_after: int = -1
    hang_after: int = -1
    nan_after: int = -1
    error_after: int = -1
    memory_errors: int = 0
    refuse: str = ""


class VirtualRig:
    """A rig whose clock moves only when a step calls `spend`. Implements `effbench.kernels.contract.Rig`."""

    def __init__(
        self, accelerator: Accelerator, seed: int, round_number: int = 0, real_share: float = REAL_SHARE
    ) -> None:
        self.accelerator = accelerator
        self.device = accelerator.torch_device
        self.seed = seed
        self.round_number = round_number
        self._real_share = real_share
        self._now_s = 0.0
        self._owed_s = 0.0

    def spend(self, seconds: float) -> None:
        """Let simulated time pass. A small share of it really passes, in sleeps of at least a millisecond."""
        self._now_s += seconds
        if math.isfinite(seconds):
            self._owed_s += seconds * self._real_share
        if self._owed_s >= 1e-3:
            time.sleep(self._owed_s)
            self._owed_s = 0.0

    def synchronize(self) -> None:
        """There is nothing to wait for."""

    def time(self, run: Callable[[int], None], first: int, n: int) -> Timing:
        """Run one batch and return the simulated time that it spent, seconds."""
        start = self._now_s
        for i in range(first, first + n):
            run(i)
        elapsed = self._now_s - start
        if not math.isfinite(elapsed):
            self._now_s = start
        return Timing(device_s=elapsed, host_s=elapsed)

    def flush(self) -> None:
        """Spend what overwriting 256 MiB takes."""
        self.spend((256 << 20) / _bandwidth(self.accelerator))

    def clock_hz(self) -> float | None:
        """The clock of a simulated CPU, Hz; None on a simulated GPU, whose clock is telemetry."""
        return clock_of(self.accelerator) if self.accelerator.kind == "cpu" else None

    def monotonic(self) -> float:
        """Simulated seconds since the rig was opened."""
        return self._now_s

    def free_bytes(self) -> int:
        """Nine tenths of the device's memory."""
        return self.accelerator.memory_bytes * 9 // 10

    def peak_bytes(self) -> int | None:
        """Six tenths of the device's memory."""
        return self.accelerator.memory_bytes * 6 // 10

    def reset_peak(self) -> None:
        """There is nothing to count."""


def fake_step(
    module: Kernel, params: Any, trial: Trial, rig: VirtualRig, round_number: int, faults: Mapping[str, Any]
) -> Step:
    """Return a simulated step for a trial; a kernel that simulates time itself (`SIMULATES_TIME`) builds its own.

    Args:
        module: the kernel; params: its parameters.
        trial: its counted work and its outputs decide the durations and the figures reported.
        rig: the simulated device; `round_number` and its seed fix the noise.
        faults: fields of `Faults`.

    Raises:
        RuntimeError: the fault `refuse` asks for it.
        ValueError: a fault that does not exist.
    """
    wanted = msgspec.convert(dict(faults), Faults)
    if wanted.refuse:
        raise RuntimeError(wanted.refuse)
    if getattr(module, "SIMULATES_TIME", False) and not faults:
        return module.build(params, rig)
    return FakeStep(trial.work, trial.outputs, f"{trial.kernel}:{trial.id}", rig, round_number, wanted)


class FakeStep:
    """A step that only spends simulated time: its counted work over a plausible rate, with noise like a device's."""

    def __init__(
        self, work: Work, outputs: Sequence[Output], name: str, rig: VirtualRig, round_number: int, faults: Faults
    ) -> None:
        self._rig, self._faults, self._outputs, self._name = rig, faults, outputs, name
        self._mean_s = duration_s(work, outputs, rig.accelerator) * faults.slow
        self._noise = Noise(0.004 * faults.noise, 0.6, 0.005 * faults.noise, f"{rig.seed}:{name}", round_number)
        self._repetitions = 0
        self._fingerprints = 0

    def run(self, i: int) -> None:
        """Spend one repetition, or do what a fault asks for."""
        self._repetitions += 1
        if self._due(self._faults.crash_after):
            os.kill(os.getpid(), signal.SIGKILL)
        while self._due(self._faults.hang_after):
            time.sleep(3600.0)
        if self._due(self._faults.error_after):
            raise RuntimeError("simulated device error: an illegal memory access was encountered")
        if self._due(self._faults.nan_after):
            self._rig.spend(math.nan)
            return
        self._rig.spend(self._mean_s * self._noise.factor())

    def _due(self, after: int) -> bool:
        return 0 <= after < self._repetitions

    def verify(self) -> Verify:
        """Right, unless a fault says otherwise."""
        if self._faults.wrong:
            return Verify(ok=False, error=1.0, tolerance=1e-3, detail="simulated: C.x differs from A(B.x)")
        return Verify(ok=True, error=1e-5, tolerance=1e-3)

    def fingerprint(self) -> int | None:
        """A constant of the trial, until the fault `flip_after`."""
        self._fingerprints += 1
        constant = int.from_bytes(hashlib.sha256(self._name.encode()).digest()[:8], "big")
        return constant ^ (0 <= self._faults.flip_after < self._fingerprints)

    def facts(self) -> dict[str, float]:
        """A plausible figure for every `fact:NAME` among the trial's outputs."""
        wanted = [output.of.removeprefix("fact:") for output in self._outputs if output.of.startswith("fact:")]
        return {name: self._fact(name) for name in wanted}

    def _fact(self, name: str) -> float:
        if name == "memory_errors":
            return float(self._faults.memory_errors)
        if name.endswith("_bytes"):
            return float(self._rig.accelerator.memory_bytes // 4)
        return 1.0

    def texts(self) -> dict[str, str]:
        """Say that nothing of this is real."""
        return {"simulated": "no kernel ran; times come from a model of the device"}

    def samples(self, deadline_s: float) -> list[Sample]:
        """Stand in for a kernel's own pass (procedure mode `once`)."""
        taken: list[Sample] = []
        for i in range(PASS_SAMPLES):
            timing = self._rig.time(self.run, i, 1)
            taken.append(Sample(time.monotonic_ns(), timing.device_s, timing.host_s, 1, self._rig.clock_hz()))
        return taken

    def close(self) -> None:
        """There is nothing to let go of."""


class Noise:
    """Relative noise of repetitions: a round's own offset, and AR(1) deviations around it. Keyed, so repeatable.

    Args:
        spread: relative standard deviation of one repetition.
        rho: correlation of a repetition with the one before it, 0 to below 1.
        round_spread: relative standard deviation of the offset between rounds.
        key: names the stream; the same key and round give the same sequence in every process.
        round_number: counts from 0.
    """

    def __init__(self, spread: float, rho: float, round_spread: float, key: str, round_number: int) -> None:
        self._draw = random.Random(f"{key}:round {round_number}")
        self._spread, self._rho = spread, rho
        self.offset = self._draw.gauss(0.0, round_spread)
        self._state = self._draw.gauss(0.0, 1.0)

    def factor(self) -> float:
        """Return the next repetition's duration over the mean; at least 0.001, so that time never runs backwards."""
        factor = (1.0 + self.offset) * (1.0 + self._spread * self._state)
        self._state = self._rho * self._state + math.sqrt(1.0 - self._rho**2) * self._draw.gauss(0.0, 1.0)
        return max(1e-3, factor)


def duration_s(work: Work, outputs: Sequence[Output], accelerator: Accelerator) -> float:
    """Return a plausible time for one repetition: the slowest of compute, memory, link and one launch."""
    dtype = next((output.peak for output in outputs if output.peak not in (None, "bandwidth")), None)
    compute = max(work.flop, work.hardware_flop) / (_flops(accelerator, dtype) * COMPUTE_SHARE)
    memory = work.memory_bytes / (_bandwidth(accelerator) * MEMORY_SHARE)
    return max(compute, memory, work.link_bytes / LINK_BANDWIDTH, LAUNCH_S)


def clock_of(accelerator: Accelerator) -> float:
    """Return the clock that a simulated device holds, Hz."""
    part = accelerator.part
    if part is not None and part.clock_hz:
        return part.clock_hz
    return accelerator.clock_max_hz or ASSUMED_CLOCK_HZ


def _flops(accelerator: Accelerator, dtype: str | None) -> float:
    """Peak of a dtype, flop/s, as the catalogue's row has it; else that of half the bits, else an assumption."""
    part = accelerator.part
    if part is None or dtype is None:
        return ASSUMED_FLOPS
    for key in (f"{dtype}_tensor", dtype):
        if key in part.peak_flops:
            return part.peak_flops[key]
        if key in part.flops_per_clock:
            return part.flops_per_clock[key] * _units(accelerator, part) * clock_of(accelerator)
    return ASSUMED_FLOPS


def _units(accelerator: Accelerator, part: Part) -> float:
    if accelerator.kind == "cpu":
        return accelerator.cpu.cores_usable if accelerator.cpu else 1.0
    return float(accelerator.sm_count or part.sm_count or 100)


def _bandwidth(accelerator: Accelerator) -> float:
    part = accelerator.part
    return part.memory_bandwidth if part is not None and part.memory_bandwidth else ASSUMED_BANDWIDTH
