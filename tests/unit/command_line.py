"""Runs effbench's command line for tests: in this process for speed, or as a real child for signals and limits."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from effbench.cli.main import invoke

ROOT = Path(__file__).resolve().parents[2]
FAKE = "nvidia-h200-sxm"
ARTEFACTS = {
    "journal.jsonl.gz",
    "record.json",
    "scorecard.json",
    "grade.json",
    "report.html",
    "report.md",
    "junit.xml",
    "metrics.prom",
}
SUITE = """\
schema: effbench.suite/1
name: test/tiny
purpose: a few trials for tests
rounds: {gpu: {min: 2, max: 2}, cpu: {min: 1, max: 1}}
budget_s: {gpu: 60, cpu: 60}
procedure: {warmup_s: 0.01, duration_s: 0.04, samples_min: 5}
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
# Long enough in each trial for a signal to come in the middle of it: a hundredth of simulated time really passes.
BRIEF_SUITE = SUITE.replace("duration_s: 0.04", "duration_s: 2.5")
SLOW_SUITE = SUITE.replace("duration_s: 0.04", "duration_s: 40").replace("gpu: 60, cpu: 60", "gpu: 6000, cpu: 6000")
# Takes simulated figures, so that every verdict can be reached without hardware.
RULES = """
  gates:
    - {metric: memory.stream.triad.bandwidth, threshold: "THRESHOLD"}
  domains:
    - {name: memory, critical: true, metrics: [{any_of: [memory.stream.triad.fraction_of_reference]}]}
"""
POLICY = f"""\
schema: effbench.policy/1
name: lenient
version: 1
effective_from: "2026-11-01"
purpose: a policy for tests
ladder: {{S: "0.97", A: "0.92", B: "0.85", C: "0.75"}}
accepts_simulated: true
gpu: {RULES}
cpu: {RULES}
"""
RECIPE = """\
schema: effbench.recipe/1
name: site
purpose: for tests
suite: tiny.yaml
policy: lenient.yaml
"""
# A busy machine must not run out of the budget where a test is not about it.
PATIENT_SUITE = SUITE.replace("gpu: 60, cpu: 60", "gpu: 600, cpu: 600")


class Outcome(NamedTuple):
    """How a command ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """Everything that a person saw."""
        return self.out + self.err

    @property
    def document(self) -> Any:
        """The one JSON document on stdout; fails when there is anything else."""
        return json.loads(self.out)


def call(*words: str | Path) -> Outcome:
    """Run one command in this process. Never shows a traceback."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in "oe")
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = invoke([str(word) for word in words])
    said = Outcome(code, *(stream.buffer.getvalue().decode() for stream in (out, err)))
    assert "Traceback" not in said.said
    return said


def start(
    *words: str | Path, environment: Mapping[str, str] = {}, prepare: Callable[[], None] | None = None, **more: Any
) -> subprocess.Popen[str]:
    """Start one command as a real child process.

    Ctrl-C is given back its meaning: a script that runs these tests in its background has them ignore it.
    """

    def before() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if prepare is not None:
            prepare()

    paths = [str(ROOT), *filter(None, [environment.get("PYTHONPATH")])]
    return subprocess.Popen(
        [sys.executable, "-m", "effbench", *map(str, words)],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment, "PYTHONPATH": os.pathsep.join(reversed(paths))},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=before,
        **more,
    )


def ended(child: subprocess.Popen[str], timeout_s: float = 60) -> Outcome:
    """Wait for a child of `start`. Never shows a traceback."""
    with child:
        try:
            out, err = child.communicate(timeout=timeout_s)
        finally:
            child.kill()
    assert "Traceback" not in out + err, out + err
    return Outcome(child.returncode, out, err)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a run folder by name."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def policy(folder: Path, threshold: str) -> Path:
    """Write a policy that takes simulated figures and asks for one bandwidth; the simulated H200 has 4.3 TB/s."""
    path = folder / "lenient.yaml"
    path.write_text(POLICY.replace("THRESHOLD", threshold))
    return path


def recipe(folder: Path, threshold: str, more: str = "", suite: str = PATIENT_SUITE) -> Path:
    """Write a recipe with its suite and its policy beside it; `threshold` is a bandwidth."""
    policy(folder, threshold)
    (folder / "tiny.yaml").write_text(suite)
    path = folder / "site.yaml"
    path.write_text(RECIPE + more)
    return path
