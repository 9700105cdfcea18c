"""A site's own figures: every mistake is told at its place with its fix, and what is not said stays absent."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from effbench.catalog.grid import grid, intensity
from effbench.catalog.quantities import per
from effbench.catalog.site import calibrated, load_site
from effbench.model.energy import Sensor
from effbench.model.error import CatalogError
from effbench.model.site import Given, Period, SiteFacts, Tariff

EXAMPLE = Path(__file__).parents[1] / "data" / "site.yaml"
GOOD = EXAMPLE.read_text(encoding="utf-8")
LEAST = "schema: effbench.site/1\nname: x\ncurrency: XTS\n"
FROM = 'date: "2026-06-30", source: "invented"'


@pytest.fixture
def load(tmp_path: Path) -> Any:
    def _load(text: str) -> SiteFacts:
        file = tmp_path / "s.yaml"
        file.write_text(text)
        return load_site(file)

    return _load


def problems(load: Any, text: str) -> list[str]:
    with pytest.raises(CatalogError) as caught:
        load(text)
    return [problem.split("s.yaml:", 1)[1] for problem in caught.value.problems]


def line_of(text: str) -> int:
    return next(n for n, row in enumerate(GOOD.splitlines(), 1) if text in row)


def test_the_example_is_read() -> None:
    site = load_site(EXAMPLE)
    assert site.pue is not None and site.pue.range.low == 1.25 and site.pue.cite == "1.25 (invented, 2026-06-30)"
    assert site.grid is not None and site.grid.intensity.low == pytest.approx(400.0)
    assert site.purchase is not None and site.purchase.price.range.high == 50000.0, "a price per node is shared by 4"
    assert site.tariff is not None and [(p.start_min, p.end_min) for p in site.tariff.periods] == [
        (0, 360),
        (360, 1320),
        (1320, 1440),
    ]
    assert site.node is not None and site.node.provisioned_w is not None and site.node.provisioned_w.low == 4000.0
    assert site.calibrations[0].offset_w == -2.0


def leaves(value: Any, where: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [where, *(found for name, item in inner for found in leaves(item, (*where, name)))]


@pytest.mark.parametrize("junk", [None, 3, [[]], {"x": 1}, "", "-1 /h"])
def test_junk_anywhere_is_a_message_and_never_a_traceback(load: Any, junk: Any) -> None:
    good = yaml.safe_load(GOOD)
    for where in leaves(good)[1:]:
        document = copy.deepcopy(good)
        parent = document
        for name in where[:-1]:
            parent = parent[name]
        parent[where[-1]] = junk
        try:
            load(json.dumps(document))  # which is YAML
        except CatalogError as error:
            assert all(re.match(r".*s\.yaml:\d+:\d+: .{12}", problem) for problem in error.problems), error.problems


def test_three_fields_are_enough_and_nothing_gets_a_default(load: Any) -> None:
    site = load(LEAST)
    absent = [f for f in site.__struct_fields__ if getattr(site, f) is None]
    assert len(absent) == 10 and site.calibrations == [] and site.recipe == ""


def test_the_digest_is_of_what_is_said(load: Any) -> None:
    assert load(GOOD).digest == load("# remark\n" + GOOD).digest != load(GOOD.replace('"1.25"', '"1.26"')).digest


@pytest.mark.parametrize(
    ("old", "new", "at", "expected"),
    [
        ('"1.25"', '"0.98"', "pue:", "0.98: PUE, the facility's energy over IT energy, is at least 1"),
        ('"1.25"', '"125 %"', "pue:", "percentages are not used"),
        ('"1.25"', "1.25", "pue:", "expected text, got 1.25"),
        ('utilisation: {value: "0.5"', 'utilisation: {value: "1.5"', "utilisation:", "1.5: utilisation is at most 1"),
        ('utilisation: {value: "0.5"', 'utilisation: {value: "0"', "utilisation:", "utilisation must be above 0"),
        ('availability: {value: "0.8"', 'availability: {value: "8"', "availability:", "availability is at most 1"),
        ('green_share: {value: "0.25"', 'green_share: {value: "25"', "green_share:", "green share is at most 1"),
        ('green_share: {value: "0.25"', 'green_share: {value: "-1"', "green_share:", "green share is at least 0"),
        ('"3.00 /h"', '"-3.00 /h"', "rent:", "a price is never negative"),
        ('"3.00 /h"', '"3.00 EUR/h"', "rent:", "is in EUR, and this site counts in XTS"),
        ('"3.00 /h"', '"3.00"', "rent:", 'write it as "2.35 XTS/h"'),
        ('"3.00 /h"', '"3.00 /day"', "rent:", 'write it as "2.35 XTS/h"'),
        ('"3.00 /h"', '"dear"', "rent:", "'dear' is not a figure"),
        ('"0.30 XTS/kWh"', '"-0.30 XTS/kWh"', "0.30 XTS/kWh", "a price is never negative"),
        ('"0.30 XTS/kWh"', '"0.30 XTS/h"', "0.30 XTS/kWh", 'write it as "0.25 XTS/kWh"'),
        ('"14.60 /kW/month"', '"14.60 /kW"', "demand_charge", 'write it as "12 XTS/kW/month"'),
        ('to: "22:00"', 'to: "21:00"', "periods:", "no price from 21:00 to 22:00; the periods must cover 24 hours"),
        ('to: "22:00"', 'to: "23:00"', 'from: "22:00"', "from 22:00 to 23:00 another period has a price already"),
        ('to: "22:00"', 'to: "06:00"', 'from: "06:00"', "a period has no length"),
        ('to: "22:00"', 'to: "24:30"', 'from: "06:00"', "'24:30' is no time of day"),
        ('to: "22:00"', 'to: "10 pm"', 'from: "06:00"', "'10 pm' is no time of day"),
        ('to: "22:00"', "to: 22:00", 'from: "06:00"', "base 60"),
        ('job_hours: "10"', 'job_hours: "25"', "job_hours", "the length of a job in hours is at most 24"),
        ("timezone: Europe/Nowhere", 'timezone: " "', "timezone", "the time zone is empty"),
        ('date: "2026-06-30"\n  source', 'date: "soon"\n  source', "source: invented", "'soon' is not a date"),
        ('rent: {value: "3.00 /h", date: "2026-06-30"', 'rent: {value: "3.00 /h"', "rent:", "'date' is missing"),
        (f"{FROM}}}\npurchase", 'date: "2026-06-30"}\npurchase', "rent:", "'source' is missing"),
        ('"3.00 /h", date: "2026-06-30"', '"3.00 /h", date: "2026-02-30"', "rent:", "'2026-02-30' is not a date"),
        ('"3.00 /h", date: "2026-06-30"', '"3.00 /h", date: "20260630"', "rent:", "'20260630' is not a date"),
        ('{low: "160000", high', '{low: "260000", high', "price: {low", "260000 is above the high end 200000"),
        ('{low: "160000", high: "200000",', '{low: "160000",', "price: {low", "either a value, or both low and high"),
        ('residual: {value: "0"', 'residual: {value: "170000"', "residual:", "is above the price"),
        ('life_years: {low: "4"', 'life_years: {low: "0"', "life_years", "a life in years is at least 0.1"),
        ("per: node", "per: rack", "per: node", "valid: accelerator, node"),
        ('"400 W"', '"-400 W"', "overhead", "at least 0 W"),
        ('"400 W"', '"400"', "overhead", "is not in watts"),
        ("overhead:", f'factor: {{value: "1.5", {FROM}}}\n  overhead:', "overhead:", "say the same thing twice"),
        ('overhead: {value: "400 W"', 'factor: {value: "0.9"', "overhead", "the node's power over its devices' is"),
        ("accelerators: 4", "accelerators: 0", "accelerators: 4", "at least 1 accelerator"),
        ('"0.400 kg/kWh"', '"400 kg/kWh"', "0.400 kg", "more than any grid has; is the unit right?"),
        ('"0.400 kg/kWh"', '"0.400 kg"', "0.400 kg", "is no carbon intensity"),
        ('"0.400 kg/kWh"', '"-0.4 kg/kWh"', "0.400 kg", "never negative"),
        ('gain: "1.05"', 'gain: "105"', "gain", "true over read, is at most 2"),
        ('uncertainty: "0.01"', 'uncertainty: "0"', "gain", "the uncertainty of a meter must be above 0"),
        ('offset: "-2 W"', 'offset: "-2"', "gain", "is not in watts"),
        ("currency: XTS", "currency: 100 XTS", "currency", "is no currency; write one word"),
        ("pue:", "peu:", "pue:", "unknown field 'peu'; did you mean pue?"),
        ("effbench.site/1", "effbench.site/9", "schema", "was written for a newer effbench"),
    ],
)  # fmt: skip
def test_each_mistake_is_told_at_its_line(load: Any, old: str, new: str, at: str, expected: str) -> None:
    assert old in GOOD
    number = line_of(at)
    found = problems(load, GOOD.replace(old, new, 1))
    told = [p for p in found if expected in p]
    assert told, found
    # A field inserted before shifts the line by one at most.
    assert abs(int(told[0].split(":")[0]) - number) <= 1, (told, number)


def test_all_mistakes_come_at_once(load: Any) -> None:
    text = GOOD
    for old, new in (
        ('"1.25"', '"0.9"'),
        ('"3.00 /h"', '"-1 /h"'),
        ('to: "22:00"', 'to: "20:00"'),
        ("per: node", "per: x"),
    ):
        text = text.replace(old, new, 1)
    assert len(problems(load, text)) == 4


@pytest.mark.parametrize(
    ("country", "expected"),
    [
        ("Germny", "did you mean Germany?"),
        ("DX", "DE (Germany)"),
        ("Atlantis", "is no country"),
        ('""', "is no country"),
    ],
)
def test_an_unknown_country_gets_the_nearest_ones(load: Any, country: str, expected: str) -> None:
    found = problems(load, f"{LEAST}grid: {{country: {country}}}\n")
    assert len(found) == 1 and found[0].startswith("4:17: ") and expected in found[0] and "0.381 kg/kWh" in found[0]


def test_norway_is_not_false(load: Any) -> None:

    assert any("true or false" in p for p in problems(load, f"{LEAST}grid: {{country: NO}}\n"))
    assert load(f'{LEAST}grid: {{country: "NO"}}\n').grid.country == "NO"


def test_a_country_brings_its_year_and_stays_assumed_and_the_own_figure_counts(load: Any) -> None:
    site = load(f"{LEAST}grid: {{country: DE}}\n")
    row = intensity("DEU")
    assert site.grid.intensity.low == row.intensity and site.grid.intensity.basis == "assumed"
    assert str(row.year) in site.grid.intensity.text and "CC BY 4.0" in site.grid.intensity.source
    own = load(f'{LEAST}grid: {{country: DE, intensity: {{value: "20 g/kWh", {FROM}}}}}\n')
    assert own.grid.intensity.low == 20.0 and own.grid.intensity.basis == "given"
    assert "needs a country or an intensity" in problems(load, f"{LEAST}grid: {{}}\n")[0]


def test_a_price_per_node_needs_the_node(load: Any) -> None:
    text = f"{LEAST}purchase:\n  per: node\n" + "".join(
        f'  {name}: {{value: "{value}", {FROM}}}\n'
        for name, value in (("price", 100), ("life_years", 4), ("residual", 0))
    )
    assert "5:8: a price per node needs `node: {accelerators: N}`" in problems(load, text)[0]


def test_a_tariff_is_flat_or_has_periods(load: Any) -> None:
    head = f'{LEAST}tariff:\n  timezone: UTC\n  date: "2026-06-30"\n  source: x\n'
    flat = load(head + '  flat: "250 /MWh"\n').tariff
    assert flat.flat and flat.periods == [Period(0, 1440, 0.25)]
    assert "either one flat price or periods" in problems(load, head)[0]
    assert "no price from 00:00 to 24:00" in problems(load, head + "  periods: []\n")[0]


def test_a_device_is_calibrated_once(load: Any) -> None:
    last = GOOD.splitlines()[-1]
    assert any("gpu0 is calibrated twice" in p for p in problems(load, GOOD + last + "\n"))


def sensor(key: str, scope: Any = "gpu", **changes: Any) -> Sensor:
    plain = Sensor(key, key.split(".")[0], "instant", scope, "W", "power_w", "a call")
    return msgspec.structs.replace(plain, **changes)


def test_a_calibration_reaches_its_device_by_key_or_uuid_and_nothing_else(load: Any) -> None:
    site = load(GOOD)
    cards = [sensor("gpu0.instant"), sensor("gpu0.hbm", "hbm"), sensor("gpu1.instant"), sensor("gpu0.x", absent="no")]
    done = calibrated(cards, site, {})
    assert [c.calibrated for c in done] == [True, False, False, False]
    assert (done[0].gain, done[0].offset_w, done[0].uncertainty) == (1.05, -2.0, 0.01)
    by_uuid = load(GOOD.replace("device: gpu0", "device: GPU-7"))
    assert [c.calibrated for c in calibrated(cards, by_uuid, {"gpu1": "GPU-7"})] == [False, False, True, False]
    named = load(GOOD.replace("device: gpu0", "device: gpu0, sensor: gpu0.hbm"))
    assert [c.calibrated for c in calibrated(cards, named, {})] == [False, True, False, False]


def test_the_grid_table_is_whole() -> None:
    table = grid()
    assert len(table.rows) > 200 and all(15 < row.intensity < 1500 and 2000 < row.year < 2026 for row in table.rows)
    codes = [row.code for row in table.rows] + [row.alpha3 for row in table.rows]
    assert len(set(codes)) == len(codes) and all(code.isupper() for code in codes)
    assert "CC BY 4.0" in table.source and "Our World in Data" in table.source and "Ember" in table.source
    for name in ("de", "DEU", " Germany "):
        assert intensity(name).code == "DE"


def test_figures_that_are_no_si_quantity() -> None:
    assert per("0.25 EUR/kWh") == (0.25, "EUR", "kWh") and per("12 /kW/month") == (12.0, "", "kW/month")
    for text in ("", "EUR 3", "1e999", "3 EUR per h", "5 %"):
        with pytest.raises(ValueError):
            per(text)


def test_structs_refuse_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="above high"):
        Given(2, 1, "", "", "")
    with pytest.raises(ValueError, match="not finite"):
        Given(float("nan"), 1, "", "", "")
    for periods in ([], [Period(0, 60, 1.0)], [Period(0, 1440, 1.0), Period(600, 1440, 1.0)]):
        with pytest.raises(ValueError, match="periods of a tariff"):
            Tariff("UTC", periods, "", "", False)
