"""Owns the cumulative health counters of one GPU: ECC, remapped rows, retired pages, PCIe replays, time held, XIDs.

A counter that cannot be read is left out, with its reason in the guard; it is never 0 for unknown. Rates and verdicts
are made of differences over a run, elsewhere.
"""

from typing import Any

from effbench.device.nvml_fields import RECOVERY_ACTION, Field, read_fields
from effbench.device.nvml_held import HeldTimes
from effbench.device.nvml_read import NOT_SUPPORTED, RESET_REQUIRED, TIMEOUT, Guard, attempt

_XID_EVENT = 0x8  # nvmlEventTypeXidCriticalError
_EVENTS_PER_POLL = 64

# nvmlMemoryErrorType_t, nvmlEccCounterType_t. Volatile counts since the driver was loaded, aggregate over the
# board's life.
_ECC: dict[str, tuple[int, int]] = {
    "ecc_corrected": (0, 0),
    "ecc_uncorrected": (1, 0),
    "ecc_corrected_aggregate": (0, 1),
    "ecc_uncorrected_aggregate": (1, 1),
}
_REMAPPED = ("row_remap_corrected", "row_remap_uncorrected", "row_remap_pending", "row_remap_failed")

# Recovery action: 0 none, 1 reset, 2 reboot, 3 drain P2P, 4 drain and reset.
_FIELDS: dict[str, Field] = {"recovery_action": (RECOVERY_ACTION, 0)}


def read_health(guard: Guard, held: HeldTimes) -> dict[str, float]:
    """Read every counter that this GPU has, and the times for which it was `held` back, s.

    A lost GPU has `device_lost` 1 and nothing that it could be asked for.
    """
    found: dict[str, float] = {}
    for name, kinds in _ECC.items():
        _put(found, name, guard.ask(name, ("nvmlDeviceGetTotalEccErrors", *kinds)))
    for name, value in zip(_REMAPPED, _remapped(guard), strict=True):
        _put(found, name, value)
    _put(found, "retired_pages", _retired(guard))
    _put(found, "retired_pending", guard.ask("retired_pending", ("nvmlDeviceGetRetiredPagesPendingStatus",)))
    _put(found, "pcie_replay", guard.ask("pcie_replay", ("nvmlDeviceGetPcieReplayCounter",)))
    return found | read_fields(guard, _FIELDS) | held.read() | lost_counters(guard)


def lost_counters(guard: Guard) -> dict[str, float]:
    """`device_lost` as it is known now, and `reset_required` where the driver says that a reset would bring it back."""
    found = {"device_lost": 1.0 if guard.lost else 0.0}
    if guard.lost_code == RESET_REQUIRED:
        found["reset_required"] = 1.0
    return found


class XidWatch:
    """Listens for one GPU's XID errors, from registration on: what happened before is not told.

    Attributes:
        counts: how often each XID was seen, by counter name (`xid_79`).
        absent: why nothing can be heard, "" when it can.
    """

    def __init__(self, guard: Guard) -> None:
        self.counts: dict[str, float] = {}
        self._binding = guard.binding
        self._events: Any = None
        self.absent = guard.lost
        if self.absent:
            return
        code, events, self.absent = attempt(self._binding, "nvmlEventSetCreate")
        if code:
            return
        code, supported, self.absent = attempt(self._binding, "nvmlDeviceGetSupportedEventTypes", guard.handle)
        if not code and not supported & _XID_EVENT:
            code, self.absent = NOT_SUPPORTED, "this GPU or its mode reports no XID events"
        if not code:
            code, _, self.absent = attempt(self._binding, "nvmlDeviceRegisterEvents", guard.handle, _XID_EVENT, events)
        if code:
            attempt(self._binding, "nvmlEventSetFree", events)
        else:
            self._events = events

    def poll(self) -> None:
        """Take what has come in, without waiting."""
        for _ in range(_EVENTS_PER_POLL if self._events is not None else 0):
            code, event, reason = attempt(self._binding, "nvmlEventSetWait_v2", self._events, 0)
            if code:
                self.absent = "" if code == TIMEOUT else reason
                return
            if event.eventType & _XID_EVENT:
                name = f"xid_{int(event.eventData)}"
                self.counts[name] = self.counts.get(name, 0.0) + 1.0

    def counters(self) -> dict[str, float]:
        """Counts per code; `xid_watch` is 1 where XIDs are heard, so that none seen means none, not unknown."""
        return {"xid_watch": 1.0, **self.counts} if not self.absent else dict(self.counts)

    def close(self) -> None:
        """Let go of the event set. May be called twice."""
        if self._events is not None:
            attempt(self._binding, "nvmlEventSetFree", self._events)
            self._events = None


def _remapped(guard: Guard) -> tuple[Any, ...]:
    """Row remapping (Ampere and later, not under MIG): corrected, uncorrected, pending, failed."""
    rows = guard.ask("row_remap", ("nvmlDeviceGetRemappedRows",))
    return (None,) * len(_REMAPPED) if rows is None else tuple(rows)


def _retired(guard: Guard) -> float | None:
    """Pages retired for either cause (parts up to Volta; later ones remap rows)."""
    pages = [guard.ask("retired_pages", ("nvmlDeviceGetRetiredPages", cause)) for cause in (0, 1)]
    known = [len(found) for found in pages if found is not None]
    return float(sum(known)) if len(known) == len(pages) else None


def _put(found: dict[str, float], name: str, value: Any) -> None:
    """Note a counter that could be read."""
    if value is not None:
        found[name] = float(value)
