"""Owns NVIDIA GPUs as observed devices: which there are, and one reading of each, through the real NVML binding.

Devices come in PCI bus order, as CUDA_DEVICE_ORDER=PCI_BUS_ID numbers them, whatever order NVML lists them in; each is
known by UUID and PCI bus id. A reading is eight cheap calls; what a GPU lacks is asked at most three times.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from effbench.device import nvml_inventory as inventory
from effbench.device import nvml_topology as topology
from effbench.device.nvml_driver import DriverFacts, driver_facts, open_handles, read_versions
from effbench.device.nvml_health import XidWatch, lost_counters, read_health
from effbench.device.nvml_held import HeldTimes
from effbench.device.nvml_read import Guard, NvmlUnavailableError, attempt, initialise, load_binding
from effbench.device.nvml_sensors import SCOPED, PowerSensors
from effbench.model.energy import Sensor
from effbench.model.event import Telemetry
from effbench.model.inventory import Accelerator

__all__ = ["DriverFacts", "NvmlDevice", "NvmlUnavailableError", "driver_facts", "foreign_pids", "observe"]

# Events, processes and the power limit are looked at this often: each is a call into the kernel, and none is a rate.
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
        all_of = {f"gpu{number}": guard for number, (_, _, guard) in enumerate(found)}
        return [NvmlDevice(f"gpu{number}", *one, facts, root, all_of) for number, one in enumerate(found)]
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

    def __init__(
        self,
        key: str,
        address: str,
        uuid: str,
        guard: Guard,
        facts: DriverFacts,
        root: Path,
        all_of: Mapping[str, Guard],
    ) -> None:
        """Hold on to one GPU of `all_of` the node's, which are by key."""
        self.key = key
        self.pci_bus_id = address
        self.uuid = uuid
        self.driver = facts
        self._guard = guard
        self._root = root
        self._all = all_of
        self._open = not attempt(guard.binding, "nvmlInitWithFlags", 0)[0]
        self._xids = XidWatch(guard)
        self._held = HeldTimes(guard, facts.binding, facts.driver)
        self._power = PowerSensors(guard, key, root)
        self._described: Accelerator | None = None
        self._watched: set[int] = set()
        self._foreign: float | None = None
        self._slow_ns: int | None = None
        self._readings = 0
        self._counted = False
        self._reported: dict[str, float] = {}

    def accelerator(self) -> Accelerator:
        """Describe the GPU as it is now, or as it last was when it is lost; `part` is left absent."""
        self._xids.poll()
        health = read_health(self._guard, self._held) | self._xids.counters()
        if self._guard.lost and self._described is not None:
            return msgspec.structs.replace(self._described, health=health)
        found = inventory.describe(self._guard, self.key, self.pci_bus_id, self.uuid, health, self._root)
        self._described = msgspec.structs.replace(
            found, nvlink=topology.nvlinks(self._guard), hops=topology.hops(self._guard, self._all)
        )
        return self._described

    def watch(self, pids: Iterable[int]) -> None:
        """Say which processes are ours, so that others on the device show as foreign."""
        self._watched = set(pids)
        self._slow_ns = None

    def read(self, t_ns: int) -> Telemetry:
        """Take one reading at monotonic `t_ns`. A lost GPU gives what came before the loss, and `device_lost`.

        `foreign` is 1.0 while a process that is not ours holds a compute context, 0.0 while none does. `counters` holds
        the XIDs and reading faults, cumulative, in the readings in which they changed. `sensors` holds what the cards
        name and, once a second, the enforced limit as `power_limit_w`.
        """
        self._readings += 1
        guard = self._guard
        power = self._power.read()
        clock_mhz = guard.ask("clock_hz", ("nvmlDeviceGetClockInfo", inventory.CLOCK_SM))
        memory_mhz = guard.ask("memory_clock_hz", ("nvmlDeviceGetClockInfo", inventory.CLOCK_MEMORY))
        temperature = guard.ask("temperature_degc", ("nvmlDeviceGetTemperatureV", 0), ("nvmlDeviceGetTemperature", 0))
        reasons = guard.ask(
            "reasons", ("nvmlDeviceGetCurrentClocksEventReasons",), ("nvmlDeviceGetCurrentClocksThrottleReasons",)
        )
        busy = guard.ask("utilisation", ("nvmlDeviceGetUtilizationRates",))
        limit = self._look_slowly(t_ns)
        return Telemetry(
            t_ns=t_ns,
            device=self.key,
            power_w=power.power_w,
            power_average_w=power.power_average_w,
            clock_hz=None if clock_mhz is None else clock_mhz * 1e6,
            memory_clock_hz=None if memory_mhz is None else memory_mhz * 1e6,
            temperature_degc=None if temperature is None else float(temperature),
            memory_temperature_degc=power.memory_temperature_degc,
            reasons=None if reasons is None else int(reasons),
            utilisation=None if busy is None else busy.gpu / 100,
            energy_j=power.energy_j,
            foreign=self._foreign,
            counters=self._news(),
            sensors=power.sensors | limit,
        )

    def counters(self) -> dict[str, float]:
        """Read the cumulative health counters, XIDs since the device was opened, and how reading itself went."""
        self._counted = True
        self._xids.poll()
        return read_health(self._guard, self._held) | self._xids.counters() | self._faults()

    def absent(self) -> dict[str, str]:
        """Quantities without a value, each with NVML's reason: all counters, and what was read or described so far."""
        if not self._counted:
            self.counters()
        reasons = {name: why for name, why in self._guard.reasons.items() if name not in SCOPED}  # their cards say why
        if self._guard.lost:
            reasons["device"] = self._guard.lost
        if self._xids.absent:
            reasons["xid"] = self._xids.absent
        return reasons | self._power.absent()

    def sensors(self) -> list[Sensor]:
        """Return the cards of the GPU's power and energy sensors; those of a slice or a lost GPU are all absent."""
        described = self._described or self.accelerator()
        return self._power.cards(described.compute_capability)

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

    def _look_slowly(self, t_ns: int) -> dict[str, float]:
        """Once a second: events, who else is on the device, and the limit that is enforced, as a reading."""
        if self._slow_ns is not None and t_ns - self._slow_ns < _SLOW_EVERY_NS:
            return {}
        self._slow_ns = t_ns
        self._xids.poll()
        pids = self.processes() if self._watched else None
        others = None if pids is None else foreign_pids(pids, self._watched)
        self._foreign = None if others is None else float(bool(others))
        limit_w = self._power.limit_w()
        return {} if limit_w is None else {"power_limit_w": limit_w}

    def _faults(self) -> dict[str, float]:
        """How reading went: readings taken, answers that were missing, readings of 0 W."""
        return {
            "readings": float(self._readings),
            "bad_calls": float(self._guard.bad_calls),
            "power_zero": float(sum(self._power.zeros.values())),
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
