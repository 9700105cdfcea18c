"""Least squares whose coefficients may not be negative, for a handful of columns: exact, by trying every subset."""

import itertools

import numpy as np
from numpy.typing import NDArray

__all__ = ["COLUMNS_MAX", "non_negative"]

Array = NDArray[np.float64]

# 2^n subsets are solved, so this is for models with a few physical parameters.
COLUMNS_MAX = 5


def non_negative(matrix: Array, targets: Array, sigma: Array | None = None) -> Array:
    """Return the coefficients x >= 0 that minimise |(matrix x - target) / sigma|^2, for one target or many at once.

    The minimum is the unconstrained one over some subset of the columns (the others are zero), so that the best
    feasible subset is the exact answer (Lawson & Hanson, Solving Least Squares Problems, 1974, chapter 23).

    Args:
        matrix: rows of equations, columns of parameters.
        targets: one value per row, or one column of them per problem.
        sigma: standard deviation of every row's target; absent, all alike.

    Returns:
        One coefficient per column, with a column per problem if `targets` had one.

    Raises:
        ValueError: shapes that do not fit, numbers that are not finite, a sigma of zero or less, too many columns.
    """
    a, y = np.asarray(matrix, dtype=np.float64), np.asarray(targets, dtype=np.float64)
    many = y if y.ndim == 2 else y[:, None]
    if a.ndim != 2 or a.shape[0] != many.shape[0] or not 1 <= a.shape[1] <= COLUMNS_MAX or not a.shape[0]:
        raise ValueError(f"{a.shape} equations do not fit {y.shape} targets, at most {COLUMNS_MAX} columns")
    if sigma is not None:
        weight = np.asarray(sigma, dtype=np.float64)
        if weight.shape != (a.shape[0],) or not (weight > 0).all():
            raise ValueError("sigma: one positive number per row is needed")
        a, many = a / weight[:, None], many / weight[:, None]
    if not (np.isfinite(a).all() and np.isfinite(many).all()):
        raise ValueError("only finite numbers can be fitted")
    scale = np.linalg.norm(a, axis=0)
    scaled = a / np.where(scale > 0, scale, 1.0)
    found = _best(scaled[:, scale > 0], many)
    whole = np.zeros((a.shape[1], many.shape[1]))
    whole[scale > 0] = found / scale[scale > 0, None]
    return whole if y.ndim == 2 else whole[:, 0]


def _best(a: Array, y: Array) -> Array:
    """Over columns of unit length: the feasible subset with the least squares, problem by problem."""
    best = np.zeros((a.shape[1], y.shape[1]))
    least = np.sum(y * y, axis=0)
    for size in range(1, a.shape[1] + 1):
        for chosen in itertools.combinations(range(a.shape[1]), size):
            part = a[:, chosen]
            x, _, rank, _ = np.linalg.lstsq(part, y, rcond=None)
            if rank < size:
                continue  # collinear columns add nothing that a smaller subset does not have
            left = np.sum((y - part @ x) ** 2, axis=0)
            better = (x >= 0).all(axis=0) & (left < least * (1 - 1e-12))
            least = np.where(better, left, least)
            spread = np.zeros_like(best)
            spread[list(chosen)] = x
            best = np.where(better, spread, best)
    return best
