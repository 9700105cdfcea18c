"""Owns how NVML says that GPUs are joined: NVLinks and where they end, and what lies between two GPUs on PCIe."""

from collections.abc import Mapping

from effbench.device.nvml_inventory import pci_address
from effbench.device.nvml_read import LOST_CODES, Guard, attempt
from effbench.model.inventory import Hop, NvLinks

__all__ = ["hops", "nvlinks"]

# NVML_NVLINK_MAX_LINKS of nvml.h in its branch 13; a driver with fewer refuses the others one by one.
LINKS_MAX = 36
# nvmlIntNvLinkDeviceType_t
TO_GPU, TO_SWITCH = 0, 2
# nvmlGpuTopologyLevel_t
LEVELS: dict[int, Hop] = {
    0: "internal",
    10: "single",
    20: "multiple",
    30: "hostbridge",
    40: "node",
    50: "system",
}


def nvlinks(guard: Guard) -> NvLinks | None:
    """Return the GPU's NVLinks; None where it has none or the driver does not tell (`guard.reasons["nvlink"]`).

    A link that the driver refuses is not there: parts of one family have different numbers of them. So a refusal is no
    fault of reading, and these questions do not go through `Guard.ask`.
    """
    states, refusal = dict[int, bool](), (0, "")
    for link in range(LINKS_MAX) if not guard.lost else ():
        code, state, reason = attempt(guard.binding, "nvmlDeviceGetNvLinkState", guard.handle, link)
        if not code:
            states[link] = bool(state)
        elif code in LOST_CODES:
            guard.refused("nvlink", code, reason)
            return None
        elif not any(refusal):
            refusal = code, reason
    if not states:
        if not guard.lost:
            guard.refused("nvlink", *refusal)
        return None
    guard.answered("nvlink")
    return _joined(guard, states)


def _joined(guard: Guard, states: Mapping[int, bool]) -> NvLinks:
    active = [link for link, up in states.items() if up]
    switched, peers, version = 0, dict[str, int](), None
    for link in active:
        _, kind, _ = attempt(guard.binding, "nvmlDeviceGetNvLinkRemoteDeviceType", guard.handle, link)
        code, remote, _ = attempt(guard.binding, "nvmlDeviceGetNvLinkRemotePciInfo", guard.handle, link)
        if kind == TO_SWITCH:
            switched += 1
        elif kind == TO_GPU and not code:
            address = pci_address(str(remote.busId))
            peers[address] = peers.get(address, 0) + 1
    if active:
        _, version, _ = attempt(guard.binding, "nvmlDeviceGetNvLinkVersion", guard.handle, active[0])
    return NvLinks(len(states), len(active), switched, peers, None if version is None else int(version))


def hops(guard: Guard, others: Mapping[str, Guard]) -> dict[str, Hop]:
    """Return what lies on PCIe between the GPU and each of `others`, by key; itself and what is hidden are left out."""
    found: dict[str, Hop] = {}
    for key, other in others.items():
        if other is guard or guard.lost or other.lost:
            continue
        name = "nvmlDeviceGetTopologyCommonAncestor"
        code, level, reason = attempt(guard.binding, name, guard.handle, other.handle)
        if not code and level in LEVELS:
            found[key] = LEVELS[level]
        elif not found:
            guard.reasons["hops"] = reason or f"{name}: NVML answers level {level}, which is not known"
    if found:
        guard.reasons.pop("hops", None)
    return found
