"""Drift against scipy, and what counts as steady."""

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from effbench.stats.drift import POINTS_MAX, drift, steady

# A coarse grid of values makes ties likely.
series = st.lists(st.integers(1, 40).map(lambda n: n / 8), min_size=4, max_size=40)


@settings(deadline=None)
@given(series, st.sampled_from([0.9, 0.95]))
def test_it_agrees_with_scipy(xs, level):
    found = drift(xs, level=level)
    expected = scipy.stats.theilslopes(xs, alpha=level)
    scale = (len(xs) - 1) / np.median(xs)
    ours = (found.movement, found.low, found.high)
    theirs = (expected.slope * scale, expected.low_slope * scale, expected.high_slope * scale)
    assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-12)


@given(series, st.floats(0.01, 100))
def test_the_unit_does_not_matter(xs, scale):
    a, b = drift(xs), drift([x * scale for x in xs])
    assert (b.movement, b.low, b.high) == pytest.approx((a.movement, a.low, a.high), rel=1e-6, abs=1e-9)


def test_a_known_slope_despite_wild_points():
    t = np.linspace(0, 60, 61)
    x = 100 + 0.1 * t
    x[5::6] = 500
    assert drift(x, t).movement == pytest.approx(6 / np.median(x), rel=1e-6)
    assert drift(x[::-1]).movement < 0


def test_unevenly_spaced_times_count():
    t = np.array([0.0, 1.0, 2.0, 10.0, 20.0])
    assert drift(10 + t, t).movement == pytest.approx(20 / 12)


def test_a_long_series_is_thinned_and_keeps_its_slope():
    n = POINTS_MAX * 7 + 3
    x = 1 + np.arange(n) / n + 0.05 * np.random.default_rng(1).standard_normal(n)
    assert drift(x).movement == pytest.approx(1 / np.median(x), rel=0.02)


def test_what_is_steady():
    rng = np.random.default_rng(2)
    noise = 0.001 * rng.standard_normal(10)
    assert steady(1 + noise)
    assert steady([1.0] * 10)
    assert not steady(1 + noise + 0.01 * np.arange(10))
    assert not steady((1 + noise)[:9])
    assert not steady([0.0] * 10)


def test_only_the_last_blocks_count():
    warming = np.linspace(0.5, 1, 30)
    assert not steady(warming)
    assert steady([*warming, *[1.0, 1.0001] * 5])


def test_both_halves_of_the_rule_are_needed():
    # A clear trend too small to matter, and a large movement without a clear trend.
    assert not steady(1 + 1e-5 * np.arange(10))
    wild = 1 + np.array([0.0, 0.4, -0.3, 0.2, -0.4, 0.3, 0.5, -0.1, 0.4, 0.1])
    found = drift(wild)
    assert found.low < 0 < found.high and abs(found.movement) > 0.005
    assert not steady(wild)


@pytest.mark.parametrize(
    ("xs", "times"),
    [
        ([], None),
        ([1.0], None),
        ([1.0, math.nan], None),
        ([1.0, 2.0], [1.0]),
        ([1.0, 2.0], [1.0, 1.0]),
        ([-1, 1], None),
    ],
)
def test_bad_series_are_refused(xs, times):
    with pytest.raises(ValueError):
        drift(xs, times)


def test_too_few_blocks_are_refused():
    with pytest.raises(ValueError, match="3 blocks"):
        steady([1.0] * 10, blocks=2)
