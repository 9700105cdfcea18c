"""Dense matrix product C = A B in one number format and one shape.

Counts 2 m n k flop. fp32 runs with tf32 units off, `tf32` with them on; fp8 is e4m3 in, bf16 out through
`torch._scaled_mm`, with fast accumulation unless the variant is `no_fast_accum`; int8 is `torch._int_mm`, exact in
int32. Buffer sets are rotated over at least twice the last-level cache, so that the device never idles to flush it.

OVERHEAD: one torch call per repetition, about 5 us of host time. FIELDS: `Params`. EXAMPLE: `{kernel: gemm,
params: {dtype: bf16, m: 8192, n: 8192, k: 8192}}` yields `compute.gemm.bf16.m8192n8192k8192.flops`.
"""

from typing import Literal

import msgspec

from effbench.kernels import dtypes, inputs, isa, products, verify
from effbench.kernels.buffers import sets_needed
from effbench.kernels.contract import Rig, Step, Support
from effbench.kernels.dtypes import Dtype
from effbench.model.error import SiteError
from effbench.model.event import Verify
from effbench.model.inventory import Accelerator
from effbench.model.plan import Output, Work

VERSION = 1

# The fixed ladder: one side of the cube per device class. fp64 is halved on a GPU, where some parts run it at 1/64.
SIDE = {"gpu": 8192, "cpu": 2048}
SIDE_GPU_FP64 = 4096
# What torch emulates may be a thousand times slower (fp16 on a Zen 4 core pair: 0.3 to 3 GFLOP/s), and is never held
# against a peak: one small cube is enough.
SIDE_EMULATED = 256
EMULATED_MAX = 512**3


