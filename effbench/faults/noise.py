"""Draws what a run's rounds scatter by, folded by the real estimator once and scaled after: the assumed spread, drawn.

A figure of one run lies about its truth by one tau of its device class in all, which is what comparisons assume of two
runs: rounds of fresh processes scatter by tau, the median of three of them by 0.67 tau, and the rest moves the whole
device for the length of a run (clocks, temperature), adverse because nothing averages it away.
"""

import math

import msgspec
import numpy as np

from effbench.catalog.references import assumed_tau
from effbench.model.quantity import Interval, Quantity
from effbench.model.record import Round
from effbench.model.unit import Unit
from effbench.stats.interval import Estimate, estimate
from effbench.stats.quantile import median_inflation

__all__ = ["ROUNDS", "WITHIN", "Shape", "run_sigma", "shapes", "times"]

ROUNDS, SAMPLES, SHAPES = 3, 24, 192
# Relative standard deviation of the samples of one round. Ours: a part of tau, as the rounds' own interval shows.
WITHIN = 0.004


class Shape(msgspec.Struct, frozen=True):
    """A trial's rounds about a step time of 1 s: their medians and the real estimate of them. Scales with the time."""

    medians: tuple[float, ...]
    found: Estimate

    def step_s(self, factor: float) -> Quantity:
        """Return the centre of the rounds when one step takes `factor` s."""
        return Quantity(self.found.center * factor, Unit.SECOND)

    def interval(self, factor: float) -> Interval:
        """Return the interval of the centre when one step takes `factor` s."""
        found = self.found
        low, high = found.low * factor, found.high * factor
        return Interval(low, high, found.level, found.method, found.n_processes, found.n_samples)

    def rounds(self, factor: float) -> list[Round]:
        """Return the rounds as a record keeps them."""
        return [Round(i, "done", step_s=m * factor, n_accepted=SAMPLES) for i, m in enumerate(self.medians)]


def run_sigma() -> float:
    """Return the relative standard deviation that a whole run adds: with the rounds' own it makes up one tau."""
    return assumed_tau("gpu")[0] * math.sqrt(1 - median_inflation(ROUNDS) / ROUNDS)


def times(rng: np.random.Generator, rounds: int = ROUNDS, samples: int = SAMPLES) -> list[list[float]]:
    """Draw the step times of one trial's rounds about 1 s, in time order."""
    offsets = 1 + assumed_tau("gpu")[0] * rng.standard_normal(rounds)
    drawn = offsets[:, None] * (1 + WITHIN * rng.standard_normal((rounds, samples)))
    found: list[list[float]] = np.maximum(drawn, 1e-3).tolist()
    return found


def shapes(rng: np.random.Generator, count: int = SHAPES) -> list[Shape]:
    """Draw `count` trials and fold each by the estimator that a run uses. An interval scales with its step time."""
    made = []
    for _ in range(count):
        rounds = times(rng)
        found = estimate(rounds, assumed_tau("gpu")[0])
        made.append(Shape(tuple(float(np.median(one)) for one in rounds), found))
    return made
