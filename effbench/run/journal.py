"""The journal file: one gzip member per trial, fsynced, so that a reader keeps every whole member whatever happens."""

import gzip
import io
import os
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from effbench.model.digest import digest_bytes
from effbench.model.error import DocumentError, OutputError
from effbench.model.event import Closed, Event, Started

SCHEMA = "effbench.journal/1"
_MAGIC = b"\x1f\x8b\x08"
_ENCODER = msgspec.json.Encoder()
_DECODER: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


class JournalWriter:
    """Appends members to a journal. Each `write` is on disk when it returns.

    Raises:
        OutputError: the file cannot be created or the disk is full; what was written before stays whole.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = path.open("ab", buffering=0)  # a buffer would come back after a failed write
        except OSError as error:
            raise OutputError(f"{path}: cannot open the journal: {error.strerror}") from error

    def write(self, events: Iterable[Event]) -> None:
        """Append one gzip member that holds `events`, and wait until it is on disk."""
        lines = b"".join(_ENCODER.encode(event) + b"\n" for event in events)
        if not lines:
            return
        buffer = io.BytesIO()
        with gzip.GzipFile(filename="", fileobj=buffer, mode="wb", mtime=0, compresslevel=6) as member:
            member.write(lines)
        whole = os.fstat(self._file.fileno()).st_size
        left = memoryview(buffer.getvalue())
        try:
            while left:
                left = left[self._file.write(left) or 0 :]
            os.fsync(self._file.fileno())
        except OSError as error:
            self._truncate(whole)
            raise OutputError(
                f"{self.path}: cannot write the journal: {error.strerror}; what was measured before is kept: make "
                f"room, then `effbench run --resume {self.path.parent}`, or `effbench replay {self.path.parent} -o DIR`"
            ) from error

    def _truncate(self, size: int) -> None:
        """Cut off a member that only went in partly."""
        try:
            os.ftruncate(self._file.fileno(), size)
        except OSError:
            return

    def close(self) -> None:
        """Close the file. Safe to call twice; a full disk was reported by `write` already."""
        try:
            self._file.close()
        except OSError:
            return


class Journal(msgspec.Struct, frozen=True):
    """What a journal file holds: its events, its digest, and what could not be read."""

    events: list[Event]
    digest: str
    damage: list[str]


def read(path: Path) -> Journal:
    """Read every whole member of the journal at `path`.

    Raises:
        DocumentError: the file cannot be read, or not one whole member is in it.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise DocumentError(f"{path}: cannot read the journal: there is none; a record alone does not do") from error
    except OSError as error:
        raise DocumentError(f"{path}: cannot read the journal: {error.strerror}") from error
    events: list[Event] = []
    damage: list[str] = []
    offset = 0
    while offset < len(data):
        text, end = _member(data, offset)
        if text is None:
            following = data.find(_MAGIC, offset + 1)
            where = following if following >= 0 else len(data)
            damage.append(f"bytes {offset} to {where} are damaged or cut off")
            offset = where
            continue
        events.extend(_decode(text, path, offset, damage))
        offset = end
    if not events:
        raise DocumentError(f"{path}: no whole trial could be read; is it a journal (journal.jsonl.gz)?")
    return Journal(events, digest_bytes(data), damage)


def _member(data: bytes, offset: int) -> tuple[bytes | None, int]:
    """Return the text of the gzip member at `offset` and the offset behind it; None when it is not whole."""
    reader = zlib.decompressobj(wbits=31)
    try:
        text = reader.decompress(data[offset:])
    except zlib.error:
        return None, offset
    if not reader.eof:
        return None, offset
    return text, len(data) - len(reader.unused_data)


def _decode(text: bytes, path: Path, offset: int, damage: list[str]) -> Sequence[Event]:
    """Decode the lines of one member; a line that does not decode is listed and left out."""
    events: list[Event] = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            _refuse_newer(line, path)
            events.append(_DECODER.decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            damage.append(f"line {number} of the member at byte {offset}: {error}")
    return events


def _refuse_newer(line: bytes, path: Path) -> None:
    """Refuse a first line of another schema, even one that would happen to decode."""
    if not line.startswith(b'{"type":"started"'):
        return
    schema = msgspec.json.decode(line, type=_Head).schema
    if schema != SCHEMA:
        raise DocumentError(f"{path}: schema {schema} was written by a newer effbench; update effbench to read it")


class _Head(msgspec.Struct, frozen=True):
    """What every first line of a journal has, whatever its version."""

    schema: str


def copy(path: Path, events: Sequence[Event]) -> None:
    """Write `events` as a journal of their own, member by member as the engine does.

    Raises:
        OutputError: it cannot be written.
    """
    writer = JournalWriter(path)
    try:
        for member in members(events):
            writer.write(member)
    finally:
        writer.close()


def members(events: Sequence[Event]) -> list[list[Event]]:
    """Split events into members as the engine writes them: one ends with each `Closed`."""
    split: list[list[Event]] = [[]]
    for event in events:
        split[-1].append(event)
        if isinstance(event, Closed | Started):
            split.append([])
    return [member for member in split if member]
