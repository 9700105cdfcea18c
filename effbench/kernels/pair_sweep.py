"""Owns the kernel `pair_sweep`: every pair of ranks by itself, the only test that names a bad link.

A collective is as slow as its worst link for everybody, and all ranks then wait alike; pairs tell them apart. The pairs
are tried in rounds of disjoint ones (`pairs.schedule`), both directions of a pair at once, so that a round takes as
long as one pair. Mode `once`: one own pass over all rounds, in which every first exchange is checked and the median of
`repeats` further ones, each the slower end's time, is the pair's.

OVERHEAD. Two buffers of `bytes` per rank; one exchange per round more than `repeats`, for checking.

FIELDS. `bytes` per direction: far above what a shaped link passes in a burst (256 KiB). `repeats`; `ranks`, `nodes`.
Facts: `pair_bandwidth.r<i>.r<j>`, byte/s of one direction while both are busy; a sweep cut short by its deadline has
them for the pairs it reached, says so in its texts, and names no slowest.
"""

from __future__ import annotations

import statistics
import time
from typing import Annotated, Any

import msgspec

from effbench.kernels import collective_ops as ops
from effbench.kernels import pairs
from effbench.kernels.collective import backend_texts, team_of
from effbench.kernels.contract import Rig, Support
from effbench.kernels.group import is_peers_fault
from effbench.model.error import SiteError
from effbench.model.event import Sample, Verify
from effbench.model.inventory import Accelerator
from effbench.model.plan import Output, Work

__all__ = ["TEAM", "VERSION", "Params", "build", "fit", "label", "outputs", "support", "work"]

VERSION = 1
TEAM = True


