"""Faults that are really there, around real runs of this machine's CPU: those that do not depend on how busy it is.

How often the others are caught is for `tests/faults/inject.py` to say, on a quiet machine.
"""

import contextlib
import json
import os
import subprocess
import sys
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from effbench import api
from effbench.model.record import Record
from effbench.run.site import Site
from tests.faults.real import injectors
from tests.faults.real.campaign import FAULTS, order
from tests.faults.real.injectors import Around, NotInjectableError
from tests.faults.real.judging import Judged
from tests.faults.real.parts import BOTH, COMPUTE, MEMORY, READ, STORAGE, Part, policy
from tests.faults.real.table import row
from tests.unit.command_line import call

SUITE = """\
schema: effbench.suite/1
name: test/one-product
purpose: the smallest run that multiplies
rounds: {gpu: {min: 1, max: 1}, cpu: {min: 1, max: 1}}
budget_s: {gpu: 60, cpu: 60}
procedure: {warmup_s: 0.01, duration_s: 0.1, samples_min: 8}
workloads:
  - {id: gemm, kernel: gemm, params: {dtype: fp32, m: 256, n: 256, k: 256}}
"""
RULES = """
  gates:
    - {metric: health.wrong_results, threshold: "0"}
    - {metric: compute.gemm.fp32.flops, threshold: "1 kFLOP/s"}
  domains: []
"""
POLICY = f"""\
schema: effbench.policy/1
name: any-speed
version: 1
effective_from: "2026-11-01"
purpose: passes whatever multiplies rightly
ladder: {{S: "0.97", A: "0.92", B: "0.85", C: "0.75"}}
gpu: {RULES}
cpu: {RULES}
"""


class Done(NamedTuple):
    """A run: its folder, verdict, record, and what a person is shown of it."""

    folder: Path
    verdict: str
    record: Record
    shown: str

    @property
    def codes(self) -> set[str]:
        """The findings of the run as a whole."""
        return {finding.code for finding in self.record.findings}

    @property
    def card(self) -> dict[str, Any]:
        """The scorecard as written."""
        return json.loads((self.folder / "scorecard.json").read_bytes())


def run(folder: Path, fault: AbstractContextManager[Around]) -> Done:
    """Run the suite into `folder / "run"` with the fault around it; skips where it cannot be injected."""
    (folder / "suite.yaml").write_text(SUITE)
    (folder / "policy.yaml").write_text(POLICY)
    words = [sys.executable, "-P", "-m", "effbench", "run", "suite.yaml", "--device", "cpu", "--policy", "policy.yaml"]
    with contextlib.ExitStack() as stack:
        try:
            around = stack.enter_context(fault)
        except NotInjectableError as error:
            pytest.skip(str(error))
        environment = {**os.environ, **around.environment}
        every = [*around.words, *words, "-o", "run"]
        done = subprocess.run(every, cwd=folder, env=environment, capture_output=True, text=True, timeout=100)
        assert done.returncode in (0, 1), done.stdout + done.stderr
        assert around.proof(), "nothing shows that the fault was there"
    grade = json.loads((folder / "run" / "grade.json").read_bytes())
    return Done(folder / "run", grade["verdict"], api.record_of(folder / "run"), " ".join(done.stdout.split()))


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """The same run without a fault."""
    folder = tmp_path_factory.mktemp("healthy")
    return run(folder, injectors.nothing(0, folder / "run"))


def test_without_a_fault_nothing_is_accused(healthy: Done) -> None:
    assert healthy.verdict == "pass"
    assert not healthy.codes & {"cgroup-quota", "clock-jumped", "wrong-result"}


@pytest.mark.parametrize(("first", "bit"), [(8, 0), (1, 30)], ids=["last-bit-later-on", "exponent-from-the-start"])
def test_one_flipped_bit_fails_the_node(tmp_path: Path, first: int, bit: int) -> None:
    done = run(tmp_path, injectors.flipped_bit(0, tmp_path / "run", first, bit))
    assert done.verdict == "fail"
    assert "wrong result" in done.record.measurements[0].detail
    assert "Wrong results" in done.shown
    assert not any(metric["key"] == "compute.gemm.fp32.flops" for metric in done.card["metrics"]), "a speed of nonsense"


def test_cores_taken_away_are_named_and_no_other_plan(tmp_path: Path, healthy: Done) -> None:
    done = run(tmp_path, injectors.affinity(0, tmp_path / "run"))
    assert "cpu-affinity" in done.codes
    assert "Fewer cores by affinity" in done.shown
    assert_named_beside(healthy, done)


