"""The lines of a wall meter's log: header, comments and readings, every mistake with its line and column."""

import csv
import re
from collections.abc import Iterator, Sequence
from datetime import datetime

import msgspec

__all__ = ["Point", "Rows"]

_FIRST_S, _LAST_S = 946684800.0, 4102444800.0  # the years 2000 and 2100: what lies outside is no time in seconds
_EPOCHS = ("time_s", "epoch_s", "epoch", "unix_s", "unix_time_s", "timestamp_s")
_TIMES = ("time", "timestamp", "datetime", "date_time", "utc", "time_utc", "timestamp_utc")
_POWER = re.compile(r"(?:(?:active|real|total|input|ac)[ _])?(?:power)?[ _]*[(\[]?(w|watts?|kw|kilowatts?)[)\]]?")
_UNITLESS = re.compile(r"(?:\w+[ _])?power\b.*")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_COMMENT = re.compile(r"#\s*(\w+)\s*:\s*(.*?)\s*")


class Point(msgspec.Struct, frozen=True):
    """One reading: UTC in ns since 1970 by the meter's clock, its power in W, and its line in the log."""

    utc_ns: int
    watts: float
    line: int


class Rows:
    """The lines of one log while they are read."""

    def __init__(self, name: str, lines: Sequence[str]) -> None:
        self.name, self.lines = name, lines
        self.problems: list[str] = []
        self.facts: dict[str, tuple[int, str]] = {}
        self.points: list[Point] = []
        self.zeros = 0
        self._delimiter = ","
        self._width, self._time, self._power = 0, 0, 0
        self._epoch, self._factor = False, 1.0
        self._last_ns: int | None = None

    def tell(self, line: int, column: int, text: str) -> None:
        """Note a mistake at a line and a character column, both from 1; column 0 is the line as a whole."""
        self.problems.append(f"{self.name}:{line}:{max(1, column)}: {text}")

    def read(self) -> None:
        """Read comments, header and rows. Without a usable header the rows are not looked at."""
        rows = self._rows()
        first = next(rows, None)
        if first is None:
            self.tell(1, 1, "the log is empty; it needs a header row such as `time,power_w` and readings")
            return
        if self._header(*first):
            for number, text in rows:
                self._row(number, text)

    def _rows(self) -> Iterator[tuple[int, str]]:
        for number, text in enumerate(self.lines, 1):
            if text.lstrip().startswith("#"):
                found = _COMMENT.fullmatch(text.strip())
                if found:
                    self.facts[found[1].lower()] = (number, found[2].strip("\"'"))
            elif text.strip():
                yield number, text

    def _cells(self, text: str) -> list[str]:
        try:
            return [cell.strip() for cell in next(csv.reader([text], delimiter=self._delimiter), [])]
        except csv.Error:  # a NUL, or a field of more than 128 KiB
            return []

    def _header(self, number: int, text: str) -> bool:
        self._delimiter = next((sign for sign in ("\t", ";") if sign in text), ",")
        names = [name.lower() for name in self._cells(text)]
        self._width = len(names)
        times = [i for i, name in enumerate(names) if name in _TIMES + _EPOCHS]
        powers = [i for i, name in enumerate(names) if name and _POWER.fullmatch(name)]
        if len(times) != 1:
            self._columns(number, times, "time", "`time` (ISO 8601 with offset) or `epoch_s`", names)
        if len(powers) != 1:
            bare = [name for name in names if _UNITLESS.fullmatch(name)]
            fault = f" ({bare[0]!r} does not name W or kW)" if bare and not powers else ""
            self._columns(number, powers, "power", "`power_w` or `power_kw`", names, fault)
        if len(times) != 1 or len(powers) != 1:
            return False
        self._time, self._power = times[0], powers[0]
        self._epoch = names[self._time] in _EPOCHS
        unit = _POWER.fullmatch(names[self._power])
        self._factor = 1000.0 if unit and unit[1].startswith("k") else 1.0
        return True

    def _columns(
        self, line: int, found: Sequence[int], what: str, wanted: str, names: Sequence[str], fault: str = ""
    ) -> None:
        held = f"{len(found)} {what} columns" if found else f"no {what} column{fault}"
        self.tell(line, 1, f"{held} in the header {', '.join(names)}; name exactly one {wanted}")

    def _row(self, line: int, text: str) -> None:
        cells = self._cells(text)
        if len(cells) != self._width:
            self.tell(line, 1, f"{len(cells)} columns, the header has {self._width}; is the line cut off?")
            return
        utc_ns = self._utc_ns(line, cells)
        watts = self._watts(line, cells)
        if utc_ns is None:
            return
        if self._last_ns is not None and utc_ns <= self._last_ns:
            told = "the same time as the line before" if utc_ns == self._last_ns else "the time goes back"
            self.tell(line, self._column(cells, self._time), f"{told}; a log must go forward")
            return
        self._last_ns = utc_ns
        if watts == 0:
            self.zeros += 1  # a node that runs draws something: the meter gave no reading
        elif watts is not None:
            self.points.append(Point(utc_ns, watts, line))

    def _column(self, cells: Sequence[str], index: int) -> int:
        return 1 + sum(len(cell) + 1 for cell in cells[:index])

    def _utc_ns(self, line: int, cells: Sequence[str]) -> int | None:
        text, column = cells[self._time], self._column(cells, self._time)
        if self._epoch:
            if not _NUMBER.fullmatch(text):
                self.tell(line, column, f"{text[:40]!r} is no number of seconds since 1970")
            elif not _FIRST_S <= float(text) <= _LAST_S:
                self.tell(line, column, f"{text[:40]} is not between 2000 and 2100 in seconds; is it in ms?")
            else:
                whole, _, part = text.lstrip("+").partition(".")
                exact = whole.isdecimal() and part.isdecimal()
                return int(whole + part[:9].ljust(9, "0")) if exact else round(float(text) * 1e9)
            return None
        try:
            when = datetime.fromisoformat(text)
        except ValueError:
            self.tell(line, column, f"{text[:40]!r} is no ISO 8601 time, such as 2026-11-21T14:03:00.5+01:00")
            return None
        if when.tzinfo is None:
            self.tell(line, column, f"{text} is a local time; add its offset to UTC (`Z` or `+01:00`)")
            return None
        if not _FIRST_S <= when.timestamp() <= _LAST_S:
            self.tell(line, column, f"{text} is not between the years 2000 and 2100")
            return None
        return round(when.timestamp() * 1e6) * 1000

    def _watts(self, line: int, cells: Sequence[str]) -> float | None:
        text, column = cells[self._power], self._column(cells, self._power)
        if not _NUMBER.fullmatch(text):
            self.tell(line, column, f"{text[:40]!r} is no number; write it plainly with a decimal point, 1234.5")
            return None
        watts = float(text) * self._factor
        if watts < 0 or watts > 1e9:
            told = "negative: a node takes power" if watts < 0 else "beyond a gigawatt: is the unit right?"
            self.tell(line, column, f"{text[:40]} is {told}")
            return None
        return watts
