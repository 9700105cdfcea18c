"""What `run` and `qualify` share: a plan measured before a person's eyes, and the verdict shown."""

from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from effbench import qualification
from effbench.cli import options
from effbench.cli.display import LiveDisplay, PlainDisplay
from effbench.cli.main import INTERRUPTED
from effbench.model.claim import Enrolment
from effbench.model.grade import EXIT_CODES
from effbench.qualification import Job, Result

# What starts the ranks of teams, by name.
LAUNCHERS = click.Choice(["inline", "torchrun", "slurm"])


def measured(work: Job) -> Result:
    """Run the plan, and write every artefact whatever the verdict."""
    try:
        return qualification.measured(work, LiveDisplay() if options.watched() else PlainDisplay())
    except KeyboardInterrupt:
        options.say(
            f"effbench: what was measured is in {work.folder}; `effbench replay {work.folder}` makes its reports"
        )
        raise


def present(
    result: Result, folder: Path, as_json: bool, notes: Sequence[str] = (), enrolled: Enrolment | None = None
) -> int:
    """Show the scorecard and the verdict, with `notes` before it, and return the exit code, of an enrolment its own."""
    card, verdict, record = result.card, result.verdict, result.record
    said = enrolled.verdict if enrolled is not None else verdict.verdict
    if as_json:
        document = {**msgspec.to_builtins(card), "grade": msgspec.to_builtins(verdict), "run_dir": str(folder)}
        document |= {"enrolment": msgspec.to_builtins(enrolled)} if enrolled is not None else {}
        options.emit_json(document)
    else:
        from effbench.report import terminal

        options.emit(terminal.text(card, verdict, record, options.terminal_width(), options.color()))
        options.emit("\n".join([f"Report: {folder / 'report.html'}", f"Run:    {folder}", *notes]))
        if enrolled is not None:
            options.emit(f"Enrolment: {folder / qualification.ENROLMENT['html']}")
        options.emit(f"Verdict: {said}, exit code {EXIT_CODES[said]}")
    return INTERRUPTED if result.outcome == "interrupted" else EXIT_CODES[said]
