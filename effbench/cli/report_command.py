"""`effbench report`: render a stored run or scorecard in any format."""

from pathlib import Path

import click

from effbench import api
from effbench.cli import options
from effbench.store import documents


@click.command("report")
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN|SCORECARD")
@click.option("--format", "form", default="terminal", show_default=True, help="terminal, html, markdown, junit, ...")
@click.option("-o", "file", type=click.Path(path_type=Path), metavar="FILE", help="Write there instead of stdout.")
@options.policy_option
@options.site_option
def command(run: Path, form: str, file: Path | None, policy: str, site: Path | None) -> int:
    """Render RUN (a run folder, its record.json, or a scorecard.json)."""
    card, record = api.card_of(run, api.load_site(site) if site else None)
    verdict = api.grade(card, api.load_policy(policy, options.search_path(None)))
    if form == "terminal" and file is None:
        from effbench.report import terminal

        options.emit(terminal.text(card, verdict, record, options.terminal_width(), options.color()))
        return 0
    data = api.render(form, card, verdict, record)
    if file is None:
        options.emit(data)
    else:
        documents.write(file, data)
        options.say(f"wrote {file}")
    return 0