def test_a_quota_is_named_and_no_other_plan(tmp_path: Path, healthy: Done) -> None:
    done = run(tmp_path, injectors.quota(0, tmp_path / "run"))
    assert "cgroup-quota" in done.codes
    assert "CPU quota" in done.shown
    assert_named_beside(healthy, done)


def assert_named_beside(healthy: Done, done: Done) -> None:
    """The figures of both can be compared, and the comparison says why they differ."""
    usable = [r.record.inventory_before.accelerators[-1].cpu.cores_usable for r in (healthy, done)]
    assert usable[1] < usable[0]
    lines = [x for x in call("compare", healthy.folder, done.folder).out.splitlines() if "gemm.fp32.flops" in x]
    assert lines
    assert all(f"A could use {usable[0]:g} cores, B {usable[1]:g}" in line for line in lines)
    assert not any(line.startswith("not-comparable") for line in lines)


def test_a_date_that_jumps_is_named_and_changes_nothing(tmp_path: Path, healthy: Done) -> None:
    """Back by an hour, so that by the date the run would have ended before it began."""
    by_s = -injectors.JUMP_S
    done = run(tmp_path, injectors.clock_jump(0, tmp_path / "run", by_s))
    assert done.verdict == healthy.verdict == "pass"
    jumps = [f.evidence["jump_s"] for f in done.record.findings if f.code == "clock-jumped"]
    assert jumps == [pytest.approx(by_s, abs=1)]
    assert "date was set" in done.shown
    passed = datetime.fromisoformat(done.record.ended_at) - datetime.fromisoformat(done.record.started_at)
    assert abs(passed.total_seconds() - done.record.wall_s) <= 2
    assert done.record.measurements[0].step_s.value < 1
    assert call("replay", done.folder).code == 0


@pytest.fixture(scope="module")
def site() -> Site:
    """This machine."""
    return api.look(dict(os.environ))


@pytest.mark.parametrize("part", [COMPUTE, MEMORY, BOTH, STORAGE])
def test_the_policies_of_the_script_ask_for_what_is_run_and_pass_lint(part: Part, site: Site, tmp_path: Path) -> None:
    made = policy(part, tmp_path, 1e9 if part is STORAGE else None)
    assert call("policy", "lint", made).code == 0
    rules = api.load_policy(str(made))
    assert {gate.metric for gate in rules.cpu.gates} == {*part.gates, *([READ] if part is STORAGE else [])}
    asked = api.plan(api.load_suite(part.suite), site, "cpu", part.only)
    given = {output.headline or output.key for trial in asked.trials for output in trial.outputs}
    wanted = {name.removesuffix(".fraction_of_baseline") for name in part.figures} | (
        {READ} if part is STORAGE else set()
    )
    assert all(any(key.startswith(name) for key in given) for name in wanted)
    assert len(asked.trials) == max(1, len(part.figures))


def test_runs_are_spread_over_the_whole_time() -> None:
    listed = order({"healthy": 20, "load": 10, "hog": 10})
    assert sorted(listed) == [(n, i) for n, k in (("healthy", 20), ("hog", 10), ("load", 10)) for i in range(k)]
    assert {name for name, _ in listed[:4]} == {name for name, _ in listed[-4:]} == {"healthy", "load", "hog"}


def test_the_table_counts_what_was_caught_and_named_and_who_was_accused() -> None:
    fine, open_ = Judged("pass", [], False), Judged("undecided", [], False)
    slow, told = Judged("pass", ["memory.stream.triad.bandwidth"], False), Judged("pass", [], True)
    #                                               runs pass fail not_rated undecided worse
    assert row("load", [fine, open_, slow])[1:] == ["3", "2", "0", "0", "1", "1", "0", "67% [9%, 99%]"]
    assert row("clock", [fine, told, told, open_])[-2:] == ["2", "50% [7%, 93%]"], "a date that nobody names is missed"
    assert row("healthy", [fine, open_, slow, Judged("not_rated", [], True)])[-1] == "25% [1%, 81%]"
    assert row("healthy", [fine] * 20)[-1] == "0% [0%, 17%]"


def test_what_is_injected_is_gone_however_it_ends(tmp_path: Path) -> None:
    """Every fault is taken away when its run breaks, and what it leaves running or limited is nothing."""

    def left() -> tuple[list[str], list[int]]:
        groups = [str(path) for path in injectors.CGROUPS.glob("**/effbench-fault-*")]
        return groups, children()

    before = left()
    for name, fault in FAULTS.items():
        with contextlib.suppress(NotInjectableError, Broken), fault.inject(0, tmp_path / "run"):
            raise Broken(name)
    assert left() == before


class Broken(Exception):  # noqa: N818
    """A run that broke."""


def children() -> list[int]:
    """Processes that this one started and that are there."""
    tasks = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    return [int(pid) for task in tasks for pid in task.read_text().split()]
