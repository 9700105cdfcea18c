"""The interval of a step time: block bootstrap within rounds, spread between rounds, and ratios of two.

INTERFACES: half-width^2 = (block bootstrap within rounds)^2 + (2 tau / sqrt(rounds))^2, about the median of round
medians. tau, the relative standard deviation between rounds, is assumed below four rounds and estimated from then on.
"""

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from effbench.stats.quantile import Samples, checked, median_inflation, normal_quantile, student_quantile

# From this many rounds on tau is estimated from the run itself (INTERFACES section 6).
ROUNDS_FOR_TAU = 4
# A round of more samples than this is averaged over neighbours before the bootstrap, whose cost grows with them; what
# remains is the slow movement that the interval is about.
SAMPLES_MAX = 2000
SAMPLES_KEPT = 1000
# 128 replicates know their standard deviation to 6 %, over several rounds better, and five rounds of 500 samples then
# take 2 to 3 ms.
REPLICATES = 128
# A block is this many correlation times long, and a round has 5 to 20 blocks: 20 is what the block bootstrap was tried
# with (measuring-flops section 6, which asks for wider blocks under slow drift), 5 the fewest that still show a spread.
_CORRELATION_TIMES = 2.0
_BLOCKS = (5, 20)
# Shorter rounds say nothing about their correlation; lag one is not believed beyond 0.98, nor any correlation that
# leaves less than three independent stretches in a round.
_CORRELATED_MIN, _LAG_ONE_MAX, _INDEPENDENT_MIN = 8, 0.98, 3

Span = tuple[float, float, float]


class Estimate(msgspec.Struct, frozen=True):
    """A step time with its interval, seconds; `tau`, `block_half` and `tau_half` are relative to `center`.

    `method` is `block+tau` when tau was estimated from this run, else `block+tau(assumed)`. `n_processes` counts the
    rounds, `n_samples` all samples in them. The interval is `center * (1 +- hypot(block_half, tau_half))`.
    """

    center: float
    low: float
    high: float
    level: float
    method: str
    n_processes: int
    n_samples: int
    tau: float
    block_half: float
    tau_half: float


class _Within(msgspec.Struct, frozen=True):
    """What one round says about its own median: replicates of it (relative), blocks in it, how much these miss.

    `blocks` counts stretches of the round that vary independently (1 when it has one sample). `missed` is the factor
    by which blocks of finite length understate the standard deviation.
    """

    replicates: NDArray[np.float64]
    blocks: float
    missed: float = 1.0


