"""Comparison of one figure of two runs: their ratio with an interval, against a practical margin."""

import math
from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np

from effbench.stats.interval import ROUNDS_FOR_TAU, spread_between
from effbench.stats.quantile import median, median_inflation, normal_quantile, student_quantile

Better = Literal["higher", "lower"]
Outcome = Literal["worse", "same", "better", "undecided"]

# The spread between runs is estimated from repeated records once this many degrees of freedom are left, as tau is
# from four rounds; Student's quantile for fewer would be above 4.
_DF_MIN = ROUNDS_FOR_TAU - 1


class Side(msgspec.Struct, frozen=True):
    """One record's figure with its interval, any unit, above zero; `rounds` is the number of its processes.

    `block_half` is the relative half-width from within the rounds alone (`Estimate.block_half`) where it is known.
    """

    value: float
    low: float
    high: float
    rounds: int
    block_half: float | None = None


class Comparison(msgspec.Struct, frozen=True):
    """What can be said of b against a. `ratio`, `low`, `high` are of b / a whatever the better direction is.

    `half` is the half-width of the ratio's logarithm. `resolution` is the smallest relative change (0.1: a factor of
    1.1 up or down) that these records could call worse or better; `same_possible` says whether they could call
    anything same. `method` is `block+tau` when the spread between runs was estimated, else `block+tau(assumed)`.
    """

    outcome: Outcome
    ratio: float
    low: float
    high: float
    half: float
    resolution: float
    same_possible: bool
    method: str


def compare(
    a: Side | Sequence[Side],
    b: Side | Sequence[Side],
    better: Better,
    margin: float,
    tau: float,
    level: float = 0.95,
) -> Comparison:
    """Compare b with a; each side is one record, or several of the same node whose median then counts.

    Two runs differ by more than their rounds show: clocks, memory layout and neighbours of the day. So on the
    logarithmic scale half^2 = block_a^2 + block_b^2 + 2 (2 tau)^2 for single records, with `tau` the device class's
    relative spread: one whole tau per side. The tau / sqrt(rounds) in each record's interval is the same effect and is
    taken out first; below four rounds that is exact, and from four on, where the interval holds an estimate that is not
    known here, it stays in unless `block_half` is given (at most 12 % too wide). With several records per side the
    spread between runs is estimated from them once three degrees of freedom are left, pooled over both sides.

    `worse` and `better`: the whole interval lies beyond the margin (a factor of 1 + `margin`) on that side. `same`: it
    lies within the margin on both. All else is `undecided`: noise alone must never condemn a node, and too little
    evidence is not agreement. Swapping a and b swaps worse and better.

    Raises:
        ValueError: no record on a side, a figure that is not finite or not above zero (a ratio of counts that may be
            zero means nothing), an interval without its value, or a negative `margin` or `tau`.
    """
    for name, number in (("margin", margin), ("tau", tau)):
        if not (math.isfinite(number) and number >= 0):
            raise ValueError(f"{name} is a relative figure of zero or more, not {number}")
    sides = [[a] if isinstance(a, Side) else list(a), [b] if isinstance(b, Side) else list(b)]
    for name, records in zip("ab", sides, strict=True):
        _check(name, records)
    half, method = _half(sides, tau, level)
    center_a, center_b = (median([math.log(r.value) for r in records]) for records in sides)
    shift = center_b - center_a
    gain, bar = shift if better == "higher" else -shift, math.log1p(margin)
    return Comparison(
        outcome=_outcome(gain - half, gain + half, bar),
        ratio=math.exp(shift),
        low=math.exp(shift - half),
        high=math.exp(shift + half),
        half=half,
        resolution=math.expm1(bar + half),
        same_possible=half <= bar,
        method=method,
    )


def _check(name: str, records: Sequence[Side]) -> None:
    if not records:
        raise ValueError(f"side {name}: at least one record is needed, there is none")
    for side in records:
        if not (math.isfinite(side.high) and 0 < side.low <= side.value <= side.high):
            raise ValueError(f"side {name}: needs 0 < low <= value <= high, not {side.low}, {side.value}, {side.high}")
        if side.rounds < 1:
            raise ValueError(f"side {name}: a record has at least one round, not {side.rounds}")


def _outcome(low: float, high: float, bar: float) -> Outcome:
    """Place the interval of the gain (logarithm, positive is good) against the margin's logarithm."""
    if high < -bar:
        return "worse"
    if low > bar:
        return "better"
    return "same" if -bar <= low and high <= bar else "undecided"


def block(side: Side, tau: float, level: float) -> float:
    """Relative half-width without the tau part. tanh turns log(high / low) / 2 into the h of value (1 +- h) exactly."""
    if side.block_half is not None:
        return side.block_half
    half = math.tanh(math.log(side.high / side.low) / 2)
    if side.rounds >= ROUNDS_FOR_TAU:
        return half
    inside = _two(level) * tau / math.sqrt(side.rounds)
    return math.sqrt(max(0.0, half**2 - inside**2))


def _two(level: float) -> float:
    """The 2 of "2 tau" at 95 %, in proportion at other levels."""
    return 2 * normal_quantile(level) / normal_quantile(0.95)


def _half(sides: Sequence[Sequence[Side]], tau: float, level: float) -> tuple[float, str]:
    """Half-width of the logarithm of the ratio of the sides' medians, and how its spread between runs was found."""
    blocks = [[block(side, tau, level) for side in records] for records in sides]
    # Variance of a side's median against that of one of its records.
    shares = [median_inflation(len(records)) / len(records) for records in sides]
    within = sum(share * float(np.mean(np.square(block))) for share, block in zip(shares, blocks, strict=True))
    df = sum(len(records) - 1 for records in sides)
    method = "block+tau(assumed)"
    reach = _two(level)
    if df >= _DF_MIN:
        logs = [np.log([side.value for side in records]) for records in sides]
        variance = sum(float(np.sum(np.square(x - np.mean(x)))) for x in logs) / df
        noise = float(np.mean(np.square(blocks[0] + blocks[1]))) / normal_quantile(level) ** 2
        tau, method = spread_between(variance, noise), "block+tau"
        reach = 2 * student_quantile(level, df) / normal_quantile(0.95)
    return math.sqrt(within + (reach * tau) ** 2 * sum(shares)), method
