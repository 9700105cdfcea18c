"""Claims of what a node has, as a line of text or a claim.yaml, to a `Claim` that names one row of the catalogue."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from effbench.catalog.parts import Row, catalog
from effbench.catalog.quantities import parse
from effbench.catalog.shape import Mistake, choices, conclude, open_as, place
from effbench.model.claim import Claim
from effbench.model.error import InputError
from effbench.model.unit import Unit

__all__ = ["SCHEMA", "load_claim", "read_claim"]

SCHEMA = "effbench.claim/1"
_TEXT = re.compile(r"\s*(\d{1,6})\s*[x×]\s*(\S.*?)\s*", re.IGNORECASE)
_COUNT_MAX = 100_000
# A stated capacity may be rounded, not another one.
_MEMORY_ROUNDING = 0.02


def read_claim(text: str) -> Claim:
    """Read `--claim`: the path of a claim.yaml, or a line such as `8x NVIDIA H200`.

    Raises:
        InputError: no such file, no count, or not exactly one GPU of the catalogue (CatalogError for a file).
    """
    if text.endswith((".yaml", ".yml")) or _is_file(text):
        return load_claim(Path(text))
    found = _TEXT.fullmatch(text)
    if found is None or not 1 <= int(found[1]) <= _COUNT_MAX:
        raise InputError(
            f"--claim {text[:80]!r} says no number of devices; write `8x NVIDIA H200`, or give a claim.yaml"
        )
    row, problem = _row(found[2])
    if row is None:
        raise InputError(f"--claim: {problem}")
    return Claim(schema="effbench.claim/1", count=int(found[1]), part=row.id)


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except OSError:  # too long to be a name
        return False


def load_claim(path: Path) -> Claim:
    """Read and check a claim.yaml; its part becomes the id of the catalogue's row.

    Raises:
        CatalogError: every mistake in the document, one line each: `file:line:column: what is wrong; valid: ...`.
    """
    document, claim, problems = open_as(str(path), Claim, SCHEMA)
    conclude([*problems, *(p for p in place(document, _mistakes(document.value)) if p not in problems)])
    if claim is None:  # pragma: no cover - conclude has raised
        raise AssertionError("a claim without problems was not decoded")
    row, _ = _row(claim.part)
    return msgspec.structs.replace(claim, part=row.id if row else claim.part)


def _row(name: str) -> tuple[Row | None, str]:
    """The one GPU that `name` means, by id, driver name or title; else why there is none."""
    wanted = " ".join(name.split()).casefold()
    rows = [catalog().row(part_id) for part_id in catalog().ids()]
    gpus = [row for row in rows if row.kind == "gpu"]
    for row in gpus:
        if wanted == row.id.casefold():
            return row, ""
    named = [row for row in gpus if wanted in {n.casefold() for n in (*row.names, row.title)}]
    if len(named) == 1:
        return named[0], ""
    if named:
        return None, f"{name!r} is the name of several parts; write one of {', '.join(row.id for row in named)}"
    if any(wanted in {row.id.casefold(), row.title.casefold()} for row in rows):
        return None, f"{name!r} is a CPU; claims are made of accelerators"
    close = choices(name, [n for row in gpus for n in (row.id, *row.names, row.title)]).partition(" valid:")[0]
    return None, f"no accelerator of the catalogue is {name[:80]!r}{close} `effbench list accelerators` shows them"


def _mistakes(value: dict[str, Any]) -> Iterator[Mistake]:
    name = value.get("part")
    row, problem = _row(name) if isinstance(name, str) else (None, "")
    if isinstance(name, str) and row is None:
        yield Mistake(("part",), problem)
    units = value.get("units")
    if row is not None and row.units and isinstance(units, int) and units != row.units:
        yield Mistake(("units",), f"{row.id} has {row.units} units (SM, CU); one with {units} is another part")
    width = value.get("link_width")
    lanes = lanes_of(row) if row is not None else None
    if lanes is not None and isinstance(width, int) and width > lanes:
        yield Mistake(("link_width",), f"{row.id if row else ''} has at most {lanes} lanes")
    if isinstance(value.get("memory"), str):
        yield from _memory(value["memory"], row)


def _memory(text: str, row: Row | None) -> Iterator[Mistake]:
    try:
        size = parse(text)
    except ValueError as error:
        yield Mistake(("memory",), str(error))
        return
    if size.unit is not Unit.BYTE or size.value <= 0:
        yield Mistake(("memory",), f'{text!r} is no capacity; write for example "141 GB"')
    elif row is not None and row.memory.size is not None:
        rated = parse(row.memory.size).value
        if abs(size.value / rated - 1) > _MEMORY_ROUNDING:
            yield Mistake(("memory",), f"{row.id} has {row.memory.size}; one with {text} is another part")


def lanes_of(row: Row) -> int | None:
    """Return the PCIe lanes of a part whose row says `5.0 x16`; None where it does not say."""
    found = re.fullmatch(r"[\d.]+ x(\d+)", row.pcie)
    return int(found[1]) if found else None
