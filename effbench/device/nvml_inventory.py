"""Owns how NVML describes one GPU for the inventory: identity, limits, modes, link. Rates it reads elsewhere.

NVML knows neither the SM count nor the last-level cache: `sm_count` stays absent and `llc_bytes` 0 until the probe
worker, which asks torch, fills them; the same holds for `memory_bytes` on unified-memory parts, where NVML refuses.
"""

import os
from pathlib import Path
from typing import Any

from effbench.device.nvml_fields import POWER_DEFAULT_LIMIT, SCOPE_GPU, read_fields
from effbench.device.nvml_read import Guard
from effbench.model.inventory import Accelerator, Pcie

CLOCK_SM = 1  # nvmlClockType_t
CLOCK_MEMORY = 2
VGPU_GUEST = 2  # NVML_GPU_VIRTUALIZATION_MODE_VGPU

# A worker is shown its own GPU alone (CUDA_VISIBLE_DEVICES=<uuid>), so it always opens the first one.
TORCH_DEVICE = "cuda:0"


def pci_address(bus_id: str) -> str:
    """Write a PCI bus id as sysfs does: `00000000:C1:00.0` of NVML becomes `0000:c1:00.0`. "" stays "" (unknown)."""
    domain, separator, rest = bus_id.strip().lower().partition(":")
    if not separator:
        return bus_id.strip().lower()
    return f"{int(domain, 16):04x}:{rest}"


def numa_node(address: str, root: Path) -> int | None:
    """Read a PCI device's NUMA node from sysfs; None when the platform has none (-1) or hides it."""
    try:
        node = int((root / "sys/bus/pci/devices" / address / "numa_node").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return node if node >= 0 else None


def compute_processes(guard: Guard) -> list[int] | None:
    """PIDs that hold a compute context on the device, sorted; None when the driver does not tell.

    In a container NVML may hide processes of other PID namespaces or number them as the host does.
    """
    entries = guard.ask(
        "processes", ("nvmlDeviceGetComputeRunningProcesses_v3",), ("nvmlDeviceGetComputeRunningProcesses_v2",)
    )
    return None if entries is None else sorted({int(entry.pid) for entry in entries})


def describe(guard: Guard, key: str, address: str, uuid: str, health: dict[str, float], root: Path) -> Accelerator:
    """Build the inventory entry of one GPU. What could not be read is absent, with its reason in `guard.reasons`."""
    memory = guard.ask("memory_bytes", ("nvmlDeviceGetMemoryInfo",))
    capability = guard.ask("compute_capability", ("nvmlDeviceGetCudaComputeCapability",))
    persistence = guard.ask("persistence", ("nvmlDeviceGetPersistenceMode",))
    pids = compute_processes(guard)
    return Accelerator(
        key=key,
        kind="gpu",
        vendor="nvidia",
        name=_text(guard, "name", "nvmlDeviceGetName") or "unidentified NVIDIA GPU",
        torch_device=TORCH_DEVICE,
        memory_bytes=int(memory.total) if memory is not None else 0,
        llc_bytes=0,
        uuid=uuid,
        pci_bus_id=address,
        compute_capability=f"{capability[0]}.{capability[1]}" if capability else "",
        clock_max_hz=_scaled(guard.ask("clock_max_hz", ("nvmlDeviceGetMaxClockInfo", CLOCK_SM)), 1e6),
        memory_clock_max_hz=_scaled(guard.ask("memory_clock_max_hz", ("nvmlDeviceGetMaxClockInfo", CLOCK_MEMORY)), 1e6),
        power_limit_w=_scaled(guard.ask("power_limit_w", ("nvmlDeviceGetEnforcedPowerLimit",)), 1e-3),
        power_limit_default_w=_scaled(_default_limit(guard), 1e-3),
        ecc=_enabled(guard.ask("ecc", ("nvmlDeviceGetEccMode",))),
        mig=_enabled(guard.ask("mig", ("nvmlDeviceGetMigMode",))),
        persistence=None if persistence is None else bool(persistence),
        vbios=_text(guard, "vbios", "nvmlDeviceGetVbiosVersion"),
        serial=_text(guard, "serial", "nvmlDeviceGetSerial"),
        numa=numa_node(address, root) if address else None,
        pcie=_pcie(guard),
        health=health,
        other_pids=[pid for pid in pids or [] if pid != os.getpid()],
    )


def notes(guard: Guard, accelerator: Accelerator) -> list[str]:
    """What a reader must know of this GPU and the inventory has no field for, a sentence each."""
    said = []
    if guard.lost:
        said.append(f"{accelerator.key} does not answer: {guard.lost}")
    if guard.ask("virtualization", ("nvmlDeviceGetVirtualizationMode",)) == VGPU_GUEST:
        said.append(f"{accelerator.key} is a virtual GPU ({accelerator.name}): a share of a board, rated against none")
    if accelerator.mig:
        said.append(f"{accelerator.key} is in MIG mode: power, energy and health are those of the whole board")
    return said


def _pcie(guard: Guard) -> Pcie | None:
    """The PCIe link; an idle GPU saves power by running it below its generation, so read it under load to judge it."""
    link = Pcie(
        generation=guard.ask("pcie_generation", ("nvmlDeviceGetCurrPcieLinkGeneration",)),
        width=guard.ask("pcie_width", ("nvmlDeviceGetCurrPcieLinkWidth",)),
        generation_max=guard.ask("pcie_generation_max", ("nvmlDeviceGetMaxPcieLinkGeneration",)),
        width_max=guard.ask("pcie_width_max", ("nvmlDeviceGetMaxPcieLinkWidth",)),
    )
    return link if link != Pcie() else None


def _default_limit(guard: Guard) -> float | None:
    """The board's own power limit, mW, by its call or else by field 189."""
    limit = guard.ask("power_limit_default_w", ("nvmlDeviceGetPowerManagementDefaultLimit",))
    if limit is None and not guard.lost:
        limit = read_fields(guard, {"power_limit_default_w": (POWER_DEFAULT_LIMIT, SCOPE_GPU)}).get(
            "power_limit_default_w"
        )
    return None if limit is None else float(limit)


def _text(guard: Guard, quantity: str, function: str) -> str:
    """A word that NVML knows, "" when it does not."""
    value = guard.ask(quantity, (function,))
    return str(value).strip() if value is not None else ""


def _enabled(state: Any) -> bool | None:
    """The current one of NVML's (current, pending) pair."""
    return None if state is None else bool(state[0])


def _scaled(value: float | None, factor: float) -> float | None:
    """A positive reading in its SI unit; 0 means that the driver does not know (a limit or a clock is never 0)."""
    return float(value) * factor if value else None
