"""Owns the kernel `collective`: one collective operation over a team of ranks, as nccl-tests defines and counts it.

OVERHEAD. One input and one output buffer per rank, no rotation (as nccl-tests), and a table of a few MB for checking.

FIELDS. `op`; `bytes`: S, what nccl-tests calls size (collective_ops), absent: 8 for latency, else the largest of the
ladder (GPU: the largest power of two up to 8 GiB and a quarter of the memory; CPU: 64 MiB). `role`: `size` is one
point of a sweep, `headline` the largest size that is quoted, `latency` a few bytes. `group`: all ranks, the ranks
`within` each node (node faults), or those with the same local index `across` nodes (fabric faults); all such groups
work at once and the slowest rank of all counts. `ranks` and `nodes` are the team's.

Whatever S is asked for is rounded down to whole elements per rank, at least one; the fact `bytes` is what was sent.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from effbench.kernels import collective_ops as ops
from effbench.kernels.contract import Rig, Support
from effbench.kernels.group import Group, group_of, is_peers_fault
from effbench.model.error import SiteError
from effbench.model.event import Verify
from effbench.model.inventory import Accelerator
from effbench.model.plan import Output, Work

__all__ = ["TEAM", "VERSION", "Params", "build", "fit", "label", "members", "outputs", "support", "work"]

VERSION = 1
TEAM = True

LATENCY_BYTES = 8
# nccl-tests' users quote 8 to 16 GiB on eight H100 (measuring-scaling, section 3); a CPU's gloo is flat from 4 MiB on.
LARGEST_BYTES = {"gpu": 8 << 30, "cpu": 64 << 20}
SHARE_OF_MEMORY = 4  # a buffer takes at most a quarter, input and output together a half

TYPE = "fp32, sum"


class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which collective, of what size, over which ranks. None is filled by `fit`."""

    op: ops.Op = "all_reduce"
    bytes: Annotated[int, msgspec.Meta(ge=1, le=1 << 40)] | None = None
    role: Literal["size", "headline", "latency"] = "headline"
    group: Literal["all", "within", "across"] = "all"
    ranks: Annotated[int, msgspec.Meta(ge=1, le=ops.EXACT_RANKS)] = 2
    nodes: Annotated[int, msgspec.Meta(ge=1)] = 1


def fit(params: Params, accelerator: Accelerator) -> Params:
    """Fill the size from the ladder of the device class. Pure."""
    if params.bytes is not None:
        return params
    if params.role == "latency":
        return msgspec.structs.replace(params, bytes=LATENCY_BYTES)
    size = LARGEST_BYTES[accelerator.kind]
    while size > LATENCY_BYTES and size > _room(accelerator):
        size //= 2
    return msgspec.structs.replace(params, bytes=size)


def _room(accelerator: Accelerator) -> int:
    """Bytes that one buffer may take: of a CPU the plan gives a rank its own cores and its share of the memory."""
    return accelerator.memory_bytes // SHARE_OF_MEMORY


def _bytes(params: Params) -> int:
    if params.bytes is None:
        raise ValueError("collective parameters must be fitted to a device first: call fit(params, accelerator)")
    return params.bytes


