"""The journal keeps every whole member, whatever happens to the rest of the file."""

import gzip
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from effbench.model.error import DocumentError, OutputError
from effbench.model.event import Closed, Ended, Opened, Sample
from effbench.run.journal import JournalWriter, members, read


def events_of(trial: str, n: int = 3) -> list:
    samples = [Sample(10 + i, 0.5, 0.51, 2) for i in range(n)]
    return [Opened(1, trial, 0, 1, "cpu"), *samples, Closed(99, trial, 0, "done")]


def written(path: Path, trials: list[str]) -> bytes:
    writer = JournalWriter(path)
    for trial in trials:
        writer.write(events_of(trial))
    writer.write([Ended(100, "2026-11-21T00:00:00+00:00", "complete")])
    writer.close()
    return path.read_bytes()


def test_what_is_written_is_read(tmp_path: Path) -> None:
    written(tmp_path / "j.gz", ["a", "b"])
    journal = read(tmp_path / "j.gz")
    assert journal.damage == []
    assert [e.trial for e in journal.events if isinstance(e, Closed)] == ["a", "b"]
    assert isinstance(journal.events[-1], Ended)


def test_a_member_is_plain_gzip_of_json_lines(tmp_path: Path) -> None:
    written(tmp_path / "j.gz", ["a"])
    lines = gzip.decompress((tmp_path / "j.gz").read_bytes()).splitlines()
    assert msgspec.json.decode(lines[0])["type"] == "opened"
    assert len(lines) == 6


@given(cut=st.integers(min_value=1, max_value=10_000))
def test_any_cut_keeps_all_whole_members_before_it(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    folder = tmp_path_factory.mktemp("cut")
    data = written(folder / "whole.gz", ["a", "b", "c"])
    sizes, total = [], 0
    for trial in ["a", "b", "c"]:
        total += len(written(folder / f"{trial}.gz", [trial])) - len(written(folder / "none.gz", []))
        sizes.append(total)
        (folder / f"{trial}.gz").unlink()
        (folder / "none.gz").unlink()
    cut = min(cut, len(data))
    (folder / "cut.gz").write_bytes(data[:cut])
    expected = sum(size <= cut for size in sizes)
    if expected == 0:
        with pytest.raises(DocumentError, match="no whole trial"):
            read(folder / "cut.gz")
        return
    journal = read(folder / "cut.gz")
    assert sum(isinstance(e, Closed) for e in journal.events) == expected
    assert bool(journal.damage) == (cut not in (*sizes, len(data)))


def test_a_damaged_member_in_the_middle_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "j.gz"
    first = len(written(path, ["a"]))
    path.unlink()
    data = bytearray(written(path, ["a", "b", "c"]))
    ended = len(gzip.compress(b""))
    position = first - ended + 30
    data[position] ^= 0xFF
    path.write_bytes(bytes(data))
    journal = read(path)
    closed = [e.trial for e in journal.events if isinstance(e, Closed)]
    assert "a" in closed
    assert len(closed) >= 2
    assert journal.damage


def test_not_a_journal_is_said_plainly(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"hello")
    with pytest.raises(DocumentError, match="is it a journal"):
        read(tmp_path / "x")
    with pytest.raises(DocumentError, match="cannot read"):
        read(tmp_path / "missing")


def test_a_newer_journal_is_refused_by_name(tmp_path: Path) -> None:
    line = b'{"type":"started","schema":"effbench.journal/2","t_ns":1,"what":"new"}\n'
    (tmp_path / "j.gz").write_bytes(gzip.compress(line))
    with pytest.raises(DocumentError, match="newer effbench"):
        read(tmp_path / "j.gz")


def test_an_unwritable_journal_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot open the journal"):
        JournalWriter(tmp_path / "missing" / "j.gz")


def test_members_split_behind_each_closed_trial() -> None:
    split = members([*events_of("a"), *events_of("b"), Ended(1, "x", "complete")])
    assert [len(m) for m in split] == [5, 5, 1]
