"""`effbench replay`: journal to record to every artefact, byte for byte."""

from pathlib import Path

import click

from effbench import api
from effbench.cli import options
from effbench.model.record import USABLE
from effbench.store.runs import carry


@click.command("replay")
@click.argument("run", type=click.Path(path_type=Path, exists=True), metavar="RUN")
@click.option("-o", "folder", type=click.Path(path_type=Path), metavar="DIR", help="Write there instead of into RUN.")
@options.policy_option
@options.site_option
def command(run: Path, folder: Path | None, policy: str, site: Path | None) -> int:
    """Rebuild record, scorecard, grade and reports of RUN from its journal; what is whole is salvaged."""
    source = run if run.is_dir() else run.parent
    rules = api.load_policy(policy, options.search_path(None))
    facts = api.load_site(site) if site else api.site_of(source)
    record = api.replay(source)
    target = source if folder is None else api.checked_folder(folder)
    if target != source:
        carry(source, target)
    if site is not None:
        api.keep_site(target, site)
    _, verdict = api.artefacts(target, record, rules, facts)
    for finding in record.findings:
        if finding.code == "record-truncated":
            options.say(f"warning: {finding.message}")
    planned = [m for m in record.measurements if m.status != "skipped"]
    done = sum(m.status in USABLE for m in planned)
    options.emit(f"{target}: {done} of {len(planned)} trials gave a figure; verdict {verdict.verdict}")
    return 0
