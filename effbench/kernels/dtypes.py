"""What each number format is, and whether a device has hardware for it. Pure: no torch.

Formats: fp64, fp32, tf32 (fp32 storage, 10-bit mantissa multiplied), bf16, fp16, fp8 (e4m3), int8.
"""

from typing import Literal

from effbench.kernels.contract import Support
from effbench.model.inventory import Accelerator, CpuFacts

Dtype = Literal["fp64", "fp32", "tf32", "bf16", "fp16", "fp8", "int8"]

BYTES: dict[str, int] = {"fp64": 8, "fp32": 4, "tf32": 4, "bf16": 2, "fp16": 2, "fp8": 1, "int8": 1}

# What a product of two such matrices is stored in: bf16 for fp8 (no saturation), int32 for int8 (exact).
OUTPUT: dict[str, str] = {"fp8": "bf16", "int8": "int32", "tf32": "fp32"}
OUTPUT_BYTES: dict[str, int] = {"fp64": 8, "fp32": 4, "tf32": 4, "bf16": 2, "fp16": 2, "fp8": 2, "int8": 4}

# Least NVIDIA compute capability with a unit for the format: NVIDIA CUDA C++ Programming Guide, table "Feature support
# per compute capability" (fp16 arithmetic 5.3, bf16 and tf32 tensor cores 8.0, fp8 8.9; int8 tensor cores from 7.2,
# of which cuBLASLt takes 7.5).
CAPABILITY: dict[str, tuple[int, int]] = {
    "fp16": (5, 3),
    "int8": (7, 5),
    "bf16": (8, 0),
    "tf32": (8, 0),
    "fp8": (8, 9),
}

# /proc/cpuinfo flags (x86) and features (aarch64), any of which means a unit for the format; Linux cpufeatures.h and
# the arm64 ELF hwcaps document.
CPU_FLAGS: dict[str, frozenset[str]] = {
    "bf16": frozenset({"avx512_bf16", "amx_bf16", "bf16", "svebf16"}),
    "fp16": frozenset({"avx512_fp16", "amx_fp16", "asimdhp"}),
    "int8": frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm", "svei8mm"}),
    "fp8": frozenset(),
}


def support(dtype: str, accelerator: Accelerator) -> Support:
    """Say whether `accelerator` has a unit for `dtype`, runs it emulated, or does not have it at all."""
    if accelerator.kind == "cpu":
        if dtype == "tf32":
            return Support(skip="not applicable: a CPU has no tf32")
        return Support(emulated=_emulated_on_cpu(dtype, accelerator))
    needed = CAPABILITY.get(dtype)
    held = capability(accelerator)
    if needed is not None and held is not None and held < needed:
        return Support(
            skip=f"not applicable: {dtype} needs compute capability {needed[0]}.{needed[1]}, "
            f"this device has {accelerator.compute_capability}"
        )
    return Support(emulated=accelerator.part is not None and dtype in accelerator.part.emulated)


def capability(accelerator: Accelerator) -> tuple[int, int] | None:
    """Return the compute capability as numbers, or None where the device states none."""
    major, _, minor = accelerator.compute_capability.partition(".")
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else None


def half_or_single(accelerator: Accelerator) -> Literal["bf16", "fp32"]:
    """Return bf16 where the device has a unit for it, else fp32: what a training step would use there."""
    found = support("bf16", accelerator)
    return "fp32" if found.skip or found.emulated else "bf16"


def _emulated_on_cpu(dtype: str, accelerator: Accelerator) -> bool:
    if accelerator.part is not None:
        return dtype in accelerator.part.emulated
    wanted = CPU_FLAGS.get(dtype)
    return wanted is not None and not wanted & set(_flags(accelerator.cpu))


def _flags(cpu: CpuFacts | None) -> list[str]:
    return [] if cpu is None else cpu.flags
