"""`effbench compare`: the same run is the same, a slowed one is worse, and what cannot be compared is named."""

import os
import re
from pathlib import Path

import pytest

from effbench import api
from effbench.cli.display import PlainDisplay
from effbench.run.engine import Options, environment_for_children
from tests.unit.command_line import FAKE, call

LINE = re.compile(r"(worse|same|better|undecided|not-comparable)( \(.*\))?  ([a-z0-9_.]+)  (-|\d+\.\d{3}) (-|\[.*\])")


def measured(folder: Path, suite: Path, **faults: dict) -> Path:
    """A run in which some kernels fail on purpose."""
    folder.mkdir()
    site = api.look(dict(os.environ), FAKE)
    todo = api.plan(api.load_suite(str(suite)), site)
    options = Options(environment_for_children(os.environ), 60, api.tool(), faults)
    record, _ = api.run(todo, site.inventory, folder, PlainDisplay(), options)
    api.artefacts(folder, record, api.load_policy("node-2026"))
    return folder


@pytest.fixture(scope="module")
def slowed(tmp_path_factory: pytest.TempPathFactory, suite: Path) -> Path:
    """A run whose matrix products take a third longer."""
    return measured(tmp_path_factory.mktemp("slowed") / "r", suite, gemm={"slow": 1.33})


def test_a_run_is_the_same_as_itself(finished: Path) -> None:
    done = call("compare", finished, finished / "record.json")
    assert done.code == 0
    lines = done.out.splitlines()
    assert len(lines) > 10
    assert all(line.startswith("same (the same journal)  ") for line in lines)
    assert call("compare", finished, finished, "--strict").code == 0


def test_a_slowed_kernel_is_worse_and_nothing_else_is(finished: Path, slowed: Path) -> None:
    done = call("compare", finished, slowed)
    assert done.code == 1
    found = [LINE.fullmatch(line) for line in done.out.splitlines()]
    assert all(found), done.out
    worse = {match[3] for match in found if match[1] == "worse"}
    assert "compute.gemm.bf16.flops" in worse
    assert len(worse) >= 3
    assert all(key.startswith("compute.gemm.") for key in worse)
    assert not any(match[1] == "worse" for match in found if match[3].startswith("memory."))
    assert "worse" in done.err


def test_the_other_way_round_it_is_better(finished: Path, slowed: Path) -> None:
    done = call("compare", slowed, finished, "--json")
    assert done.code == 0
    outcomes = {row["key"]: row["outcome"] for row in done.document}
    assert outcomes["compute.gemm.bf16.flops"] == "better"
    ratio = next(row for row in done.document if row["key"] == "compute.gemm.bf16.flops")
    assert ratio["low"] <= ratio["ratio"] <= ratio["high"]
    assert ratio["ratio"] == pytest.approx(1.33, rel=0.05)


def test_a_wide_margin_calls_the_same_change_the_same_and_strict_names_doubt(finished: Path, slowed: Path) -> None:
    assert call("compare", finished, slowed, "--margin", "0.6").code == 0
    rows = call("compare", slowed, finished, "--json").document
    assert "undecided" in {row["outcome"] for row in rows}, "two rounds cannot tell 3 % from noise"
    assert call("compare", slowed, finished, "--strict").code == 4
    assert call("compare", finished, slowed, "--strict").code == 1, "worse comes before undecided"


@pytest.mark.parametrize("margin", ["0", "1", "-0.1", "nan", "inf"])
def test_a_margin_is_a_fraction(finished: Path, margin: str) -> None:
    done = call("compare", finished, finished, "--margin", margin)
    assert done.code == 2
    assert "is not a fraction between 0 and 1" in done.err


def test_runs_that_share_nothing_are_2(finished: Path, tmp_path: Path) -> None:
    suite = tmp_path / "other.yaml"
    suite.write_text(
        "schema: effbench.suite/1\nname: other\npurpose: another shape\n"
        "rounds: {gpu: {min: 1, max: 1}, cpu: {min: 1, max: 1}}\nbudget_s: {gpu: 30, cpu: 30}\n"
        "procedure: {warmup_s: 0.01, duration_s: 0.02}\n"
        "workloads:\n  - {id: stream, kernel: stream, params: {op: triad, array_bytes: 268435456}}\n"
    )
    folder = measured(tmp_path / "r", suite)
    rows = call("compare", finished, folder, "--json").document
    shared = {row["key"] for row in rows if row["outcome"] != "not-comparable"}
    assert all(key.startswith("health.") for key in shared)
    triad = next(row for row in rows if row["key"] == "memory.stream.triad.bandwidth")
    assert triad["outcome"] == "not-comparable"
    assert "array_bytes" in triad["note"]


def test_an_unreadable_side_is_2(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text("{")
    for pair in ((finished, tmp_path), (tmp_path, finished), (finished, tmp_path / "record.json")):
        done = call("compare", *pair)
        assert done.code == 2
        assert "damaged JSON" in done.err
