"""Where teams run: how many ranks, on which devices, and on a CPU on which cores. Pure."""

import math
from collections.abc import Sequence
from typing import Literal

import msgspec

from effbench.model.inventory import Accelerator
from effbench.model.plan import Placement

__all__ = ["TOO_MANY", "Team", "backend", "counts", "most", "narrowed", "place", "teams"]

TOO_MANY = "ranks need as many"


class Team(msgspec.Struct, frozen=True):
    """A size of team: where it lies, a device as one of its ranks has it, and why it cannot be formed here."""

    placement: Placement
    accelerator: Accelerator
    skip: str | None


def most(accelerators: Sequence[Accelerator], nodes: int = 1) -> int:
    """Return the largest team: one rank per GPU; on a CPU one per usable core, at least one."""
    first = accelerators[0]
    if first.kind == "gpu":
        return len(accelerators) * nodes
    return _usable(first) * nodes


def _usable(accelerator: Accelerator) -> int:
    return max(1, math.floor(accelerator.cpu.cores_usable)) if accelerator.cpu is not None else 1


def counts(asked: Sequence[int] | None, largest: int) -> list[int]:
    """Return the numbers of ranks: those asked for, else 1, 2, 4 ... and the largest."""
    if asked is not None:
        return sorted(set(asked))
    return sorted({1 << power for power in range(largest.bit_length()) if 1 << power <= largest} | {largest})


def teams(asked: Sequence[int] | None, accelerators: Sequence[Accelerator], nodes: int = 1) -> list[Team]:
    """Return every size of team that is asked for, those that this node cannot form with the reason."""
    there = most(accelerators, nodes)
    wanted = counts(asked, there)
    largest = max((ranks for ranks in wanted if ranks <= there), default=there)
    found = []
    for ranks in wanted:
        where = place(min(ranks, there), largest, accelerators, nodes)
        share = -(-largest // nodes)
        device = narrowed(accelerators[0], where.cores[0] if where.cores else [], share)
        whole = msgspec.structs.replace(where, ranks=ranks)
        found.append(Team(whole, device, _refusal(ranks, there, accelerators)))
    return found


def _refusal(ranks: int, there: int, accelerators: Sequence[Accelerator]) -> str | None:
    kind = "GPUs" if accelerators[0].kind == "gpu" else "usable cores"
    if ranks > there:
        return f"not applicable: {ranks} {TOO_MANY} {kind}, and there are {there}"
    if any(a.simulated for a in accelerators):
        return "not applicable: simulated devices form no process group"
    if ranks > 1 and any(a.mig for a in accelerators):
        return "not applicable: NCCL does not join MIG slices of a GPU"
    return None


def place(ranks: int, largest: int, accelerators: Sequence[Accelerator], nodes: int = 1) -> Placement:
    """Place `ranks` ranks, node after node.

    A rank on a CPU has the same number of cores, `usable cores / largest per node`, at every number of ranks, so that
    a team of one and a team of all are comparable; the cores of absent ranks stay idle. Of each core one logical CPU
    is used, because the inventory lists them in that order: two ranks never share a core.
    """
    first = accelerators[0]
    if first.kind == "gpu":
        per_node = len(accelerators)
        used = min(nodes, -(-ranks // per_node))
        return Placement([a.key for a in accelerators[: min(ranks, per_node)]], ranks, used)
    per_node = max(1, -(-largest // nodes))
    used = min(nodes, -(-ranks // per_node))
    affinity = first.cpu.affinity if first.cpu is not None else [0]
    width = max(1, _usable(first) // per_node)
    cores = [affinity[i * width : (i + 1) * width] for i in range(min(ranks, per_node))]
    return Placement([first.key], ranks, used, cores)


def narrowed(accelerator: Accelerator, cores: Sequence[int], share: int = 1) -> Accelerator:
    """Return a CPU as one rank has it: its cores, and one of `share` parts of the memory. A GPU stays whole."""
    if accelerator.cpu is None or not cores:
        return accelerator
    facts = msgspec.structs.replace(accelerator.cpu, cores_usable=float(len(cores)), affinity=list(cores))
    return msgspec.structs.replace(accelerator, cpu=facts, memory_bytes=accelerator.memory_bytes // max(1, share))


def backend(accelerator: Accelerator) -> Literal["nccl", "gloo", "xccl"]:
    """Return the backend of a device's collectives: gloo on a CPU, xccl on Intel's GPUs, nccl (or RCCL) on others."""
    if accelerator.kind == "cpu":
        return "gloo"
    return "xccl" if accelerator.vendor == "intel" else "nccl"
