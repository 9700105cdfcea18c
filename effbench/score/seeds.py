"""Owns the joining of runs that differ only in their seed: a geometric mean, and the ratio of two of them. Pure."""

import math
from collections.abc import Mapping

import msgspec

from effbench.model.quantity import Interval
from effbench.stats.quantile import student_quantile

__all__ = ["SEEDS_MIN", "Joined", "joined", "ratio"]

# With two seeds Student's quantile is 12.7: an interval that says nothing is left out instead.
SEEDS_MIN = 3
LEVEL = 0.95


class Joined(msgspec.Struct, frozen=True):
    """One figure over seeds. `value` is the geometric mean; the rest is on the scale of natural logarithms.

    Attributes:
        variance: between seeds, with that of the resolution. n: number of seeds.
        common: half-width at 95 % that all seeds share; None when it is unknown, and then there is no interval.
        interval: at 95 %; None below SEEDS_MIN seeds.
    """

    value: float
    variance: float
    n: int
    common: float | None
    interval: Interval | None


def joined(values: Mapping[int, float], resolution: float, common: float | None, named: str) -> Joined:
    """Join one figure per seed.

    Args:
        values: by seed, all above zero.
        resolution: relative width of the range in which each value lies (uniformly): the way between two evaluations.
        common: relative half-width at 95 % that the seeds share (the timing's, the sensor's); 0 for counts.
        named: what that is, for the interval's `method`.

    Raises:
        ValueError: there is no value, or one is not above zero.
    """
    if not values or min(values.values()) <= 0:
        raise ValueError("figures of seeds are above zero, and there is at least one")
    logs = [math.log(value) for value in values.values()]
    n, mean = len(logs), math.fsum(logs) / len(logs)
    between = math.fsum((one - mean) ** 2 for one in logs) / (n - 1) if n > 1 else 0.0
    variance = between + resolution**2 / 12
    found = Joined(math.exp(mean), variance, n, common, None)
    if n < SEEDS_MIN or common is None:
        return found
    half = math.hypot(student_quantile(LEVEL, n - 1) * math.sqrt(variance / n), common)
    method = f"seeds({n})+{named}" if named else f"seeds({n})"
    return msgspec.structs.replace(found, interval=_around(mean, half, method, n))


def ratio(over: Joined, under: Joined, pairs: int = 1) -> tuple[float, Interval | None]:
    """The ratio of two figures of independent seeds, with Welch's interval on the logarithms.

    Welch, Biometrika 34 (1947), degrees of freedom by Satterthwaite, rounded down. `pairs` is among how many pairs this
    one was chosen: the level is raised accordingly (Bonferroni), so that picking the extremes earns nothing.
    """
    center = math.log(over.value) - math.log(under.value)
    if min(over.n, under.n) < SEEDS_MIN or over.common is None or under.common is None:
        return math.exp(center), None
    first, second = over.variance / over.n, under.variance / under.n
    spread = first + second
    if spread == 0.0:
        return math.exp(center), None
    free = int(spread**2 / (first**2 / (over.n - 1) + second**2 / (under.n - 1)))
    t = student_quantile(1 - (1 - LEVEL) / pairs, max(1, free))
    half = math.hypot(t * math.sqrt(spread), over.common, under.common)
    n = over.n + under.n
    return math.exp(center), _around(center, half, f"seeds({over.n},{under.n}), Welch", n)


def _around(center: float, half: float, method: str, n: int) -> Interval:
    low, high = math.exp(center - half), math.exp(center + half)
    return Interval(low, high, LEVEL, method, n_processes=1, n_samples=n)
