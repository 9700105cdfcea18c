"""Shows a campaign's scorecard: for people, or as one JSON document."""

from pathlib import Path

import msgspec

from effbench.cli import options
from effbench.model.grade import EXIT_CODES, Grade
from effbench.model.scorecard import Scorecard
from effbench.store.nodes import CLUSTER


def show(folder: Path, card: Scorecard, verdict: Grade, as_json: bool) -> int:
    """Print a scorecard and its grade, for people or as one JSON document; return the exit code of the verdict."""
    from effbench.report import terminal

    if as_json:
        document = {**msgspec.to_builtins(card), "grade": msgspec.to_builtins(verdict), "run_dir": str(folder)}
        options.emit_json(document)
    else:
        options.emit(terminal.text(card, verdict, None, options.terminal_width(), options.color()))
        options.emit(f"Report:  {folder / 'report.html'}\nCluster: {folder / CLUSTER}")
        options.emit(f"Verdict: {verdict.verdict}, exit code {EXIT_CODES[verdict.verdict]}")
    return EXIT_CODES[verdict.verdict]
