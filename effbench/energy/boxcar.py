"""Owns the fit of a moving mean to a load of known edges: which window and which lag explain the readings best.

The model of a reading that was renewed at T is the mean of the load over [T - lag - window, T - lag]. The load's power
does not jump: it rises and falls exponentially with two times of its own, which are fitted too, for a slow load under a
short window looks like a long window, and would hide that a sensor sees only part of the time. Rest, rise and the
drift of the rise (a chip draws more as it warms) follow by linear least squares. Pure.
"""

import math
from collections.abc import Sequence

import msgspec
import numpy as np

WINDOW_MIN_S, WINDOW_MAX_S = 0.002, 3.0
LAG_MIN_S, LAG_MAX_S, LAG_STEP_S = -0.03, 1.2, 0.01
# The load's own rise and fall, s: from as good as none to slower than any fast train.
EDGE_MIN_S, EDGE_MAX_S = 0.0005, 1.0
# 3.84 is chi-square's 95 % quantile for one parameter; neighbouring residuals share an edge, hence four times that.
PROFILE = 4 * 3.84
# Residuals below 1 % of the rise are the model's own, and never narrow a range.
MODEL_ERROR = 0.01
_LOW = np.array([np.log(WINDOW_MIN_S), LAG_MIN_S, np.log(EDGE_MIN_S), np.log(EDGE_MIN_S)])
_HIGH = np.array([np.log(WINDOW_MAX_S), LAG_MAX_S, np.log(EDGE_MAX_S), np.log(EDGE_MAX_S)])
_WINDOW, _LAG = 0, 1


class Load:
    """The load over time, from the edges of its busy phases: 0 at rest, 1 when busy, exponential in between."""

    def __init__(self, edges_s: Sequence[tuple[float, float]], up_s: float = 0.0, down_s: float = 0.0) -> None:
        self._edges = edges_s
        moments = [t for edge in edges_s for t in edge]
        taus = [max(up_s, 1e-9), max(down_s, 1e-9)] * len(edges_s)
        offs, sums, level, total = [], [], 0.0, 0.0
        for i, t in enumerate(moments):
            target = 1.0 - i % 2
            off, seconds = level - target, moments[i + 1] - t if i + 1 < len(moments) else 0.0
            offs.append(off)
            sums.append(total)
            gone = math.exp(-seconds / taus[i])
            total += target * seconds + off * taus[i] * (1.0 - gone)
            level = target + off * gone
        self._t, self._tau, self._off, self._sum = (np.array(v) for v in (moments, taus, offs, sums))
        self._target = 1.0 - np.arange(len(moments)) % 2

    def softened(self, up_s: float, down_s: float) -> "Load":
        """Return the same phases with other times of rise and fall, s."""
        return Load(self._edges, up_s, down_s)

    def share(self, at_s: np.ndarray, window_s: float) -> np.ndarray:
        """Mean load over the `window_s` before each moment."""
        return np.asarray((self._until(at_s) - self._until(at_s - window_s)) / window_s)

    def _until(self, t: np.ndarray) -> np.ndarray:
        at = np.searchsorted(self._t, t, side="right") - 1
        i = np.maximum(at, 0)
        since = np.where(at >= 0, t - self._t[i], 0.0)
        tau = self._tau[i]
        return np.asarray(self._sum[i] + self._target[i] * since + self._off[i] * tau * (1.0 - np.exp(-since / tau)))


class Fit(msgspec.Struct, frozen=True):
    """The best moving mean: window and lag, s, and the window's 95 % range; the rise in the readings' unit.

    `up_s` and `down_s` are the load's own times. `residual` is the rms of what is left over the rise, `explained` the
    share of the variance that is explained.
    """

    window_s: float
    window_low_s: float
    window_high_s: float
    lag_s: float
    up_s: float
    down_s: float
    rise: float
    residual: float
    explained: float


class _Problem:
    """Readings, and what is left of them under parameters: log window, lag, log times of rise and fall."""

    def __init__(self, load: Load, t: np.ndarray, y: np.ndarray) -> None:
        self.load, self.t, self.y = load, t, y
        self._when = (t - t.mean()) / max(1e-9, float(np.ptp(t)))

    def left(self, at: np.ndarray) -> tuple[np.ndarray, float]:
        """Residuals with the best rest, rise and drift, and that rise."""
        window, up, down = (float(v) for v in np.exp(at[[0, 2, 3]]))
        share = self.load.softened(up, down).share(self.t - at[_LAG], window)
        design = np.column_stack([np.ones_like(share), share, share * self._when])
        square = design.T @ design + 1e-9 * len(share) * np.eye(3)
        found = np.linalg.solve(square, design.T @ self.y)
        return self.y - design @ found, float(found[1])

    def descend(self, at: np.ndarray, fixed: Sequence[int] = (), steps: int = 25) -> tuple[np.ndarray, float]:
        """Walk downhill (Levenberg, Marquardt) from `at`; parameters in `fixed` stay. Returns the place and the sum."""
        free = [i for i in range(len(at)) if i not in fixed]
        left = self.left(at)[0]
        total, damping = float(left @ left), 1e-2
        for _ in range(steps):
            slopes = np.column_stack([self._slope(at, i, left) for i in free])
            square = slopes.T @ slopes
            ridge = damping * np.diag(np.diag(square)) + 1e-12 * np.trace(square) * np.eye(len(free))
            move = np.linalg.solve(ridge + square + 1e-30 * np.eye(len(free)), -slopes.T @ left)
            there = at.copy()
            there[free] += move
            there = np.clip(there, _LOW, _HIGH)
            new = self.left(there)[0]
            if float(new @ new) < total:
                gained = total - float(new @ new)
                at, left, total, damping = there, new, total - gained, damping / 4
                if gained < 1e-6 * total:
                    break
            else:
                damping *= 6
                if damping > 1e6:
                    break
        return at, total

    def _slope(self, at: np.ndarray, which: int, left: np.ndarray) -> np.ndarray:
        step = 5e-4 if which == _LAG else 0.01
        ahead = at.copy()
        ahead[which] += step
        return np.asarray((self.left(ahead)[0] - left) / step)


