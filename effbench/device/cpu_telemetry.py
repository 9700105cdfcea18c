"""The CPU as a watched device: foreign load, steal, pressure, quota throttling, temperature, energy.

One reading takes 60 us with warm caches and 0.2 ms with cold ones, because every file stays open; slow sensors and
new children are looked for twice a second, energy counters at every reading, and these and /proc/stat more rarely on
a machine where they cost much. The
clock that a core holds is not here: only a probe on the core that worked can tell it, and what the governor says is
passed on as a mere hint, with the counters (`scaling_cur_hz`).
"""

import re
import time
from pathlib import Path

from effbench.device import cgroup, cpu, cpu_sensors
from effbench.device.cpu_time import CpuTime, Shares
from effbench.device.files import OpenFile, opened
from effbench.model.energy import Sensor
from effbench.model.event import Telemetry
from effbench.model.inventory import Accelerator

SLOW_EVERY_S = 0.5
NEW_THROTTLES = "thermal_throttle_new"
# At most this share of one core may go into reading /proc/stat, which takes milliseconds on hundreds of CPUs, and as
# much into the energy counters, each of which may have to wake a core of its package.
STAT_SHARE = 0.002
_FURTHER = ("dram_energy_j", "cpu_power_w", "module_power_w")
_PERIODS = re.compile(rb"^nr_throttled (\d+)", re.MULTILINE)
_THROTTLED_US = re.compile(rb"^throttled_usec (\d+)", re.MULTILINE)
_THROTTLED_NS = re.compile(rb"^throttled_time (\d+)", re.MULTILINE)


