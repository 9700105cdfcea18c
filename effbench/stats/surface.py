"""A model of speed over a grid of shapes: a Gaussian process with parts for single axes, for pairs, and for all.

What makes one GEMM shape faster than its neighbour mostly hangs on one size (a ramp over K, a leading dimension that
aliases) or on two (whole waves of tiles over M and N, a panel that fits into a cache). So each axis and each pair gets
a smooth part and a rugged one (every value, or pair of values, for itself), all axes together one smooth part, and what
is left counts as noise. How much each part explains is learnt from the measured points.
"""

import itertools
from collections.abc import Sequence
from functools import reduce

import msgspec
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Points = NDArray[np.intp]

# Correlation of neighbours falls by e over this share of an axis: gently in a smooth part of one axis or two, faster in
# the part of all axes, which is there for narrow hills and ridges that run across the axes.
_SMOOTH, _HILL = 0.3, 0.12
_NOISE_MIN = 1e-6
_WEIGHT_MIN = 1e-9


class Surface(msgspec.Struct, frozen=True):
    """What is believed of a grid: `weights` of the parts as variances, the noise last; `inverse` of the covariance.

    `residuals` are the fitted values less their median, `center`.
    """

    shape: tuple[int, ...]
    weights: Array
    points: Points
    residuals: Array
    inverse: Array
    center: float


def fit(shape: Sequence[int], points: Points, values: Array, weights: Array | None, steps: int) -> Surface:
    """Learn from `values` (any unit, measured with noise) at `points` (indices, one row each).

    Maximum likelihood by the monotone updates of variance components of Zhou, Hu, Zhou & Lange (J. Comput. Graph.
    Stat. 28, 2019), `steps` of them from `weights` of an earlier fit or from equal ones. Cost: steps x points^3.
    """
    parts = _parts(len(shape))
    center = float(np.median(values))
    residuals = values - center
    scale = max(float(np.mean(residuals**2)), _NOISE_MIN)
    found = np.full(len(parts) + 1, scale / (len(parts) + 1)) if weights is None else weights.copy()
    covariances = [_between(part, shape, points, points) for part in parts]
    inverse = np.empty(0)
    for step in range(steps + 1):
        total = sum((w * c for w, c in zip(found, covariances, strict=False)), np.zeros((len(points),) * 2))
        inverse = np.linalg.inv(total + np.diag(np.full(len(points), found[-1] + _NOISE_MIN)))
        if step == steps:
            break
        solved = inverse @ residuals
        explained = np.array([solved @ c @ solved for c in covariances] + [solved @ solved])
        expected = np.array([np.sum(inverse * c) for c in covariances] + [np.trace(inverse)])
        found = np.maximum(found * np.sqrt(explained / expected), _WEIGHT_MIN)
    return Surface(tuple(shape), found, points, residuals, inverse, center)


def mean(surface: Surface) -> Array:
    """Return the expected value of every grid point, in the unit of the fitted values."""
    return surface.center + _spread(surface, surface.inverse @ surface.residuals)


def effect(surface: Surface, axis: int) -> Array:
    """Return what each value of one axis adds by itself, in the unit of the fitted values."""
    alone = [all((kind != "one") == (a == axis) for a, kind in enumerate(part)) for part in _parts(len(surface.shape))]
    weights = np.where([*alone, False], surface.weights, 0.0)
    whole = _spread(msgspec.structs.replace(surface, weights=weights), surface.inverse @ surface.residuals)
    return np.moveaxis(whole, axis, 0).reshape(surface.shape[axis], -1)[:, 0]


def strongest(surface: Surface) -> tuple[int, ...]:
    """Return the two axes (one on a line) whose interaction explains most."""
    explained: dict[tuple[int, ...], float] = {}
    for weight, part in zip(surface.weights, _parts(len(surface.shape)), strict=False):
        axes = tuple(axis for axis, kind in enumerate(part) if kind != "one")
        if len(axes) == min(2, len(part)) and "hill" not in part:
            explained[axes] = explained.get(axes, 0.0) + float(weight)
    return max(explained, key=lambda axes: explained[axes])


def covariance(surface: Surface, points: Points) -> Array:
    """Return what is still unknown of `points` (indices, one row each): their covariance given all measurements."""
    parts = list(zip(surface.weights, _parts(len(surface.shape)), strict=False))
    across = sum(w * _between(part, surface.shape, points, surface.points) for w, part in parts)
    prior = sum(w * _between(part, surface.shape, points, points) for w, part in parts)
    left: Array = prior - across @ surface.inverse @ np.transpose(across)
    return left


def _parts(axes: int) -> list[tuple[str, ...]]:
    """One word per axis for each part: `smooth`, `each` (every value for itself), `hill`, or `one` (no influence)."""
    parts = []
    for size in (1, 2):
        for chosen in itertools.combinations(range(axes), size):
            for kind in ("smooth", "each"):
                parts.append(tuple(kind if axis in chosen else "one" for axis in range(axes)))
    return [*parts, ("hill",) * axes]


def _kernel(kind: str, n: int) -> Array:
    """Correlation between the `n` values of an axis in a part of this kind."""
    if kind == "one":
        return np.ones((n, n))
    if kind == "each":
        return np.eye(n)
    gap = np.abs(np.subtract.outer(np.arange(n), np.arange(n))) / max(1.0, (_HILL if kind == "hill" else _SMOOTH) * n)
    kernel: Array = np.exp(-gap)
    return kernel


def _between(part: Sequence[str], shape: Sequence[int], left: Points, right: Points) -> Array:
    factors = [
        _kernel(kind, n)[np.ix_(left[:, axis], right[:, axis])]
        for axis, (kind, n) in enumerate(zip(part, shape, strict=True))
        if kind != "one"
    ]
    return reduce(np.multiply, factors)


def _spread(surface: Surface, solved: Array) -> Array:
    """Carry the weights of measured points to the whole grid, axis by axis, so that a grid costs next to nothing."""
    placed = np.zeros(surface.shape)
    np.add.at(placed, tuple(surface.points.T), solved)
    total = np.zeros(surface.shape)
    for weight, part in zip(surface.weights, _parts(len(surface.shape)), strict=False):
        total += weight * _apply(placed, [_kernel(kind, n) for kind, n in zip(part, surface.shape, strict=True)])
    return total


def _apply(tensor: Array, matrices: Sequence[Array]) -> Array:
    for axis, matrix in enumerate(matrices):
        tensor = np.moveaxis(np.tensordot(matrix, tensor, axes=(1, axis)), 0, axis)
    return tensor
