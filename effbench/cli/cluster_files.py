"""Scores a campaign's folder, writes `cluster.json` and its reports beside the nodes' folders, and shows the result."""

from pathlib import Path

import msgspec

from effbench import api, report
from effbench.cli import options
from effbench.model.grade import EXIT_CODES, Grade
from effbench.model.policy import Policy
from effbench.model.scorecard import Scorecard
from effbench.store import documents
from effbench.store.nodes import CLUSTER, cluster_card


def write(folder: Path, rules: Policy) -> tuple[Scorecard, Grade]:
    """Score the campaign in `folder` under `rules` and write every artefact, whatever the verdict.

    Raises:
        InputError: `folder` holds no campaign, or not one node reported. OutputError: it cannot be written.
    """
    card = cluster_card(folder, rules)
    verdict = api.grade(card, rules)
    documents.write(folder / CLUSTER, documents.encode(card))
    documents.write(folder / documents.GRADE, documents.encode(verdict))
    for name in report.names():
        reporter = report.load(name)
        if reporter.FILENAME and reporter.FILENAME != documents.SCORECARD:
            documents.write(folder / reporter.FILENAME, reporter.render(card, verdict, None))
    return card, verdict


def show(folder: Path, card: Scorecard, verdict: Grade, as_json: bool) -> int:
    """Print what `write` returned, for people or as one JSON document, and return the exit code of the verdict."""
    from effbench.report import terminal

    if as_json:
        document = {**msgspec.to_builtins(card), "grade": msgspec.to_builtins(verdict), "run_dir": str(folder)}
        options.emit_json(document)
    else:
        options.emit(terminal.text(card, verdict, None, options.terminal_width(), options.color()))
        options.emit(f"Report:  {folder / 'report.html'}\nCluster: {folder / CLUSTER}")
        options.emit(f"Verdict: {verdict.verdict}, exit code {EXIT_CODES[verdict.verdict]}")
    return EXIT_CODES[verdict.verdict]
