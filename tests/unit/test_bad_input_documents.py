"""Damaged, cut, newer or impossible documents: what is whole is salvaged, the rest is one message and exit code 2."""

import gzip
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from effbench import api
from effbench.model.error import DocumentError
from effbench.run import journal
from effbench.run.record import build
from tests.unit.command_line import ARTEFACTS, call, contents

READERS = ["score", "grade", "report"]


def members(path: Path) -> list[bytes]:
    """The gzip members of a journal as they are in the file."""
    data, found = path.read_bytes(), []
    while data:
        _, end = journal._member(data, 0)
        found.append(data[:end])
        data = data[end:]
    return found


def edited(path: Path, old: bytes, new: bytes, count: int = 1) -> None:
    """Change text inside the members of a journal, which stay whole."""
    texts = [gzip.decompress(member) for member in members(path)]
    whole = b"\0".join(texts)
    assert old in whole
    path.write_bytes(b"".join(gzip.compress(text) for text in whole.replace(old, new, count).split(b"\0")))


@pytest.mark.parametrize("gone", [1, 100, 2000])
def test_a_cut_journal_is_salvaged_into_all_artefacts(copied: Path, gone: int) -> None:
    path = copied / "journal.jsonl.gz"
    path.write_bytes(path.read_bytes()[:-gone])
    for name in ARTEFACTS - {"journal.jsonl.gz"}:
        (copied / name).unlink()
    done = call("replay", copied)
    assert done.code == 0
    assert "everything whole was kept" in done.err
    assert set(contents(copied)) == ARTEFACTS
    record = api.record_of(copied)
    assert record.outcome == "truncated"
    assert "record-truncated" in {f.code for f in record.findings}
    assert any(m.status == "valid" for m in record.measurements)
    assert call("grade", copied).code == 3


def test_a_member_damaged_in_the_middle_costs_its_trial_alone(copied: Path) -> None:
    path = copied / "journal.jsonl.gz"
    parts = members(path)
    hurt = bytearray(parts[4])
    hurt[len(hurt) // 2] ^= 0xFF
    path.write_bytes(b"".join([*parts[:4], bytes(hurt), *parts[5:]]))
    done = call("replay", copied)
    assert done.code == 0
    assert "are damaged or cut off" in done.err
    record = api.record_of(copied)
    assert sum(len(m.rounds) for m in record.measurements) == 7, "8 were measured, one is lost"
    assert {m.status for m in record.measurements} == {"valid"}


@pytest.mark.parametrize("value", [b"NaN", b"Infinity", b"-Infinity", b"1e999", b"null", b'"fast"', b"\xff\xfe"])
def test_an_impossible_figure_in_a_journal_costs_its_line_alone(copied: Path, value: bytes) -> None:
    path = copied / "journal.jsonl.gz"
    before = journal.read(path)
    text = b"".join(gzip.decompress(member) for member in members(path))
    line = next(line for line in text.splitlines() if b'"type":"sample"' in line)
    start = line.index(b'"device_s":') + len(b'"device_s":')
    figure = line[start : line.index(b",", start)]
    edited(path, line, line.replace(figure, value, 1))
    after = journal.read(path)
    assert len(after.events) == len(before.events) - 1
    assert len(after.damage) == 1
    done = call("replay", copied)
    assert done.code == 0
    assert "the journal is damaged (line" in done.err
    assert b"NaN" not in (copied / "record.json").read_bytes()


@pytest.mark.parametrize("value", [b"NaN", b"Infinity", b"1e999"])
@pytest.mark.parametrize("name", ["record.json", "scorecard.json"])
def test_an_impossible_figure_in_a_document_is_refused(copied: Path, tmp_path: Path, name: str, value: bytes) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()
    data = (copied / name).read_bytes()
    key = b'"value": ' if name == "scorecard.json" else b'"measured_s": '
    start = data.index(key) + len(key)
    end = min(data.index(mark, start) for mark in (b",", b"\n"))
    (alone / name).write_bytes(data[:start] + value + data[end:])
    for command in ("grade", "report"):
        done = call(command, alone / name)
        assert done.code == 2
        assert str(alone / name) in done.err
        assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize("command", READERS)
@pytest.mark.parametrize("name", ["record.json", "journal.jsonl.gz"])
def test_a_newer_run_asks_for_an_update(copied: Path, tmp_path: Path, command: str, name: str) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / name).write_bytes((copied / name).read_bytes())
    if name == "record.json":
        data = (alone / name).read_bytes()
        (alone / name).write_bytes(data.replace(b"effbench.record/1", b"effbench.record/2", 1))
    else:
        edited(alone / name, b"effbench.journal/1", b"effbench.journal/2")
    for place in (alone, alone / name):
        done = call(command, place)
        assert done.code == 2
        assert "was written by a newer effbench; update effbench to read it" in done.err
        assert done.out == ""


