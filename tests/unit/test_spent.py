"""Money and carbon of a measured energy, against sums done by hand."""

from pathlib import Path

import msgspec
import pytest

from effbench.catalog.site import load_site
from effbench.model.energy import Energy
from effbench.model.quantity import Interval, Quantity
from effbench.model.unit import Unit
from effbench.score.spent import spent

SITE = load_site(Path(__file__).parents[1] / "data" / "site.yaml")
KWH = 3.6e6
MEASURED = Energy(
    "gpu0",
    "valid",
    energy=Quantity(2 * KWH, Unit.JOULE),
    energy_interval=Interval(1.8 * KWH, 2.2 * KWH),
)


def test_a_range_holds_the_interval_the_pue_and_every_price_of_the_day() -> None:
    electricity, carbon = spent(MEASURED, SITE)
    assert (electricity.low, electricity.high) == pytest.approx((1.8 * 1.25 * 0.15, 2.2 * 1.25 * 0.30))
    assert electricity.unit == "XTS"
    assert (carbon.low, carbon.high) == pytest.approx((1.8 * 1.25 * 400, 2.2 * 1.25 * 400))
    assert "PUE 1.25" in electricity.made_of and "0.15 to 0.3 per kWh" in electricity.made_of
    assert "location-based" in carbon.made_of and "invented" in carbon.made_of


def test_without_a_pue_it_is_the_devices_own_and_says_so() -> None:
    electricity, _ = spent(MEASURED, msgspec.structs.replace(SITE, pue=None))
    assert (electricity.low, electricity.high) == pytest.approx((1.8 * 0.15, 2.2 * 0.30))
    assert "no PUE is given" in electricity.made_of


def test_what_the_site_does_not_give_is_left_out() -> None:
    assert spent(MEASURED, msgspec.structs.replace(SITE, tariff=None, grid=None)) == []


def test_an_absent_energy_costs_nothing_that_is_known() -> None:
    assert spent(Energy("gpu0", "absent", "no sensor"), SITE) == []
