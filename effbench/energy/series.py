"""Owns the way from telemetry lines to one sensor's readings in time order, with what was dropped counted. Pure.

Readings stay as they were read: a user's calibration is applied where energy is made of them (`integrate`), so that a
reset or a standstill is judged on what the sensor said.
"""

import math
import statistics
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise

import msgspec

from effbench.model.energy import Sensor
from effbench.model.event import Telemetry

# Beyond this an answer is a broken one: 100 MW is more than any node, and a counter of it would take centuries.
_MOST = {"W": 1e8, "J": 1e18}
_FIELDS = frozenset({"energy_j", "power_w", "power_average_w"})


class Series(msgspec.Struct, frozen=True):
    """The readings of one sensor: monotonic ns, J (counter) or W, uncalibrated, repeated values kept.

    `zeros` counts answers that no powered device gives (0 W, below it, or not finite) and `missing` the lines of the
    device without this reading; both are left out. `poll_s` is the median time between readings, 0 below two.
    """

    card: Sensor
    times: list[int]
    values: list[float]
    zeros: int = 0
    missing: int = 0
    poll_s: float = 0.0

    @property
    def dropped(self) -> int:
        """Readings that were lost. A sensor read in less than half of the lines is read slowly, which is no loss."""
        return self.zeros + (self.missing if self.missing < len(self.times) else 0)


def between(points: Sequence[Telemetry], start_ns: int, end_ns: int) -> Sequence[Telemetry]:
    """Return the lines, in time order, from `start_ns` to `end_ns`, both included."""
    low = bisect_left(points, start_ns, key=_time)
    return points[low : bisect_right(points, end_ns, lo=low, key=_time)]


def series(card: Sensor, points: Sequence[Telemetry]) -> Series:
    """Collect what `card` says in `points` (of its device, in time order); what goes back in time is left out."""
    times: list[int] = []
    values: list[float] = []
    zeros = missing = 0
    for point in points:
        value = reading(card, point)
        if value is None:
            missing += 1
        elif not _possible(value, card):
            zeros += 1
        elif not times or point.t_ns > times[-1]:
            times.append(point.t_ns)
            values.append(value)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    return Series(card, times, values, zeros, missing, statistics.median(gaps) * 1e-9 if gaps else 0.0)


def reading(card: Sensor, point: Telemetry) -> float | None:
    """Return what one line holds for `card`, in its unit: a field of the line or a name in its `sensors`."""
    if card.reading in _FIELDS:
        value: float | None = getattr(point, card.reading)
        return value
    return point.sensors.get(card.reading)


def first_seen(found: Series) -> tuple[list[int], list[float]]:
    """Keep the readings that differ from the one before, and the first: when each value was seen first.

    A counter that moves every 100 ms and is read every 50 ms repeats itself; the moment of a change is known to one
    poll, a repeated value only to one update.
    """
    kept = (
        [0, *(i for i in range(1, len(found.times)) if found.values[i] != found.values[i - 1])] if found.times else []
    )
    return [found.times[i] for i in kept], [found.values[i] for i in kept]


def watts(found: Series, start_ns: int, end_ns: int) -> list[float]:
    """Return the sensor's power, W, calibrated, one figure per new value between two moments.

    Of a counter it is the rise between its changes over the time between them.
    """
    times, values = first_seen(found)
    low, high = bisect_left(times, start_ns), bisect_right(times, end_ns)
    gain, offset = found.card.gain, found.card.offset_w
    if found.card.unit == "W":
        return [gain * value + offset for value in values[low:high]]
    steps = pairwise(zip(times[low:high], values[low:high], strict=True))
    return [gain * (v1 - v0) / ((t1 - t0) * 1e-9) + offset for (t0, v0), (t1, v1) in steps if v1 > v0]


def _possible(value: float, card: Sensor) -> bool:
    """Tell whether a powered device can give this: watts above zero, a count of zero or more, nothing absurd."""
    return math.isfinite(value) and value < _MOST[card.unit] and (value > 0 if card.unit == "W" else value >= 0)


def _time(point: Telemetry) -> int:
    return point.t_ns
