"""A load that goes on and off at known times, by which a power sensor's own update, window and lag are found.

First a few slow cycles (the step response), then trains of fast ones whose periods share no multiple with a sensor that
updates every 100 ms, and one train at exactly 100 ms, half on, half off: a sensor that looks only 25 ms of each 100 ms
sees all or nothing of it. The busy half is matrix products back to back, the other half sleeps. Every busy phase is one
sample: it ended at `t_ns` and lasted `host_s`, so that the journal holds the edges. Run it in mode `once`.

OVERHEAD: the device is synchronised every 4 ms of a busy phase. FIELDS: `Params`. EXAMPLE: `{kernel: square_wave,
procedure: {mode: once, duration_s: 50, telemetry_hz: 97, throttle: keep}}`.
"""

import random
import time
from collections.abc import Iterator, Sequence

import msgspec

from effbench.kernels import dtypes, gemm
from effbench.kernels.contract import Rig, Step, Support
from effbench.kernels.dtypes import Dtype
from effbench.model.error import SiteError
from effbench.model.event import Sample, Verify
from effbench.model.inventory import Accelerator
from effbench.model.plan import Output, Work
from effbench.model.quantity import finite

VERSION = 1
# Large enough that every unit of a data-centre GPU works (512 tiles of 128 x 256 on at most 160 units), short enough
# that a phase of 35 ms holds many: 0.2 ms at 700 TFLOP/s, 3 ms on a CPU core pair at 80 GFLOP/s.
SIDE = {"gpu": 4096, "cpu": 512}
PIECE_S = 0.004
PILOT = 3
# Busy lengths vary by this share, so that no train locks to a sensor whose update nobody knows; the 100 ms train stays
# exact, because locking is what it is there for.
JITTER, LOCKED_S = 0.15, 0.100
SLOW_REST_S = 1.0


class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The wave. `dtype` and `side` (of a square product) are filled by `fit` where they are None.

    Attributes:
        slow_cycles, slow_half_s: cycles of the step response, and how long each half lasts, s.
        fast_periods_s: periods of the fast trains, s, half on and half off. fast_s: how long each train lasts, s.
    """

    dtype: Dtype | None = None
    side: int | None = None
    slow_cycles: int = 3
    slow_half_s: float = 2.0
    fast_periods_s: tuple[float, ...] = (0.9, 0.33, 0.17, 0.07, 0.1)
    fast_s: float = 6.0

    def __post_init__(self) -> None:
        """Refuse a wave that cannot be."""
        finite("square_wave", slow_half_s=self.slow_half_s, fast_s=self.fast_s)
        if self.slow_cycles < 1 or self.slow_half_s <= 0 or self.fast_s < 0:
            raise ValueError("square_wave needs at least one slow cycle, and times above zero")
        if any(not 0.002 <= period <= 60 for period in self.fast_periods_s):
            raise ValueError("fast_periods_s lie between 0.002 and 60 s")
        if self.side is not None and not 16 <= self.side <= 1 << 15:
            raise ValueError(f"side is {self.side}; it lies between 16 and 32768")


class Phase(msgspec.Struct, frozen=True):
    """One planned phase: it begins `start_s` after the wave did and lasts `busy_s`, s."""

    start_s: float
    busy_s: float


def fit(params: Params, accelerator: Accelerator) -> Params:
    """The part's ordinary matrix format: bf16 where it has a unit for it, else fp16 on a GPU, else fp32."""
    dtype: Dtype = params.dtype or dtypes.half_or_single(accelerator)
    if params.dtype is None and dtype == "fp32" and accelerator.kind == "gpu":
        half = dtypes.support("fp16", accelerator)
        dtype = "fp32" if half.skip or half.emulated else "fp16"
    return msgspec.structs.replace(params, dtype=dtype, side=params.side or SIDE[accelerator.kind])


def product(params: Params) -> gemm.Params:
    """Return the matrix product that the busy phases repeat. Raises ValueError when parameters are not fitted."""
    if params.dtype is None or params.side is None:
        raise ValueError("square_wave parameters are not fitted: dtype or side is open")
    return gemm.Params(dtype=params.dtype, m=params.side, n=params.side, k=params.side)


def work(params: Params) -> Work:
    """Count one product."""
    return gemm.work(product(params))


def support(params: Params, accelerator: Accelerator) -> Support:
    """What the product asks for."""
    return gemm.support(product(params), accelerator)


def outputs(params: Params) -> list[Output]:
    """The time of one product inside the busy phases; the figures that matter go into the sensors' cards."""
    return [Output("quality.square_wave.time", "time")]


def label(params: Params) -> str:
    """Name the format, the side and the number of fast trains."""
    one = product(params)
    return f"{one.dtype}-{one.m}-{params.slow_cycles}slow-{len(params.fast_periods_s)}fast"


