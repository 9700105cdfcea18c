"""`effbench meter`: a copy of a run that holds a wall meter's log beside the devices' own sensors."""

from pathlib import Path

import click

from effbench import api
from effbench.cli import options
from effbench.run import metering
from effbench.store import documents
from effbench.store.runs import carry_kept


@click.command("meter")
@click.argument("run", type=click.Path(path_type=Path, exists=True), metavar="RUN")
@click.argument("log", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="LOG")
@click.option("-o", "folder", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Must be empty.")
@click.option("--uncertainty", metavar="SHARE", help='Of the meter, such as "1 %"; the log may say it as well.')
@options.policy_option
def command(run: Path, log: Path, folder: Path, uncertainty: str | None, policy: str) -> int:
    """Write RUN into DIR with the readings of LOG, a CSV file of a wall meter or PDU, and make its reports again.

    LOG has a header row with `time` (ISO 8601 with its offset) or `epoch_s`, and `power_w` or `power_kw`. Its clock is
    held against the devices' own power; beyond 0.8 s it is refused. RUN stays as it is.
    """
    rules = api.load_policy(policy, options.search_path(None))
    source = run if run.is_dir() else run.parent
    api.checked_folder(folder)
    count = metering.add_to_run(source / documents.JOURNAL, log, folder / documents.JOURNAL, uncertainty)
    carry_kept(source, folder)
    record = api.replay(folder)
    api.artefacts(folder, record, rules)
    for finding in record.findings:
        if finding.code.startswith("meter-"):
            options.say(f"{finding.severity}: {finding.message} [{finding.code}]")
    options.emit(f"{folder}: copy of {source} with {count} readings of the meter")
    return 0
