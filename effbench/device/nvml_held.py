"""Owns the time a GPU says it was held back, by cause: NVML's violation times, cumulative seconds since driver load.

Fields 74 to 81 (`NVML_FI_DEV_PERF_POLICY_*`) have never been renumbered. nvml.h documents nanoseconds for 74 and 76
alone (`UNIT_DOCUMENTED`), and for the event-reason fields, whose IDs have moved and which are therefore asked only of a
driver of the binding's own branch. The rest is read as nanoseconds too, unverified, so every time is held against the
clock: one that runs backwards or faster than wall time is dropped for good, with its reason.
"""

import time
from collections.abc import Callable

from effbench.device.nvml_fields import Field, allowed, read_fields
from effbench.device.nvml_read import Guard

# Cause -> field. `low_utilisation` means clocks lowered for want of work; the last two are totals over causes.
_STABLE: dict[str, int] = {
    "held_power_s": 74,
    "held_thermal_s": 75,
    "held_sync_boost_s": 76,
    "held_board_limit_s": 77,
    "held_low_utilisation_s": 78,
    "held_reliability_s": 79,
    "held_below_app_clocks_s": 80,
    "held_below_base_clocks_s": 81,
}
_MOVED: dict[str, str] = {
    "held_sw_thermal_s": "NVML_FI_DEV_CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN",
    "held_hw_thermal_s": "NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN",
    "held_hw_brake_s": "NVML_FI_DEV_CLOCKS_EVENT_REASON_HW_POWER_BRAKE_SLOWDOWN",
}
UNIT_DOCUMENTED = frozenset({"held_power_s", "held_sync_boost_s", *_MOVED})
# A driver may add up in steps, so that one difference is longer than the time between two looks by a step.
_STEP_S = 1.0


def _boot_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class HeldTimes:
    """The violation times of one GPU, and what each said before."""

    def __init__(
        self, guard: Guard, binding_version: str, driver_version: str, clock: Callable[[], float] = _boot_s
    ) -> None:
        """Choose the fields that may be asked here. `clock` is seconds since boot."""
        self._guard = guard
        self._clock = clock
        self._fields: dict[str, Field] = {name: (field, 0) for name, field in _STABLE.items()}
        for name, constant in _MOVED.items():
            field = getattr(guard.binding, constant, None)
            if field is not None and allowed(field, binding_version, driver_version):
                self._fields[name] = (field, 0)
        self._first: dict[str, tuple[float, float]] = {}
        self._last: dict[str, float] = {}

    def read(self) -> dict[str, float]:
        """Read every time that this GPU has, s; one that cannot be a time is left out, with its reason in the guard."""
        found = {name: nanoseconds / 1e9 for name, nanoseconds in read_fields(self._guard, self._fields).items()}
        now = self._clock()
        for name, seconds in list(found.items()):
            wrong = self._wrong(name, seconds, now)
            if wrong:
                documented = "" if name in UNIT_DOCUMENTED else "; its unit is documented nowhere"
                self._guard.reasons[name] = f"{wrong}, so this driver means something else by that field{documented}"
                del self._fields[name], found[name]
            else:
                self._last[name] = seconds
        return found

    def _wrong(self, name: str, seconds: float, now: float) -> str:
        """Say why this cannot be a time spent since the driver was loaded; "" when it can."""
        if not 0 <= seconds <= now:
            return "larger than the time since boot"
        since, before = self._first.setdefault(name, (now, seconds))
        if seconds < self._last.get(name, seconds):
            return "it ran backwards"
        return "it runs faster than wall time" if seconds - before > now - since + _STEP_S else ""