class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much to exchange, how often, among how many."""

    bytes: Annotated[int, msgspec.Meta(ge=4, le=1 << 34, multiple_of=4)] = 16 << 20
    repeats: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 5
    ranks: Annotated[int, msgspec.Meta(ge=1, le=ops.EXACT_RANKS)] = 2
    nodes: Annotated[int, msgspec.Meta(ge=1)] = 1


def fit(params: Params, accelerator: Accelerator) -> Params:
    """Nothing is open. Pure."""
    return params


def work(params: Params) -> Work:
    """Count one direction of one exchange."""
    return Work(payload_bytes=float(params.bytes), link_bytes=float(params.bytes))


def support(params: Params, accelerator: Accelerator) -> Support:
    """A pair needs two."""
    return Support(skip="not applicable: one rank has nobody to talk to" if params.ranks == 1 else None)


def outputs(params: Params) -> list[Output]:
    """The slowest pair's bandwidth, its share of the median pair's, and the median, where there is more than one."""
    key = f"link.pair.n{params.ranks}"
    slowest = Output(f"{key}.slowest.bandwidth", "fact:slowest_bandwidth")
    if params.ranks <= 2:
        return [slowest]
    return [
        slowest,
        Output(f"{key}.median.bandwidth", "fact:median_bandwidth"),
        Output(f"{key}.slowest_to_median", "fact:slowest_to_median"),
    ]


def label(params: Params) -> str:
    """For example `16777216-x5-n4`."""
    return f"{params.bytes}-x{params.repeats}-n{params.ranks}"


def build(params: Params, rig: Rig) -> PairSweep:
    """Allocate two buffers, and have the backend connect.

    Raises:
        SiteError: the rig has no team, or another than planned, or the backend has no send and receive.
    """
    return PairSweep(params, rig)


class PairSweep:
    """The buffers of one rank and what the sweep has found, the same on every rank."""

    def __init__(self, params: Params, rig: Rig) -> None:
        import torch
        import torch.distributed as dist

        self.rig, self.params, self.group = rig, params, team_of(rig, params.ranks)
        self.source: Any = torch.empty(params.bytes // ops.ELEMENT, dtype=torch.float32, device=rig.device)
        self.target: Any = torch.empty_like(self.source)
        ops.fill(self.source, ops.table(self.group.rank, rig.seed, rig.device))
        self.bandwidths: dict[pairs.Pair, float] = {}
        self.wrong: dict[pairs.Pair, int] = {}
        self._peer: int | None = None
        try:
            dist.all_reduce(torch.ones(1, device=rig.device))  # NCCL connects all ranks here, not in a timed pair
        except RuntimeError as error:
            if is_peers_fault(error):
                raise
            raise SiteError(f"the ranks cannot be connected: {str(error).strip().splitlines()[0]}") from error

    def run(self, i: int) -> None:
        """Exchange with the present peer, both directions at once; a rank without one does nothing."""
        import torch.distributed as dist

        if self._peer is None:
            return
        both = [dist.P2POp(dist.isend, self.source, self._peer), dist.P2POp(dist.irecv, self.target, self._peer)]
        for request in dist.batch_isend_irecv(both):
            request.wait()

    def samples(self, deadline_s: float) -> list[Sample]:
        """Sweep all pairs, or as many rounds as `deadline_s` seconds allow; one sample is a round's slowest exchange.

        Every rank takes part and gets the same result; rank 0 decides when time is up.
        """
        started, taken = time.monotonic(), list[Sample]()
        self.bandwidths, self.wrong = {}, {}
        for disjoint in pairs.schedule(self.params.ranks):
            self._peer = peer_of(self.group.rank, disjoint)
            wrong, times = self._exchanges()
            told: list[tuple[int, list[float]]] = self.group.all_objects([wrong, times])
            slowest = [0.0] * self.params.repeats
            for pair in disjoint:
                ends = [told[rank] for rank in pair]
                exchange_s = [max(both) for both in zip(*(seconds for _, seconds in ends), strict=True)]
                self.bandwidths[pair] = self.params.bytes / statistics.median(exchange_s)
                self.wrong[pair] = sum(count for count, _ in ends)
                slowest = [max(both) for both in zip(slowest, exchange_s, strict=True)]
            taken += [Sample(time.monotonic_ns(), seconds, seconds) for seconds in slowest]
            if self.group.broadcast_object(time.monotonic() - started > deadline_s):
                break
        self._peer = None
        return taken

    def _exchanges(self) -> tuple[int, list[float]]:
        """One checked exchange and the times of the further ones, s; wrong elements are those that arrived here."""
        self.target.fill_(float("nan"))
        self.rig.synchronize()
        self.group.barrier()
        self.run(0)
        self.rig.synchronize()
        wrong = 0
        if self._peer is not None:
            wrong = ops.wrong_elements(self.target, ops.table(self._peer, self.rig.seed, self.rig.device))
        self.group.barrier()
        times = [self.rig.time(self.run, i, 1).device_s for i in range(self.params.repeats)]
        return wrong, times

    def verify(self) -> Verify:
        """Every pair's checked exchange must have arrived whole, both ways; nothing measured is not right."""
        if not self.bandwidths:
            return Verify(ok=False, error=1.0, tolerance=0.0, detail="no pair was measured")
        bad = {pair: count for pair, count in self.wrong.items() if count}
        total = 2 * len(self.wrong) * int(self.source.numel())
        named = ", ".join(f"r{i}-r{j}: {count} wrong elements" for (i, j), count in bad.items())
        return Verify(ok=not bad, error=sum(bad.values()) / total, tolerance=0.0, detail=named)

    def fingerprint(self) -> int | None:
        """None: what arrives depends on the peer; every pair's first exchange is compared whole instead."""
        return None

    def _complete(self) -> bool:
        return len(self.bandwidths) == self.params.ranks * (self.params.ranks - 1) // 2

    def _judged(self) -> pairs.Judged:
        return pairs.judge(self.bandwidths, max(1, self.group.size // self.group.nodes))

    def facts(self) -> dict[str, float]:
        """Byte/s of every pair measured; the slowest and the median only when all of them were."""
        found = {f"pair_bandwidth.r{i}.r{j}": value for (i, j), value in sorted(self.bandwidths.items())}
        found["pairs_measured"] = float(len(self.bandwidths))
        if self._complete() and self.bandwidths:
            judged = self._judged()
            found["slowest_bandwidth"] = self.bandwidths[judged.slowest]
            if len(self.bandwidths) > 1:  # a single pair has nothing to be held against
                found["median_bandwidth"] = statistics.median(self.bandwidths.values())
                found["slowest_to_median"] = judged.slowest_to_median
        return found

    def texts(self) -> dict[str, str]:
        """How it was measured, which pair is the slowest, and who is common to the slow ones."""
        words = {
            "definition": "byte/s of one direction while both are busy; median exchange, the slower end's time",
            "order": "rounds of disjoint pairs, every pair once (circle method)",
            **backend_texts(self.group),
        }
        if self._complete() and self.bandwidths:
            return words | pairs.texts(self.bandwidths, self._judged(), "r")
        every = self.params.ranks * (self.params.ranks - 1) // 2
        return words | {"incomplete": f"{len(self.bandwidths)} of {every} pairs when the time was up; give it longer"}

    def close(self) -> None:
        """Let go of the buffers."""
        self.source = self.target = None


def peer_of(rank: int, disjoint: list[pairs.Pair]) -> int | None:
    """Return whom `rank` talks to in a round, or None."""
    for low, high in disjoint:
        if rank in (low, high):
            return high if rank == low else low
    return None
