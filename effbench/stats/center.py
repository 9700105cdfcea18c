"""The robust centre of repeated figures, and how one more figure lies to it, as a ratio with an interval."""

import math
from typing import NamedTuple

import numpy as np

from effbench.stats.compare import Better, Side, block
from effbench.stats.interval import Span
from effbench.stats.outlying import NODES_MIN, SIGMA_PER_MAD
from effbench.stats.quantile import Samples, checked, median_inflation, normal_quantile, student_quantile

__all__ = ["RUNS_FOR_SPREAD", "Center", "center", "share_of"]

# From this many runs on their own spread stands in for the assumed one. A MAD knows a normal spread no better than a
# standard deviation of 37 % as many values (Rousseeuw & Croux, JASA 88, 1993): nine runs are then three degrees of
# freedom, the fewest that `compare` trusts too.
RUNS_FOR_SPREAD = 9
MAD_EFFICIENCY = 0.37
# However alike the runs were: not less than this part of the assumed spread. Ours; a MAD of few values is too easily
# zero.
SPREAD_LEAST = 0.25
# A ratio that is only known to within a factor of e^100 is not known; more would leave the range of numbers.
HALF_MAX = 100.0


class Center(NamedTuple):
    """Median and median absolute deviation (not scaled) of `n` figures, in their unit; `mad` is None below three."""

    median: float
    mad: float | None
    n: int


def center(xs: Samples) -> Center:
    """Return the robust centre of `xs`.

    Raises:
        ValueError: there are none, or one is not finite.
    """
    values = checked(xs)
    middle = float(np.median(values))
    deviation = float(np.median(np.abs(values - middle))) if values.size >= NODES_MIN else None
    return Center(middle, deviation, values.size)


def share_of(side: Side, at: Center, better: Better, tau: float, own: bool, level: float = 0.95) -> Span:
    """Return (share, low, high): how much of `at` one run's figure reaches, dimensionless, 1 is as good, above better.

    On the logarithmic scale half^2 = block^2 + (2 spread of runs)^2 + (2 spread)^2 / n: the run's own noise, that
    another run of the same node gives another figure, and that the centre is known from n runs only. `tau` is the
    assumed relative spread between runs. With `own` the centre is of runs of the same node, and from nine of them
    their own spread takes its place; the spread of a centre of many nodes is no spread of one node's runs. Below nine
    the larger of both counts.

    Raises:
        ValueError: the centre is not finite or not above zero, or `tau` is negative.
    """
    if not (math.isfinite(at.median) and at.median > 0):
        raise ValueError(f"a share needs a centre above zero, not {at.median}")
    if not (math.isfinite(tau) and tau >= 0):
        raise ValueError(f"tau is a relative spread of zero or more, not {tau}")
    seen = 0.0 if at.mad is None else SIGMA_PER_MAD * at.mad / at.median
    reach = 2 * normal_quantile(level) / normal_quantile(0.95)
    if at.n >= RUNS_FOR_SPREAD:
        free = max(1, round(MAD_EFFICIENCY * (at.n - 1)))
        among = reach * max(seen, SPREAD_LEAST * tau) * student_quantile(level, free) / normal_quantile(level)
    else:
        among = reach * max(seen, tau)
    again = among if own else reach * tau
    centre = among * math.sqrt(median_inflation(at.n) / at.n)
    half = min(math.hypot(block(side, tau, level), again, centre), HALF_MAX)
    share = at.median / side.value if better == "lower" else side.value / at.median
    return share, share * math.exp(-half), share * math.exp(half)
