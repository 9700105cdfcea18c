"""YAML text to plain values with the place of each one; refuses whatever YAML would change without a word.

Documents that people write are read from PyYAML's events, not through its constructor: every value keeps its line and
column, duplicate keys, tags, anchors and merge keys are mistakes, and a plain word means the same here as in any other
reader. YAML 1.1 reads 12:30:00 as 45000, 010 as 8, yes as true and 3.35e12 as text; each of these is refused with the
two ways to write it. effbench's own rows go through the faster loader of `rows`.
"""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml

from effbench.model.error import CatalogError

__all__ = ["Document", "Where", "read", "rows"]

Where = tuple[str | int, ...]

_MAX_BYTES = 1 << 20
_MAX_DEPTH = 24
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?((0|[1-9][0-9]*)\.[0-9]*|\.[0-9]+)([eE][-+][0-9]+)?|[-+]?(0|[1-9][0-9]*)[eE][-+][0-9]+")
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
# What YAML 1.1 and 1.2 read differently, and what to write instead.
_MANGLED: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"[-+]?\d+(:[0-5]?\d)+(\.\d*)?"), "YAML 1.1 reads it as a number in base 60; put it in quotes"),
    (
        re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE]\d+"),
        "some YAML readers take it for text; write the exponent with its sign (3.35e+12) or quote it with a unit",
    ),
    (re.compile(r"[-+]?0\d+"), "YAML 1.1 reads it as an octal number; drop the leading zero or put it in quotes"),
    (re.compile(r"[-+]?0[xXoObB][0-9a-fA-F_]+"), "write the number in decimal, or put it in quotes"),
    (re.compile(r"[-+]?\d[\d_]*_[\d_]*(\.\d*)?"), "write the number without underscores, or put it in quotes"),
    (
        re.compile(r"yes|no|on|off", re.IGNORECASE),
        "some YAML readers take it for true or false; write true or false, or put it in quotes",
    ),
    (re.compile(r"[-+]?\.(inf|nan)", re.IGNORECASE), "a figure that is not finite has no place here; leave it out"),
)


class Document(msgspec.Struct, frozen=True):
    """A parsed document: its plain value, the place of every value in it, and the mistakes found on the way.

    `marks` maps the path of a value (`("workloads", 0, "kernel")`) to its line and column, both from 1; the path of
    a key itself ends in its name with a `?` before it.
    """

    path: str
    value: Any
    marks: dict[Where, tuple[int, int]]
    problems: list[str]

    def at(self, where: Where, text: str, key: bool = False) -> str:
        """Return `file:line:column: text` for the value at `where`, or for its nearest parent that has a place."""
        if key and where and (*where[:-1], f"?{where[-1]}") in self.marks:
            line, column = self.marks[(*where[:-1], f"?{where[-1]}")]
            return f"{self.path}:{line}:{column}: {text}"
        probe = where
        while probe not in self.marks and probe:
            probe = probe[:-1]
        line, column = self.marks.get(probe, (1, 1))
        return f"{self.path}:{line}:{column}: {text}"


def read(path: Path | str) -> Document:
    """Read one YAML document with the place of every value.

    Raises:
        CatalogError: the file is missing, too large, not UTF-8, empty, not YAML, or not a mapping. Smaller mistakes
            (a duplicate key, a mangled scalar) are collected in `problems` instead, so that all are told at once.
    """
    name = str(path)
    text = _text(Path(path), name)
    reader = _Reader(name)
    try:
        reader.read(iter(yaml.parse(text, Loader=_LOADER)))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{mark.line + 1}:{mark.column + 1}" if mark else "1:1"
        told = " ".join(part for part in (error.context, error.problem) if part)
        raise CatalogError([*reader.problems, f"{name}:{place}: this is not YAML: {told}"]) from None
    except yaml.YAMLError as error:
        raise CatalogError([f"{name}:1:1: this is not YAML: {' '.join(str(error).split())}"]) from None
    if not isinstance(reader.value, dict):
        what = "empty" if reader.value is None else f"a {_kind(reader.value)}"
        problem = f"{name}:1:1: the document is {what}; a mapping (`key: value` lines) is expected"
        raise CatalogError([*reader.problems, problem])
    return Document(name, reader.value, reader.marks, reader.problems)


