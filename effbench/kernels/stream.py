"""Sustained memory bandwidth over arrays of at least four times the last-level cache: copy, triad, read, write.

Bytes follow the STREAM convention (McCalpin): arrays named in the operation, counted once per element. `copy` c = a: 2,
`triad` a = b + s c: 3, `read` sum of a: 1, `write` a = s: 1. A cache that reads a line before it writes it
(write-allocate) moves one array more than is counted on copy, triad and write unless the stores bypass it, so a CPU's
figure understates its memory by up to a half (write), a third (copy) or a quarter (triad).

OVERHEAD: one torch call per repetition. FIELDS: `Params`. EXAMPLE: `{kernel: stream, params: {op: triad}}` yields
`memory.stream.triad.bandwidth`.
"""

import math
from typing import TYPE_CHECKING, Literal

import msgspec

from effbench.kernels import inputs, verify
from effbench.kernels.contract import Rig, Step, Support
from effbench.model.error import SiteError
from effbench.model.event import Verify
from effbench.model.inventory import Accelerator
from effbench.model.plan import Output, Work

if TYPE_CHECKING:
    import torch

VERSION = 1

ARRAYS = {"copy": 2, "triad": 3, "read": 1, "write": 1}
FLOP_PER_ELEMENT = {"copy": 0.0, "triad": 2.0, "read": 1.0, "write": 0.0}
ELEMENT_BYTES = {"fp32": 4, "fp64": 8}
CACHE_MULTIPLE = 4  # STREAM's own rule for its array size
# Least array per device class: on a GPU 1 GiB takes 0.2 ms at 5 TB/s, well above a launch.
ARRAY_MIN = {"gpu": 1 << 30, "cpu": 1 << 26}
MEMORY_SHARE = 16  # one array takes at most this part of the memory
SCALAR = 3.0
DRAWN = 1 << 22


