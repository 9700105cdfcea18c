"""`effbench show`: one thing in full: a suite, a policy, an accelerator, a run, or a file of any of these."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import click

from effbench import api, resources
from effbench.catalog import parts
from effbench.cli import options
from effbench.grade.expiry import reasons_to_rerate
from effbench.model.error import InputError
from effbench.model.grade import Grade
from effbench.store import documents


@click.command("show")
@click.argument("name", metavar="NAME|FILE")
@options.workloads_option
def command(name: str, workloads: Path | None) -> int:
    """Print the suite, policy, accelerator or run called NAME as JSON; of a grade, on stderr, until when it holds."""
    found = _found(name, options.search_path(workloads))
    options.emit_json(found)
    if isinstance(found, Grade) and found.verdict == "pass":
        options.say(_holds(found, datetime.now(UTC).date()))
    return 0


def _holds(grade: Grade, today: date) -> str:
    """Say until when a rating holds, as far as its date tells: of the node as it is now this command knows nothing."""
    ended = reasons_to_rerate(grade, today, grade.rated_for)
    if ended:
        return f"holds no longer: {ended[0]}"
    until = f"holds until {grade.rated_until}"
    if not grade.rerate_on:
        return until
    return f"{until}, or the next change of {', '.join(grade.rerate_on)}; `effbench verdict RUN` looks on the node"


def _found(name: str, extra: list[Path]) -> Any:
    path = Path(name)
    if path.exists() and path.suffix not in (".yaml", ".yml"):
        whole = path.is_dir() or path.name in (documents.RECORD, documents.JOURNAL)
        return api.record_of(path) if whole else api.any_document(path)
    if name in parts.catalog().ids():
        return parts.catalog().part(name)
    if name in resources.names("policies", extra) or (path.is_file() and b"effbench.policy/" in path.read_bytes()):
        return api.load_policy(name, extra)
    if name in resources.names("workloads", extra) or path.exists():
        return api.load_suite(name, extra)
    raise InputError(
        f"nothing is called {name!r}; see `effbench list suites`, `list policies`, `list accelerators` or `list runs`"
    )
