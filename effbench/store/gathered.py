"""Many runs, or many imported nodes, gathered into one baseline: read one after the other, a bad one named."""

from collections.abc import Sequence
from pathlib import Path

from effbench.model.baseline import Baseline
from effbench.model.error import DocumentError, InputError
from effbench.model.imported import ImportedBaseline
from effbench.score.baseline import Seen, baseline, seen
from effbench.score.imported import Fleet
from effbench.score.imported_baseline import imported_baseline
from effbench.store.imports import records_of
from effbench.store.runs import record_of

__all__ = ["baseline_of", "baseline_of_imports"]


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
