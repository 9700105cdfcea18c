"""Baselines on disk: made from run folders one after the other, written whole, read with everything checked."""

from collections.abc import Sequence
from pathlib import Path

from effbench.model.baseline import Baseline
from effbench.model.error import DocumentError
from effbench.score.baseline import Seen, baseline, sealed, seen
from effbench.store import documents
from effbench.store.runs import record_of

__all__ = ["baseline_of", "load_baseline", "save_baseline"]

# A row is some 600 bytes and a run's digest 80: 10,000 runs of 200 figures by two sets of trials are 1 MB.
_MAX_BYTES = 64 << 20


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


def save_baseline(path: Path, document: Baseline) -> None:
    """Write a baseline. Raises OutputError when the place cannot take it; an old file then stays whole."""
    documents.write(path, documents.encode(document))


def load_baseline(path: Path) -> Baseline:
    """Read a baseline.

    Raises:
        DocumentError: missing, too large, damaged, edited since, from a newer effbench, or with a figure that no share
            can be taken of (zero, negative, not finite).
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        raise DocumentError(f"{path}: cannot read: {error.strerror}") from error
    if size > _MAX_BYTES:
        raise DocumentError(f"{path}: {size / 1e6:.0f} MB is no baseline; `effbench baseline RUN... -o FILE` makes one")
    document = documents.read(path, Baseline)
    if sealed(document).digest != document.digest:
        raise DocumentError(f"{path}: damaged or edited: its content does not match its own digest; make it again")
    rows = {(row.key, tuple(row.trial_keys)) for row in document.rows}
    if len(rows) < len(document.rows):
        raise DocumentError(f"{path}: a figure is given twice for the same trials; make it again")
    return document
