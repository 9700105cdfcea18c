"""Runs and campaigns on a real Slurm with four virtual nodes, by the public commands, as a user types them."""

import gzip
import json
import os
import re
import shlex
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.system.sandboxes import PYTHON, ROOT, Sandbox

SUITES = Path(__file__).with_name("suites")
VERDICTS = (0, 1, 3, 4)


def effbench(slurm: Sandbox, *words: object, timeout_s: float = 150) -> subprocess.CompletedProcess[str]:
    """Run the command where a user of the cluster would; it ends by itself in time."""
    return slurm.do("run", PYTHON, "-m", "effbench", *words, timeout_s=timeout_s)


def begin(slurm: Sandbox, *words: object) -> subprocess.Popen[str]:
    """Start the command and go on."""
    line = [*slurm.words, "run", PYTHON, "-m", "effbench", *map(str, words)]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT)


def over(child: subprocess.Popen[str], timeout_s: float) -> str:
    """What a started command printed until its end, which it has to reach; it is ended otherwise."""
    try:
        return child.communicate(timeout=timeout_s)[0]
    except subprocess.TimeoutExpired:
        child.send_signal(signal.SIGINT)
        raise
    finally:
        if child.poll() is None:
            child.kill()


def document(path: Path) -> dict[str, Any]:
    """A JSON document."""
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def lines(run: Path) -> list[dict[str, Any]]:
    """A journal's lines as far as they are whole."""
    found = []
    try:
        with gzip.open(run / "journal.jsonl.gz", "rt") as journal:
            for line in journal:
                found.append(json.loads(line))
    except (OSError, EOFError, ValueError):
        return found
    return found


def closed(run: Path) -> list[tuple[str, int]]:
    """Trials (with their round) that have ended so far."""
    return [(line["trial"], line["round"]) for line in lines(run) if line["type"] == "closed"]


def quiet(slurm: Sandbox) -> None:
    """Nothing is left in the queue, and no rank or run of ours on any node."""
    end = time.monotonic() + 15
    while time.monotonic() < end:
        queue = slurm.must("run", "squeue", "-h")
        mark = json.loads((slurm.folder / "ledger.json").read_text())["id"]
        left = [words for words in _marked(mark) if re.search(r" -m effbench\b", words) and "sandbox" not in words]
        if not queue.strip() and not left:
            return
        time.sleep(0.5)
    raise AssertionError(f"left in the queue: {queue!r}, processes: {left}")


