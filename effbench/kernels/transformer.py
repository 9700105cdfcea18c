"""Owns the reference transformer itself: weights, cache and the forward pass, as plain functions on tensors.

The sizes and counts are in `transformer_config`. Weights are a tuple of tensors and behaviour is functions, so that
this module imports torch inside functions only and a pass can be handed to `torch.compile` as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from effbench.kernels.inputs import torch_dtype
from effbench.kernels.transformer_config import Config

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

# Llama's base for rotary positions and its epsilon; neither changes the work.
ROPE_BASE = 10_000.0
EPSILON = 1e-5
INIT_STD = 0.02


class Layer(NamedTuple):
    """The weights of one block. Matrices are (out, in), as `torch.nn.functional.linear` wants them."""

    norm_attention: Tensor
    qkv: Tensor
    attention_out: Tensor
    norm_ffn: Tensor
    gate_up: Tensor
    down: Tensor


class Weights(NamedTuple):
    """A whole model. `cosine` and `sine` are (positions, 1, head_dim / 2) in the model's dtype and not trained."""

    embedding: Tensor
    layers: tuple[Layer, ...]
    norm: Tensor
    head: Tensor
    cosine: Tensor
    sine: Tensor


class Cache(NamedTuple):
    """Keys and values per layer, each (batch, kv_heads, capacity, head_dim), allocated once."""

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]


def init_weights(
    config: Config, dtype_name: str, device: str, seed: int, positions: int, embedding_std: float = INIT_STD
) -> Weights:
    """Draw a model on the device: normal with deviation 0.02, residual outputs scaled by 1 / sqrt(2 x layers).

    The scaling is GPT-2's (Radford et al. 2019, section 2.3): it keeps the residual stream from growing with depth.
    Small embeddings let every layer show in the logits, so that a check of them sees every layer; training wants
    `embedding_std` 1, or the first norm magnifies gradients fifty times and the loss spikes (arXiv 2312.16903).
    """
    import torch

    generator = torch.Generator(device=device).manual_seed(seed)
    wanted = torch_dtype(dtype_name)

    def matrix(rows: int, columns: int, std: float = INIT_STD) -> Tensor:
        return torch.empty(rows, columns, dtype=wanted, device=device).normal_(0.0, std, generator=generator)

    def ones() -> Tensor:
        return torch.ones(config.hidden, dtype=wanted, device=device)

    residual = INIT_STD / (2 * config.layers) ** 0.5
    layers = tuple(
        Layer(
            norm_attention=ones(),
            qkv=matrix(config.qkv, config.hidden),
            attention_out=matrix(config.hidden, config.attention, residual),
            norm_ffn=ones(),
            gate_up=matrix(2 * config.ffn, config.hidden),
            down=matrix(config.hidden, config.ffn, residual),
        )
        for _ in range(config.layers)
    )
    cosine, sine = rotation_tables(config.head_dim, positions, device)
    return Weights(
        embedding=matrix(config.vocab, config.hidden, embedding_std),
        layers=layers,
        norm=ones(),
        head=matrix(config.vocab, config.hidden),
        cosine=cosine.to(wanted),
        sine=sine.to(wanted),
    )


def rotation_tables(head_dim: int, positions: int, device: str) -> tuple[Tensor, Tensor]:
    """Cosine and sine of every position's angles, fp64 (positions, 1, head_dim / 2); RoFormer, arXiv 2104.09864.

    In fp32 the angle of position 2000 would be wrong by 1e-4, which a check in fp32 sees.
    """
    import torch

    exponents = torch.arange(0, head_dim, 2, dtype=torch.float64, device=device) / head_dim
    angles = torch.outer(torch.arange(positions, dtype=torch.float64, device=device), ROPE_BASE**-exponents)
    return angles.cos().unsqueeze(1), angles.sin().unsqueeze(1)


def trainable(weights: Weights) -> list[Tensor]:
    """Every trained tensor, in a fixed order."""
    layers = [tensor for layer in weights.layers for tensor in layer]
    return [weights.embedding, *layers, weights.norm, weights.head]


def empty_cache(config: Config, dtype_name: str, device: str, batch: int, capacity: int) -> Cache:
    """Allocate a zeroed cache for `capacity` positions of `batch` sequences."""
    import torch

    shape = (batch, config.kv_heads, capacity, config.head_dim)

    def part() -> tuple[Tensor, ...]:
        wanted = torch_dtype(dtype_name)
        return tuple(torch.zeros(shape, dtype=wanted, device=device) for _ in range(config.layers))

    return Cache(part(), part())


