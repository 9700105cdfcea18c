"""The slow sensors of a CPU: temperature, energy, power, thermal throttling, memory errors. Absent ones say why.

Sources: hwmon and thermal zones (millidegrees), RAPL under powercap (microjoules, root only since Linux 5.10), the
ACPI power meter of Arm servers (microwatts, its zone named by `power1_oem_info`), EDAC (error counts).
"""

from pathlib import Path

import msgspec

from effbench.device.cgroup import read_text
from effbench.device.files import OpenFile, opened

# Drivers whose sensors are of the processor, and the label of the one that covers the whole package where they have
# several: coretemp's first is the package, k10temp's and zenpower's first is the control temperature.
_PROCESSOR_CHIPS = ("coretemp", "k10temp", "zenpower", "cpu_thermal")
_PROCESSOR_ZONES = ("x86_pkg_temp", "cpu-thermal", "cpu_thermal", "cpu0-thermal", "soc_thermal")


class Sensors(msgspec.Struct):
    """Open files of the sensors that can be read, and the reason for each kind that cannot."""

    temperatures: list[OpenFile]
    energy: list["EnergyZone"]
    power: list[OpenFile]
    clocks: list[OpenFile]
    throttles: list[OpenFile]
    absent: dict[str, str]

    def close(self) -> None:
        """Close every file."""
        zones = [zone.file for zone in self.energy]
        for file in (*self.temperatures, *zones, *self.power, *self.clocks, *self.throttles):
            file.close()


class EnergyZone:
    """One RAPL package zone. Its counter wraps (in 187 s at 350 W for a 65 kJ range), so it must be read often."""

    def __init__(self, file: OpenFile, range_uj: int) -> None:
        """Take over the open counter; `range_uj` is its `max_energy_range_uj`."""
        self.file = file
        self.wraps = 0
        self._range_uj = range_uj
        self._last_uj: int | None = None

    def joules(self) -> float | None:
        """Read the counter with its wraps, J; None when it does not answer."""
        now = self.file.integer()
        if now is None:
            return None
        if self._last_uj is not None and now < self._last_uj:
            self.wraps += 1
        self._last_uj = now
        return (now + self.wraps * self._range_uj) * 1e-6


def find(cpus: list[int], root: Path = Path("/")) -> Sensors:
    """Open every sensor of the processor that can be read here."""
    absent: dict[str, str] = {}
    sensors = Sensors(
        temperatures=_temperatures(root, absent),
        energy=_energy(root, absent),
        power=_power_meters(root),
        clocks=_clocks(root, cpus),
        throttles=_throttles(root, cpus),
        absent=absent,
    )
    if not sensors.energy and not sensors.power:
        absent["power_w"] = absent["energy_j"]
    return sensors


def memory_errors(root: Path = Path("/")) -> tuple[dict[str, float], dict[str, str]]:
    """Sum the memory controllers' corrected and uncorrected errors since boot; the reason where there are none."""
    totals: dict[str, float] = {}
    for key, name in (("ecc_corrected", "ce_count"), ("ecc_uncorrected", "ue_count")):
        texts = [read_text(path) for path in sorted((root / "sys/devices/system/edac/mc").glob(f"mc[0-9]*/{name}"))]
        counts = [int(text) for text in texts if text and text.isdecimal()]
        if counts:
            totals[key] = float(sum(counts))
    reason = "the kernel lists no memory controller (no EDAC driver, or a virtual machine)"
    return totals, {key: reason for key in ("ecc_corrected", "ecc_uncorrected") if key not in totals}


def _temperatures(root: Path, absent: dict[str, str]) -> list[OpenFile]:
    chips = sorted((root / "sys/class/hwmon").glob("hwmon*"))
    paths = [chip / "temp1_input" for chip in chips if read_text(chip / "name") in _PROCESSOR_CHIPS]
    if not paths:
        zones = sorted((root / "sys/class/thermal").glob("thermal_zone*"))
        paths = [zone / "temp" for zone in zones if read_text(zone / "type") in _PROCESSOR_ZONES]
    if not paths:
        absent["temperature_degc"] = "neither hwmon nor a thermal zone has a sensor of the processor"
    return _open_all(paths, "temperature_degc", absent)


def _energy(root: Path, absent: dict[str, str]) -> list[EnergyZone]:
    """Open the package zones alone: the cores' zone is inside them, and DRAM is not the processor's."""
    zones = []
    for folder in sorted((root / "sys/class/powercap").glob("*-rapl:*")):
        name, most = read_text(folder / "name") or "", read_text(folder / "max_energy_range_uj") or ""
        if not name.startswith("package-") or not most.isdecimal():
            continue
        file = opened(folder / "energy_uj")
        if isinstance(file, str):
            absent["energy_j"] = file
        else:
            zones.append(EnergyZone(file, int(most)))
    if "energy_j" in absent:
        for zone in zones:
            zone.file.close()
        return []
    if not zones:
        absent["energy_j"] = "there is no RAPL package zone under /sys/class/powercap"
    return zones


def _power_meters(root: Path) -> list[OpenFile]:
    """Open the meters of the CPU sockets; a module's meter holds its GPU and memory too and is left alone."""
    paths = []
    for folder in sorted((root / "sys/class/hwmon").glob("hwmon*/device")):
        if (read_text(folder / "power1_oem_info") or "").startswith("CPU Power"):
            paths.append(folder / "power1_average")
    return _open_all(paths, "power_w", {})


def _clocks(root: Path, cpus: list[int]) -> list[OpenFile]:
    """Open the governor's idea of the clock for four of the cores: a hint, and each read may wake its core."""
    chosen = cpus[:: max(1, len(cpus) // 4)][:4]
    return _open_all([root / f"sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_cur_freq" for cpu in chosen], "", {})


def _throttles(root: Path, cpus: list[int]) -> list[OpenFile]:
    """Open one thermal-throttle counter per package."""
    paths = {}
    for cpu in cpus:
        folder = root / f"sys/devices/system/cpu/cpu{cpu}"
        package = read_text(folder / "topology/physical_package_id") or ""
        path = folder / "thermal_throttle/package_throttle_count"
        if package not in paths and path.exists():
            paths[package] = path
    return _open_all(list(paths.values()), "thermal_throttle", {})


def _open_all(paths: list[Path], quantity: str, absent: dict[str, str]) -> list[OpenFile]:
    files = []
    for path in paths:
        file = opened(path)
        if isinstance(file, str):
            absent[quantity] = file
        else:
            files.append(file)
    if files:
        absent.pop(quantity, None)
    return files
