"""How figures are written for people: the only place that knows "TFLOP/s", "%" and significant digits.

Stored numbers are SI base units without prefix and fractions 0 to 1; nothing here computes with them.
"""

import math
import unicodedata
from typing import Any

import msgspec

from effbench.model.quantity import Interval

DECIMAL = {-4: "p", -3: "n", -2: "µ", -1: "m", 0: "", 1: "k", 2: "M", 3: "G", 4: "T", 5: "P", 6: "E"}
BINARY = ["", "Ki", "Mi", "Gi", "Ti", "Pi"]

# Unit as stored -> (symbol, takes decimal prefixes). Capacity is binary (GiB), rates are decimal (GB/s): the usage of
# the memory and the link vendors respectively.
SYMBOLS: dict[str, tuple[str, bool]] = {
    "s": ("s", True),
    "byte": ("B", False),
    "flop": ("FLOP", True),
    "byte/s": ("B/s", True),
    "flop/s": ("FLOP/s", True),
    "W": ("W", True),
    "J": ("J", True),
    "Hz": ("Hz", True),
    "degC": ("°C", False),
    "token/s": ("tokens/s", False),
    "flop/J": ("FLOP/J", True),
    "J/token": ("J/token", True),
    "byte/J": ("B/J", True),
    "token/J": ("tokens/J", False),
    "J*s": ("J·s", True),
    "1": ("", False),
    "kg": ("kg", False),
    "1/s": ("/s", False),
    "currency": ("", False),
}
FRACTION_NAMES = ("mfu", "hfu", "share", "coverage", "scaling_efficiency")
ASCII = str.maketrans(
    {"±": "+/-", "µ": "u", "°": " deg ", "–": "-", "—": "-", "×": "x", "−": "-", "·": "-", "≥": ">=", "≤": "<="}
    | {"✓": "+", "✗": "x", "→": "->", "…": "...", "█": "#", "░": ".", "▏": "", "’": "'", "“": '"', "”": '"', "≈": "~"}
)
SIGNIFICANT_MAX = 6


class Written(msgspec.Struct, frozen=True):
    """A figure in pieces, so that a layout can set them apart: `794.5`, `± 1.2`, `TFLOP/s`."""

    number: str
    spread: str
    unit: str

    def __str__(self) -> str:
        """Join the pieces: `794.5 ± 1.2 TFLOP/s`."""
        return " ".join(part for part in (self.number, self.spread, self.unit) if part)


