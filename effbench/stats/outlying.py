"""Who stands out of many: a robust standard deviation that one bad value cannot widen, and whether two kinds mix."""

import math
from typing import NamedTuple

import numpy as np

from effbench.stats.quantile import Samples, checked, mad

__all__ = ["FAR", "NODES_MIN", "Split", "robust_sigma", "split"]

# 1 / normal_quantile(0.5): a normal sample's MAD is 0.6745 of its standard deviation.
SIGMA_PER_MAD = 1.4826
# Iglewicz & Hoaglin, How to Detect and Handle Outliers (1993): a modified z-score beyond 3.5 is an outlier.
FAR = 3.5
# Below three values the median and the MAD say nothing of who is the odd one.
NODES_MIN = 3
# Ashman, Bird & Zepf, AJ 108 (1994): D above 2 separates two groups that are given. A cut that we choose ourselves must
# do better: cutting one kind in two gives 2.65 (normal) or 3.46 (uniform) for many values, and more for few. Above
# 4 + 50 / n fewer than 2 in 1,000 samples of one kind lie (normal, uniform, Laplace; n from 8 to 200; a test draws).
D_MIN, D_FEW = 4.0, 50.0
KINDS_MIN, SHARE_MIN = 8, 0.1


class Split(NamedTuple):
    """Two groups: values up to `cut` and values above it. `distance` is Ashman's D, over the pooled deviation."""

    cut: float
    low: float
    high: float
    n_low: int
    n_high: int
    distance: float


def robust_sigma(xs: Samples, floor: float = 0.0) -> float | None:
    """Return 1.4826 times the MAD, at least `floor`, in the unit of `xs`; None below three values.

    Raises:
        ValueError: `xs` is empty or not finite, or `floor` is negative or not finite.
    """
    values = checked(xs)
    if not (math.isfinite(floor) and floor >= 0):
        raise ValueError(f"a floor is a number from zero up, not {floor}")
    if values.size < NODES_MIN:
        return None
    return max(SIGMA_PER_MAD * mad(values), floor)


def split(xs: Samples, floor: float = 0.0, margin: float = 0.0) -> Split | None:
    """Cut `xs` where the two sides are tightest (least squares) and say whether they are two kinds.

    Args:
        xs: values, at least eight for a hint.
        floor: least standard deviation of a side, in the unit of `xs`: the noise of a single value.
        margin: least distance of the sides' medians, a fraction of the lower one, for it to matter.

    Returns:
        None when the values are one kind: a side holds less than a tenth or fewer than three values (those are
        outliers and not a kind), or the sides are not clearly apart.

    Raises:
        ValueError: `xs` is empty or not finite.
    """
    values = np.sort(checked(xs))
    n = values.size
    least = max(3, math.ceil(SHARE_MIN * n))
    if n < KINDS_MIN:
        return None
    counts = np.arange(1, n)
    sums, squares = np.cumsum(values), np.cumsum(values**2)
    within = (squares[-1] - sums[:-1] ** 2 / counts) - (sums[-1] - sums[:-1]) ** 2 / (n - counts)
    within[: least - 1] = within[n - least :] = np.inf
    at = int(np.argmin(within)) + 1
    low, high = values[:at], values[at:]
    spread = max(math.sqrt(max(float(within[at - 1]), 0.0) / (n - 2)), floor)
    below, above = float(np.median(low)), float(np.median(high))
    apart = float(np.mean(high) - np.mean(low))
    if apart <= 0 or above - below <= margin * abs(below):
        return None
    distance = apart / spread if spread > 0 else math.inf
    if distance < D_MIN + D_FEW / n:
        return None
    return Split(float(low[-1]), below, above, low.size, high.size, min(distance, 1e6))
