"""Teams through the engine on real processes: a whole record, the culprit named, and nothing left running."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from effbench import api
from effbench.launch import inline_team, team_job
from effbench.model.finding import Finding
from effbench.model.record import Measurement, Record
from effbench.model.team import RankNote
from effbench.run import teams
from effbench.run.engine import Options, environment_for_children

pytestmark = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two ranks need two cores")

SUITE = """
schema: effbench.suite/1
name: test/team
purpose: a team
rounds: {{gpu: {{min: 1, max: 1}}, cpu: {{min: 1, max: 1}}}}
budget_s: {{gpu: 300, cpu: 300}}
procedure: {{warmup_s: 0.02, duration_s: {duration}, samples_min: 5}}
workloads:
"""


class Silent:
    """A display that remembers the notes."""

    def __init__(self) -> None:
        self.notes: list[Finding] = []

    def begin(self, plan, inventory) -> None: ...

    def trial(self, trial, round_number, done, total, left_s) -> None: ...

    def progress(self, progress, telemetry) -> None:
        raise AssertionError("nothing is drawn while the ranks of a CPU are timed")

    def closed(self, trial, status, detail) -> None: ...

    def note(self, finding: Finding) -> None:
        self.notes.append(finding)


def suite(tmp_path: Path, *params: str, duration: float = 0.05) -> Path:
    path = tmp_path / "suite.yaml"
    rows = [
        f"  - {{id: t{number}, kernel: team_truth, scope: node, counts: [2], params: {{mean_s: 0.004, {text}}}}}\n"
        for number, text in enumerate(params)
    ]
    path.write_text(SUITE.format(duration=duration) + "".join(rows))
    return path


def go(tmp_path: Path, launcher: str, *params: str) -> tuple[Record, Silent]:
    site = api.look(dict(os.environ), devices="cpu")
    plan = api.plan(api.load_suite(str(suite(tmp_path, *params))), site, "cpu")
    folder, display = tmp_path / "run", Silent()
    folder.mkdir()
    options = Options(environment_for_children(os.environ), 300, api.tool(), telemetry=False, launcher=launcher)
    record, outcome = api.run(plan, site.inventory, folder, display, options)
    assert outcome == "complete"
    return record, display


def of(record: Record, number: int) -> Measurement:
    return next(m for m in record.measurements if m.trial.startswith(f"t{number}:"))


def ranks_of(folder: Path) -> list[RankNote]:
    lines = [line for path in folder.rglob("rank-*.jsonl") for line in path.read_bytes().splitlines()]
    return [msgspec.json.decode(line, type=RankNote) for line in lines]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_torchrun_measures_a_team_as_its_slowest_rank_and_outlives_wrong_results(tmp_path):
    record, display = go(
        tmp_path, "torchrun", "bytes: 4096, stretch: 2.0, slow_rank: 1", "fault: wrong, fault_rank: 1", "fault: refuse"
    )
    good = of(record, 0)
    assert good.status in ("valid", "suspect"), good.detail
    assert good.step_s.value > 0.008, "the slow rank waits twice as long as the other"
    assert good.facts["busy_s.r0"] < 0.008 < good.facts["busy_s.r1"]
    assert good.facts["wait_s.r0"] > good.facts["wait_s.r1"]
    assert good.verify.ok and good.texts["ranks"] == "2" and good.texts["GLOO_SOCKET_IFNAME"] == "lo"
    assert (of(record, 1).status, of(record, 1).detail) == ("failed", "wrong result: rank 1: the sum is wrong")
    assert of(record, 2).detail == "rank 0: RuntimeError: a refusal that was asked for"
    assert display.notes == []
    assert not (tmp_path / "run" / "teams").exists()
    assert api.encode(api.replay(tmp_path / "run")) == api.encode(record)
    metrics = [m for m in api.score(record).metrics if m.key == "quality.team_truth.n2.time"]
    assert [m.device for m in metrics] == [None]


def test_a_taken_port_is_tried_again_and_a_killed_rank_is_named(tmp_path, monkeypatch):
    with team_job.socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        ports = [other.getsockname()[1]]
        monkeypatch.setattr(inline_team, "free_port", lambda host: ports.pop() if ports else team_job.free_port(host))
        record, _ = go(tmp_path, "inline", "fault: crash, fault_rank: 1, fault_after: 3", "bytes: 0")
    assert ports == []
    lost = of(record, 0)
    assert lost.status == "failed" and "rank 1" in lost.detail and "killed by signal 9" in lost.detail
    assert [f.code for f in lost.findings if f.severity == "error"] in (["rank-lost"], ["worker-oom"])
    assert of(record, 1).status in ("valid", "suspect"), of(record, 1).detail
    pids = {note.pid for note in ranks_of(tmp_path / "run" / "teams")}
    assert len(pids) >= 4
    assert not any(alive(pid) for pid in pids)


def test_a_stopped_rank_is_named_in_bounded_time_and_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(teams, "DEADLINE_S", 15.0)
    record, _ = go(tmp_path, "torchrun", "fault: hang, fault_rank: 1, fault_after: 3, bytes: 4096")
    lost = of(record, 0)
    assert lost.status == "failed" and lost.detail.startswith("rank 1 (node "), lost.detail
    assert "did not report" in lost.detail
    assert [f.code for f in lost.findings if f.severity == "error"] == ["rank-hung"]
    assert record.outcome == "complete"
    assert not any(alive(note.pid) for note in ranks_of(tmp_path / "run" / "teams"))


def test_nothing_outlives_a_parent_that_is_killed(tmp_path):
    path = suite(tmp_path, "bytes: 4096", duration=200.0)
    words = [sys.executable, "-m", "effbench", "run", str(path), "--device", "cpu", "-o", str(tmp_path / "run")]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as parent:
        try:
            end = time.monotonic() + 90
            while sum(note.phase == "trial" for note in ranks_of(tmp_path / "run")) < 2 and time.monotonic() < end:
                time.sleep(0.1)
            pids = {note.pid for note in ranks_of(tmp_path / "run")}
            assert len(pids) == 2 and all(alive(pid) for pid in pids)
        finally:
            parent.send_signal(signal.SIGKILL)
    end = time.monotonic() + 20
    while any(alive(pid) for pid in pids) and time.monotonic() < end:
        time.sleep(0.1)
    assert not any(alive(pid) for pid in pids)
