"""`dcgmi diag -j`: its tests with their outcome per GPU, of versions 3 and 4. It has answers, hardly any figures."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from effbench.importers.contract import Reading
from effbench.importers.text import json_in, stem_of, whole
from effbench.model.imported import BadRecord, Check, CheckOutcome

__all__ = ["read"]

_ROOTS = ("DCGM Diagnostic", "DCGM GPU Diagnostic")
# Everything else (a new word, none at all) is unknown, and never a pass.
_OUTCOMES: dict[str, CheckOutcome] = {"pass": "pass", "fail": "fail", "warn": "warn", "skip": "skip", "not run": "skip"}


def read(path: Path, node: str | None) -> Iterator[Reading | BadRecord]:
    """Yield the one node of a file; the file does not name it.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        found = json_in(whole(path))
    except ValueError as error:
        yield BadRecord(str(path), str(error))
        return
    root = next((found[name] for name in _ROOTS if isinstance(found.get(name), dict)), found)
    checks = list(_checks(root))
    for name in ("runtime_error", "error"):
        if root.get(name):
            checks.append(Check("dcgmi diag", "unknown", text=f"it did not come to its end: {_short(root[name])}"))
    if not checks:
        yield BadRecord(str(path), "there is no test in it: neither `test_categories` nor `tests`")
        return
    yield Reading(node or stem_of(path), str(path), {}, checks, tool=f"DCGM {_version(found, root)}".strip())


def _checks(root: dict[str, Any]) -> Iterator[Check]:
    groups = [root, *(group for group in _list(root.get("test_categories")) if isinstance(group, dict))]
    for test in (test for group in groups for test in _list(group.get("tests"))):
        if not isinstance(test, dict):
            continue
        name = _short(test.get("name") or "(without a name)")
        results = [result for result in _list(test.get("results")) if isinstance(result, dict)]
        if not results:
            yield Check(name, "unknown", text="the test has no result")
        for result in results:
            yield from _outcomes(name, result)


def _outcomes(name: str, result: dict[str, Any]) -> Iterator[Check]:
    outcome = _OUTCOMES.get(str(result.get("status", "")).strip().lower(), "unknown")
    told = [w.get("warning", "") if isinstance(w, dict) else w for w in _list(result.get("warnings"))]
    told += [result[key] for key in ("warning",) if result.get(key)]
    text = _short("; ".join(str(word) for word in told if word))
    devices = _devices(result)
    if not devices:
        yield Check(name, outcome, None, text)
    for device in devices:
        yield Check(name, outcome, device, text)


def _devices(result: dict[str, Any]) -> list[str]:
    """Version 4 names one entity, version 3 a list in text: `0,1,2,3`."""
    entity = result.get("entity_id")
    if isinstance(entity, int) and not isinstance(entity, bool):
        return [f"gpu{entity}"] if str(result.get("entity_group", "GPU")).upper() == "GPU" else []
    numbers = str(result.get("gpu_ids") or result.get("gpu_id") or "").split(",")
    return [f"gpu{number.strip()}" for number in numbers if number.strip().isascii() and number.strip().isdigit()]


def _version(found: dict[str, Any], root: dict[str, Any]) -> str:
    for place in (found.get("metadata"), root, found):
        if isinstance(place, dict) and isinstance(place.get("version"), str):
            return _short(place["version"])
    return ""


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _short(value: Any) -> str:
    return " ".join(str(value).split())[:300]
