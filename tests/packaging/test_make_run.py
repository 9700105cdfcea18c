"""How `make run` ends: 0 with a verdict for every whole scorecard, non-zero when there is none."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def ending():
    """ci/run.py as a module."""
    spec = importlib.util.spec_from_file_location("ending", ROOT / "ci" / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def lay(folder: Path, names, verdict: str = "fail", grade: str | None = "F") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text("{}", encoding="utf-8")
    if "grade.json" in names:
        text = json.dumps({"verdict": verdict} | ({"grade": grade} if grade else {}))
        (folder / "grade.json").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("status", "verdict"), [(0, "pass"), (1, "fail"), (3, "not_rated"), (4, "undecided"), (130, "pass")]
)
def test_a_whole_scorecard_ends_well_whatever_the_verdict(ending, tmp_path, status, verdict):
    folder = lay(tmp_path / "run", ending.ARTEFACTS, verdict, None)
    result, line = ending.closing(status, folder)
    assert result == 0
    assert f"verdict {verdict}" in line
    assert f"ended with {status}" in line


@pytest.mark.parametrize("status", [0, 2, 3, 130, -9])
def test_no_scorecard_is_a_failure(ending, tmp_path, status):
    assert ending.closing(status, None)[0] != 0
    assert ending.closing(status, tmp_path)[0] != 0


@pytest.mark.parametrize("gone", range(8))
def test_all_eight_artefacts_are_needed(ending, tmp_path, gone):
    lay(tmp_path, [name for i, name in enumerate(ending.ARTEFACTS) if i != gone])
    assert ending.closing(3, tmp_path) == (3, "no whole scorecard: effbench run ended with 3")


def test_a_torn_scorecard_is_none(ending, tmp_path):
    lay(tmp_path, ending.ARTEFACTS)
    (tmp_path / "scorecard.json").write_text('{"schema": "effb', encoding="utf-8")
    assert ending.closing(1, tmp_path)[0] == 1


def test_only_what_this_run_wrote_counts(ending):
    old = {Path("runs/a/grade.json"): (1, 100), Path("runs/b/grade.json"): (2, 300)}
    assert ending.written(old, old) is None
    assert ending.written({}, old) == Path("runs/b")
    assert ending.written(old, {**old, Path("runs/c/grade.json"): (3, 301)}) == Path("runs/c")
    assert ending.written(old, {**old, Path("runs/a/grade.json"): (4, 100)}) == Path("runs/a"), "written again"


@pytest.mark.parametrize(
    ("words", "folder"),
    [
        (["-o", "x"], "x"),
        (["node/quick", "-ox"], "x"),
        (["--resume=x"], "x"),
        (["--resume", "x", "--json"], "x"),
        (["--only", "compute.*"], None),
        (["-o"], None),
        ([], None),
    ],
)
def test_the_folder_that_was_asked_for_is_looked_at(ending, words, folder):
    assert ending.asked_folder(words) == (ROOT / folder if folder else None)


@pytest.fixture
def site(ending, tmp_path):
    """A checkout with the script, and an `effbench` beside it that ends as told and may write a scorecard."""
    (tmp_path / "ci").mkdir()
    (tmp_path / "ci" / "run.py").write_bytes((ROOT / "ci" / "run.py").read_bytes())
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    lay(tmp_path / "template", ending.ARTEFACTS, "undecided", "B")

    def call(code: int, writes: bool, *words: str) -> subprocess.CompletedProcess[str]:
        lines = ["#!/bin/sh", 'echo "called: $*"', "mkdir -p reports/runs" if writes else ":"]
        lines += ["cp -r template reports/runs/x" if writes else ":", f"exit {code}"]
        (tmp_path / "bin" / "effbench").write_text("\n".join(lines) + "\n", encoding="utf-8")
        (tmp_path / "bin" / "effbench").chmod(0o755)
        command = [tmp_path / "bin" / "python", tmp_path / "ci" / "run.py", *words]
        return subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin"})

    return call


@pytest.mark.parametrize("words", [["node/quick", "-o", "reports/runs/x"], []])
@pytest.mark.parametrize(("code", "writes", "expected"), [(4, True, 0), (3, False, 3), (2, False, 2)])
def test_the_last_line_names_verdict_and_exit_code(site, words, code, writes, expected):
    done = site(code, writes, *words)
    assert done.returncode == expected, done.stderr
    assert done.stdout.splitlines()[0] == " ".join(["called: run", *words])
    last = done.stdout.splitlines()[-1]
    assert f"ended with {code}" in last
    assert ("verdict undecided, grade B" in last) is writes


@pytest.mark.parametrize("words", [["-o", "reports/runs/x"], ["--resume", "reports/runs/x/record.json"], []])
def test_a_scorecard_of_an_earlier_run_is_not_this_runs(site, words):
    assert site(0, True).returncode == 0
    done = site(2, False, *words)
    assert done.returncode == 2
    assert "no whole scorecard" in done.stdout.splitlines()[-1]