def _marked(mark: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"EFFBENCH_SANDBOX={mark}".encode() in path.read_bytes() and int(path.parent.name) != os.getpid():
                found.append((path.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def times(run: Path) -> dict[int, float]:
    """Seconds of the known step by number of ranks, from the scorecard."""
    metrics = document(run / "scorecard.json")["metrics"]
    prefix = "quality.team_truth.n"
    return {
        int(one["key"].removeprefix(prefix).split(".")[0]): float(one["quantity"]["value"])
        for one in metrics
        if one["key"].startswith(prefix)
    }


def test_a_team_over_nodes_from_outside_an_allocation(slurm: Sandbox, tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = effbench(slurm, "run", SUITES / "team.yaml", "--launcher", "slurm", "--nodes", 2, "-o", run)
    assert done.returncode in VERDICTS, done.stderr
    found = times(run)
    assert max(found) > 2 and 1 in found, (found, done.stderr)
    assert all(0.02 <= value < 0.06 for value in found.values()), found
    trials = document(run / "record.json")["plan"]["trials"]
    assert {trial["placement"].get("nodes", 1) for trial in trials} == {1, 2}
    quiet(slurm)


def test_inside_an_allocation_slurm_is_found_without_flags(slurm: Sandbox, tmp_path: Path) -> None:
    run, log = tmp_path / "run", tmp_path / "log"
    job = shlex.join([PYTHON, "-m", "effbench", "run", str(SUITES / "team.yaml"), "-o", str(run)])
    slurm.must("run", "sbatch", "-N2", "--exclusive", "-o", log, "--wrap", job)
    end = time.monotonic() + 150
    while slurm.must("run", "squeue", "-h").strip() and time.monotonic() < end:
        time.sleep(0.5)
    assert max(times(run)) > 2, log.read_text()
    quiet(slurm)


def test_a_campaign_names_its_slowed_node_first(slurm: Sandbox, tmp_path: Path) -> None:
    root = tmp_path / "campaign"
    slurm.must("slow", "n3", 0.5)
    try:
        words = ("run", SUITES / "node.yaml", "--launcher", "slurm", "--nodes", "all", "--each", "--at-once", 1)
        done = effbench(slurm, *words, "-o", root, timeout_s=240)
    finally:
        slurm.must("slow", "n3", 0)
    assert done.returncode in VERDICTS, done.stderr
    for node in ("n1", "n2", "n3", "n4"):
        assert (root / node / "record.json").exists(), done.stderr
    card = document(root / "cluster.json")["cluster"]
    assert first_named(card) == "n3", done.stdout
    again = effbench(slurm, "score", root, "--subject", "cluster")
    assert again.returncode in VERDICTS, again.stderr
    assert document(root / "cluster.json")["cluster"] == card
    assert "n3" in (root / "report.html").read_text()
    quiet(slurm)


def first_named(card: dict[str, Any]) -> str:
    """The node that a cluster's scorecard names first."""
    return str(card["nodes"][0]["name"])


def test_a_drained_node_is_in_the_campaign_with_its_reason(slurm: Sandbox, tmp_path: Path) -> None:
    root = tmp_path / "campaign"
    slurm.must("run", "scontrol", "update", "nodename=n2", "state=drain", "reason=fan replaced")
    try:
        words = ("run", SUITES / "node.yaml", "--launcher", "slurm", "--nodes", "n[1-2]", "--each", "-o", root)
        done = effbench(slurm, *words, timeout_s=120)
    finally:
        slurm.must("run", "scontrol", "update", "nodename=n2", "state=resume")
    assert done.returncode == 3, done.stderr
    assert (root / "n1" / "record.json").exists()
    said = json.dumps(document(root / "cluster.json"))
    assert "n2" in said and "fan replaced" in said
    quiet(slurm)


def test_after_a_requeue_finished_trials_are_not_repeated(slurm: Sandbox, tmp_path: Path) -> None:
    root = tmp_path / "campaign"
    run = root / "n1"
    words = ("run", SUITES / "steps.yaml", "--launcher", "slurm", "--nodes", "n1", "--each", "-o", root)
    child = begin(slurm, *words)
    try:
        end = time.monotonic() + 60
        while not closed(run) and child.poll() is None and time.monotonic() < end:
            time.sleep(0.3)
        before = closed(run)
        assert before, over(child, 1)
        job = slurm.must("run", "squeue", "-h", "-o", "%A").split()[0]
        slurm.must("run", "scontrol", "requeue", job)
    finally:
        said = over(child, 120)
    assert child.returncode in VERDICTS, said
    after = closed(run)
    assert len(after) == len(set(after)) == 4, after
    assert after[: len(before)] == before
    assert document(run / "record.json")["measurements"]
    quiet(slurm)


def test_a_node_lost_in_the_middle_leaves_a_whole_record_that_names_it(slurm: Sandbox, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ("run", SUITES / "long-team.yaml", "--launcher", "slurm", "--nodes", "n[1-2]", "-o", run)
    child = begin(slurm, *words)
    try:
        end = time.monotonic() + 90
        while not _all_ranks_work(run) and child.poll() is None and time.monotonic() < end:
            time.sleep(0.3)
        assert _all_ranks_work(run), over(child, 1)
        slurm.must("silence", "n2")
        said = over(child, 150)
    finally:
        if child.poll() is None:
            child.kill()
        slurm.must("revive", "n2")
    assert child.returncode in VERDICTS, said
    record = document(run / "record.json")
    told = [one["detail"] for one in record["measurements"] if one["status"] != "valid"]
    assert any("n2" in detail for detail in told), told
    assert not any("n1" in detail for detail in told), told
    end = time.monotonic() + 30
    while "idle" not in slurm.must("run", "sinfo", "-hN", "-n", "n2", "-o", "%T") and time.monotonic() < end:
        time.sleep(0.5)
    quiet(slurm)


def _all_ranks_work(run: Path) -> bool:
    """Does the team over both nodes measure already?"""
    for spec in run.glob("teams/*/team.json"):
        if document(spec).get("nodes", 1) == 2:
            notes = [path.read_text() for path in spec.parent.glob("rank-*.jsonl")]
            return len(notes) == document(spec)["ranks"] and all('"phase":"step"' in text for text in notes)
    return False
