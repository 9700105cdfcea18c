"""Prometheus and JUnit: strict readers of both, and what turns a CI red."""

import re
from xml.etree import ElementTree

import msgspec
import pytest

from effbench.report import junit, prometheus
from tests.factory import Case, cases, cpu_node, failed_node, gpu_node, hostile_node, undecided_node

SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(?:,|$)')


def parse(text: str) -> dict[str, tuple[str, dict[tuple[tuple[str, str], ...], float]]]:
    """Read an exposition strictly: HELP and TYPE once and first, families together, no sample twice."""
    families: dict[str, tuple[str, dict[tuple[tuple[str, str], ...], float]]] = {}
    current = ""
    assert text.endswith("\n")
    for line in text.removesuffix("\n").split("\n"):
        if line.startswith("# HELP "):
            current = line.split(" ", 3)[2]
            assert current not in families, f"HELP of {current} twice"
            families[current] = ("", {})
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name == current and kind == "gauge" and not families[name][1]
            families[name] = (kind, {})
        elif not line.startswith("#"):
            found = SAMPLE.fullmatch(line)
            assert found, line
            name, inside, value = found.groups()
            assert name == current and families[name][0]
            labels = LABEL.findall(inside or "")
            assert sum(len(label) + len(content) + 4 for label, content in labels) - bool(labels) == len(inside or "")
            assert len({label for label, _ in labels}) == len(labels)
            key = tuple(sorted(labels))
            assert key not in families[name][1], f"{line} twice"
            families[name][1][key] = float(value)
    return families


@pytest.mark.parametrize("case", cases())
def test_the_exposition_is_valid(case: str) -> None:
    families = parse(prometheus.render(*cases()[case]).decode())
    assert all(re.fullmatch(r"effbench_[a-z0-9_]+", name) for name in families if case != "hostile")
    assert families["effbench_coverage_ratio"][1]


def test_families_are_named_by_pattern_and_base_unit() -> None:
    families = parse(prometheus.render(*gpu_node(simulated=False)).decode())
    for name in (
        "effbench_compute_gemm_flops_per_second",
        "effbench_compute_gemm_fraction_of_rated_peak_ratio",
        "effbench_memory_stream_bandwidth_bytes_per_second",
        "effbench_memory_capacity_verified_bytes",
        "effbench_train_step_mfu_ratio",
        "effbench_train_step_tokens_per_second",
        "effbench_infer_decode_inter_token_p99_seconds_high",
        "effbench_host_launch_latency_seconds_low",
    ):
        assert name in families, name


def test_every_metric_is_there_with_its_exact_value() -> None:
    case = gpu_node(simulated=False)
    values = {
        (dict(labels)["key"], dict(labels).get("device")): value
        for name, (_, samples) in parse(prometheus.render(*case).decode()).items()
        for labels, value in samples.items()
        if "key" in dict(labels) and not name.endswith(("_low", "_high"))
    }
    assert values == {(metric.key, metric.device): metric.quantity.value for metric in case.card.metrics}


def test_one_verdict_holds() -> None:
    for case, verdict in ((cpu_node(), "pass"), (failed_node(), "fail"), (undecided_node(), "undecided")):
        samples = parse(prometheus.render(*case).decode())["effbench_verdict"][1]
        assert {dict(labels)["verdict"]: value for labels, value in samples.items()} == {
            name: float(name == verdict) for name in ("pass", "fail", "not_rated", "undecided")
        }


def test_simulated_samples_are_labelled_each() -> None:
    families = parse(prometheus.render(*gpu_node()).decode())
    assert all(("simulated", "true") in labels for _, samples in families.values() for labels in samples)


def test_label_values_are_escaped_and_come_back() -> None:
    nasty = 'a"b\\c\nd'
    assert prometheus.escaped(nasty) == 'a\\"b\\\\c\\nd'
    assert prometheus.escaped(nasty, quotes=False) == 'a"b\\\\c\\nd'
    parse(prometheus.render(*hostile_node()).decode())


def _suites(case: Case) -> dict[str, dict[str, str]]:
    """Group -> test case -> its outcome."""
    root = ElementTree.fromstring(junit.render(*case))
    found: dict[str, dict[str, str]] = {}
    for suite in root:
        mine = {
            node.attrib["name"]: next((c.tag for c in node if c.tag != "system-out"), "passed")
            for node in suite.iter("testcase")
        }
        kinds = list(mine.values())
        assert int(suite.attrib["tests"]) == len(mine)
        assert int(suite.attrib["failures"]) == kinds.count("failure")
        assert int(suite.attrib["errors"]) == kinds.count("error")
        assert int(suite.attrib["skipped"]) == kinds.count("skipped")
        found[suite.attrib["name"]] = mine
    assert int(root.attrib["tests"]) == sum(len(mine) for mine in found.values())
    return found


def test_a_healthy_node_is_green() -> None:
    kinds = {kind for mine in _suites(gpu_node(simulated=False)).values() for kind in mine.values()}
    assert kinds == {"passed", "skipped"}


def test_missing_evidence_is_an_error_where_it_is_required() -> None:
    suites = _suites(failed_node())
    assert suites["verdict"] == {"verdict under node-2026 version 1": "failure"}
    assert suites["gates"]["health.wrong_results on gpu0"] == "failure"
    assert suites["gates"]["health.row_remap_pending"] == "error"
    trials = suites["trials"]
    assert trials["gemm-bf16[dtype=bf16]@gpu0"] == "failure"
    assert trials["prefill[batch=1,config=3b,prompt=2048]@gpu0"] == "error"
    assert trials["gemm-int8[dtype=int8]@gpu0"] == "skipped"


def test_undecided_is_an_error_and_the_unrequired_is_skipped() -> None:
    suites = _suites(undecided_node())
    assert "error" in suites["domain memory"].values()
    assert set(suites["domain host"].values()) == {"skipped"}
    assert set(suites["verdict"].values()) == {"error"}


def test_no_grade_is_never_green() -> None:
    case = cpu_node()
    assert _suites(Case(case.card, None, case.record))["verdict"] == {"verdict": "error"}


def test_disturbed_trials_are_said_and_turn_nothing_red() -> None:
    case = cpu_node()
    assert case.record is not None
    first = msgspec.structs.replace(case.record.measurements[0], status="suspect", detail="foreign load 40 %")
    record = msgspec.structs.replace(case.record, measurements=[first, *case.record.measurements[1:]])
    assert _suites(Case(case.card, case.grade, record))["trials"][first.trial] == "skipped"
    assert b"foreign load 40 %" in junit.render(case.card, case.grade, record)


def test_simulated_marks_every_suite_and_case() -> None:
    root = ElementTree.fromstring(junit.render(*gpu_node()))
    assert all(suite.attrib["name"].startswith("SIMULATED ") for suite in root)
    assert all(node.attrib["classname"].startswith("SIMULATED ") for node in root.iter("testcase"))
