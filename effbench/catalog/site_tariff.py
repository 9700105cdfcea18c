"""The tariff of a site.yaml: periods of the day that must cover 24 hours once, none twice."""

import re
from collections.abc import Sequence
from typing import Any

from effbench.catalog.shape import Mistake
from effbench.catalog.site_figures import dated, money, number, plain
from effbench.catalog.yaml import Where
from effbench.model.site import DAY_MINUTES, Period, Tariff

__all__ = ["tariff"]

_CLOCK = re.compile(r"([01]\d|2[0-4]):([0-5]\d)")
_ENERGY = {"kWh": 1.0, "MWh": 1e3}
_DEMAND = {"kW/month": 1.0, "MW/month": 1e3}
_AT: Where = ("tariff",)


def tariff(raw: Any, currency: str, found: list[Mistake]) -> Tariff | None:
    """Read the tariff; every mistake goes to `found`, and the answer is then None."""
    if not isinstance(raw, dict):
        return None
    before = len(found)
    dated(raw, _AT, found)
    timezone = raw.get("timezone")
    if isinstance(timezone, str) and not timezone.strip():
        found.append(Mistake((*_AT, "timezone"), "the time zone is empty; name the one of the hours, as Europe/Berlin"))
    price = money(currency, _ENERGY, f"0.25 {currency}/kWh")
    flat = number(raw.get("flat"), (*_AT, "flat"), price, found)
    periods = [Period(0, DAY_MINUTES, flat)] if flat is not None else _periods(raw.get("periods"), currency, found)
    read = money(currency, _DEMAND, f"12 {currency}/kW/month")
    demand = number(raw.get("demand_charge"), (*_AT, "demand_charge"), read, found)
    hours = number(raw.get("job_hours"), (*_AT, "job_hours"), plain(0.25, 24, "the length of a job in hours"), found)
    if len(found) > before or not periods:
        return None
    texts = (str(raw.get("timezone")), str(raw.get("date")), str(raw.get("source")))
    return Tariff(texts[0], periods, texts[1], texts[2], flat is not None, demand, hours)


def _periods(raw: Any, currency: str, found: list[Mistake]) -> list[Period]:
    """The periods in the order of the day, cut at midnight; empty when one of them cannot be read."""
    if not isinstance(raw, list):
        return []
    price = money(currency, _ENERGY, f"0.25 {currency}/kWh")
    pieces: list[tuple[Period, int]] = []
    sound = True
    for index, item in enumerate(raw):
        where: Where = (*_AT, "periods", index)
        if not isinstance(item, dict):
            return []
        start = number(item.get("from"), (*where, "from"), _minutes, found)
        end = number(item.get("to"), (*where, "to"), _minutes, found)
        paid = number(item.get("price"), (*where, "price"), price, found)
        if start is None or end is None or paid is None:
            sound = False
        elif start in (end, DAY_MINUTES):
            found.append(Mistake(where, "a period has no length; all day is `flat`, or from 00:00 to 24:00"))
            sound = False
        else:
            pieces += [(piece, index) for piece in _cut(int(start), int(end), paid)]
    if not sound:
        return []
    pieces.sort(key=lambda p: (p[0].start_min, p[0].end_min))
    _complete(pieces, found)
    return [piece for piece, _ in pieces]


def _cut(start: int, end: int, price: float) -> list[Period]:
    """One period, or two when it runs over midnight."""
    if start < end:
        return [Period(start, end, price)]
    return [Period(start, DAY_MINUTES, price), *([Period(0, end, price)] if end else [])]


def _complete(pieces: Sequence[tuple[Period, int]], found: list[Mistake]) -> None:
    """Every minute of the day belongs to one period: name each gap and each overlap."""
    edge = 0
    for period, index in pieces:
        if period.start_min < edge:
            end = min(edge, period.end_min)
            text = f"from {_clock(period.start_min)} to {_clock(end)} another period has a price already"
            found.append(Mistake((*_AT, "periods", index), text))
        elif period.start_min > edge:
            found.append(_gap(edge, period.start_min))
        edge = max(edge, period.end_min)
    if edge < DAY_MINUTES:
        found.append(_gap(edge, DAY_MINUTES))


def _gap(start: int, end: int) -> Mistake:
    text = f"no price from {_clock(start)} to {_clock(end)}; the periods must cover 24 hours, add one for it"
    return Mistake((*_AT, "periods"), text)


def _minutes(text: str) -> float:
    matched = _CLOCK.fullmatch(text)
    minutes = int(matched[1]) * 60 + int(matched[2]) if matched else DAY_MINUTES + 1
    if minutes > DAY_MINUTES:
        raise ValueError(f'{text!r} is no time of day; write it as "07:00", from 00:00 to 24:00')
    return float(minutes)


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02d}:{minutes % 60:02d}"
