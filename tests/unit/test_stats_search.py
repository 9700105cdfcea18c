"""The shape search on synthetic surfaces with 1 % noise: a tenth of the looks, and how near the best it lands."""

import math

import numpy as np
import pytest
from surfaces import ADVERSARIAL, REAL

from effbench.stats import surface
from effbench.stats.search import grid_size, search

NOISE = 0.01


def landed(make, seed):
    """Share of the grid's best that the winner truly has, the search's own account, and the true speeds."""
    axes, speeds = make(seed)
    values = [list(axis) for axis in axes.values()]
    rng = np.random.default_rng(seed + 1000)
    calls = []

    def evaluate(shape):
        calls.append(shape)
        place = tuple(axis.index(value) for axis, value in zip(values, shape, strict=True))
        return float(speeds[place] * (1 + NOISE * rng.standard_normal()))

    found = search(axes, evaluate, speeds.size // 10, seed)
    assert len(calls) == found.evaluated == len(found.trace) <= speeds.size // 10
    assert [shape for shape, _ in found.trace] == calls
    place = tuple(axis.index(value) for axis, value in zip(values, found.best, strict=True))
    assert found.value == pytest.approx(speeds[place], rel=4 * NOISE)
    return speeds[place] / speeds.max()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["gpu_kernels", "cpu_blocks"])
def test_it_lands_within_two_percent(name, seed):
    assert landed(REAL[name], seed) >= 0.98


def test_it_lands_within_two_percent_where_one_cell_of_waves_wins():
    # The best 2 % are three or four of 4096 points, all in one (m, n) cell among slow neighbours. Of seeds 0 to 11 ten
    # landed within 2 % and the other two, 2 and 10, within 2.8 %; seed 2 stays in the test.
    shares = [landed(REAL["gpu_waves"], seed) for seed in range(5)]
    assert sum(share >= 0.98 for share in shares) >= 4
    assert min(shares) >= 0.96


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_it_is_not_led_astray(name):
    assert min(landed(ADVERSARIAL[name], seed) for seed in range(2)) >= 0.98


def hill(shape):
    return 100.0 - sum((value - 5) ** 2 for value in shape)


def test_the_same_seed_gives_the_same_search():
    axes = {"m": range(1, 9), "n": range(1, 9), "k": range(1, 9)}
    one, same, other = (search(axes, hill, 51, seed) for seed in (3, 3, 4))
    assert one == same
    assert one.trace != other.trace


@pytest.mark.parametrize("axes", [{"m": range(12)}, {"m": range(12), "n": range(9)}, dict.fromkeys("abcd", range(6))])
@pytest.mark.parametrize("budget", [1, 2, 3, 7, 20, 60])
def test_any_number_of_axes_and_any_budget(axes, budget):
    found = search(axes, hill, budget, 0)
    assert found.evaluated <= budget
    assert found.value == hill(found.best) == max(value for _, value in found.trace)


def test_a_budget_beyond_the_grid_sees_every_point():
    axes = {"m": [1, 2, 5], "n": [4, 5]}
    found = search(axes, hill, 1000, 0)
    assert found.best == (5, 5)
    assert {shape for shape, _ in found.trace} == {(m, n) for m in axes["m"] for n in axes["n"]}


def test_a_grid_that_is_almost_one_value_does_not_hang():
    axes = {"m": range(10), "n": range(2), "k": range(30)}
    found = search(axes, lambda shape: 1e3 if shape[2] == 29 else 1.0, 500, 1)
    assert found.best[2] == 29


def test_luck_does_not_win():
    # Flat: every look is noise, so an honest winner's value is near the truth and not near the luckiest look.
    rng = np.random.default_rng(5)
    axes = dict.fromkeys("mnk", range(10))
    found = search(axes, lambda _: float(1 + 0.05 * rng.standard_normal()), 100, 0)
    assert max(value for _, value in found.trace) > 1.1
    assert found.value < 1.09


def test_shapes_that_cannot_run_are_passed_over():
    found = search(dict.fromkeys("mn", range(1, 12)), lambda s: 0.0 if s[0] > 6 else hill(s), 40, 0)
    assert 0 < found.best[0] <= 6
    with pytest.raises(ValueError, match="could run"):
        search({"m": range(9)}, lambda _: 0.0, 5, 0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
def test_an_impossible_rate_is_refused_by_shape(value):
    with pytest.raises(ValueError, match=r"shape \(\d+,\)"):
        search({"m": range(9)}, lambda _: value, 5, 0)


def test_bad_grids_and_budgets_are_refused():
    for axes, words in (({}, "no axes"), ({"m": []}, "axis m has no values"), ({"m": [1, 1]}, "twice")):
        with pytest.raises(ValueError, match=words):
            search(axes, hill, 5, 0)
    with pytest.raises(ValueError, match="at least one evaluation"):
        search({"m": [1]}, hill, 0, 0)
    assert grid_size(dict.fromkeys("mnk", range(16))) == 4096


def test_the_model_learns_which_axes_matter_together():
    rng = np.random.default_rng(0)
    points = rng.integers(0, 8, (120, 3))
    table, ramp = rng.standard_normal((8, 8)), np.linspace(0, 1, 8)
    truth = table[:, None, :] + ramp[None, :, None]
    model = surface.fit((8, 8, 8), points, truth[tuple(points.T)], None, 30)
    assert surface.strongest(model) == (0, 2)
    gain = surface.effect(model, 1)
    assert gain[7] - gain[0] == pytest.approx(1.0, abs=0.3)
    assert np.corrcoef(surface.mean(model).ravel(), truth.ravel())[0, 1] > 0.85


def test_what_was_measured_is_known_and_the_rest_is_not():
    rng = np.random.default_rng(1)
    points = np.stack(np.unravel_index(rng.choice(512, 60, replace=False), (8, 8, 8)), axis=1)
    model = surface.fit((8, 8, 8), points, points.sum(axis=1) / 10, None, 30)
    left = np.diag(surface.covariance(model, np.concatenate([points[:5], [[7, 7, 7]]])))
    assert left.min() > -1e-9
    assert left[:5].max() <= left[5] + 1e-9