def clean(text: str) -> str:
    """Replace control, direction-changing and unpaired characters by a visible mark, and line ends by a space.

    What a device or a driver calls itself may hold anything; a report must show it, not obey it.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        " " if char in "\n\r\t\u2028\u2029" else "�" if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Cn") else char
        for char in text
    )


def sentence(text: str, lead: str = "") -> str:
    """Drop `lead`, which a heading says already, and end with a full stop."""
    if lead and text.startswith(lead):
        text = text.removeprefix(lead)
        if "." not in text.split(" ")[0]:  # a metric's key stays as it is
            text = text[:1].upper() + text[1:]
    return text if not text or text[-1] in ".!?" else f"{text}."


def opened(text: str) -> str:
    """Begin with a capital letter, unless the first word is a key or a name with dots, digits or signs."""
    first = text.partition(" ")[0]
    return text[:1].upper() + text[1:] if first.isalpha() else text


def params(known: dict[str, Any]) -> str:
    """Write parameters as `config 4b, batch 8, bytes 256 MiB`; what is open or off is left out."""
    shown = []
    for name, value in known.items():
        if isinstance(value, bool) or value in (None, ""):
            shown += [name] if value is True else []
        elif name.endswith("bytes"):
            shown.append(f"{name} {quantity(float(value), 'byte')}")
        else:
            shown.append(f"{name} {value}")
    return ", ".join(shown)


def is_fraction(key: str) -> bool:
    """Say whether the dimensionless metric `key` is a fraction (written in %) rather than a count."""
    last = key.rsplit(".", 1)[-1]
    return last.startswith("fraction") or last in FRACTION_NAMES


def _scale(value: float, unit: str, key: str) -> tuple[float, str]:
    """Return the factor that divides `value` for display, and the unit to write."""
    symbol, prefixed = SYMBOLS.get(unit, (unit, False))
    size = abs(value)
    if unit == "1":
        return (0.01, "%") if is_fraction(key) else (1.0, "")
    if unit == "byte":
        step = min(int(math.log2(size) // 10), len(BINARY) - 1) if size >= 1024 else 0
        return 1024.0**step, BINARY[step] + symbol
    if unit == "s" and size >= 1:
        return 1.0, symbol
    if not prefixed or size == 0:
        return 1.0, symbol
    # 999.5 would be written as 1000 of the smaller prefix: take the next one.
    step = max(min(math.floor(math.log10(size * 1.0005) / 3), 6), -4)
    return 1000.0**step, DECIMAL[step] + symbol


def _decimals(value: float, half: float) -> int:
    """Count the decimals that an uncertainty supports: its first digit, or two when it starts with 1."""
    exponent = math.floor(math.log10(half))
    lead = round(half / 10.0**exponent, 1)
    wanted = -exponent + (1 if lead < 2 else 0)
    most = SIGNIFICANT_MAX - 1 - (math.floor(math.log10(abs(value))) if value else 0)
    return max(0, min(wanted, most))


def _plain(value: float, digits: int = 3) -> str:
    """Write with `digits` significant digits, never with an exponent in the everyday range."""
    if value == 0:
        return "0"
    exponent = int(f"{value:.{digits - 1}e}".partition("e")[2])
    if exponent > 14 or exponent < -6:
        return f"{value:.{digits - 1}e}"
    return f"{value:,.{max(0, digits - 1 - exponent)}f}"


def _spread(value: float, low: float, high: float, percent: bool) -> tuple[str, str]:
    """Write value and interval with the digits that the interval supports; lopsided intervals show both ends."""
    half = (high - low) / 2
    if half <= 0:
        return _plain(value, 4), ""
    decimals = _decimals(value, half)
    number = f"{value:,.{decimals}f}"
    below, above = value - low, high - value
    if below < 0 or above < 0 or max(below, above) > 2 * min(below, above):
        return number, f"({low:,.{decimals}f} – {high:,.{decimals}f})"
    written = f"{half:,.{decimals}f}"
    if float(written.replace(",", "")) == 0:
        return number, f"± <{10.0**-decimals:.{decimals}f}"
    return number, f"± {written}"


def written(value: float, unit: str, interval: Interval | None = None, key: str = "") -> Written:
    """Write a figure in pieces.

    Args:
        value: in the stored unit.
        unit: as stored (`flop/s`).
        interval: decides the digits; without one, three significant digits (counts are written whole).
        key: the metric's key, which tells a fraction from a count.
    """
    factor, symbol = _scale(value, unit, key)
    scaled = value / factor
    if interval is not None and interval.high > interval.low:
        number, spread = _spread(scaled, interval.low / factor, interval.high / factor, symbol == "%")
        return Written(number, spread, symbol)
    if factor == 1.0 and unit in ("1", "byte") and float(value).is_integer():
        return Written(f"{int(value):,}", "", symbol)
    return Written(_plain(scaled, 4 if unit in ("byte", "token/s") else 3), "", symbol)


def quantity(value: float, unit: str, key: str = "") -> str:
    """Write a figure without interval: `989 TFLOP/s`, `141 GiB`, `80.3 %`."""
    return str(written(value, unit, None, key))


def tick(value: float, unit: str) -> str:
    """Write a round number on an axis: `2 GHz`, `500 W`, `1 PFLOP/s`."""
    factor, symbol = _scale(value, unit, "")
    return f"{value / factor:,.10g} {symbol}".strip()


def scientific(value: float) -> str:
    """Write a small number as `3.1e-4`."""
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return "0" if value == 0 else f"{mantissa}e{int(exponent)}"


def measured(value: float, unit: str, interval: Interval | None, key: str = "") -> str:
    """Write a figure with its interval: `794.5 ± 1.2 TFLOP/s`."""
    return str(written(value, unit, interval, key))


def percent(share: float | None, digits: int = 3) -> str:
    """Write a fraction 0 to 1 as `80.3 %`; an absent one as a dash."""
    return "–" if share is None else f"{_plain(share * 100, digits)} %"


def percent_range(low: float, high: float) -> str:
    """Write two fractions as `93.9 – 95.0 %`."""
    return f"{percent(low).removesuffix(' %')} – {percent(high)}"


def points(share: float | None) -> str:
    """Write a signed fraction as `+3.2 %` or `−12 %`: a margin, a loss, a gain."""
    if share is None:
        return "–"
    if abs(share) < 5e-4:
        return "±0 %"
    return f"{'−' if share < 0 else '+'}{_plain(abs(share) * 100, 2 if abs(share) < 0.0995 else 3)} %"


def relative(interval: Interval | None, value: float) -> str:
    """Write the half-width over the value: `± 0.3 %`."""
    if interval is None or value == 0:
        return ""
    return f"± {_plain(interval.half_width / abs(value) * 100, 2)} %"


def duration(seconds: float) -> str:
    """Write a span of time for people: `4 min 31 s`, `1.32 ms`."""
    if seconds < 120:
        return quantity(seconds, "s")
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def when(stamp: str) -> str:
    """Write an ISO 8601 UTC stamp as `2026-11-21 14:03 UTC`; what is no stamp stays as it is."""
    day, separator, clock = stamp.partition("T")
    return f"{day} {clock[:5]} UTC" if separator and len(clock) >= 5 else stamp


def count(number: int, noun: str) -> str:
    """Write `1 trial`, `3 trials`, `no trials`."""
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"


def bar(share: float, width: int, unicode: bool = True) -> str:
    """Draw a share of `width` cells, in eighths of a cell where the terminal can."""
    eighths = round(max(0.0, min(share, 1.0)) * width * 8)
    full, rest = divmod(eighths, 8)
    if not unicode:
        return "#" * (full + (rest >= 4))
    return "█" * full + ("▏▎▍▌▋▊▉"[rest - 1] if rest else "")


def to_ascii(text: str) -> str:
    """Spell every sign that a plain terminal lacks with the letters it has."""
    return text.translate(ASCII).encode("ascii", "replace").decode("ascii")
