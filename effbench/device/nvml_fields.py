"""Owns NVML's field values: which IDs may be asked, and how an answer is decoded.

IDs and value types are those of nvml.h (`NVML_FI_DEV_*`, `nvmlValueType_t`). Comparing 13 releases of nvidia-ml-py
shows that IDs from 251 up were renumbered between driver branches (HW_THERM_SLOWDOWN: 252 at 12.575, 270 at 13.590), so
that a binding of another branch than the driver would read another quantity, with success. The IDs below never moved.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

from effbench.device.nvml_read import Guard, words

# Power scopes of fields 185 and 186. GPU is the board's GPU with its memory; MODULE (GH200) also holds the CPU and is
# never added to it; MEMORY is inside GPU. Bindings name them from 12.535 on, MEMORY from 12.560 on.
SCOPE_GPU = 0
SCOPE_MODULE = 1
SCOPE_MEMORY = 2
SCOPE_NAMES = {SCOPE_MODULE: "NVML_POWER_SCOPE_MODULE", SCOPE_MEMORY: "NVML_POWER_SCOPE_MEMORY"}

POWER_AVERAGE = 185
POWER_INSTANT = 186
POWER_DEFAULT_LIMIT = 189
MEMORY_TEMPERATURE = 82
TOTAL_ENERGY = 83
RECOVERY_ACTION = 230

FIRST_UNSTABLE_ID = 251
STABLE_IDS = frozenset(
    {*range(74, 84), *range(138, 146), *range(160, 164), *range(185, 193), 197, 198, RECOVERY_ACTION}
)

# nvmlValueType_t -> member of the union nvmlValue_t
_MEMBERS: dict[int, str] = {0: "dVal", 1: "uiVal", 2: "ulVal", 3: "ullVal", 4: "sllVal", 5: "siVal", 6: "usVal"}

# A quantity's field: (ID, scope).
Field = tuple[int, int]


def branch(version: str) -> int | None:
    """Driver branch in a version: 580 in the driver's `580.65.06`, 580 in the binding's `13.580.65`; else None."""
    numbers = [int(number) for number in re.findall(r"\d+", version)]
    return next((number for number in numbers[:2] if number >= 300), None)


def allowed(field_id: int, binding_version: str, driver_version: str) -> bool:
    """Tell whether an ID means the same to binding and driver: a stable one, or both are of the same branch."""
    if field_id < FIRST_UNSTABLE_ID:
        return field_id in STABLE_IDS
    ours = branch(binding_version)
    return ours is not None and ours == branch(driver_version)


def decode(entry: Any) -> tuple[float | None, str]:
    """Decode one `nvmlFieldValue_t` that the driver filled: (value, "") or (None, reason).

    The call as a whole succeeds even when every field failed, so each entry's own `nvmlReturn` counts.
    """
    if entry.nvmlReturn:
        return None, f"field {entry.fieldId}: {words(int(entry.nvmlReturn))}"
    member = _MEMBERS.get(int(entry.valueType))
    if member is None:
        return None, f"field {entry.fieldId}: unknown value type {entry.valueType}"
    value = float(getattr(entry.value, member))
    if not math.isfinite(value):
        return None, f"field {entry.fieldId}: not a finite number"
    return value, ""


def read_fields(guard: Guard, wanted: Mapping[str, Field]) -> dict[str, float]:
    """Read several fields of a device in one call, in NVML's own units; a quantity without an answer is left out."""
    names = [name for name in wanted if not guard.given_up(name)]
    if not names or guard.lost:
        return {}
    entries = guard.ask("field_values", ("nvmlDeviceGetFieldValues", [wanted[name] for name in names]))
    if entries is None:
        why = guard.reasons.get("field_values")
        guard.reasons.update({name: why for name in names if why and not guard.seen(name)})
        return {}
    found: dict[str, float] = {}
    for name, entry in zip(names, entries, strict=True):
        value, reason = decode(entry)
        if value is None:
            guard.refused(name, int(entry.nvmlReturn), reason)
        else:
            guard.answered(name)
            found[name] = value
    return found
