"""`effbench grade`: grade a stored run or scorecard; exit with the verdict."""

from pathlib import Path

import click

from effbench import api
from effbench.cli import options
from effbench.cli.import_command import grade_import
from effbench.model.grade import EXIT_CODES
from effbench.score.against_baseline import against_baseline
from effbench.store.baselines import load_baseline
from effbench.store.imports import is_import


@click.command("grade")
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN|SCORECARD")
@options.policy_option
@options.site_option
@click.option(
    "--baseline",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Hold the run against this baseline too; `effbench baseline RUN... -o FILE` makes one.",
)
@options.json_option
def command(run: Path, policy: str, site: Path | None, baseline: Path | None, as_json: bool) -> int:
    """Grade RUN (a run folder, its record.json, or a scorecard.json) and exit with the verdict's code.

    With --baseline every figure that the baseline has by the same trials gets its share of it; a policy such as
    ci-qualification asks for these shares.
    """
    rules = api.load_policy(policy, options.search_path(None))
    if is_import(run):
        return grade_import(run, rules, as_json)
    card, record = api.card_of(run, api.load_site(site) if site else None)
    if baseline is not None:
        if record is None:
            raise api.InputError(f"{run}: a scorecard does not say by which trials; give the run folder or its record")
        card = against_baseline(card, record, load_baseline(baseline))
    verdict = api.grade(card, rules)
    if as_json:
        options.emit_json(verdict)
    else:
        from effbench.report import terminal

        options.emit(terminal.text(card, verdict, None, options.terminal_width(), options.color()))
        options.emit(f"Verdict: {verdict.verdict}, exit code {EXIT_CODES[verdict.verdict]}")
    return EXIT_CODES[verdict.verdict]
