"""What `run` and `qualify` share: a plan measured into its folder, every artefact written, the verdict shown."""

from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from effbench import api
from effbench.cli import options
from effbench.cli.display import LiveDisplay, PlainDisplay
from effbench.cli.main import INTERRUPTED
from effbench.model.error import OutputError
from effbench.model.grade import EXIT_CODES, Grade
from effbench.model.plan import Plan
from effbench.model.policy import Policy
from effbench.model.record import Record
from effbench.model.scorecard import Scorecard
from effbench.run.engine import Options, environment_for_children
from effbench.run.recording import Recording
from effbench.run.site import Site

# What starts the ranks of teams, by name.
LAUNCHERS = click.Choice(["inline", "torchrun", "slurm"])


class Job(msgspec.Struct, frozen=True):
    """Everything that measuring needs, checked: the plan, the node, the folder, how to run, and the rules."""

    todo: Plan
    node: Site
    folder: Path
    settings: Options
    rules: Policy
    done: api.Done = frozenset()


class Result(msgspec.Struct, frozen=True):
    """What measuring came to. `outcome` is that of the run, not the verdict."""

    card: Scorecard
    verdict: Grade
    record: Record
    outcome: str


def job(
    todo: Plan,
    node: Site,
    folder: Path | None,
    allowed_s: float,
    launcher: str,
    rules: Policy,
    site: Path | None,
    recording: Recording | None = None,
    done: api.Done = frozenset(),
) -> Job:
    """Choose the run folder, keep the site's figures in it, and return what is to be done in `allowed_s` seconds.

    Raises:
        InputError, SiteError: the teams of the plan cannot be started. OutputError: the folder cannot take results.
    """
    environment = options.environment()
    api.checked_launch(todo, launcher, environment)
    if folder is None:
        folder = api.checked_folder(api.folder_for(Path("reports/runs"), todo, node.inventory.node))
    if site is not None:
        api.keep_site(folder, site)
    calibrate = api.calibration(api.site_of(folder), node.inventory)
    children = environment_for_children(environment)
    settings = Options(children, allowed_s, api.tool(), recording=recording, calibrate=calibrate, launcher=launcher)
    return Job(todo, node, folder, settings, rules, done)


def measured(work: Job) -> Result:
    """Run the plan, and write every artefact whatever the verdict."""
    folder = work.folder
    shown = LiveDisplay() if options.watched() else PlainDisplay()
    try:
        record, outcome = api.run(work.todo, work.node.inventory, folder, shown, work.settings, work.done)
        shown.end()
        return Result(*_artefacts(folder, record, work.rules), record, outcome)
    except KeyboardInterrupt:
        options.say(f"effbench: what was measured is in {folder}; `effbench replay {folder}` makes its reports")
        raise
    finally:
        shown.end()


def _artefacts(folder: Path, record: Record, rules: Policy) -> tuple[Scorecard, Grade]:
    try:
        return api.artefacts(folder, record, rules)
    except OutputError as error:
        step = f"the journal is whole: make room, then `effbench replay {folder}` (or `-o DIR`) writes all of them"
        raise OutputError(f"{error}; {step}") from error


def present(result: Result, folder: Path, as_json: bool, notes: Sequence[str] = ()) -> int:
    """Show the scorecard and the verdict, with `notes` before it, and return the exit code."""
    card, verdict, record = result.card, result.verdict, result.record
    if as_json:
        document = {**msgspec.to_builtins(card), "grade": msgspec.to_builtins(verdict), "run_dir": str(folder)}
        options.emit_json(document)
    else:
        from effbench.report import terminal

        options.emit(terminal.text(card, verdict, record, options.terminal_width(), options.color()))
        options.emit("\n".join([f"Report: {folder / 'report.html'}", f"Run:    {folder}", *notes]))
        options.emit(f"Verdict: {verdict.verdict}, exit code {EXIT_CODES[verdict.verdict]}")
    return INTERRUPTED if result.outcome == "interrupted" else EXIT_CODES[verdict.verdict]
