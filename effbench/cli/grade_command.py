"""`effbench grade`: grade a stored run or scorecard; exit with the verdict."""

from pathlib import Path

import click

from effbench import api
from effbench.cli import options
from effbench.cli.grade_lines import are_lines, grade_lines
from effbench.cli.import_command import grade_import
from effbench.model.grade import EXIT_CODES
from effbench.store.baselines import load_baseline
from effbench.store.imports import is_import


@click.command("grade")
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN|SCORECARD")
@options.policy_option
@options.site_option
@options.baseline_option
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Of scorecards in JSON lines: write the grades here.",
)
@options.json_option
def command(
    run: Path, policy: str, site: Path | None, baseline: Path | None, output: Path | None, as_json: bool
) -> int:
    """Grade RUN (a run folder, its record.json, or a scorecard.json) and exit with the verdict's code.

    With --baseline every figure that the baseline has by the same trials gets its share of it; a policy such as
    ci-qualification asks for these shares. Of an import the baseline is one of imports: it says which nodes are far
    off, and rates none.

    A file of JSON lines (FILE.jsonl, a scorecard in every line) gives a grade in every line and the gravest verdict. A
    line that cannot be read costs only itself and counts as not rated.
    """
    rules = api.load_policy(policy, options.search_path(None))
    many = are_lines(run) and not is_import(run)
    if many and (site or baseline or as_json):
        raise click.UsageError("scorecards in JSON lines give a grade in every line; --policy and -o are all they take")
    if output is not None and not many:
        raise click.UsageError("-o is for scorecards in JSON lines (FILE.jsonl); leave it out")
    if many:
        return grade_lines(run, rules, output)
    if is_import(run):
        return grade_import(run, rules, as_json, baseline)
    held = load_baseline(baseline) if baseline else None
    card, _ = api.card_of(run, api.load_site(site) if site else None, held)
    verdict = api.grade(card, rules)
    if as_json:
        options.emit_json(verdict)
    else:
        from effbench.report import terminal

        options.emit(terminal.text(card, verdict, None, options.terminal_width(), options.color()))
        options.emit(f"Verdict: {verdict.verdict}, exit code {EXIT_CODES[verdict.verdict]}")
    return EXIT_CODES[verdict.verdict]