class CpuObserver:
    """Watches the cores this process may use. `watch` names our own processes; everything else is a stranger."""

    def __init__(self, pids: list[int] | None = None, root: Path = Path("/")) -> None:
        """Open everything that can be read.

        Raises:
            SiteError: this is not Linux.
            OSError: /proc/stat cannot be read.
        """
        self._root = root
        self._accelerator, _ = cpu.describe(root)
        cpus = self._accelerator.cpu.affinity if self._accelerator.cpu else [0]
        start = time.monotonic_ns()
        self._time = CpuTime(cpus, pids or [], root)
        self._stat_every_ns = int((time.monotonic_ns() - start) / STAT_SHARE) if len(cpus) > 32 else 0
        self._stat_due_ns = 0
        facts = self._accelerator.cpu
        self._sensors = cpu_sensors.find(cpus, root, facts is not None and facts.virtual, facts.isa if facts else "")
        self._energy_every_ns = int(self._sensors.power.energy_cost_s() * 1e9 / STAT_SHARE)
        self._energy_due_ns = 0
        self._absent = dict(self._sensors.absent)
        self._pressure = self._open("psi_some", _pressure_path(root))
        self._throttle = self._open_throttle()
        self._pressure_us = self._stalled_us()
        self._throttled_s = self._throttled()[1]
        self._last_ns = start
        self._slow_due_ns = 0
        self._energy: tuple[int, float] | None = None
        self._throttles = sum(_integers(self._sensors.throttles))

    def accelerator(self) -> Accelerator:
        """Describe the CPU as it was when the observer was made."""
        return self._accelerator

    def watch(self, pids: list[int]) -> None:
        """Count these processes and their descendants as ours."""
        self._time.tree.watch(pids)

    def read(self, t_ns: int) -> Telemetry:
        """Take one reading. `throttled_s`, like the fractions, is of the time since the last reading.

        `counters` holds how often the processor throttled because of heat since the last look, when it did.

        Raises:
            OSError: /proc/stat stopped answering.
        """
        shares = self._shares(t_ns)
        seconds = max((t_ns - self._last_ns) * 1e-9, 1e-9)
        self._last_ns = t_ns
        stalled, throttled = self._stalled_us(), self._throttled()[1]
        psi = _difference(stalled, self._pressure_us)
        held_back = _difference(throttled, self._throttled_s)
        self._pressure_us, self._throttled_s = stalled, throttled
        slow = self._slow(t_ns) | self._joules(t_ns)
        return Telemetry(
            t_ns=t_ns,
            device=cpu.KEY,
            power_w=slow.get("power_w"),
            temperature_degc=slow.get("temperature_degc"),
            energy_j=slow.get("energy_j"),
            utilisation=shares.utilisation if shares else None,
            steal=shares.steal if shares else None,
            foreign=shares.foreign if shares else None,
            psi_some=None if psi is None else min(psi * 1e-6 / seconds, 1.0),
            throttled_s=held_back,
            counters={NEW_THROTTLES: slow[NEW_THROTTLES]} if slow.get(NEW_THROTTLES) else {},
            sensors={name: slow[name] for name in _FURTHER if name in slow},
        )

    def counters(self) -> dict[str, float]:
        """Read memory errors, quota throttling and thermal throttling, cumulative since boot or the group's birth.

        `scaling_cur_hz` is among them as the governor's hint at the clock; it counts nothing.
        """
        found, _ = cpu_sensors.memory_errors(self._root)
        periods, throttled_s = self._throttled()
        if periods is not None and throttled_s is not None:
            found |= {"cgroup_throttled_periods": float(periods), "cgroup_throttled_s": throttled_s}
        if throttles := _integers(self._sensors.throttles):
            found["thermal_throttle"] = float(sum(throttles))
        if kilohertz := _integers(self._sensors.clocks):
            found["scaling_cur_hz"] = sum(kilohertz) * 1e3 / len(kilohertz)
        if self._sensors.power.packages:
            found["rapl_wraps"] = float(sum(zone.wraps for zone in self._sensors.power.packages))
        return found

    def absent(self) -> dict[str, str]:
        """Say what cannot be read here and why. The held clock is no sensor's to tell, so it is not missed."""
        _, errors = cpu_sensors.memory_errors(self._root)
        return {**self._absent, **errors}

    def sensors(self) -> list[Sensor]:
        """Return the cards of the processors' power and energy sensors, absent ones included."""
        return self._sensors.power.cards()

    def close(self) -> None:
        """Close every file."""
        self._time.close()
        self._sensors.close()
        for file in (self._pressure, self._throttle):
            if file is not None:
                file.close()

    def _open(self, quantity: str, path: Path) -> OpenFile | None:
        file = opened(path) if path.is_file() else f"{path} is not there"
        if isinstance(file, str):
            self._absent[quantity] = file
            return None
        return file

    def _open_throttle(self) -> OpenFile | None:
        """Open the quota's statistics where a quota applies; without one nothing can be held back."""
        group = cgroup.find("cpu", self._root)
        if group is None or cgroup.quota_cores(self._root) is None:
            return None
        return self._open("throttled_s", group.folder / "cpu.stat")

    def _shares(self, t_ns: int) -> Shares | None:
        if t_ns < self._stat_due_ns:
            return None
        self._stat_due_ns = t_ns + self._stat_every_ns
        return self._time.look(t_ns)

    def _stalled_us(self) -> int | None:
        _, found, total = _data(self._pressure).partition(b"\n")[0].rpartition(b"total=")
        return int(total) if found else None

    def _throttled(self) -> tuple[int | None, float | None]:
        """Give the periods in which the quota stopped us and for how long, s, both since the group was made."""
        data = _data(self._throttle)
        periods, micro, nano = _PERIODS.search(data), _THROTTLED_US.search(data), _THROTTLED_NS.search(data)
        seconds = int(micro[1]) * 1e-6 if micro else int(nano[1]) * 1e-9 if nano else None
        return (int(periods[1]) if periods else None), seconds

    def _slow(self, t_ns: int) -> dict[str, float]:
        """Read temperature (the hottest), the power meters and throttling since the last time; when due."""
        if t_ns < self._slow_due_ns:
            return {}
        self._slow_due_ns = t_ns + int(SLOW_EVERY_S * 1e9)
        self._time.tree.find_children()
        found: dict[str, float] = {}
        if degrees := _integers(self._sensors.temperatures):
            found["temperature_degc"] = max(degrees) / 1000
        throttles = sum(_integers(self._sensors.throttles))
        found[NEW_THROTTLES] = float(max(0, throttles - self._throttles))
        self._throttles = throttles
        watts = self._sensors.power.watts()
        if "cpu_power_w" in watts:
            found["power_w"] = watts["cpu_power_w"]
        return found | watts

    def _joules(self, t_ns: int) -> dict[str, float]:
        """Read the energy counters, and the mean power since the last time by them; when due."""
        if t_ns < self._energy_due_ns:
            return {}
        self._energy_due_ns = t_ns + self._energy_every_ns
        found = self._sensors.power.energy()
        total, before = found.get("energy_j"), self._energy
        if total is None:
            return found
        self._energy = (t_ns, total)
        if before is None or t_ns <= before[0]:
            return found
        return found | {"power_w": (total - before[1]) / ((t_ns - before[0]) * 1e-9)}


def _pressure_path(root: Path) -> Path:
    """Prefer the pressure on our own control group, where it has one, to that of the whole machine."""
    group = cgroup.find("cpu", root)
    own = group.folder / "cpu.pressure" if group else root / "nowhere"
    return own if own.is_file() else root / "proc/pressure/cpu"


def _data(file: OpenFile | None) -> bytes:
    if file is None:
        return b""
    try:
        return file.read()
    except OSError:
        return b""


def _integers(files: list[OpenFile]) -> list[int]:
    return [value for value in (file.integer() for file in files) if value is not None]


def _difference(now: float | None, before: float | None) -> float | None:
    return None if now is None or before is None or now < before else now - before
