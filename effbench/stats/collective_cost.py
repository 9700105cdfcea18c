"""What a collective costs: bus factors and ring steps by operation, the fit of its sweep, and what overlaps with work.

Factors are those of nccl-tests (doc/PERFORMANCE.md at a0b82b2); steps are those of its ring algorithms.
"""

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from effbench.stats.non_negative import non_negative
from effbench.stats.quantile import normal_quantile

__all__ = ["FACTORS", "Cost", "CostFit", "Sized", "bus_factor", "cost_fit", "pipelined_s", "ring_steps"]

Array = NDArray[np.float64]

# Multiples of (n-1)/n, or 0 for the constant factor 1.
FACTORS: dict[str, float] = {
    "all_reduce": 2.0,
    "all_gather": 1.0,
    "reduce_scatter": 1.0,
    "all_to_all": 1.0,
    "broadcast": 0.0,
    "sendrecv": 0.0,
}
REPLICATES = 400


class Sized(msgspec.Struct, frozen=True):
    """One measured size: n ranks, `size` byte by nccl-tests' definition, time in s, its standard deviation in s."""

    ranks: int
    size: float
    time_s: float
    sigma_s: float


class Cost(msgspec.Struct, frozen=True):
    """Seconds of one call: call_s + ring_steps latency_s + bus bytes * inverse_s_per_byte."""

    call_s: float
    latency_s: float
    inverse_s_per_byte: float


class CostFit(msgspec.Struct, frozen=True):
    """The fitted cost, its replicates (one row per parameter), and the largest relative residual."""

    op: str
    cost: Cost
    replicates: Array
    worst_residual: float

    def time_s(self, ranks: int, calls: float, total_bytes: float) -> tuple[float, float]:
        """Return (latency part, transfer part) in s of `calls` calls that carry `total_bytes` together."""
        call, step, byte = self.row(ranks, calls, total_bytes)
        cost = self.cost
        return call * cost.call_s + step * cost.latency_s, byte * cost.inverse_s_per_byte

    def row(self, ranks: int, calls: float, total_bytes: float) -> tuple[float, float, float]:
        """Return the factors of the three parameters; a group of one rank exchanges nothing."""
        if ranks <= 1:
            return 0.0, 0.0, 0.0
        return calls, calls * ring_steps(self.op, ranks), total_bytes * bus_factor(self.op, ranks)

    def spread(self, row: int) -> tuple[float, float]:
        """Return the 95 % range of one parameter over the replicates (0 call, 1 latency, 2 inverse bandwidth)."""
        low, high = np.quantile(self.replicates[row], (0.025, 0.975))
        return float(low), float(high)


def bus_factor(op: str, ranks: int) -> float:
    """Return busbw / algbw of `op` over `ranks` ranks.

    Raises:
        ValueError: no such operation, or no rank.
    """
    if op not in FACTORS or ranks < 1:
        raise ValueError(f"no factor for {op!r} over {ranks} ranks; there are: {', '.join(FACTORS)}")
    return FACTORS[op] * (ranks - 1) / ranks if FACTORS[op] else 1.0


def ring_steps(op: str, ranks: int) -> float:
    """Return the steps one after another in a ring: 2(n-1) for all_reduce, 1 for sendrecv, n-1 for the others.

    Raises:
        ValueError: no such operation, or no rank.
    """
    if op not in FACTORS or ranks < 1:
        raise ValueError(f"no ring for {op!r} over {ranks} ranks; there are: {', '.join(FACTORS)}")
    if op == "sendrecv":
        return 1.0
    return float(ranks - 1) * (2.0 if op == "all_reduce" else 1.0)


def cost_fit(op: str, sizes: Sequence[Sized], seed: int = 0) -> CostFit:
    """Fit the cost of `op` to its sweep by weighted least squares, no parameter below zero.

    Over a single number of ranks the fixed part of a call and the ring's latency cannot be told apart: all of it is
    then latency. The replicates repeat the fit with every time redrawn within its own uncertainty.

    Raises:
        ValueError: fewer than two sizes, a group of fewer than two ranks, or a time that is not above zero.
    """
    if len({s.size for s in sizes}) < 2:
        raise ValueError(f"{op}: at least two sizes are needed to tell latency from bandwidth")
    if min(s.ranks for s in sizes) < 2 or min(s.time_s for s in sizes) <= 0:
        raise ValueError(f"{op}: a collective needs two ranks and takes time")
    several = len({s.ranks for s in sizes}) > 1
    rows = [[1.0 if several else 0.0, ring_steps(op, s.ranks), s.size * bus_factor(op, s.ranks)] for s in sizes]
    matrix = np.array(rows)
    times = np.array([s.time_s for s in sizes])
    # A time known to better than 1 % is not weighted higher: the model itself is not better than that.
    sigma = np.array([max(s.sigma_s, 0.01 * s.time_s) for s in sizes])
    found = non_negative(matrix, times, sigma)
    drawn = redrawn(times, sigma, np.random.default_rng(seed))
    worst = float(np.max(np.abs(matrix @ found / times - 1)))
    return CostFit(op, Cost(*map(float, found)), non_negative(matrix, drawn, sigma), worst)


def redrawn(times: Array, sigma: Array, rng: np.random.Generator, count: int = REPLICATES) -> Array:
    """Return `count` columns of times, each drawn about its own value with its own deviation, never below zero.

    Logarithmic, so that a wide interval cannot give a negative time.
    """
    spread = np.sqrt(np.log1p((sigma / times) ** 2))
    return times[:, None] * np.exp(spread[:, None] * rng.standard_normal((times.size, count)))


def sigma_of(value: float, low: float, high: float, level: float = 0.95) -> float:
    """Return the standard deviation behind an interval: half its width over the normal quantile."""
    half = (high - low) / 2
    if not (math.isfinite(half) and half >= 0 and math.isfinite(value)):
        raise ValueError(f"an interval has a width, not ({low}, {high})")
    return half / normal_quantile(level)


def pipelined_s(compute: Array | float, exchange: Array | float, stages: float, share: float) -> Array:
    """Return the time of a step whose exchange runs in equal `stages`, each as soon as its part of the work is done.

    The last `share` of `compute` (the backward pass: two thirds of a training step) yields the stages one by one; an
    exchange waits for its own part and for the exchange before it. Either the work is the longer one, and the last
    stage's exchange is left over, or the exchange is, and the wait for the first stage comes on top. One stage
    overlaps with nothing.
    """
    k = max(1.0, stages)
    work, sent = np.asarray(compute, dtype=np.float64), np.asarray(exchange, dtype=np.float64)
    first = work * (1 - share) + work * share / k
    longest: Array = np.maximum(work + sent / k, first + sent)
    return longest