def rows(path: Path) -> Any:
    """Load one of effbench's own YAML files, without places: it is tested, not judged, on loading."""
    return yaml.load(path.read_bytes(), Loader=_LOADER)


def _text(path: Path, name: str) -> str:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise CatalogError([f"{name}: the file is larger than 1 MiB; a suite or policy is a few kilobytes"])
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise CatalogError([f"{name}: there is no such file"]) from None
    except UnicodeDecodeError as error:
        raise CatalogError([f"{name}: not UTF-8 text (byte {error.start}); save the file as UTF-8"]) from None
    except OSError as error:
        raise CatalogError([f"{name}: cannot be read: {error.strerror or error}"]) from None


def _kind(value: object) -> str:
    return "list" if isinstance(value, list) else "single value"


class _Reader:
    """Builds plain values from PyYAML's events; lives for one document."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.value: Any = None
        self.marks: dict[Where, tuple[int, int]] = {}
        self.problems: list[str] = []

    def read(self, events: Iterator[Any]) -> None:
        """Consume the events of the whole stream; a second document in it is a mistake."""
        documents = 0
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._problem(event, "a second document begins here; one file holds one document")
                    return
                self.value = self._node(next(events), events, (), 0)

    def _node(self, event: Any, events: Iterator[Any], where: Where, depth: int) -> Any:
        self.marks[where] = _place(event)
        if depth > _MAX_DEPTH:
            raise CatalogError([*self.problems, self._at(event, f"nested more than {_MAX_DEPTH} levels deep")])
        if isinstance(event, yaml.AliasEvent):
            self._problem(event, f"*{event.anchor}: anchors and aliases are not supported; write the value out")
            return None
        if event.anchor is not None:
            self._problem(event, f"&{event.anchor}: anchors and aliases are not supported; write the value out")
        if event.tag is not None and event.tag != "!":
            self._problem(event, f"{event.tag}: YAML tags are not supported; write the plain value")
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._list(events, where, depth)
        return self._mapping(events, where, depth)

    def _list(self, events: Iterator[Any], where: Where, depth: int) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            items.append(self._node(event, events, (*where, len(items)), depth + 1))
        return items

    def _mapping(self, events: Iterator[Any], where: Where, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                self._problem(event, "a key must be a plain word")
                self._node(event, events, (*where, "?"), depth + 1)
                self._node(next(events), events, (*where, "?"), depth + 1)
                continue
            key = event.value
            if key == "<<" and not event.style:
                self._problem(event, "merge keys (<<) are not supported; write the fields out")
            elif key in found:
                line = self.marks[(*where, f"?{key}")][0]
                self._problem(event, f"{key!r} is given twice in this mapping, first on line {line}; keep one")
            else:
                self.marks[(*where, f"?{key}")] = _place(event)
                found[key] = None
                found[key] = self._node(next(events), events, (*where, key), depth + 1)
                continue
            self._node(next(events), events, (*where, "?"), depth + 1)
        return found

    def _scalar(self, event: Any) -> str | int | float | bool | None:
        text = str(event.value)
        if event.style:  # quoted or a block; a plain scalar has None, or "" from the C parser
            return text
        for pattern, told in _MANGLED:
            if pattern.fullmatch(text):
                self._problem(event, f"`{text}`: {told}")
                return text
        if text in _WORDS:
            return _WORDS[text]
        if _INT.fullmatch(text) or _FLOAT.fullmatch(text):
            number = float(text)
            if math.isfinite(number):
                return int(text) if _INT.fullmatch(text) and len(text) < 20 else number
            self._problem(event, f"{text[:20]}: too large for a number")
        return text

    def _problem(self, event: Any, text: str) -> None:
        self.problems.append(self._at(event, text))

    def _at(self, event: Any, text: str) -> str:
        line, column = _place(event)
        return f"{self.path}:{line}:{column}: {text}"


def _place(event: Any) -> tuple[int, int]:
    """Line and column of an event, from 1."""
    return event.start_mark.line + 1, event.start_mark.column + 1
