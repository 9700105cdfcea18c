"""SuperBench's results-summary.jsonl: one line per node, `benchmark/metric:rank` to a number."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from effbench.importers.contract import Reading
from effbench.importers.text import LINE_MAX, json_value, lines
from effbench.model.imported import BadRecord, Check

__all__ = ["read"]

_CODE = "return_code"


def read(path: Path, node: str | None) -> Iterator[Reading | BadRecord]:
    """Yield one reading per line; a line that is damaged, too long or nameless costs only itself.

    Raises:
        OSError: the file cannot be read.
    """
    for number, data in lines(path):
        where = f"{path}:{number}"
        if data is None:
            yield BadRecord(where, f"the line is longer than {LINE_MAX >> 20} MiB")
            continue
        try:
            found = json_value(data)
        except ValueError as error:
            yield BadRecord(where, f"not JSON, or cut off: {error}")
            continue
        yield _reading(found, where, node)


def _reading(found: Any, where: str, node: str | None) -> Reading | BadRecord:
    if not isinstance(found, dict):
        return BadRecord(where, "the line is no JSON object with the figures of a node")
    name = found.pop("node", node)
    if not isinstance(name, str) or not name:
        return BadRecord(where, "it does not say whose figures these are: `node` is missing or no text")
    codes = [key for key in found if _CODE in key]
    return Reading(name, where, found, checks=[check for key in codes if (check := _check(key, found.pop(key)))])


def _check(key: str, value: Any) -> Check | None:
    """A benchmark that ended with another code than 0 failed or could not run; 0 says nothing of its figures."""
    if value == 0 and not isinstance(value, bool):
        return None
    name, _, rank = key.rpartition(":")
    benchmark = (name or key).split("/")[0]
    device = f"gpu{rank}" if name and rank.isascii() and rank.isdigit() else None
    return Check(benchmark, "fail", device, f"the benchmark ended with return code {str(value)[:40]}")
