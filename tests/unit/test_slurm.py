"""Slurm through commands that are scripted: what is asked of it, what it refuses, and that nothing stays behind."""

import os
import stat
import subprocess
from pathlib import Path

import msgspec
import pytest

from effbench import api
from effbench.cli import slurm_run
from effbench.cli.main import invoke
from effbench.launch import slurm, slurm_batch, slurm_queue
from effbench.launch.slurm_batch import FOLDER, Asked
from effbench.launch.slurm_queue import Task
from effbench.launch.team_job import TeamJob
from effbench.model.error import InputError, SiteError
from effbench.model.record import Round
from effbench.run.campaign import Batch, manifest, usable
from effbench.run.rounds import History
from effbench.run.task_fate import DONE, Limits, Signs, fate
from tests.factory import gpu_node

FAST = Limits(poll_s=0.05, shared_s=0.3, settle_s=0.2, unable_s=0.2, queue_s=0.5)

# One script stands for all six commands. `$STATE` holds what it knows; every call is noted in `$STATE/calls`.
FAKE = r"""#!/bin/sh
cd "$STATE" || exit 9
me=$(basename "$0")
echo "$me $*" >> calls
case $me in
  sinfo) cat sinfo ;;
  sbatch)
    [ -e refuse ] && { cat refuse >&2; exit 1; }
    cat > script; echo 7 ;;
  squeue)
    [ -e silent ] && { echo "slurm_load_jobs error: Unable to contact slurm controller" >&2; exit 1; }
    case "$*" in *" -s "*) cat steps 2>/dev/null ;; *) cat tasks ;; esac ;;
  scontrol)
    case "$*" in
      "show config") echo "MaxArraySize            = 1001" ;;
      "show hostnames "*) echo "$3" | tr ',' '\n' ;;
      "-Q")
        : > tasks
        while read -r word job node; do
          [ "$word" = update ] || continue
          i=${job#JobId=7_}; [ -e loose ] && node=ReqNodeList=
          echo "7_$i|PENDING||${node#ReqNodeList=}|None" >> tasks
        done ;;
      "release 7")
        [ -e after ] && { cp after tasks; exit 0; }
        while IFS='|' read -r id _ _ node _; do
          SLURMD_NODENAME=$node sh script; echo "$id|COMPLETED|$node|$node|None"
        done < tasks > done; mv done tasks ;;
    esac ;;
esac
exit 0
"""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A folder of scripted commands on PATH, and their state."""
    state, programs = tmp_path / "state", tmp_path / "bin"
    state.mkdir()
    programs.mkdir()
    for name in ("sbatch", "squeue", "sinfo", "scontrol", "scancel", "srun"):
        (programs / name).write_text(FAKE)
        (programs / name).chmod(stat.S_IRWXU)
    (state / "sinfo").write_text("n1|idle|none\nn2|idle|none\nn3|drained|bad dimm\nn4|down*|not responding\n")
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("STATE", str(state))
    for name in [name for name in os.environ if name.startswith("SLURM")]:
        monkeypatch.delenv(name)
    return state


def calls(state: Path) -> list[str]:
    return (state / "calls").read_text().splitlines()


def campaign(root: Path, names: list[str], called: list[str]) -> tuple[dict[str, str], list[str]]:
    """Run a campaign against the scripted Slurm; return what became of each node and what was said."""
    said: list[str] = []
    batch = Batch(root, Asked(partition="p", exclusive=True), dict(os.environ), said.append, FAST)
    try:
        batch.prepare("node/quick", {"n3": "not asked: drained"})
        batch.each(names, called, 2)
        return batch.follow(), said
    finally:
        batch.close()


WORK = 'mkdir -p "$2"; echo "$1" >> "$2/journal.jsonl.gz"; exit {code}'


def test_a_campaign_is_an_array_pinned_per_node_and_each_node_has_its_folder(fake, tmp_path):
    root = tmp_path / "c"
    fates, _ = campaign(root, ["n1", "n2"], ["sh", "-c", WORK.format(code=4), "x"])
    assert fates == {"n1": DONE, "n2": DONE, "n3": "not asked: drained"}
    assert (root / "n1" / "journal.jsonl.gz").read_text() == "-o\n"
    kept = manifest(root)
    assert kept is not None and kept.nodes["n3"].startswith("not asked") and kept.jobs == ["7"] and kept.ended_at
    asked = next(line for line in calls(fake) if line.startswith("sbatch"))
    for word in ("--partition=p", "--exclusive", "--array=0-1%2", "--hold", "--requeue", "--nodes=1"):
        assert word in asked


def test_a_requeued_task_goes_on_and_does_not_begin_again(fake, tmp_path):
    root = tmp_path / "c"
    campaign(root, ["n1", "n2"], ["sh", "-c", WORK.format(code=0), "x"])
    env = {**os.environ, "SLURMD_NODENAME": "n1", "SLURM_RESTART_COUNT": "1"}

    assert subprocess.run(["sh", str(fake / "script")], env=env, check=False).returncode == 0
    assert (root / "n1" / "journal.jsonl.gz").read_text() == "-o\n--resume\n"
    assert (root / FOLDER / "started" / "n1").read_text() == "1\n"


def test_a_requeue_before_the_first_whole_trial_begins_again_and_keeps_what_was_there(fake, tmp_path):
    root = tmp_path / "c"
    nothing = 'mkdir -p "$2"; [ "$1" = -o ] || exit 2; echo "$1" >> "$2/journal.jsonl.gz"'
    campaign(root, ["n1"], ["sh", "-c", nothing, "x"])

    env = {**os.environ, "SLURMD_NODENAME": "n1", "SLURM_RESTART_COUNT": "1"}
    subprocess.run(["sh", str(fake / "script")], env=env, check=False)
    assert (root / "n1" / "journal.jsonl.gz").read_text() == "-o\n"
    assert (root / FOLDER / "aside-n1-1" / "journal.jsonl.gz").exists()
    assert (root / FOLDER / "ended" / "n1").read_text() == "0\n"


def test_a_run_that_breaks_on_a_node_is_told_with_its_last_words(fake, tmp_path):
    fates, said = campaign(tmp_path / "c", ["n1"], ["sh", "-c", "echo disk on fire; exit 5", "x"])
    assert "status 5" in fates["n1"] and "disk on fire" in fates["n1"]
    assert any("disk on fire" in line for line in said)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("7_0|RUNNING|n1|n1|None", "not on shared storage"),
        ("7_0|FAILED|n1|n1|NonZeroExitCode", "before it could write"),
        ("7_0|NODE_FAIL|n1|n1|None", "failed while the run was on it"),
        ("7_0|TIMEOUT|n1|n1|TimeLimit", "--time"),
        ("7_0|PENDING||n4|ReqNodeNotAvail, UnavailableNodes:n4", "cannot run a job: down*, not responding"),
        ("7_0|PENDING||n1|launch failed requeued held", "will not start it"),
        ("7_0|PENDING||n1|Priority", "waited"),
        ("7_0|SPECIAL_EXIT||n1|None", "Slurm holds it"),
        ("", "before it could write"),
    ],
)
def test_a_task_that_never_reports_is_lost_in_bounded_time_and_cancelled(fake, tmp_path, line, words):
    (fake / "after").write_text(f"{line}\n")
    name = "n4" if "n4" in line else "n1"
    fates, _ = campaign(tmp_path / "c", [name], ["false"])
    assert words in fates[name]
    assert any(call.startswith("scancel") for call in calls(fake))


def test_what_slurm_refuses_is_passed_on_and_nothing_stays_queued(fake, tmp_path):
    (fake / "refuse").write_text("sbatch: error: invalid partition specified: p\n")
    with pytest.raises(InputError, match="invalid partition specified: p"):
        campaign(tmp_path / "c", ["n1"], ["true"])
    (fake / "refuse").unlink()
    (fake / "loose").touch()
    with pytest.raises(SiteError, match="would not pin a task to n1"):
        campaign(tmp_path / "d", ["n1"], ["true"])
    cancelled = [call for call in calls(fake) if call.startswith("scancel")]
    assert any(" 7" in call for call in cancelled) and any("--name=effbench-" in call for call in cancelled)


def test_an_interrupted_campaign_cancels_its_job_and_says_so(fake, tmp_path):
    (fake / "after").write_text("7_0|PENDING||n1|Priority\n")

    def interrupt(line: str) -> None:
        if "waiting" in line:
            raise KeyboardInterrupt

    batch = Batch(tmp_path / "c", Asked(), dict(os.environ), interrupt, FAST)
    with pytest.raises(KeyboardInterrupt):
        try:
            batch.prepare("node/quick", {})
            batch.each(["n1"], ["true"])
            batch.follow()
        finally:
            batch.close()
    kept = manifest(tmp_path / "c")
    assert kept is not None and "cancelled" in kept.nodes["n1"]
    assert any(call.startswith("scancel --quiet 7") for call in calls(fake))


def test_nodes_that_cannot_run_are_named_and_unknown_ones_refused(fake):
    names, barred = usable("all", "", dict(os.environ))
    assert names == ["n1", "n2"] and set(barred) == {"n3", "n4"} and "bad dimm" in barred["n3"]
    with pytest.raises(InputError, match="n9 not in the cluster"):
        usable("n1,n9", "", dict(os.environ))


def test_a_controller_that_is_silent_for_a_moment_loses_nobody(fake):
    (fake / "silent").touch()
    with pytest.raises(SiteError, match="Unable to contact"):
        slurm_queue.tasks(["7"], dict(os.environ))
    assert slurm_queue.steps("7", "x", dict(os.environ)) == []


def test_a_task_that_had_begun_and_is_held_is_not_waited_for_without_end():
    held, signs = Task("7", 0, "REQUEUE_HOLD", "", "n1", "None"), Signs()
    assert fate(held, True, False, "", signs, Limits(settle_s=60.0)) is None
    assert "REQUEUE_HOLD" in (fate(held, True, False, "", signs, Limits(settle_s=0.0)) or "")


def test_a_requeued_task_has_time_to_come_back():
    signs = Signs()
    waiting = Task("7", 0, "PENDING", "", "n1", "BeginTime")
    assert fate(waiting, True, False, "", signs, Limits()) is None
    assert fate(None, True, False, "", signs, Limits()) is None
    assert fate(None, True, True, "", signs, Limits()) == DONE


def test_the_step_of_a_team_is_ended_with_the_first_rank_and_found_by_its_name():
    job = TeamJob("/f", 4, 2, "tok", nodes=2, port=77, node_names=["a", "b"])
    said = slurm.command(job)
    assert said[0] == "srun" and said[-2:] == [job.module, "/f"]
    for word in ("--kill-on-bad-exit=1", "--job-name=effbench-tok", "--nodes=2-2", "--ntasks=4", "--nodelist=a,b"):
        assert word in said
    assert 20000 <= slurm.port("tok") < 32000


SEATS = {"n1": [0, 1], "n2": [2, 3]}


def test_srun_tells_which_task_ended_how_and_whom_it_ended_afterwards_is_not_to_blame():
    text = (
        "srun: error: n2: task 2: Exited with exit code 3\n"
        "srun: launch/slurm: _step_signal: Terminating StepId=7.1\n"
        "srun: error: n2: task 3: Terminated\nsrun: error: n1: tasks 0-1: Killed\n"
    )
    assert slurm.told(text, SEATS) == {2: 3}
    assert slurm.told("srun: error: n1: tasks 0,3: Killed\n", SEATS) == {0: -9, 3: -9}


def test_of_a_node_that_failed_its_own_ranks_fell_and_not_those_that_slurm_killed_after_it():
    text = "srun: error: Node failure on n2\nsrun: error: n1: tasks 0-1: Killed\nsrun: Force Terminated StepId=7.0\n"
    assert slurm.told(text, SEATS) == {2: -9, 3: -9}


def test_a_team_needs_an_allocation_that_is_large_enough(fake, monkeypatch):
    job = TeamJob("/f", 4, 2, "tok", nodes=3)
    with pytest.raises(SiteError, match="no Slurm allocation"):
        slurm.start(job, dict(os.environ))
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_JOB_NODELIST", "n1,n2")
    with pytest.raises(SiteError, match="3 nodes are needed"):
        slurm.start(job, dict(os.environ))


def test_sizes_of_the_batch_script_do_not_reach_a_step():
    kept = slurm.own_environment({"SLURM_NTASKS": "8", "SLURM_STEP_ID": "0", "SLURM_JOB_ID": "7", "PATH": "/bin"})
    assert kept == {"SLURM_JOB_ID": "7", "PATH": "/bin"}


def test_names_with_blanks_and_quotes_survive_the_script(tmp_path):
    root = tmp_path / "a b'c"
    text = slurm_batch.script("tok", root, ["echo", "x y"], each=True)
    (root / FOLDER).mkdir(parents=True)

    done = subprocess.run(
        ["sh"], input=text, text=True, env={"SLURMD_NODENAME": "n1", "PATH": os.environ["PATH"]}, check=False
    )
    assert done.returncode == slurm_batch.NOT_SHARED  # no token there, so it does nothing at all
    assert not (root / "n1").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--each", "--nodes", "all"], 2, "needs --launcher slurm"),
        (["--launcher", "slurm", "--each"], 2, "--nodes all"),
        (["--launcher", "slurm", "--each", "--nodes", "4"], 2, "--nodes all"),
        (["--launcher", "slurm", "--at-once", "2", "--nodes", "2"], 2, "--each too"),
        (["--launcher", "slurm"], 2, "--nodes"),
        (["--launcher", "slurm", "--nodes", "n9", "--each"], 2, "n9 not in the cluster"),
        (["--launcher", "slurm", "--nodes", "n3", "--each"], 3, "bad dimm"),
        (["--launcher", "slurm", "--nodes", "all", "--each", "--fake", "nvidia-h200-sxm"], 2, "for a run here"),
    ],
)
def test_contradictions_on_the_command_line_are_one_message(fake, tmp_path, capfd, arguments, code, words):
    assert invoke(["run", "node/quick", "-o", str(tmp_path / "r"), *arguments]) == code
    error = capfd.readouterr().err
    assert words in error and "Traceback" not in error
    assert not any(call.startswith("sbatch") for call in (calls(fake) if (fake / "calls").exists() else []))


def test_a_campaign_of_which_no_run_can_be_read_is_no_mistake_of_the_user(fake, tmp_path, monkeypatch, capfd):
    dies = ["sh", "-c", 'mkdir -p "$4"; echo the disk is gone; exit 9', "run"]
    monkeypatch.setattr(slurm_run, "words", lambda suite, given: dies)
    arguments = ["--launcher", "slurm", "--each", "--nodes", "n1,n2", "-o", str(tmp_path / "r")]
    assert invoke(["run", "node/quick", *arguments]) == 3
    error = capfd.readouterr().err
    assert "no node reported" in error and "n1: " in error and "the disk is gone" in error
    assert not (tmp_path / "r" / "cluster.json").exists()


def test_without_slurm_the_message_says_what_is_absent(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert invoke(["run", "node/quick", "--launcher", "slurm", "--nodes", "2"]) == 3
    assert "sbatch" in capfd.readouterr().err


def test_inside_an_allocation_sizes_are_not_asked_for_again(fake, monkeypatch, capfd):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_JOB_NODELIST", "n1,n2")
    monkeypatch.setenv("SLURMD_NODENAME", "n1")
    assert invoke(["run", "node/quick", "--launcher", "slurm", "--nodes", "2"]) == 2
    assert "inside a Slurm allocation" in capfd.readouterr().err


def test_rounds_that_were_measured_before_a_requeue_are_not_measured_again():
    case = gpu_node()
    assert case.record is not None
    plan = case.record.plan
    trial = next(t for t in plan.trials if t.skipped is None)
    first = msgspec.structs.replace(
        next(m for m in case.record.measurements if m.trial == trial.id),
        rounds=[Round(0, "done", step_s=1.0), Round(1, "lost")],
    )
    held = msgspec.structs.replace(case.record, measurements=[first], plan=plan)
    done = api.finished(held)
    history = History(plan, done)
    assert not history.runnable(trial, 0) and history.runnable(trial, 1) and history.runnable(trial, 2)
