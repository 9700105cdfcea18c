"""Owns which model, batch and length a scaling run gets: a fixed ladder by device class and memory."""

from typing import Literal

from effbench.kernels import transformer_fit
from effbench.kernels.transformer_config import Config, ConfigName, DtypeName, parameters, train_peak_bytes
from effbench.kernels.transformer_fit import Rung
from effbench.model.inventory import Accelerator

# 48 sequences divide over 1, 2, 3, 4, 6, 8, 12, 16, 24 and 48 devices. The model leaves room for a second copy and two
# sets of fp32 gradients, which verification needs; a test holds every rung to nine tenths of its memory.
GPU = {
    "weak": (Rung(63e9, "1b", 4, 2048), Rung(16e9, "125m", 8, 1024), Rung(0, "cpu-20m", 8, 256)),
    "strong": (Rung(79e9, "1b", 48, 384), Rung(16e9, "125m", 48, 256), Rung(0, "cpu-20m", 48, 64)),
}
# One core does 0.03 to 0.1 TFLOP/s: 128 tokens of the 20 M model are 16 GFLOP. A CPU has a rank per core, so its strong
# batch is many short sequences: 96 also divide over 32 and 96.
CPU = {
    "weak": (Rung(0, "cpu-20m", 2, 64), Rung(0, "tiny", 2, 32)),
    "strong": (Rung(0, "cpu-20m", 96, 4), Rung(0, "tiny", 96, 4)),
}
# Beyond the training step itself: gathered weights, their gradients and the reference's, 12 byte per parameter.
VERIFY_BYTES = 12


def rung(config: ConfigName | None, scaling: Literal["weak", "strong"], accelerator: Accelerator) -> Rung:
    """The shape of a device: sequences per rank (weak) or of all ranks (strong), and tokens of each."""
    ladder = (GPU if accelerator.kind == "gpu" else CPU)[scaling]
    return transformer_fit.rung_for(ladder, config, accelerator.memory_bytes)


def needed_bytes(config: Config, sequences: int, seq: int, dtype: DtypeName) -> float:
    """Estimated most memory of one rank: the whole training state and what verification adds."""
    return train_peak_bytes(config, sequences, seq, dtype) + VERIFY_BYTES * parameters(config)


def too_large(config: Config, sequences: int, seq: int, dtype: DtypeName, accelerator: Accelerator) -> str | None:
    """Why one rank's training does not fit the device, or None."""
    purpose = f"training {config.name} with {sequences} x {seq} tokens on each rank"
    return transformer_fit.too_large(purpose, needed_bytes(config, sequences, seq, dtype), accelerator)
