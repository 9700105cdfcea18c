"""The fault part of `effbench selftest`: does judging catch known faults, and does it leave healthy nodes alone?"""

from pathlib import Path

from effbench import __version__
from effbench.cli import options
from effbench.faults.result import everything
from effbench.faults.table import CASES, SEED
from effbench.faults.words import markdown, verdict
from effbench.model.error import InputError, OutputError

__all__ = ["run"]


def run(cases: int | None, seed: int | None, file: Path | None, as_json: bool) -> int:
    """Judge simulated nodes with known faults. 0 when every target is met and no missing evidence passed, else 3.

    Raises:
        InputError: `file` is there already or its folder is not; `cases` or `seed` is negative or zero cases are asked.
        OutputError: the file cannot be written.
    """
    if (cases is not None and cases < 1) or (seed is not None and seed < 0):
        raise InputError("--cases needs one case at least, and --seed is a whole number from zero up")
    if file is not None:
        _writable(file)
    found = everything(cases or CASES, SEED if seed is None else seed, __version__, options.say)
    if file is not None:
        try:
            file.write_text(markdown(found), encoding="utf-8")
        except OSError as error:
            raise OutputError(f"{file}: cannot write the table: {error.strerror}") from error
    if as_json:
        options.emit_json(found)
    elif file is None:
        options.emit(markdown(found))
    options.say(f"{verdict(found)}.")
    return 0 if found.ok else 3


def _writable(file: Path) -> None:
    """Open the file before minutes of work."""
    try:
        file.open("a", encoding="utf-8").close()
    except OSError as error:
        raise InputError(f"{file}: cannot be written: {error.strerror}") from error
