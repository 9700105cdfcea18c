"""Inventory entries for kernel tests, and a real CPU rig on one thread."""

from typing import Any

import msgspec

from effbench.kernels.rig import TorchRig
from effbench.model.inventory import Accelerator, CpuFacts

SEED = 20261121


def cpu(*flags: str, memory_bytes: int = 8 << 30, llc_bytes: int = 1 << 20) -> Accelerator:
    """A CPU with one usable core and these flags, unknown to the catalogue."""
    facts = CpuFacts("AuthenticAMD", 25, 17, "AMD EPYC", list(flags), 1.0, 1, 1, [0])
    return Accelerator("cpu", "cpu", "amd", "AMD EPYC", "cpu", memory_bytes, llc_bytes, cpu=facts)


def gpu(memory_bytes: float = 85.0e9, capability: str = "9.0") -> Accelerator:
    """A GPU with this memory and compute capability, unknown to the catalogue."""
    return Accelerator(
        "gpu0", "gpu", "nvidia", "test", "cuda:0", int(memory_bytes), 50 << 20, compute_capability=capability
    )


def cpu_rig(**facts: Any) -> TorchRig:
    """The machine's CPU, one thread, with these inventory fields replaced."""
    return TorchRig(msgspec.structs.replace(cpu("avx512_bf16"), **facts), SEED)
