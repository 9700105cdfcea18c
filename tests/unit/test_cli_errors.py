"""How commands end that do not end well: one message, the right exit code, no traceback; our bug condemns no node."""

import errno
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from effbench import api
from effbench.cli import main
from effbench.model.error import InputError, OutputError, SiteError, WorkerError
from tests.unit.command_line import ROOT, call, ended, start


def raising(error: BaseException) -> Callable[..., None]:
    def broken(*_: object, **__: object) -> None:
        raise error

    return broken


@pytest.mark.parametrize(
    "error",
    [ValueError("boom"), KeyError("boom"), RecursionError("boom"), AssertionError("boom"), OSError(errno.EIO, "boom")],
)
def test_a_bug_of_ours_is_3_in_one_line_and_never_the_nodes_fault(
    finished: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.delenv("EFFBENCH_DEBUG", raising=False)
    monkeypatch.setattr(api, "card_of", raising(error))
    done = call("grade", finished)
    assert done.code == 3
    assert done.out == ""
    first, second = done.err.splitlines()
    assert "a bug of effbench and not of the node" in first
    assert type(error).__name__ in first
    assert "boom" in first
    assert "EFFBENCH_DEBUG=1" in second


def test_a_bug_shows_itself_when_asked(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EFFBENCH_DEBUG", "1")
    monkeypatch.setattr(api, "card_of", raising(ValueError("boom")))
    with pytest.raises(ValueError, match="boom"):
        call("grade", finished)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("x"), 2),
        (OutputError("x"), 2),
        (SiteError("x"), 3),
        (WorkerError("x"), 3),
        (KeyboardInterrupt(), 130),
    ],
)
def test_each_kind_of_error_has_its_code(
    finished: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    monkeypatch.setattr(api, "card_of", raising(error))
    done = call("grade", finished)
    assert done.code == code
    assert len(done.err.split()) < 4


USAGE = {
    "frobnicate": "No such command 'frobnicate'",
    "rum": "Did you mean 'run'?",
    "run --nope": "No such option",
    "run --budget soon": "'soon' is not a valid float",
    "run --resume nowhere": "does not exist",
    "list nothing": "accelerators",
    "grade": "Missing argument",
    "redact": "Missing argument",
    "compare one": "Missing argument",
}


@pytest.mark.parametrize("words", USAGE)
def test_wrong_words_are_2_and_name_the_right_ones(words: str) -> None:
    done = call(*words.split())
    assert done.code == 2
    assert done.out == ""
    assert USAGE[words] in done.err


NAMES = {
    "run nope": ["there is no suite 'nope'", "node/quick", "selftest/truth"],
    "run node/quik": ["Did you mean node/quick?"],
    "run --policy nope": ["there is no policy 'nope'", "node-2026"],
    "plan --fake nvidia-h200": ["nvidia-h200-sxm", "effbench list accelerators"],
    "plan --fake nvidia-h200-sxm*0": ["1 to 64"],
    "plan --fake nvidia-h200-sxm --device cuda:9": ["no device 'cuda:9'", "gpu0, cuda:0"],
    "plan --fake nvidia-h200-sxm --device gpu0,tpu": ["no device 'tpu'", "gpu0, cuda:0"],
    "plan --fake nvidia-h200-sxm --only zzz": ["nothing to run", "effbench plan"],
    "explain clock-unknwon": ["clock-unknown", "effbench list metrics"],
    "show nope": ["effbench list suites"],
    "grade nope": ["nope: no such run", "effbench list runs"],
    "score .": ["neither record.json nor journal.jsonl.gz"],
    "report nope": ["nope: no such run"],
    "compare nope nope": ["nope: no such run"],
    "compare . . --margin 5": ["--margin 5", "between 0 and 1"],
}


@pytest.mark.parametrize("words", NAMES)
def test_unknown_names_are_2_with_the_valid_choices(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)
    done = call(*words.split())
    assert done.code == 2
    assert done.out == ""
    for text in NAMES[words]:
        assert text in done.err
    assert not list(tmp_path.iterdir()), "nothing is left behind"


def test_the_group_alone_shows_its_commands() -> None:
    done = call()
    assert done.code == 2
    assert all(name in done.said for name in main.COMMANDS)
    assert call("--version").out.startswith("effbench ")


def shell(line: str) -> subprocess.CompletedProcess[str]:
    line = line.replace("effbench", f"{sys.executable} -m effbench")
    return subprocess.run(
        ["bash", "-c", "set -o pipefail; " + line], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("command", ["list suites", "list metrics --json", "--help"])
def test_a_reader_that_leaves_early_is_no_error(command: str) -> None:
    done = shell(f"effbench {command} | head -c 1")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_reader_that_leaves_early_changes_no_verdict(finished: Path) -> None:
    assert shell(f"effbench grade {finished} | head -c 1").returncode == 3


def test_a_full_stdout_is_said() -> None:
    done = shell("effbench list suites >/dev/full")
    assert done.returncode == 2
    assert done.stderr == "effbench: stdout: cannot write the result: No space left on device\n"


def test_a_closed_stdout_is_said() -> None:
    done = shell("effbench list suites >&-")
    assert done.returncode == 2
    assert done.stderr == "effbench: stdout is closed, so the result cannot be written\n"


@pytest.mark.parametrize(("command", "code"), [("grade RUN", 3), ("grade nowhere", 2), ("nonsense", 2)])
def test_a_closed_stderr_changes_no_exit_code(finished: Path, command: str, code: int) -> None:
    assert shell(f"effbench {command.replace('RUN', str(finished))} 2>&-").returncode == code


def test_a_child_that_is_asked_nonsense_refuses_in_its_own_words(tmp_path: Path) -> None:
    done = ended(start("plan", "--fake", "no such part", cwd=tmp_path))
    assert done.code == 2
    assert "'no such part' is not a simulated node" in done.err
