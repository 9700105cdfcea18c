"""The full chain: hardware, algorithm, system, commercial. Each link measured, given, assumed, or unknown."""

from typing import Literal

import msgspec

from effbench.model.quantity import Interval, Quantity, finite

LinkBasis = Literal["measured", "given", "assumed", "unknown"]
Group = Literal["hardware", "algorithm", "system", "commercial"]


class Range(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A figure that is only known as a range: scenarios, not a confidence interval. `low` <= `high`."""

    low: float
    high: float

    def __post_init__(self) -> None:
        finite("Range", low=self.low, high=self.high)
        if self.low > self.high:
            raise ValueError(f"Range.low {self.low} is above Range.high {self.high}")


class Link(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One link. `share` is what it keeps of what the link before it delivered (0 to 1); absent when `unknown`.

    `product` is the running product of the shares up to here; with an unknown link before it, an upper bound.
    `source` says where a given or assumed figure comes from, with its date.
    """

    name: str
    title: str
    group: Group
    basis: LinkBasis
    explanation: str
    share: float | None = None
    interval: Interval | None = None
    product: float | None = None
    metric: str | None = None
    source: str = ""


class Chain(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The chain of one device. `weakest` names the link with the least share; `upper_bound` when one is unknown."""

    device: str
    dtype: str
    links: list[Link]
    product: float | None = None
    upper_bound: bool = False
    weakest: str = ""
    unknown: list[str] = []


class Boundary(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Power of the same work at one boundary: `device`, `node` or `facility`, W.

    `measured` is by a sensor (device) or a meter (node); `given` by the user (PUE, provisioned watts).
    `factor` is this boundary's power over the device's. `denominator`: measured or provisioned watts.
    """

    name: Literal["device", "node", "facility"]
    title: str
    denominator: Literal["measured", "provisioned"]
    basis: LinkBasis
    explanation: str
    watts: Quantity | None = None
    interval: Interval | None = None
    factor: float | None = None
    source: str = ""


class CostLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One figure of money or carbon. `unit` is written out (`EUR per effective PFLOP-hour`, `gCO2e per 1M tokens`).

    Energy cost and total cost are always lines of their own. `scenario` names rent or a depreciation case.
    `workings` is the sum in words with its inputs, so that a reader can check it by hand.
    """

    key: str
    title: str
    kind: Literal["energy", "total", "carbon", "throughput", "tariff"]
    unit: str
    basis: LinkBasis
    value: Range | None = None
    scenario: str = ""
    workings: str = ""
    absent: str = ""


class Economics(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Everything the site's own figures make of the measured ones."""

    site: str
    site_digest: str
    currency: str
    boundaries: list[Boundary] = []
    lines: list[CostLine] = []
    given: list[list[str]] = []
