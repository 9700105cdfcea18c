"""Documents on disk: written atomically, read with upgrades, salvaged from the journal where one is damaged."""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from effbench.launch.slurm_batch import FOLDER
from effbench.model.digest import digest
from effbench.model.error import DocumentError, OutputError
from effbench.model.grade import Grade
from effbench.model.record import Record
from effbench.model.scorecard import Scorecard

JOURNAL, RECORD, SCORECARD, GRADE = "journal.jsonl.gz", "record.json", "scorecard.json", "grade.json"
T = TypeVar("T")


def prepare(folder: Path) -> None:
    """Make `folder` ready for a run: created, empty, writable. Called before anything is measured.

    What the scheduler's job that runs it keeps there (`.campaign`) is no result; anything else is, hidden or not.

    Raises:
        OutputError: it exists and is not empty, or it cannot be written.
    """
    probe = folder / ".writable"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(entry.name != FOLDER for entry in folder.iterdir()):
            raise OutputError(f"{folder}: the folder is not empty; choose another with -o")
        probe.write_bytes(b"\0" * 4096)
        probe.unlink()
    except OSError as error:
        with contextlib.suppress(OSError):
            probe.unlink()
        raise OutputError(f"{folder}: cannot write results there: {error.strerror}; choose another with -o") from error


def write(path: Path, data: bytes | Iterable[bytes]) -> None:
    """Write `data`, or its pieces as they come, to `path`: a reader sees the old content or the new, never a part.

    Raises:
        OutputError: the disk is full or the folder is not writable; the old content stays, as it does whatever a
            piece raises in being made.
    """
    temporary = path.parent / f".{path.name}.{os.getpid()}"
    try:
        with temporary.open("wb") as file:
            file.writelines((data,) if isinstance(data, bytes) else data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot write: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def encode(document: msgspec.Struct) -> bytes:
    """Return the document as indented JSON with a newline at its end, fields in their declared order."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def decode(data: bytes, kind: type[T], path: Path) -> T:
    """Decode a stored document.

    Raises:
        DocumentError: damaged, of another kind, or written by a newer effbench.
    """
    _check_schema(_schema(data, path), kind, path)
    try:
        document = msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DocumentError(f"{path}: does not fit its schema: {error}") from error
    if isinstance(document, Record) and digest(msgspec.structs.replace(document, digest="")) != document.digest:
        raise DocumentError(f"{path}: damaged or edited: its content does not match its own digest")
    return document


def _schema(data: bytes, path: Path) -> str:
    """Return the schema that a document names; "" for a document without one."""
    try:
        head: Any = msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DocumentError(f"{path}: damaged JSON: {error}") from error
    return str(head.get("schema", ""))


def _check_schema(schema: str, kind: type[Any], path: Path) -> None:
    wanted = f"effbench.{kind.__name__.lower()}/1"
    if schema == wanted:
        return
    name, _, number = schema.partition("/")
    if name == wanted.partition("/")[0] and number.isdigit() and int(number) > 1:
        raise DocumentError(f"{path}: schema {schema} was written by a newer effbench; update effbench to read it")
    raise DocumentError(f"{path}: expected a document of schema {wanted}, found {schema or 'none'}")


def read(path: Path, kind: type[T]) -> T:
    """Read and decode one document.

    Raises:
        DocumentError: missing, unreadable, damaged, or newer than this program.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DocumentError(f"{path}: cannot read: {error.strerror}") from error
    return decode(data, kind, path)


def sniff(path: Path) -> type[Record] | type[Scorecard] | type[Grade]:
    """Tell which kind of document the file at `path` is, by its schema field."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DocumentError(f"{path}: cannot read: {error.strerror}") from error
    schema = _schema(data, path)
    for kind in (Record, Scorecard, Grade):
        if schema.startswith(f"effbench.{kind.__name__.lower()}/"):
            return kind
    raise DocumentError(f"{path}: not an effbench document (its schema is {schema or 'missing'})")


def runs(root: Path) -> list[Path]:
    """Return the run folders below `root`, oldest first by name."""
    if not root.is_dir():
        return []
    return sorted(p for p in root.iterdir() if (p / RECORD).is_file() or (p / JOURNAL).is_file())
