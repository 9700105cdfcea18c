"""Quantiles: of samples (median, quantile, mad) and of the normal and Student distributions."""

import functools
import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Samples = Sequence[float] | NDArray[np.float64]

# Variance of the median of n standard normal values, times n, for n = 1 to 10: integrals over order statistics, as
# tabulated by Sarhan & Greenberg, Ann. Math. Statist. 27 (1956); a test repeats the integrals. It approaches pi / 2.
_MEDIAN_INFLATION = (1.0, 1.0, 1.3460, 1.1928, 1.4342, 1.2885, 1.4731, 1.3454, 1.4949, 1.3833)


def checked(xs: Samples, what: str = "samples") -> NDArray[np.float64]:
    """Return `xs` as a flat float array.

    Raises:
        ValueError: there are none, they are not one-dimensional, or one is NaN or infinite.
    """
    array = np.asarray(xs, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"{what}: one row of numbers is needed, not {array.ndim} dimensions")
    if array.size == 0:
        raise ValueError(f"{what}: at least one number is needed, there is none")
    if not np.isfinite(array).all():
        place = int(np.flatnonzero(~np.isfinite(array))[0])
        raise ValueError(f"{what}: number {place} is {array[place]}; only finite numbers have quantiles")
    return array


def median(xs: Samples) -> float:
    """Return the middle value, or the mean of the two middle values, in the unit of `xs`.

    Raises:
        ValueError: `xs` is empty or holds a number that is not finite.
    """
    return float(np.median(checked(xs)))


def quantile(xs: Samples, q: float) -> float:
    """Return the `q` quantile (0 to 1), linear between order statistics (Hyndman & Fan 1996, definition 7).

    Raises:
        ValueError: `xs` is empty or not finite, or `q` lies outside 0 to 1.
    """
    if not 0.0 <= q <= 1.0:
        raise ValueError(f"a quantile lies between 0 and 1, not at {q}")
    return float(np.quantile(checked(xs), q))


def mad(xs: Samples) -> float:
    """Return the median absolute deviation from the median, in the unit of `xs` and not scaled to a normal sigma.

    Raises:
        ValueError: `xs` is empty or holds a number that is not finite.
    """
    array = checked(xs)
    return float(np.median(np.abs(array - np.median(array))))


@functools.lru_cache(maxsize=1024)
def normal_quantile(level: float) -> float:
    """Return z such that a standard normal lies within +-z with probability `level` (0.95 gives 1.96).

    Raises:
        ValueError: `level` is not strictly between 0 and 1.
    """
    return NormalDist().inv_cdf((1 + _checked_level(level)) / 2)


@functools.lru_cache(maxsize=1024)
def student_quantile(level: float, df: int) -> float:
    """Return t such that a Student variable with `df` degrees of freedom lies within +-t with probability `level`.

    Inverts the finite trigonometric series for whole `df` (Abramowitz & Stegun 26.7.3 and 26.7.4) by bisection over
    the angle; from 200 degrees on the normal quantile with the first three terms of 26.7.5 is exact to 1e-6.

    Raises:
        ValueError: `level` is not strictly between 0 and 1, or `df` is below 1.
    """
    _checked_level(level)
    if df < 1:
        raise ValueError(f"a Student distribution needs at least one degree of freedom, not {df}")
    if df >= 200:
        z = normal_quantile(level)
        first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
        third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
        return z + first / df + second / df**2 + third / df**3
    low, high = 0.0, math.pi / 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if _student_within(middle, df) < level else (low, middle)
    return math.tan((low + high) / 2) * math.sqrt(df)


def median_inflation(n: int) -> float:
    """Return by what the variance of a median of `n` normal values exceeds that of their mean (1 to pi/2).

    Raises:
        ValueError: `n` is below 1.
    """
    if n < 1:
        raise ValueError(f"a median needs at least one value, not {n}")
    return _MEDIAN_INFLATION[n - 1] if n <= len(_MEDIAN_INFLATION) else math.pi / 2


def _checked_level(level: float) -> float:
    if not 0.0 < level < 1.0:
        raise ValueError(f"a level lies between 0 and 1, not at {level}")
    return level


def _student_within(angle: float, df: int) -> float:
    """Probability of |t| < sqrt(df) tan(angle): Abramowitz & Stegun 26.7.3 (odd `df`), 26.7.4 (even)."""
    sine, cosine = math.sin(angle), math.cos(angle)
    if df == 1:
        return 2 * angle / math.pi
    odd = df % 2
    term = cosine if odd else 1.0
    total = term
    for k in range(2 + odd, df - 1, 2):
        term *= cosine * cosine * (k - 1) / k
        total += term
    return 2 / math.pi * (angle + sine * total) if odd else sine * total
