"""What each collective moves, what it must deliver, and how torch.distributed is asked for it.

Sizes and bus factors are those of nccl-tests (doc/PERFORMANCE.md at a0b82b2): S is the buffer of one rank
(all_reduce, broadcast), the message (sendrecv), or the count per rank times the number of ranks (the others).
algbw = S / t, busbw = algbw x factor. The factor assumes that bytes travel from rank to rank: where a switch reduces on
the way (NVLS, SHARP) busbw is not the bandwidth on the wire and may exceed it.

Every rank sends small whole numbers out of a table that only this rank has, repeated with a prime period, so that a
piece from the wrong rank, at the wrong place, or added twice shows; sums of them are exact in fp32, in any order.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec

if TYPE_CHECKING:
    import torch

Op = Literal["all_reduce", "all_gather", "reduce_scatter", "broadcast", "all_to_all", "sendrecv"]
OPS: tuple[Op, ...] = get_args(Op)
SPLIT: frozenset[Op] = frozenset({"all_gather", "reduce_scatter", "all_to_all"})

ELEMENT = 4  # fp32, nccl-tests' default type
# No power of two divides a prime, so a block moved by any power of two carries other values than it should.
PERIOD = 1021
VALUES = 1024
EXACT_RANKS = (1 << 24) // VALUES  # sums of more values could exceed fp32's whole numbers
TILE_PERIODS = {"cpu": 512, "cuda": 16384}
# Odd multipliers of splitmix64 (Steele, Lea and Flood, OOPSLA 2014), as signed 64-bit numbers.
_MIX = (-7046029254386353131, -4658895280553007687)


def factor(op: Op, ranks: int) -> float:
    """Return busbw over algbw for `ranks` ranks (nccl-tests, doc/PERFORMANCE.md)."""
    if op == "all_reduce":
        return 2.0 * (ranks - 1) / ranks
    if op in SPLIT:
        return (ranks - 1) / ranks
    return 1.0


def piece(op: Op, size: int, ranks: int) -> int:
    """Return the elements of one rank's piece when `size` bytes are asked for: rounded down, at least one."""
    return max(1, size // (ELEMENT * (ranks if op in SPLIT else 1)))


def moved_bytes(op: Op, size: int, ranks: int) -> int:
    """Return S as nccl-tests counts it, bytes: what is really sent when `size` bytes are asked for."""
    return piece(op, size, ranks) * ELEMENT * (ranks if op in SPLIT else 1)


def buffers(op: Op, size: int, ranks: int) -> tuple[int, int]:
    """Return the elements of one rank's input and of its output."""
    count = piece(op, size, ranks)
    return count * (ranks if op in ("reduce_scatter", "all_to_all") else 1), count * (
        ranks if op in ("all_gather", "all_to_all") else 1
    )


class Part(msgspec.Struct, frozen=True):
    """Output elements `start` to `start + count`: the table of rank number `source` (None: the sum), from `offset`."""

    start: int
    count: int
    source: int | None
    offset: int


def expected(op: Op, position: int, ranks: int, count: int) -> list[Part]:
    """Say what the rank at `position` of `ranks` must hold afterwards; `count` is from `piece`. Pure."""
    if op == "all_reduce":
        return [Part(0, count, None, 0)]
    if op == "reduce_scatter":
        return [Part(0, count, None, position * count)]
    if op == "broadcast":
        return [Part(0, count, 0, 0)]
    if op == "sendrecv":
        return [Part(0, count, (position - 1) % ranks, 0)]
    offset = position * count if op == "all_to_all" else 0
    return [Part(other * count, count, other, offset) for other in range(ranks)]


def table(rank: int, seed: int, device: str) -> "torch.Tensor":
    """Return the `PERIOD` whole numbers, 0 to `VALUES` - 1, that only this rank sends; fp32."""
    import torch

    place = torch.arange(1, PERIOD + 1, dtype=torch.int64, device=device)
    mixed = (place + (rank + 1) * 65537 + seed * 1_000_003).mul_(_MIX[0])
    mixed.bitwise_xor_(mixed >> 29).mul_(_MIX[1]).bitwise_xor_(mixed >> 32)
    return (mixed & (VALUES - 1)).to(torch.float32)


def summed(ranks: Sequence[int], seed: int, device: str) -> "torch.Tensor":
    """Return the element-wise sum of the tables of `ranks`, exact in fp32."""
    total = table(ranks[0], seed, device)
    for rank in ranks[1:]:
        total += table(rank, seed, device)
    return total


def tile(values: "torch.Tensor", offset: int, count: int) -> "torch.Tensor":
    """Return whole repetitions of a table that starts at `offset`: as many as `count` needs, up to a working size."""
    most = TILE_PERIODS["cpu" if values.device.type == "cpu" else "cuda"]
    return values.roll(-(offset % PERIOD)).repeat(max(1, min(most, -(-count // PERIOD))))


def fill(target: "torch.Tensor", values: "torch.Tensor") -> None:
    """Write a table over a whole flat tensor."""
    block = tile(values, 0, target.numel())
    for low in range(0, target.numel(), block.numel()):
        target[low : low + block.numel()].copy_(block[: target.numel() - low])


def wrong_elements(target: "torch.Tensor", values: "torch.Tensor", offset: int = 0) -> int:
    """Count the elements of a flat tensor that differ from a table repeated from `offset`. NaN differs from all."""
    block = tile(values, offset, target.numel())
    wrong = 0
    for low in range(0, target.numel(), block.numel()):
        found = target[low : low + block.numel()]
        wrong += int((found != block[: found.numel()]).sum())
    return wrong


def launcher(
    op: Op, source: "torch.Tensor", target: "torch.Tensor", group: Any, members: Sequence[int], position: int
) -> Callable[[], None]:
    """Return a function that launches the collective once, from `source` into `target`.

    Args:
        op: all_reduce and broadcast work in place on `target`, because torch.distributed has no other form of them.
        source: input of this rank; target: its output.
        group: torch's process group. members: its ranks in the whole world, in order. position: ours in it.
    """
    import torch.distributed as dist

    # torch 2.13 renamed two calls and warns about the old names, which are the only ones before it.
    gather: Any = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
    scatter: Any = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor

    def exchange() -> None:
        after, before = members[(position + 1) % len(members)], members[(position - 1) % len(members)]
        pair = [dist.P2POp(dist.isend, source, after, group), dist.P2POp(dist.irecv, target, before, group)]
        for request in dist.batch_isend_irecv(pair):
            request.wait()

    ways: dict[Op, Callable[[], Any]] = {
        "all_reduce": lambda: dist.all_reduce(target, group=group),
        "broadcast": lambda: dist.broadcast(target, members[0], group=group),
        "all_gather": lambda: gather(target, source, group=group),
        "reduce_scatter": lambda: scatter(target, source, group=group),
        "all_to_all": lambda: dist.all_to_all_single(target, source, group=group),
        "sendrecv": exchange,
    }
    return ways[op]
