"""`effbench grade`: grade a stored run or scorecard; exit with the verdict."""

from pathlib import Path

import click

from effbench import api
from effbench.cli import options
from effbench.cli.import_command import grade_import
from effbench.model.grade import EXIT_CODES
from effbench.store.imports import is_import


@click.command("grade")
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN|SCORECARD")
@options.policy_option
@options.site_option
@options.json_option
def command(run: Path, policy: str, site: Path | None, as_json: bool) -> int:
    """Grade RUN (a run folder, its record.json, or a scorecard.json) and exit with the verdict's code."""
    rules = api.load_policy(policy, options.search_path(None))
    if is_import(run):
        return grade_import(run, rules, as_json)
    card, _ = api.card_of(run, api.load_site(site) if site else None)
    verdict = api.grade(card, rules)
    if as_json:
        options.emit_json(verdict)
    else:
        from effbench.report import terminal

        options.emit(terminal.text(card, verdict, None, options.terminal_width(), options.color()))
        options.emit(f"Verdict: {verdict.verdict}, exit code {EXIT_CODES[verdict.verdict]}")
    return EXIT_CODES[verdict.verdict]
