"""A recording as a device: the whole engine runs again on what a journal holds, and says that it is a replay."""

from pathlib import Path

import pytest

from effbench import api
from effbench.cli.main import invoke


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recorded") / "run"
    assert invoke(["run", "--fake", "nvidia-h200-sxm", "--only", "stream", "-o", str(folder)]) == 3
    return folder


def test_a_replayed_device_gives_the_recorded_figures(recorded: Path, tmp_path: Path) -> None:
    assert invoke(["run", "--replay", str(recorded), "--only", "stream", "-o", str(tmp_path / "again")]) == 3
    first, again = api.record_of(recorded), api.record_of(tmp_path / "again")
    assert again.simulated
    assert again.journal_digest != first.journal_digest
    assert [(m.trial, m.step_s, m.status) for m in again.measurements] == [
        (m.trial, m.step_s, m.status) for m in first.measurements
    ]


def test_a_trial_that_was_not_recorded_fails_by_name(recorded: Path, tmp_path: Path) -> None:
    assert invoke(["run", "--replay", str(recorded), "--only", "launch", "-o", str(tmp_path / "other")]) == 3
    record = api.record_of(tmp_path / "other")
    assert {m.status for m in record.measurements} == {"failed"}
    assert all("recording does not hold this trial" in m.detail for m in record.measurements)


def test_what_is_no_recording_is_said_plainly(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "journal.jsonl.gz").write_bytes(b"not a journal")
    assert invoke(["run", "--replay", str(tmp_path)]) == 2
    assert "is it a journal" in capfd.readouterr().err
