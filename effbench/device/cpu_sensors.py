"""The slow sensors of a CPU: temperature, clock hints, thermal throttling, memory errors, power. Absent ones say why.

Sources: hwmon and thermal zones (millidegrees), cpufreq, EDAC (error counts); power and energy are `cpu_power`'s.
"""

from pathlib import Path

import msgspec

from effbench.device import cpu_power
from effbench.device.cgroup import read_text
from effbench.device.files import OpenFile, opened

# Drivers whose sensors are of the processor, and the label of the one that covers the whole package where they have
# several: coretemp's first is the package, k10temp's and zenpower's first is the control temperature.
_PROCESSOR_CHIPS = ("coretemp", "k10temp", "zenpower", "cpu_thermal")
_PROCESSOR_ZONES = ("x86_pkg_temp", "cpu-thermal", "cpu_thermal", "cpu0-thermal", "soc_thermal")


class Sensors(msgspec.Struct):
    """Open files of the sensors that can be read, and the reason for each kind that cannot."""

    temperatures: list[OpenFile]
    power: cpu_power.PowerFiles
    clocks: list[OpenFile]
    throttles: list[OpenFile]
    absent: dict[str, str]

    def close(self) -> None:
        """Close every file."""
        self.power.close()
        for file in (*self.temperatures, *self.clocks, *self.throttles):
            file.close()


def find(cpus: list[int], root: Path = Path("/"), virtual: bool = False, isa: str = "x86_64") -> Sensors:
    """Open every sensor of the processor that can be read here."""
    absent: dict[str, str] = {}
    sensors = Sensors(
        temperatures=_temperatures(root, absent),
        power=cpu_power.find(root, virtual, isa),
        clocks=_clocks(root, cpus),
        throttles=_throttles(root, cpus),
        absent=absent,
    )
    if "energy_j" in sensors.power.why:
        absent["energy_j"] = sensors.power.why["energy_j"][0]
        if "cpu_power_w" in sensors.power.why:
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
