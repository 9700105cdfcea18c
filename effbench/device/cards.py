"""Owns the list of power and energy sensors a device may have: their names, units and readings, whoever reads them."""

from collections.abc import Iterable

import msgspec

from effbench.model.energy import Scope, Sensor, SensorKind
from effbench.model.event import Telemetry

METER = "attach a wall meter's log: `effbench meter` for a run, `effbench energy --meter LOG` for a command"

# (name, kind, scope, reading). Joules are counted, watts are read: the unit follows from the kind. A module's reading
# holds a GPU, a CPU and their memory together and is never added to any of them.
_Place = tuple[str, SensorKind, Scope, str]
_GPU: tuple[_Place, ...] = (
    ("counter", "counter", "gpu", "energy_j"),
    ("instant", "instant", "gpu", "power_w"),
    ("average", "average", "gpu", "power_average_w"),
    ("hbm", "average", "hbm", "hbm_power_w"),
    ("module", "instant", "module", "module_power_w"),
)
_CPU: tuple[_Place, ...] = (
    ("package", "counter", "package", "energy_j"),
    ("dram", "counter", "dram", "dram_energy_j"),
    ("hwmon", "average", "package", "cpu_power_w"),
    ("module", "average", "module", "module_power_w"),
)


def blank(device: str, source: str = "") -> list[Sensor]:
    """Return a card for every sensor that a device of this kind may have, filled by nobody yet; `cpu` is the CPU."""
    return [
        Sensor(f"{device}.{name}", device, kind, scope, "J" if kind == "counter" else "W", reading, source)
        for name, kind, scope, reading in (_CPU if device == "cpu" else _GPU)
    ]


def missing(card: Sensor, why: str, remedy: str = METER) -> Sensor:
    """Return the card of a sensor that cannot be read: the reason, and what a person can do about it."""
    return msgspec.structs.replace(card, absent=why or "it cannot be read here", remedy=remedy)


def unopened(device: str, why: str, remedy: str = "run `effbench doctor`; " + METER) -> Sensor:
    """Return the one card of a device that did not open or whose sensors could not be listed."""
    card = Sensor(f"{device}.power", device, "instant", "package" if device == "cpu" else "gpu", "W", "power_w", "none")
    return missing(card, why, remedy)


def readable(points: Iterable[Telemetry], reading: str) -> bool:
    """Tell whether any of these readings holds what a card names, as a field or among `sensors`."""
    return any(getattr(point, reading, None) is not None or reading in point.sensors for point in points)
