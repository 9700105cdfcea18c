"""Owns who holds the others up: by busy and wait time of the ranks, and by the bandwidth of pairs.

Ranks of a synchronous step all end together, so that the step's time cannot name the slow one. The straggler is the
rank that waits least; a slow link lets all wait alike, and only pairs name it (measuring-scaling section 7).
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from effbench.catalog.references import practical_margin
from effbench.model.record import USABLE, Measurement, Record
from effbench.model.scaling import Straggler
from effbench.model.suite import DeviceClass
from effbench.score.device_paths import paths
from effbench.stats.quantile import median

__all__ = ["by_rank", "compute_straggler", "network_straggler", "slowest_over_median", "stragglers"]

_PAIR = re.compile(r"(?:pair_bandwidth\.r(\d+)\.r|copy_bandwidth\.gpu(\d+)\.gpu)(\d+)")
# Below this share of the healthy pairs' bandwidth a pair is called slow, as in the pair sweep's own words. Healthy
# pairs over one kind of link lay within 2 % of each other (nccl-tests issue 106: 87 and 88 GB/s, the slow one 49).
SLOW_PAIR = 0.7
COPIES = "p2p_copy"


def stragglers(record: Record) -> list[Straggler]:
    """Return every straggler that a usable measurement of the record shows in most of its rounds."""
    found = []
    trials = {t.id: t for t in record.plan.trials}
    kinds = {a.key: a.kind for a in record.inventory_before.accelerators}
    for measured in record.measurements:
        trial = trials.get(measured.trial)
        if trial is None or measured.status not in USABLE or trial.placement.ranks < 2:
            continue
        one = compute_straggler(measured, trial.placement.ranks, kinds.get(measured.device, "cpu"))
        # A step of communication alone has no work to be slow at.
        if one is not None and trial.params.get("part") != "communication":
            found.append(one)
        ways = paths(record, trial.id)
        # Copies go over whatever lies between two GPUs of a board: without its topology nothing is like another.
        if ways or trial.kernel != COPIES:
            found += network_straggler(measured, trial.placement.ranks, trial.placement.nodes, ways)
    return found


def by_rank(facts: Mapping[str, float], name: str, ranks: int) -> list[float]:
    """Return the fact `<name>.r0` and so on of every rank; empty when one is missing."""
    values = [facts.get(f"{name}.r{rank}") for rank in range(ranks)]
    return [v for v in values if v is not None] if None not in values else []


def slowest_over_median(busy: Sequence[float]) -> float | None:
    """Return the largest busy time over the median of all; None when there is nothing to compare."""
    if len(busy) < 2 or median(busy) <= 0:
        return None
    return max(busy) / median(busy)


def compute_straggler(measured: Measurement, ranks: int, kind: DeviceClass) -> Straggler | None:
    """Return the rank that is busy beyond all others and waits least, in more than half of the rounds.

    Beyond the others means: further above their median than they lie apart, and more than the margin that matters in
    practice on this class of devices. With two ranks the other one has no spread, and the margin alone decides.
    """
    rounds = [
        (busy, wait)
        for one in measured.rounds
        if one.status == "done"
        and (busy := by_rank(one.facts, "busy_s", ranks))
        and (wait := by_rank(one.facts, "wait_s", ranks))
    ]
    margin = practical_margin(kind)
    named = [found for busy, wait in rounds if (found := _slow_rank(busy, wait, margin)) is not None]
    if not named:
        return None
    rank, seen = Counter(rank for rank, _ in named).most_common(1)[0]
    if 2 * seen <= len(rounds):
        return None
    factor = median([f for r, f in named if r == rank])
    text = (
        f"rank {rank} of {ranks} is busy {factor:.2f} times as long as the median of the others and waits least, "
        f"in {seen} of {len(rounds)} rounds{_disturbed(measured)}"
    )
    return Straggler("compute", [rank], ranks, factor, text, measured.trial, seen, len(rounds), measured.device)


def _disturbed(measured: Measurement) -> str:
    return "; other load disturbed the trial, so it may be that" if measured.status == "suspect" else ""


def _slow_rank(busy: Sequence[float], wait: Sequence[float], margin: float) -> tuple[int, float] | None:
    """The rank that is slow in one round and how many times the others' median it is busy."""
    rank = max(range(len(busy)), key=lambda r: busy[r])
    others = [b for r, b in enumerate(busy) if r != rank]
    middle = median(others)
    if middle <= 0 or wait[rank] > min(wait):
        return None
    beyond = busy[rank] - middle
    if beyond <= max(others) - min(others) or beyond <= margin * middle:
        return None
    return rank, busy[rank] / middle


