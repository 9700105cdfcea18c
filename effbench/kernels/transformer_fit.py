"""Owns which model, batch and length a device gets: a fixed ladder by device class and memory, never a timing."""

import msgspec

from effbench.kernels.transformer_config import (
    Config,
    ConfigName,
    DtypeName,
    infer_peak_bytes,
    train_peak_bytes,
)
from effbench.model.inventory import Accelerator


class Rung(msgspec.Struct, frozen=True):
    """One step of the ladder: from `memory_bytes` up, this model with this batch and length in tokens."""

    memory_bytes: float
    config: ConfigName
    batch: int
    tokens: int


# An "80 GB" part lists 85e9 byte, a "24 GB" one 25.7e9; the rungs leave a tenth for the context and fragmentation.
# A test computes `train_peak_bytes` of every rung and holds it to that.
TRAIN_GPU = (
    Rung(79e9, "4b", 2, 2048),
    Rung(63e9, "3b", 2, 2048),
    Rung(31e9, "1b", 2, 2048),
    Rung(24e9, "1b", 1, 2048),
    Rung(7.5e9, "125m", 4, 1024),
    Rung(0, "cpu-20m", 8, 512),
)
INFER_GPU = (
    Rung(24e9, "4b", 1, 2048),
    Rung(12e9, "3b", 1, 2048),
    Rung(6e9, "1b", 1, 2048),
    Rung(2e9, "125m", 1, 1024),
    Rung(0, "cpu-20m", 1, 256),
)
# Two cores hold about 0.1 to 0.3 TFLOP/s: a step of 256 tokens is 31 GFLOP, a prompt of 256 tokens 10 GFLOP.
TRAIN_CPU = (Rung(0, "cpu-20m", 2, 128), Rung(0, "tiny", 2, 32))
INFER_CPU = (Rung(0, "cpu-20m", 1, 256), Rung(0, "tiny", 1, 32))


def rung_for(ladder: tuple[Rung, ...], config: ConfigName | None, memory_bytes: int) -> Rung:
    """The first rung that the memory reaches; with a `config`, among that model's rungs, else its smallest one.

    A model that the ladder does not list gets the first rung's batch and length.
    """
    rungs = tuple(rung for rung in ladder if config in (None, rung.config))
    for rung in rungs:
        if memory_bytes >= rung.memory_bytes:
            return rung
    return rungs[-1] if rungs else msgspec.structs.replace(ladder[0], config=config)


def train_rung(config: ConfigName | None, accelerator: Accelerator) -> Rung:
    """The training shape of a device."""
    return rung_for(TRAIN_GPU if accelerator.kind == "gpu" else TRAIN_CPU, config, accelerator.memory_bytes)


def infer_rung(config: ConfigName | None, accelerator: Accelerator) -> Rung:
    """The inference shape of a device; `tokens` is the prompt or the context."""
    return rung_for(INFER_GPU if accelerator.kind == "gpu" else INFER_CPU, config, accelerator.memory_bytes)


def too_large(purpose: str, needed_bytes: float, accelerator: Accelerator) -> str | None:
    """A sentence when the estimate exceeds the device's memory, else None."""
    if needed_bytes <= accelerator.memory_bytes:
        return None
    needed, there = needed_bytes / 1e9, accelerator.memory_bytes / 1e9
    return f"not applicable: {purpose} needs about {needed:.1f} GB and the device has {there:.1f} GB"


def train_too_large(config: Config, batch: int, seq: int, dtype: DtypeName, accelerator: Accelerator) -> str | None:
    """Why a training step does not fit the device, or None."""
    needed = train_peak_bytes(config, batch, seq, dtype)
    return too_large(f"training {config.name} with {batch} x {seq} tokens", needed, accelerator)


def infer_too_large(config: Config, batch: int, tokens: int, dtype: DtypeName, accelerator: Accelerator) -> str | None:
    """Why a model with its cache does not fit the device, or None."""
    needed = infer_peak_bytes(config, batch, tokens, dtype)
    return too_large(f"{config.name} with a cache of {batch} x {tokens} tokens", needed, accelerator)
