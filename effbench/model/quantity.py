"""A number with its unit, its interval, and the ceiling it is held against."""

import math

import msgspec

from effbench.model.unit import Unit


def finite(owner: str, **numbers: float | None) -> None:
    """Refuse NaN and Inf, because JSON writers turn them into `null` without a word.

    Raises:
        ValueError: naming `owner` and the field that is not finite.
    """
    for name, number in numbers.items():
        if number is not None and not math.isfinite(number):
            raise ValueError(f"{owner}.{name} is {number}; a figure that is not finite is absent, never stored")


# gc=False below: these hold no containers, so they are in no cycle, and the collector need not look at millions.
class Quantity(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """A value in an SI base unit."""

    value: float
    unit: Unit

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):  # asked before the call: a fleet of scorecards has millions of figures
            finite("Quantity", value=self.value)


class Interval(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """The range that holds the true value with probability `level`, and how it was made.

    `method` names the components: `block+tau` when the spread between rounds was estimated from this run,
    `block+tau(assumed)` when it came from the dated row of the device class.
    """

    low: float
    high: float
    level: float = 0.95
    method: str = "block+tau(assumed)"
    n_processes: int = 1
    n_samples: int = 0

    def __post_init__(self) -> None:
        if -math.inf < self.low <= self.high < math.inf and 0 < self.level < 1:
            return
        finite("Interval", low=self.low, high=self.high)
        if not 0 < self.level < 1:
            raise ValueError(f"Interval.level is {self.level}; an interval holds the truth with 0 < probability < 1")
        if self.low > self.high:
            raise ValueError(f"Interval.low {self.low} is above Interval.high {self.high}")

    @property
    def half_width(self) -> float:
        """Half the distance between the ends, in the unit of the quantity."""
        return (self.high - self.low) / 2


class Ceiling(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """What a value is held against, where that figure comes from, and whether it may carry a grade.

    `confidence` is the catalogue's (`high`, `medium`, `low`); a low one is shown and never graded.
    `provisional` marks a reference made of a rated peak and a typical share, which caps a domain at B.
    """

    value: float
    unit: Unit
    source: str
    as_of: str
    confidence: str = "high"
    provisional: bool = False
    protocol: str = ""

    def __post_init__(self) -> None:
        if 0 < self.value < math.inf:
            return
        finite("Ceiling", value=self.value)
        if self.value <= 0:
            raise ValueError(f"Ceiling.value is {self.value}; a ceiling must be above zero")
