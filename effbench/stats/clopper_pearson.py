"""The exact interval of a proportion (Clopper & Pearson, Biometrika 26, 1934): quantiles of a beta distribution."""

import math

__all__ = ["beta_cdf", "beta_quantile", "clopper_pearson"]

_TINY = 1e-300


def clopper_pearson(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Return the range, 0 to 1, that holds the true proportion with probability `level` at least.

    Raises:
        ValueError: `n` is below 1, `successes` is not within 0 to `n`, or `level` is not strictly between 0 and 1.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"{successes} of {n} is no proportion")
    if not 0.0 < level < 1.0:
        raise ValueError(f"a level lies between 0 and 1, not at {level}")
    tail = (1 - level) / 2
    low = 0.0 if successes == 0 else beta_quantile(tail, successes, n - successes + 1)
    high = 1.0 if successes == n else beta_quantile(1 - tail, successes + 1, n - successes)
    return low, high


def beta_quantile(p: float, a: float, b: float) -> float:
    """Return x, 0 to 1, such that a beta(a, b) variable lies below it with probability `p`; by bisection, to 1e-15.

    Raises:
        ValueError: `p` is not within 0 to 1, or `a` or `b` is not above zero.
    """
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"a probability lies within 0 and 1, not at {p}")
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if beta_cdf(middle, a, b) < p else (low, middle)
    return (low + high) / 2


def beta_cdf(x: float, a: float, b: float) -> float:
    """Return the regularised incomplete beta function I_x(a, b) by its continued fraction (DLMF 8.17.22).

    Raises:
        ValueError: `x` is not within 0 to 1, or `a` or `b` is not above zero.
    """
    if not (0.0 <= x <= 1.0 and a > 0 and b > 0):
        raise ValueError(f"the incomplete beta function needs 0 <= x <= 1 and a, b above zero, not {x}, {a}, {b}")
    if x in (0.0, 1.0):
        return x
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    # The fraction converges fast below the mean; above it the symmetry I_x(a, b) = 1 - I_{1-x}(b, a) is used.
    if x < (a + 1) / (a + b + 2):
        return front * _fraction(x, a, b) / a
    return 1.0 - front * _fraction(1 - x, b, a) / b


def _fraction(x: float, a: float, b: float) -> float:
    """The continued fraction of DLMF 8.17.22, evaluated forwards (Lentz, Applied Optics 15, 1976)."""
    c, d = 1.0, 1 / _away(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, 10_000):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / _away(1 + term * d)
            c = _away(1 + term / c)
            value *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return value


def _away(x: float) -> float:
    """Keep a denominator away from zero."""
    return x if abs(x) > _TINY else _TINY