def estimate(
    rounds: Sequence[Samples],
    tau_assumed: float,
    level: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """Estimate a step time from `rounds`, each the step times (s) of one fresh process in time order.

    `tau_assumed` is the device class's relative spread between rounds, used below four rounds. The order of the rounds
    does not matter; the order within one does. A low end that would pass below half of the centre bends so that it
    stays above zero.

    Coverage, simulated: 95 to 99 % from four rounds up whatever the true spread. Below four it is only as good as the
    assumption; where that is exact 95, 95 and 92 % for one, two and three rounds (2 tau / sqrt(3) does not allow for
    a median of three scattering 16 % more than a mean).

    Raises:
        ValueError: no rounds, an empty round, a time that is not finite or not above zero, a negative `tau_assumed`.
    """
    z = normal_quantile(level)
    if not rounds:
        raise ValueError("rounds: at least one round is needed, there is none")
    if not (math.isfinite(tau_assumed) and tau_assumed >= 0):
        raise ValueError(f"tau_assumed is a relative spread of zero or more, not {tau_assumed}")
    # A fixed order, so that the same rounds in another order draw the same random numbers.
    series = [_times(times, place) for place, times in enumerate(rounds)]
    series.sort(key=lambda x: (x.size, float(np.median(x)), x.tobytes()))
    medians = np.array([np.median(x) for x in series])
    center = float(np.median(medians))
    within = _bootstrap([x / center for x in series], np.random.default_rng(seed))
    block_half = _block_half(within, level)
    if len(series) < ROUNDS_FOR_TAU:
        tau, method = tau_assumed, "block+tau(assumed)"
        tau_half = 2 * tau * (z / normal_quantile(0.95)) / math.sqrt(len(series))
    else:
        noise = float(np.mean([np.var(w.replicates) * w.missed**2 for w in within]))
        tau, method = spread_between(float(np.var(medians / center, ddof=1)), noise), "block+tau"
        tau_half = spread_half(tau, len(series), len(series) - 1, level)
    half = math.hypot(block_half, tau_half)
    low, high = center * _lower(half), center * (1 + half)
    counts = len(series), sum(x.size for x in series)
    return Estimate(center, low, high, level, method, *counts, tau, block_half, tau_half)


def spread_between(variance: float, noise: float) -> float:
    """Return the standard deviation between values beyond their own errors: `noise`, the mean square of those.

    The `variance` among the values contains the errors; they are subtracted, but never more than half of it: with few
    values the difference of two uncertain variances is too easily zero, and this errs on the wide side.
    """
    return math.sqrt(max(variance - noise, variance / 2))


def spread_half(spread: float, n: int, df: int, level: float = 0.95) -> float:
    """Return the half-width that an estimated `spread` gives the median of `n` values, in the unit of `spread`.

    It is 2 spread / sqrt(n), widened by student(df) / normal because the spread itself is estimated (Student,
    Biometrika 6, 1908), and by the median's loss against the mean (`median_inflation`).
    """
    return 2 * spread * student_quantile(level, df) / normal_quantile(0.95) * math.sqrt(median_inflation(n) / n)


def ratio_interval(numerator: Span, denominator: Span) -> Span:
    """Return (value, low, high) of the ratio of two independent figures, each (value, low, high), all above zero.

    The distances to the ends add in quadrature on the logarithmic scale. An exact figure has low = value = high.

    Raises:
        ValueError: a figure is not finite, not above zero, or outside its own interval.
    """
    for name, (value, low, high) in (("numerator", numerator), ("denominator", denominator)):
        if not (math.isfinite(high) and 0 < low <= value <= high):
            raise ValueError(f"{name}: needs 0 < low <= value <= high, not ({value}, {low}, {high})")
    ratio = numerator[0] / denominator[0]
    down = math.hypot(math.log(numerator[0] / numerator[1]), math.log(denominator[2] / denominator[0]))
    up = math.hypot(math.log(numerator[2] / numerator[0]), math.log(denominator[0] / denominator[1]))
    return ratio, ratio * math.exp(-down), ratio * math.exp(up)


def _times(times: Samples, place: int) -> NDArray[np.float64]:
    found = checked(times, f"round {place}")
    if found.min() <= 0:
        raise ValueError(f"round {place}: a step time is above zero, not {found.min()} s")
    return found


def _lower(half: float) -> float:
    """Lower end relative to the centre: 1 - half, and beyond one half the hyperbola that touches it, so never zero."""
    return 1 - half if half <= 0.5 else 0.25 / half


def _thin(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values in time order; of a long round the means of equally long runs of neighbours, the odd end left out."""
    if x.size <= SAMPLES_MAX:
        return x
    step = -(-x.size // SAMPLES_KEPT)
    means: NDArray[np.float64] = x[: x.size // step * step].reshape(-1, step).mean(axis=1)
    return means


def _correlation_time(series: Sequence[NDArray[np.float64]]) -> float:
    """Integrated autocorrelation time in samples, 1 for white noise, pooled over the rounds of one trial.

    Of ranks (ties share theirs), so that outliers do not hide it. The longer of two readings: the sum of coefficients
    up to the first lag beyond 5 times itself (Sokal, Monte Carlo Methods, 1996), and what lag one says of an
    autoregressive series, (1 + r) / (1 - r), with r freed of its bias of (1 + 3 r) / n (Kendall, Biometrika 41, 1954).
    """
    long = [x for x in series if x.size >= _CORRELATED_MIN]
    if not long:
        return 1.0
    lags = max(x.size for x in long) // 2
    products, counts = np.zeros(lags), np.zeros(lags)
    for x in long:
        ascending = np.sort(x)
        ranks = (np.searchsorted(ascending, x) + np.searchsorted(ascending, x, side="right") - x.size) / 2
        sums = np.fft.irfft(np.square(np.abs(np.fft.rfft(ranks, 2 * x.size))))[: x.size // 2]
        products[: sums.size] += sums / x.size**2
        counts[: sums.size] += x.size - np.arange(sums.size)
    if products[0] <= 0:
        return 1.0
    n = sum(x.size for x in long) / len(long)
    rho = products / counts / (products[0] / counts[0])
    first = float(np.clip((n * rho[1] + 1) / (n - 3), 0.0, _LAG_ONE_MAX))
    sums = 1 + 2 * np.cumsum(rho[1:])
    window = np.flatnonzero(np.arange(1, lags) >= 5 * sums)
    return max(1.0, (1 + first) / (1 - first), float(sums[window[0] if window.size else -1]))


def _bootstrap(series: Sequence[NDArray[np.float64]], rng: np.random.Generator) -> list[_Within]:
    """Moving-block bootstrap of each round's median (Kuensch, Ann. Statist. 17, 1989)."""
    thinned = [_thin(x) for x in series]
    correlation = _correlation_time(thinned)
    return [_replicate(x, correlation, rng) for x in thinned]


def _replicate(x: NDArray[np.float64], correlation: float, rng: np.random.Generator) -> _Within:
    """Replicates of one round's median. Works on ranks, which sort and copy four times faster than numbers."""
    n = x.size
    if n == 1:
        return _Within(np.full(REPLICATES, x[0]), 1.0)
    fewest, most = _BLOCKS
    correlation = min(correlation, n / _INDEPENDENT_MIN) if n > _INDEPENDENT_MIN else 1.0
    wanted = max(_CORRELATION_TIMES * correlation, n / most) if correlation > 1 else 1.0
    length = max(1, int(min(wanted, n / fewest)))
    order = np.argsort(x, kind="stable")
    ranks = np.empty(n, dtype=np.int16)
    ranks[order] = np.arange(n, dtype=np.int16)
    starts = rng.integers(0, n - length + 1, (REPLICATES, -(-n // length)))
    drawn = np.sort(sliding_window_view(ranks, length)[starts].reshape(REPLICATES, -1)[:, :n], axis=1)
    ascending = x[order]
    medians = (ascending[drawn[:, (n - 1) // 2]] + ascending[drawn[:, n // 2]]) / 2
    return _Within(medians, n / max(length, correlation), _missed(length, correlation))


def _missed(length: int, correlation: float) -> float:
    """Factor by which the mean of an autoregressive series scatters more than blocks of this `length` show.

    The variance over blocks is 1 - 2 r (1 - r^length) / (length (1 - r^2)) of what it is over infinite ones, with r
    from the `correlation` time (1 + r) / (1 - r).
    """
    r = (correlation - 1) / (correlation + 1)
    seen = 1 - 2 * r * (1 - r**length) / (length * (1 - r * r))
    return 1 / math.sqrt(seen)


def _block_half(within: Sequence[_Within], level: float) -> float:
    """Half-width from the scatter of the median of round medians over replicates.

    Blocks within a round lack its movement over longer times: of n blocks the variance comes out (n - 1) / n of what
    it is, and with few of them it is itself uncertain; hence Student's quantile with the blocks that are left.
    """
    told = [w for w in within if w.blocks > 1]
    if not told:
        return 0.0
    scatter = float(np.std(np.median(np.stack([w.replicates for w in within]), axis=0)))
    free = sum(w.blocks - 1 for w in told)
    blocks = 1 + free / len(told)
    missed = max(w.missed for w in told)
    return scatter * missed * math.sqrt(blocks / (blocks - 1)) * student_quantile(level, max(1, int(free)))
