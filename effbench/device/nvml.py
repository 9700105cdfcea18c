"""Owns NVIDIA GPUs as observed devices: which there are, and one reading of each, through the real NVML binding.

Devices come in PCI bus order, as CUDA_DEVICE_ORDER=PCI_BUS_ID numbers them, whatever order NVML lists them in; each is
known by UUID and PCI bus id. A reading is eight cheap calls; what a GPU lacks is asked at most three times.
"""

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from effbench.device import nvml_inventory as inventory
from effbench.device.nvml_driver import DriverFacts, driver_facts, open_handles, read_versions
from effbench.device.nvml_fields import (
    MEMORY_TEMPERATURE,
    POWER_AVERAGE,
    POWER_INSTANT,
    SCOPE_GPU,
    TOTAL_ENERGY,
    Field,
    read_fields,
)
from effbench.device.nvml_health import XidWatch, health_fields, lost_counters, read_health
from effbench.device.nvml_read import Guard, NvmlUnavailableError, attempt, initialise, load_binding
from effbench.model.event import Telemetry
from effbench.model.inventory import Accelerator

__all__ = ["DriverFacts", "NvmlDevice", "NvmlUnavailableError", "driver_facts", "foreign_pids", "observe"]

# `power_instant_w` is a window of 25 ms per 100 ms on GH100 and GA100, `power_average_w` the mean of the last second on
# Ampere and later except GA100 (arXiv 2312.02741, and nvml.h on fields 185 and 186).
_LIVE: dict[str, Field] = {
    "power_instant_w": (POWER_INSTANT, SCOPE_GPU),
    "power_average_w": (POWER_AVERAGE, SCOPE_GPU),
    "memory_temperature_degc": (MEMORY_TEMPERATURE, 0),
}
_ENERGY: dict[str, Field] = {"energy_field_j": (TOTAL_ENERGY, 0)}

# Events and processes are looked at this often: each is a call into the kernel, and neither is a rate.
_SLOW_EVERY_NS = 1_000_000_000


def observe(root: Path = Path("/")) -> list["NvmlDevice"]:
    """Open every NVIDIA GPU that this user may touch, keyed `gpu0`, `gpu1`... in PCI bus order.

    A GPU that has fallen off the bus is listed last, as lost, so that a node never looks smaller than it is. Close each
    device when done. `root` is where sysfs is looked for.

    Raises:
        NvmlUnavailableError: NVML cannot be used, or every GPU is out of reach; `cause` says why.
    """
    binding = load_binding()
    initialise(binding)
    try:
        guards, refused = open_handles(binding)
        if refused and not guards:
            raise NvmlUnavailableError(
                "no-permission", f"every GPU is out of reach: {refused[0]}; check the container's device rules"
            )
        facts = read_versions(binding, refused)
        found = sorted((_identity(guard) for guard in guards), key=_order)
        return [NvmlDevice(f"gpu{number}", *one, facts, root) for number, one in enumerate(found)]
    finally:
        attempt(binding, "nvmlShutdown")


def foreign_pids(pids: Iterable[int], ours: Iterable[int]) -> list[int] | None:
    """PIDs on the device that are not ours; None when that cannot be told.

    It cannot when the device has processes and none is a watched one: either our worker has no context yet, or the
    driver numbers processes in another PID namespace (a container), where our own worker would look like a stranger.
    """
    present, known = set(pids), set(ours) | {os.getpid()}
    if present and not present & known:
        return None
    return sorted(present - known)


