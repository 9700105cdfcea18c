"""Files of other tools: what is read, what is lost and where, and that nothing imported is ever rated."""

import importlib
import json
import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from effbench import resources
from effbench.catalog.imports import formats, targets
from effbench.catalog.policies import load_policy
from effbench.grade.verdict import grade
from effbench.importers import load
from effbench.importers.contract import Reading
from effbench.importers.records import part_named, records
from effbench.importers.text import json_in, lines
from effbench.model.error import InputError
from effbench.model.imported import BadRecord, ImportedRecord, ImportSummary
from effbench.score.imported import Fleet, scorecard
from tests.unit.command_line import call

H200 = "NVIDIA H200"
NODE_2026 = load_policy(resources.find("policies", "node-2026"))

NCCL = """\
# nccl-tests version 2.17 nccl-headers=22800 nccl-library=22800
# Collective test starting: all_reduce_perf
#  Rank  0 Group  0 Pid   11 on      node7 device  0 [0000:18:00] NVIDIA H200
#  Rank  1 Group  0 Pid   11 on      node7 device  1 [0000:2a:00] NVIDIA H200
#
#       size         count      type   redop    root     time   algbw   busbw  #wrong     time   algbw   busbw  #wrong
#        (B)    (elements)                               (us)  (GB/s)  (GB/s)             (us)  (GB/s)  (GB/s)
node7:11:11 [0] NCCL INFO a word in between
     1048576        262144     float     sum      -1    20.00   52.43   52.43       0    20.10   52.17   52.17       0
    67108864      16777216     float     sum      -1   200.00  335.54  335.54       0   201.00  333.87  333.87   WRONG
# Out of bounds values : 0 OK
# Avg bus bandwidth    : 193.5
"""
NVBANDWIDTH = """\
nvbandwidth Version: v0.8

Device 0: NVIDIA H200 (00000000:18:00): (node9)
Device 1: NVIDIA H200 (00000000:2a:00): (node9)

Running host_to_device_memcpy_ce.
memcpy CE CPU(row) -> GPU(column) bandwidth (GB/s)
           0         1
 0     55.40     27.10

SUM host_to_device_memcpy_ce 82.50

Running device_to_device_memcpy_read_ce.
memcpy CE GPU(row) -> GPU(column) bandwidth (GB/s)
           0         1
 0       N/A    390.00
 1    391.00       N/A

SUM device_to_device_memcpy_read_ce 781.00
"""
FRYER = [
    {"type": "detected_gpus", "detected_gpus": [{"index": i, "name": H200, "uuid": f"GPU-{i}"} for i in (0, 1)]},
    {"type": "feature_detection", "bf16": True, "fp8": False, "fp32": False, "gpu_memory_used": []},
    {"type": "progress", "gpus": []},
    {
        "type": "results",
        "gpus": [
            {
                "burn_result": {"gpu_idx": 0, "flops_max": 7e14, "flops_min": 6 * 10**14, "temp_max": 70},
                "flops_avg": 6.5e14,
            },
            {"burn_result": {"gpu_idx": 1, "flops_max": 0, "flops_min": 2**64 - 1, "temp_max": 30}, "flops_avg": 0.0},
        ],
    },
    {"type": "problems", "problems": [{"gpu_idx": 1, "reason": "ZeroFlops"}]},
]
DCGM4 = {
    "DCGM Diagnostic": {
        "test_categories": [
            {
                "category": "Hardware",
                "tests": [
                    {
                        "name": "memory",
                        "results": [
                            {"entity_group": "GPU", "entity_id": 0, "status": "Pass"},
                            {
                                "entity_group": "GPU",
                                "entity_id": 3,
                                "status": "Fail",
                                "warnings": [{"warning": "uncorrectable error", "error_severity": 2}],
                            },
                            {"entity_group": "GPU", "entity_id": 4, "status": "Splendid"},
                        ],
                    },
                    {"name": "pcie", "results": []},
                ],
            }
        ]
    },
    "metadata": {"version": "4.2.3"},
}
DCGM3 = (
    'Successfully ran diagnostic.\n{"DCGM GPU Diagnostic": {"test_categories": [{"category": "Deployment", "tests": [\
{"name": "Denylist", "results": [{"gpu_ids": "0,1", "status": "PASS"}]}, null]}]}} trailing words'
)


