"""Pairs of ranks or devices: in which order to try them all, and what their bandwidths say about who is slow.

`schedule` is the circle method of round-robin tournaments. `judge` compares like with like: pairs on one node with one
another, pairs across nodes with one another, because their links differ by design.
"""

import statistics
from collections.abc import Mapping, Sequence

import msgspec

Pair = tuple[int, int]

# Links of one class differ by a few per cent (nccl-tests #106: 49 GB/s against 87 to 88 of the others is a bad one).
SLOW = 0.7


def schedule(ranks: int) -> list[list[Pair]]:
    """Return rounds of disjoint pairs that together hold every pair exactly once, each as (lower, higher).

    `ranks - 1` rounds when even; `ranks` rounds when odd, in each of which one rank has nobody.
    """
    seats: list[int | None] = [*range(ranks)] + ([None] if ranks % 2 else [])
    rounds = []
    for _ in range(len(seats) - 1 if ranks > 1 else 0):
        facing = zip(seats[: len(seats) // 2], reversed(seats[len(seats) // 2 :]), strict=True)
        rounds.append(sorted((min(a, b), max(a, b)) for a, b in facing if a is not None and b is not None))
        seats = [seats[0], seats[-1], *seats[1:-1]]
    return rounds


class Judged(msgspec.Struct, frozen=True):
    """What the bandwidths of all pairs say. `slow` are the pairs far below others like them, slowest first.

    Attributes:
        slowest: the pair with the least bandwidth for its kind. slowest_to_median: its share of the median of its kind.
        suspects: the ranks that explain the slow pairs; empty when they have no end in common.
    """

    slowest: Pair
    slowest_to_median: float
    slow: list[Pair]
    suspects: list[int]


def judge(bandwidths: Mapping[Pair, float], ranks_per_node: int) -> Judged:
    """Say which pair is slowest, which are slow, and whether one end is common to them.

    Args:
        bandwidths: byte/s of every measured pair, at least one, all above zero.
        ranks_per_node: ranks are numbered node by node.

    Raises:
        ValueError: there is no pair.
    """
    if not bandwidths:
        raise ValueError("no pair was measured")
    shares, to_median = dict[Pair, float](), dict[Pair, float]()
    for across in (False, True):
        kind = {p: b for p, b in bandwidths.items() if (p[0] // ranks_per_node != p[1] // ranks_per_node) == across}
        if kind:
            usual, middle = _upper_quartile(list(kind.values())), statistics.median(kind.values())
            shares |= {pair: value / usual for pair, value in kind.items()}
            to_median |= {pair: value / middle for pair, value in kind.items()}
    slow = sorted((pair for pair, share in shares.items() if share < SLOW), key=lambda pair: (shares[pair], pair))
    slowest = min(shares, key=lambda pair: (shares[pair], pair))
    return Judged(slowest, to_median[slowest], slow, _suspects(slow, list(bandwidths)))


def _upper_quartile(values: Sequence[float]) -> float:
    """The quantile 0.75: with one bad rank of four, half of all pairs are slow, and the median is no measure."""
    ordered = sorted(values)
    place = 0.75 * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def _suspects(slow: Sequence[Pair], every: Sequence[Pair]) -> list[int]:
    """The one end common to all slow pairs, else the ranks none of whose pairs is healthy. One slow pair names none."""
    if len(slow) < 2:
        return []
    shared = set(slow[0]).intersection(*slow[1:])
    if shared:
        return sorted(shared)
    healthy = {rank for pair in every if pair not in slow for rank in pair}
    return sorted({rank for pair in slow for rank in pair} - healthy)


def texts(bandwidths: Mapping[Pair, float], judged: Judged, letter: str) -> dict[str, str]:
    """Words for a trial's texts: `slowest_pair`, and where there are such `slow_pairs` and `suspect`."""
    found = {"slowest_pair": _name(judged.slowest, letter)}
    if judged.slow:
        found["slow_pairs"] = ", ".join(f"{_name(p, letter)} {bandwidths[p] / 1e9:.3g} GB/s" for p in judged.slow)
    if judged.suspects:
        found["suspect"] = ", ".join(f"{letter}{rank}" for rank in judged.suspects)
    return found


def _name(pair: Pair, letter: str) -> str:
    return f"{letter}{pair[0]}-{letter}{pair[1]}"