class NvmlDevice:
    """One GPU being watched. Holds its own NVML initialisation until it is closed."""

    def __init__(self, key: str, address: str, uuid: str, guard: Guard, facts: DriverFacts, root: Path) -> None:
        self.key = key
        self.pci_bus_id = address
        self.uuid = uuid
        self.driver = facts
        self._guard = guard
        self._root = root
        self._open = not attempt(guard.binding, "nvmlInitWithFlags", 0)[0]
        self._xids = XidWatch(guard)
        self._fields = health_fields(guard.binding, facts.binding, facts.driver)
        self._described: Accelerator | None = None
        self._watched: set[int] = set()
        self._foreign: float | None = None
        self._slow_ns: int | None = None
        self._readings = 0
        self._counted = False
        self._zeros: dict[str, int] = {}
        self._watts_seen: set[str] = set()
        self._reported: dict[str, float] = {}

    def accelerator(self) -> Accelerator:
        """Describe the GPU as it is now, or as it last was when it is lost; `part` is left absent."""
        self._xids.poll()
        health = read_health(self._guard, self._fields) | self._xids.counters()
        if self._guard.lost and self._described is not None:
            return msgspec.structs.replace(self._described, health=health)
        self._described = inventory.describe(self._guard, self.key, self.pci_bus_id, self.uuid, health, self._root)
        return self._described

    def watch(self, pids: Iterable[int]) -> None:
        """Say which processes are ours, so that others on the device show as foreign."""
        self._watched = set(pids)
        self._slow_ns = None

    def read(self, t_ns: int) -> Telemetry:
        """Take one reading at monotonic `t_ns`. A lost GPU gives what came before the loss, and `device_lost`.

        `foreign` is 1.0 while a process that is not ours holds a compute context, 0.0 while none does. `counters` holds
        the XIDs and reading faults, cumulative, in the readings in which they changed.
        """
        self._readings += 1
        guard = self._guard
        fields = read_fields(guard, _LIVE)
        power_w = self._power_w(fields)
        energy_mj = self._energy_mj()
        clock_mhz = guard.ask("clock_hz", ("nvmlDeviceGetClockInfo", inventory.CLOCK_SM))
        memory_mhz = guard.ask("memory_clock_hz", ("nvmlDeviceGetClockInfo", inventory.CLOCK_MEMORY))
        temperature = guard.ask("temperature_degc", ("nvmlDeviceGetTemperatureV", 0), ("nvmlDeviceGetTemperature", 0))
        reasons = guard.ask(
            "reasons", ("nvmlDeviceGetCurrentClocksEventReasons",), ("nvmlDeviceGetCurrentClocksThrottleReasons",)
        )
        busy = guard.ask("utilisation", ("nvmlDeviceGetUtilizationRates",))
        self._look_slowly(t_ns)
        return Telemetry(
            t_ns=t_ns,
            device=self.key,
            power_w=power_w,
            power_average_w=self._watts("power_average_w", fields.get("power_average_w")),
            clock_hz=None if clock_mhz is None else clock_mhz * 1e6,
            memory_clock_hz=None if memory_mhz is None else memory_mhz * 1e6,
            temperature_degc=None if temperature is None else float(temperature),
            memory_temperature_degc=fields.get("memory_temperature_degc") or None,  # 0 from boards without the sensor
            reasons=None if reasons is None else int(reasons),
            utilisation=None if busy is None else busy.gpu / 100,
            energy_j=None if energy_mj is None else energy_mj / 1e3,
            foreign=self._foreign,
            counters=self._news(),
        )

    def counters(self) -> dict[str, float]:
        """Read the cumulative health counters, XIDs since the device was opened, and how reading itself went."""
        self._counted = True
        self._xids.poll()
        return read_health(self._guard, self._fields) | self._xids.counters() | self._faults()

    def absent(self) -> dict[str, str]:
        """Quantities without a value, each with NVML's reason: all counters, and what was read or described so far."""
        if not self._counted:
            self.counters()
        reasons = dict(self._guard.reasons)
        if self._guard.lost:
            reasons["device"] = self._guard.lost
        for quantity in self._zeros.keys() - self._watts_seen:
            reasons[quantity] = "the driver answers 0 W every time, which no powered GPU draws"
        if self._xids.absent:
            reasons["xid"] = self._xids.absent
        if "power_instant_w" in reasons and self._guard.seen("power_w"):
            reasons["power_instant_w"] += "; nvmlDeviceGetPowerUsage stands in, a 1 s mean on Ampere and later"
        return reasons

    def notes(self) -> list[str]:
        """What a reader must know of this GPU and the inventory has no field for, a sentence each."""
        return inventory.notes(self._guard, self._described or self.accelerator())

    def processes(self) -> list[int] | None:
        """PIDs that hold a compute context on the GPU; None when the driver does not tell."""
        return inventory.compute_processes(self._guard)

    def close(self) -> None:
        """Let go of the event set and of NVML. May be called twice."""
        self._xids.close()
        if self._open:
            self._open = False
            attempt(self._guard.binding, "nvmlShutdown")

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
            self._zeros[quantity] = self._zeros.get(quantity, 0) + 1
            return None
        self._watts_seen.add(quantity)
        return milliwatts / 1e3

    def _energy_mj(self) -> float | None:
        """The cumulative energy counter, mJ since the driver was loaded, by its call or else by field 83."""
        energy = self._guard.ask("energy_j", ("nvmlDeviceGetTotalEnergyConsumption",))
        if energy is None and not self._guard.seen("energy_j"):
            energy = read_fields(self._guard, _ENERGY).get("energy_field_j")
        return None if energy is None else float(energy)

    def _look_slowly(self, t_ns: int) -> None:
        """Once a second: events, and who else is on the device."""
        if self._slow_ns is not None and t_ns - self._slow_ns < _SLOW_EVERY_NS:
            return
        self._slow_ns = t_ns
        self._xids.poll()
        pids = self.processes() if self._watched else None
        others = None if pids is None else foreign_pids(pids, self._watched)
        self._foreign = None if others is None else float(bool(others))

    def _faults(self) -> dict[str, float]:
        """How reading went: readings taken, answers that were missing, readings of 0 W."""
        return {
            "readings": float(self._readings),
            "bad_calls": float(self._guard.bad_calls),
            "power_zero": float(sum(self._zeros.values())),
        }

    def _news(self) -> dict[str, float]:
        """Counters that have changed since the last reading, and the loss of the device in every one."""
        now = {name: value for name, value in self._faults().items() if value and name != "readings"}
        now |= self._xids.counts
        news = {name: value for name, value in now.items() if self._reported.get(name) != value}
        self._reported = now
        return news | lost_counters(self._guard) if self._guard.lost else news


def _identity(guard: Guard) -> tuple[str, str, Guard]:
    """PCI bus id (as sysfs writes it), UUID, guard; both "" for a GPU that does not answer."""
    pci = guard.ask("pci_bus_id", ("nvmlDeviceGetPciInfo",))
    uuid = guard.ask("uuid", ("nvmlDeviceGetUUID",))
    return inventory.pci_address(str(pci.busId)) if pci is not None else "", str(uuid or ""), guard


def _order(found: tuple[str, str, Guard]) -> tuple[bool, str, str]:
    """Sort key: PCI bus order (hexadecimal digits of fixed width), what has no address last."""
    return not found[0], found[0], found[1]