class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One product. C is m x n, the inner dimension is k; None is filled from the ladder by `fit`."""

    dtype: Dtype = "bf16"
    m: int | None = None
    n: int | None = None
    k: int | None = None
    variant: Literal["", "no_fast_accum"] = ""

    def __post_init__(self) -> None:
        """Refuse sizes below one, and a variant that this format does not have."""
        for name, size in (("m", self.m), ("n", self.n), ("k", self.k)):
            if size is not None and not 1 <= size <= 1 << 20:
                raise ValueError(f"{name} is {size}; a matrix side lies between 1 and 1048576")
        if self.variant and self.dtype != "fp8":
            raise ValueError(f"variant {self.variant} exists for fp8 only, not for {self.dtype}")


def fit(params: Params, accelerator: Accelerator) -> Params:
    """Fill open sides from the ladder: 8192 on a GPU (fp64 4096), 2048 on a CPU, 256 for what is emulated there."""
    side = SIDE_GPU_FP64 if (accelerator.kind, params.dtype) == ("gpu", "fp64") else SIDE[accelerator.kind]
    if dtypes.support(params.dtype, accelerator).emulated:
        side = SIDE_EMULATED
    filled = {name: side for name in ("m", "n", "k") if getattr(params, name) is None}
    return msgspec.structs.replace(params, **filled)


def work(params: Params) -> Work:
    """Count 2 m n k flop; bytes are A, B and C once."""
    m, n, k = shape(params)
    count = products.flop(m, n, k)
    return Work(flop=count, hardware_flop=count, memory_bytes=float(products.set_bytes(params.dtype, m, n, k)))


def support(params: Params, accelerator: Accelerator) -> Support:
    """Ask for a unit of the format, a shape that its library takes, and memory for two sets."""
    found = dtypes.support(params.dtype, accelerator)
    m, n, k = shape(params)
    if found.skip:
        return found
    if found.emulated and m * n * k > EMULATED_MAX:
        return Support(
            skip=f"not applicable: {params.dtype} is emulated here, so only shapes up to 512^3 run", emulated=True
        )
    refused = products.shape_refused(params.dtype, m, n, k) if accelerator.kind == "gpu" else ""
    if refused:
        return Support(skip=refused, emulated=found.emulated)
    needed = 2 * products.set_bytes(params.dtype, m, n, k)
    if needed > accelerator.memory_bytes // 2:
        return Support(skip=f"not applicable: two sets of buffers need {needed} bytes, over half of the memory")
    return found


def outputs(params: Params) -> list[Output]:
    """The rate of this shape; the best of all shapes is the headline."""
    m, n, k = shape(params)
    stem = f"compute.gemm.{params.dtype}" + (f".{params.variant}" if params.variant else "")
    return [Output(f"{stem}.m{m}n{n}k{k}.flops", "flop", params.dtype, f"{stem}.flops", fractions=True)]


def label(params: Params) -> str:
    """Name format, variant and shape."""
    m, n, k = shape(params)
    variant = f"-{params.variant}" if params.variant else ""
    return f"{params.dtype}{variant}-m{m}n{n}k{k}"


def shape(params: Params) -> tuple[int, int, int]:
    """Return m, n, k of fitted parameters.

    Raises:
        ValueError: a side is still open.
    """
    if params.m is None or params.n is None or params.k is None:
        raise ValueError("gemm parameters are not fitted: m, n or k is open")
    return params.m, params.n, params.k


def build(params: Params, rig: Rig) -> Step:
    """Draw the operands, rotate sets of them, and try one product.

    Raises:
        SiteError: the memory does not suffice, or this torch cannot multiply the format here.
    """
    m, n, k = shape(params)
    one_set = products.set_bytes(params.dtype, m, n, k)
    free = rig.free_bytes()
    # Random numbers are drawn as fp32 before they are cast: one more matrix for a moment.
    if 2 * one_set + 4 * max(m * k, k * n) > free:
        raise SiteError(f"gemm {label(params)} needs {2 * one_set} bytes for two sets, {free} are free")
    inputs.fp32_products(params.dtype == "tf32")
    sets = [products.operands(params.dtype, m, n, k, rig.device, rig.seed + 2 * j) for j in range(2)]
    # Further sets hold copies: other addresses are what matters, and drawing them anew would take seconds.
    for j in range(2, sets_needed(one_set, rig.accelerator.llc_bytes, free)):
        a, b, c = sets[j % 2]
        sets.append((a.clone(), b.clone(), c.clone()))
    step = GemmStep(params, rig, sets)
    step.try_once()
    return step


class GemmStep:
    """A product on a device, with its rotating sets of operands."""

    def __init__(self, params: Params, rig: Rig, sets: "list[products.Operands]") -> None:
        self._params, self._rig, self._sets = params, rig, sets
        self._multiply = products.multiplier(params.dtype, rig.device, params.variant != "no_fast_accum")
        self._isa = ""

    def try_once(self) -> None:
        """Multiply once, untimed, and learn on a CPU what ran.

        Raises:
            SiteError: torch refuses the format or the shape on this device.
        """
        try:
            if self._rig.device == "cpu":
                self._isa = isa.what_ran(lambda: self.run(0))
            else:
                self.run(0)
            self._rig.synchronize()
        except (RuntimeError, NotImplementedError, TypeError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise SiteError(
                f"this torch cannot multiply {label(self._params)} on {self._rig.device}: {reason}"
            ) from error

    def run(self, i: int) -> None:
        """Multiply set `i` modulo the number of sets."""
        a, b, c = self._sets[i % len(self._sets)]
        self._multiply(a, b, c)

    def _fresh(self) -> "products.Operands":
        """Poison the output of set 0, multiply, wait."""
        verify.poison(self._sets[0][2])
        self.run(0)
        self._rig.synchronize()
        return self._sets[0]

    def verify(self) -> Verify:
        """Check the whole product of set 0."""
        a, b, c = self._fresh()
        allowed = verify.tolerance(self._params.dtype, a.shape[1], self._params.variant == "no_fast_accum")
        return verify.product(a, b, c, allowed, self._rig.seed, exact=self._params.dtype == "int8")

    def fingerprint(self) -> int | None:
        """Checksum of the product of set 0."""
        return verify.fingerprint(self._fresh()[2])

    def facts(self) -> dict[str, float]:
        """How many sets were rotated."""
        return {"buffer_sets": float(len(self._sets))}

    def texts(self) -> dict[str, str]:
        """Inputs, flags, layout, and on a CPU what ran."""
        turned = products.transposed(self._params.dtype, self._rig.device)
        texts = {
            "inputs": inputs.distribution(self._params.dtype, self._rig.seed),
            "flags": inputs.matmul_flags(),
            "layout": "A row-major, B transposed" if turned else "A and B row-major",
            "call": {"fp8": "torch._scaled_mm", "int8": "torch._int_mm"}.get(self._params.dtype, "torch.mm"),
        }
        if self._params.dtype == "fp8":
            texts["accumulation"] = "promoted to fp32" if self._params.variant else "fast"
        if self._isa:
            texts["isa"] = self._isa
        return texts

    def close(self) -> None:
        """Let go of every set."""
        self._sets.clear()
