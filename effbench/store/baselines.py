"""Baselines on disk: made of run folders or imports one after the other, written whole, read with all checked."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from effbench.model.baseline import Baseline
from effbench.model.error import DocumentError, InputError
from effbench.model.imported import ImportedBaseline
from effbench.score.baseline import Seen, baseline, sealed, seen
from effbench.score.imported import Fleet
from effbench.score.imported_baseline import imported_baseline, sealed_import
from effbench.store import documents
from effbench.store.imports import records_of
from effbench.store.runs import record_of

__all__ = ["baseline_of", "baseline_of_imports", "load_baseline", "load_imported", "save_baseline"]

# A row is some 600 bytes and a run's digest 80: 10,000 runs of 200 figures by two sets of trials are 1 MB.
_MAX_BYTES = 64 << 20
T = TypeVar("T", Baseline, ImportedBaseline)


def baseline_of(paths: Sequence[Path]) -> tuple[Baseline, list[str]]:
    """Make the baseline of the runs at `paths`; return it and what each run that could not be read said.

    Raises:
        InputError: no run could be read, or those that could do not make a baseline.
    """
    runs: list[Seen] = []
    problems: list[str] = []
    for path in paths:
        try:
            runs.append(seen(record_of(path)))
        except DocumentError as error:
            problems.append(str(error))
    if not runs and problems:
        raise DocumentError("\n".join(["not one of the runs can be read", *problems]))
    return baseline(runs), problems


def baseline_of_imports(paths: Sequence[Path]) -> ImportedBaseline:
    """Make the baseline of the imports at `paths`, read record by record.

    Raises:
        InputError: they are of several formats, one is given twice, or no record has a figure.
        DocumentError: one cannot be read as far as its end.
    """
    if len({path.resolve() for path in paths}) < len(paths):
        raise InputError("an import is given twice; a copy is no further measurement, leave it out")
    fleet, formats = Fleet(), set[str]()
    for path in paths:
        for record in records_of(path):
            formats.add(record.imported)
            fleet.add(record)
    if len(formats) > 1:
        raise InputError(f"some imports are of {' and some of '.join(sorted(formats))}; make a baseline of each")
    return imported_baseline(fleet, next(iter(formats), ""))


def save_baseline(path: Path, document: Baseline | ImportedBaseline) -> None:
    """Write a baseline. Raises OutputError when the place cannot take it; an old file then stays whole."""
    documents.write(path, documents.encode(document))


def load_baseline(path: Path) -> Baseline:
    """Read a baseline.

    Raises:
        DocumentError: missing, too large, damaged, edited since, from a newer effbench, or with a figure that no share
            can be taken of (zero, negative, not finite).
    """
    document = _read(path, Baseline)
    if sealed(document).digest != document.digest:
        raise DocumentError(f"{path}: damaged or edited: its content does not match its own digest; make it again")
    rows = {(row.key, tuple(row.trial_keys)) for row in document.rows}
    if len(rows) < len(document.rows):
        raise DocumentError(f"{path}: a figure is given twice for the same trials; make it again")
    return document


def load_imported(path: Path) -> ImportedBaseline:
    """Read a baseline of imports.

    Raises:
        DocumentError: missing, too large, damaged, edited since, from a newer effbench, or of another kind.
    """
    document = _read(path, ImportedBaseline)
    if sealed_import(document).digest != document.digest:
        raise DocumentError(f"{path}: damaged or edited: its content does not match its own digest; make it again")
    if len({row.figure for row in document.rows}) < len(document.rows):
        raise DocumentError(f"{path}: a figure is given twice; make it again")
    return document


def _read(path: Path, kind: type[T]) -> T:
    what = "RUN..." if kind is Baseline else "DIR (the folder of an import)"
    try:
        size = path.stat().st_size
    except OSError as error:
        raise DocumentError(f"{path}: cannot read: {error.strerror}") from error
    if size > _MAX_BYTES:
        raise DocumentError(f"{path}: {size / 1e6:.0f} MB is no baseline; `effbench baseline {what} -o FILE` makes one")
    try:
        return documents.read(path, kind)
    except DocumentError as error:
        raise DocumentError(f"{error}; `effbench baseline {what} -o FILE` makes one") from error
