"""Owns what a training run keeps beside the model: data that can be learnt, fp32 masters, AdamW, and the verdict."""

from __future__ import annotations

import ctypes
import gc
import math
from typing import TYPE_CHECKING, Any

from effbench.kernels.contract import Rig
from effbench.kernels.transformer_config import Config
from effbench.model.event import Verify

if TYPE_CHECKING:
    from torch import Tensor

BATCHES = 2  # fixed batches in rotation; the loss is compared over whole rotations
ALPHABET = 64  # distinct tokens in the data, so that the first steps already lower the loss
NOISE = 0.1  # share of tokens that break the rule
STEPS_TO_JUDGE = 8  # verification trains on until the loss had this many steps to fall
WEIGHT_DECAY = 0.1
EMBEDDING_STD = 1.0
# Rate 0.2 / width (4e-4 at 512, 6.5e-5 at 3072; the scaling of Yang et al., arXiv 2203.03466), falling as
# 1 / (1 + n / 20), so that a soak of thousands of steps on the same data does not diverge. With embeddings of deviation
# 1 the loss fell without a spike for widths 64 to 2048 and 2 to 24 layers; with 0.02 it spiked at every rate tried.
RATE_TIMES_WIDTH = 0.2
RATE_HALF_STEPS = 20


def learnable_tokens(config: Config, batch: int, seq: int, device: str, seed: int) -> Tensor:
    """Synthetic data (BATCHES, batch, seq + 1): each token follows from the one before, but for a share of noise.

    The rule is t -> 5 t + 17 modulo the alphabet, a permutation with full period (Hull and Dobell 1962).
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    size = min(ALPHABET, config.vocab)
    tokens = torch.empty(BATCHES, batch, seq + 1, dtype=torch.int64)
    tokens[..., 0] = torch.randint(0, size, (BATCHES, batch), generator=generator)
    for place in range(1, seq + 1):
        tokens[..., place] = (5 * tokens[..., place - 1] + 17) % size
    noise = torch.rand(tokens.shape, generator=generator) < NOISE
    return torch.where(noise, torch.randint(0, size, tokens.shape, generator=generator), tokens).to(device)


def masters_of(working: list[Tensor], dtype: str) -> list[Tensor]:
    """The fp32 weights that AdamW updates; every complete bf16 gradient is widened onto its master and dropped.

    In fp32 the working weights are the masters.
    """
    if dtype == "fp32":
        return [tensor.requires_grad_() for tensor in working]
    masters = [tensor.float().requires_grad_() for tensor in working]
    for tensor, master in zip(working, masters, strict=True):

        def widen(done: Tensor, onto: Tensor = master) -> None:
            onto.grad = None if done.grad is None else done.grad.float()
            done.grad = None

        register: Any = tensor.requires_grad_().register_post_accumulate_grad_hook
        register(widen)
    return masters


def rate_at(config: Config, steps: int) -> float:
    """The learning rate after `steps` steps."""
    return RATE_TIMES_WIDTH / config.hidden / (1 + steps / RATE_HALF_STEPS)


def adamw(config: Config, masters: list[Tensor]) -> Any:
    """AdamW (Loshchilov and Hutter, arXiv 1711.05101), one fused kernel over all weights; norms do not decay."""
    import torch

    matrices = [master for master in masters if master.dim() > 1]
    norms = [master for master in masters if master.dim() == 1]
    groups = [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": norms, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate_at(config, 0), betas=(0.9, 0.95), fused=True)


def judged(found: float, expected: float, allowed: float, finite: bool, first: float, last: float) -> Verify:
    """Turn the observations into a verdict.

    `error` is the loss against the reference, relative to the larger of it and 1 nat, so that a loss near zero does
    not magnify rounding; it is 1 where the loss is not finite.
    """
    known = math.isfinite(found) and math.isfinite(expected)
    error = abs(found - expected) / max(1.0, abs(expected)) if known else 1.0
    problems = []
    if not known or not math.isfinite(last):
        problems.append("the loss is not finite")
    elif not last < first:
        problems.append(f"the loss did not fall: {first:.4g} at first, {last:.4g} at last")
    if known and error > allowed:
        problems.append(f"the loss {found:.6g} differs from the fp32 recomputation {expected:.6g}")
    if not finite:
        problems.append("a gradient is missing or not finite")
    return Verify(ok=not problems, error=error, tolerance=allowed, detail="; ".join(problems))


def start_of_peak(rig: Rig) -> int | None:
    """Reset the high-water mark where the rig can, and return where it starts, byte.

    On a CPU the mark is of resident memory, and glibc keeps freed blocks of earlier kernels resident; they are given
    back first, or this kernel would fill them unseen.
    """
    gc.collect()
    if rig.device == "cpu":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only
        if trim is not None:
            trim(0)
    reset = getattr(rig, "reset_peak", None)
    if reset is not None:
        reset()
    return rig.peak_bytes()
