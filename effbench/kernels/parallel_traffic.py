"""Owns what a training step on several ranks sends: which collectives, of how many bytes, in which order. Pure.

Bytes are nccl-tests' S: one rank's buffer for an all_reduce, the whole array for an all_gather and a reduce_scatter
(github.com/NVIDIA/nccl-tests, doc/PERFORMANCE.md). A group of one sends nothing.

    * ddp: one all_reduce per bucket of gradients. A bucket takes gradients in the order in which they become complete
      and is closed when it holds `BUCKET_BYTES` or more; torch assigns them so from the second step on.
    * fsdp2: each layer is a group, and embedding, last norm and head are another. A group's weights are gathered before
      its forward and again before its backward pass, and its gradients are reduced and scattered once. Every tensor is
      padded along its first dimension to a multiple of the ranks.
    * tp: queries, keys and values, and gate and up, are split by columns; the outputs of attention and feed-forward by
      rows (Shoeybi et al., arXiv 1909.08053): two all_reduces of the activations per layer and direction.
"""

from collections import Counter
from typing import Literal, NamedTuple

from effbench.kernels.transformer_config import DTYPE_BYTES, Config

Strategy = Literal["ddp", "fsdp2", "tp"]
CollectiveOp = Literal["all_reduce", "all_gather", "reduce_scatter"]

# torch's default size of a DDP bucket; given explicitly, it also holds for the first bucket, which is 1 MiB otherwise.
BUCKET_MIB = 25
BUCKET_BYTES = BUCKET_MIB << 20


class Call(NamedTuple):
    """One collective of a step: its name and S in byte."""

    op: CollectiveOp
    bytes: int


class Traffic(NamedTuple):
    """`times` collectives of one kind and size in every step; `bytes` is S of each one."""

    op: CollectiveOp
    bytes: int
    times: int


def gradient_shapes(config: Config) -> list[tuple[int, ...]]:
    """Shapes of all trained tensors in the order in which a backward pass completes their gradients."""
    width = (config.hidden,)
    layer: list[tuple[int, ...]] = [
        (config.hidden, config.ffn),
        (2 * config.ffn, config.hidden),
        width,
        (config.hidden, config.attention),
        (config.qkv, config.hidden),
        width,
    ]
    table = (config.vocab, config.hidden)
    return [table, width, *(layer * config.layers), table]


def elements(shape: tuple[int, ...], ranks: int = 1) -> int:
    """Elements of a tensor whose first dimension is padded to a multiple of `ranks`."""
    rows = -(-shape[0] // ranks) * ranks
    return rows * (shape[1] if len(shape) > 1 else 1)


def buckets(config: Config, dtype: str) -> list[int]:
    """Bytes of DDP's buckets in the order in which they are reduced."""
    found, held = list[int](), 0
    for shape in gradient_shapes(config):
        held += elements(shape) * DTYPE_BYTES[dtype]
        if held >= BUCKET_BYTES:
            found.append(held)
            held = 0
    return [*found, held] if held else found


def shard_groups(config: Config, dtype: str, ranks: int) -> list[int]:
    """Bytes of FSDP2's groups of weights, whole and padded, in the order of their forward passes.

    The group of embedding, last norm and head comes first: the model's own forward begins before any layer's.
    """
    size = DTYPE_BYTES[dtype]
    shapes = gradient_shapes(config)
    outer = sum(elements(shape, ranks) for shape in (shapes[0], shapes[1], shapes[-1]))
    layer = sum(elements(shape, ranks) for shape in shapes[2:8])
    return [outer * size, *[layer * size] * config.layers]


def calls(strategy: Strategy, config: Config, dtype: str, ranks: int, sequences: int, seq: int) -> list[Call]:
    """Every collective of one step, in order. `sequences` is how many of `seq` tokens one rank computes on."""
    if ranks == 1:
        return []
    if strategy == "ddp":
        return [Call("all_reduce", size) for size in buckets(config, dtype)]
    if strategy == "tp":
        size = sequences * seq * config.hidden * DTYPE_BYTES[dtype]
        return [Call("all_reduce", size)] * (4 * config.layers)
    groups = shard_groups(config, dtype, ranks)
    forward = [Call("all_gather", size) for size in groups]
    backward = [Call(op, size) for size in reversed(groups[1:]) for op in ("all_gather", "reduce_scatter")]
    return [*forward, Call("all_gather", groups[0]), *backward, Call("reduce_scatter", groups[0])]


def counted(sequence: list[Call]) -> list[Traffic]:
    """The same calls by kind and size, in the order of their first appearance."""
    return [Traffic(call.op, call.bytes, count) for call, count in Counter(sequence).items()]
