"""site.yaml to `SiteFacts`: every mistake at once, each at its line, and what a site does not say stays absent."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from effbench.catalog.grid import grid as grid_table
from effbench.catalog.grid import intensity
from effbench.catalog.shape import Mistake, conclude, open_as, place
from effbench.catalog.site_document import SiteDocument
from effbench.catalog.site_figures import dated, figure, grams_per_kwh, money, number, plain, share, watts
from effbench.catalog.site_tariff import tariff
from effbench.catalog.yaml import Where
from effbench.model.digest import digest
from effbench.model.energy import Sensor
from effbench.model.site import Calibration, Given, GridFacts, NodeFacts, Purchase, Rent, SiteFacts

__all__ = ["SCHEMA", "calibrated", "load_site"]

SCHEMA: Literal["effbench.site/1"] = "effbench.site/1"

_LABEL = re.compile(r"[^\s/%\d+\-.]{1,12}")
# A gain beyond a factor of two is a meter of something else: the worst on-board sensor seen is off by 11 %
# (arXiv 2312.02741).
_GAIN = (0.5, 2.0)


def load_site(path: Path | str) -> SiteFacts:
    """Read and check a site.yaml.

    Raises:
        CatalogError: every mistake in the document, one line each: `file:line:column: what is wrong and how to fix it`.
    """
    document, shaped, problems = open_as(str(path), SiteDocument, SCHEMA)
    found: list[Mistake] = []
    facts = _facts(document.value, found)
    own = place(document, found)
    places = {_place(problem) for problem in own}
    # A struct's own sentence about a place gives way to the more exact one found here.
    conclude(sorted({*own, *(p for p in problems if _place(p) not in places)}, key=_place))
    if shaped is None:  # pragma: no cover - conclude has raised
        raise AssertionError("a site without problems was not decoded")
    return msgspec.structs.replace(facts, digest=digest(shaped))


def _place(problem: str) -> tuple[int, int]:
    line, column = re.findall(r":(\d+):(\d+): ", problem)[0]
    return int(line), int(column)


def _facts(raw: Mapping[str, Any], found: list[Mistake]) -> SiteFacts:
    """Build the facts of what can be read; what cannot is in `found`, and the facts are then thrown away."""
    currency = _currency(raw.get("currency"), found)
    hourly = money(currency, {"h": 1.0}, f"2.35 {currency}/h")
    node = _node(raw.get("node"), found)
    name = raw.get("name")
    if isinstance(name, str) and not name.strip():
        found.append(Mistake(("name",), "the name is empty; the report says by it whose figures these are"))
    rent = figure(raw.get("rent"), ("rent",), hourly, found)
    recipe = raw.get("recipe")
    return SiteFacts(
        schema=SCHEMA,
        name=str(name),
        digest="",
        currency=currency,
        # ISO/IEC 30134-2: the whole facility over its IT equipment, which it contains.
        pue=figure(raw.get("pue"), ("pue",), plain(1.0, None, "PUE, the facility's energy over IT energy,"), found),
        utilisation=figure(raw.get("utilisation"), ("utilisation",), share("utilisation"), found),
        availability=figure(raw.get("availability"), ("availability",), share("availability"), found),
        green_share=figure(raw.get("green_share"), ("green_share",), share("green share", zero=True), found),
        grid=_grid(raw.get("grid"), found),
        node=node,
        rent=Rent(rent) if rent else None,
        purchase=_purchase(raw.get("purchase"), currency, node, found),
        other_per_hour=figure(raw.get("other"), ("other",), hourly, found),
        tariff=tariff(raw.get("tariff"), currency, found),
        recipe=recipe if isinstance(recipe, str) else "",
        calibrations=_calibrations(raw.get("sensors"), found),
    )


def _currency(raw: Any, found: list[Mistake]) -> str:
    if isinstance(raw, str) and _LABEL.fullmatch(raw) is None:
        found.append(Mistake(("currency",), f"{raw!r} is no currency; write one word without digits, as EUR"))
    return raw if isinstance(raw, str) else ""


def _grid(raw: Any, found: list[Mistake]) -> GridFacts | None:
    if not isinstance(raw, dict):
        return None
    own = figure(raw.get("intensity"), ("grid", "intensity"), grams_per_kwh, found)
    country = raw.get("country")
    if not isinstance(country, str):
        return GridFacts(own) if own else None
    if own is not None:
        return GridFacts(own, country)  # the site's own figure needs no row of the table
    try:
        row = intensity(country)
    except ValueError as error:
        found.append(Mistake(("grid", "country"), str(error)))
        return None
    text = f"{row.intensity:g} g/kWh, mean of {row.name} in {row.year}"
    return GridFacts(Given(row.intensity, row.intensity, text, str(row.year), grid_table().source, "assumed"), row.code)


def _node(raw: Any, found: list[Mistake]) -> NodeFacts | None:
    if not isinstance(raw, dict):
        return None
    count = raw.get("accelerators")
    if not isinstance(count, int) or isinstance(count, bool):
        return None
    if count < 1:
        found.append(Mistake(("node", "accelerators"), "a node has at least 1 accelerator; the watts are shared by it"))
    at: Where = ("node",)
    overhead = figure(raw.get("overhead"), (*at, "overhead"), watts(0, "the power beside the accelerators"), found)
    factor = figure(raw.get("factor"), (*at, "factor"), plain(1, None, "the node's power over its devices'"), found)
    power = figure(raw.get("provisioned_power"), (*at, "provisioned_power"), watts(1, "provisioned power"), found)
    if "overhead" in raw and "factor" in raw:
        text = "overhead and factor say the same thing twice; keep the one that was measured"
        found.append(Mistake((*at, "factor"), text, key=True))
    return NodeFacts(count, overhead, factor, power)


def _purchase(raw: Any, currency: str, node: NodeFacts | None, found: list[Mistake]) -> Purchase | None:
    if not isinstance(raw, dict):
        return None
    at: Where = ("purchase",)
    paid = money(currency, {"": 1.0}, f"30000 {currency}")
    price = figure(raw.get("price"), (*at, "price"), paid, found)
    residual = figure(raw.get("residual"), (*at, "residual"), paid, found)
    life = figure(raw.get("life_years"), (*at, "life_years"), plain(0.1, 100, "a life in years"), found)
    capital = figure(raw.get("cost_of_capital"), (*at, "cost_of_capital"), share("cost of capital a year", True), found)
    if price and residual and residual.high > price.low:
        found.append(Mistake((*at, "residual"), f"what is left, {residual.text}, is above the price, {price.text}"))
    units = 1
    if raw.get("per") == "node":
        if node is None:
            found.append(Mistake((*at, "per"), "a price per node needs `node: {accelerators: N}` to be shared by"))
        units = max(node.accelerators, 1) if node else 1
    if price is None or residual is None or life is None:
        return None
    return Purchase(_shared(price, units), life, _shared(residual, units), capital)


def _shared(given: Given, units: int) -> Given:
    if units == 1:
        return given
    text = f"{given.text} for {units} accelerators"
    return msgspec.structs.replace(given, low=given.low / units, high=given.high / units, text=text)


def _calibrations(raw: Any, found: list[Mistake]) -> list[Calibration]:
    rows: list[Calibration] = []
    seen: set[tuple[str, str]] = set()
    for index, item in enumerate(raw if isinstance(raw, list) else []):
        where: Where = ("sensors", index)
        if not isinstance(item, dict):
            continue
        dated(item, where, found)
        gain = number(item.get("gain"), (*where, "gain"), plain(*_GAIN, "the gain, true over read,"), found)
        offset = number(item.get("offset", "0 W"), (*where, "offset"), _offset, found)
        doubt = number(item.get("uncertainty"), (*where, "uncertainty"), share("the uncertainty of a meter"), found)
        device, sensor = str(item.get("device", "")), str(item.get("sensor", ""))
        if not device.strip() and "device" in item:
            found.append(Mistake((*where, "device"), "the device is empty; write its key (gpu0) or its UUID"))
        if (device, sensor) in seen:
            found.append(Mistake(where, f"{device} {sensor}".rstrip() + " is calibrated twice; keep the newer one"))
        seen.add((device, sensor))
        if gain is not None and offset is not None and doubt is not None:
            texts = str(item.get("date", "")), str(item.get("source", ""))
            rows.append(Calibration(device, gain, offset, doubt, texts[0], texts[1], sensor))
    return rows


def _offset(text: str) -> float:
    """Watts of either sign: a reading may be too high or too low by a constant."""
    return watts(0, "an offset")(text.strip().removeprefix("-")) * (-1 if text.strip().startswith("-") else 1)


def calibrated(sensors: Sequence[Sensor], facts: SiteFacts, uuids: Mapping[str, str]) -> list[Sensor]:
    """Return the cards with the site's gains, offsets and uncertainties on those that a calibration is meant for.

    Args:
        sensors: cards of all devices. uuids: UUID by inventory key, so that a swapped card keeps its calibration.
        facts: the site; a calibration with `sensor` goes before one for the whole device. Absent sensors stay as they
            are, and so do HBM and module sensors unless named: a meter on the board saw another thing than they do.
    """
    return [_calibrate(sensor, facts.calibrations, uuids) for sensor in sensors]


def _calibrate(sensor: Sensor, rows: Sequence[Calibration], uuids: Mapping[str, str]) -> Sensor:
    names = {sensor.device, uuids.get(sensor.device, sensor.device)}
    mine = [row for row in rows if row.device in names]
    named = [row for row in mine if row.sensor == sensor.key]
    whole = [row for row in mine if not row.sensor and sensor.scope in ("gpu", "package", "node")]
    chosen = next(iter([*named, *whole]), None)
    if chosen is None or sensor.absent:
        return sensor
    return msgspec.structs.replace(
        sensor,
        gain=chosen.gain,
        offset_w=chosen.offset_w,
        uncertainty=chosen.uncertainty,
        uncertainty_source=f"calibrated by the site: {chosen.source}, {chosen.date}",
        calibrated=True,
    )
