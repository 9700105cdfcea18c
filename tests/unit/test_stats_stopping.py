"""The stop rule, reason by reason."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from effbench.stats.stopping import look


def asked(**changes):
    usual = {
        "rounds_done": 3,
        "rounds_min": 2,
        "rounds_max": 5,
        "relative_half_widths": {"a": 0.05},
        "targets": {"a": 0.02},
        "budget_left_s": 100.0,
        "round_s": 10.0,
    }
    return look(**{**usual, **changes})


def test_each_reason():
    assert asked() is None
    assert asked(relative_half_widths={"a": 0.02}) == "target"
    assert asked(rounds_done=5) == "rounds_max"
    assert asked(round_s=100.1) == "budget"
    assert asked(round_s=100.0) is None


def test_one_wide_trial_keeps_the_run_going():
    assert asked(relative_half_widths={"a": 0.01, "b": 0.03}, targets={"a": 0.02, "b": 0.02}) is None
    assert asked(relative_half_widths={"a": 0.01}, targets={"a": 0.02, "b": 0.02}) is None


def test_a_width_without_a_target_does_not_count_and_no_target_is_never_met():
    assert asked(relative_half_widths={"a": 0.01, "b": 9.0}) == "target"
    assert asked(relative_half_widths={}, targets={}) is None


def test_the_better_reason_comes_first():
    assert asked(rounds_done=5, relative_half_widths={"a": 0.0}, round_s=1e9) == "target"
    assert asked(rounds_done=5, round_s=1e9) == "rounds_max"


@given(st.integers(0, 3), st.floats(0, 1), st.floats(-10, 10), st.floats(0, 10))
def test_nothing_is_decided_before_the_least_number_of_rounds(done, width, left, needed):
    answer = look(done, 4, 6, {"a": width}, {"a": 1.0}, left, needed)
    assert answer is None


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_narrower_interval_never_prolongs_a_run(one, other):
    narrow, wide = sorted((one, other))
    if asked(relative_half_widths={"a": wide}) == "target":
        assert asked(relative_half_widths={"a": narrow}) == "target"


@pytest.mark.parametrize(
    "bad",
    [
        {"rounds_min": 0},
        {"rounds_min": 6},
        {"relative_half_widths": {"a": math.nan}},
        {"targets": {"a": -0.1}},
        {"round_s": math.nan},
        {"budget_left_s": math.nan},
    ],
)
def test_bad_input_is_refused(bad):
    with pytest.raises(ValueError):
        asked(**bad)
