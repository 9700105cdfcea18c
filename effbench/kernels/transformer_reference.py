"""Owns a second, plain fp32 computation of the reference transformer, against which the fast one is verified.

Written from the definitions and not from `transformer`: no cache, no fused attention, rotation by complex numbers,
key heads repeated, one sequence at a time. Weights are widened to fp32 one matrix at a time, so that a model that
fills a device can still be verified on it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from effbench.kernels.transformer import EPSILON, ROPE_BASE
from effbench.kernels.transformer_config import Config
from effbench.kernels.verify import U_OUT
from effbench.model.event import Verify

if TYPE_CHECKING:
    from torch import Tensor

    from effbench.kernels.transformer import Cache, Layer, Weights


class Expected(NamedTuple):
    """What the definitions say for one sequence: logits (1 or seq, vocab), and per layer keys and values.

    Keys and values are (kv_heads, seq, head_dim), as a cache holds them.
    """

    logits: Tensor
    keys: list[Tensor]
    values: list[Tensor]


@contextmanager
def exact_fp32() -> Iterator[None]:
    """Switch tf32 off for the reference and restore what was set before."""
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def normalise(x: Tensor, weight: Tensor) -> Tensor:
    """RMSNorm, Zhang and Sennrich, arXiv 1910.07467."""
    return x * (x.square().mean(dim=-1, keepdim=True) + EPSILON).rsqrt() * weight.float()


def turned(heads: Tensor) -> Tensor:
    """Rotate (seq, heads, head_dim): element j and j + head_dim / 2 are one complex number."""
    import torch

    seq, _, head_dim = heads.shape
    rates = ROPE_BASE ** (-torch.arange(0, head_dim, 2, device=heads.device, dtype=torch.float64) / head_dim)
    angles = torch.arange(seq, device=heads.device, dtype=torch.float64)[:, None] * rates
    unit = torch.polar(torch.ones_like(angles), angles).to(torch.complex64)
    half = head_dim // 2
    result = torch.complex(heads[..., :half], heads[..., half:]) * unit[:, None]
    return torch.cat((result.real, result.imag), dim=-1)


def reference_block(config: Config, layer: Layer, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """One layer on (seq, hidden) in fp32, every head against every earlier position; with its keys and values."""
    import torch

    seq, size = x.shape[0], config.head_dim
    projected = (normalise(x, layer.norm_attention) @ layer.qkv.float().T).view(seq, -1, size)
    queries, keys, values = projected.tensor_split((config.heads, config.heads + config.kv_heads), dim=1)
    group = config.heads // config.kv_heads
    future = torch.ones(seq, seq, dtype=torch.bool, device=x.device).triu(1)
    queries, keys = turned(queries), turned(keys)
    mixed = []
    for head in range(config.heads):
        scores = queries[:, head] @ keys[:, head // group].T / math.sqrt(size)
        mixed.append(scores.masked_fill(future, -math.inf).softmax(dim=-1) @ values[:, head // group])
    x = x + torch.cat(mixed, dim=-1) @ layer.attention_out.float().T
    gate, up = (normalise(x, layer.norm_ffn) @ layer.gate_up.float().T).chunk(2, dim=-1)
    x = x + (gate * torch.sigmoid(gate) * up) @ layer.down.float().T
    return x, keys.transpose(0, 1), values.transpose(0, 1)


def reference(config: Config, weights: Weights, tokens: Tensor, last_only: bool = True) -> Expected:
    """Compute one sequence (seq,) in fp32: logits of its last position or of all, keys and values of all layers."""
    import torch

    all_keys, all_values = [], []
    with torch.no_grad(), exact_fp32():
        x = weights.embedding[tokens].float()
        for layer in weights.layers:
            x, keys, values = reference_block(config, layer, x)
            all_keys.append(keys)
            all_values.append(values)
        x = normalise(x[-1:] if last_only else x, weights.norm)
        return Expected(x.matmul(weights.head.float().T), all_keys, all_values)


def reference_loss(config: Config, weights: Weights, tokens: Tensor) -> float:
    """Mean cross-entropy of one sequence (seq + 1,), from the reference's logits."""
    logits = reference(config, weights, tokens[:-1], last_only=False).logits
    return -float(logits.log_softmax(dim=-1).gather(1, tokens[1:, None]).mean())


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Largest deviation of any element over the root mean square of the expected ones; infinite for NaN or Inf."""
    worst = float((found.float() - expected).abs().amax() / expected.square().mean().sqrt())
    return worst if math.isfinite(worst) else math.inf


def sequence_error(expected: Expected, logits: Tensor, cache: Cache, sequence: int) -> float:
    """Largest relative error of one sequence's logits (vocab,) and of everything that the cache holds for it.

    Each is relative to the root mean square of its own layer's keys or values, so no layer hides another.
    """
    length = expected.keys[0].shape[1]
    errors = [relative_error(logits, expected.logits[-1])]
    for parts, wanted in ((cache.keys, expected.keys), (cache.values, expected.values)):
        errors += [relative_error(part[sequence, :, :length], want) for part, want in zip(parts, wanted, strict=True)]
    return max(errors)


def tolerance(config: Config, dtype: str) -> float:
    """Largest accepted error of any logit, key or value, relative to their root mean square.

    Each layer rounds its activations about twelve times on the way to the residual stream, and such errors add like
    independent ones: sqrt(12 layers + 4) roundings of at most one unit roundoff. The extreme of 1e7 normal errors
    lies 5.3 deviations out. In fp32 the sums over the width round as well (bf16 products accumulate in fp32), as a
    random walk of sqrt(width) steps, of which blocked summation leaves about a quarter. Right results on a CPU stayed
    2.6 to 9 times below this for 2 to 36 layers and widths from 64 to 2048.
    """
    sums = max(4.0, math.sqrt(config.hidden) / 4) if dtype == "fp32" else 1.0
    return 5.3 * sums * U_OUT[dtype] * math.sqrt(12 * config.layers + 4)


def loss_tolerance(config: Config, dtype: str) -> float:
    """Largest accepted error of a mean loss, relative to it.

    Over many tokens the errors of logits average out: a quarter of one typical logit's is allowed. Right results on a
    CPU were 7 (fp32) to 100 (bf16) times closer.
    """
    return tolerance(config, dtype) / 5.3 / 4


def checked_sequences(batch: int) -> list[int]:
    """Which sequences of a batch are recomputed: all up to four, else four spread from the first to the last."""
    return sorted({round(place * (batch - 1) / 3) for place in range(4)})


def check_sequences(
    config: Config, dtype: str, weights: Weights, tokens: Tensor, logits: Tensor, chosen: Tensor, cache: Cache
) -> Verify:
    """Judge the logits (batch, vocab) after `tokens` (batch, seq), the chosen tokens and the cache of a repetition.

    All logits must be finite and every chosen token must be its sequence's likeliest; up to four sequences, spread
    over the batch, are recomputed and compared whole.
    """
    from effbench.kernels.verify import broken

    allowed = tolerance(config, dtype)
    wrong = broken(logits)
    if not wrong and not bool((logits.gather(1, chosen[:, None]) == logits.amax(dim=1, keepdim=True)).all()):
        wrong = "a chosen token is not the likeliest one"
    if wrong:
        return Verify(ok=False, error=1.0, tolerance=allowed, detail=wrong)
    places, worst = checked_sequences(tokens.shape[0]), 0.0
    for place in places:
        expected = reference(config, weights, tokens[place])
        worst = max(worst, sequence_error(expected, logits[place], cache, place))
    detail = f"{len(places)} of {tokens.shape[0]} sequences recomputed"
    if not math.isfinite(worst):
        return Verify(ok=False, error=1.0, tolerance=allowed, detail=f"the cache holds NaN or Inf; {detail}")
    return Verify(ok=worst <= allowed, error=worst, tolerance=allowed, detail=detail)
