"""The fastest matrix product on a declared grid of shapes, taken in burst form as published maxima are.

Before every repetition the last-level cache is flushed and the device is left idle for a moment, so a power-limited
part boosts: such a figure stands beside burst references (MAMF) and never beside a sustained one. A search visits at
most a tenth of the grid; then the winner is measured afresh, and only those samples count, because the best of many
noisy readings is biased upwards.

One step is 1e9 flop: `device_s / inner_steps` of a sample is seconds per 1e9 flop at the winner's shape, since the work
of a repetition is not known before the search has ended.

OVERHEAD: buffers for the largest shape of the grid are allocated once. FIELDS: `Params`. EXAMPLE:
`{kernel: gemm_achievable, params: {dtype: bf16}, procedure: {mode: once}}`.
"""

import statistics
import time
from typing import TYPE_CHECKING, Literal

import msgspec

from effbench.kernels import dtypes, inputs, products, verify
from effbench.kernels.contract import Rig, Step, Support
from effbench.kernels.dtypes import Dtype
from effbench.model.error import SiteError
from effbench.model.event import Sample, Verify
from effbench.model.inventory import Accelerator
from effbench.model.plan import Output, Work

if TYPE_CHECKING:
    import torch

VERSION = 1
STEP_FLOP = 1e9

# Declared grids: (step, count) for m, n and k alike. GPU: multiples of 1024 up to 16384, where MAMF's winners lie, and
# up to 4096 for fp64, which is 1/64 of fp32 on some parts. CPU: multiples of 256 up to 2048.
GRIDS: dict[str, tuple[int, int]] = {"gpu": (1024, 16), "gpu-fp64": (256, 16), "cpu": (256, 8)}
SHARE_OF_GRID = 10
SEARCH_REPEATS, WINNER_SAMPLES_MIN, WINNER_SAMPLES_MAX = 3, 5, 50
# The winner's own measurement gets at least this share of the time.
WINNER_SHARE = 0.2


class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to search. `evaluations_max` counts shapes tried, a tenth of the grid when open."""

    dtype: Dtype = "bf16"
    grid: Literal["burst"] = "burst"
    evaluations_max: int | None = None
    grid_step: int | None = None
    grid_count: int | None = None

    def __post_init__(self) -> None:
        """Refuse an empty search or an empty grid."""
        for name in ("evaluations_max", "grid_step", "grid_count"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1")


def fit(params: Params, accelerator: Accelerator) -> Params:
    """Declare the grid of the device class, and a tenth of its points as the number of evaluations."""
    name = "gpu-fp64" if (accelerator.kind, params.dtype) == ("gpu", "fp64") else accelerator.kind
    step = params.grid_step or GRIDS[name][0]
    count = params.grid_count or GRIDS[name][1]
    evaluations = params.evaluations_max or max(1, count**3 // SHARE_OF_GRID)
    return msgspec.structs.replace(params, evaluations_max=evaluations, grid_step=step, grid_count=count)


def axis(params: Params) -> list[int]:
    """Return the sides of the grid, the same for m, n and k.

    Raises:
        ValueError: the parameters are not fitted.
    """
    if params.grid_step is None or params.grid_count is None:
        raise ValueError("gemm_achievable parameters are not fitted: the grid is open")
    return [params.grid_step * (i + 1) for i in range(params.grid_count)]


def work(params: Params) -> Work:
    """One step is 1e9 flop, whatever the winner's shape."""
    return Work(flop=STEP_FLOP, hardware_flop=STEP_FLOP)


def support(params: Params, accelerator: Accelerator) -> Support:
    """Ask for a unit of the format and memory for the largest shape; searching an emulated format means nothing."""
    found = dtypes.support(params.dtype, accelerator)
    if found.skip:
        return found
    if found.emulated:
        return Support(skip=f"not applicable: {params.dtype} is emulated here, no shape of it is fast", emulated=True)
    sides = axis(params)
    refused = products.shape_refused(params.dtype, sides[0], sides[0], sides[0]) if accelerator.kind == "gpu" else ""
    needed = products.set_bytes(params.dtype, sides[-1], sides[-1], sides[-1])
    if not refused and needed > accelerator.memory_bytes // 2:
        refused = f"not applicable: the largest shape needs {needed} bytes, over half of the memory"
    return Support(skip=refused or None)


def outputs(params: Params) -> list[Output]:
    """The winner's rate. Its reference is a burst maximum."""
    return [Output(f"compute.gemm.{params.dtype}.achievable.flops", "flop", params.dtype, fractions=True)]


def label(params: Params) -> str:
    """Name format and grid."""
    sides = axis(params)
    return f"{params.dtype}-{params.grid}-{sides[0]}to{sides[-1]}"


