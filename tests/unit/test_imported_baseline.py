"""A baseline of imports: medians that say who is far off, never a rating, and nothing that is no evidence."""

import json
from pathlib import Path
from typing import Any

import pytest

from effbench.model.error import DocumentError
from effbench.store.baselines import load_imported
from tests.unit.command_line import call

MISSING = object()


def line(name: str, **changes: Any) -> str:
    """One node of SuperBench's file: two GPUs' bf16 speed, and a foreign figure."""
    plain = {"node": name, "gemm-flops/bf16_tc_flops:0": 700_000.0, "gemm-flops/bf16_tc_flops:1": 699_000.0}
    plain |= {"bench/throughput": 100.0, "bench/idle": 0.0} | changes
    return json.dumps({key: value for key, value in plain.items() if value is not MISSING})


def imported(folder: Path, *lines: str, part: bool = True) -> Path:
    folder.mkdir()
    (folder / "r.jsonl").write_text("\n".join(lines))
    words = ("--accelerator", "nvidia-h200-sxm") if part else ()
    assert call("import", "superbench", folder / "r.jsonl", "-o", folder / "out", *words).code == 0
    return folder / "out"


def fleet(n: int = 9, **changes: Any) -> list[str]:
    return [line(f"n{i}", **{"bench/throughput": 100.0 + i / 10} | changes) for i in range(n)]


def test_medians_of_an_import_are_kept_and_read_back(tmp_path: Path) -> None:
    file = tmp_path / "b.json"
    done = call("baseline", imported(tmp_path / "a", *fleet()), "-o", file, "--json")
    assert done.code == 0, done.said
    rows = {row["figure"]: row for row in done.document["rows"]}
    assert rows["imported.bench/throughput"]["median"] == pytest.approx(100.4)
    assert rows["imported.bench/throughput"]["mad"] == pytest.approx(0.2)
    assert (rows["compute.gemm.bf16.flops"]["nodes"], rows["compute.gemm.bf16.flops"]["n"]) == (9, 18)
    assert [a["part"] for a in done.document["anchors"]] == ["nvidia-h200-sxm"]
    assert load_imported(file).nodes == 9
    file.write_text(file.read_text().replace('"nodes": 9', '"nodes": 8', 1))
    with pytest.raises(DocumentError, match="does not match its own digest"):
        load_imported(file)


def test_a_slow_fleet_makes_a_baseline_that_says_so(tmp_path: Path) -> None:
    slow = {f"gemm-flops/bf16_tc_flops:{gpu}": 340_000.0 for gpu in (0, 1)}
    done = call("baseline", imported(tmp_path / "a", *fleet(**slow)))
    assert done.code == 0 and "[import-slow]" in done.err
    unnamed = call("baseline", imported(tmp_path / "b", *fleet(**slow), part=False))
    assert unnamed.code == 0 and "[import-no-anchor]" in unnamed.err


def test_who_is_far_off_is_told_and_nobody_is_rated(tmp_path: Path) -> None:
    file = tmp_path / "b.json"
    assert call("baseline", imported(tmp_path / "a", *fleet()), "-o", file).code == 0
    slow = line("slow", **{"gemm-flops/bf16_tc_flops:1": 350_000.0, "bench/throughput": MISSING})
    odd = line("odd", **{"bench/throughput": float("nan"), "bench/idle": 0.001})
    later = imported(tmp_path / "b", line("good"), slow, odd)
    done = call("grade", later, "--baseline", file, "--json")
    assert (done.code, done.document["verdict"]) == (3, "not_rated")
    told = {node["node"]: node["against_baseline"] for node in done.document["nodes"]}
    assert told["good"] == {"far": [], "missing": []}
    (far,) = told["slow"]["far"]
    assert (far["figure"], far["worse"]) == ("compute.gemm.bf16.flops@gpu1", True)
    assert told["slow"]["missing"] == ["imported.bench/throughput"]
    assert [o["figure"] for o in told["odd"]["far"]] == ["imported.bench/idle"], "zero was ordinary"
    assert told["odd"]["missing"] == [], "it is there, as NaN"
    assert "worse" in call("grade", later, "--baseline", file).out
    assert "against_baseline" not in call("grade", later, "--json").out


def test_two_kinds_and_few_values_say_nothing_of_who_is_far(tmp_path: Path) -> None:
    both = [line(f"n{i:03}", **{"bench/throughput": (100.0 if i % 2 else 93.0) + i / 100}) for i in range(120)]
    assert call("baseline", imported(tmp_path / "a", *both), "-o", tmp_path / "two.json").code == 0
    assert call("baseline", imported(tmp_path / "b", *fleet(2)), "-o", tmp_path / "few.json").code == 0
    later = imported(tmp_path / "c", line("n", **{"bench/throughput": 50.0}))
    for name, rest in (("two.json", 0), ("few.json", 0)):
        (node,) = call("grade", later, "--baseline", tmp_path / name, "--json").document["nodes"]
        assert len(node["against_baseline"]["far"]) == rest


def test_what_is_no_such_baseline_is_refused(tmp_path: Path) -> None:
    first = imported(tmp_path / "a", *fleet(3))
    twice = call("baseline", first, first)
    assert twice.code == 2 and "given twice" in twice.err
    assert call("baseline", first, tmp_path / "a").code == 2
    (tmp_path / "x.json").write_text('{"schema": "effbench.baseline/1"}')
    other = call("grade", first, "--baseline", tmp_path / "x.json")
    assert other.code == 2 and "effbench baseline DIR" in other.err
    file = tmp_path / "b.json"
    assert call("baseline", first, "-o", file).code == 0
    (first / "records.jsonl").write_text((first / "records.jsonl").read_text().replace('"superbench"', '"dcgm"'))
    mixed = call("grade", first, "--baseline", file)
    assert mixed.code == 2 and "read from another kind" in mixed.err
