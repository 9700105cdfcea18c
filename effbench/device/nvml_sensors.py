"""Owns the power and energy sensors of one NVIDIA GPU: what each reads, and the card that says what the reading is.

`power.instant` is a window of 25 ms per 100 ms on GH100 and GA100, `average` the mean of the last second on Ampere and
later except GA100 (arXiv 2312.02741, and nvml.h on fields 185 and 186). Where the driver has no instant field,
nvmlDeviceGetPowerUsage stands in and the card says what that is. Memory and module are scopes of the same fields.
"""

from pathlib import Path

import msgspec

from effbench.catalog.sensors import SensorQuantity, as_class, sensor_class
from effbench.device import cards
from effbench.device.cgroup import read_text
from effbench.device.nvml_fields import (
    MEMORY_TEMPERATURE,
    POWER_AVERAGE,
    POWER_INSTANT,
    SCOPE_GPU,
    SCOPE_MEMORY,
    SCOPE_MODULE,
    SCOPE_NAMES,
    TOTAL_ENERGY,
    Field,
    read_fields,
)
from effbench.device.nvml_read import FUNCTION_NOT_FOUND, NO_PERMISSION, Guard, words
from effbench.model.energy import Sensor

ZERO = "the driver answers 0 W every time, which no powered GPU draws"
MIG = "MIG: power exists for the whole GPU only"
VGPU = "a virtual GPU is a share of a board: power exists for the whole board only"
WSL = "WSL2 passes few of the driver's sensors through"

_VGPU_GUEST = 2  # NVML_GPU_VIRTUALIZATION_MODE_VGPU
_LIVE: dict[str, Field] = {
    "power_instant_w": (POWER_INSTANT, SCOPE_GPU),
    "power_average_w": (POWER_AVERAGE, SCOPE_GPU),
    "memory_temperature_degc": (MEMORY_TEMPERATURE, SCOPE_GPU),
}
SCOPED: dict[str, Field] = {
    "hbm_power_w": (POWER_AVERAGE, SCOPE_MEMORY),
    "module_power_w": (POWER_INSTANT, SCOPE_MODULE),
}
_ENERGY: dict[str, Field] = {"energy_field_j": (TOTAL_ENERGY, SCOPE_GPU)}
# What to do without a sensor that few GPUs have; the GPU's own figure needs neither.
_SPARE = {
    "hbm_power_w": "nothing to do: the GPU's own reading holds its memory",
    "module_power_w": "nothing to do: only modules of a GPU with a CPU have this sensor",
}


class Power(msgspec.Struct, frozen=True):
    """One reading of every power sensor, W and J, and the memory's temperature, which comes in the same call."""

    power_w: float | None = None
    power_average_w: float | None = None
    energy_j: float | None = None
    memory_temperature_degc: float | None = None
    sensors: dict[str, float] = {}


