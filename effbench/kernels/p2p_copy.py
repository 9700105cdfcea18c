"""Owns the kernel `p2p_copy`: copies between every two GPUs of one node, by one process that sees them all.

The matrix names a link that is slow or a path that goes through the host where it should not. `peer: on` copies as
programs do, directly where the driver can; `off` forbids direct access, so that the driver stages the same copy through
host memory. Method of nvbandwidth: 16 copies of 64 MiB in a batch, the median of three batches, one pair at a time.

The team has one rank per GPU; rank 0 copies while the others wait, and tells all of them. OVERHEAD. Two buffers of
`bytes` on two devices at a time. FIELDS. `peer`, `bytes`, `copies` in a batch, `repeats`; `ranks`, `nodes`.
Facts: `copy_bandwidth.gpu<i>.gpu<j>` from GPU i to GPU j, byte/s, as rank 0 numbers them (text `devices`).
"""

from __future__ import annotations

import statistics
import time
from typing import Annotated, Any, Literal

import msgspec

from effbench.kernels import collective_ops as ops
from effbench.kernels import pairs
from effbench.kernels.collective import team_of
from effbench.kernels.contract import Rig, Support
from effbench.kernels.peer_access import PeerAccess, driver
from effbench.model.error import SiteError
from effbench.model.event import Sample, Verify
from effbench.model.inventory import Accelerator
from effbench.model.plan import Output, Work

__all__ = ["TEAM", "VERSION", "Params", "build", "fit", "label", "outputs", "support", "work"]

VERSION = 1
TEAM = True


