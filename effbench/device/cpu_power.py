"""Owns the power and energy sensors of a CPU and its memory: RAPL counters, ACPI meters of Arm servers, their cards.

A sum over sockets is made of all of them or not at all: a part of the sum would look like a smaller machine. RAPL's
package zones hold cores and uncore, so those sub-zones are never added; DRAM is beside the package on servers and is
kept apart; `psys` is the whole platform's as its vendor understands it, holds the packages, and is not read.
"""

import re
import time
from pathlib import Path

import msgspec

from effbench.catalog.sensors import as_class, sensor_class
from effbench.device import cards
from effbench.device.cgroup import read_text
from effbench.device.files import OpenFile, opened
from effbench.model.energy import Sensor

ROOT_ONLY = (
    "run as root, or let the administrator `chmod a+r /sys/class/powercap/*/energy_uj` (closed since Linux 5.10 "
    "because of PLATYPUS, CVE-2020-8694; a container's runtime may hide it too)"
)
_PACKAGE = re.compile(r"package-(\d+)(-die-\d+)?")
_LABELS = {"cpu_power_w": "CPU Power", "module_power_w": "Module Power"}


class EnergyZone:
    """One RAPL zone. Its counter wraps (in 187 s at 350 W for a 65 kJ range), so it must be read often.

    A step back by less than half the range is no wrap but a counter that was set back: it stays visible as one.
    """

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
        if self._last_uj is not None and self._last_uj - now > self._range_uj / 2:
            self.wraps += 1
        self._last_uj = now
        return (now + self.wraps * self._range_uj) * 1e-6


class PowerFiles(msgspec.Struct):
    """The open sensors. `why` has reason and remedy of each absent reading; `intervals_s` is an ACPI meter's own."""

    packages: list[EnergyZone] = []
    dram: list[EnergyZone] = []
    meters: dict[str, list[OpenFile]] = {}
    why: dict[str, tuple[str, str]] = {}
    intervals_s: dict[str, float] = {}

    def energy(self) -> dict[str, float]:
        """Read the counters, J: `energy_j` of all packages, `dram_energy_j` of all memory; each whole or not at all."""
        found = {}
        for name, zones in (("energy_j", self.packages), ("dram_energy_j", self.dram)):
            joules = [zone.joules() for zone in zones]
            known = [value for value in joules if value is not None]
            if known and len(known) == len(joules):
                found[name] = sum(known)
        return found

    def watts(self) -> dict[str, float]:
        """Read the meters, W: `cpu_power_w` of all sockets, `module_power_w` of all modules."""
        found = {}
        for name, files in self.meters.items():
            microwatts = [file.integer() for file in files]
            known = [value for value in microwatts if value is not None and value > 0]
            if known and len(known) == len(microwatts):
                found[name] = sum(known) * 1e-6
        return found

    def energy_cost_s(self) -> float:
        """How long reading the counters takes, s: the shorter of two tries."""
        times = []
        for _ in range(2):
            start = time.perf_counter()
            self.energy()
            times.append(time.perf_counter() - start)
        return min(times)

    def cards(self) -> list[Sensor]:
        """Return the cards of the CPU's sensors; absent ones have their reason and remedy."""
        return [self._card(card) for card in cards.blank("cpu")]

    def close(self) -> None:
        """Close every file."""
        zones = [zone.file for zone in (*self.packages, *self.dram)]
        for file in (*zones, *(file for files in self.meters.values() for file in files)):
            file.close()

    def _card(self, card: Sensor) -> Sensor:
        counter = card.kind == "counter"
        source = "powercap RAPL energy_uj" if counter else "hwmon power1_average"
        card = msgspec.structs.replace(card, source=source)
        if card.reading in self.why:
            return cards.missing(card, *self.why[card.reading])
        card = as_class(card, sensor_class("rapl", "counter") if counter else sensor_class("acpi", "average"))
        seconds = self.intervals_s.get(card.reading)
        if seconds is None:
            return card
        source = "the firmware's own power1_average_interval"
        return msgspec.structs.replace(
            card, window_s=seconds, update_s=seconds, coverage=1.0, basis="published", basis_source=source
        )


def find(root: Path, virtual: bool, isa: str) -> PowerFiles:
    """Open every power sensor of the processors. A virtual machine's RAPL is never believed: it is the hypervisor's
    estimate, or the whole host's.
    """
    found = PowerFiles()
    chosen = {} if virtual else _package_folders(root)
    if virtual:
        found.why["energy_j"] = ("a virtual machine has no RAPL of its own", cards.METER)
    elif not chosen:
        found.why["energy_j"] = _no_zone(isa)
    elif sockets := _sockets_without(root, chosen):
        found.why["energy_j"] = (f"RAPL has no package zone for {sockets}, and a part is no sum", cards.METER)
    else:
        found.packages = _zones(list(chosen.values()), "energy_j", found.why)
    found.dram = _dram(chosen, found.why)
    for reading, label in _LABELS.items():
        found.meters[reading] = _meters(root, reading, label, found)
    return found


