"""Options and small output functions that several commands share. Prints; the rest of effbench does not."""

import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from effbench.model.error import OutputError

F = TypeVar("F", bound=Callable[..., Any])


def json_option(function: F) -> F:
    """Add `--json`: exactly one JSON document on stdout."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")(function)


def policy_option(function: F) -> F:
    """Add `--policy`."""
    return click.option(
        "--policy",
        default="node-2026",
        show_default=True,
        metavar="NAME|FILE",
        help="The rules to grade by; `effbench list policies` names the built-in ones.",
    )(function)


def site_option(function: F) -> F:
    """Add `--site FILE`: the site's own figures of power, money and carbon."""
    return click.option(
        "--site",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="The site's own figures (PUE, utilisation, price, tariff, grid), a site.yaml.",
    )(function)


def baseline_option(function: F) -> F:
    """Add `--baseline FILE`."""
    return click.option(
        "--baseline",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="Hold the run against this baseline too; `effbench baseline RUN... -o FILE` makes one.",
    )(function)


def workloads_option(function: F) -> F:
    """Add `--workloads DIR`, searched before $EFFBENCH_PATH and the built-in suites."""
    return click.option(
        "--workloads",
        type=click.Path(path_type=Path, file_okay=False),
        metavar="DIR",
        help="Look for suites in DIR first, then in $EFFBENCH_PATH, then among the built-in ones.",
    )(function)


def search_path(workloads: Path | None) -> list[Path]:
    """Return the folders to search for suites and policies, nearest first."""
    extra = [workloads] if workloads is not None else []
    listed = os.environ.get("EFFBENCH_PATH", "")
    return [*extra, *(Path(folder) for folder in listed.split(os.pathsep) if folder)]


def environment() -> dict[str, str]:
    """Return the environment; the only place where effbench reads it for its children."""
    return dict(os.environ)


def say(text: str) -> None:
    """Print progress or advice on stderr. That nobody reads it any more never ends a run."""
    with contextlib.suppress(OSError):
        click.echo(text, err=True)


def plain(text: str) -> str:
    """Return text of a foreign file without what could drive a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)


def emit(data: bytes | str) -> None:
    """Write the result to stdout as it is. A reader that has left (`| head`) changes no exit code.

    Raises:
        OutputError: stdout is closed, or what is behind it is full.
    """
    if sys.stdout is None:
        raise OutputError("stdout is closed, so the result cannot be written")
    if isinstance(data, str):
        data = data.encode()
    try:
        sys.stdout.buffer.write(data if data.endswith(b"\n") else data + b"\n")
        sys.stdout.buffer.flush()
    except OSError as error:
        _discard_stdout()
        if not isinstance(error, BrokenPipeError):
            raise OutputError(f"stdout: cannot write the result: {error.strerror}") from error


def _discard_stdout() -> None:
    """Send what is still buffered to nowhere, so that Python's own flush at exit does not fail again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def emit_json(document: Any) -> None:
    """Write one JSON document to stdout."""
    emit(msgspec.json.format(msgspec.json.encode(document), indent=2))


def terminal_width() -> int:
    """Width to render for: the terminal's, or 100 columns in a pipe."""
    import shutil

    return max(60, min(140, shutil.get_terminal_size((100, 40)).columns))


def color() -> bool:
    """Colour only on a terminal, and never against NO_COLOR."""
    return sys.stdout is not None and sys.stdout.isatty() and "NO_COLOR" not in os.environ


def watched() -> bool:
    """Whether a person watches stderr on a terminal."""
    return sys.stderr is not None and sys.stderr.isatty()