def network_straggler(
    measured: Measurement, ranks: int, nodes: int = 1, ways: Mapping[tuple[int, int], str] | None = None
) -> list[Straggler]:
    """Return the slow pairs, or the one end that all of them share when every pair with it is slow.

    Slow is relative to the faster pairs of the same kind: within a node or between nodes (ranks are numbered node by
    node), and over the same of `ways` where they are known; in more than half of the rounds. A single pair of its kind
    has nothing to be compared with, and a round that did not come to all pairs names nobody.
    """
    every = ranks * (ranks - 1) // 2
    rounds = [pairs for one in measured.rounds if one.status == "done" and len(pairs := _pairs(one.facts)) == every]
    per_node = max(1, ranks // nodes)
    kinds = {p: (p[0] // per_node != p[1] // per_node, (ways or {}).get(p, "")) for one in rounds for p in one}
    found = []
    for kind in sorted(set(kinds.values())):
        alike = [{p: v for p, v in one.items() if kinds[p] == kind} for one in rounds]
        found += _of_a_kind([one for one in alike if len(one) > 1], measured, ranks, kind[1])
    return found


def _of_a_kind(
    rounds: Sequence[Mapping[tuple[int, int], float]], measured: Measurement, ranks: int, way: str
) -> list[Straggler]:
    times: Counter[tuple[int, int]] = Counter(pair for pairs in rounds for pair in _slow(pairs))
    slow = sorted(pair for pair, seen in times.items() if 2 * seen > len(rounds))
    if not slow:
        return []
    every = {p: median([one[p] for one in rounds if p in one]) for p in sorted({p for one in rounds for p in one})}
    others = [v for pair, v in every.items() if pair not in slow]
    if not others:  # each was slow in most rounds, and another one fast in each: that is noise and no link
        return []
    healthy = median(others)
    ends = set(slow[0]).intersection(*map(set, slow))
    shared = next((e for e in sorted(ends) if len(slow) > 1 and all(p in slow for p in every if e in p)), None)
    if shared is None:
        return [_pair(pair, every[pair] / healthy, measured, ranks, (times[pair], len(rounds))) for pair in slow]
    factor = median([every[p] for p in slow]) / healthy
    who = "GPU" if _copies(measured) else "rank"
    over = f" {way}" if way else ""
    text = f"every pair with {who} {shared}{over} has {factor:.0%} of the others' bandwidth: its link or node is slow"
    text += _disturbed(measured)
    seen = min(times[p] for p in slow)
    return [Straggler("network", [shared], ranks, factor, text, measured.trial, seen, len(rounds), measured.device)]


def _pair(pair: tuple[int, int], factor: float, measured: Measurement, ranks: int, seen: tuple[int, int]) -> Straggler:
    does = f"GPUs {pair[0]} and {pair[1]} copy" if _copies(measured) else f"ranks {pair[0]} and {pair[1]} exchange"
    text = f"{does} at {factor:.0%} of the other pairs' bandwidth{_disturbed(measured)}"
    return Straggler("network", list(pair), ranks, factor, text, measured.trial, *seen, measured.device)


def _copies(measured: Measurement) -> bool:
    return any(name.startswith("copy_bandwidth.") for name in measured.facts)


def _pairs(facts: Mapping[str, float]) -> dict[tuple[int, int], float]:
    """Bandwidth by pair, byte/s; where both directions were noted apart, the slower one."""
    found: dict[tuple[int, int], float] = {}
    for name, value in facts.items():
        if (match := _PAIR.fullmatch(name)) is not None and value > 0:
            low, high = sorted((int(match[1] or match[2]), int(match[3])))
            found[low, high] = min(value, found.get((low, high), value))
    return found


def _slow(pairs: Mapping[tuple[int, int], float]) -> list[tuple[int, int]]:
    best = sorted(pairs.values(), reverse=True)[: -(-len(pairs) // 2)]
    # Of the upper half itself the fast end: with few ranks a bad end reaches into it.
    reference = median(best[: -(-len(best) // 2)])
    return [pair for pair, value in pairs.items() if value < SLOW_PAIR * reference]
