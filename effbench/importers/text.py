"""Files of unknown size and make: lines and whole texts within a limit, JSON that never takes the program down."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

__all__ = ["LINE_MAX", "TEXT_MAX", "Line", "json_in", "json_value", "lines", "stem_of", "whole"]

# A line of SuperBench with 200 figures has 10 kB, with all of its benchmarks on 16 GPUs about 1 MB.
LINE_MAX = 16 << 20
TEXT_MAX = 64 << 20
_STARTS_MAX = 20
_DECODER = msgspec.json.Decoder()


class Line(NamedTuple):
    """One line: its number from 1 and its bytes, or None when it is longer than the limit."""

    number: int
    data: bytes | None


def lines(path: Path, limit: int = LINE_MAX) -> Iterator[Line]:
    """Yield the lines of a file without ever holding more than `limit` bytes of one. Empty lines are left out.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        number = 0
        while data := file.readline(limit + 1):
            number += 1
            if len(data) > limit and not data.endswith(b"\n"):
                while data and not data.endswith(b"\n"):
                    data = file.readline(limit)
                yield Line(number, None)
            elif data.strip():
                yield Line(number, data)


def whole(path: Path) -> str:
    """Return the text of a file; bytes that are not UTF-8 become replacement characters.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is larger than the limit.
    """
    with path.open("rb") as file:
        data = file.read(TEXT_MAX + 1)
    if len(data) > TEXT_MAX:
        raise ValueError(f"larger than {TEXT_MAX >> 20} MiB; the output of one run on one node is a few kilobytes")
    return data.decode("utf-8-sig", errors="replace")


def json_value(data: bytes) -> Any:
    """Decode JSON; NaN and Infinity, which Python programs write, are let through for the caller to name.

    Raises:
        ValueError: not JSON, or nested too deeply.
    """
    try:
        return _DECODER.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        if b"NaN" not in data and b"Infinity" not in data:
            raise ValueError(str(error)) from None
    try:
        return _sound(json.loads(data))
    except (RecursionError, ValueError) as error:
        raise ValueError(str(error)) from None


def json_in(text: str) -> Any:
    """Return the first JSON object in a text that may have other words before and after it.

    Raises:
        ValueError: there is none.
    """
    decoder, at = json.JSONDecoder(), text.find("{")
    told = "there is no JSON object in it"
    for _ in range(_STARTS_MAX):
        if at < 0:
            break
        try:
            return _sound(decoder.raw_decode(text, at)[0])
        except (RecursionError, ValueError) as error:
            told = f"its JSON is damaged or cut off: {error}" if told.startswith("there") else told
        at = text.find("{", at + 1)
    raise ValueError(told)


def _sound(value: Any) -> Any:
    """Refuse half a character (a lone surrogate), which Python's reader takes and nobody can write (a ValueError)."""
    json.dumps(value, ensure_ascii=False).encode()
    return value


def stem_of(path: Path) -> str:
    """Return the name of a file without its suffix: what a node is called whose file does not say."""
    return path.name.split(".")[0] or path.name