def node(name: str = "n0", **more: Any) -> dict[str, Any]:
    """One line of SuperBench: eight matrix products and one figure without a meaning here."""
    figures = {f"gemm-flops/bf16_tc_flops:{gpu}": 700_000.0 + gpu for gpu in range(8)}
    return {"node": name, **figures, "bert/throughput": 100.0, **more}


def written(path: Path, *found: Any) -> Path:
    """Write values as JSON lines; text is written as it is."""
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in found))
    return path


def one(name: str, path: Path, **said: Any) -> ImportedRecord:
    """The only record of a file."""
    (found,) = records(name, [path], **said)
    assert isinstance(found, ImportedRecord), found
    return found


def fleet(*found: dict[str, Any], part: str | None = None, folder: Path) -> ImportSummary:
    """What SuperBench's lines tell together."""
    taken, bad = Fleet(), []
    for record in records("superbench", [written(folder / "r.jsonl", *found)], part=part):
        if isinstance(record, BadRecord):
            bad.append(record)
        else:
            taken.add(record)
    return taken.summary("superbench", ["r.jsonl"], bad)


@pytest.mark.parametrize("name", formats())
def test_every_format_has_a_map_that_fits_the_metrics_and_an_importer(name: str, tmp_path: Path) -> None:
    targets(name)
    assert importlib.import_module(f"effbench.importers.{name.replace('-', '_')}") is load(name)
    empty = tmp_path / "empty"
    empty.write_bytes(b"")
    assert not [found for found in records(name, [empty]) if isinstance(found, ImportedRecord)]


def test_superbench_is_read_in_our_units_and_the_unknown_keeps_its_own_name(tmp_path: Path) -> None:
    record = one("superbench", written(tmp_path / "r.jsonl", node(**{"mem-bw/h2d_bw:3": 26.1, "x/return_code:0": 0})))
    assert record.figures["compute.gemm.bf16.flops@gpu7"] == pytest.approx(700_007e9)
    assert record.figures["host.copy.h2d.pinned.bandwidth@gpu3"] == pytest.approx(26.1e9)
    assert record.figures["imported.bert/throughput"] == 100.0
    assert record.part is None and record.checks == []


def test_what_is_no_number_is_named_and_never_a_figure(tmp_path: Path) -> None:
    odd = {
        "a/nan": math.nan,
        "a/inf": -math.inf,
        "a/text": "12",
        "a/true": True,
        "a/null": None,
        "a/big": 10**400,
        "a/far": -1e200,
    }
    record = one("superbench", written(tmp_path / "r.jsonl", node(**odd)))
    assert record.not_finite == ["imported.a/nan", "imported.a/inf", "imported.a/big", "imported.a/far"]
    assert record.not_numbers == ["imported.a/text", "imported.a/true", "imported.a/null"]
    assert not any("imported.a/" in name for name in record.figures)


def test_a_bad_record_costs_only_itself_and_is_told_with_its_line(tmp_path: Path) -> None:
    cut = json.dumps(node("cut"))[:80]
    path = written(
        tmp_path / "r.jsonl", node("a"), cut, "[1]", {"x": 1}, node("a"), {"node": "bare"}, "[" * 5000, "", node("b")
    )
    found = list(records("superbench", [path, tmp_path / "none.jsonl"]))
    assert [f.node for f in found if isinstance(f, ImportedRecord)] == ["a", "b"]
    bad = {f.where.rpartition(":")[2]: f.problem for f in found if isinstance(f, BadRecord)}
    assert set(bad) == {"2", "3", "4", "5", "6", "7", str(tmp_path / "none.jsonl")}
    assert "already read" in bad["5"] and "cut off" in bad["2"]


