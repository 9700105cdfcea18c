"""Drift: the robust slope of a series of block times, and whether the series was steady."""

import math

import msgspec
import numpy as np
from numpy.typing import NDArray

from effbench.stats.quantile import Samples, checked, normal_quantile

# Longer series are averaged over neighbours first: the number of pairs grows with the square.
POINTS_MAX = 200
# Steady, by measuring-flops section 6: over the last blocks the slope's interval holds zero and the movement over the
# whole window is below half a percent. The rule leaves the number of blocks open; ten are 5 to 10 s of a soak.
STEADY_BLOCKS = 10
STEADY_MOVEMENT = 0.005


class Drift(msgspec.Struct, frozen=True):
    """How far a series moved from its first to its last point, relative to its median: +0.01 is 1 % upwards.

    `low` and `high` hold it with probability `level` for independent points; correlated ones should be averaged into
    blocks longer than their memory first.
    """

    movement: float
    low: float
    high: float
    level: float = 0.95


def drift(xs: Samples, times_s: Samples | None = None, level: float = 0.95) -> Drift:
    """Return the Theil-Sen movement of `xs` over its whole window. `times_s` in s; absent means evenly spaced.

    Slope: median of the slopes of all pairs of points (Theil 1950; Sen, J. Am. Stat. Assoc. 63, 1968), so that up to
    29 % of wild points cannot turn it. Interval: Sen's, from the normal approximation of Kendall's S, ties counted.

    Raises:
        ValueError: fewer than two points, one not finite, a median of zero, or times not strictly rising.
    """
    y, t = _points(xs, times_s)
    center = abs(float(np.median(y)))
    if center == 0:
        raise ValueError("drift is relative to the median, and the median is zero")
    window = float(t[-1] - t[0])
    y, t = _thin(y), _thin(t)
    first, second = np.triu_indices(y.size, 1)
    slopes = np.sort((y[second] - y[first]) / (t[second] - t[first]))
    # Sen's ranks count from one; scipy.stats.theilslopes does the same arithmetic.
    reach = normal_quantile(level) * _kendall_sigma(y)
    upper = min(round((slopes.size + reach) / 2), slopes.size - 1)
    lower = max(round((slopes.size - reach) / 2) - 1, 0)
    scale = window / center
    slope, low, high = float(np.median(slopes)), float(slopes[lower]), float(slopes[upper])
    return Drift(slope * scale, low * scale, high * scale, level)


def steady(xs: Samples, blocks: int = STEADY_BLOCKS, movement: float = STEADY_MOVEMENT) -> bool:
    """Has the series settled? `xs` holds one figure per block of 0.5 to 1 s, in time order (time, clock or power).

    True when the slope's 95 % interval over the last `blocks` holds zero and the movement over them is below
    `movement`, relative. Fewer than `blocks` figures, or a median of zero, are never known to be steady.

    Raises:
        ValueError: a figure is not finite, or `blocks` is below 3.
    """
    if blocks < 3:
        raise ValueError(f"a slope with an interval needs at least 3 blocks, not {blocks}")
    if len(xs) < blocks:
        return False
    last = checked(xs, "blocks")[-blocks:]
    if np.median(last) == 0:
        return False
    found = drift(last)
    return found.low <= 0 <= found.high and abs(found.movement) < movement


def _points(xs: Samples, times_s: Samples | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    y = checked(xs, "series")
    t = np.arange(y.size, dtype=np.float64) if times_s is None else checked(times_s, "times")
    if y.size < 2:
        raise ValueError("a slope needs at least two points, there is one")
    if t.size != y.size:
        raise ValueError(f"{y.size} points need as many times, not {t.size}")
    if not (np.diff(t) > 0).all():
        raise ValueError("times must rise strictly")
    return y, t


def _thin(x: NDArray[np.float64]) -> NDArray[np.float64]:
    step = -(-x.size // POINTS_MAX)
    means: NDArray[np.float64] = x[: x.size // step * step].reshape(-1, step).mean(axis=1)
    return means


def _kendall_sigma(y: NDArray[np.float64]) -> float:
    """Standard deviation of Kendall's S without a trend; groups of tied values lower it (Sen 1968, equation 2.6)."""
    n = y.size
    ties = np.unique(y, return_counts=True)[1]
    return math.sqrt((n * (n - 1) * (2 * n + 5) - float(np.sum(ties * (ties - 1) * (2 * ties + 5)))) / 18)
