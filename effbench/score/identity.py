"""What a rating was made for: driver, firmware, VBIOS and topology of a node, each as one text to be held to. Pure."""

from effbench.model.digest import digest, short
from effbench.model.inventory import Accelerator, Inventory

__all__ = ["identity"]


def identity(inventory: Inventory) -> dict[str, str]:
    """Return what ends a rating when it changes, by the names of a policy's `rerate_on`; what is not known is absent.

    Only facts that stay the same between two runs count: of a link its width and generation at most and not those of
    the moment, of a CPU what it has and not what a job was given. Topology is always there.
    """
    gpus = [a for a in inventory.accelerators if a.kind == "gpu"]
    versions = sorted({gpu.vbios for gpu in gpus if gpu.vbios})
    told: dict[str, str] = {
        "driver": inventory.driver,
        "firmware": inventory.firmware,
        "vbios": ", ".join(versions),
        "topology": _topology(inventory.accelerators),
    }
    return {name: text for name, text in told.items() if text}


def _topology(accelerators: list[Accelerator]) -> str:
    """The devices in words, and a digest of which they are and how they are attached."""
    names = [" ".join(a.name.split()) or a.kind for a in accelerators]
    words = ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names)) or "no device"
    return f"{words} ({short(digest(sorted(_place(a) for a in accelerators)))})"


def _place(a: Accelerator) -> list[str]:
    """Which device it is and where: its identity, bus, widest link, NUMA node, NVLinks, and the cores of a CPU."""
    link = (a.pcie.generation_max, a.pcie.width_max) if a.pcie is not None else None
    cores = (a.cpu.cores_physical, a.cpu.threads_logical) if a.cpu is not None else None
    joined = (a.nvlink.active, sorted(a.nvlink.peers.items())) if a.nvlink is not None else None
    place = (a.mig, link, a.numa, cores, joined, sorted(a.hops.items()))
    return [a.kind, a.name, a.uuid, a.pci_bus_id, *map(str, place)]
