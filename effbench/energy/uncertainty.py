"""Owns the interval of a figure of energy: which parts it has, how wide each is, and which were only assumed. Pure.

All parts are relative half-widths at 95 % and add in quadrature: `sensor` (the class against a meter) or `calibration`
(the user's), `window` (a sensor that sees part of the time), `granularity` (the ends of the windows and the counter's
step), `spread` (between windows or sub-windows). Nothing makes an interval tighter than the sensor class but a
calibration against a meter.
"""

import math
import statistics
from collections.abc import Sequence

import msgspec

from effbench.catalog.references import assumed_tau
from effbench.energy.ledger import Entry
from effbench.model.energy import Sensor
from effbench.model.quantity import Interval
from effbench.model.suite import DeviceClass
from effbench.stats.quantile import student_quantile

# Unmetered classes: 5 % is usual, 11 % the worst seen against a meter (SC24, "Part-time Power Measurements"; RTX 2060
# Super). A card without a class of its own gets the worst.
WORST_SEEN = 0.11
# The least coverage among published sensors (25 ms in every 100 ms: GA100, GH100), for one whose coverage is unknown.
LEAST_COVERAGE = 0.25
# A poller that is this much slower than the sensor misses whole updates; below it misses are rare.
POLLS_MISS = 1.5
# Nothing shows how the power moves: as wide as half the usual sensor class.
UNSEEN_SAMPLING = 0.025
# Sub-windows: long enough for the sensor (20 updates and 2 s), enough of them to have a spread, and not more than this.
SUB_UPDATES, SUB_LEAST_S, SUB_FEWEST, SUB_MOST = 20, 2.0, 3, 12
WINDOWS_FOR_SPREAD = 3
PIECES_FOR_TREND = 4


class Parts(msgspec.Struct, frozen=True):
    """The components by name, and the words for `Interval.method`: an assumed part is marked there."""

    components: dict[str, float]
    method: str

    @property
    def total(self) -> float:
        """The relative half-width at 95 % of all parts together."""
        return math.hypot(*self.components.values())


def sampling(card: Sensor, watts: Sequence[float], seconds: float, poll_s: float = 0.0) -> float:
    """Return the relative half-width of a mean by a sensor that sees only `coverage` of the time.

    Student's t s / sqrt(n) over the n independent views of the windows, less what was seen: sqrt(1 - coverage). The
    scatter s is that of `watts`, whatever its order: a drift widens it, which errs on the safe side. Read more rarely
    than it updates (every `poll_s`), a sensor shows that much less of what it saw.
    """
    coverage = LEAST_COVERAGE if card.coverage is None else card.coverage
    if card.update_s and poll_s > POLLS_MISS * card.update_s:
        coverage *= card.update_s / poll_s
    if coverage >= 1:
        return 0.0
    views = len(watts)
    if card.update_s:
        views = min(views, int(seconds / card.update_s))
    mean = statistics.fmean(watts) if watts else 0.0
    if views < 3 or mean <= 0:
        return UNSEEN_SAMPLING
    scatter = statistics.stdev(watts) / mean
    return student_quantile(0.95, views - 1) * scatter / math.sqrt(views) * math.sqrt(1 - coverage)


def spread(powers: Sequence[float]) -> float:
    """Return the relative half-width at 95 % of the mean of `powers`, W, of equal windows: Student's t s / sqrt(n)."""
    mean = statistics.fmean(powers)
    return student_quantile(0.95, len(powers) - 1) * statistics.stdev(powers) / mean / math.sqrt(len(powers))


def spread_about_trend(powers: Sequence[float]) -> float:
    """Return the same for neighbouring pieces of one window: the scatter about the straight line through them.

    A steady warming moves every piece and is part of what was drawn in the window, not a doubt about it. Below four
    pieces a line takes too much of what there is, and the plain scatter counts.
    """
    n = len(powers)
    if n < PIECES_FOR_TREND:
        return spread(powers)
    mean, middle = statistics.fmean(powers), (n - 1) / 2
    slope = sum((place - middle) * power for place, power in enumerate(powers)) * 12 / (n * (n * n - 1))
    left = math.fsum((power - mean - slope * (place - middle)) ** 2 for place, power in enumerate(powers))
    return student_quantile(0.95, n - 2) * math.sqrt(left / (n - 2)) / mean / math.sqrt(n)


def sub_window_s(card: Sensor, seconds: float) -> float | None:
    """Return the length of the sub-windows that a window of `seconds` is cut into, s; None when it has too few."""
    least = max(SUB_LEAST_S, SUB_UPDATES * (card.update_s or 0.0))
    pieces = min(SUB_MOST, int(seconds / least + 1e-9))
    return seconds / pieces if pieces >= SUB_FEWEST else None


def parts(
    primary: Entry, view: float | None, powers: Sequence[float], kind: DeviceClass, *, pieces: bool, once: bool
) -> Parts:
    """Put the interval together.

    `view` is the sampling part where coverage is below 1 or unknown, `powers` those of the windows (three and more) or
    of the sub-windows of one (`pieces`); a single execution (`once`) has no spread.
    Fewer than three powers leave the device class's assumed spread between rounds (`catalog/references.yaml`).
    """
    card = primary.card
    components: dict[str, float] = {}
    words = []
    if card.calibrated:
        components["calibration"] = WORST_SEEN if card.uncertainty is None else card.uncertainty
        words.append("calibration" if card.uncertainty is not None else "calibration(assumed)")
    else:
        components["sensor"] = WORST_SEEN if card.uncertainty is None else card.uncertainty
        words.append("sensor(assumed)" if is_assumed(card) else "sensor")
    if view is not None:
        components["window"] = view
        words.append("window" if card.coverage is not None else "window(assumed)")
    components["granularity"] = primary.ends
    words.append("granularity")
    if not once:
        enough = len(powers) >= SUB_FEWEST
        assumed = 2 * assumed_tau(kind)[0] / math.sqrt(max(1, len(powers)))
        told = spread_about_trend if pieces else spread
        components["spread"] = told(powers) if enough else assumed
        words.append("spread" if enough else "spread(assumed)")
    return Parts(components, "+".join(words))


def is_assumed(card: Sensor) -> bool:
    """Tell whether the sensor's gain error is a guess: nobody held this class, or this unit, against a meter."""
    said = card.uncertainty_source.lower()
    return card.uncertainty is None or not said or any(word in said for word in ("assumed", "unverified", "unmetered"))


def around(value: float, relative: float, method: str, windows: int, readings: int) -> Interval:
    """Return the interval of `value` above zero.

    The class says by how much a reading may miss the truth, so the truth may be `value / (1 - relative)`; the low end
    is `value * (1 - relative)`, a little below what the same reasoning asks, and stops at zero.
    """
    low = max(0.0, value * (1 - relative))
    high = value / (1 - relative) if relative <= 0.5 else value * (1 + 2 * relative)
    return Interval(low, high, 0.95, method, windows, readings)