class PowerSensors:
    """Reads one GPU's power and energy, and remembers what each sensor has ever said.

    Attributes:
        zeros: how often a quantity read 0 W, which is dropped.
    """

    def __init__(self, guard: Guard, device: str, root: Path) -> None:
        self._guard = guard
        self._device = device
        self._root = root
        known = {name: field for name, field in SCOPED.items() if hasattr(guard.binding, SCOPE_NAMES[field[1]])}
        self._fields = {**_LIVE, **known}
        self.zeros: dict[str, int] = {}
        self._watts_seen: set[str] = set()
        self._odd: dict[str, str] = {}
        self._asked = False

    def read(self) -> Power:
        """Take one reading. What cannot be read is absent, never 0."""
        self._asked = True
        fields = read_fields(self._guard, self._fields)
        power_w = self._power_w(fields)
        average_w = self._watts("power_average_w", fields.get("power_average_w"))
        whole = {"hbm_power_w": average_w or power_w, "module_power_w": power_w}
        parts = {name: self._part(name, fields.get(name), whole[name]) for name in SCOPED}
        energy_mj = self._energy_mj()
        return Power(
            power_w=power_w,
            power_average_w=average_w,
            energy_j=None if energy_mj is None else energy_mj / 1e3,
            memory_temperature_degc=fields.get("memory_temperature_degc") or None,  # 0 from boards without the sensor
            sensors={name: watts for name, watts in parts.items() if watts is not None},
        )

    def limit_w(self) -> float | None:
        """The power limit that is enforced now, W: somebody may change it while a run goes on."""
        limit = self._guard.ask("power_limit_w", ("nvmlDeviceGetEnforcedPowerLimit",))
        return limit / 1e3 if limit else None

    def absent(self) -> dict[str, str]:
        """Say why the GPU's own watts have no value, beyond what the guard has noted."""
        reasons = dict.fromkeys(self.zeros.keys() - self._watts_seen, ZERO)
        if "power_instant_w" in self._guard.reasons and self._guard.seen("power_w"):
            why = self._guard.reasons["power_instant_w"]
            reasons["power_instant_w"] = (
                f"{why}; nvmlDeviceGetPowerUsage stands in, a 1 s mean on Ampere and later except GA100"
            )
        return reasons

    def cards(self, capability: str) -> list[Sensor]:
        """Return the card of every sensor that a GPU may have; `capability` is the compute capability, `9.0`.

        A slice of a board has no sensor of its own, so a GPU in MIG mode and a virtual GPU have absent cards only.
        """
        if not self._asked:
            self.read()
        shared = self._shared()
        if shared is not None:
            return [cards.missing(card, *shared) for card in cards.blank(self._device, "nvml")]
        return [self._card(card, capability) for card in cards.blank(self._device)]

    def _card(self, card: Sensor, capability: str) -> Sensor:
        source, quantity = self._source(card)
        card = msgspec.structs.replace(card, source=source)
        if card.reading == "energy_j":
            seen = self._guard.seen("energy_j") or self._guard.seen("energy_field_j")
        else:
            seen = card.reading in self._watts_seen
        if not seen:
            why = self._why(card.reading)
            return cards.missing(card, why, self._remedy(card.reading, why))
        found = sensor_class("nvidia", quantity, capability)
        if card.scope != "gpu" and found is not None:  # its window is the field's, its error has never been published
            return msgspec.structs.replace(
                as_class(card, found), basis="assumed", uncertainty=None, uncertainty_source="never published"
            )
        if quantity == "usage" and found is not None and found.window_s is not None and found.window_s >= 1:
            card = msgspec.structs.replace(card, kind="average")
        return as_class(card, found)

    def _source(self, card: Sensor) -> tuple[str, SensorQuantity]:
        """Name the call or field behind a card, and the quantity by which its class is found."""
        guard = self._guard
        if card.reading == "energy_j":
            by_field = guard.seen("energy_field_j") and not guard.seen("energy_j")
            return ("nvml field 83" if by_field else "nvmlDeviceGetTotalEnergyConsumption"), "counter"
        if card.reading == "power_w" and guard.seen("power_w") and not guard.seen("power_instant_w"):
            return "nvmlDeviceGetPowerUsage", "usage"
        field, scope = {**SCOPED, "power_w": _LIVE["power_instant_w"], "power_average_w": _LIVE["power_average_w"]}[
            card.reading
        ]
        scoped = f" scope {SCOPE_NAMES[scope].rpartition('_')[2].lower()}" if scope in SCOPE_NAMES else ""
        return f"nvml field {field}{scoped}", "instant" if field == POWER_INSTANT else "average"

    def _shared(self) -> tuple[str, str] | None:
        """Reason and remedy when the power read here is not this device's alone, or the device is gone."""
        guard = self._guard
        if guard.lost:
            return guard.lost, "reset the GPU or reboot the node, then run `effbench doctor`"
        mig = guard.ask("mig", ("nvmlDeviceGetMigMode",))
        if mig is not None and mig[0]:
            return MIG, f"turn MIG mode off (nvidia-smi -mig 0, as root, GPU idle), or {cards.METER}"
        if guard.ask("virtualization", ("nvmlDeviceGetVirtualizationMode",)) == _VGPU_GUEST:
            return VGPU, f"measure on the host of the virtual GPU, or {cards.METER}"
        return None

    def _why(self, reading: str) -> str:
        """Say why a reading never had a value."""
        reasons = self._guard.reasons
        if reading in self.zeros:
            return ZERO
        if reading in self._odd:
            return self._odd[reading]
        if reading in SCOPED and reading not in self._fields:
            return "the installed nvidia-ml-py does not know the scope"
        names = {"power_w": ("power_instant_w", "power_w"), "energy_j": ("energy_j", "energy_field_j")}
        told = [reasons[name] for name in names.get(reading, (reading,)) if name in reasons]
        return "; ".join(told) or "the driver gave no reason"

    def _remedy(self, reading: str, why: str) -> str:
        if words(NO_PERMISSION) in why:
            return (
                "give the container or user the driver's monitoring (NVIDIA_DRIVER_CAPABILITIES=utility, /dev/nvidia*)"
            )
        if reading in _SPARE:
            return _SPARE[reading]
        if "nvidia-ml-py" in why:
            return "pip install -U nvidia-ml-py"
        if "microsoft" in (read_text(self._root / "proc/sys/kernel/osrelease") or "").lower():
            return f"{WSL}: measure under Linux itself, or {cards.METER}"
        if words(FUNCTION_NOT_FOUND) in why:
            return f"update the driver: branch 530 and later have every power field; or {cards.METER}"
        return cards.METER

    def _power_w(self, fields: dict[str, float]) -> float | None:
        """Instant power, or GetPowerUsage where the driver has no instant field (older than branch 530)."""
        milliwatts = fields.get("power_instant_w")
        if milliwatts is None and not self._guard.seen("power_instant_w"):
            milliwatts = self._guard.ask("power_w", ("nvmlDeviceGetPowerUsage",))
        return self._watts("power_w", milliwatts)

    def _watts(self, quantity: str, milliwatts: float | None) -> float | None:
        """W from mW. A powered GPU never draws 0: some drivers answer so when polled fast; dropped and counted."""
        if milliwatts is None:
            return None
        if milliwatts <= 0:
            self.zeros[quantity] = self.zeros.get(quantity, 0) + 1
            return None
        self._watts_seen.add(quantity)
        return milliwatts / 1e3

    def _part(self, name: str, milliwatts: float | None, whole_w: float | None) -> float | None:
        """W of another scope: 0 is how a board without the sensor answers, the GPU's own watts how one does that
        ignores the scope. Memory draws less than the GPU that holds it, a module more than the GPU in it.
        """
        if milliwatts is None:
            return None
        watts = milliwatts / 1e3
        if watts <= 0:
            self._odd[name] = "the driver answers 0 W, which is how a board without the sensor does"
            return None
        inside = name == "hbm_power_w"
        if whole_w is None and (inside or self._watts_seen & {"power_w", "power_average_w"}):
            return None
        if whole_w is not None and (watts >= whole_w if inside else watts <= whole_w):
            self._odd[name] = "the driver answers with the GPU's own power, so it ignores the scope"
            return None
        self._watts_seen.add(name)
        return watts

    def _energy_mj(self) -> float | None:
        """The cumulative energy counter, mJ since the driver was loaded, by its call or else by field 83."""
        energy = self._guard.ask("energy_j", ("nvmlDeviceGetTotalEnergyConsumption",))
        if energy is None and not self._guard.seen("energy_j"):
            energy = read_fields(self._guard, _ENERGY).get("energy_field_j")
        return None if energy is None else float(energy)
