"""Text with a unit ("4.8 TB/s", "0.85") to a quantity in SI base units; nowhere else does effbench read a unit."""

import functools
import math
import re
from decimal import Decimal

from effbench.model.quantity import Quantity
from effbench.model.unit import Unit

__all__ = ["parse", "per", "units"]

# Unit text as people write it -> (unit, factor, whether SI prefixes apply). An integer operation counts like a
# floating-point one (a multiply-add is two), so int8 peaks may say TOP/s.
_UNITS: dict[str, tuple[Unit, float, bool]] = {
    "s": (Unit.SECOND, 1.0, True),
    "min": (Unit.SECOND, 60.0, False),
    "h": (Unit.SECOND, 3600.0, False),
    "B": (Unit.BYTE, 1.0, True),
    "byte": (Unit.BYTE, 1.0, False),
    "KiB": (Unit.BYTE, 2.0**10, False),
    "MiB": (Unit.BYTE, 2.0**20, False),
    "GiB": (Unit.BYTE, 2.0**30, False),
    "TiB": (Unit.BYTE, 2.0**40, False),
    "FLOP": (Unit.FLOP, 1.0, True),
    "flop": (Unit.FLOP, 1.0, False),
    "B/s": (Unit.BYTE_PER_S, 1.0, True),
    "byte/s": (Unit.BYTE_PER_S, 1.0, False),
    "GiB/s": (Unit.BYTE_PER_S, 2.0**30, False),
    "bit/s": (Unit.BYTE_PER_S, 0.125, True),
    "FLOP/s": (Unit.FLOP_PER_S, 1.0, True),
    "flop/s": (Unit.FLOP_PER_S, 1.0, False),
    "OP/s": (Unit.FLOP_PER_S, 1.0, True),
    "W": (Unit.WATT, 1.0, True),
    "J": (Unit.JOULE, 1.0, True),
    "Wh": (Unit.JOULE, 3600.0, True),
    "Hz": (Unit.HERTZ, 1.0, True),
    "degC": (Unit.CELSIUS, 1.0, False),
    "token/s": (Unit.TOKEN_PER_S, 1.0, True),
    "FLOP/J": (Unit.FLOP_PER_J, 1.0, True),
    "flop/J": (Unit.FLOP_PER_J, 1.0, False),
    "J/token": (Unit.J_PER_TOKEN, 1.0, True),
    "B/J": (Unit.BYTE_PER_J, 1.0, True),
    "byte/J": (Unit.BYTE_PER_J, 1.0, False),
    "kg": (Unit.KILOGRAM, 1.0, False),
    "/s": (Unit.PER_S, 1.0, False),
    "1/s": (Unit.PER_S, 1.0, False),
    "currency": (Unit.CURRENCY, 1.0, False),
    "1": (Unit.ONE, 1.0, False),
}
_PREFIXES: dict[str, float] = {
    "n": 1e-9,
    "u": 1e-6,
    "µ": 1e-6,
    "m": 1e-3,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "P": 1e15,
    "E": 1e18,
}
_NUMBER = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?"
# The patterns below take time that grows faster than the text does; no figure is written with as many characters.
_TEXT_MAX = 100
_TEXT = re.compile(rf"\s*({_NUMBER})\s*(\S*)\s*")
_PER = re.compile(rf"\s*({_NUMBER})\s*([^\s/]*)\s*(?:/\s*(\S+))?\s*")


def units() -> str:
    """Return the table of units in one line, for messages."""
    prefixed = [name for name, (_, _, prefix) in _UNITS.items() if prefix]
    plain = [name for name, (_, _, prefix) in _UNITS.items() if not prefix]
    return f"{' '.join(prefixed)} (with a prefix n u m k M G T P E), {' '.join(plain)}, or no unit for a plain number"


def parse(text: str) -> Quantity:
    """Return the quantity that `text` states, in SI base units: "4.8 TB/s" is 4.8e12 byte/s, "0.85" is 0.85 (unit 1).

    A percentage is refused, because effbench writes fractions from 0 to 1 everywhere and one way is enough. Prefixes
    are decimal (GB is 1e9 byte); KiB, MiB, GiB and TiB are binary.

    Raises:
        ValueError: not a number, not finite, or a unit that is not in the table; the message lists the units.
    """
    if not isinstance(text, str):
        raise ValueError(f'{text!r} is not text; write the figure with its unit in quotes, for example "4.8 TB/s"')
    return _parsed(_short(text))


def _short(text: str) -> str:
    if len(text) > _TEXT_MAX:
        raise ValueError(f"{text[:40]!r}... is longer than any figure with a unit: {len(text)} characters")
    return text


# A policy's few thresholds are read again for each of 10,000 nodes.
@functools.lru_cache(maxsize=1024)
def _parsed(text: str) -> Quantity:
    matched = _TEXT.fullmatch(text)
    if matched is None:
        raise ValueError(f'{text!r} is not a figure with a unit; write for example "4.8 TB/s", "700 W" or "0.85"')
    number, unit_text = Decimal(matched[1]), matched[2]
    if unit_text == "%":
        raise ValueError(f"{text!r}: percentages are not used; write the fraction {float(number / 100):g}")
    unit, factor = _unit(unit_text, text)
    value = float(number * Decimal(str(factor)))  # decimal, so that "10 us" is exactly the float 1e-05
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is not a finite figure")
    return Quantity(value, unit)


def per(text: str) -> tuple[float, str, str]:
    """Return number, unit and denominator of a figure that is no SI quantity: "0.25 EUR/kWh" is (0.25, "EUR", "kWh").

    For money and carbon: unit and denominator are what was written, empty where nothing was.

    Raises:
        ValueError: not a finite number with at most one unit and one denominator.
    """
    matched = _PER.fullmatch(_short(text))
    if matched is None or not math.isfinite(float(matched[1])):
        raise ValueError(f'{text!r} is not a figure; write for example "0.25 /kWh", "2.35 /h" or "30000"')
    if matched[2] == "%":
        raise ValueError(f"{text!r}: percentages are not used; write the fraction {float(matched[1]) / 100:g}")
    return float(matched[1]), matched[2], matched[3] or ""


def _unit(name: str, text: str) -> tuple[Unit, float]:
    if not name:
        return Unit.ONE, 1.0
    if name in _UNITS:
        unit, factor, _ = _UNITS[name]
        return unit, factor
    prefix, rest = name[:1], name[1:]
    if prefix in _PREFIXES and rest in _UNITS and _UNITS[rest][2]:
        unit, factor, _ = _UNITS[rest]
        return unit, factor * _PREFIXES[prefix]
    raise ValueError(f"{text!r}: unknown unit {name!r}; the units are {units()}")
