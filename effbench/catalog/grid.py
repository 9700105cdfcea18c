"""How much carbon a country's electricity carries: the rows of grid.yaml, each with its year, and no estimate."""

import functools
from pathlib import Path
from typing import Literal

import msgspec

from effbench.catalog.shape import choices
from effbench.catalog.yaml import rows as load_rows
from effbench.model.inventory import Confidence
from effbench.model.quantity import finite

__all__ = ["GridRow", "grid", "intensity"]

_FILE = Path(__file__).with_name("grid.yaml")


class GridRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One country. `intensity` in gCO2e per kWh generated, lifecycle, location-based, mean of the whole `year`."""

    code: str
    alpha3: str
    name: str
    intensity: float
    year: int

    def __post_init__(self) -> None:
        finite("GridRow", intensity=self.intensity)
        if self.intensity <= 0:
            raise ValueError(f"{self.name}: an intensity must be above zero; leave the row out instead")


class Grid(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole table with its origin."""

    schema: Literal["effbench.grid/1"]
    source: str
    as_of: str
    confidence: Confidence
    unit: Literal["gCO2e/kWh"]
    rows: list[GridRow]


@functools.cache
def grid() -> Grid:
    """Return the built-in table, read once."""
    return msgspec.convert(load_rows(_FILE), Grid)


def intensity(country: str) -> GridRow:
    """Return the row of a country by its ISO 3166-1 code of two or three letters, or by its name in the table.

    Raises:
        ValueError: there is no such row; the message names the nearest ones.
    """
    wanted = country.strip()
    for row in grid().rows:
        if wanted.upper() in (row.code, row.alpha3) or wanted.casefold() == row.name.casefold():
            return row
    if len(wanted) > 3:
        near = choices(wanted, [row.name for row in grid().rows]).split(" valid:")[0].rstrip(";")
    else:  # a short text is meant as a code, and codes that begin alike are nearest
        alike = [f"{row.code} ({row.name})" for row in grid().rows if row.code[:1] == wanted[:1].upper()]
        near = f"; did you mean one of {', '.join(alike)}?" if alike else ""
    raise ValueError(
        f'{country!r} is no country of the built-in table{near or ";"} write its ISO 3166 code ("DE" or "DEU"), '
        'or give your grid\'s own figure as `grid: {intensity: {value: "0.381 kg/kWh", date: ..., source: ...}}`'
    )