def rotate(heads: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turn (batch, seq, heads, head_dim) by its positions; the two halves of a head form the pairs."""
    import torch

    first, second = heads.chunk(2, dim=-1)
    return torch.cat((first * cosine - second * sine, second * cosine + first * sine), dim=-1)


def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Grouped-query attention; queries (batch, seq, heads, head_dim), keys and values (batch, kv_heads, length, ...).

    With several queries the attention is causal and `length` equals `seq`. A single query sees every key, so the heads
    of a group are laid out as queries of one head, and no key is copied.
    """
    from torch.nn import functional

    batch, seq, heads, head_dim = queries.shape
    if seq == 1:
        grouped = queries.view(batch, keys.shape[1], heads // keys.shape[1], head_dim)
        return functional.scaled_dot_product_attention(grouped, keys, values).reshape(batch, 1, -1)
    mixed = functional.scaled_dot_product_attention(
        queries.transpose(1, 2), keys, values, is_causal=True, enable_gqa=heads != keys.shape[1]
    )
    return mixed.transpose(1, 2).reshape(batch, seq, -1)


def block(
    config: Config, layer: Layer, x: Tensor, turn: tuple[Tensor, Tensor], cache: tuple[Tensor, Tensor] | None, at: int
) -> Tensor:
    """One layer on (batch, seq, hidden). `cache` is this layer's keys and values; new ones are written from `at`."""
    import torch
    from torch.nn import functional

    batch, seq, _ = x.shape
    normed = functional.rms_norm(x, (config.hidden,), layer.norm_attention, EPSILON)
    qkv = functional.linear(normed, layer.qkv).view(batch, seq, -1, config.head_dim)
    turned = rotate(qkv[:, :, : config.heads + config.kv_heads], *turn)
    queries, keys = turned.tensor_split((config.heads,), dim=2)
    keys, values = keys.transpose(1, 2), qkv[:, :, config.heads + config.kv_heads :].transpose(1, 2)
    if cache is not None:
        cache[0][:, :, at : at + seq].copy_(keys)
        cache[1][:, :, at : at + seq].copy_(values)
        keys, values = cache[0][:, :, : at + seq], cache[1][:, :, : at + seq]
    x = x + functional.linear(attend(queries, keys, values), layer.attention_out)
    normed = functional.rms_norm(x, (config.hidden,), layer.norm_ffn, EPSILON)
    gate, up = functional.linear(normed, layer.gate_up).chunk(2, dim=-1)
    return x + functional.linear(torch.mul(functional.silu(gate), up), layer.down)


def hidden_states(config: Config, weights: Weights, tokens: Tensor, cache: Cache | None = None, at: int = 0) -> Tensor:
    """The last norm's output (batch, seq, hidden) for `tokens` (batch, seq) that stand at positions from `at` on.

    With a cache, its first `at` positions must hold the sequence so far; more than one token needs `at` = 0.
    """
    from torch.nn import functional

    seq = tokens.shape[1]
    if seq > 1 and at > 0:
        raise ValueError("a prompt is prefilled whole: several tokens at once start at position 0")
    turn = weights.cosine[at : at + seq], weights.sine[at : at + seq]
    x = functional.embedding(tokens, weights.embedding)
    for index, layer in enumerate(weights.layers):
        pair = None if cache is None else (cache.keys[index], cache.values[index])
        x = block(config, layer, x, turn, pair, at)
    return functional.rms_norm(x, (config.hidden,), weights.norm, EPSILON)


def next_logits(config: Config, weights: Weights, tokens: Tensor, cache: Cache, at: int) -> Tensor:
    """Logits (batch, vocab) of the token after the last of `tokens`; only that position goes through the head."""
    from torch.nn import functional

    return functional.linear(hidden_states(config, weights, tokens, cache, at)[:, -1], weights.head)


def cross_entropy(config: Config, weights: Weights, tokens: Tensor) -> Tensor:
    """Mean loss of predicting `tokens[:, 1:]` from `tokens[:, :-1]`; tokens are (batch, seq + 1). The loss is fp32."""
    from torch.nn import functional

    logits = functional.linear(hidden_states(config, weights, tokens[:, :-1]), weights.head)
    return functional.cross_entropy(logits.float().flatten(0, 1), tokens[:, 1:].flatten())


def random_tokens(config: Config, shape: Sequence[int], device: str, seed: int) -> Tensor:
    """Uniform token numbers, int64, fixed by the seed."""
    import torch

    generator = torch.Generator(device=device).manual_seed(seed)
    return torch.randint(0, config.vocab, tuple(shape), device=device, generator=generator)


def copied(tensors: Any) -> Any:
    """A deep copy of weights or of a cache."""
    if isinstance(tensors, tuple):
        parts = [copied(part) for part in tensors]
        return type(tensors)(*parts) if hasattr(tensors, "_fields") else tuple(parts)
    return tensors.clone()


def joined_fingerprint(outputs: Sequence[Tensor]) -> int:
    """One 64-bit checksum over the raw bits of several outputs; their order counts."""
    from effbench.kernels.verify import fingerprint

    total = 0
    for output in outputs:
        total = (total * 0x9E3779B97F4A7C15 + fingerprint(output)) & (1 << 64) - 1
    return total
