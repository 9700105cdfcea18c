"""`effbench run`: eight artefacts whatever happens, the verdict's exit code, resumed and cut runs kept whole."""

import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from effbench import api
from effbench.model.event import Opened
from effbench.run import journal
from tests.unit.command_line import ARTEFACTS, BRIEF_SUITE, FAKE, SLOW_SUITE, call, contents, ended, policy, start


def measured(folder: Path) -> Counter[tuple[str, int]]:
    """How often each trial was measured in each round."""
    events = journal.read(folder / "journal.jsonl.gz").events
    return Counter((event.trial, event.round) for event in events if isinstance(event, Opened))


def test_a_simulated_run_leaves_all_eight_artefacts_and_is_not_rated(finished: Path) -> None:
    assert set(contents(finished)) == ARTEFACTS
    assert all(contents(finished).values())


@pytest.mark.parametrize(("threshold", "code", "verdict"), [("1 TB/s", 0, "pass"), ("9 TB/s", 1, "fail")])
def test_the_verdict_is_the_exit_code_and_json_is_one_document(
    tmp_path: Path, suite: Path, threshold: str, code: int, verdict: str
) -> None:
    rules = policy(tmp_path, threshold)
    done = call("run", suite, "--fake", FAKE, "-o", tmp_path / "r", "--policy", rules, "--json")
    assert done.code == code, done.said
    assert done.document["schema"] == "effbench.scorecard/1"
    assert done.document["grade"]["verdict"] == verdict
    assert done.document["run_dir"] == str(tmp_path / "r")
    assert set(contents(tmp_path / "r")) == ARTEFACTS


def test_only_and_resume_make_one_record_of_two_commands(tmp_path: Path, suite: Path) -> None:
    folder = tmp_path / "r"
    call("run", suite, "--fake", FAKE, "-o", folder, "--only", "gemm*")
    first = measured(folder)
    assert {name.split(":")[0] for name, _ in first} == {"gemm"}
    done = call("run", suite, "--fake", FAKE, "--resume", folder, "--only", "stream")
    assert done.code == 3, done.said
    both = measured(folder)
    assert {name.split(":")[0] for name, _ in both} == {"gemm", "stream"}
    assert set(both.values()) == {1}, "a trial was measured twice"
    record = api.record_of(folder)
    assert [m.status for m in record.measurements] == ["valid"] * 3
    assert {t.id for t in record.plan.trials} == {m.trial for m in record.measurements} == {name for name, _ in both}
    before = contents(folder)
    assert call("replay", folder).code == 0
    assert contents(folder) == before


def test_a_run_goes_on_by_its_journal_even_without_its_record(copied: Path, suite: Path) -> None:
    before = measured(copied)
    (copied / "record.json").unlink()
    done = call("run", suite, "--fake", FAKE, "--resume", copied)
    assert done.code == 3, done.said
    assert measured(copied) == before, "everything was measured already"


def test_a_record_alone_cannot_be_continued(copied: Path, suite: Path) -> None:
    (copied / "journal.jsonl.gz").unlink()
    before = contents(copied)
    done = call("run", suite, "--fake", FAKE, "--resume", copied)
    assert done.code == 2
    assert "journal" in done.err
    assert contents(copied) == before, "what was measured is not overwritten"


@pytest.mark.parametrize("device", ["nvidia-b200-sxm", "cpu-zen4"])
def test_another_device_does_not_continue_a_run(copied: Path, suite: Path, device: str) -> None:
    before = contents(copied)
    done = call("run", suite, "--fake", device, "--resume", copied)
    assert done.code == 2
    assert "cannot continue" in done.err
    assert contents(copied) == before


def test_resume_names_its_own_folder(copied: Path, suite: Path, tmp_path: Path) -> None:
    done = call("run", suite, "--resume", copied, "-o", tmp_path / "elsewhere")
    assert done.code == 2
    assert "leave out -o" in done.err


def test_without_a_suite_a_resumed_run_keeps_its_own(copied: Path) -> None:
    done = call("run", "--fake", FAKE, "--resume", copied)
    assert done.code == 2, "test/tiny is a file of this test, which nothing but its path can find"
    assert "test/tiny" in done.err


