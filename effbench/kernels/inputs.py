"""The inputs of every kernel: random, seeded, and described in words. Data decide how much power a multiplier draws.

Normal-random values are the convention (measuring a GEMM on zeros or integers reads 10 to 22 % higher on power-limited
parts, because fewer bits toggle). fp8 is scaled so that the largest value reaches the end of the range.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

FP8_MAX = 448.0  # largest finite e4m3 value, OCP 8-bit Floating Point Specification 1.0, table 1

DISTRIBUTION = {
    "fp8": "normal, mean 0, scaled so that the largest magnitude is 448 (the end of e4m3), no saturation",
    "int8": "uniform integers, -128 to 127",
}


def distribution(dtype: str, seed: int) -> str:
    """Describe in words what `tensor` draws for `dtype`."""
    return f"{DISTRIBUTION.get(dtype, 'normal, mean 0, standard deviation 1')}; seed {seed}"


def torch_dtype(dtype: str) -> "torch.dtype":
    """Return torch's type for one of effbench's names (`tf32` is stored as float32)."""
    import torch

    known: dict[str, torch.dtype] = {
        "fp64": torch.float64,
        "fp32": torch.float32,
        "tf32": torch.float32,
        "bf16": torch.bfloat16,
        "fp16": torch.float16,
        "fp8": torch.float8_e4m3fn,
        "int8": torch.int8,
        "int32": torch.int32,
    }
    return known[dtype]


def tensor(shape: Sequence[int], dtype: str, device: str, seed: int) -> "torch.Tensor":
    """Draw a tensor by the convention of this module. The same arguments give the same values on the same device."""
    import torch

    generator = torch.Generator(device=device).manual_seed(seed)
    options: dict[str, Any] = {"generator": generator, "device": device}
    size = tuple(shape)
    if dtype == "int8":
        return torch.randint(-128, 128, size, dtype=torch.int8, **options)
    if dtype == "fp64":
        return torch.randn(size, dtype=torch.float64, **options)
    drawn = torch.randn(size, dtype=torch.float32, **options)
    if dtype == "fp8":
        drawn.mul_(FP8_MAX / drawn.abs().amax().clamp_min(1e-30)).clamp_(-FP8_MAX, FP8_MAX)
    return drawn.to(torch_dtype(dtype))


def fp32_products(tf32: bool) -> str:
    """Decide explicitly whether fp32 matrix products may use tf32 units, and say what was decided."""
    import torch

    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    return f"float32_matmul_precision={torch.get_float32_matmul_precision()}"


def matmul_flags() -> str:
    """List the torch settings that change what a matrix product costs or how it accumulates."""
    import torch

    matmul = torch.backends.cuda.matmul
    found = {
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "fp16_reduced_precision_reduction": getattr(matmul, "allow_fp16_reduced_precision_reduction", "?"),
        "bf16_reduced_precision_reduction": getattr(matmul, "allow_bf16_reduced_precision_reduction", "?"),
        "fp16_accumulation": getattr(matmul, "allow_fp16_accumulation", "?"),
    }
    return ", ".join(f"{name}={value}" for name, value in found.items())
