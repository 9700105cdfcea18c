"""What a site.yaml looks like on paper: its fields and their types. No sense is asked of them here."""

from typing import Literal

import msgspec

__all__ = ["SiteDocument"]


class Figure(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One figure with its date and source: a `value`, or the `low` and `high` of a range."""

    date: str
    source: str
    value: str | None = None
    low: str | None = None
    high: str | None = None

    def __post_init__(self) -> None:
        if (self.value is None) == (self.low is None or self.high is None) or (self.low is None) != (self.high is None):
            raise ValueError("a figure needs either a value, or both low and high")


class GridText(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A country of the built-in table, the site's own intensity, or both: the own figure then counts."""

    country: str | None = None
    intensity: Figure | None = None

    def __post_init__(self) -> None:
        if self.country is None and self.intensity is None:
            raise ValueError("the grid needs a country or an intensity")


class NodeText(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The node around the accelerators."""

    accelerators: int
    overhead: Figure | None = None
    factor: Figure | None = None
    provisioned_power: Figure | None = None


class PurchaseText(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What was paid, for what, and how it is written off."""

    per: Literal["accelerator", "node"]
    price: Figure
    life_years: Figure
    residual: Figure
    cost_of_capital: Figure | None = None


class PeriodText(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, rename={"start": "from", "end": "to"}
):
    """One price of the day. A period may run over midnight."""

    start: str
    end: str
    price: str


class TariffText(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The price of electricity: one for all day, or periods; one date and source for the whole sheet."""

    timezone: str
    date: str
    source: str
    flat: str | None = None
    periods: list[PeriodText] | None = None
    demand_charge: str | None = None
    job_hours: str | None = None

    def __post_init__(self) -> None:
        if (self.flat is None) == (self.periods is None):
            raise ValueError("a tariff needs either one flat price or periods")


class CalibrationText(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Gain and offset of one device's sensors against a meter."""

    device: str
    gain: str
    uncertainty: str
    date: str
    source: str
    offset: str = "0 W"
    sensor: str = ""


class SiteDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The whole document; only the first three fields must be there."""

    schema: Literal["effbench.site/1"]
    name: str
    currency: str
    pue: Figure | None = None
    utilisation: Figure | None = None
    availability: Figure | None = None
    green_share: Figure | None = None
    grid: GridText | None = None
    node: NodeText | None = None
    rent: Figure | None = None
    purchase: PurchaseText | None = None
    other: Figure | None = None
    tariff: TariffText | None = None
    recipe: str = ""
    sensors: list[CalibrationText] = []