class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to copy, and whether directly."""

    peer: Literal["on", "off"] = "on"
    bytes: Annotated[int, msgspec.Meta(ge=4, le=1 << 34, multiple_of=4)] = 64 << 20
    copies: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 16
    repeats: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 3
    ranks: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 2
    nodes: Annotated[int, msgspec.Meta(ge=1)] = 1


def fit(params: Params, accelerator: Accelerator) -> Params:
    """Nothing is open. Pure."""
    return params


def work(params: Params) -> Work:
    """Count one copy."""
    return Work(payload_bytes=float(params.bytes), link_bytes=float(params.bytes))


def support(params: Params, accelerator: Accelerator) -> Support:
    """Several GPUs on one node."""
    if accelerator.kind != "gpu":
        return Support(skip="not applicable: a CPU has no other device to copy to")
    if params.ranks == 1:
        return Support(skip="not applicable: one GPU has no other one to copy to")
    if params.nodes > 1:
        return Support(skip="not applicable: one process copies between the GPUs of one node only")
    return Support()


def outputs(params: Params) -> list[Output]:
    """The slowest pair's bandwidth, the median pair's, and the one over the other."""
    key = f"link.p2p.{'direct' if params.peer == 'on' else 'staged'}.n{params.ranks}"
    return [
        Output(f"{key}.slowest.bandwidth", "fact:slowest_bandwidth"),
        Output(f"{key}.median.bandwidth", "fact:median_bandwidth"),
        Output(f"{key}.slowest_to_median", "fact:slowest_to_median"),
    ]


def label(params: Params) -> str:
    """For example `peer-on-67108864-n8`."""
    return f"peer-{params.peer}-{params.bytes}-n{params.ranks}"


def build(params: Params, rig: Rig) -> PeerCopy:
    """See that rank 0 has all the GPUs.

    Raises:
        SiteError: the rig has no team, or another than planned, or rank 0 is shown fewer GPUs than the team has ranks.
    """
    return PeerCopy(params, rig)


class PeerCopy:
    """What rank 0 measured, the same on every rank."""

    def __init__(self, params: Params, rig: Rig) -> None:
        self.rig, self.params, self.group = rig, params, team_of(rig, params.ranks)
        self.copied_s: dict[pairs.Pair, list[float]] = {}
        self.wrong: dict[pairs.Pair, int] = {}
        self.words: dict[str, str] = {}
        problem = self.group.broadcast_object(self._visible() if self.group.rank == 0 else "")
        if problem:
            raise SiteError(problem)

    def _visible(self) -> str:
        """What is in the way on rank 0, or nothing; notes which device is which."""
        import torch

        seen = torch.cuda.device_count()
        if seen < self.params.ranks:
            return (
                f"p2p_copy needs one process that sees all {self.params.ranks} GPUs, rank 0 sees {seen}; "
                "do not give each task its own GPU (Slurm: --gpus-per-node instead of --gpus-per-task)"
            )
        names = [torch.cuda.get_device_properties(i) for i in range(self.params.ranks)]
        self.words["devices"] = ", ".join(f"gpu{i} {getattr(p, 'uuid', p.name)}" for i, p in enumerate(names))
        return ""

    def run(self, i: int) -> None:
        """Nothing: a copy between two devices is not a repetition of one device's; see `samples`."""

    def samples(self, deadline_s: float) -> list[Sample]:
        """Copy between all ordered pairs, or as many as `deadline_s` seconds allow; one sample is one batch.

        Raises:
            SiteError: a copy failed on rank 0; every rank says so.
        """
        found: dict[str, Any] = {"problem": "", "rows": [], "words": {}}
        if self.group.rank == 0:
            try:
                found["rows"], found["words"] = self._matrix(time.monotonic() + deadline_s)
            except (SiteError, RuntimeError) as error:
                found["problem"] = next(iter(str(error).strip().splitlines()), type(error).__name__)
        found = self.group.broadcast_object(found)
        if found["problem"]:
            raise SiteError(f"p2p_copy: {found['problem']}")
        self.words |= found["words"]
        self.copied_s = {(row[0], row[1]): row[3] for row in found["rows"]}
        self.wrong = {(row[0], row[1]): row[2] for row in found["rows"]}
        now = time.monotonic_ns()
        return [Sample(now, s, s, self.params.copies) for batches in self.copied_s.values() for s in batches]

    def _matrix(self, end: float) -> tuple[list[Any], dict[str, str]]:
        """Rows of (from, to, wrong elements, batch times in s), and words about peer access."""
        import torch

        access, rows, direct = PeerAccess(driver(), self.params.ranks), list[Any](), list[str]()
        wanted = self.params.peer == "on"
        try:
            for source in range(self.params.ranks):
                for target in range(self.params.ranks):
                    if source == target or time.monotonic() > end:
                        continue
                    reachable = torch.cuda.can_device_access_peer(source, target)
                    direct += [f"gpu{source}-gpu{target}"] if wanted and reachable else []
                    rows.append([source, target, *self._pair(access, source, target, wanted and reachable)])
                    for one, other in ((source, target), (target, source)):
                        access.set(one, other, reachable)  # as torch had it, for whatever runs next
        finally:
            access.close()
            torch.cuda.set_device(self.rig.device)
        return rows, {"direct": ", ".join(direct) or "none"}

    def _pair(self, access: PeerAccess, source: int, target: int, direct: bool) -> tuple[int, list[float]]:
        """Wrong elements of one checked copy, and the times of the batches, s."""
        import torch

        torch.cuda.set_device(source)
        count = self.params.bytes // ops.ELEMENT
        there: Any = torch.empty(count, dtype=torch.float32, device=f"cuda:{source}")
        here: Any = torch.full((count,), float("nan"), dtype=torch.float32, device=f"cuda:{target}")
        values = ops.table(source, self.rig.seed, f"cuda:{source}")
        ops.fill(there, values)
        here[:1].copy_(there[:1])  # torch allows peer access at the first copy; only then can it be taken back for good
        torch.cuda.synchronize(source)
        for one, other in ((source, target), (target, source)):
            access.set(one, other, direct)
        here.fill_(float("nan"))
        torch.cuda.synchronize(target)
        here.copy_(there, non_blocking=True)
        torch.cuda.synchronize(source)
        torch.cuda.synchronize(target)
        wrong = ops.wrong_elements(here, values.to(f"cuda:{target}"))
        return wrong, [self._batch(there, here) for _ in range(self.params.repeats)]

    def _batch(self, there: Any, here: Any) -> float:
        """Seconds of one batch of copies, by events on the source's stream, which carries the copies."""
        import torch

        start: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        end: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        start.record()
        for _ in range(self.params.copies):
            here.copy_(there, non_blocking=True)
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) * 1e-3

    def verify(self) -> Verify:
        """Every pair's checked copy must have arrived whole; nothing measured is not right."""
        if not self.copied_s:
            return Verify(ok=False, error=1.0, tolerance=0.0, detail="no pair was measured")
        bad = {pair: count for pair, count in self.wrong.items() if count}
        total = len(self.wrong) * (self.params.bytes // ops.ELEMENT)
        named = ", ".join(f"gpu{i} to gpu{j}: {count} wrong elements" for (i, j), count in bad.items())
        return Verify(ok=not bad, error=sum(bad.values()) / total, tolerance=0.0, detail=named)

    def fingerprint(self) -> int | None:
        """None: every pair's first copy is compared whole instead."""
        return None

    def _bandwidths(self) -> dict[pairs.Pair, float]:
        batch = self.params.bytes * self.params.copies
        return {pair: batch / statistics.median(times) for pair, times in self.copied_s.items()}

    def _complete(self) -> bool:
        return len(self.copied_s) == self.params.ranks * (self.params.ranks - 1)

    def facts(self) -> dict[str, float]:
        """Byte/s from every device to every other; the slowest and the median only when all were measured."""
        rates = self._bandwidths()
        found = {f"copy_bandwidth.gpu{i}.gpu{j}": value for (i, j), value in sorted(rates.items())}
        if self._complete():
            judged = pairs.judge(rates, self.params.ranks)
            found["slowest_bandwidth"] = rates[judged.slowest]
            found["median_bandwidth"] = statistics.median(rates.values())
            found["slowest_to_median"] = judged.slowest_to_median
        return found

    def texts(self) -> dict[str, str]:
        """How it copied, which pairs directly, and which is the slowest."""
        how = (
            "directly where the driver can" if self.params.peer == "on" else "direct access forbidden: through the host"
        )
        words = {"copies": how, "definition": "bytes copied over time, median batch, one pair at a time", **self.words}
        if not self._complete():
            every = self.params.ranks * (self.params.ranks - 1)
            return words | {"incomplete": f"{len(self.copied_s)} of {every} copies when the time was up"}
        rates = self._bandwidths()
        return words | pairs.texts(rates, pairs.judge(rates, self.params.ranks), "gpu")

    def close(self) -> None:
        """Nothing is held between passes."""