def members(params: Params) -> int:
    """How many ranks one group has."""
    if params.group == "within":
        return max(1, params.ranks // params.nodes)
    return params.nodes if params.group == "across" else params.ranks


def work(params: Params) -> Work:
    """Count S (algbw) and S times the bus factor (busbw) of one group."""
    size = ops.moved_bytes(params.op, _bytes(params), members(params))
    return Work(payload_bytes=float(size), link_bytes=size * ops.factor(params.op, members(params)))


def support(params: Params, accelerator: Accelerator) -> Support:
    """A group needs two ranks, `within` and `across` need several nodes with as many ranks each, S needs room.

    The latency of a single rank is that of the call itself, the base of the others; sendrecv has not even that.
    """
    if params.ranks == 1 and (params.role != "latency" or params.op == "sendrecv" or params.group != "all"):
        return Support(skip="not applicable: one rank has nobody to talk to")
    if params.group != "all":
        if params.nodes == 1:
            return Support(skip=f"not applicable: all ranks are on one node, so there is no group {params.group} nodes")
        if params.ranks % params.nodes:
            return Support(skip=f"not applicable: {params.ranks} ranks do not divide over {params.nodes} nodes evenly")
        if members(params) == 1:
            return Support(skip="not applicable: each node has one rank, so nobody to talk to within it")
    if _bytes(params) > _room(accelerator):
        room = _room(accelerator)
        return Support(skip=f"not applicable: {_bytes(params)} bytes do not fit; a buffer may take {room} bytes here")
    return Support()


def stem(params: Params) -> str:
    """The key without its quantity: `link.all_reduce.n2`, `link.all_reduce.within.n16`."""
    group = "" if params.group == "all" else f".{params.group}"
    return f"link.{params.op}{group}.n{params.ranks}"


def outputs(params: Params) -> list[Output]:
    """The time of a few bytes; both bandwidths of the largest; time and bus bandwidth of a point of a sweep."""
    key = stem(params)
    if params.role == "latency":
        return [Output(f"{key}.latency", "time")]
    made = [] if params.role == "headline" else [Output(f"{key}.s{_bytes(params)}.time", "time")]
    if ops.factor(params.op, members(params)) > 0:
        size = "" if params.role == "headline" else f".s{_bytes(params)}"
        made.append(Output(f"{key}{size}.busbw", "link_bytes"))
    if params.role == "headline":
        made.append(Output(f"{key}.algbw", "payload_bytes"))
    return made


def label(params: Params) -> str:
    """For example `all_reduce-headline-67108864-n2`, with `-within` or `-across` where the group is not all ranks."""
    group = "" if params.group == "all" else f"-{params.group}"
    return f"{params.op}-{params.role}-{_bytes(params)}{group}-n{params.ranks}"


def build(params: Params, rig: Rig) -> Collective:
    """Allocate the buffers on every rank and run the collective once.

    Raises:
        SiteError: the rig has no team, the team is another than the one planned, a rank lacks the memory, or this
            torch's backend does not have the collective.
    """
    return Collective(params, rig)


def team_of(rig: Rig, ranks: int) -> Group:
    """Return the rig's group.

    Raises:
        SiteError: it has none, or one of another size than planned.
    """
    group = group_of(rig)
    if group.size != ranks:
        raise SiteError(f"{ranks} ranks were planned, the process group has {group.size}")
    return group


def backend_texts(group: Group) -> dict[str, str]:
    """Words about the software under a collective: the backend, and how it chose its algorithm."""
    if group.backend != "nccl":
        algorithm = f"chosen by {group.backend} itself; it does not say which"
        return {"backend": str(group.backend), "algorithm": algorithm}
    import torch

    version: Any = torch.cuda.nccl.version()  # type: ignore[no-untyped-call]
    return {
        "backend": "nccl " + ".".join(str(number) for number in version),
        "algorithm": "chosen by NCCL by size and topology unless NCCL_ALGO, NCCL_PROTO or NCCL_NVLS_ENABLE, which the "
        "inventory's environment would show, say otherwise",
        "caution": "where a switch reduces on the way (NVLS, SHARP) busbw is not the bandwidth on the wire and may "
        "exceed it",
    }


class Collective:
    """The buffers of one rank, the group, and the call that uses them."""

    def __init__(self, params: Params, rig: Rig) -> None:
        import torch
        import torch.distributed as dist

        self.rig, self.params, self.group = rig, params, team_of(rig, params.ranks)
        groups = {"all": self.group.world, "within": self.group.within, "across": self.group.across}
        joined: Any = groups[params.group]
        if joined is None:
            raise SiteError("groups across nodes were planned, all ranks are on one node")
        self.members: list[int] = list(dist.get_process_group_ranks(joined))
        if len(self.members) != members(params):
            raise SiteError(f"a group of {members(params)} ranks was planned, this one has {len(self.members)}")
        self.position = self.members.index(self.group.rank)
        sent, received = ops.buffers(params.op, _bytes(params), len(self.members))
        self._refuse_together((sent + received) * ops.ELEMENT)
        options: Any = {"dtype": torch.float32, "device": rig.device}
        self.source: Any = torch.empty(sent, **options)
        self.target: Any = torch.empty(received, **options)
        ops.fill(self.source, ops.table(self.group.rank, rig.seed, rig.device))
        self.sum: Any = ops.summed(self.members, rig.seed, rig.device)
        self._launch = ops.launcher(params.op, self.source, self.target, joined, self.members, self.position)
        self._first()

    def _refuse_together(self, needed: int) -> None:
        """Every rank stops when one lacks memory, because the others would wait for it."""
        sharing = 1 if self.rig.accelerator.kind == "gpu" else max(1, self.group.size // self.group.nodes)
        lacking = self.group.max(float(needed - self.rig.free_bytes() // sharing))
        if lacking > 0:
            raise SiteError(f"a rank lacks {lacking:.0f} bytes of free memory for the {needed} bytes of its buffers")

    def _first(self) -> None:
        try:
            self._fresh()
        except (RuntimeError, NotImplementedError) as error:
            if is_peers_fault(error) and self.group.size > 1:
                raise
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise SiteError(f"{self.params.op} fails on {self.group.backend}: {reason}") from error

    def run(self, i: int) -> None:
        """Launch the collective once, always on the same buffers."""
        self._launch()

    def _fresh(self) -> None:
        """Put the inputs in place, poison what shall be written, and run once."""
        in_place = self.params.op == "all_reduce" or (self.params.op == "broadcast" and self.position == 0)
        if in_place:
            self.target.copy_(self.source)
        else:
            self.target.fill_(float("nan"))
        self.rig.synchronize()
        self.group.barrier()
        self.run(0)
        self.rig.synchronize()

    def verify(self) -> Verify:
        """Compare every element of this rank's output with what it must be; the error is the share of wrong ones."""
        self._fresh()
        wrong = self.wrong_elements()
        total = int(self.target.numel())
        detail = f"rank {self.group.rank}: {wrong} of {total} elements are wrong" if wrong else ""
        return Verify(ok=not wrong, error=wrong / total, tolerance=0.0, detail=detail)

    def wrong_elements(self) -> int:
        """Elements of the output that are not what the other ranks' tables say."""
        count = ops.piece(self.params.op, _bytes(self.params), len(self.members))
        wrong = 0
        for part in ops.expected(self.params.op, self.position, len(self.members), count):
            values = self.sum
            if part.source is not None:
                values = ops.table(self.members[part.source], self.rig.seed, self.rig.device)
            wrong += ops.wrong_elements(self.target[part.start : part.start + part.count], values, part.offset)
        return wrong

    def fingerprint(self) -> int | None:
        """Checksum of this rank's output of a fresh run, in which every rank takes part."""
        from effbench.kernels.verify import fingerprint

        self._fresh()
        return fingerprint(self.target)

    def facts(self) -> dict[str, float]:
        """S as it was sent, bytes, and the number of ranks in a group."""
        return {
            "bytes": float(ops.moved_bytes(self.params.op, _bytes(self.params), len(self.members))),
            "group_ranks": float(len(self.members)),
        }

    def texts(self) -> dict[str, str]:
        """The definition, the backend, the groups and the data."""
        in_place = self.params.op in ("all_reduce", "broadcast")
        texts = {
            "definition": "size, algbw and busbw as nccl-tests defines them; the slowest rank's time",
            "data": f"{TYPE}; one buffer, {'in' if in_place else 'out of'} place; every element of every rank checked",
            "group": self.params.group,
            **backend_texts(self.group),
        }
        if self.params.op == "all_reduce":
            texts["repetitions"] = "sums of sums, so the values grow without bound; fp32 units take no longer for that"
        if self.group.backend == "nccl" and self.group.nodes == 2:
            texts["two_nodes"] = (
                "on two nodes NCCL chooses trees, so busbw may exceed the network; NCCL_ALGO=RING measures it"
            )
        return texts

    def close(self) -> None:
        """Let go of the buffers."""
        self.source = self.target = self.sum = None
        self._launch = _nothing


def _nothing() -> None:
    """What a closed step launches."""
