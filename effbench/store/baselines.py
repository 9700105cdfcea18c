"""Baselines on disk, of runs and of imports: written whole, read with everything checked."""

from pathlib import Path
from typing import TypeVar

from effbench.model.baseline import Baseline
from effbench.model.error import DocumentError
from effbench.model.imported import ImportedBaseline
from effbench.score.baseline import sealed
from effbench.score.imported_baseline import sealed_import
from effbench.store import documents

__all__ = ["load_baseline", "load_imported", "save_baseline"]

# A row is some 600 bytes and a run's digest 80: 10,000 runs of 200 figures by two sets of trials are 1 MB.
_MAX_BYTES = 64 << 20
T = TypeVar("T", Baseline, ImportedBaseline)


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
