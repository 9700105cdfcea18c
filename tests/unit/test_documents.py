"""Stored documents: written whole or not at all, and refused by name when damaged, edited, foreign or newer."""

import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from effbench.model.error import DocumentError, OutputError
from effbench.model.grade import Grade
from effbench.model.record import Record
from effbench.model.scorecard import Scorecard
from effbench.store import documents

MANY = settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def test_a_write_leaves_the_new_content_and_nothing_else(tmp_path: Path) -> None:
    documents.write(tmp_path / "a.json", b"old")
    documents.write(tmp_path / "a.json", b"new")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a.json", b"new")]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_content_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "a.json"
    documents.write(path, b"old")
    monkeypatch.setattr(*((os, "fsync") if call == "fsync" else (Path, "replace")), full)
    with pytest.raises(OutputError, match=r"a\.json: cannot write: No space left on device"):
        documents.write(path, b"new")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a.json", b"old")]


@pytest.mark.parametrize("place", ["file/a.json", "missing/a.json", "."])
def test_a_place_that_takes_no_file_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("x")
    with pytest.raises(OutputError, match="cannot write"):
        documents.write(Path(place), b"x")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_run_folder_is_made_with_its_parents_and_left_empty(tmp_path: Path) -> None:
    documents.prepare(tmp_path / "a" / "b")
    documents.prepare(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_only_what_a_scheduler_keeps_beside_a_run_may_be_there_already(tmp_path: Path) -> None:
    (tmp_path / ".campaign").mkdir()
    documents.prepare(tmp_path)
    for name in (".hidden", ".git", "record.json"):
        (tmp_path / name).touch()
        with pytest.raises(OutputError, match="the folder is not empty; choose another"):
            documents.prepare(tmp_path)
        (tmp_path / name).unlink()


def test_a_folder_that_takes_no_byte_is_refused_and_left_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> None:
        path.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="cannot write results there: No space left on device; choose another"):
        documents.prepare(tmp_path / "r")
    assert list((tmp_path / "r").iterdir()) == []


def test_a_file_is_no_run_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for place in ("file", "file/r"):
        with pytest.raises(OutputError, match="cannot write results there"):
            documents.prepare(tmp_path / place)


@pytest.mark.parametrize(("name", "kind"), [("record", Record), ("scorecard", Scorecard), ("grade", Grade)])
def test_every_document_comes_back_as_it_was_written(finished: Path, name: str, kind: type[msgspec.Struct]) -> None:
    path = finished / f"{name}.json"
    document = documents.read(path, kind)
    assert documents.encode(document) == path.read_bytes()
    assert documents.sniff(path) is kind


@MANY
@given(share=st.floats(0, 0.9999))
def test_any_cut_of_a_record_is_refused(finished: Path, share: float) -> None:
    data = (finished / "record.json").read_bytes()
    cut = data[: int(share * (len(data) - 2))]
    with pytest.raises(DocumentError, match=r"^cut: damaged JSON"):
        documents.decode(cut, Record, Path("cut"))


@MANY
@given(share=st.floats(0, 0.9999), bit=st.integers(0, 7))
def test_no_flipped_bit_of_a_record_goes_unseen(finished: Path, share: float, bit: int) -> None:
    whole = (finished / "record.json").read_bytes()
    data = bytearray(whole)
    data[int(share * len(data))] ^= 1 << bit
    try:
        found = documents.decode(bytes(data), Record, Path("flipped"))
    except DocumentError as error:
        assert str(error).startswith("flipped: ")
        return
    assert documents.encode(found) == whole, "only blanks between tokens may change"


def test_an_edited_figure_is_not_believed(finished: Path) -> None:
    record = documents.read(finished / "record.json", Record)
    better = msgspec.structs.replace(record, measured_s=record.measured_s * 2)
    with pytest.raises(DocumentError, match="does not match its own digest"):
        documents.decode(documents.encode(better), Record, Path("edited"))


JUNK = {
    "nothing": b"",
    "not JSON": b"hello",
    "a list": b"[]",
    "NaN": b'{"schema": NaN}',
    "beyond every float": b'{"schema": 1e999}',
    "not text": b'{"schema": "\xff"}',
    "endless": b'{"schema":' + b"[" * 100_000,
    "no schema": b"{}",
    "another schema": b'{"schema": "someone.else/1"}',
    "no fields": b'{"schema": "effbench.record/1"}',
}


@pytest.mark.parametrize("what", JUNK)
def test_junk_is_refused_in_one_sentence(tmp_path: Path, what: str) -> None:
    path = tmp_path / "record.json"
    path.write_bytes(JUNK[what])
    with pytest.raises(DocumentError) as caught:
        documents.read(path, Record)
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value).splitlines()) == 1
    if what != "no fields":
        with pytest.raises(DocumentError):
            documents.sniff(path)


@pytest.mark.parametrize("kind", [Record, Scorecard, Grade])
def test_a_newer_document_asks_for_an_update(kind: type[msgspec.Struct]) -> None:
    data = b'{"schema": "effbench.%b/7"}' % kind.__name__.lower().encode()
    with pytest.raises(DocumentError, match=r"effbench\.\w+/7 was written by a newer effbench; update effbench"):
        documents.decode(data, kind, Path("new"))


def test_runs_are_folders_with_a_record_or_a_journal(tmp_path: Path) -> None:
    for name, file in (("b", "record.json"), ("a", "journal.jsonl.gz"), ("c", "notes.txt")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text("x")
    assert [p.name for p in documents.runs(tmp_path)] == ["a", "b"]
    assert documents.runs(tmp_path / "none") == []
