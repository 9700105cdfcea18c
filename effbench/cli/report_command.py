"""`effbench report`: render a stored run or scorecard in any format; with `--for enrolment`, decide on a claim too."""

from pathlib import Path

import click
from click.core import ParameterSource

from effbench import api
from effbench.cli import options
from effbench.model.error import InputError
from effbench.model.grade import EXIT_CODES, Grade
from effbench.model.record import Record
from effbench.model.scorecard import Scorecard
from effbench.store import documents
from effbench.store.baselines import load_baseline

# What grades a node for a network unless --policy names another.
ENROLMENT_POLICY = "enrolment-2026"


@click.command("report")
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN|SCORECARD")
@click.option("--format", "form", default="terminal", show_default=True, help="terminal, html, markdown, junit, ...")
@click.option("-o", "file", type=click.Path(path_type=Path), metavar="FILE", help="Write there instead of stdout.")
@click.option(
    "--for",
    "reader",
    type=click.Choice(["enrolment"]),
    help="One page to decide by, then annexes; html, markdown or json. Exits with the verdict.",
)
@click.option("--claim", metavar="TEXT|FILE", help='What the node is said to have: "8x NVIDIA H200", or a claim.yaml.')
@click.option("--lang", default="en", show_default=True, help="Language of the enrolment report: en, zh-Hant.")
@options.policy_option
@options.site_option
@options.baseline_option
def command(
    run: Path,
    form: str,
    file: Path | None,
    reader: str | None,
    claim: str | None,
    lang: str,
    policy: str,
    site: Path | None,
    baseline: Path | None,
) -> int:
    """Render RUN (a run folder, its record.json, or a scorecard.json).

    `--for enrolment` writes the report for the one who decides whether a node joins, under the policy enrolment-2026
    unless --policy names another, and exits with the verdict: 0 accept, 1 reject, 3 not rated, 4 undecided.
    """
    if reader is not None:
        if click.get_current_context().get_parameter_source("policy") is ParameterSource.DEFAULT:
            policy = ENROLMENT_POLICY
        return _enrolment(run, form, file, claim, lang, policy, site, baseline)
    if claim is not None or lang != "en":
        raise InputError("--claim and --lang belong to the enrolment report; add --for enrolment")
    card, record, verdict = _graded(run, policy, site, baseline)
    if form == "terminal" and file is None:
        from effbench.report import terminal

        options.emit(terminal.text(card, verdict, record, options.terminal_width(), options.color()))
        return 0
    _deliver(api.render(form, card, verdict, record), file)
    return 0


def _graded(run: Path, policy: str, site: Path | None, baseline: Path | None) -> tuple[Scorecard, Record | None, Grade]:
    """The scorecard of the run, its record where there is one, and what the policy says of it."""
    rules = api.load_policy(policy, options.search_path(None))
    facts, held = api.load_site(site) if site else None, load_baseline(baseline) if baseline else None
    card, record = api.card_of(run, facts, held)
    return card, record, api.grade(card, rules)


def _enrolment(
    run: Path,
    form: str,
    file: Path | None,
    claim: str | None,
    lang: str,
    policy: str,
    site: Path | None,
    baseline: Path | None,
) -> int:
    """Write the enrolment report and return the exit code of its verdict. Markdown stands in for a terminal."""
    from effbench.catalog.claim import read_claim
    from effbench.grade.claim import enrolment
    from effbench.report.enrolment import render
    from effbench.report.language import load

    load(lang)
    claimed = read_claim(claim) if claim is not None else None
    card, record, verdict = _graded(run, policy, site, baseline)
    document = enrolment(card, verdict, record, claimed)
    _deliver(render("markdown" if form == "terminal" else form, document, card, record, lang), file)
    return EXIT_CODES[document.verdict]


def _deliver(data: bytes, file: Path | None) -> None:
    if file is None:
        options.emit(data)
    else:
        documents.write(file, data)
        options.say(f"wrote {file}")
