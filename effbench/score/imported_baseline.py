"""Imported fleets to what they have in common, and a later import held against it. Medians only; it rates nothing."""

from collections.abc import Callable, Mapping

import msgspec
import numpy as np

from effbench.catalog.references import assumed_tau, practical_margin
from effbench.model.baseline import Kinds
from effbench.model.digest import digest
from effbench.model.error import InputError
from effbench.model.imported import Apart, ImportedBaseline, ImportedRecord, ImportedRow, Outlier
from effbench.score.imported import Fleet, outlier, reach
from effbench.stats.center import center
from effbench.stats.outlying import SIGMA_PER_MAD, split
from effbench.stats.quantile import Samples

__all__ = ["against", "imported_baseline", "sealed_import"]

# What this part of the nodes has is expected of a node.
COMMON = 0.5


def imported_baseline(fleet: Fleet, format_name: str) -> ImportedBaseline:
    """Return the robust centre of every figure of `fleet`, and how it stands to the rated peak of its parts.

    Raises:
        InputError: there is not one figure.
    """
    rows = [_row(*figure) for figure in fleet.figures()]
    if not rows:
        raise InputError("the imported nodes have not one figure that a baseline could rest on")
    anchors, findings = fleet.against_peak()
    return sealed_import(
        ImportedBaseline("effbench.importedbaseline/1", "", format_name, len(fleet), rows, anchors, findings)
    )


def sealed_import(document: ImportedBaseline) -> ImportedBaseline:
    """Return `document` with the digest over all its other fields."""
    return msgspec.structs.replace(document, digest=digest(msgspec.structs.replace(document, digest="")))


def _row(figure: str, nodes: int, values: Samples) -> ImportedRow:
    at = center(values)
    found = split(values, abs(at.median) * assumed_tau("gpu")[0], practical_margin("gpu"))
    kinds = None if found is None else Kinds(found.low, found.high, found.n_low, found.n_high)
    return ImportedRow(figure, nodes, at.n, at.median, float(np.min(values)), float(np.max(values)), at.mad, kinds)


def against(baseline: ImportedBaseline) -> Callable[[ImportedRecord], Apart]:
    """Return what says of one record after the other how it stands to `baseline`.

    Only rows of three values and more, all of one kind, say what is ordinary. What is returned raises InputError for a
    record of another format.
    """
    ordinary = {row.figure: row for row in baseline.rows if row.mad is not None and row.kinds is None}
    common = [row.figure for row in baseline.rows if row.nodes > COMMON * baseline.nodes]

    def of(record: ImportedRecord) -> Apart:
        if record.imported != baseline.imported:
            raise InputError(f"the baseline is of {baseline.imported} files, {record.node} was read from another kind")
        mine = {_key(name) for name in (*record.figures, *record.not_finite)}
        return Apart(_far(record, ordinary), [figure for figure in common if figure not in mine])

    return of


def _key(name: str) -> str:
    """The figure that a name belongs to: of a key of ours over all devices."""
    return name if name.startswith("imported.") else name.partition("@")[0]


def _far(record: ImportedRecord, ordinary: Mapping[str, ImportedRow]) -> list[Outlier]:
    found = []
    floor = assumed_tau("gpu")[0]
    for name, value in record.figures.items():
        key = _key(name)
        row = ordinary.get(key)
        if row is None or row.mad is None:
            continue
        sigma = max(SIGMA_PER_MAD * row.mad, floor * abs(row.median))
        if abs(value - row.median) > reach(row.median, sigma):
            found.append(outlier(key, name, value, row.median, sigma))
    return sorted(found, key=lambda o: (o.worse is False, -abs(o.score), o.figure))
