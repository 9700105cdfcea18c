"""One figure of a site.yaml: its text to a number within its limits, its date and its source."""

import datetime
import re
from collections.abc import Callable, Mapping
from typing import Any

from effbench.catalog.quantities import parse, per
from effbench.catalog.shape import Mistake
from effbench.catalog.yaml import Where
from effbench.model.site import Given
from effbench.model.unit import Unit

__all__ = ["dated", "figure", "grams_per_kwh", "money", "number", "plain", "share", "watts"]

Read = Callable[[str], float]
# Grams in what people write before `/kWh` or `/MWh`. The e of CO2e is a label: the figure is in equivalents anyway.
_GRAMS = {"g": 1.0, "kg": 1e3, "gCO2e": 1.0, "kgCO2e": 1e3, "gCO2": 1.0, "kgCO2": 1e3, "tCO2e": 1e6, "t": 1e6}
_KWH = {"kWh": 1.0, "MWh": 1e3}


def plain(least: float, most: float | None, what: str) -> Read:
    """Return a reader of plain numbers from `least` to `most`; `what` names the figure in the message."""

    def read(text: str) -> float:
        quantity = parse(text)
        if quantity.unit is not Unit.ONE:
            raise ValueError(f"{text!r} has {quantity.unit}, but {what} is a plain number")
        if quantity.value < least:
            raise ValueError(f"{text}: {what} is at least {least:g}")
        if most is not None and quantity.value > most:
            raise ValueError(f"{text}: {what} is at most {most:g}")
        return quantity.value

    return read


def share(what: str, zero: bool = False) -> Read:
    """Return a reader of fractions above 0 and up to 1; `zero` lets 0 in."""

    def read(text: str) -> float:
        value = plain(0.0, 1.0, what)(text)
        if value == 0 and not zero:
            raise ValueError(f"{text}: {what} must be above 0; leave it out where it is unknown")
        return value

    return read


def watts(least: float, what: str) -> Read:
    """Return a reader of watts of at least `least`."""

    def read(text: str) -> float:
        quantity = parse(text)
        if quantity.unit is not Unit.WATT:
            raise ValueError(f'{text!r} is not in watts; {what} is written as "350 W" or "10.2 kW"')
        if quantity.value < least or quantity.value < 0:
            raise ValueError(f"{text}: {what} is at least {least:g} W")
        return quantity.value

    return read


def money(currency: str, denominators: Mapping[str, float], example: str) -> Read:
    """Return a reader of money of at least 0 in `currency`, per one of `denominators` (text to factor).

    An empty denominator stands for an amount that is per nothing.
    """

    def read(text: str) -> float:
        value, unit, below = per(text)
        if unit not in ("", currency):
            raise ValueError(f"{text!r} is in {unit}, and this site counts in {currency}; convert it")
        if below not in denominators:
            raise ValueError(f'{text!r} is not what is asked for here; write it as "{example}"')
        if value < 0:
            raise ValueError(f"{text}: a price is never negative; write what is paid, or leave it out")
        return value / denominators[below]

    return read


def grams_per_kwh(text: str) -> float:
    """Return a carbon intensity in gCO2e per kWh.

    Raises:
        ValueError: not a mass per energy, negative, or so high that the unit must be wrong.
    """
    value, unit, below = per(text)
    if unit not in _GRAMS or below not in _KWH:
        raise ValueError(f'{text!r} is no carbon intensity; write it as "0.381 kg/kWh" or "381 g/kWh"')
    grams = value * _GRAMS[unit] / _KWH[below]
    if grams < 0:
        raise ValueError(f"{text}: an intensity is never negative")
    # Lignite alone stays below 1.5 kg/kWh; kg per kWh where kg per MWh is meant is a known misprint.
    if grams > 5000:
        raise ValueError(f"{text}: {grams:g} g per kWh is more than any grid has; is the unit right?")
    return grams


def dated(raw: Mapping[str, Any], where: Where, found: list[Mistake]) -> None:
    """Add what is wrong with the date and source of a figure. A missing one is told by the document's shape."""
    day, source = raw.get("date"), raw.get("source")
    if isinstance(day, str) and not _is_day(day):
        found.append(Mistake((*where, "date"), f"{day!r} is not a date; write it as 2026-06-30"))
    if isinstance(source, str) and not source.strip():
        found.append(Mistake((*where, "source"), "the source is empty; say where the figure comes from"))


def _is_day(text: str) -> bool:
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text) is None:
        return False
    try:
        datetime.date.fromisoformat(text)
    except ValueError:
        return False
    return True


def number(raw: Any, where: Where, read: Read, found: list[Mistake]) -> float | None:
    """Read one text; a mistake at `where` and None when it cannot be. Anything but text is told by the shape."""
    if not isinstance(raw, str):
        return None
    try:
        return read(raw)
    except ValueError as error:
        found.append(Mistake(where, str(error)))
        return None


def figure(raw: Any, where: Where, read: Read, found: list[Mistake]) -> Given | None:
    """Read `{value | low and high, date, source}`; every mistake goes to `found`, and the answer is then None."""
    if not isinstance(raw, dict):
        return None
    before = len(found)
    dated(raw, where, found)
    texts = {name: raw[name] for name in ("value", "low", "high") if isinstance(raw.get(name), str)}
    numbers = {name: number(text, (*where, name), read, found) for name, text in texts.items()}
    low, high = (numbers.get("value", numbers.get(name)) for name in ("low", "high"))
    if low is None or high is None or len(found) > before:
        return None
    if low > high:
        found.append(Mistake((*where, "low"), f"{texts['low']} is above the high end {texts['high']}"))
        return None
    text = texts.get("value") or f"{texts['low']} to {texts['high']}"
    return Given(low, high, text, str(raw.get("date", "")), str(raw.get("source", "")))
