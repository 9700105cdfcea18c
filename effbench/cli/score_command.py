"""`effbench score`: a stored record to its scorecard, again, without hardware."""

from pathlib import Path

import click

from effbench import api
from effbench.cli import options


@click.command("score")
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@options.site_option
def command(run: Path, site: Path | None) -> int:
    """Print the scorecard of RUN (a run folder or its record.json) as JSON."""
    options.emit(api.encode(api.score(api.record_of(run), api.load_site(site) if site else api.site_of(run))))
    return 0