def test_half_a_character_costs_only_its_record(tmp_path: Path) -> None:
    """Found by fuzzing: a lone surrogate beside a NaN was read and could not be written."""
    path = written(tmp_path / "r.jsonl", node("a"), '{"node": "b", "x\\ud800": NaN, "y": 1}', node("c"))
    done = call("import", "superbench", path, "-o", tmp_path / "out", "--json")
    assert done.code == 0 and [n["node"] for n in done.document["nodes"]] == ["a", "c"]
    path = written(tmp_path / "d.json", '{"tests": [{"name": "x\\ud800", "results": [{"status": "Pass"}]}]}')
    assert call("import", "dcgm", path, "-o", tmp_path / "none").code == 2


def test_a_line_without_end_is_passed_by_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(b"x" * 5000 + b"\n" + b"y" * 10 + b"\n" + b"z" * 5000)
    assert [(line.number, line.data) for line in lines(path, 1000)] == [(1, None), (2, b"y" * 10 + b"\n"), (3, None)]


def test_a_failed_benchmark_is_a_failed_check(tmp_path: Path) -> None:
    record = one("superbench", written(tmp_path / "r.jsonl", node(**{"nccl-bw/return_code:2": -1})))
    assert [(c.name, c.outcome, c.device) for c in record.checks] == [("nccl-bw", "fail", "gpu2")]


def test_two_names_of_one_figure_do_not_hide_each_other(tmp_path: Path) -> None:
    record = one("superbench", written(tmp_path / "r.jsonl", node(**{"gemm-flops/BF16_TC:0": 1.0})))
    assert record.figures["compute.gemm.bf16.flops@gpu0"] == pytest.approx(700_000e9)
    assert record.figures["imported.gemm-flops/BF16_TC:0"] == 1.0


