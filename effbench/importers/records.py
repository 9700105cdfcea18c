"""Readings to records: figures under our keys and units where they are the same thing, else under their own name."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from effbench.catalog.accelerators import match
from effbench.catalog.imports import Target, targets
from effbench.catalog.parts import catalog
from effbench.catalog.shape import choices
from effbench.importers import load
from effbench.importers.contract import Reading
from effbench.model.error import InputError
from effbench.model.imported import BadRecord, Check, ImportedRecord, PartFrom
from effbench.model.inventory import Accelerator

__all__ = ["part_named", "records"]

# No figure of a machine is larger; squares of what is kept must not overflow.
_MOST = 1e100
_NAME_MAX, _NODE_MAX, _LISTED_MAX = 300, 255, 1000


def part_named(text: str) -> str:
    """Return the id of the catalogue's row that `text` names: its id, or the driver's exact name of the device.

    Raises:
        InputError: no row, or more than one.
    """
    if text in catalog().ids():
        return text
    if (found := _part_of([text])) is not None:
        return found
    raise InputError(f"there is no accelerator {text!r} in the catalogue{choices(text, catalog().ids())}")


def records(
    name: str, paths: Sequence[Path], node: str | None = None, part: str | None = None
) -> Iterator[ImportedRecord | BadRecord]:
    """Read the files one after the other and yield one record per node; what was lost is told where it was.

    A node that comes a second time is lost: which of the two is true nobody can say from here.

    Raises:
        InputError: there is no format `name`.
    """
    importer, wanted = load(name), targets(name)
    seen: dict[str, str] = {}
    names: dict[int | None, dict[str, tuple[str, float]]] = {}
    for path in paths:
        try:
            for reading in importer.read(path, node):
                made = (
                    reading
                    if isinstance(reading, BadRecord)
                    else _record(reading, name, wanted, names.setdefault(reading.ranks, {}), part)
                )
                if isinstance(made, ImportedRecord) and made.node in seen:
                    made = BadRecord(made.where, f"the node {made.node} was already read from {seen[made.node]}")
                if isinstance(made, ImportedRecord):
                    seen[made.node] = made.where
                yield made
        except OSError as error:
            yield BadRecord(str(path), f"cannot be read: {error.strerror or error}")


def _record(
    reading: Reading, name: str, wanted: dict[str, Target], names: dict[str, tuple[str, float]], part: str | None
) -> ImportedRecord | BadRecord:
    node = reading.node
    if len(node) > _NODE_MAX or not node.isprintable():
        return BadRecord(reading.where, f"the node's name is no name: {node[:40]!a}")
    figures: dict[str, float] = {}
    not_finite: list[str] = []
    not_numbers: list[str] = []
    for raw, value in reading.values.items():
        if raw not in names:
            names[raw] = _named(raw, wanted, reading.ranks)
        key, factor = names[raw]
        if key in figures:
            key, factor = f"imported.{raw[:_NAME_MAX]}", 1.0
        number = value * factor if type(value) is float else _number(value, factor)
        if number is None:
            not_numbers.append(key)
        elif -_MOST < number < _MOST:
            figures[key] = number
        else:
            not_finite.append(key)
    if not figures and not reading.checks:
        return BadRecord(reading.where, f"the node {node} has not one figure")
    chosen, origin, doubts = _part(reading.devices, part)
    return ImportedRecord(
        schema="effbench.imported/1",
        imported=name,
        node=node,
        where=reading.where,
        figures=figures,
        not_finite=not_finite[:_LISTED_MAX],
        not_numbers=not_numbers[:_LISTED_MAX],
        checks=[*doubts, *reading.checks],
        devices=reading.devices,
        part=chosen,
        part_from=origin,
        tool=reading.tool,
    )


def _number(value: Any, factor: float) -> float | None:
    """The value in our unit, or None for what is no number: text, true and false, lists, nothing."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        return float(value) * factor
    except OverflowError:
        return math.inf


def _named(raw: str, wanted: dict[str, Target], ranks: int | None) -> tuple[str, float]:
    """Our name and factor of a figure: `name:3` is of gpu3 where the name is known, else it stays what it is."""
    base, _, rank = raw.rpartition(":")
    numbered = bool(base) and rank.isascii() and rank.isdigit() and len(rank) < 5
    target = wanted.get((base if numbered else raw).lower())
    if target is None or ("{ranks}" in target.key and ranks is None):
        return f"imported.{raw[:_NAME_MAX]}", 1.0
    key = target.key.replace("{ranks}", f"n{ranks}")
    return (f"{key}@gpu{int(rank)}" if numbered else key), target.factor


def _part(devices: Sequence[str], said: str | None) -> tuple[str | None, PartFrom, list[Check]]:
    """The part that the figures are of, who says so, and a contradiction between the file and the person."""
    seen = _part_of(devices)
    if said is None:
        return seen, "file" if seen else "", []
    if seen is not None and seen != said:
        text = f"the file names {devices[0]} ({seen}), the person who imported it {said}: neither is believed"
        return None, "", [Check("accelerator", "fail", text=text)]
    return said, "person", []


def _part_of(devices: Sequence[str]) -> str | None:
    """The one row that all named devices are; None when they differ or one is unknown."""
    found = set()
    for name in set(devices):
        part, _ = match(Accelerator("", "gpu", "", name, "", memory_bytes=0, llc_bytes=0))
        found.add(part.id if part else None)
    return found.pop() if len(found) == 1 else None
