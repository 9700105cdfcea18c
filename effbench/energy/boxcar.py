"""Owns the fit of a moving mean to a load of known edges: which window and which lag explain the readings best.

The model of a reading that was renewed at T is rest + rise x (busy share of [T - lag - window, T - lag]). Rest and rise
follow by least squares, window and lag from a grid that is then refined. Pure.
"""

from collections.abc import Sequence

import msgspec
import numpy as np

# A window shorter than this share of a poll leaves the same traces as none at all.
WINDOW_MIN_S, WINDOW_MAX_S = 0.002, 3.0
LAG_MIN_S, LAG_MAX_S, LAG_STEP_S = -0.03, 1.2, 0.01
# 3.84 is chi-square's 95 % quantile for one parameter; neighbouring residuals share an edge, hence four times that.
PROFILE = 4 * 3.84
# Residuals below 1 % of the rise are the model's own (edges are not infinitely steep), and never narrow an interval.
MODEL_ERROR = 0.01


class Load:
    """The busy time up to any moment, from the edges of the busy phases."""

    def __init__(self, edges_s: Sequence[tuple[float, float]]) -> None:
        self._t = np.array([t for edge in edges_s for t in edge])
        lengths = np.array([[0.0, end - start] for start, end in edges_s]).ravel()
        self._busy = np.cumsum(lengths)

    def share(self, at_s: np.ndarray, window_s: float) -> np.ndarray:
        """Busy share of the `window_s` before each moment."""
        until, since = (np.interp(t, self._t, self._busy) for t in (at_s, at_s - window_s))
        return np.asarray((until - since) / window_s)


class Fit(msgspec.Struct, frozen=True):
    """The best moving mean: window and lag with their 95 % ranges, s; rest and rise in the readings' unit.

    `residual` is the rms of what is left over the rise, `explained` the share of the variance that is explained.
    """

    window_s: float
    window_low_s: float
    window_high_s: float
    lag_s: float
    rest: float
    rise: float
    residual: float
    explained: float


def fit(load: Load, times_s: Sequence[float], readings: Sequence[float]) -> Fit | None:
    """Fit window and lag to `readings` that were renewed at `times_s`. None when no positive rise fits at all."""
    t, y = np.asarray(times_s, dtype=float), np.asarray(readings, dtype=float)
    windows = np.geomspace(WINDOW_MIN_S, WINDOW_MAX_S, 36)
    lags = np.arange(LAG_MIN_S, LAG_MAX_S, LAG_STEP_S)
    # A coarse look needs no more than a few hundred readings; the refinement takes them all.
    thin = slice(None, None, max(1, len(t) // 500))
    left = np.array([_left(load, t[thin], y[thin], lags, w) for w in windows])
    best_w, best_l = np.unravel_index(int(np.argmin(left)), left.shape)
    window, lag = _refined(load, t, y, float(windows[best_w]), float(lags[best_l]))
    share = load.share(t - lag, window)
    spread = float(np.sum((share - share.mean()) ** 2))
    if spread <= 0:
        return None
    rise = float(np.sum((share - share.mean()) * (y - y.mean()))) / spread
    if rise <= 0:
        return None
    rest = float(y.mean() - rise * share.mean())
    unexplained = float(np.sum((y - rest - rise * share) ** 2))
    low, high = _range(load, t, y, window, lag, unexplained, rise)
    return Fit(
        window_s=window,
        window_low_s=low,
        window_high_s=high,
        lag_s=lag,
        rest=rest,
        rise=rise,
        residual=float(np.sqrt(unexplained / len(y))) / rise,
        explained=1.0 - unexplained / float(np.sum((y - y.mean()) ** 2)),
    )


def _left(load: Load, t: np.ndarray, y: np.ndarray, lags: np.ndarray, window: float) -> np.ndarray:
    """Sum of squares that is left for each lag, with rest and a positive rise by least squares."""
    share = load.share(t[None, :] - lags[:, None], window)
    x = share - share.mean(axis=1, keepdims=True)
    dy = y - y.mean()
    xx, xy = np.sum(x * x, axis=1), x @ dy
    gained = np.where((xx > 0) & (xy > 0), xy**2 / np.where(xx > 0, xx, 1.0), 0.0)
    return np.asarray(float(np.sum(dy * dy)) - gained)


def _refined(load: Load, t: np.ndarray, y: np.ndarray, window: float, lag: float) -> tuple[float, float]:
    """Look ever closer around a point of the grid, along windows that keep their middle: the valley runs that way."""
    factor, step = 1.25, max(LAG_STEP_S, 0.05 * window)
    for _ in range(9):
        best = np.inf
        middle = lag + window / 2
        for one in np.clip(window * np.geomspace(1 / factor, factor, 7), WINDOW_MIN_S, WINDOW_MAX_S).tolist():
            lags = middle - one / 2 + np.linspace(-step, step, 9)
            left = _left(load, t, y, lags, one)
            if float(left.min()) < best:
                best, window, lag = float(left.min()), one, float(lags[int(np.argmin(left))])
        factor, step = 1 + (factor - 1) * 0.65, step * 0.6
    return window, lag


def _range(
    load: Load, t: np.ndarray, y: np.ndarray, window: float, lag: float, unexplained: float, rise: float
) -> tuple[float, float]:
    """Windows that explain the readings nearly as well, at the best lag of each: the 95 % range."""
    floor = len(t) * (MODEL_ERROR * rise) ** 2
    allowed = unexplained + PROFILE * max(unexplained, floor) / max(1, len(t) - 4)
    windows = np.clip(window * np.geomspace(1 / 6, 6, 61), WINDOW_MIN_S, WINDOW_MAX_S)
    good = [window]
    for one in windows:
        # A longer window ends later by half of what it is longer, if it is to have the same middle.
        lags = lag + (window - one) / 2 + np.linspace(-0.03, 0.03, 25) * max(1.0, window)
        if float(_left(load, t, y, lags, float(one)).min()) <= allowed:
            good.append(float(one))
    return min(good), max(good)
