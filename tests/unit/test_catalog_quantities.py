"""Text with units: exact values, every spelling of the table, and refusals that say what to write."""

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from effbench.catalog.quantities import parse, per, units
from effbench.model.unit import Unit


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("4.8 TB/s", 4.8e12, Unit.BYTE_PER_S),
        ("989.4 TFLOP/s", 989.4e12, Unit.FLOP_PER_S),
        ("1978.9 TOP/s", 1978.9e12, Unit.FLOP_PER_S),
        ("700 W", 700.0, Unit.WATT),
        ("1.83 GHz", 1.83e9, Unit.HERTZ),
        ("80 GB", 80e9, Unit.BYTE),
        ("143771 MiB", 143771 * 2**20, Unit.BYTE),
        ("0.85", 0.85, Unit.ONE),
        ("0", 0.0, Unit.ONE),
        ("1.5 1", 1.5, Unit.ONE),
        ("0.1 /s", 0.1, Unit.PER_S),
        ("3 1/s", 3.0, Unit.PER_S),
        ("400 Gbit/s", 50e9, Unit.BYTE_PER_S),
        ("10us", 1e-5, Unit.SECOND),
        ("2 min", 120.0, Unit.SECOND),
        ("1 kWh", 3.6e6, Unit.JOULE),
        ("0.07 J/token", 0.07, Unit.J_PER_TOKEN),
        ("1.4 TFLOP/J", 1.4e12, Unit.FLOP_PER_J),
        ("-5 degC", -5.0, Unit.CELSIUS),
        (" 3.0  TB/s ", 3e12, Unit.BYTE_PER_S),
        ("3e12 B/s", 3e12, Unit.BYTE_PER_S),
    ],
)
def test_a_quantity_is_read_in_base_units(text: str, value: float, unit: Unit) -> None:
    quantity = parse(text)
    assert quantity.value == pytest.approx(value, rel=1e-15)
    assert quantity.unit is unit


def test_a_decimal_prefix_gives_the_nearest_float() -> None:
    assert parse("10 us").value == 1e-05
    assert parse("989.4 TFLOP/s").value == 989.4e12


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("25 %", "write the fraction 0.25"),
        ("3 furlong", "unknown unit 'furlong'"),
        ("3 TW/s", "unknown unit"),
        ("3 kGiB", "unknown unit"),
        ("3 mbyte", "unknown unit"),
        ("fast", "not a figure"),
        ("", "not a figure"),
        ("1,5 W", "not a figure"),
        ("nan W", "not a figure"),
        ("inf", "not a figure"),
        ("1e400 W", "not a finite figure"),
        ("3 W W", "not a figure"),
    ],
)
def test_nonsense_is_refused_with_a_sentence(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse(text)


def test_a_number_that_is_no_text_is_refused() -> None:
    with pytest.raises(ValueError, match="in quotes"):
        parse(0.85)  # type: ignore[arg-type]


def test_an_unknown_unit_lists_the_table() -> None:
    with pytest.raises(ValueError) as caught:
        parse("3 bananas")
    assert units() in str(caught.value)


@given(st.floats(min_value=1e-6, max_value=1e6), st.sampled_from(["", "k", "M", "G", "T"]))
def test_a_prefix_only_scales(number: float, prefix: str) -> None:
    scale = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}[prefix]
    assert math.isclose(parse(f"{number!r} {prefix}B/s").value, number * scale, rel_tol=1e-12)


@given(st.text(max_size=30))
def test_any_text_is_either_a_quantity_or_a_value_error(text: str) -> None:
    try:
        assert math.isfinite(parse(text).value)
    except ValueError as error:
        assert str(error)


@pytest.mark.parametrize("read", [parse, per])
def test_a_text_longer_than_any_figure_is_refused_unread(read: Callable[[str], object]) -> None:
    """Found by fuzzing: 400 digits and a word took seconds, and ten times as many would have taken hours."""
    with pytest.raises(ValueError, match="longer than any figure with a unit: 500006 characters"):
        read("9" * 500_000 + " x y z")
