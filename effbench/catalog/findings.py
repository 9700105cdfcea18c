"""What each finding code means, in words for people. The rows are in findings.yaml."""

import functools
from pathlib import Path
from typing import Literal

import msgspec

from effbench.catalog.shape import choices
from effbench.catalog.yaml import rows as load_rows
from effbench.model.error import InputError

__all__ = ["FindingRow", "codes", "explain"]

_FILE = Path(__file__).with_name("findings.yaml")


class FindingRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One code: a title, what happened, why it matters, and what to do."""

    code: str
    title: str
    what: str
    why: str
    do: str


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    schema: Literal["effbench.findings/1"]
    rows: list[FindingRow]


@functools.cache
def _by_code() -> dict[str, FindingRow]:
    return {row.code: row for row in msgspec.convert(load_rows(_FILE), _File).rows}


def codes() -> list[str]:
    """Return every code, in the order of the file."""
    return list(_by_code())


def explain(code: str) -> FindingRow:
    """Return the row of a finding code.

    Raises:
        InputError: there is no such code; the message names the closest one.
    """
    row = _by_code().get(code)
    if row is None:
        raise InputError(f"there is no finding code {code!r}{choices(code, codes())}")
    return row