class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which operation, on which element type; `array_bytes` is the size of one array, filled by `fit` when open."""

    op: Literal["copy", "triad", "read", "write"] = "triad"
    dtype: Literal["fp32", "fp64"] = "fp32"
    array_bytes: int | None = None

    def __post_init__(self) -> None:
        """Refuse an array that is not a whole number of 64-byte lines."""
        if self.array_bytes is not None and (self.array_bytes < 64 or self.array_bytes % 64):
            raise ValueError(f"array_bytes is {self.array_bytes}; it must be a positive multiple of 64")


def fit(params: Params, accelerator: Accelerator) -> Params:
    """Choose the least power of two that is at least 4x the last-level cache and the class's least size.

    A sixteenth of the memory caps it: a cache that large is then not cleared by one array, but by the two or three.
    """
    if params.array_bytes is not None:
        return params
    wanted = max(ARRAY_MIN[accelerator.kind], CACHE_MULTIPLE * accelerator.llc_bytes)
    size = 1 << (wanted - 1).bit_length()
    while size > 1 << 20 and size > accelerator.memory_bytes // MEMORY_SHARE:
        size //= 2
    return msgspec.structs.replace(params, array_bytes=size)


def work(params: Params) -> Work:
    """Count the arrays named in the operation; triad does two flop per element, read one."""
    size = _size(params)
    flop = FLOP_PER_ELEMENT[params.op] * (size // ELEMENT_BYTES[params.dtype])
    return Work(flop=flop, hardware_flop=flop, memory_bytes=float(ARRAYS[params.op] * size))


def support(params: Params, accelerator: Accelerator) -> Support:
    """Ask for memory for the arrays."""
    if ARRAYS[params.op] * _size(params) > accelerator.memory_bytes // 2:
        return Support(skip=f"not applicable: the arrays of {label(params)} need over half of the memory")
    return Support()


def outputs(params: Params) -> list[Output]:
    """The bandwidth."""
    key = f"memory.stream.{params.op}.bandwidth"
    return [Output(key, "memory_bytes", "bandwidth", fractions=True)]


def label(params: Params) -> str:
    """Name operation, type and size."""
    return f"{params.op}-{params.dtype}-{_size(params) >> 20}MiB"


def _size(params: Params) -> int:
    if params.array_bytes is None:
        raise ValueError("stream parameters are not fitted: array_bytes is open")
    return params.array_bytes


def build(params: Params, rig: Rig) -> Step:
    """Allocate and fill the arrays.

    Raises:
        SiteError: too little memory is free.
    """
    needed, free = ARRAYS[params.op] * _size(params), rig.free_bytes()
    if needed > free * 9 // 10:
        raise SiteError(f"stream {label(params)} needs {needed} bytes, {free} are free")
    return StreamStep(params, rig)


class StreamStep:
    """The arrays of one operation. The scalar of triad and write changes with the repetition."""

    def __init__(self, params: Params, rig: Rig) -> None:
        import torch

        self._params, self._rig = params, rig
        n = _size(params) // ELEMENT_BYTES[params.dtype]
        dtype = inputs.torch_dtype(params.dtype)
        drawn = {"copy": 1, "triad": 2, "read": 1, "write": 0}[params.op]
        self._sources = [_drawn(n, params.dtype, rig.device, rig.seed + i) for i in range(drawn)]
        shape = (1,) if params.op == "read" else (n,)
        self._out = torch.empty(shape, dtype=dtype, device=rig.device)

    def run(self, i: int) -> None:
        """Do the operation once over the whole arrays."""
        import torch

        scalar = SCALAR + i % 2
        if self._params.op == "copy":
            self._out.copy_(self._sources[0])
        elif self._params.op == "triad":
            torch.add(self._sources[0], self._sources[1], alpha=scalar, out=self._out)
        elif self._params.op == "read":
            torch.sum(self._sources[0], dim=0, keepdim=True, out=self._out)
        else:
            self._out.fill_(scalar)

    def _fresh(self) -> "torch.Tensor":
        verify.poison(self._out)
        self.run(0)
        self._rig.synchronize()
        return self._out

    def verify(self) -> Verify:
        """Compare every element with the definition, in fp64 where there is arithmetic."""
        out = self._fresh()
        allowed = _tolerance(self._params)
        if self._params.op == "read":
            error = self._sum_error(float(out))
        else:
            step = self._piece()
            error = max(self._error(low, out[low : low + step]) for low in range(0, out.numel(), step))
        if error != error or error == float("inf"):
            return Verify(ok=False, error=1.0, tolerance=allowed, detail="the output holds NaN or Inf")
        detail = "" if error <= allowed else f"an element of {self._params.op} is off by {error:.3g}"
        return Verify(ok=error <= allowed, error=error, tolerance=allowed, detail=detail)

    def _error(self, low: int, part: "torch.Tensor") -> float:
        """Largest relative deviation in one piece of the output."""
        import torch

        pieces = [source[low : low + part.numel()] for source in self._sources]
        if self._params.op == "copy":
            return 0.0 if torch.equal(part, pieces[0]) else 1.0
        if self._params.op == "write":
            return 0.0 if bool((part == SCALAR).all()) else 1.0
        first, second = (piece.double() for piece in pieces)
        size = first.abs().add_(second.abs(), alpha=SCALAR)
        return float((part.double() - first.add_(second, alpha=SCALAR)).abs_().div_(size.clamp_min_(1e-30)).amax())

    def _sum_error(self, total: float) -> float:
        """Deviation of the sum, relative to the root of the sum of squares, which is what a random walk grows to."""
        expected, squares, step = 0.0, 0.0, self._piece()
        for low in range(0, self._sources[0].numel(), step):
            wide = self._sources[0][low : low + step].double()
            expected += float(wide.sum())
            squares += float(wide.square_().sum())
        return abs(total - expected) / max(math.sqrt(squares), 1e-30)

    def _piece(self) -> int:
        """Elements to check at once."""
        return verify.piece_bytes(self._out) // 16

    def fingerprint(self) -> int | None:
        """Checksum of the output."""
        return verify.fingerprint(self._fresh())

    def facts(self) -> dict[str, float]:
        """The size of one array, and how often the last-level cache fits into it, where that is known."""
        size = float(_size(self._params))
        cache = self._rig.accelerator.llc_bytes
        return {"array_bytes": size, **({"array_over_llc": size / cache} if cache > 0 else {})}

    def texts(self) -> dict[str, str]:
        """The byte convention and the inputs."""
        counted = ARRAYS[self._params.op]
        note = "" if self._params.op == "read" else "; a line that is read before it is written (write-allocate) is not"
        return {
            "bytes": f"STREAM convention: {counted} array{'s' if counted > 1 else ''} counted per repetition{note}",
            "inputs": inputs.distribution(self._params.dtype, self._rig.seed)
            + "; drawn for 4 Mi elements, repeated at other scales",
        }

    def close(self) -> None:
        """Let go of the arrays."""
        self._sources.clear()
        self._out = self._out[:0].clone()


def _tolerance(params: Params) -> float:
    """Copy and write are exact. Triad rounds twice. A sum of n random numbers walks some sqrt(n) roundings."""
    unit = 2.0**-53 if params.dtype == "fp64" else 2.0**-24
    if params.op == "triad":
        return 4.0 * unit
    if params.op == "read":
        return 8.0 * unit * math.sqrt(_size(params) / ELEMENT_BYTES[params.dtype])
    return 0.0


def _drawn(n: int, dtype: str, device: str, seed: int) -> "torch.Tensor":
    """Random numbers, repeated every 4 Mi elements at another scale, because drawing a GiB takes seconds."""
    import torch

    block = inputs.tensor((min(n, DRAWN),), dtype, device, seed)
    out = torch.empty(n, dtype=block.dtype, device=device)
    for number, low in enumerate(range(0, n, DRAWN)):
        piece = out[low : low + DRAWN]
        torch.mul(block[: piece.numel()], 1.0 + 0.618034 * number % 1.0, out=piece)
    return out