def test_a_newer_record_is_not_quietly_rebuilt_from_its_journal(copied: Path) -> None:
    data = (copied / "record.json").read_bytes()
    (copied / "record.json").write_bytes(data.replace(b"effbench.record/1", b"effbench.record/2", 1))
    assert call("score", copied).code == 2


@pytest.mark.parametrize("command", ["grade", "report"])
def test_a_newer_scorecard_asks_for_an_update(copied: Path, command: str) -> None:
    path = copied / "scorecard.json"
    path.write_bytes(path.read_bytes().replace(b"effbench.scorecard/1", b"effbench.scorecard/3", 1))
    done = call(command, path)
    assert done.code == 2
    assert "effbench.scorecard/3 was written by a newer effbench" in done.err


JUNK = {"empty": b"", "text": b"hello", "zeros": bytes(4096), "gzip of nothing": gzip.compress(b"")}


@pytest.mark.parametrize("what", JUNK)
@pytest.mark.parametrize("command", ["replay", "score", "redact", "run"])
def test_a_journal_of_junk_is_refused_and_left_alone(tmp_path: Path, what: str, command: str, suite: Path) -> None:
    folder = tmp_path / "r"
    folder.mkdir()
    (folder / "journal.jsonl.gz").write_bytes(JUNK[what])
    words = {"redact": [folder, "-o", tmp_path / "o"], "run": [suite, "--resume", folder]}.get(command, [folder])
    done = call(command, *words)
    assert done.code == 2
    assert "no whole trial could be read; is it a journal" in done.err
    assert contents(folder) == {"journal.jsonl.gz": JUNK[what]}


def test_a_journal_without_its_plan_says_that_nothing_can_be_salvaged(copied: Path) -> None:
    path = copied / "journal.jsonl.gz"
    path.write_bytes(b"".join(members(path)[1:]))
    done = call("replay", copied)
    assert done.code == 2
    assert "first member (plan and inventory) is damaged" in done.err


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_no_damage_to_a_journal_is_a_crash(finished: Path, tmp_path: Path, data: st.DataObject) -> None:
    whole = bytearray((finished / "journal.jsonl.gz").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at] = data.draw(st.integers(0, 255))
    path = tmp_path / "journal.jsonl.gz"
    path.write_bytes(bytes(whole[: data.draw(st.integers(1, len(whole)))]))
    try:
        record = build(journal.read(path))
    except DocumentError:
        return
    assert api.score(record).record_digests


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_no_missing_line_of_a_journal_is_a_crash(finished: Path, data: st.DataObject) -> None:
    whole = journal.read(finished / "journal.jsonl.gz")
    kept = data.draw(st.lists(st.integers(0, len(whole.events) - 1), unique=True, max_size=20))
    events = [event for i, event in enumerate(whole.events) if i not in kept]
    try:
        record = build(msgspec.structs.replace(whole, events=events))
    except DocumentError:
        return
    card = api.score(record)
    assert all(m.interval is None or m.interval.low <= m.quantity.value <= m.interval.high for m in card.metrics)
