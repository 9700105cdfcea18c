"""Owns over what two ranks or devices of a node reach each other, in words, so that like is held against like. Pure."""

from effbench.model.inventory import Accelerator, Hop
from effbench.model.record import Record

__all__ = ["paths", "way"]

HOPS: dict[Hop, str] = {
    "internal": "on one board",
    "single": "through one PCIe switch",
    "multiple": "through several PCIe switches",
    "hostbridge": "through a PCIe host bridge",
    "node": "within a NUMA node",
    "system": "between NUMA nodes",
}


def way(one: Accelerator, other: Accelerator) -> str:
    """Return the best way between two GPUs as the driver lists it; empty where it does not tell.

    An NVLink between the two, or a switch that both are on, comes before PCIe.
    """
    mine, theirs = one.nvlink, other.nvlink
    if mine is not None and other.pci_bus_id and (direct := mine.peers.get(other.pci_bus_id, 0)):
        return f"by {_links(direct)}"
    if mine is not None and theirs is not None and mine.switched and theirs.switched:
        return f"by {_links(min(mine.switched, theirs.switched))} through a switch"
    hop = one.hops.get(other.key) or other.hops.get(one.key)
    return HOPS[hop] if hop is not None else ""


def _links(number: int) -> str:
    return f"{number} NVLink{'s' if number > 1 else ''}"


def paths(record: Record, trial: str) -> dict[tuple[int, int], str]:
    """Return the way between every two ranks of a trial, by (lower, higher); empty where not every way is known.

    Only within one node with a rank per GPU: the devices of other nodes are not in this inventory.
    """
    placed = next((t.placement for t in record.plan.trials if t.id == trial), None)
    known = {a.key: a for a in record.inventory_before.accelerators if a.kind == "gpu"}
    if placed is None or placed.nodes != 1 or placed.ranks != len(placed.devices):
        return {}
    devices = [known[key] for key in placed.devices if key in known]
    if len(devices) != placed.ranks:
        return {}
    found = {(i, j): way(devices[i], devices[j]) for j in range(len(devices)) for i in range(j)}
    return found if all(found.values()) else {}
