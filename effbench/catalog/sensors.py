"""Classes of power sensors: what is published of window, update, coverage and error. The rows are in sensors.yaml."""

import functools
from pathlib import Path
from typing import Literal

import msgspec

from effbench.catalog.quantities import parse
from effbench.catalog.yaml import rows as load_rows
from effbench.model.energy import Sensor, SensorKind
from effbench.model.inventory import Confidence
from effbench.model.unit import Unit

__all__ = ["SensorClass", "SensorFamily", "SensorQuantity", "as_class", "sensor_class", "sensor_classes"]

SensorFamily = Literal["nvidia", "rapl", "acpi"]
SensorQuantity = Literal["counter", "instant", "average", "usage"]

_FILE = Path(__file__).with_name("sensors.yaml")


class SensorClass(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row. Times in s, `coverage` and `uncertainty` are shares of 1; what nobody has published is absent.

    `capability` is the range of NVIDIA compute capabilities (major, minor) with both ends, absent for other families.
    """

    id: str
    family: SensorFamily
    quantities: list[SensorQuantity]
    uncertainty: float
    uncertainty_source: str
    source: str
    as_of: str
    confidence: Confidence
    capability: tuple[tuple[int, int], tuple[int, int]] | None = None
    window_s: float | None = None
    update_s: float | None = None
    coverage: float | None = None
    note: str = ""


class _Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    family: SensorFamily
    quantities: list[SensorQuantity]
    uncertainty: str
    uncertainty_source: str
    source: str
    as_of: str
    confidence: Confidence
    capability: tuple[str, str] | None = None
    window: str | None = None
    update: str | None = None
    coverage: str | None = None
    note: str = ""


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    schema: Literal["effbench.sensors/1"]
    rows: list[_Row]


@functools.cache
def sensor_classes() -> tuple[SensorClass, ...]:
    """Return every row in the order of the file, in SI base units."""
    return tuple(_class(row) for row in msgspec.convert(load_rows(_FILE), _File).rows)


def sensor_class(
    family: SensorFamily, quantity: SensorQuantity | SensorKind, compute_capability: str = ""
) -> SensorClass | None:
    """Return the class of a sensor; None when no row is for it, and then nothing is known of its window or error.

    `compute_capability` is NVIDIA's (`9.0`); a GPU whose capability is unknown belongs to no class.
    """
    seen = _capability(compute_capability)
    for row in sensor_classes():
        if row.family != family or quantity not in row.quantities:
            continue
        if row.capability is None or (seen is not None and row.capability[0] <= seen <= row.capability[1]):
            return row
    return None


def as_class(card: Sensor, found: SensorClass | None) -> Sensor:
    """Fill a card with what its class is known for; without a class it stays as it is, and says so.

    What rests on weak evidence is marked `assumed`, the rest `published`.
    """
    if found is None:
        return msgspec.structs.replace(card, basis_source="no class of sensors is known for this device")
    note = f"; {found.note}" if found.note else ""
    return msgspec.structs.replace(
        card,
        window_s=found.window_s,
        update_s=found.update_s,
        coverage=found.coverage,
        basis="assumed" if found.confidence == "low" else "published",
        basis_source=f"{found.source} ({found.as_of}){note}",
        uncertainty=found.uncertainty,
        uncertainty_source=found.uncertainty_source,
    )


def _class(row: _Row) -> SensorClass:
    low, high = row.capability or ("", "")
    ends = (_capability(low), _capability(high))
    return SensorClass(
        id=row.id,
        family=row.family,
        quantities=row.quantities,
        uncertainty=_value(row.uncertainty, Unit.ONE) or 0.0,
        uncertainty_source=row.uncertainty_source,
        source=row.source,
        as_of=row.as_of,
        confidence=row.confidence,
        capability=(ends[0], ends[1]) if ends[0] is not None and ends[1] is not None else None,
        window_s=_value(row.window, Unit.SECOND),
        update_s=_value(row.update, Unit.SECOND),
        coverage=_value(row.coverage, Unit.ONE),
        note=row.note,
    )


def _capability(text: str) -> tuple[int, int] | None:
    """Read `9.0` as (9, 0); None when it is something else."""
    major, _, minor = text.partition(".")
    return (int(major), int(minor)) if major.isdecimal() and minor.isdecimal() else None


def _value(text: str | None, unit: Unit) -> float | None:
    if text is None:
        return None
    quantity = parse(text)
    if quantity.unit is not unit:
        raise ValueError(f"{text!r} is not in {unit}")
    return quantity.value
