"""Owns the process group: how ranks meet, what they can ask of each other, and the rig of a rank.

Everything that is said between ranks goes through a control group on gloo, whatever the backend of the collectives
under test, so that talking costs no work on the device. What is said is JSON: tuples come back as lists.
"""

import contextlib
import math
import os
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from effbench.kernels.contract import Rig
from effbench.kernels.rig import TorchRig, first_line, import_torch
from effbench.model.error import EffbenchError, SiteError, WorkerError
from effbench.model.inventory import Accelerator

__all__ = ["PORT_TAKEN", "Group", "GroupRig", "NotMetError", "Seat", "group_of", "is_peers_fault", "join", "versions"]

# What gloo, NCCL and the store say when it is another rank that went away or does not answer.
_PEER_WORDS = ("connection closed by peer", "connection reset by peer", "timed out", "timeout", "broken pipe", "gloo/")
PORT_TAKEN = "port taken"


class NotMetError(SiteError):
    """The ranks did not come together: one did not come, or the meeting point cannot be reached."""


class Seat(msgspec.Struct, frozen=True):
    """Where a rank sits: its number among `size`, its number on its node, and its node's number."""

    rank: int
    size: int
    local_rank: int
    node_rank: int = 0


class Group:
    """The ranks of one team. Every method is collective: all ranks call it, in the same order.

    Attributes:
        rank, size, local_rank, node_rank: this rank. nodes: over how many nodes the ranks lie.
        backend: of the collectives under test, `nccl`, `gloo` or `xccl`.
        world: torch process group of all ranks, with that backend.
        within: the ranks of this rank's node (`world` itself on a single node).
        across: the ranks with this rank's local number, one of each node; None on a single node.
        deadline_s: a collective that takes longer fails, seconds.
    """

    def __init__(self, seat: Seat, backend: str, deadline_s: float) -> None:
        """Make the sub-groups; the default process group is open. `join` does both."""
        import torch.distributed as dist

        self.rank, self.size = seat.rank, seat.size
        self.local_rank, self.node_rank = seat.local_rank, seat.node_rank
        self.backend, self.deadline_s = backend, deadline_s
        timeout = timedelta(seconds=deadline_s)
        self.world: Any = dist.group.WORLD
        self._control = self.world if backend == "gloo" else dist.new_group(backend="gloo", timeout=timeout)
        self.within, self.across = self.world, None
        seats = self.all_objects([self.node_rank, self.local_rank])
        self.nodes = len({node for node, _ in seats})
        if self.nodes > 1:
            self.within = _own(dist, [seats[r][0] for r in range(self.size)], self.rank, timeout)
            self.across = _own(dist, [seats[r][1] for r in range(self.size)], self.rank, timeout)

    def barrier(self) -> None:
        """Wait until every rank is here."""
        if self.size > 1:
            import torch.distributed as dist

            dist.barrier(group=self._control)

    def all_floats(self, values: list[float]) -> list[list[float]]:
        """Give `values` (as many on every rank, NaN allowed) and return those of every rank, in rank order."""
        if self.size == 1:
            return [list(values)]
        import torch
        import torch.distributed as dist

        mine = torch.tensor(values, dtype=torch.float64)
        theirs = [torch.empty_like(mine) for _ in range(self.size)]
        dist.all_gather(theirs, mine, group=self._control)
        return [[float(value) for value in one.tolist()] for one in theirs]

    def max(self, x: float) -> float:
        """Return the largest `x` of all ranks.

        Raises:
            WorkerError: a rank's figure is not finite; the message names it.
        """
        values = [one for (one,) in self.all_floats([float(x)])]
        wrong = [str(rank) for rank, value in enumerate(values) if not math.isfinite(value)]
        if wrong:
            raise WorkerError(f"rank {', '.join(wrong)} gave a figure that is not finite")
        return max(values)

    def all_objects(self, x: Any) -> list[Any]:
        """Give anything that JSON can hold and return what every rank gave, in rank order."""
        data = msgspec.json.encode(x)
        if self.size == 1:
            return [msgspec.json.decode(data)]
        import torch
        import torch.distributed as dist

        sizes = [int(size) for (size,) in self.all_floats([float(len(data))])]
        mine = torch.zeros(max(sizes), dtype=torch.uint8)
        mine[: len(data)] = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        theirs = [torch.empty_like(mine) for _ in sizes]
        dist.all_gather(theirs, mine, group=self._control)
        return [msgspec.json.decode(bytes(one[:size].tolist())) for one, size in zip(theirs, sizes, strict=True)]

    def broadcast_object(self, x: Any) -> Any:
        """Return what rank 0 gave; what the others give is not looked at."""
        return self.all_objects(x if self.rank == 0 else None)[0]

    def close(self) -> None:
        """Leave the group. Not collective; errors of a group that has broken do not matter any more."""
        import torch.distributed as dist

        with contextlib.suppress(RuntimeError, ValueError):
            dist.destroy_process_group()


