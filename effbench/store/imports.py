"""The folder of an import: one record per node and line in records.jsonl; import.json tells what they say together."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from effbench.model.error import DocumentError, OutputError
from effbench.model.imported import BadRecord, ImportedRecord, ImportSummary
from effbench.score.imported import Fleet

__all__ = ["RECORDS", "SUMMARY", "is_import", "keep", "records_of", "summary_of"]

RECORDS, SUMMARY = "records.jsonl", "import.json"
# Four times the longest line that an importer takes; one that is longer is damaged, and never held whole.
_LINE_MAX = 64 << 20


def keep(folder: Path, found: Iterable[ImportedRecord | BadRecord]) -> tuple[Fleet, list[BadRecord]]:
    """Write the records one by one as they come and return the fleet they make, with what was lost.

    Raises:
        OutputError: the folder cannot take them; nothing half-written stays.
    """
    fleet, bad, encoder = Fleet(), list[BadRecord](), msgspec.json.Encoder()
    temporary = folder / f".{RECORDS}.{os.getpid()}"
    try:
        with temporary.open("wb") as file:
            for record in found:
                if isinstance(record, BadRecord):
                    bad.append(record)
                    continue
                file.write(encoder.encode(record) + b"\n")
                fleet.add(record)
            file.flush()
            os.fsync(file.fileno())
        if len(fleet):
            temporary.replace(folder / RECORDS)
    except OSError as error:
        raise OutputError(f"{folder}: cannot write the records: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    return fleet, bad


def is_import(path: Path) -> bool:
    """Whether `path` is the folder of an import or its records."""
    return (path / RECORDS).is_file() if path.is_dir() else path.name == RECORDS and path.is_file()


def records_of(path: Path) -> Iterator[ImportedRecord]:
    """Read the records of an import, one by one.

    Raises:
        DocumentError: a line is damaged, or was written by a newer effbench.
    """
    file = path / RECORDS if path.is_dir() else path
    decoder = msgspec.json.Decoder(ImportedRecord)
    try:
        with file.open("rb") as opened:
            for number, line in enumerate(iter(lambda: opened.readline(_LINE_MAX), b""), 1):
                try:
                    yield decoder.decode(line)
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                    raise DocumentError(f"{file}:{number}: no imported record: {error}; import it again") from error
    except OSError as error:
        raise DocumentError(f"{file}: cannot read: {error.strerror}") from error


def summary_of(path: Path) -> ImportSummary | None:
    """Read what the records of an import say together; None where only the records are there.

    Raises:
        DocumentError: it is damaged, or was written by a newer effbench.
    """
    file = (path if path.is_dir() else path.parent) / SUMMARY
    if not file.is_file():
        return None
    try:
        return msgspec.json.decode(file.read_bytes(), type=ImportSummary)
    except OSError as error:
        raise DocumentError(f"{file}: cannot read: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DocumentError(f"{file}: no summary of an import: {error}; import it again") from error