def test_nccl_tests_as_text(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    path.write_text(NCCL.replace("WRONG", "0"))
    record = one("nccl-tests", path)
    assert record.node == "node7" and record.part == "nvidia-h200-sxm" and record.part_from == "file"
    assert record.figures["link.all_reduce.n2.busbw"] == pytest.approx(335.54e9)
    assert record.figures["health.wrong_results"] == 0
    assert [c.outcome for c in record.checks] == ["pass"]


@pytest.mark.parametrize(("word", "wrong"), [("3", 3.0), ("N/A", None)])
def test_nccl_wrong_results_count_and_unchecked_ones_are_absent(tmp_path: Path, word: str, wrong: float | None) -> None:
    path = tmp_path / "out.txt"
    path.write_text(NCCL.replace("WRONG", word))
    record = one("nccl-tests", path)
    assert record.figures.get("health.wrong_results") == wrong
    assert [c.outcome for c in record.checks] == ["fail" if wrong else "skip"]


def test_nccl_output_that_ends_early_passes_no_check(tmp_path: Path) -> None:
    path = tmp_path / "all_reduce.txt"
    path.write_text(NCCL.replace("WRONG", "0").split("# Out of")[0])
    assert [c.outcome for c in one("nccl-tests", path).checks] == ["unknown"]


def test_nccl_tests_as_json_and_its_environment_is_not_kept(tmp_path: Path) -> None:
    body = {"time": 200.0, "alg_bw": 335.0, "bus_bw": 335.0, "nwrong": 2.0}
    document = {
        "version": 3,
        "args": ["./build/all_gather_perf", "-J", "x.json"],
        "env": ["TOKEN=secret"],
        "config": {"devices": [{"rank": r, "hostname": "h1", "device_info": H200} for r in range(4)]},
        "results": [{"size": 1024, "out_of_place": body, "in_place": {**body, "nwrong": None}}],
        "out_of_bounds": {"count": 2, "okay": "false"},
        "average_bus_bandwidth": {"bandwidth": 335.0, "okay": "unchecked"},
    }
    record = one("nccl-tests", written(tmp_path / "x.json", document))
    assert record.figures["link.all_gather.n4.busbw"] == pytest.approx(335e9)
    assert record.figures["health.wrong_results"] == 2 and record.checks[0].outcome == "fail"
    assert "secret" not in str(record)


def test_nvbandwidth_as_text_and_as_json(tmp_path: Path) -> None:
    path = tmp_path / "nvb.txt"
    path.write_text(NVBANDWIDTH)
    record = one("nvbandwidth", path)
    assert record.node == "node9" and record.part == "nvidia-h200-sxm"
    assert record.figures["host.copy.h2d.pinned.bandwidth@gpu1"] == pytest.approx(27.1e9)
    assert record.figures["imported.device_to_device_memcpy_read_ce[1]:0"] == 391.0
    assert not any("[0]:0" in name or "[1]:1" in name for name in record.figures)
    cases = [
        {"name": "device_to_host_memcpy_ce", "status": "Passed", "bandwidth_matrix": [["55.1", "N/A"]]},
        {"name": "device_to_device_memcpy_read_sm", "status": "Waived"},
        {"name": "host_device_latency_sm", "status": "Error", "error": "out of memory"},
    ]
    record = one("nvbandwidth", written(tmp_path / "n3.json", {"nvbandwidth": {"testcases": cases}}))
    assert record.node == "n3" and record.figures == {"host.copy.d2h.pinned.bandwidth@gpu0": pytest.approx(55.1e9)}
    assert record.not_numbers == ["host.copy.d2h.pinned.bandwidth@gpu1"]
    assert [c.outcome for c in record.checks] == ["skip", "fail"]


def test_an_odd_cell_of_a_matrix_is_no_figure(tmp_path: Path) -> None:
    """Found by fuzzing: a whole number without end ended the program."""
    cases = [{"name": "x", "status": "Passed", "bandwidth_matrix": [["1.5", 10**400, True, None, [1]]]}]
    record = one("nvbandwidth", written(tmp_path / "n.json", {"nvbandwidth": {"testcases": cases}}))
    assert record.figures == {"imported.x:0": 1.5} and record.not_finite == ["imported.x:1"]
    assert len(record.not_numbers) == 3


def test_wrong_results_cannot_cancel(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    path.write_text(NCCL.replace("WRONG", "-2"))
    assert "health.wrong_results" not in one("nccl-tests", path).figures
    path.write_text(NCCL.replace("WRONG", "-2").replace("52.17       0", "52.17       2"))
    assert one("nccl-tests", path).figures["health.wrong_results"] == 2


def test_gpu_fryer_keeps_a_zero_and_what_is_wrong_with_it(tmp_path: Path) -> None:
    record = one("gpu-fryer", written(tmp_path / "n4.json", "Freeing GPUs...", *FRYER))
    assert record.node == "n4" and record.part == "nvidia-h200-sxm"
    assert record.figures["compute.gemm.bf16.flops@gpu0"] == pytest.approx(6.5e14)
    assert record.figures["compute.gemm.bf16.flops@gpu1"] == 0.0
    assert not any(value > 1e18 for value in record.figures.values())
    assert [(c.outcome, c.device) for c in record.checks] == [("fail", "gpu1")]


def test_gpu_fryer_without_its_verdict_or_its_results(tmp_path: Path) -> None:
    assert one("gpu-fryer", written(tmp_path / "a", *FRYER[:-1])).checks[0].outcome == "unknown"
    assert isinstance(next(iter(records("gpu-fryer", [written(tmp_path / "b", *FRYER[:3])]))), BadRecord)


def test_dcgm_of_both_versions(tmp_path: Path) -> None:
    record = one("dcgm", written(tmp_path / "n5.json", DCGM4))
    told = [(c.name, c.outcome, c.device) for c in record.checks]
    assert told == [
        ("memory", "pass", "gpu0"),
        ("memory", "fail", "gpu3"),
        ("memory", "unknown", "gpu4"),
        ("pcie", "unknown", None),
    ]
    assert record.checks[1].text == "uncorrectable error" and record.tool == "DCGM 4.2.3"
    record = one("dcgm", written(tmp_path / "n6.json", DCGM3))
    assert [(c.outcome, c.device) for c in record.checks] == [("pass", "gpu0"), ("pass", "gpu1")]


def test_the_part_is_believed_only_without_contradiction(tmp_path: Path) -> None:
    path = written(tmp_path / "n4.json", *FRYER)
    assert part_named(H200) == "nvidia-h200-sxm" == part_named("nvidia-h200-sxm")
    assert one("gpu-fryer", path, part="nvidia-h200-sxm").part == "nvidia-h200-sxm"
    record = one("gpu-fryer", path, part="nvidia-b200-sxm")
    assert record.part is None and "neither is believed" in record.checks[0].text
    with pytest.raises(InputError, match="no accelerator"):
        part_named("NVIDIA H2000")


def test_who_stands_out_and_what_is_missing(tmp_path: Path) -> None:
    found = [node(f"n{i}", **{"bert/throughput": 100.0 + i % 3}) for i in range(9)]
    found[4]["gemm-flops/bf16_tc_flops:2"] = 490_000.0
    del found[5]["bert/throughput"]
    found[6]["bert/throughput"] = math.nan
    summary = fleet(*found, folder=tmp_path)
    told = {n.node: n for n in summary.nodes if n.outliers or n.missing or n.not_finite}
    assert set(told) == {"n4", "n5", "n6"}
    (outlier,) = told["n4"].outliers
    assert outlier.figure == "compute.gemm.bf16.flops@gpu2" and outlier.worse is True
    assert told["n5"].missing == ["imported.bert/throughput"] and told["n6"].missing == []
    assert told["n6"].not_finite == ["imported.bert/throughput"]


def test_an_unknown_figure_has_no_direction(tmp_path: Path) -> None:
    found = [node(f"n{i}", **{"bert/throughput": 100.0}) for i in range(8)] + [node("n8", **{"bert/throughput": 150.0})]
    (outlier,) = fleet(*found, folder=tmp_path).nodes[8].outliers
    assert outlier.worse is None


def test_a_fleet_at_half_speed_is_told_by_the_anchor_alone(tmp_path: Path) -> None:
    slow = [{k: v / 2 if "gemm" in k else v for k, v in node(f"n{i}").items()} for i in range(5)]
    without = fleet(*slow, folder=tmp_path)
    assert [f.code for f in without.findings] == ["import-no-anchor"] and without.anchors == []
    summary = fleet(*slow, part="nvidia-h200-sxm", folder=tmp_path)
    assert "import-slow" in [f.code for f in summary.findings] and summary.anchors[0].slow
    whole = fleet(*[node(f"n{i}") for i in range(5)], part="nvidia-h200-sxm", folder=tmp_path)
    assert whole.findings == [] and not whole.anchors[0].slow
    assert {n.verdict for n in (*without.nodes, *summary.nodes, *whole.nodes)} == {"not_rated"}


def test_two_kinds_and_more_than_the_peak(tmp_path: Path) -> None:
    both = [node(f"n{i:03d}", **{"bert/throughput": (100.0 if i % 2 else 93.0) + i / 100}) for i in range(120)]
    assert "import-two-kinds" in [f.code for f in fleet(*both, folder=tmp_path).findings]
    fast = [{k: v * 2 if "gemm" in k else v for k, v in node(f"n{i}").items()} for i in range(4)]
    assert "import-above-peak" in [f.code for f in fleet(*fast, part="nvidia-h200-sxm", folder=tmp_path).findings]


def test_the_command_reads_what_it_can_and_says_what_it_lost(tmp_path: Path) -> None:
    path = written(tmp_path / "r.jsonl", *[node(f"n{i}") for i in range(4)], "{", node("evil\x1b[2J"))
    done = call("import", "superbench", path, "-o", tmp_path / "out", "--json")
    assert done.code == 0, done.said
    assert [n["node"] for n in done.document["nodes"]] == ["n0", "n1", "n2", "n3"]
    assert len(done.document["bad"]) == 2 and "\x1b" not in done.said
    assert len((tmp_path / "out" / "records.jsonl").read_text().splitlines()) == 4
    assert json.loads((tmp_path / "out" / "import.json").read_text()) == done.document


def test_the_command_ends_with_2_when_no_node_could_be_read_and_for_wrong_words(tmp_path: Path) -> None:
    path = written(tmp_path / "r.jsonl", "{")
    none = call("import", "superbench", path, "-o", tmp_path / "a")
    assert none.code == 2 and "records.jsonl" not in none.said and not (tmp_path / "a" / "records.jsonl").exists()
    assert call("import", "superbench", tmp_path / "none", "-o", tmp_path / "b").code == 2
    said = call("import", "superbench", path, "-o", tmp_path / "c", "--accelerator", "nvidia-h200").said
    assert "nvidia-h200-sxm" in said
    done = call("import", "superbranch", path, "-o", tmp_path / "d")
    assert done.code == 2 and "superbench" in done.said
    assert call("import", "dcgm", path, path, "-o", tmp_path / "e", "--node", "x").code == 2


def test_a_claim_names_the_part_too_and_not_beside_an_accelerator(tmp_path: Path) -> None:
    path = written(tmp_path / "r.jsonl", *[node(f"n{i}") for i in range(3)])
    done = call("import", "superbench", path, "-o", tmp_path / "a", "--claim", "8x NVIDIA H200", "--json")
    assert done.code == 0 and done.document["anchors"][0]["part"] == "nvidia-h200-sxm"
    assert call("import", "superbench", path, "-o", tmp_path / "b", "--claim", "8 of them").code == 2
    both = ("--claim", "8x NVIDIA H200", "--accelerator", "nvidia-h200-sxm")
    assert call("import", "superbench", path, "-o", tmp_path / "c", *both).code == 2


def test_nothing_imported_passes_and_wrong_results_fail(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    path.write_text(NCCL.replace("WRONG", "0"))
    assert call("import", "nccl-tests", path, "-o", tmp_path / "good").code == 0
    done = call("grade", tmp_path / "good")
    assert done.code == 3 and "imported from nccl-tests" in done.said
    path.write_text(NCCL.replace("WRONG", "3"))
    assert call("import", "nccl-tests", path, "-o", tmp_path / "bad").code == 0
    assert call("grade", tmp_path / "bad" / "records.jsonl", "--json").document["verdict"] == "fail"


EASY = """\
schema: effbench.policy/1
name: easy
version: 1
effective_from: "2026-11-01"
purpose: asks for nothing but a speed
ladder: {C: "0.1"}
pass_grade: C
provisional_cap: C
coverage_min: "0"
gpu: {gates: [{metric: link.all_reduce.n2.busbw, threshold: "THRESHOLD"}], domains: []}
cpu: {gates: [], domains: []}
"""


@pytest.mark.parametrize("threshold", ["1 GB/s", "900 GB/s"])
def test_a_policy_that_asks_for_next_to_nothing_rates_no_imported_speed(tmp_path: Path, threshold: str) -> None:
    """One value without an interval neither meets a threshold nor misses one."""
    path, policy = tmp_path / "out.txt", tmp_path / "easy.yaml"
    path.write_text(NCCL.replace("WRONG", "0"))
    policy.write_text(EASY.replace("THRESHOLD", threshold))
    assert call("import", "nccl-tests", path, "-o", tmp_path / "out").code == 0
    assert call("grade", tmp_path / "out", "--policy", policy).code == 3


@pytest.mark.parametrize("case", ["missing", "nan", "all of them bad", "half the speed"])
def test_what_other_diagnosis_accepts_is_refused_here(tmp_path: Path, case: str) -> None:
    found = [node(f"n{i}") for i in range(6)]
    if case == "missing":
        del found[2]["bert/throughput"]
    elif case == "nan":
        found[2]["bert/throughput"] = math.nan
    elif case == "all of them bad":
        found = [node(f"n{i}", **{"gemm-flops/return_code:0": 1}) for i in range(6)]
    else:
        found = [{k: v / 2 if "gemm" in k else v for k, v in n.items()} for n in found]
    path = written(tmp_path / "r.jsonl", *found)
    done = call("import", "superbench", path, "-o", tmp_path / "out", "--accelerator", "nvidia-h200-sxm")
    told = {
        "missing": "n2: missing: imported.bert/throughput",
        "nan": "n2: not finite: imported.bert/throughput",
        "all of them bad": "n5: gemm-flops on gpu0",
        "half the speed": "import-slow",
    }
    assert done.code == 0 and told[case] in done.said
    graded = call("grade", tmp_path / "out")
    assert graded.code == 3 and told[case] in graded.said, "the verdict names node and figure too"
    assert graded.said.count("not_rated  n") == 6
    assert ("compute.gemm.bf16.flops: the median of 48 values is 0.35" in graded.said) is (case == "half the speed")


def test_what_an_import_wrote_and_was_damaged_since_is_refused_at_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    assert call("import", "superbench", written(tmp_path / "r.jsonl", node("n0"), node("n1")), "-o", out).code == 0
    monkeypatch.setattr("effbench.store.imports._LINE_MAX", 100)
    done = call("grade", out)
    assert done.code == 2 and "records.jsonl:1: no imported record" in done.err, "a line without end is not held"
    monkeypatch.undo()
    (out / "import.json").write_text("{}")
    done = call("grade", out)
    assert done.code == 2 and "import.json: no summary of an import" in done.err
    (out / "import.json").unlink()
    assert call("grade", out).code == 3, "the verdict rests on the records alone"


SCRAPS = st.sampled_from(
    ["{", "}", "[", "null", '"node":', '"tests":', "NaN", "1e999", "#", "size", "busbw", "Running x.", "0", " ", "\n"]
)
SHAPES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *(
                        "node",
                        "nvbandwidth",
                        "testcases",
                        "name",
                        "bandwidth_matrix",
                        "GPU Device list",
                        "config",
                        "args",
                    ),
                    *("DCGM Diagnostic", "test_categories", "tests", "results", "entity_id", "gpu_ids", "warnings"),
                    *(
                        "type",
                        "gpus",
                        "burn_result",
                        "gpu_idx",
                        "flops_avg",
                        "problems",
                        "size",
                        "out_of_place",
                        "devices",
                    ),
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@pytest.mark.parametrize("name", formats())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.one_of(
        st.lists(SCRAPS, max_size=20).map("".join),
        SHAPES.map(json.dumps),
        st.text(max_size=60),
        st.integers(0, len(NCCL)).map(lambda cut: NCCL[:cut]),
        st.integers(0, len(NVBANDWIDTH)).map(lambda cut: NVBANDWIDTH[:cut]),
        st.integers(0, len(DCGM3)).map(lambda cut: DCGM3[:cut]),
    )
)
def test_no_file_takes_the_program_down(name: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    taken, nodes, lost = Fleet(), [], []
    for found in records(name, [path]):
        if isinstance(found, ImportedRecord):
            taken.add(found)
            nodes.append(found)
        else:
            lost.append(found)
    summary = taken.summary(name, [str(path)], lost)
    assert [told.node for told in summary.nodes] == sorted({record.node for record in nodes})
    assert len(summary.nodes) == len(nodes) and summary.bad == lost
    assert {told.verdict for told in summary.nodes} <= {"not_rated", "fail"}
    for record in nodes:
        assert record.figures or record.checks, "a node of which nothing was read is no node"
        assert all(abs(value) < 1e100 for value in record.figures.values())
        verdict = grade(scorecard(record), NODE_2026)
        assert verdict.grade is None and verdict.verdict in ("not_rated", "fail")
        assert msgspec.json.decode(msgspec.json.encode(record), type=ImportedRecord) == record


def test_a_damaged_text_in_front_of_json_is_passed_by() -> None:
    assert json_in('warning {x {"a": 1} end') == {"a": 1}
    with pytest.raises(ValueError, match="no JSON object"):
        json_in("none")
    assert isinstance(Reading("n", "w", {}).checks, list)
