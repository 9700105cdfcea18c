"""The shell of ci/pipelines/slurm, with a scripted effbench and the next to nothing that slurmd starts hooks with."""

import shutil
import subprocess
from pathlib import Path

import pytest

HOOKS = Path(__file__).resolve().parents[2] / "ci" / "pipelines" / "slurm"
# Answers as `verdict` and `qualify` do: what is in `verdict`, ending with `code`; a run folder unless `crash` is there.
EFFBENCH = """#!/bin/sh
here=${0%/*}
echo "$*" >> "$here/calls"
case $1 in
  verdict) cat "$here/verdict"; exit "$(cat "$here/code")" ;;
  qualify)
    [ -e "$here/crash" ] && { echo boom; exit 1; }
    while [ $# -gt 1 ]; do shift; done
    mkdir -p "$1" && echo '{}' > "$1/grade.json"; exit 4 ;;
esac
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """The hooks beside a site.conf, effbench that says pass, and an empty folder of runs."""
    shutil.copytree(HOOKS, tmp_path / "hooks")
    (tmp_path / "effbench").write_text(EFFBENCH)
    (tmp_path / "effbench").chmod(0o755)
    (tmp_path / "runs").mkdir()
    configure(tmp_path)
    answer(tmp_path, 0, "nothing: n1 passes and takes jobs")
    return tmp_path


def configure(site: Path, **changes: str) -> None:
    """The shipped site.conf with this site's paths."""
    known: dict[str, object] = {
        "EFFBENCH": site / "effbench",
        "FOLDER": site / "runs",
        "LOG": site / "log",
        "PROC": site / "proc",
        **changes,
    }
    lines = [line for line in (HOOKS / "site.conf").read_text().splitlines() if line.partition("=")[0] not in known]
    lines += [f"{name}={value}" for name, value in known.items()]
    (site / "hooks" / "site.conf").write_text("\n".join([*lines, ""]))


def answer(site: Path, code: int, line: str) -> None:
    """What `effbench verdict` says and ends with."""
    (site / "verdict").write_text(f"effbench: something\n{line}\n" if line else "boom\n")
    (site / "code").write_text(f"{code}\n")


def hook(site: Path, name: str, **more: str) -> "subprocess.CompletedProcess[str]":
    program = site / "hooks" / f"{name}.sh"
    environment = {"PWD": "/", "SLURMD_NODENAME": "n1", **more}
    return subprocess.run([program], env=environment, capture_output=True, text=True, check=False, timeout=30)


def log(site: Path) -> str:
    return (site / "log").read_text() if (site / "log").exists() else ""


def calls(site: Path) -> list[str]:
    return (site / "calls").read_text().splitlines() if (site / "calls").exists() else []


@pytest.mark.parametrize("path", sorted(HOOKS.iterdir()), ids=lambda path: path.name)
def test_every_file_is_shell_that_can_be_read(path: Path) -> None:
    assert subprocess.run(["sh", "-n", path], check=False).returncode == 0
    assert (path.stat().st_mode & 0o111 != 0) is (path.name in ("healthcheck.sh", "prolog.sh", "epilog.sh"))


@pytest.mark.parametrize(
    ("code", "line", "prolog", "logged"),
    [
        (0, "nothing: n1 passes and takes jobs", 0, False),
        (0, "undrain: n1 it was drained by effbench, and passes now", 0, True),
        (1, "drain: n1 was idle", 1, True),
        (1, "held: n1 drained by effbench already: effbench: slow", 1, True),
        (3, "nothing: n1 not_rated: the site keeps such a node as it is (idle)", 0, True),
        (3, "drain: n1 was idle", 1, True),
        (4, "nothing: n1 undecided: the site keeps such a node as it is (idle)", 0, True),
        *((code, "", 0, True) for code in (0, 1, 2, 3, 137)),
    ],
)
def test_only_a_node_held_for_its_verdict_fails_a_prolog(
    site: Path, code: int, line: str, prolog: int, logged: bool
) -> None:
    answer(site, code, line)
    assert (hook(site, "healthcheck").returncode, hook(site, "epilog").returncode) == (0, 0)
    assert bool(log(site)) is logged
    assert not line or "ended with" not in log(site)
    assert line or "did not decide, so nothing was done: boom" in log(site)
    assert hook(site, "prolog", SLURM_JOB_ID="7").returncode == prolog
    wanted = f"verdict --folder {site}/runs --slurm --max-age 168 --policy node-2026"
    assert calls(site) == [wanted] * 3


