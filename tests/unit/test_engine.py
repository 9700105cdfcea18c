"""The engine keeps the record whole whatever its workers do. Runs on simulated devices, through real processes."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from effbench import api
from effbench.model.event import Closed, Ended, Noted, Opened
from effbench.model.finding import Finding
from effbench.model.plan import Plan
from effbench.model.record import Measurement, Record
from effbench.run import journal
from effbench.run.engine import Options, environment_for_children
from effbench.run.site import Site

FAKE = "nvidia-h200-sxm"
SUITE = """
schema: effbench.suite/1
name: test/tiny
purpose: a few trials for tests
rounds: {gpu: {min: 2, max: 2}, cpu: {min: 2, max: 2}}
budget_s: {gpu: 60, cpu: 60}
procedure: {warmup_s: 0.01, duration_s: 0.05, samples_min: 5}
workloads:
  - id: truth
    kernel: known_truth
    params: {mean_s: 0.001}
  - id: gemm
    kernel: gemm
    axes: {dtype: [bf16, fp32]}
  - id: stream
    kernel: stream
    params: {op: triad}
"""


class Quiet:
    """A display that remembers."""

    def __init__(self) -> None:
        self.notes: list[Finding] = []
        self.closed_ids: list[str] = []
        self.on_trial = lambda name: None

    def begin(self, plan, inventory) -> None: ...

    def trial(self, trial, round_number, done, total, left_s) -> None:
        self.on_trial(trial.id)

    def progress(self, progress, telemetry) -> None: ...

    def closed(self, trial, status, detail) -> None:
        self.closed_ids.append(trial.id)

    def note(self, finding: Finding) -> None:
        self.notes.append(finding)

    def end(self) -> None: ...


@pytest.fixture(scope="module")
def site() -> Site:
    return api.look(dict(os.environ), FAKE)


@pytest.fixture
def todo(site: Site, tmp_path: Path) -> Plan:
    path = tmp_path / "suite.yaml"
    path.write_text(SUITE)
    return api.plan(api.load_suite(str(path)), site)


def go(
    todo: Plan, site: Site, folder: Path, display: Quiet | None = None, budget_s: float = 60, **faults: dict
) -> Record:
    folder.mkdir(exist_ok=True)
    options = Options(environment_for_children(os.environ), budget_s, api.tool(), faults)
    record, _ = api.run(todo, site.inventory, folder, display or Quiet(), options)
    return record


def by_kernel(record: Record, kernel: str) -> list[Measurement]:
    trials = {t.id for t in record.plan.trials if t.kernel == kernel}
    return [m for m in record.measurements if m.trial in trials]


def test_a_whole_run_measures_every_trial_in_every_round(todo: Plan, site: Site, tmp_path: Path) -> None:
    record = go(todo, site, tmp_path / "run")
    assert record.outcome == "complete"
    assert record.simulated
    assert [m.status for m in record.measurements] == ["valid"] * 4, [m.detail for m in record.measurements]
    assert all(len(m.rounds) == 2 for m in record.measurements)
    assert record.journal_digest.startswith("sha256:")


def test_rounds_are_fresh_processes_in_shuffled_order(todo: Plan, site: Site, tmp_path: Path) -> None:
    go(todo, site, tmp_path / "run")
    events = journal.read(tmp_path / "run" / "journal.jsonl.gz").events
    opened = [e for e in events if isinstance(e, Opened)]
    processes = {e.round: {o.process for o in opened if o.round == e.round} for e in opened}
    assert processes[0].isdisjoint(processes[1])
    assert {e.trial for e in opened if e.round == 0} == {e.trial for e in opened if e.round == 1}


def test_a_replay_gives_the_same_record_byte_for_byte(todo: Plan, site: Site, tmp_path: Path) -> None:
    record = go(todo, site, tmp_path / "run")
    assert api.encode(api.replay(tmp_path / "run")) == api.encode(record)


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ({"crash_after": 20}, "failed", "worker-oom"),
        ({"wrong": True}, "failed", None),
        ({"nan_after": 20}, "failed", None),
        ({"error_after": 20}, "failed", None),
        ({"refuse": "no such thing here"}, "failed", None),
    ],
)
def test_a_failing_trial_costs_only_itself(
    todo: Plan, site: Site, tmp_path: Path, fault: dict, status: str, code: str | None
) -> None:
    display = Quiet()
    record = go(todo, site, tmp_path / "run", display, gemm=fault)
    assert {m.status for m in by_kernel(record, "gemm")} == {status}
    assert all(m.detail for m in by_kernel(record, "gemm"))
    assert {m.status for m in [*by_kernel(record, "stream"), *by_kernel(record, "known_truth")]} == {"valid"}
    if code is not None:
        assert {f.code for f in display.notes} & {code, "worker-crashed"}
    card = api.score(record)
    assert not any(m.key.startswith("compute.gemm") for m in card.metrics)
    assert card.coverage == pytest.approx(0.5)


def test_a_hanging_trial_is_killed_at_its_deadline_and_not_tried_again(todo: Plan, site: Site, tmp_path: Path) -> None:
    import msgspec

    trials = [msgspec.structs.replace(t, deadline_s=2.0) for t in todo.trials]
    todo = msgspec.structs.replace(todo, trials=trials)
    display, started = Quiet(), time.monotonic()
    record = go(todo, site, tmp_path / "run", display, stream={"hang_after": 5})
    assert time.monotonic() - started < 30
    (stream,) = by_kernel(record, "stream")
    assert stream.status == "failed"
    assert len(stream.rounds) == 1
    assert "worker-hung" in {f.code for f in display.notes}
    assert {m.status for m in by_kernel(record, "gemm")} == {"valid"}


def test_kill_minus_nine_of_a_worker_keeps_the_run(todo: Plan, site: Site, tmp_path: Path) -> None:
    def kill_the_worker(name: str) -> None:
        if name.startswith("stream"):
            threading.Timer(0.2, _kill_children, args=("effbench.run.worker",)).start()

    display = Quiet()
    display.on_trial = kill_the_worker
    record = go(todo, site, tmp_path / "run", display, stream={"hang_after": 5})
    (stream,) = by_kernel(record, "stream")
    assert stream.status == "failed"
    assert "signal 9" in stream.detail
    assert {m.status for m in by_kernel(record, "gemm")} == {"valid"}
    assert record.outcome == "complete"


def _kill_children(word: str) -> None:
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().decode().split("\0")
            parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, ValueError):
            continue
        if word in words and parent == os.getpid():
            os.kill(int(entry.name), signal.SIGKILL)


def test_ctrl_c_keeps_what_was_measured(todo: Plan, site: Site, tmp_path: Path) -> None:
    display = Quiet()

    def interrupt(name: str) -> None:
        if len(display.closed_ids) == 2:
            raise KeyboardInterrupt

    display.on_trial = interrupt
    record = go(todo, site, tmp_path / "run", display)
    assert record.outcome == "interrupted"
    assert sum(m.status == "valid" for m in record.measurements) == 2
    events = journal.read(tmp_path / "run" / "journal.jsonl.gz").events
    assert isinstance(events[-1], Ended)
    assert "interrupted" in {f.code for f in record.findings}


def test_a_budget_that_is_too_small_is_kept_and_named(todo: Plan, site: Site, tmp_path: Path) -> None:
    started = time.monotonic()
    record = go(todo, site, tmp_path / "run", budget_s=10.0)
    assert time.monotonic() - started < 12
    assert record.outcome in ("budget", "complete")
    if record.outcome == "budget":
        assert {f.code for f in record.findings} & {"budget-exhausted", "rounds-reduced"}


def test_a_cut_journal_gives_a_truncated_record(todo: Plan, site: Site, tmp_path: Path) -> None:
    go(todo, site, tmp_path / "run")
    path = tmp_path / "run" / "journal.jsonl.gz"
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    record = api.replay(tmp_path / "run")
    assert record.outcome == "truncated"
    assert "record-truncated" in {f.code for f in record.findings}
    assert any(m.status == "valid" for m in record.measurements)


def test_findings_of_a_trial_travel_with_it(todo: Plan, site: Site, tmp_path: Path) -> None:
    go(todo, site, tmp_path / "run", gemm={"crash_after": 20})
    events = journal.read(tmp_path / "run" / "journal.jsonl.gz").events
    noted = [e.finding for e in events if isinstance(e, Noted) and e.finding.trial]
    assert noted
    lost = [e for e in events if isinstance(e, Closed) and e.status == "lost"]
    assert {f.trial for f in noted} >= {e.trial for e in lost}


def test_a_workload_may_take_part_in_fewer_rounds(todo: Plan, site: Site, tmp_path: Path) -> None:
    import msgspec

    trials = [msgspec.structs.replace(t, rounds=1) if t.kernel == "stream" else t for t in todo.trials]
    record = go(msgspec.structs.replace(todo, trials=trials), site, tmp_path / "run")
    (stream,) = by_kernel(record, "stream")
    assert (stream.status, len(stream.rounds)) == ("valid", 1)
    assert all(len(m.rounds) == 2 for m in by_kernel(record, "gemm"))
    assert stream.trial in api.finished(record)
