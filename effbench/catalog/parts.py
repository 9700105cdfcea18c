"""The rows of accelerators.yaml and what they become: a Part in SI units, with a digest of the facts behind it.

Rows are cut out of the file by their `- id:` lines and parsed one by one when asked for, so that a run which meets two
devices does not pay for the other hundred rows.
"""

import functools
import re
from pathlib import Path
from typing import Any, Literal

import msgspec
import yaml

from effbench.catalog.quantities import parse
from effbench.model.digest import digest as digest_of
from effbench.model.digest import digest_bytes
from effbench.model.inventory import Confidence, Part
from effbench.model.unit import Unit

__all__ = ["Catalog", "CpuMatch", "Row", "catalog", "digest"]

_FILE = Path(__file__).with_name("accelerators.yaml")
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_ROW = re.compile(r"^- id: (\S+)$", re.MULTILINE)


class CpuMatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which CPUs a row is for. `models` are ranges with both ends; an empty list of anything does not restrict."""

    vendors: list[str]
    families: list[int] = []
    models: list[tuple[int, int]] = []
    flags: list[str] = []
    flags_absent: list[str] = []
    isa: str = "x86_64"
    automatic: bool = True


class Clock(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Clocks of a GPU row: behind the matrix peaks, behind the vector peaks, and the most the driver reports."""

    rated: str
    basis: str
    vector: str | None = None
    driver_max: str | None = None


class Memory(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Marketed size, the total a driver was seen to report, kind, and rated bandwidth."""

    size: str | None = None
    driver_total: str | None = None
    type: str = ""
    bandwidth: str | None = None


class Interconnect(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The link between parts, per part."""

    type: str
    bidirectional: str | None = None
    unidirectional: str | None = None
    note: str = ""


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row of accelerators.yaml; the head of that file says how each field is read."""

    id: str
    kind: Literal["gpu", "cpu"]
    title: str
    vendor: str
    arch: str
    source: str
    as_of: str
    evidence: Literal["read", "secondary", "recalled", "measured"]
    confidence: Confidence
    names: list[str] = []
    names_source: str = ""
    match: CpuMatch | None = None
    compute_capability: str = ""
    llvm_target: str = ""
    units: int | None = None
    rate: str | None = None
    rate_excludes: list[str] = []
    per_clock: dict[str, float] = {}
    clock: Clock | None = None
    memory: Memory = Memory()
    peak: dict[str, str] = {}
    computed: dict[str, str] = {}
    verified: dict[str, str] = {}
    emulated: list[str] = []
    power: str | None = None
    power_note: str = ""
    interconnect: Interconnect | None = None
    pcie: str = ""
    release_year: int | None = None
    devices_per_module: int = 1
    notes: str = ""


class Catalog:
    """All rows by id, each parsed at its first use. Lives as long as the program; its content never changes."""

    def __init__(self, path: Path = _FILE) -> None:
        data = path.read_bytes()
        text = data.decode()
        heads = list(_ROW.finditer(text))
        ends = [head.start() for head in heads[1:]] + [len(text)]
        self._texts = {head[1]: text[head.start() : end] for head, end in zip(heads, ends, strict=True)}
        self._head = text[: heads[0].start()]
        self._rows: dict[str, Row] = {}
        self._parts: dict[str, Part] = {}
        self._rates: dict[str, dict[str, float]] | None = None
        self.digest = digest_bytes(data)

    def ids(self) -> list[str]:
        """Return every row's id, in the order of the file."""
        return list(self._texts)

    def row(self, part_id: str) -> Row:
        """Return one row.

        Raises:
            KeyError: no such row.
        """
        if part_id not in self._rows:
            loaded = yaml.load(self._texts[part_id], Loader=_LOADER)
            self._rows[part_id] = msgspec.convert(loaded[0], Row)
        return self._rows[part_id]

    def mentioning(self, text: str) -> list[Row]:
        """Return the rows that contain `text` literally; a cheap first cut, the caller compares fields."""
        return [self.row(part_id) for part_id, body in self._texts.items() if text in body]

    def rates(self) -> dict[str, dict[str, float]]:
        """Return flop per clock and unit by rate name and dtype."""
        if self._rates is None:
            loaded = yaml.load(self._head, Loader=_LOADER)
            self._rates = msgspec.convert(loaded["rates"], dict[str, dict[str, float]])
        return self._rates

    def part(self, part_id: str) -> Part:
        """Return a row as a Part in SI base units.

        Raises:
            KeyError: no such row.
        """
        if part_id not in self._parts:
            self._parts[part_id] = _part(self.row(part_id), self)
        return self._parts[part_id]


@functools.cache
def catalog() -> Catalog:
    """Return the built-in catalogue of accelerators, read once."""
    return Catalog()


def digest() -> str:
    """Return the digest of the catalogue's bytes, for the plan."""
    return catalog().digest


def _part(row: Row, rows: Catalog) -> Part:
    peaks = {name: _value(text, Unit.FLOP_PER_S) for name, text in {**row.peak, **row.computed}.items()}
    per_clock = dict(row.per_clock)
    if row.rate is not None:
        per_clock = {k: v for k, v in rows.rates()[row.rate].items() if k not in row.rate_excludes}
    facts: dict[str, Any] = {
        "id": row.id,
        "peak_flops": peaks,
        "flops_per_clock": per_clock,
        "emulated": row.emulated,
        "memory_bandwidth": _optional(row.memory.bandwidth, Unit.BYTE_PER_S),
        "memory_bytes": _optional(row.memory.size, Unit.BYTE),
        "clock_hz": _optional(row.clock.rated if row.clock else None, Unit.HERTZ),
        "sm_count": row.units,
        "power_w": _optional(row.power, Unit.WATT),
    }
    return Part(
        title=row.title,
        confidence=row.confidence,
        source=row.source,
        as_of=row.as_of,
        # Over the figures alone: a corrected sentence in a row must not make old records incomparable.
        row_digest=digest_of(facts),
        peak_confidence={name: _trust(row, name) for name in peaks},
        notes=row.notes,
        **facts,
    )


def _trust(row: Row, dtype: str) -> Confidence:
    """How far one peak may be trusted: what no vendor printed, or what contradicts the units, is never graded."""
    if dtype in row.computed:
        return "low"
    verified = row.verified.get(dtype, "")
    if verified == "derived":
        return "low"
    if verified.startswith("mismatch"):
        # A few per cent is the rounding of a sheet's totals (GB200: -2.3 %); more is a cap or a misprint.
        off = abs(float(re.sub(r"[^0-9.+-]", "", verified)))
        return "low" if off > 5 or row.confidence == "low" else "medium"
    return row.confidence


def _value(text: str, unit: Unit) -> float:
    quantity = parse(text)
    if quantity.unit is not unit:
        raise ValueError(f"{text!r} is not in {unit}")
    return quantity.value


def _optional(text: str | None, unit: Unit) -> float | None:
    return None if text is None else _value(text, unit)