def fit(load: Load, times_s: Sequence[float], readings: Sequence[float]) -> Fit | None:
    """Fit window, lag and the load's own times to `readings` that were renewed at `times_s`. None without a rise."""
    t, y = np.asarray(times_s, dtype=float), np.asarray(readings, dtype=float)
    problem = _Problem(load, t, y)
    places = [problem.descend(start) for start in _starts(load, t, y)]
    at, total = min(places, key=lambda place: place[1])
    rise = problem.left(at)[1]
    if rise <= 0:
        return None
    low, high = _range(problem, at, total, rise, [place for place, _ in places])
    window, up, down = (float(v) for v in np.exp(at[[0, 2, 3]]))
    return Fit(
        window_s=window,
        window_low_s=low,
        window_high_s=high,
        lag_s=float(at[_LAG]),
        up_s=up,
        down_s=down,
        rise=rise,
        residual=float(np.sqrt(total / len(y))) / rise,
        explained=1.0 - total / float(np.sum((y - y.mean()) ** 2)),
    )


def _starts(load: Load, t: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    """Places to start from: the best of a coarse grid with sharp edges, and shorter windows under a slower load."""
    windows = np.geomspace(WINDOW_MIN_S, WINDOW_MAX_S, 28)
    lags = np.arange(LAG_MIN_S, LAG_MAX_S, LAG_STEP_S)
    thin = slice(None, None, max(1, len(t) // 400))
    left = np.array([_sharp(load, t[thin], y[thin], lags, float(w)) for w in windows])
    best_w, best_l = np.unravel_index(int(np.argmin(left)), left.shape)
    window, lag = float(windows[best_w]), float(lags[best_l])
    starts = []
    for share, edge in ((1.0, 0.002), (0.6, 0.02), (0.3, 0.06), (0.1, 0.1)):
        shorter = max(WINDOW_MIN_S, share * window)
        middle = lag + (window - shorter) / 2
        starts.append(np.array([np.log(shorter), max(LAG_MIN_S, middle - edge), np.log(edge), np.log(edge)]))
    return starts


def _sharp(load: Load, t: np.ndarray, y: np.ndarray, lags: np.ndarray, window: float) -> np.ndarray:
    """Sum of squares that is left for each lag under sharp edges, with rest and a positive rise by least squares."""
    share = load.share(t[None, :] - lags[:, None], window)
    x = share - share.mean(axis=1, keepdims=True)
    dy = y - y.mean()
    xx, xy = np.sum(x * x, axis=1), x @ dy
    gained = np.where((xx > 0) & (xy > 0), xy**2 / np.where(xx > 0, xx, 1.0), 0.0)
    return np.asarray(float(dy @ dy) - gained)


def _range(
    problem: _Problem, at: np.ndarray, total: float, rise: float, others: Sequence[np.ndarray]
) -> tuple[float, float]:
    """Windows that explain the readings nearly as well, everything else fitted anew for each: the 95 % range."""
    floor = len(problem.t) * (MODEL_ERROR * rise) ** 2
    allowed = total + PROFILE * max(total, floor) / max(1, len(problem.t) - 6)
    bounds = []
    for factors in (np.geomspace(0.97, 1 / 8, 18), np.geomspace(1.03, 8.0, 18)):
        near, edge, missed = at, float(at[_WINDOW]), 0
        for factor in factors:
            goal = float(np.clip(at[_WINDOW] + np.log(factor), _LOW[_WINDOW], _HIGH[_WINDOW]))
            tries = [problem.descend(_moved(near, goal), (_WINDOW,), 6)]
            if missed:
                tries += [problem.descend(_moved(one, goal), (_WINDOW,), 6) for one in others]
            place, left = min(tries, key=lambda one: one[1])
            near = place
            missed = 0 if left <= allowed else missed + 1
            edge = goal if left <= allowed else edge
            if missed == 2:
                break
        bounds.append(float(np.exp(edge)))
    return bounds[0], bounds[1]


def _moved(at: np.ndarray, window: float) -> np.ndarray:
    """The same place with another log window that keeps its middle."""
    there = at.copy()
    there[_LAG] += (np.exp(at[_WINDOW]) - np.exp(window)) / 2
    there[_WINDOW] = window
    return np.asarray(np.clip(there, _LOW, _HIGH))