def test_what_the_site_chose_is_handed_on(site: Path) -> None:
    configure(site, ON_NOT_RATED="drain", ON_UNDECIDED="drain", MAX_AGE_H="", POLICY="")
    hook(site, "healthcheck")
    assert calls(site) == [f"verdict --folder {site}/runs --slurm --drain-on not_rated --drain-on undecided"]


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"EFFBENCH": "effbench"}, "EFFBENCH is no absolute path"),
        ({"EFFBENCH": "/nonexistent/effbench"}, "is no program"),
        ({"FOLDER": ""}, "FOLDER is no absolute path"),
        ({"FOLDER": "/nonexistent"}, "is no folder"),
        ({"ON_NOT_RATED": "pass"}, "keep or drain"),
        ({"ON_UNDECIDED": ""}, "keep or drain"),
        (None, "site.conf is missing"),
    ],
)
def test_wrong_settings_are_named_and_fail_no_job(site: Path, changes: dict[str, str] | None, word: str) -> None:
    if changes is None:
        (site / "hooks" / "site.conf").unlink()
    else:
        configure(site, **changes)
    for name, status in (("healthcheck", 2), ("prolog", 0), ("epilog", 0)):
        done = hook(site, name)
        assert (done.returncode, word in done.stderr) == (status, True), done.stderr
    assert calls(site) == []
    assert changes is None or log(site).count(word) == 3


def test_the_quick_level_runs_where_the_site_wants_it_and_the_verdict_is_old(site: Path) -> None:
    answer(site, 3, "nothing: n1 not_rated: kept")
    hook(site, "epilog", SLURM_JOB_ID="7")
    assert not [call for call in calls(site) if call.startswith("qualify")]
    configure(site, EPILOG_RECIPE="node-quick")
    assert hook(site, "epilog", SLURM_JOB_ID="7").returncode == 0
    assert hook(site, "prolog", SLURM_JOB_ID="8").returncode == 0
    measured = [call for call in calls(site) if call.startswith("qualify")]
    assert measured == [f"qualify node-quick --budget 120 -o {site}/runs/n1/.7-epilog"]
    (run,) = [path for path in (site / "runs" / "n1").iterdir() if not path.name.startswith(".")]
    assert run.name.endswith("Z-7-epilog") and (run / "grade.json").exists()
    answer(site, 4, "nothing: n1 undecided: kept")
    hook(site, "epilog", SLURM_JOB_ID="9")
    assert len([call for call in calls(site) if call.startswith("qualify")]) == 1


def test_another_job_on_the_node_is_left_in_peace(site: Path) -> None:
    configure(site, EPILOG_RECIPE="node-quick")
    answer(site, 3, "nothing: n1 not_rated: kept")
    for pid, job in (("10", "7.batch"), ("11", "70.0")):
        (site / "proc" / pid).mkdir(parents=True)
        (site / "proc" / pid / "cmdline").write_bytes(f"slurmstepd: [{job}]\0\0".encode())
    assert hook(site, "epilog", SLURM_JOB_ID="7").returncode == 0
    assert "another job is on this node" in log(site) and not [call for call in calls(site) if "qualify" in call]
    shutil.rmtree(site / "proc" / "11")
    hook(site, "epilog", SLURM_JOB_ID="7")
    assert [call for call in calls(site) if "qualify" in call]


def test_a_crash_of_the_quick_level_leaves_no_verdict_and_is_logged(site: Path) -> None:
    configure(site, PROLOG_RECIPE="node-quick")
    answer(site, 3, "nothing: n1 not_rated: kept")
    (site / "crash").touch()
    assert hook(site, "prolog", SLURM_JOB_ID="7").returncode == 0
    assert "qualify node-quick ended with 1 and left no verdict: boom" in log(site)
    assert [path.name for path in (site / "runs" / "n1").iterdir()] == [".prolog.log"]


def test_the_job_ends_with_the_verdict(site: Path) -> None:
    words = ["sh", str(site / "hooks" / "qualify.sbatch"), str(site / "hooks"), "node-standard"]
    environment = {"SLURMD_NODENAME": "n1", "SLURM_JOB_ID": "7"}
    assert subprocess.run(words, env=environment, check=False).returncode == 4
    assert calls(site) == [f"qualify node-standard -o {site}/runs/n1/.7-qualify"]
    (site / "crash").touch()
    assert subprocess.run(words, env=environment, check=False).returncode == 1
    assert subprocess.run(words[:3], env=environment, capture_output=True, check=False).returncode == 2
