"""NVIDIA's driver error events by class: whose fault they usually are. The rows are in xids.yaml."""

import functools
from pathlib import Path
from typing import Literal

import msgspec

from effbench.catalog.yaml import rows as load_rows
from effbench.model.inventory import Confidence

__all__ = ["OWN_KILL", "XidClass", "XidRow", "classify", "xids"]

XidClass = Literal["application", "hardware", "informational"]

# INTERFACES section 8: what the driver says when a worker is killed while it has work on the device.
OWN_KILL = frozenset({13, 31, 43, 45})

_FILE = Path(__file__).with_name("xids.yaml")


class XidRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"kind": "class"}):
    """One code: its class (`class` in the file), one line in words, and how sure that is."""

    code: int
    kind: XidClass
    text: str
    confidence: Confidence


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    schema: Literal["effbench.xids/1"]
    source: str
    as_of: str
    rows: list[XidRow]


@functools.cache
def _file() -> _File:
    return msgspec.convert(load_rows(_FILE), _File)


def xids() -> list[XidRow]:
    """Return every known code, ascending."""
    return _file().rows


def classify(code: int) -> XidRow:
    """Return the row of an XID code. An unknown one counts as hardware with low confidence: it must be looked at."""
    for row in _file().rows:
        if row.code == code:
            return row
    text = f"not in the table; see {_file().source}"
    return XidRow(code, "hardware", text, "low")
