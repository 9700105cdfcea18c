"""Mistakes in suites and policies: all of them at once, each with file:line:column and the valid choices; exit 2."""

import re
from pathlib import Path

import pytest

from tests.unit.command_line import FAKE, SUITE, call, policy

BAD_SUITE = """\
schema: effbench.suite/1
name: test/bad
purpose: every line has a mistake
rounds: {gpu: {min: 2, max: 2}, cpu: {min: 2, max: 2}}
budget_s: {gpu: .nan, cpu: -60}
procedure: {warmup_s: .inf, duration_s: 0.05, samples_min: 5, target_relative_half_width: -.inf}
workloads:
  - id: truth
    kernel: known_truth
    params: {mean_s: .nan}
  - id: gemm
    kernel: gemmm
  - id: g2
    kernel: gemm
    axes: {dtype: [bf17, fp32]}
  - id: stream
    kernel: stream
    params: {op: triadd, colour: red}
"""
MISTAKES = {
    "5:17": "not finite",
    "5:28": "above zero",
    "6:23": "not finite",
    "6:91": "not finite",
    "10:22": "not finite",
    "12:13": "there is no kernel 'gemmm'; did you mean gemm? valid: at_once",
    "15:20": "'bf17' is not allowed here; did you mean bf16? valid: bf16, fp16, fp32, fp64, fp8, int8, tf32",
    "18:18": "'triadd' is not allowed here; did you mean triad? valid: copy, read, triad, write",
    "18:26": "stream has no parameter 'colour'; valid:",
}


@pytest.mark.parametrize("command", ["run", "plan", "show"])
def test_every_mistake_of_a_suite_is_named_at_once(command: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(BAD_SUITE)
    more = ["-o", tmp_path / "r"] if command == "run" else []
    done = call(command, path, *(["--fake", FAKE] if command != "show" else []), *more)
    assert done.code == 2
    assert done.out == ""
    lines = [line.removeprefix("effbench: ") for line in done.err.splitlines()]
    found = dict(re.fullmatch(re.escape(f"{path}:") + r"(\d+:\d+): (.*)", line).groups() for line in lines)
    assert set(found) == set(MISTAKES)
    for where, text in MISTAKES.items():
        assert text in found[where]
    assert not (tmp_path / "r").exists(), "nothing was begun"


DAMAGED = {
    "an empty file": "",
    "not YAML": "workloads: [",
    "a list": "- 1\n- 2\n",
    "a number": "3",
    "binary": "\x00\x01\x02",
    "a newer schema": SUITE.replace("effbench.suite/1", "effbench.suite/2"),
    "another schema": SUITE.replace("effbench.suite/1", "effbench.policy/1"),
    "code": SUITE.replace("a few trials", "!!python/object/apply:os.system [echo]"),
    "a key twice": SUITE + "name: again\n",
    "no workloads": SUITE.split("workloads:")[0] + "workloads: []\n",
    "an endless alias": "a: &a [*a]\n",
    "a time for a number": SUITE.replace("duration_s: 0.04", "duration_s: 12:30:00"),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_a_damaged_suite_is_2_and_says_where(what: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(DAMAGED[what])
    done = call("plan", path, "--fake", FAKE)
    assert done.code == 2
    assert re.match(re.escape(f"effbench: {path}:") + r"\d+:\d+: ", done.err), done.err


def test_bytes_that_are_no_text_are_said(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(b"name: \xff\xfe\n")
    done = call("plan", path, "--fake", FAKE)
    assert done.code == 2
    assert str(path) in done.err


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("memory.stream.triad.bandwidth", "health.none", "health.none"),
        ('"1 TB/s"', '"fast"', "fast"),
        ('"1 TB/s"', '"1 GHz"', "1 GHz"),
        ("C:", "C: .nan, D:", "finite"),
        ("effbench.policy/1", "effbench.policy/2", "effbench.policy/1"),
        ("critical: true", "critical: perhaps", "perhaps"),
    ],
)
def test_mistakes_of_a_policy_stop_a_run_before_it_begins(
    old: str, new: str, text: str, tmp_path: Path, suite: Path
) -> None:
    path = policy(tmp_path, "1 TB/s")
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    done = call("run", suite, "--fake", FAKE, "-o", tmp_path / "r", "--policy", path)
    assert done.code == 2
    assert re.match(re.escape(f"effbench: {path}:") + r"\d+:\d+: ", done.err), done.err
    assert text in done.err
    assert not (tmp_path / "r").exists()
