"""`effbench baseline`: what a set of runs reached, to hold later runs against."""

from collections.abc import Sequence
from pathlib import Path

import click

from effbench.catalog.metrics import lookup
from effbench.cli import options
from effbench.model.baseline import Baseline, BaselineRow
from effbench.model.error import InputError
from effbench.model.imported import ImportedBaseline, ImportedRow
from effbench.report.format import percent, quantity
from effbench.score.against_baseline import shared, untrusted
from effbench.stats.outlying import SIGMA_PER_MAD
from effbench.store.baselines import save_baseline
from effbench.store.gathered import baseline_of, baseline_of_imports
from effbench.store.imports import is_import


@click.command("baseline")
@click.argument("runs", type=click.Path(path_type=Path), metavar="RUN...", nargs=-1, required=True)
@click.option("-o", "file", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Keep it in FILE.")
@options.json_option
def command(runs: tuple[Path, ...], file: Path | None, as_json: bool) -> int:
    """Make a baseline of RUN...: median and spread of every figure, two kinds told apart, beside the reference.

    RUN... may be folders that `effbench import` wrote: medians of what another tool measured, to see who is far off.

    One line per figure and set of trials: KEY, runs, median, robust spread, median share of the reference, and what
    keeps it from being graded against. `effbench grade RUN --baseline FILE` holds a run against it. A run that cannot
    be read is named and left out.

    Exit codes: 0 a baseline was made, 2 the runs do not make one.
    """
    imports = [path for path in runs if is_import(path)]
    if imports:
        return _of_imports(runs, imports, file, as_json)
    document, problems = baseline_of(runs)
    for problem in problems:
        options.say(f"effbench: left out: {problem}")
    if as_json:
        options.emit_json(document)
    else:
        doubts = untrusted(document)
        options.emit("\n".join(_line(row, doubt) for row, doubt in zip(document.rows, doubts, strict=True)))
        options.say(_summary(document, doubts))
    _kept(document, file, as_json)
    return 0


def _of_imports(runs: Sequence[Path], imports: Sequence[Path], file: Path | None, as_json: bool) -> int:
    """Make, show and keep a baseline of imports."""
    if len(imports) < len(runs):
        raise InputError(f"{imports[0]} is an import and some others are runs; make a baseline of each")
    document = baseline_of_imports(imports)
    if as_json:
        options.emit_json(document)
    else:
        options.emit("\n".join(options.plain(_imported(row)) for row in document.rows))
        for a in document.anchors:
            options.say(f"{a.figure}: the median is {percent(a.share)} of the rated peak of {a.part}")
        for finding in document.findings:
            options.say(f"{finding.severity}: {finding.message}  [{finding.code}]")
        options.say(f"baseline of {document.nodes} imported nodes: {len(document.rows)} figures; it rates nothing")
    _kept(document, file, as_json)
    return 0


def _imported(row: ImportedRow) -> str:
    """One figure of another tool; only a key of ours has a unit."""
    known = None if row.figure.startswith("imported.") else lookup(row.figure)

    def shown(value: float) -> str:
        return f"{value:.4g}" if known is None else quantity(value, known.unit, row.figure)

    spread = "-"
    if row.mad is not None and row.median:
        spread = f"± {percent(SIGMA_PER_MAD * row.mad / abs(row.median), 2)}"
    cells = [row.figure, f"{row.n} values", shown(row.median), spread]
    if row.kinds is not None:
        low, high = shown(row.kinds.low), shown(row.kinds.high)
        cells.append(f"two kinds: {row.kinds.n_low} values at {low}, {row.kinds.n_high} at {high}")
    return "  ".join(cells)


def _kept(document: Baseline | ImportedBaseline, file: Path | None, as_json: bool) -> None:
    if file is not None:
        save_baseline(file, document)
        options.say(f"wrote {file}")
    elif not as_json:
        options.say("nothing was kept; -o FILE keeps it")


def _line(row: BaselineRow, doubt: str) -> str:
    spread = f"± {percent(SIGMA_PER_MAD * row.mad / row.median, 2)}" if row.mad is not None else "-"
    share = f"{percent(row.anchor.share)} of the reference" if row.anchor is not None else "-"
    cells = [row.key, _runs(row.n), quantity(row.median, row.unit, row.key), spread, share]
    if row.kinds is not None:
        low, high = (quantity(value, row.unit, row.key) for value in (row.kinds.low, row.kinds.high))
        cells.append(f"two kinds: {_runs(row.kinds.n_low)} at {low}, {row.kinds.n_high} at {high}")
    elif doubt and shared(row.key):
        cells.append(doubt)
    return "  ".join(cells)


def _runs(n: int) -> str:
    return "1 run" if n == 1 else f"{n} runs"


def _summary(document: Baseline, doubts: list[str]) -> str:
    graded = sum(shared(row.key) and not doubt for row, doubt in zip(document.rows, doubts, strict=True))
    nodes = "1 node" if document.nodes == 1 else f"{document.nodes} nodes"
    text = f"baseline of {_runs(len(document.runs))} of {nodes}: {len(document.rows)} figures, {graded} fit for a grade"
    return f"{text}; {len(document.omitted)} kinds of figure left out" if document.omitted else text
