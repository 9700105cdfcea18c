"""nvbandwidth: a matrix of GB/s per test case, printed or as --json; the column is the device."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from effbench.importers.contract import Reading
from effbench.importers.text import json_in, stem_of, whole
from effbench.model.imported import BadRecord, Check, CheckOutcome

__all__ = ["read"]

_RUNNING = re.compile(r"Running (\w+)\.")
_DEVICE = re.compile(r"(?:Device )?\d+: (.+?) \([0-9A-Fa-f]{4,8}:[0-9A-Fa-f:]+\)(?:: \((\S+)\))?")
_ROW = re.compile(r"\s*\d+(\s+(N/A|[0-9.eE+-]+|nan|inf))+\s*")
_STATUS: dict[str, CheckOutcome] = {"passed": "pass", "waived": "skip", "error": "fail"}


def read(path: Path, node: str | None) -> Iterator[Reading | BadRecord]:
    """Yield the one node of a file; newer versions name it beside each device.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        text = whole(path)
        matrices, checks, told = _from_json(json_in(text)) if text.lstrip().startswith("{") else _from_text(text)
    except ValueError as error:
        yield BadRecord(str(path), str(error))
        return
    values = {name: value for test, rows in matrices.items() for name, value in _cells(test, rows)}
    if not values:
        yield BadRecord(str(path), "there is no matrix of bandwidths in it")
        return
    devices = [found for line in told if (found := _DEVICE.fullmatch(line.strip()))]
    hosts = sorted({found[2] for found in devices if found[2]})
    name = node or (hosts[0] if len(hosts) == 1 else stem_of(path))
    yield Reading(name, str(path), values, checks, [found[1] for found in devices], tool="nvbandwidth")


def _cells(test: str, rows: list[list[Any]]) -> Iterator[tuple[str, Any]]:
    """`test:column` of a single row, `test[row]:column` of several; a device to itself is no figure."""
    for number, row in enumerate(rows):
        for column, cell in enumerate(row):
            if number == column and test.startswith("device_to_device"):
                continue
            value = cell
            if isinstance(cell, str):
                with contextlib.suppress(ValueError):
                    value = float(cell)
            yield (f"{test}:{column}" if len(rows) == 1 else f"{test}[{number}]:{column}"), value


def _from_text(text: str) -> tuple[dict[str, list[list[Any]]], list[Check], list[str]]:
    matrices: dict[str, list[list[Any]]] = {}
    told, test, header = [], "", False
    for line in text.splitlines():
        if running := _RUNNING.match(line):
            test, header = running[1], False
        elif line.startswith("SUM "):
            test = ""
        elif _DEVICE.fullmatch(line.strip()):
            told.append(line)
        elif test and not header and line.split() and all(word.isdigit() for word in line.split()):
            header = True
        elif test and header and _ROW.fullmatch(line):
            matrices.setdefault(test, []).append(line.split()[1:])
    return matrices, [], told


def _from_json(found: Any) -> tuple[dict[str, list[list[Any]]], list[Check], list[str]]:
    root = found.get("nvbandwidth") if isinstance(found, dict) else None
    if not isinstance(root, dict):
        raise ValueError("no output of nvbandwidth --json: `nvbandwidth` is not there")
    matrices: dict[str, list[list[Any]]] = {}
    checks = []
    cases = root.get("testcases")
    for case in cases if isinstance(cases, list) else []:
        if not isinstance(case, dict) or not isinstance(case.get("name"), str):
            continue
        rows = case.get("bandwidth_matrix")
        if isinstance(rows, list):
            matrices[case["name"]] = [row for row in rows if isinstance(row, list)]
        outcome = _STATUS.get(str(case.get("status", "")).lower(), "unknown")
        if outcome != "pass":
            checks.append(Check(case["name"], outcome, text=str(case.get("error", case.get("status", "")))[:300]))
    if not matrices and root.get("error"):
        raise ValueError(f"nvbandwidth ended with an error: {str(root['error'])[:300]}")
    listed = root.get("GPU Device list")
    return matrices, checks, [str(line) for line in listed] if isinstance(listed, list) else []