def _package_folders(root: Path) -> dict[str, Path]:
    """Package zones by name: dies stand for their package, unless that has a zone of its own which holds them."""
    named: dict[str, Path] = {}
    for folder in sorted((root / "sys/class/powercap").glob("*-rapl:*")):
        name = read_text(folder / "name") or ""
        if _PACKAGE.fullmatch(name):
            named.setdefault(name, folder)
    return {name: folder for name, folder in named.items() if name.partition("-die-")[0] not in set(named) - {name}}


def _sockets_without(root: Path, chosen: dict[str, Path]) -> str:
    """Say how many sockets of the topology no zone is for; "" when none is or nothing is known of sockets."""
    texts = (read_text(path) for path in (root / "sys/devices/system/cpu").glob("cpu*/topology/physical_package_id"))
    sockets = {int(text) for text in texts if text and text.isdecimal()}
    # Zones are numbered by socket; a hypervisor or firmware may number otherwise, so only the count is compared.
    zones = {match[1] for name in chosen if (match := _PACKAGE.fullmatch(name))}
    return f"{len(sockets) - len(zones)} of {len(sockets)} sockets" if len(sockets) > len(zones) else ""


def _no_zone(isa: str) -> tuple[str, str]:
    if isa != "x86_64":
        return "this processor has no RAPL", cards.METER
    return (
        "there is no RAPL package zone under /sys/class/powercap",
        "load its driver (modprobe intel_rapl_msr, for AMD from Linux 5.8 on; in a container the runtime may hide it), "
        f"or {cards.METER}",
    )


def _dram(chosen: dict[str, Path], why: dict[str, tuple[str, str]]) -> list[EnergyZone]:
    """Open the DRAM sub-zone of every package zone."""
    if "energy_j" in why:
        why["dram_energy_j"] = why["energy_j"]
        return []
    folders = [
        child
        for folder in chosen.values()
        for child in sorted(folder.parent.glob(f"{folder.name}:*"))
        if read_text(child / "name") == "dram"
    ]
    if len(folders) != len(chosen):
        reason = f"RAPL has a DRAM zone for {len(folders)} of {len(chosen)} packages" if folders else "no DRAM zone"
        why["dram_energy_j"] = (f"{reason} (AMD has none)", cards.METER)
        return []
    return _zones(folders, "dram_energy_j", why)


def _zones(folders: list[Path], reading: str, why: dict[str, tuple[str, str]]) -> list[EnergyZone]:
    """Open these counters, all of them or none."""
    zones: list[EnergyZone] = []
    for folder in folders:
        most = read_text(folder / "max_energy_range_uj") or ""
        file = opened(folder / "energy_uj")
        if isinstance(file, str):
            why[reading] = (file, ROOT_ONLY if "root only" in file else cards.METER)
            continue
        zones.append(EnergyZone(file, int(most) if most.isdecimal() else 0))
        if zones[-1].joules() is None:
            why.setdefault(reading, (f"{file.path} does not answer with a number", cards.METER))
        if not most.isdecimal() or int(most) == 0:
            told = f"{folder / 'max_energy_range_uj'} does not say where the counter wraps"
            why.setdefault(reading, (told, cards.METER))
    if reading not in why:
        return zones
    for zone in zones:
        zone.file.close()
    return []


def _meters(root: Path, reading: str, label: str, found: PowerFiles) -> list[OpenFile]:
    """Open the meters with this label, one for each socket, all of them or none.

    `CPU Power` is the socket's rail; `Module Power` (Grace, GH200) holds CPU, memory, regulators and where there is one
    the GPU, so it is never added to anything.
    """
    folders: dict[str, Path] = {}
    for folder in sorted((root / "sys/class/hwmon").glob("hwmon*/device")):
        text = read_text(folder / "power1_oem_info") or ""
        if text.startswith(label):
            folders.setdefault(text, folder)
    files = [opened(folder / "power1_average") for folder in folders.values()]
    usable = [file for file in files if isinstance(file, OpenFile) and file.integer() is not None]
    if files and len(usable) == len(files):
        texts = [read_text(folder / "power1_average_interval") or "" for folder in folders.values()]
        if all(text.isdecimal() and int(text) > 0 for text in texts):
            found.intervals_s[reading] = max(map(int, texts)) / 1000
        return usable
    refused = next((file for file in files if isinstance(file, str)), "")
    told = refused or f"a meter labelled {label} gives no number" if files else f"hwmon has no meter labelled {label}"
    found.why[reading] = (told, "run as root" if "root only" in told else cards.METER)
    for file in usable:
        file.close()
    return []
