"""`effbench run`: measure, score, grade, report; exit with the verdict."""

import sys
from pathlib import Path

import click

from effbench import api
from effbench.cli import options
from effbench.cli.display import LiveDisplay, PlainDisplay
from effbench.cli.main import INTERRUPTED
from effbench.model.grade import EXIT_CODES, Grade
from effbench.model.record import Record
from effbench.model.scorecard import Scorecard
from effbench.run.engine import Options, environment_for_children


@click.command("run")
@click.argument("suite", default="node/quick", metavar="[SUITE]")
@click.option("--device", default="all", show_default=True, help="all, cpu, or names such as gpu0,gpu1 (or cuda:0).")
@options.policy_option
@click.option("--budget", type=float, metavar="S", help="Seconds from start to report; the suite's own if absent.")
@click.option("--only", metavar="GLOB", help="Run only the trials or workloads whose id matches.")
@click.option("--resume", type=click.Path(path_type=Path, exists=True), metavar="RUN", help="Continue a run folder.")
@click.option("-o", "folder", type=click.Path(path_type=Path), metavar="DIR", help="The run folder; must be empty.")
@click.option("--fake", metavar="PART[*N]", help="Simulate devices of the catalogue, to try effbench without them.")
@options.workloads_option
@options.json_option
def command(
    suite: str,
    device: str,
    policy: str,
    budget: float | None,
    only: str | None,
    resume: Path | None,
    folder: Path | None,
    fake: str | None,
    workloads: Path | None,
    as_json: bool,
) -> int:
    """Measure this node with SUITE (default node/quick) and rate it.

    Writes journal, record, scorecard, grade, HTML, Markdown, JUnit and Prometheus files into the run folder, and
    ends with the verdict as exit code: 0 pass, 1 fail, 3 not rated, 4 undecided.
    """
    extra = options.search_path(workloads)
    asked = api.load_suite(suite, extra)
    rules = api.load_policy(policy, extra)
    if resume is not None:
        folder = resume if resume.is_dir() else resume.parent
        earlier = api.unfinished(folder)
    else:
        earlier = None
        if folder is not None:
            api.checked_folder(folder)
    site = api.look(options.environment(), fake)
    todo = api.plan(asked, site, device, only)
    if earlier is not None:
        todo = api.joined(earlier, todo)
    allowed_s = api.budget(todo, budget)
    if folder is None:
        folder = api.checked_folder(api.folder_for(Path("reports/runs"), todo, site.inventory.node))
    shown = LiveDisplay() if sys.stderr.isatty() else PlainDisplay()
    settings = Options(environment_for_children(options.environment()), allowed_s, api.tool())
    done = api.finished(folder) if resume is not None else frozenset()
    try:
        record, outcome = api.run(todo, site.inventory, folder, shown, settings, done)
    finally:
        shown.end()
    card, verdict = api.artefacts(folder, record, rules)
    _present(card, verdict, record, folder, as_json)
    return INTERRUPTED if outcome == "interrupted" else EXIT_CODES[verdict.verdict]


def _present(card: Scorecard, verdict: Grade, record: Record, folder: Path, as_json: bool) -> None:
    if as_json:
        import msgspec

        document = {**msgspec.to_builtins(card), "grade": msgspec.to_builtins(verdict), "run_dir": str(folder)}
        options.emit_json(document)
        return
    from effbench.report import terminal

    options.emit(terminal.text(card, verdict, record, options.terminal_width(), options.color()))
    options.emit(f"Report: {folder / 'report.html'}\nRun:    {folder}")
    options.emit(f"Verdict: {verdict.verdict}, exit code {EXIT_CODES[verdict.verdict]}")
