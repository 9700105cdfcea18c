"""Figures for people: prefixes, units, and only the digits that the interval supports."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from effbench.model.quantity import Interval
from effbench.model.unit import Unit
from effbench.report import format


@pytest.mark.parametrize(
    ("value", "unit", "key", "text"),
    [
        (989.4e12, "flop/s", "", "989 TFLOP/s"),
        (999.9e12, "flop/s", "", "1.00 PFLOP/s"),
        (4.8e12, "byte/s", "", "4.80 TB/s"),
        (150_754_820_096, "byte", "", "140.4 GiB"),
        (512, "byte", "", "512 B"),
        (0.00118, "s", "", "1.18 ms"),
        (5.9e-6, "s", "", "5.90 µs"),
        (58_632, "token/s", "", "58,632 tokens/s"),
        (0.803, "1", "train.step.mfu", "80.3 %"),
        (0.803, "1", "compute.gemm.bf16.fraction_of_rated_peak", "80.3 %"),
        (3.0, "1", "health.wrong_results", "3"),
        (700, "W", "", "700 W"),
        (1.83e9, "Hz", "", "1.83 GHz"),
        (67, "degC", "", "67.0 °C"),
        (0, "byte/s", "", "0 B/s"),
        (1.4e-4, "J/token", "", "140 µJ/token"),
        (1.1e9, "flop/J", "", "1.10 GFLOP/J"),
    ],
)
def test_quantity(value: float, unit: str, key: str, text: str) -> None:
    assert format.quantity(value, unit, key) == text


def test_every_unit_has_a_symbol() -> None:
    assert set(format.SYMBOLS) == {unit.value for unit in Unit}


@pytest.mark.parametrize(
    ("value", "half", "text"),
    [
        (1.234e12, 0.04e12, "1.23 ± 0.04 TFLOP/s"),
        (794.5e12, 1.23e12, "794.5 ± 1.2 TFLOP/s"),
        (794.5e12, 38e12, "794 ± 38 TFLOP/s"),
        (794.512345e12, 1e6, "794.512 ± <0.001 TFLOP/s"),
        (100e9, 0, "100 GFLOP/s"),
    ],
)
def test_digits_follow_the_interval(value: float, half: float, text: str) -> None:
    assert format.measured(value, "flop/s", Interval(value - half, value + half)) == text


def test_a_lopsided_interval_shows_both_ends() -> None:
    assert format.measured(0.5, "1", Interval(0.3, 0.52), "train.step.mfu") == "50 (30 – 52) %"


@given(st.floats(1e-9, 1e18), st.floats(1e-5, 0.4))
def test_rounding_stays_within_the_interval(value: float, relative: float) -> None:
    half = value * relative
    figure = format.written(value, "flop/s", Interval(value - half, value + half))
    factor = {"": 1.0, "p": 1e-12, "n": 1e-9, "µ": 1e-6, "m": 1e-3, "k": 1e3} | dict(
        zip("MGTPE", (1e6, 1e9, 1e12, 1e15, 1e18), strict=True)
    )
    shown = float(figure.number.replace(",", "")) * factor[figure.unit.removesuffix("FLOP/s")]
    assert abs(shown - value) <= half * 0.51
    assert len(re.sub(r"[^0-9]", "", figure.number).lstrip("0")) <= 7


@given(st.floats(-1e300, 1e300), st.sampled_from([unit.value for unit in Unit]))
def test_any_finite_figure_can_be_written(value: float, unit: str) -> None:
    assert format.quantity(value, unit)
    assert "nan" not in format.quantity(value, unit, "train.step.mfu")


@pytest.mark.parametrize(
    ("seconds", "text"), [(4.32, "4.32 s"), (119.9, "120 s"), (271.4, "4 min 31 s"), (7260, "2 h 1 min"), (0, "0 s")]
)
def test_duration(seconds: float, text: str) -> None:
    assert format.duration(seconds) == text


def test_signed_and_relative_shares() -> None:
    assert format.points(-0.041) == "−4.1 %"
    assert format.points(0.203) == "+20.3 %"
    assert format.points(None) == "–" and format.points(3e-5) == "±0 %"
    assert format.percent(None) == "–"
    assert format.relative(Interval(99, 101), 100) == "± 1.0 %"
    assert format.percent_range(0.939, 0.95) == "93.9 – 95.0 %"


def test_bars_have_eighths_or_hashes() -> None:
    assert format.bar(0.5, 4) == "██"
    assert format.bar(0.53125, 4) == "██▏"
    assert format.bar(1.7, 4) == "████"
    assert format.bar(0.5, 4, unicode=False) == "##"


def test_ascii_keeps_the_meaning() -> None:
    assert format.to_ascii("5.90 ± 0.04 µs, ≥ 75 %") == "5.90 +/- 0.04 us, >= 75 %"


def test_stamps_and_counts() -> None:
    assert format.when("2026-11-21T14:03:11Z") == "2026-11-21 14:03 UTC"
    assert format.when("yesterday") == "yesterday"
    assert [format.count(n, "trial") for n in (0, 1, 2)] == ["no trials", "1 trial", "2 trials"]


def test_sentences_drop_what_the_heading_says() -> None:
    assert format.sentence("a.b is absent: not measured", "a.b is ") == "Absent: not measured."
    assert format.sentence("a.b (or c.d) is absent", "a.b is ") == "a.b (or c.d) is absent."
    assert format.sentence("Done!") == "Done!"
    assert format.sentence("") == ""


def test_parameters_leave_out_what_is_open_or_off() -> None:
    known = {"config": "4b", "batch": 8, "bytes": 2**28, "graph": True, "compile": False, "dtype": None, "variant": ""}
    assert format.params(known) == "config 4b, batch 8, bytes 256.0 MiB, graph"
