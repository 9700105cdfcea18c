"""What a healthy part reaches, and the spreads assumed until they are measured. The rows are in references.yaml."""

import functools
from pathlib import Path
from typing import Literal

import msgspec

from effbench.catalog.parts import catalog
from effbench.catalog.quantities import parse
from effbench.catalog.yaml import rows as load_rows
from effbench.model.inventory import Accelerator, Confidence, Part
from effbench.model.quantity import Ceiling
from effbench.model.unit import Unit

__all__ = ["PartClass", "ReferenceRow", "assumed_tau", "practical_margin", "reference", "references"]

_FILE = Path(__file__).with_name("references.yaml")

Kind = Literal["gpu", "cpu"]


class PartClass(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A class of parts: every field given must fit. `memory_type` is a prefix; `pcie` the device's best link."""

    kind: Kind
    vendor: str | None = None
    arch: str | None = None
    memory_type: str | None = None
    pcie: str | None = None


class ReferenceRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row of references.yaml; the head of that file says how each field is read."""

    metric: str
    protocol: Literal["burst", "sustained"]
    source: str
    as_of: str
    confidence: Confidence
    parts: list[str] = []
    any: PartClass | None = None
    cores: int | None = None
    virtual: bool | None = None
    value: str | None = None
    share: str | None = None
    assumed: bool = False

    def __post_init__(self) -> None:
        if (self.value is None) == (self.share is None):
            raise ValueError(f"the reference for {self.metric} needs either a value or a share")
        if bool(self.parts) == (self.any is not None):
            raise ValueError(f"the reference for {self.metric} needs either parts or a class")


class Spread(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Assumed relative spread between rounds (`tau`), and the relative difference that matters (`margin`)."""

    kind: Kind
    tau: str
    margin: str
    source: str
    as_of: str


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    schema: Literal["effbench.references/1"]
    references: list[ReferenceRow]
    spreads: list[Spread]


@functools.cache
def _file() -> _File:
    return msgspec.convert(load_rows(_FILE), _File)


def references() -> list[ReferenceRow]:
    """Return every reference row, in the order of the file."""
    return _file().references


def reference(part: Part, accelerator: Accelerator, metric_key: str, protocol: str) -> Ceiling | None:
    """Return what a healthy `part` reaches in `metric_key` under `protocol`, or None where nobody has said.

    A value is in the metric's unit. A GPU's share times the part's rated peak is in the unit of that peak; a CPU's
    share stands for itself in unit 1, to be held against the fraction at the held clock. Shares and assumed values
    are `provisional`. A share whose peak the part lacks gives None.
    """
    fitting = [row for row in _about(metric_key, protocol) if _applies(row, part, accelerator)]
    for row in sorted(fitting, key=_looseness):
        ceiling = _ceiling(row, part, accelerator, metric_key)
        if ceiling is not None:
            return ceiling
    return None


def assumed_tau(kind: Kind) -> tuple[float, str, str]:
    """Return the assumed relative spread between rounds of a device class, its source and its date."""
    row = _spread(kind)
    return parse(row.tau).value, row.source, row.as_of


def practical_margin(kind: Kind) -> float:
    """Return the least relative difference between two runs that matters for a device class."""
    return parse(_spread(kind).margin).value


def _spread(kind: Kind) -> Spread:
    return next(row for row in _file().spreads if row.kind == kind)


@functools.lru_cache(maxsize=4096)  # every figure of every device of every node asks
def _about(key: str, protocol: str) -> tuple[ReferenceRow, ...]:
    return tuple(row for row in references() if row.protocol == protocol and _same_key(row.metric, key))


def _applies(row: ReferenceRow, part: Part, accelerator: Accelerator) -> bool:
    if row.parts and part.id not in row.parts:
        return False
    if row.any is not None and not _in_class(row.any, part, accelerator):
        return False
    cpu = accelerator.cpu
    if row.cores is not None and (cpu is None or int(cpu.cores_usable) != row.cores):
        return False
    return row.virtual is None or (cpu is not None and cpu.virtual == row.virtual)


def _same_key(pattern: str, key: str) -> bool:
    wanted, given = pattern.split("."), key.split(".")
    return len(wanted) == len(given) and all(w in ("*", g) for w, g in zip(wanted, given, strict=True))


def _in_class(wanted: PartClass, part: Part, accelerator: Accelerator) -> bool:
    if wanted.kind != accelerator.kind or part.id not in catalog().ids():
        return False
    row = catalog().row(part.id)
    if wanted.vendor is not None and wanted.vendor != row.vendor:
        return False
    if wanted.arch is not None and wanted.arch != row.arch:
        return False
    if wanted.memory_type is not None and not row.memory.type.startswith(wanted.memory_type):
        return False
    link = accelerator.pcie
    best = f"{link.generation_max}.0 x{link.width_max}" if link else ""
    return wanted.pcie is None or wanted.pcie == best


def _looseness(row: ReferenceRow) -> tuple[bool, int, bool, bool]:
    """Sort key: a part before a class, more conditions before fewer, a value before a share, seen before assumed."""
    conditions = sum(c is not None for c in (row.cores, row.virtual))
    if row.any is not None:
        conditions += sum(getattr(row.any, name) is not None for name in row.any.__struct_fields__)
    return row.any is not None, -conditions, row.share is not None, row.assumed


def _ceiling(row: ReferenceRow, part: Part, accelerator: Accelerator, key: str) -> Ceiling | None:
    figure = _figure(row, part, accelerator, key)
    if figure is None:
        return None
    value, unit, trust = figure
    return Ceiling(
        value=value,
        unit=unit,
        source=row.source,
        as_of=row.as_of,
        confidence="low" if "low" in (trust, row.confidence) else row.confidence,
        provisional=row.assumed or row.share is not None,
        protocol=row.protocol,
    )


def _figure(row: ReferenceRow, part: Part, accelerator: Accelerator, key: str) -> tuple[float, Unit, Confidence] | None:
    """The row's figure in SI units and the trust in what it multiplies; None for a share of a peak the part lacks."""
    if row.value is not None:
        quantity = parse(row.value)
        return quantity.value, quantity.unit, row.confidence
    share = parse(row.share or "").value
    if accelerator.kind == "cpu":
        return share, Unit.ONE, part.confidence
    if key.startswith("memory."):
        bandwidth = part.memory_bandwidth
        return None if bandwidth is None else (share * bandwidth, Unit.BYTE_PER_S, part.confidence)
    name = _peak_key(part, key)
    if name not in part.peak_flops:
        return None
    return share * part.peak_flops[name], Unit.FLOP_PER_S, part.peak_confidence.get(name, part.confidence)


def _peak_key(part: Part, key: str) -> str:
    """The peak behind a compute key: a matrix product's own format (fp64 on tensor cores if it can), else bf16."""
    segments = key.split(".")
    dtype = segments[2] if segments[:2] == ["compute", "gemm"] else "bf16"
    return "fp64_tensor" if dtype == "fp64" and "fp64_tensor" in part.peak_flops else dtype
