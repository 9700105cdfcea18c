"""`effbench redact`: a copy of a run that can be published."""

import getpass
import secrets
from pathlib import Path

import click

from effbench import api
from effbench.cli import options


@click.command("redact")
@click.argument("run", type=click.Path(path_type=Path, exists=True), metavar="RUN")
@click.option("-o", "folder", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Must be empty.")
@options.policy_option
def command(run: Path, folder: Path, policy: str) -> int:
    """Write RUN into DIR with node name, UUIDs, serials, PIDs, paths and user names as salted hashes."""
    rules = api.load_policy(policy, options.search_path(None))
    source = run if run.is_dir() else run.parent
    api.checked_folder(folder)
    record = api.redacted(source, folder, secrets.token_bytes(32), _users())
    api.artefacts(folder, record, rules)
    options.emit(f"{folder}: redacted copy of {source}")
    return 0


def _users() -> list[str]:
    """Names of the person who redacts. A container's user may have none; `root` tells nothing."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        return []
    return [] if user == "root" else [user]
