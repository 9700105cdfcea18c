"""Which figure of another tool is which metric here: the rows of catalog/import/<format>.yaml, one file per format."""

import functools
from pathlib import Path
from typing import Literal

import msgspec

from effbench.catalog.metrics import lookup
from effbench.catalog.quantities import parse
from effbench.catalog.shape import choices
from effbench.catalog.yaml import rows as load_rows
from effbench.model.error import InputError
from effbench.model.unit import Unit

__all__ = ["ImportMap", "Target", "formats", "import_map"]

_FOLDER = Path(__file__).with_name("import")


class ImportRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One figure of the other tool: its name there, the key here (`{ranks}` stands for n2, n8), its unit there."""

    name: str
    key: str
    unit: str
    note: str = ""


class ImportMap(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How one format is read: what it is, where its names are written down, and the rows that have a meaning here."""

    schema: Literal["effbench.import-map/1"]
    format: str
    title: str
    source: str
    as_of: str
    rows: list[ImportRow]


class Target(msgspec.Struct, frozen=True):
    """Where a figure goes: the key, and the factor into the metric's SI base unit."""

    key: str
    factor: float


def formats() -> list[str]:
    """Return the names of every format that can be imported, sorted."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


@functools.cache
def import_map(name: str) -> ImportMap:
    """Return the map of a format.

    Raises:
        InputError: there is no such format; the message lists those there are.
    """
    if name not in formats():
        raise InputError(f"there is no import format {name!r}{choices(name, formats())}")
    return msgspec.convert(load_rows(_FOLDER / f"{name}.yaml"), ImportMap)


@functools.cache
def targets(name: str) -> dict[str, Target]:
    """Return the rows of a format by the other tool's name in lower case.

    Raises:
        InputError: there is no such format.
        ValueError: a row of ours names a key without a meaning, or a unit that is not the metric's.
    """
    return {row.name.lower(): _target(row) for row in import_map(name).rows}


def _target(row: ImportRow) -> Target:
    metric = lookup(row.key.replace("{ranks}", "n2"))
    quantity = parse(f"1 {row.unit}" if row.unit != "1" else "1")
    if metric is None or quantity.unit is not Unit(metric.unit):
        raise ValueError(
            f"import map: {row.name} is to be {row.key} in {row.unit}, which the metrics catalogue refuses"
        )
    return Target(row.key, quantity.value)
