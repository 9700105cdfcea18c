"""Comparison of two runs: noise never condemns, a real slowdown is seen, and nothing is claimed beyond resolution."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from effbench.stats.compare import Side, compare
from effbench.stats.interval import estimate

GPU, CPU = {"margin": 0.03, "tau": 0.015}, {"margin": 0.10, "tau": 0.05}
SWAPPED = {"worse": "better", "better": "worse", "same": "same", "undecided": "undecided"}


def side(value, half=0.0, rounds=3, **more):
    return Side(value, value * (1 - half), value * (1 + half), rounds, **more)


def inside(block, tau, rounds):
    """The relative half-width that a record's interval has."""
    return math.hypot(block, 2 * tau / math.sqrt(rounds))


sides = st.builds(side, st.floats(0.5, 2), st.floats(0, 0.3), st.integers(1, 6))


@given(sides, sides, st.sampled_from([GPU, CPU]))
def test_swapping_the_sides_swaps_the_outcome(a, b, kind):
    there, back = compare(a, b, "higher", **kind), compare(b, a, "higher", **kind)
    assert back.outcome == SWAPPED[there.outcome]
    assert back.ratio == pytest.approx(1 / there.ratio) and back.low == pytest.approx(1 / there.high)
    assert compare(a, b, "lower", **kind).outcome == SWAPPED[there.outcome]
    assert there.low <= there.ratio <= there.high


@pytest.mark.parametrize("kind", [GPU, CPU])
def test_a_30_percent_slowdown_is_worse(kind):
    half = inside(0.02, kind["tau"], 3)
    assert compare(side(1.0, half), side(1.3, half), "lower", **kind).outcome == "worse"
    assert compare(side(1.0, half), side(0.7, half), "higher", **kind).outcome == "worse"
    assert compare(side(1.0, half), side(1.3, half), "higher", **kind).outcome == "better"


@pytest.mark.parametrize("kind", [GPU, CPU])
@pytest.mark.parametrize("records", [1, 4])
def test_two_runs_of_one_node_are_never_worse_by_noise(kind, records):
    rng = np.random.default_rng(records)

    def record():
        day = 1 + kind["tau"] * rng.standard_normal()
        rounds = day * (1 + 0.02 * rng.standard_normal((3, 20))) * (1 + kind["tau"] / 2 * rng.standard_normal((3, 1)))
        found = estimate(list(np.maximum(rounds, 0.01)), kind["tau"])
        return Side(found.center, found.low, found.high, 3, found.block_half)

    outcomes = []
    for _ in range(150):
        a, b = [record() for _ in range(records)], [record() for _ in range(records)]
        outcomes.append(compare(a, b, "lower", **kind).outcome)
    assert set(outcomes) <= {"same", "undecided"}


def test_the_half_width_takes_each_spread_once():
    block, tau = 0.02, 0.015
    found = compare(side(1.0, inside(block, tau, 3)), side(1.0, inside(block, tau, 3)), "lower", 0.03, tau)
    expected = math.sqrt(2 * block**2 + 2 * (2 * tau) ** 2)
    assert found.half == pytest.approx(expected)
    assert found.method == "block+tau(assumed)"
    told = compare(side(1.0, 0.4, 8, block_half=block), side(1.0, 0.4, 8, block_half=block), "lower", 0.03, tau)
    assert told.half == pytest.approx(expected)
    # From four rounds on without that figure the estimated part stays in.
    assert compare(side(1.0, 0.05, 8), side(1.0, 0.05, 8), "lower", 0.03, tau).half > expected


def test_a_rates_bent_interval_holds_the_same_half():
    block, tau = 0.02, 0.015
    half = inside(block, tau, 2)
    rate = Side(1.0, 1 / (1 + half), 1 / (1 - half), 2)
    as_rate, as_time = (compare(s, s, "higher", 0.03, tau).half for s in (rate, side(1.0, half, 2)))
    assert as_rate == pytest.approx(as_time)


def test_same_needs_the_whole_interval_within_the_margin():
    assert compare(side(1.0), side(1.0), "lower", 0.10, 0.01).outcome == "same"
    single = compare(side(1.0), side(1.0), "lower", **GPU)
    assert (single.outcome, single.same_possible) == ("undecided", False)


def test_resolution_is_where_worse_begins():
    found = compare(side(1.0), side(1.0), "lower", **CPU)
    edge = 1 + found.resolution
    assert compare(side(1.0), side(edge * 1.001), "lower", **CPU).outcome == "worse"
    assert compare(side(1.0), side(edge * 0.999), "lower", **CPU).outcome == "undecided"


def test_repeated_records_replace_the_assumption():
    a = [side(x) for x in (1.000, 1.002, 0.999)]
    b = [side(x) for x in (1.001, 1.000, 1.002)]
    found = compare(a, b, "lower", 0.03, 0.5)
    assert (found.outcome, found.method) == ("same", "block+tau")
    assert compare(a[:2], b[:2], "lower", 0.03, 0.5).method == "block+tau(assumed)"


def test_more_records_narrow_the_interval():
    one = compare(side(1.0), side(1.0), "lower", **GPU)
    two = compare([side(1.0)] * 2, [side(1.0)] * 2, "lower", **GPU)
    assert two.half == pytest.approx(one.half / math.sqrt(2))


@pytest.mark.parametrize(
    ("a", "b", "margin", "tau"),
    [
        ([], side(1.0), 0.1, 0.1),
        (side(0.0), side(1.0), 0.1, 0.1),
        (side(1.0), Side(1.0, 1.1, 1.2, 3), 0.1, 0.1),
        (side(1.0), Side(1.0, 0.9, math.inf, 3), 0.1, 0.1),
        (side(1.0, rounds=0), side(1.0), 0.1, 0.1),
        (side(1.0), side(1.0), -0.1, 0.1),
        (side(1.0), side(1.0), 0.1, math.nan),
    ],
)
def test_bad_input_is_refused(a, b, margin, tau):
    with pytest.raises(ValueError):
        compare(a, b, "lower", margin, tau)
