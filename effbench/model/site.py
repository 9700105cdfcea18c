"""What a site says of itself: its figures of power, money and carbon, each with its date and source. No default."""

from typing import Literal

import msgspec

from effbench.model.chain import LinkBasis, Range
from effbench.model.quantity import finite

DAY_MINUTES = 24 * 60


class Given(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One figure, as a range: `low` equals `high` where the site gave one value. `text` is what the site wrote.

    `basis` is `given` for the site's own figure, `assumed` for a published one that stands in for it.
    """

    low: float
    high: float
    text: str
    date: str
    source: str
    basis: LinkBasis = "given"

    def __post_init__(self) -> None:
        finite("Given", low=self.low, high=self.high)
        if self.low > self.high:
            raise ValueError(f"low {self.low:g} is above high {self.high:g}")

    @property
    def range(self) -> Range:
        """The figure as a range."""
        return Range(self.low, self.high)

    @property
    def cite(self) -> str:
        """What was given, where it comes from and how old it is."""
        return f"{self.text} ({self.source}, {self.date})"


class Period(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of the day with one price: from `start_min` to `end_min`, minutes after midnight, end not included."""

    start_min: int
    end_min: int
    price_per_kwh: float


class Tariff(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The price of electricity over a day: the periods follow each other and cover 24 h exactly.

    `flat` when one price holds all day. `demand_charge` is money per kW of the highest load and month.
    `job_hours` is the length of the job that the best start is looked for; absent when the site does not ask.
    """

    timezone: str
    periods: list[Period]
    date: str
    source: str
    flat: bool
    demand_charge: float | None = None
    job_hours: float | None = None

    def __post_init__(self) -> None:
        finite("Tariff", demand_charge=self.demand_charge, job_hours=self.job_hours)
        edge = 0
        for period in self.periods:
            if period.start_min != edge or period.end_min <= period.start_min:
                raise ValueError("the periods of a tariff must follow each other from 00:00 to 24:00")
            edge = period.end_min
        if edge != DAY_MINUTES:
            raise ValueError("the periods of a tariff must cover 24 hours")


class Rent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A rented accelerator: money per accelerator and hour, power and hosting included."""

    price_per_hour: Given


class Purchase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A bought accelerator, written off in a straight line. Money per accelerator, whatever the price was given for.

    `life_years` in years, `cost_of_capital` a fraction per year; what is absent is left out of the sum, which says so.
    """

    price: Given
    life_years: Given
    residual: Given
    cost_of_capital: Given | None = None


class NodeFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The node around its `accelerators`: either watts beside them or the node's power over theirs; both optional."""

    accelerators: int
    overhead_w: Given | None = None
    factor: Given | None = None
    provisioned_w: Given | None = None


class GridFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Carbon of the electricity, gCO2e per kWh, location-based: the site's own figure or a country's, by year."""

    intensity: Given
    country: str = ""


class Calibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A meter's word on one device: true watts = gain x read + offset_w, within `uncertainty` (relative, 95 %).

    `device` is an inventory key or a UUID; `sensor` limits it to one sensor (`gpu0.counter`), else all of the device.
    """

    device: str
    gain: float
    offset_w: float
    uncertainty: float
    date: str
    source: str
    sensor: str = ""

    def __post_init__(self) -> None:
        finite("Calibration", gain=self.gain, offset_w=self.offset_w, uncertainty=self.uncertainty)


class SiteFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that a site.yaml says, checked. What it does not say is absent and has no default.

    pue: facility over IT power, at least 1. utilisation, availability, green_share: fractions 0 to 1.
    other_per_hour: colocation, staff and network, money per accelerator and hour.
    recipe: the training recipe in use, as `to_quality` names them.
    """

    schema: Literal["effbench.site/1"]
    name: str
    digest: str
    currency: str
    pue: Given | None = None
    utilisation: Given | None = None
    availability: Given | None = None
    green_share: Given | None = None
    grid: GridFacts | None = None
    node: NodeFacts | None = None
    rent: Rent | None = None
    purchase: Purchase | None = None
    other_per_hour: Given | None = None
    tariff: Tariff | None = None
    recipe: str = ""
    calibrations: list[Calibration] = []