def build(params: Params, rig: Rig) -> Step:
    """Allocate buffers for the largest shape and try one product.

    Raises:
        SiteError: too little memory, or this torch cannot multiply the format here.
    """
    sides = axis(params)
    needed, free = products.set_bytes(params.dtype, sides[-1], sides[-1], sides[-1]), rig.free_bytes()
    if needed + 4 * sides[-1] ** 2 > free:
        raise SiteError(f"gemm_achievable needs {needed} bytes for its largest shape, {free} are free")
    inputs.fp32_products(params.dtype == "tf32")
    step = AchievableStep(params, rig, sides)
    try:
        step.run(0)
        rig.synchronize()
    except (RuntimeError, NotImplementedError, TypeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise SiteError(f"this torch cannot multiply {params.dtype} on {rig.device}: {reason}") from error
    return step


class _TimeIsUpError(Exception):
    """The search may not evaluate any more."""


class AchievableStep:
    """The search and its winner. Until the search has run, the shape is the middle of the grid."""

    def __init__(self, params: Params, rig: Rig, sides: list[int]) -> None:
        self._params, self._rig, self._sides = params, rig, sides
        self._pools: list[torch.Tensor] = list(_pools(params.dtype, sides[-1], rig))
        self._multiply = products.multiplier(params.dtype, rig.device, fast_accumulation=True)
        middle = sides[len(sides) // 2]
        self._aim((middle, middle, middle))
        self._tried: dict[tuple[int, ...], list[float]] = {}
        self._cut_short = False
        self._searched_s = 0.0

    def _aim(self, shape: tuple[int, ...]) -> None:
        """Make operands of a shape as views into the large buffers."""
        m, n, k = shape
        a, b, c = self._pools
        turned = products.transposed(self._params.dtype, self._rig.device)
        right = b[: n * k].view(n, k).t() if turned else b[: n * k].view(k, n)
        self._shape = (m, n, k)
        self._operands = (a[: m * k].view(m, k), right, c[: m * n].view(m, n))

    def run(self, i: int) -> None:
        """Multiply the shape aimed at."""
        self._multiply(*self._operands)

    def _burst(self) -> Sample:
        """One repetition after a flush, scaled to steps of 1e9 flop."""
        self._rig.flush()
        self._rig.synchronize()
        timing = self._rig.time(self.run, 0, 1)
        giga = products.flop(*self._shape) / STEP_FLOP
        steps = max(1, round(giga))
        scale = steps / giga
        now, clock_hz = time.monotonic_ns(), self._rig.clock_hz()
        return Sample(now, timing.device_s * scale, timing.host_s * scale, steps, clock_hz)

    def samples(self, deadline_s: float) -> list[Sample]:
        """Search within `deadline_s` seconds, then measure the winner afresh; only its samples are returned."""
        from effbench.stats.search import search

        started = self._rig.monotonic()
        search_until = started + (1.0 - WINNER_SHARE) * deadline_s

        def evaluate(shape: tuple[int, ...]) -> float:
            if self._tried and self._rig.monotonic() > search_until:
                raise _TimeIsUpError
            return self._evaluate(shape)

        axes = dict.fromkeys(("m", "n", "k"), self._sides)
        evaluations = self._params.evaluations_max or max(1, len(self._sides) ** 3 // SHARE_OF_GRID)
        try:
            best = search(axes, evaluate, evaluations, self._rig.seed).best
        except _TimeIsUpError:
            self._cut_short = True
            best = max(self._tried, key=lambda shape: statistics.median(self._tried[shape]))
        self._searched_s = self._rig.monotonic() - started
        self._aim(best)
        self.run(0)
        taken: list[Sample] = []
        while len(taken) < WINNER_SAMPLES_MAX:
            if len(taken) >= WINNER_SAMPLES_MIN and self._rig.monotonic() - started > deadline_s:
                break
            taken.append(self._burst())
        return taken

    def _evaluate(self, shape: tuple[int, ...]) -> float:
        """Rate of one shape, flop/s: median of three bursts after one untimed product."""
        self._aim(shape)
        self.run(0)
        times = [sample.device_s / sample.inner_steps for sample in (self._burst() for _ in range(SEARCH_REPEATS))]
        rate = STEP_FLOP / max(statistics.median(times), 1e-12)
        self._tried.setdefault(tuple(shape), []).append(rate)
        return rate

    def _fresh(self) -> "torch.Tensor":
        verify.poison(self._operands[2])
        self.run(0)
        self._rig.synchronize()
        return self._operands[2]

    def verify(self) -> Verify:
        """Check the whole product of the shape aimed at: the winner's, once the search has run."""
        c = self._fresh()
        a, b, _ = self._operands
        allowed = verify.tolerance(self._params.dtype, a.shape[1])
        return verify.product(a, b, c, allowed, self._rig.seed, exact=self._params.dtype == "int8")

    def fingerprint(self) -> int | None:
        """None: the shape, and with it the output, changes with the search."""
        return None

    def facts(self) -> dict[str, float]:
        """The winner's shape, how many evaluations of how many grid points it took, and how long."""
        m, n, k = self._shape
        return {
            "best_m": float(m),
            "best_n": float(n),
            "best_k": float(k),
            "evaluations": float(sum(map(len, self._tried.values()))),
            "grid_points": float(len(self._sides) ** 3),
            "searched_s": self._searched_s,
        }

    def texts(self) -> dict[str, str]:
        """The grid, the protocol, the inputs and the flags."""
        step, low, high = self._sides[0], self._sides[0], self._sides[-1]
        m, n, k = self._shape
        return {
            "winner": f"m{m}n{n}k{k}",
            "grid": f"m, n and k: {low} to {high} in steps of {step}",
            "protocol": "burst: cache flushed and device idle before every repetition; one step is 1e9 flop",
            "search": "cut short by its deadline" if self._cut_short else "complete",
            "inputs": inputs.distribution(self._params.dtype, self._rig.seed),
            "flags": inputs.matmul_flags(),
        }

    def close(self) -> None:
        """Let go of the buffers."""
        self._pools.clear()
        del self._operands


def _pools(dtype: str, side: int, rig: Rig) -> "products.Operands":
    a = inputs.tensor((side * side,), dtype, rig.device, rig.seed)
    b = inputs.tensor((side * side,), dtype, rig.device, rig.seed + 1)
    return a, b, products.empty_output(dtype, side, side, rig.device).view(-1)