def test_a_folder_that_is_not_empty_is_refused_and_left_alone(copied: Path, suite: Path) -> None:
    before = contents(copied)
    done = call("run", suite, "--fake", FAKE, "-o", copied)
    assert done.code == 2
    assert "not empty" in done.err
    assert contents(copied) == before


@pytest.mark.parametrize("budget", ["nan", "inf", "-inf", "0", "-3"])
def test_a_budget_is_a_time(tmp_path: Path, suite: Path, budget: str) -> None:
    done = call("run", suite, "--fake", FAKE, "-o", tmp_path / "r", "--budget", budget)
    assert done.code == 2
    assert "--budget" in done.err
    assert not contents(tmp_path / "r")


def until(condition, what: str) -> None:
    """Wait for something to become true, but not for ever."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, f"{what} never came"
        time.sleep(0.02)


def begun(folder: Path, members: int) -> bool:
    """Whether at least so many members are in the journal: the plan, the counters, then one per trial."""
    path = folder / "journal.jsonl.gz"
    return path.exists() and path.read_bytes().count(b"\x1f\x8b\x08") >= members


def slow(folder: Path, text: str = SLOW_SUITE) -> Path:
    path = folder / "slow.yaml"
    path.write_text(text)
    return path


def test_ctrl_c_ends_with_130_and_keeps_everything(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    child = start("run", slow(tmp_path), "--fake", FAKE, "-o", folder)
    until(lambda: begun(folder, 5), "the second trial")
    child.send_signal(signal.SIGINT)
    done = ended(child)
    assert done.code == 130, done.said
    assert set(contents(folder)) == ARTEFACTS
    record = api.record_of(folder)
    assert record.outcome == "interrupted"
    assert any(m.status == "valid" for m in record.measurements)
    assert journal.read(folder / "journal.jsonl.gz").damage == []
    before = contents(folder)
    assert call("replay", folder).code == 0
    assert contents(folder) == before


def workers_of(pid: int) -> list[int]:
    """Worker processes whose parent is `pid`."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().decode().split("\0")
            parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, ValueError, IndexError):
            continue
        if parent == pid and "effbench.run.worker" in words:
            found.append(int(entry.name))
    return found


DEATHS = [(signal.SIGKILL, "60", "signal 9"), (signal.SIGSTOP, "13", "the worker was killed")]


@pytest.mark.parametrize(("number", "budget", "words"), DEATHS)
def test_a_worker_that_dies_or_hangs_costs_its_trial_alone(
    tmp_path: Path, number: signal.Signals, budget: str, words: str
) -> None:
    folder = tmp_path / "r"
    child = start("run", slow(tmp_path, BRIEF_SUITE), "--fake", FAKE, "-o", folder, "--budget", budget)
    until(lambda: begun(folder, 4), "the first trial")
    until(lambda: bool(workers_of(child.pid)), "a worker")
    os.kill(workers_of(child.pid)[0], number)
    done = ended(child)
    assert done.code == 3, done.said
    assert words in done.err
    assert set(contents(folder)) == ARTEFACTS
    record = api.record_of(folder)
    assert record.outcome in ("complete", "budget")
    lost = [m for m in record.measurements if any(r.status == "lost" for r in m.rounds)]
    assert len(lost) == 1
    assert any(m.status == "valid" for m in record.measurements if m not in lost)


def test_nobody_reading_the_progress_does_not_end_a_run(tmp_path: Path, suite: Path) -> None:
    folder = tmp_path / "r"
    child = start("run", suite, "--fake", FAKE, "-o", folder)
    assert child.stderr is not None
    child.stderr.close()
    out = child.stdout.read()
    child.stdout.close()
    assert child.wait(60) == 3
    assert "Verdict: not_rated" in out
    assert set(contents(folder)) == ARTEFACTS


def test_a_second_ctrl_c_says_how_to_get_the_reports(
    tmp_path: Path, suite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pressed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(api, "artefacts", pressed)
    folder = tmp_path / "r"
    done = call("run", suite, "--fake", FAKE, "-o", folder)
    assert done.code == 130
    assert f"effbench replay {folder}" in done.err
    monkeypatch.undo()
    assert call("replay", folder).code == 0
    assert set(contents(folder)) == ARTEFACTS
