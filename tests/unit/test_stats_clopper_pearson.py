"""The exact interval of a proportion against scipy, at its ends, and by what it promises."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, binom

from effbench.stats.clopper_pearson import beta_cdf, clopper_pearson


@given(st.integers(1, 5000), st.floats(0, 1), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_agrees_with_the_beta_quantiles_of_scipy(n: int, share: float, level: float) -> None:
    k = round(share * n)
    low, high = clopper_pearson(k, n, level)
    tail = (1 - level) / 2
    assert low == pytest.approx(beta.ppf(tail, k, n - k + 1) if k else 0.0, rel=1e-9, abs=1e-12)
    assert high == pytest.approx(beta.ppf(1 - tail, k + 1, n - k) if k < n else 1.0, rel=1e-9, abs=1e-12)


def test_the_distribution_agrees_with_scipy() -> None:
    for a, b in ((0.5, 0.5), (1, 1), (3, 40), (300, 2), (2000, 2500)):
        for x in (0.0, 1e-6, 0.01, 0.3, 0.5, 0.9, 0.999, 1.0):
            assert beta_cdf(x, a, b) == pytest.approx(beta.cdf(x, a, b), rel=1e-9, abs=1e-14)


@pytest.mark.parametrize("n", [10, 300])
def test_holds_the_truth_as_often_as_it_says(n: int) -> None:
    """Exact over all outcomes: the probability that the interval holds the truth is never below the level."""
    ends = [clopper_pearson(k, n) for k in range(n + 1)]
    for truth in (0.003, 0.01, 0.2, 0.5, 0.97, 0.999):
        held = math.fsum(binom.pmf(k, n, truth) for k, (low, high) in enumerate(ends) if low <= truth <= high)
        assert held >= 0.95


def test_ends_and_nonsense() -> None:
    assert clopper_pearson(0, 300)[0] == 0.0 and clopper_pearson(300, 300)[1] == 1.0
    assert clopper_pearson(300, 300)[0] == pytest.approx(0.025 ** (1 / 300))
    for k, n, level in ((1, 0, 0.95), (-1, 5, 0.95), (6, 5, 0.95), (1, 5, 1.0), (1, 5, math.nan)):
        with pytest.raises(ValueError, match=r"proportion|level"):
            clopper_pearson(k, n, level)