class GroupRig(TorchRig):
    """One rank's device with the group that it belongs to. On a CPU the device is narrowed to the rank's cores."""

    def __init__(
        self, accelerator: Accelerator, seed: int, group: Group, texts: Mapping[str, str] | None = None
    ) -> None:
        """Open the device. `texts` are words about the network to be recorded. Raises SiteError as `TorchRig` does."""
        super().__init__(accelerator, seed)
        self.group = group
        self._texts = dict(texts or {})

    def context_texts(self) -> dict[str, str]:
        """Words about the software, and about the group."""
        group = self.group
        texts = {**super().context_texts(), "backend": group.backend, "ranks": str(group.size), **self._texts}
        return {**texts, "nodes": str(group.nodes), "affinity": " ".join(map(str, sorted(os.sched_getaffinity(0))))}


def group_of(rig: Rig) -> Group:
    """Return the group of a team kernel's rig.

    Raises:
        SiteError: the kernel was given a rig without a group.
    """
    if not isinstance(rig, GroupRig):
        raise SiteError("this kernel works in a team; give its workload a scope wider than `device`")
    return rig.group


def join(
    seat: Seat,
    backend: str,
    deadline_s: float,
    meeting: str = "env://",
    device: str = "cpu",
    join_s: float = 60.0,
    where: str = "",
) -> Group:
    """Meet the other ranks and form the process group.

    Args:
        seat: this rank.
        backend: `nccl`, `gloo` or `xccl`; checked before anything is waited for.
        deadline_s: of every collective; join_s: of meeting, until every rank has come.
        meeting: torch's address of the meeting point: `env://` (MASTER_ADDR, MASTER_PORT), `file:///path`.
        device: torch's name of the rank's device, for nccl. where: the meeting point as a person would say it.

    Raises:
        SiteError: this torch lacks the backend, or the meeting point is taken.
        NotMetError: the meeting point is unreachable, or ranks do not come.
    """
    torch = import_torch()
    import torch.distributed as dist
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    _check_backend(dist, backend)
    timeout = timedelta(seconds=join_s)
    try:
        store, _, _ = next(rendezvous(meeting, seat.rank, seat.size, timeout=timeout))
        store.set_timeout(timeout)
        _arrive(store, seat, join_s)
        extra = {"device_id": torch.device(device)} if backend == "nccl" else {}
        dist.init_process_group(
            backend,
            store=PrefixStore("effbench", store),
            rank=seat.rank,
            world_size=seat.size,
            timeout=timedelta(seconds=deadline_s),
            **extra,
        )
        return Group(seat, backend, deadline_s)
    except (RuntimeError, ValueError, OSError) as error:
        raise _why_not(error, where or meeting) from error


def _arrive(store: Any, seat: Seat, join_s: float) -> None:
    """Say that this rank is here, and wait for the others; those that do not come are named."""
    store.set(f"effbench/here/{seat.rank}", "1")
    end = time.monotonic() + join_s
    missing = []
    for rank in range(seat.size):
        left = end - time.monotonic()
        try:
            store.wait([f"effbench/here/{rank}"], timedelta(seconds=max(0.05, left)))
        except RuntimeError:
            missing.append(rank)
    if missing:
        names = ", ".join(str(rank) for rank in missing)
        raise NotMetError(f"rank {names} did not come to the meeting point within {join_s:.0f} s")


def _check_backend(dist: Any, backend: str) -> None:
    if not dist.is_available():
        raise SiteError("this torch was built without torch.distributed; install a build that has it")
    there = {"gloo": dist.is_gloo_available, "nccl": dist.is_nccl_available}.get(backend)
    if there is not None and not there():
        raise SiteError(f"this torch was built without {backend}; install a build that has it")


def _why_not(error: Exception, where: str) -> SiteError:
    text = first_line(error)
    lower = str(error).lower()
    if "eaddrinuse" in lower or "address already in use" in lower:
        return SiteError(f"{PORT_TAKEN}: another program listens on {where}")
    if "unable to find address for" in lower:
        name = text.rsplit(":", 1)[-1].strip()
        return SiteError(f"the network interface {name} has no address here; name another in GLOO_SOCKET_IFNAME")
    return NotMetError(f"the ranks could not meet at {where}: {text}")


def _own(dist: Any, colours: list[Any], rank: int, timeout: timedelta) -> Any:
    """Make one process group of each colour (all ranks take part in making each) and return this rank's."""
    own = None
    for colour in sorted(set(colours)):
        members = [r for r, other in enumerate(colours) if other == colour]
        made = dist.new_group(members, timeout=timeout)
        if rank in members:
            own = made
    return own


def is_peers_fault(error: BaseException) -> bool:
    """Say whether an error tells of another rank rather than of this one: a lost connection, a deadline."""
    if isinstance(error, EffbenchError):
        return isinstance(error, NotMetError)
    import torch.distributed as dist

    if isinstance(error, dist.DistError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError | TimeoutError) and any(words in text for words in _PEER_WORDS)


def versions(accelerator: Accelerator) -> dict[str, str]:
    """Return what all ranks must have in common besides effbench: torch, CUDA, NCCL, the driver. Absent ones are ''."""
    torch = import_torch()
    cuda = accelerator.kind == "gpu"
    nccl = ""
    if cuda and torch.distributed.is_nccl_available():
        nccl = ".".join(str(part) for part in torch.cuda.nccl.version())
    return {
        "torch": str(torch.__version__),
        "cuda": str(torch.version.cuda or torch.version.hip or ""),
        "nccl": nccl,
        "driver": _driver() if cuda else "",
    }


def _driver() -> str:
    try:
        return Path("/sys/module/nvidia/version").read_text(encoding="ascii").strip()
    except OSError:
        return ""
