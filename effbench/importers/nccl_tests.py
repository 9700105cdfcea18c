"""nccl-tests and rccl-tests: the printed table, whose columns its own header names, or the JSON file of -J."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from effbench.importers.contract import Reading
from effbench.importers.text import json_in, stem_of, whole
from effbench.model.imported import BadRecord, Check

__all__ = ["read"]

_RANK = re.compile(r"#\s+Rank\s+\d+.*?\son\s+(\S+)\s+device\s+\d+\s+\[[^\]]*\]\s*(.*)")
_PROGRAM = re.compile(r"([a-z_]+)_perf\b")
_BOUNDS = re.compile(r"#\s*Out of bounds values\s*:\s*(\d+)\s+(\w+)")
_AVERAGE = re.compile(r"#\s*Avg bus bandwidth\s*:\s*(\S+)")

# The search below is quadratic in what it is given; a command line is shorter.
_COMMAND_MAX = 4096


class _Table:
    """What one output has told so far; lives for one file."""

    def __init__(self) -> None:
        self.operation = ""
        self.hosts: list[str] = []
        self.devices: list[str] = []
        self.rows: list[tuple[int, dict[str, Any]]] = []
        self.wrong: list[Any] = []
        self.average: Any = None
        self.bounds_failed: bool | None = None
        self.bad: list[BadRecord] = []


def read(path: Path, node: str | None) -> Iterator[Reading | BadRecord]:
    """Yield the one run of a file; its node is the host that all ranks ran on, or `node`, or the name of the file.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        text = whole(path)
        table = _from_json(json_in(text)) if text.lstrip().startswith("{") else _from_text(text, path)
    except ValueError as error:
        yield BadRecord(str(path), str(error))
        return
    yield from table.bad
    if not table.rows:
        yield BadRecord(str(path), "there is no row of figures in it: no header with `size` and `busbw`, or none after")
        return
    yield _reading(table, path, node)


def _reading(table: _Table, path: Path, node: str | None) -> Reading:
    operation = table.operation or _operation(path.name) or "unknown"
    size, largest = max(table.rows, key=lambda row: row[0])
    values: dict[str, Any] = {f"{operation}/{name}": value for name, value in largest.items()}
    values |= {f"{operation}/{size}/{name}": value for size, row in table.rows for name, value in row.items()}
    if table.average is not None:
        values[f"{operation}/average_busbw"] = table.average
    counts = [count for count in table.wrong if _counted(count)]
    # A size that was not checked (N/A) proves nothing: then only errors that were seen count.
    if counts and (len(counts) == len(table.wrong) or sum(counts) > 0):
        values["wrong"] = sum(counts)
    hosts = sorted(set(table.hosts))
    name = node or (hosts[0] if len(hosts) == 1 and hosts[0] != "localhost" else stem_of(path))
    tool = f"nccl-tests, {operation} of {len(table.hosts)} ranks, largest message {size} bytes"
    return Reading(name, str(path), values, _checks(table), table.devices, len(table.hosts) or None, tool)


def _checks(table: _Table) -> list[Check]:
    if table.bounds_failed or any(_counted(count) and count > 0 for count in table.wrong):
        return [Check("out of bounds", "fail", text="elements came back wrong")]
    if table.bounds_failed is None:
        return [Check("nccl-tests", "unknown", text="the output ends before its own summary")]
    checked = table.wrong and all(_counted(count) for count in table.wrong)
    return [
        Check("out of bounds", "pass" if checked else "skip", text="" if checked else "the results were not checked")
    ]


def _from_text(text: str, path: Path) -> _Table:
    table, columns = _Table(), list[str]()
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if rank := _RANK.match(line.strip()):
            table.hosts.append(rank[1])
            table.devices.append(rank[2].strip())
        elif line.lstrip().startswith("#") and "size" in words and "busbw" in words:
            columns = line.replace("#wrong", "wrong").replace("#", " ").split()
        elif "Collective test starting" in line:
            table.operation = _operation(line)
        elif bounds := _BOUNDS.match(line):
            table.bounds_failed = bounds[1] != "0" or bounds[2] != "OK"
        elif average := _AVERAGE.match(line):
            table.average = _number(average[1])
        elif columns and words and words[0].isascii() and words[0].isdigit():
            _row(table, columns, words, f"{path}:{number}")
    return table


def _row(table: _Table, columns: list[str], words: list[str], where: str) -> None:
    """One row by the names of its columns; the first of each name is out of place, the second in place."""
    at = columns.index("busbw")
    if len(words) < len(columns):
        table.bad.append(BadRecord(where, f"the row has {len(words)} of {len(columns)} columns: cut off"))
        return
    table.wrong += [_number(words[i]) for i, name in enumerate(columns) if name == "wrong"]
    times = [i for i, name in enumerate(columns) if name == "time"]
    row = {"busbw": _number(words[at])} | ({"time_us": _number(words[times[0]])} if times else {})
    table.rows.append((int(words[0][:20]), row))


def _from_json(found: Any) -> _Table:
    table = _Table()
    config = found.get("config") if isinstance(found, dict) else None
    if not isinstance(config, dict) or not isinstance(found.get("results"), list):
        raise ValueError("no file of nccl-tests -J: `config` and `results` are not both there")
    table.operation = _operation(" ".join(str(word) for word in _list(found.get("args"))))
    ranks = [rank for rank in _list(config.get("devices")) if isinstance(rank, dict)]
    table.hosts = [str(rank.get("hostname")) for rank in ranks if rank.get("hostname")]
    table.devices = [str(rank.get("device_info")) for rank in ranks if rank.get("device_info")]
    for result in found["results"]:
        size, body = (result.get("size"), result.get("out_of_place")) if isinstance(result, dict) else (None, None)
        if isinstance(size, int) and isinstance(body, dict):
            table.rows.append((size, {"busbw": body.get("bus_bw"), "time_us": body.get("time")}))
            both = (body, result.get("in_place"))
            table.wrong += [place.get("nwrong") for place in both if isinstance(place, dict)]
    bounds, average = found.get("out_of_bounds"), found.get("average_bus_bandwidth")
    if isinstance(bounds, dict):
        table.bounds_failed = bounds.get("count") != 0 or str(bounds.get("okay")).lower() != "true"
    table.average = average.get("bandwidth") if isinstance(average, dict) else None
    return table


def _operation(text: str) -> str:
    found = _PROGRAM.search(text[:_COMMAND_MAX])
    return found[1] if found else ""


def _number(word: str) -> float | str:
    """A number, or the word itself (`N/A`), which is then listed as no number."""
    try:
        return float(word)
    except ValueError:
        return word


def _counted(value: Any) -> bool:
    """Whether this is a count: neither N/A nor NaN, and not below zero, which could hide another one."""
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
