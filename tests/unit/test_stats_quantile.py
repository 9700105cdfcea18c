"""Quantiles against scipy, and what they refuse."""

import math

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from effbench.stats.quantile import (
    mad,
    median,
    median_inflation,
    normal_quantile,
    quantile,
    student_quantile,
)

numbers = st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=1, max_size=60)


@given(numbers, st.floats(0, 1))
def test_quantiles_agree_with_scipy(xs, q):
    expected = scipy.stats.mstats.mquantiles(xs, [q], alphap=1, betap=1)[0]
    assert quantile(xs, q) == pytest.approx(expected, rel=1e-9, abs=1e-6)
    assert median(xs) == pytest.approx(quantile(xs, 0.5), rel=1e-12, abs=1e-9)


@given(numbers)
def test_mad_agrees_with_scipy(xs):
    assert mad(xs) == pytest.approx(scipy.stats.median_abs_deviation(xs), rel=1e-12, abs=1e-12)


@given(numbers, st.floats(0, 1), st.floats(0, 1))
def test_a_quantile_rises_with_its_share(xs, p, q):
    # Interpolation may round in the last digit.
    assert quantile(xs, min(p, q)) <= quantile(xs, max(p, q)) + 1e-9 * max(map(abs, xs))


@pytest.mark.parametrize("df", [1, 2, 3, 4, 5, 8, 31, 199, 200, 1000])
@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.999])
def test_student_agrees_with_scipy(df, level):
    assert student_quantile(level, df) == pytest.approx(scipy.stats.t.ppf((1 + level) / 2, df), rel=1e-6)
    assert normal_quantile(level) == pytest.approx(scipy.stats.norm.ppf((1 + level) / 2), rel=1e-9)


@pytest.mark.parametrize("n", [3, 5, 7, 9])
def test_the_medians_loss_is_the_integral_over_its_density(n):
    normal, k = scipy.stats.norm, n // 2
    ways = math.comb(n, k) * (n - k)

    def moment(x):
        return x * x * normal.pdf(x) * normal.cdf(x) ** k * normal.sf(x) ** k * ways

    assert median_inflation(n) == pytest.approx(n * scipy.integrate.quad(moment, -9, 9)[0], abs=1e-4)


@pytest.mark.parametrize("n", [2, 4, 6, 8, 10, 30])
def test_the_medians_loss_by_simulation(n):
    draws = np.random.default_rng(n).standard_normal((200_000, n))
    # 30 takes the limit, which is a little on the wide side.
    assert median_inflation(n) == pytest.approx(n * np.median(draws, axis=1).var(), rel=0.06 if n == 30 else 0.015)


@pytest.mark.parametrize("bad", [[], [math.nan], [1.0, math.inf], [[1.0, 2.0]]])
@pytest.mark.parametrize("function", [median, mad, lambda xs: quantile(xs, 0.5)])
def test_nothing_comes_of_nothing(function, bad):
    with pytest.raises(ValueError):
        function(bad)


def test_bad_shares_levels_and_counts_are_refused():
    with pytest.raises(ValueError, match="between 0 and 1"):
        quantile([1.0], 1.5)
    with pytest.raises(ValueError, match="level"):
        normal_quantile(1.0)
    with pytest.raises(ValueError, match="degree"):
        student_quantile(0.95, 0)
    with pytest.raises(ValueError, match="at least one"):
        median_inflation(0)
