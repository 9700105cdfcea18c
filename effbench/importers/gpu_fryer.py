"""gpu-fryer --json: events, one JSON object per line; its `results` are the figures, its `problems` its own verdict."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from effbench.importers.contract import Reading
from effbench.importers.text import json_value, lines, stem_of
from effbench.model.imported import BadRecord, Check

__all__ = ["read"]

# What it prints for a least figure when it counted nothing: the largest number of 64 bits.
_NOTHING = 2**63
_FORMATS = ("bf16", "fp8", "fp32")


def read(path: Path, node: str | None) -> Iterator[Reading | BadRecord]:
    """Yield the one node of a file; damaged lines are bad records, and lines of words between the events are passed by.

    Raises:
        OSError: the file cannot be read.
    """
    events: dict[str, dict[str, Any]] = {}
    for number, data in lines(path):
        if data is None or not data.lstrip().startswith(b"{"):
            continue
        try:
            found = json_value(data)
        except ValueError as error:
            yield BadRecord(f"{path}:{number}", f"not JSON, or cut off: {error}")
            continue
        if isinstance(found, dict) and isinstance(found.get("type"), str) and found["type"] != "progress":
            events[found["type"]] = found
    values = _values(events)
    if not values:
        yield BadRecord(
            str(path), "there are no `results` in it: the run did not come to its end, or is no --json output"
        )
        return
    yield Reading(node or stem_of(path), str(path), values, _checks(events), _devices(events), tool="gpu-fryer")


def _values(events: dict[str, dict[str, Any]]) -> dict[str, Any]:
    features = events.get("feature_detection", {})
    used = [name for name in _FORMATS if features.get(name) is True]
    dtype = used[0] if len(used) == 1 else "unknown"
    values: dict[str, Any] = {}
    for gpu in _dicts(events.get("results", {}).get("gpus")):
        burn = gpu.get("burn_result")
        if not isinstance(burn, dict) or not isinstance(burn.get("gpu_idx"), int):
            continue
        number = burn["gpu_idx"]
        values[f"{dtype}/flops_avg:{number}"] = gpu.get("flops_avg")
        for name, value in burn.items():
            if name != "gpu_idx" and isinstance(value, int) and value < _NOTHING:
                values[f"{dtype}/{name}:{number}" if name.startswith("flops") else f"{name}:{number}"] = value
    return values


def _checks(events: dict[str, dict[str, Any]]) -> list[Check]:
    if "problems" not in events:
        return [Check("gpu-fryer", "unknown", text="the output ends before its own verdict")]
    problems = _dicts(events["problems"].get("problems"))
    if not problems:
        return [Check("gpu-fryer", "pass", text="no problem named; its only measure is the best GPU of the same node")]
    return [
        Check("gpu-fryer", "fail", f"gpu{str(p.get('gpu_idx'))[:9]}", json.dumps(p.get("reason"))[:100])
        for p in problems
    ]


def _devices(events: dict[str, dict[str, Any]]) -> list[str]:
    found = _dicts(events.get("detected_gpus", {}).get("detected_gpus"))
    return [gpu["name"] for gpu in found if isinstance(gpu.get("name"), str)]


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