def phases(params: Params, seed: int) -> Iterator[Phase]:
    """Plan the busy phases in time order. The same seed gives the same wave."""
    draw = random.Random(f"square_wave:{seed}")
    now = 0.0
    for _ in range(params.slow_cycles):
        yield Phase(now, params.slow_half_s)
        now += 2.0 * params.slow_half_s
    for period in params.fast_periods_s:
        end, jitter = now + params.fast_s, 0.0 if period == LOCKED_S else JITTER
        while now + period <= end:
            busy, rest = (0.5 * period * (1.0 + draw.uniform(-jitter, jitter)) for _ in range(2))
            yield Phase(now, busy)
            now += busy + rest
        now += min(SLOW_REST_S, params.slow_half_s)


def length_s(params: Params) -> float:
    """Return how long the wave lasts, s; jitter may add one period to a train."""
    trains = len(params.fast_periods_s) * (params.fast_s + min(SLOW_REST_S, params.slow_half_s))
    return 2.0 * params.slow_cycles * params.slow_half_s + trains


def build(params: Params, rig: Rig) -> Step:
    """Prepare the product on the rig's device.

    Raises:
        SiteError: the memory does not suffice, or this torch cannot multiply the format here.
    """
    return SquareWave(params, rig, gemm.build(product(params), rig))


class SquareWave:
    """The product, and the wave made of it."""

    def __init__(self, params: Params, rig: Rig, step: Step) -> None:
        self._params, self._rig, self._step = params, rig, step
        self._facts: dict[str, float] = {}
        self._cut, self._piece = "", 1

    def run(self, i: int) -> None:
        """Multiply once."""
        self._step.run(i)

    def samples(self, deadline_s: float) -> Sequence[Sample]:
        """Do the whole wave, or as much of it as fits into `deadline_s` seconds; one sample per busy phase.

        Raises:
            SiteError: one product takes longer than half of the shortest phase, so that nothing can be timed.
        """
        piece_s = self._pilot()
        planned = list(phases(self._params, self._rig.seed))
        shortest = min(phase.busy_s for phase in planned)
        if piece_s > shortest / 2:
            raise SiteError(f"one product takes {piece_s:.3g} s here: too long for phases of {shortest:.3g} s")
        taken: list[Sample] = []
        start_ns = time.monotonic_ns()
        for phase in planned:
            if phase.start_s + phase.busy_s > deadline_s:
                self._cut = f"cut off after {len(taken)} of {len(planned)} phases for lack of time"
                break
            # The plan is absolute: a late phase shortens the rest before the next one and never shifts the train.
            time.sleep(max(0.0, phase.start_s - (time.monotonic_ns() - start_ns) * 1e-9))
            taken.append(self._busy(start_ns + int((phase.start_s + phase.busy_s) * 1e9)))
        self._facts = {"busy_phases": float(len(taken)), "wave_s": (time.monotonic_ns() - start_ns) * 1e-9}
        return taken

    def _pilot(self) -> float:
        """Time a few products, and set how many fill a piece. Returns the time of the longer of piece and product."""
        self._rig.synchronize()
        began = time.monotonic_ns()
        for i in range(PILOT):
            self.run(i)
        self._rig.synchronize()
        one_s = max(1e-6, (time.monotonic_ns() - began) * 1e-9 / PILOT)
        self._piece = max(1, int(PIECE_S / one_s))
        return self._piece * one_s

    def _busy(self, until_ns: int) -> Sample:
        """Multiply until `until_ns`, at least one piece, and wait for the device at both edges."""
        self._rig.synchronize()
        began, done = time.monotonic_ns(), 0
        while True:
            for i in range(done, done + self._piece):
                self.run(i)
            self._rig.synchronize()
            done += self._piece
            now = time.monotonic_ns()
            if now >= until_ns:
                seconds = (now - began) * 1e-9
                return Sample(now, seconds, seconds, done)

    def verify(self) -> Verify:
        """Check a whole fresh product."""
        return self._step.verify()

    def fingerprint(self) -> int | None:
        """Checksum of a fresh product."""
        return self._step.fingerprint()

    def facts(self) -> dict[str, float]:
        """How many phases ran, and for how long in all."""
        return {**self._step.facts(), **self._facts}

    def texts(self) -> dict[str, str]:
        """What the product says, and what the wave was."""
        trains = ", ".join(f"{period:g}" for period in self._params.fast_periods_s)
        wave = f"{self._params.slow_cycles} slow cycles, then trains of periods {trains} s"
        return {**self._step.texts(), "wave": self._cut or wave}

    def close(self) -> None:
        """Let go of the operands."""
        self._step.close()
