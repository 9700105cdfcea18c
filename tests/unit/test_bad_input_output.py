"""Output folders that cannot take results: unwritable, full from the start, full in the middle. Nothing is lost."""

import errno
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from effbench import api
from effbench.model.error import OutputError
from effbench.model.event import Closed, Opened, Sample
from effbench.run import journal
from tests.unit.command_line import ARTEFACTS, FAKE, ROOT, call, contents, ended, start


@pytest.mark.parametrize("place", ["file", "file/run", "/proc/effbench/run"])
def test_a_place_that_cannot_be_a_folder_is_2_before_anything_is_measured(
    tmp_path: Path, suite: Path, place: str
) -> None:
    (tmp_path / "file").write_text("x")
    done = call("run", suite, "--fake", FAKE, "-o", tmp_path / place)
    assert done.code == 2
    assert "cannot write results there" in done.err
    assert "choose another with -o" in done.err
    assert "round 1" not in done.err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write into a read-only folder")
def test_a_read_only_folder_is_2(tmp_path: Path, suite: Path) -> None:
    (tmp_path / "r").mkdir(mode=0o500)
    done = call("run", suite, "--fake", FAKE, "-o", tmp_path / "r")
    assert done.code == 2
    assert "Permission denied" in done.err


@pytest.mark.parametrize("command", [["replay", "RUN", "-o", "OUT"], ["redact", "RUN", "-o", "OUT"]])
def test_copies_are_refused_the_same_way(finished: Path, tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("x")
    places = {"RUN": finished, "OUT": tmp_path / "full"}
    done = call(*(places.get(word, word) for word in command))
    assert done.code == 2
    assert "not empty" in done.err


@pytest.mark.parametrize("place", ["missing/x.html", "file/x.html", "."])
def test_a_report_that_cannot_be_written_is_2(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x")
    done = call("report", finished, "--format", "json", "-o", place)
    assert done.code == 2
    assert "cannot write" in done.err


def limited(size: int) -> Callable[[], None]:
    """Let no file of the child grow beyond `size` bytes, as a full disk does not; EFBIG takes the place of ENOSPC."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_a_disk_that_fills_up_in_the_middle_keeps_every_whole_trial(tmp_path: Path, suite: Path) -> None:
    folder = tmp_path / "r"
    done = ended(start("run", suite, "--fake", FAKE, "-o", folder, prepare=limited(4600)))
    assert done.code == 2
    assert "cannot write the journal: File too large; what was measured before is kept" in done.err
    assert f"effbench run --resume {folder}" in done.err
    kept = journal.read(folder / "journal.jsonl.gz")
    assert kept.damage == [], "a member that went in partly was cut off again"
    assert any(isinstance(event, Closed) for event in kept.events)
    again = call("run", suite, "--fake", FAKE, "--resume", folder)
    assert again.code == 3, again.said
    record = api.record_of(folder)
    assert record.outcome == "complete"
    assert {m.status for m in record.measurements} == {"valid"}
    assert set(contents(folder)) == ARTEFACTS


def test_a_run_that_a_full_disk_ended_is_not_complete(
    tmp_path: Path, suite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The member of a trial no longer fits, and the few bytes of the end still do."""
    real, written = journal.JournalWriter.write, []

    def nearly_full(self: journal.JournalWriter, events: list) -> None:
        events = list(events)
        written.append(events)
        if any(isinstance(event, Closed) for event in events) and len(written) > 4:
            raise OutputError("No space left on device")
        real(self, events)

    monkeypatch.setattr(journal.JournalWriter, "write", nearly_full)
    assert call("run", suite, "--fake", FAKE, "-o", tmp_path / "r").code == 2
    assert api.replay(tmp_path / "r").outcome != "complete"


def test_a_disk_that_is_full_at_the_end_keeps_the_journal_and_says_how_to_go_on(tmp_path: Path, suite: Path) -> None:
    folder = tmp_path / "r"
    done = ended(start("run", suite, "--fake", FAKE, "-o", folder, prepare=limited(16_000)))
    assert done.code == 2
    assert "record.json: cannot write: File too large; the journal is whole" in done.err
    assert f"effbench replay {folder}" in done.err
    assert set(contents(folder)) == {"journal.jsonl.gz"}, "no half artefact, no temporary file"
    assert call("replay", folder).code == 0
    assert set(contents(folder)) == ARTEFACTS
    assert api.record_of(folder).outcome == "complete"


TMPFS = """
mount -t tmpfs -o size=1m tmpfs "$1" || exit 77
head -c $((1048576 - $2)) /dev/zero > "$1/fill"
"$3" -m effbench run "$4" --fake "$5" -o "$1/r"
code=$?
rm "$1/fill"
"$3" -m effbench replay "$1/r" -o "$6" >&2 || exit 78
exit $code
"""


@pytest.mark.parametrize(("free", "words"), [(0, "choose another with -o"), (4096, "what was measured before is kept")])
def test_a_full_tmpfs_is_2_and_what_was_measured_is_replayed(
    tmp_path: Path, suite: Path, free: int, words: str
) -> None:
    if shutil.which("unshare") is None:
        pytest.skip("unshare is not installed, so no tmpfs can be mounted without root")
    (tmp_path / "disk").mkdir()
    line = ["unshare", "-rm", "sh", "-c", TMPFS, "sh", tmp_path / "disk", str(free), sys.executable, suite, FAKE]
    done = subprocess.run(
        [*line, tmp_path / "again"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode in (1, 77) and "effbench" not in done.stderr:
        pytest.skip(f"no user namespace here: {done.stderr.strip()}")
    assert "Traceback" not in done.stderr
    assert "No space left on device" in done.stderr
    assert words in done.stderr
    if free:
        assert done.returncode == 2, done.stderr
        assert set(contents(tmp_path / "again")) == ARTEFACTS
        record = api.record_of(tmp_path / "again")
        assert any(m.status == "valid" for m in record.measurements)
    else:
        assert done.returncode == 78, "nothing was begun, so there is nothing to replay"


def events_of(trial: str) -> list:
    return [Opened(1, trial, 0, 1, "cpu"), Sample(10, 0.5, 0.51, 2), Closed(99, trial, 0, "done")]


def test_a_member_that_went_in_partly_does_not_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "j.gz"
    writer = journal.JournalWriter(path)
    writer.write(events_of("a"))
    whole = path.read_bytes()
    real = os.fsync

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left on device"):
        writer.write(events_of("b"))
    assert path.read_bytes() == whole
    monkeypatch.setattr(os, "fsync", real)
    writer.write(events_of("c"))
    writer.close()
    read = journal.read(path)
    assert read.damage == []
    assert [e.trial for e in read.events if isinstance(e, Closed)] == ["a", "c"]
