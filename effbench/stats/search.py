"""Search for the fastest shape on a declared grid with few, noisy measurements.

Four phases share the evaluations: a small full factorial from which the model learns what hangs on what; a cover of
every pair of values of the two axes that matter together, with the other axes balanced; moves that the model proposes;
and the re-measurement of the best in rounds that drop the slower half, so that luck does not win.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from effbench.stats import surface
from effbench.stats.quantile import median

Point = tuple[int, ...]
Array = NDArray[np.float64]

# Shares of the evaluations, found on the synthetic surfaces of the tests; what is left re-measures the best.
_FACTORIAL, _COVERED, _GUIDED = 0.07, 0.68, 0.90
_BATCH = 0.04
# Values of an axis that cost more than this by themselves (logarithm of speed) are left out of the cover.
_HOPELESS = 0.15
# Moves look for an improvement of at least this much: less is within what the search promises.
_WORTH = 0.02
# A move along a line whose other point is far away says more than one next to it, by this much over a whole axis.
_FAR = 0.05
# Slower than this share of the fastest is all the same, and a shape that cannot run counts as that slow.
_FLOOR = 0.1
_CANDIDATES = 600
# Steps of learning after the factorial, after the cover (many points: dear), and after each batch.
_LEARN = (40, 15, 2)


class Found(msgspec.Struct, frozen=True):
    """The winner, in the axes' own values. `value` is the median of its re-measurements, of which there is none when
    evaluations ran out: then its one value. `evaluated` counts every call of `evaluate`.

    `trace` holds every call in order: the shape and what it gave.
    """

    best: Point
    value: float
    evaluated: int
    trace: tuple[tuple[Point, float], ...]


def grid_size(axes: Mapping[str, Sequence[int]]) -> int:
    """Return the number of points of the grid.

    Raises:
        ValueError: there is no axis, or an axis has no values or one of them twice.
    """
    if not axes:
        raise ValueError("the grid has no axes; name at least one with its values")
    for name, values in axes.items():
        if not values:
            raise ValueError(f"axis {name} has no values")
        if len(set(values)) != len(values):
            raise ValueError(f"axis {name} has a value twice: {sorted(values)}")
    return math.prod(len(values) for values in axes.values())


def search(
    axes: Mapping[str, Sequence[int]],
    evaluate: Callable[[Point], float],
    evaluations_max: int,
    seed: int,
) -> Found:
    """Find the point of the grid with the highest value in at most `evaluations_max` calls of `evaluate`.

    `evaluate` takes one value per axis, in the order of `axes`, each of which must ascend for its neighbours to mean
    anything; it returns a rate (flop/s; more is better) or 0.0 for a shape that cannot run. The same seed and answers
    give the same search. Not every surface can be searched so: a single fast point without any trace along an axis or
    a pair of axes is found by luck only.

    Raises:
        ValueError: a bad grid (see `grid_size`), fewer than one evaluation, a value that is negative or not finite, or
            no shape that could run.
    """
    size = grid_size(axes)
    if evaluations_max < 1:
        raise ValueError(f"a search over {size} points needs at least one evaluation, not {evaluations_max}")
    walk = _Walk(axes, evaluate, evaluations_max, np.random.default_rng(seed))
    if evaluations_max >= size:
        walk.visit(list(np.ndindex(walk.shape)))
    else:
        walk.begin()
        walk.move()
    return walk.finish()


class _Walk:
    """One search under way: what was measured where, by index, and how many evaluations are left."""

    def __init__(
        self,
        axes: Mapping[str, Sequence[int]],
        evaluate: Callable[[Point], float],
        most: int,
        rng: np.random.Generator,
    ) -> None:
        self._axes = [list(values) for values in axes.values()]
        self.shape = tuple(len(values) for values in self._axes)
        self._evaluate, self._most, self._rng = evaluate, most, rng
        self._seen: dict[Point, list[float]] = {}
        self._trace: list[tuple[Point, float]] = []
        self._weights: Array | None = None

    def visit(self, points: Sequence[Point]) -> None:
        """Measure points, as long as there are evaluations left."""
        for point in points[: self._most - len(self._trace)]:
            shape = self._named(point)
            value = float(self._evaluate(shape))
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"shape {shape} gave {value}; a rate is finite and not negative")
            self._seen.setdefault(point, []).append(value)
            self._trace.append((shape, value))

    def begin(self) -> None:
        """Factorial, then cover."""
        per_axis = int((self._most * _FACTORIAL) ** (1 / len(self.shape)) + 1e-9)
        allowed = [np.ones(n, dtype=bool) for n in self.shape]
        pair: tuple[int, ...] = ()
        if per_axis >= 2:
            runs = [np.array_split(np.arange(n), min(per_axis, n)) for n in self.shape]
            self.visit(list(itertools.product(*([int(self._rng.choice(run)) for run in axis] for axis in runs))))
            model = self._fit(_LEARN[0])
            effects = [surface.effect(model, axis) for axis in range(len(self.shape))]
            allowed = [effect >= effect.max() - _HOPELESS for effect in effects]
            pair = surface.strongest(model)
        order = sorted(range(len(self.shape)), key=lambda axis: (-self.shape[axis], axis not in pair))
        count = max(1, int(self._most * _COVERED)) - len(self._trace)
        self.visit(_cover(self.shape, order, allowed, set(self._seen), count, self._rng))

    def move(self) -> None:
        """Follow the model: every second move along a line that was seen once, the others where it expects most."""
        end = int(self._most * _GUIDED)
        steps = _LEARN[1]
        while len(self._trace) < end:
            model = self._fit(steps)
            steps = _LEARN[2]
            count = min(max(4, int(self._most * _BATCH)), end - len(self._trace))
            batch = self._lines(model, (count + 1) // 2)
            last = len(self._trace) + count >= end
            self.visit([*batch, *self._expected(model, count - len(batch), set(batch), 0.0 if last else _WORTH)])

    def finish(self) -> Found:
        """Re-measure the best by halves, and name the winner."""
        if not any(value > 0 for _, value in self._trace):
            raise ValueError(f"none of {len(self._trace)} shapes could run")
        finalists = sorted(self._seen, key=self._score, reverse=True)
        finalists = finalists[: max(1, (self._most - len(self._trace)) // 2)]
        while len(finalists) > 1 and len(self._trace) < self._most:
            self.visit(finalists)
            finalists = sorted(finalists, key=self._score, reverse=True)[: -(-len(finalists) // 2)]
        best = max(finalists, key=self._score)
        value = median(self._seen[best][1:] or self._seen[best])
        return Found(self._named(best), value, len(self._trace), tuple(self._trace))

    def _named(self, point: Point) -> Point:
        return tuple(values[i] for values, i in zip(self._axes, point, strict=True))

    def _score(self, point: Point) -> float:
        """Mean of what it gave; once measured again, without the first value, by whose luck it was chosen."""
        return float(np.mean(self._seen[point][1:] or self._seen[point]))

    def _fit(self, steps: int) -> surface.Surface:
        values = np.array([self._score(point) for point in self._seen])
        top = max(float(values.max()), 1e-300)
        logs = np.log(np.maximum(values / top, _FLOOR))
        model = surface.fit(self.shape, np.array(list(self._seen)), logs, self._weights, steps)
        self._weights = model.weights
        return model

    def _expected(self, model: surface.Surface, count: int, taken: set[Point], worth: float) -> list[Point]:
        """Points most likely to improve by `worth`, each choice counted as known before the next is made."""
        mean = surface.mean(model)
        top = max(float(mean[point]) for point in self._seen)
        for point in itertools.chain(self._seen, taken):
            mean[point] = -np.inf
        best = np.argsort(-mean, axis=None, kind="stable")[:_CANDIDATES]
        best = best[np.isfinite(mean.ravel()[best])]
        points = np.stack(np.unravel_index(best, self.shape), axis=1)
        expected, unknown = mean.ravel()[best], surface.covariance(model, points)
        chosen: list[Point] = []
        for _ in range(min(count, len(best))):
            pick = int(np.argmax((expected - top - worth) / np.sqrt(np.maximum(np.diag(unknown), 1e-8))))
            chosen.append(tuple(int(i) for i in points[pick]))
            column = unknown[:, pick].copy()
            unknown = unknown - np.outer(column, column) / (column[pick] + model.weights[-1] + 1e-9)
            expected[pick] = -np.inf
        return chosen

    def _lines(self, model: surface.Surface, count: int) -> list[Point]:
        """Second points on lines that hold one: its value there, plus what the axis itself gains by the move.

        The model smooths a lone fast point away as noise; this trusts it, and so finds the one cell of two axes in
        which whole waves of tiles fit. Lines run along the axes that are not in the strongest pair.
        """
        seen, value = np.zeros(self.shape), np.zeros(self.shape)
        seen[tuple(model.points.T)], value[tuple(model.points.T)] = 1.0, model.residuals
        skipped = surface.strongest(model) if len(self.shape) > 2 else ()
        promises: list[tuple[float, Point]] = []
        for axis in (a for a in range(len(self.shape)) if a not in skipped):
            lead = [-1 if a == axis else 1 for a in range(len(self.shape))]
            gain, place = surface.effect(model, axis).reshape(lead), np.arange(self.shape[axis]).reshape(lead)
            there = (seen * place).sum(axis=axis, keepdims=True)
            promise = (value - seen * gain).sum(axis=axis, keepdims=True) + gain
            promise = promise + _FAR * np.abs(place - there) / self.shape[axis]
            promise = np.where((seen.sum(axis=axis, keepdims=True) == 1) & (seen == 0), promise, -np.inf)
            best = np.argmax(promise, axis=axis, keepdims=True)
            for point in np.argwhere(place == best):
                if np.isfinite(promise[tuple(point)]):
                    promises.append((float(promise[tuple(point)]), tuple(int(i) for i in point)))
        promises.sort(key=lambda item: (-item[0], item[1]))
        return list(dict.fromkeys(point for _, point in promises))[:count]


def _cover(
    shape: Sequence[int],
    order: Sequence[int],
    allowed: Sequence[NDArray[np.bool_]],
    seen: set[Point],
    count: int,
    rng: np.random.Generator,
) -> list[Point]:
    """`count` new points: each pair of values of the first two axes in `order` once, the other axes balanced on it."""
    axes = range(len(shape))
    used = {(a, b): np.zeros((shape[a], shape[b])) for a in axes for b in axes if a != b}
    cells = list(itertools.product(*(range(shape[axis]) for axis in order[:2])))
    known = {tuple(point[axis] for axis in order[:2]) for point in seen}
    fresh = [cell for cell in cells if cell not in known]
    found: list[Point] = []
    while fresh and len(found) < count:
        before = len(found)
        for place in rng.permutation(len(fresh)):
            at = dict(zip(order, fresh[place], strict=False))
            for axis in order[2:]:
                cost = sum(used[other, axis][at[other]] for other in at) + rng.random(shape[axis]) / 2
                at[axis] = int(np.argmin(cost + np.where(allowed[axis], 0.0, 100.0)))
            point = tuple(at[axis] for axis in axes)
            if point not in seen:
                seen.add(point)
                found.append(point)
                for a, b in used:
                    used[a, b][point[a], point[b]] += 1
        fresh = cells if len(found) > before else []
    if len(found) < count:
        rest = [point for point in np.ndindex(*shape) if point not in seen]
        found += [rest[i] for i in rng.permutation(len(rest))]
    return found[:count]
