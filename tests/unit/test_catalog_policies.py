"""Policies: metric keys, units, the ladder and the domains are checked, every mistake at its line."""

from pathlib import Path
from typing import Any

import pytest

from effbench.catalog.policies import digest, load_policy
from effbench.model.error import CatalogError

GOOD = """\
schema: effbench.policy/1
name: test
version: 1
effective_from: "2026-11-01"
purpose: a test
ladder: {A: "0.9", C: "0.75"}
pass_grade: C
provisional_cap: C
gpu:
  gates:
    - {metric: health.wrong_results, threshold: "0"}
    - {metric: memory.stream.triad.bandwidth, threshold: "3.0 TB/s"}
  domains:
    - name: compute
      metrics:
        - {any_of: [compute.gemm.bf16.fraction_of_reference], weight: 2}
cpu:
  gates: []
  domains: []
"""


@pytest.fixture
def load(tmp_path: Path) -> Any:
    def _load(text: str) -> Any:
        file = tmp_path / "p.yaml"
        file.write_text(text)
        return load_policy(file)

    return _load


def problems(load: Any, text: str) -> list[str]:
    with pytest.raises(CatalogError) as caught:
        load(text)
    return [problem.split("p.yaml:", 1)[1] for problem in caught.value.problems]


def test_a_good_policy_is_read(load: Any) -> None:
    policy = load(GOOD)
    assert policy.gpu.gates[1].threshold == "3.0 TB/s" and policy.gpu.domains[0].metrics[0].weight == 2
    assert policy.gpu.gates[0].on_missing == "not_rated"
    assert digest(policy) == digest(load("# remark\n" + GOOD)) != digest(load(GOOD.replace('"0.9"', '"0.91"')))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "health.wrong_results",
            "health.wrong_result",
            "11:16: there is no metric 'health.wrong_result'; did you mean",
        ),
        ("health.wrong_results", "helth.x", "11:16: there is no metric 'helth.x'"),
        ('"3.0 TB/s"', '"3.0 TFLOP/s"', "12:58: '3.0 TFLOP/s' has flop/s, but memory.stream.triad.bandwidth is"),
        ('"3.0 TB/s"', '"3.0"', "12:58: '3.0' has no unit, but memory.stream.triad.bandwidth is measured in byte/s"),
        ('"3.0 TB/s"', '"85 %"', "12:58: '85 %': percentages are not used; write the fraction 0.85"),
        ('"3.0 TB/s"', "3.0", "12:58: expected text, got 3.0"),
        ('threshold: "0"}', 'threshold: "0", on_missing: pass}', "11:66: text 'pass' is not allowed here"),
        ("name: compute", "name: compote", "14:13: there is no domain 'compote'; did you mean compute?"),
        ("compute.gemm.bf16.fraction_of_reference", "compute.gemm.bf16.flops", "16:21: compute.gemm.bf16.flops is no"),
        (
            "compute.gemm.bf16.fraction_of_reference",
            "train.step.fraction_of_reference",
            "16:21: train.step.fraction_of",
        ),
        ("[compute.gemm.bf16.fraction_of_reference]", "[]", "16:20: any_of is empty"),
        ("weight: 2", "weight: 0", "16:71: a weight must be above zero"),
        ("pass_grade: C", "pass_grade: D", "7:13: 'D' is not a grade of the ladder"),
        ("gpu:", "gpu:\n  pass_grade: D", "10:15: 'D' is not a grade of the ladder"),
        ("provisional_cap: C", "provisional_cap: Z", "8:18: 'Z' is not a grade of the ladder"),
        ('C: "0.75"', 'C: "0.95"', "6:23: C asks for 0.95, which is not below the grade before it"),
        ('C: "0.75"', 'C: "many"', "6:23: 'many' is not a figure"),
        ('C: "0.75"', 'C: "1.2"', "6:23: 1.2: a grade needs a share above 0 and up to 1"),
        ('C: "0.75"', 'C: "0.75 W"', "6:23: '0.75 W' has W, but it is measured in no unit"),
        ('C: "0.75"', 'F: "0.75"', "7:13: 'C' is not a grade of the ladder"),
        ('{A: "0.9", C: "0.75"}', "{}", "6:9: the ladder has no grades"),
        ("version: 1", "version: 0", "3:10: version must be at least 1"),
        ("2026-11-01", "next week", "4:17: 'next week' is not a date"),
        ("purpose: a test", 'purpose: a test\ncoverage_min: "2"', "6:15: 2: coverage is a fraction from 0 to 1"),
        ("schema: effbench.policy/1", "schema: effbench.policy/7", "1:9: effbench.policy/7 was written for a newer"),
        ("metric: health.wrong_results", "metrik: health.wrong_results", "11:8: unknown field 'metrik'; did you mean"),
    ],
)
def test_each_mistake_is_told_at_its_place(load: Any, old: str, new: str, expected: str) -> None:
    assert old in GOOD
    found = problems(load, GOOD.replace(old, new, 1))
    assert any(problem.startswith(expected) for problem in found), found


def test_zero_needs_no_unit(load: Any) -> None:
    assert load(GOOD.replace('"3.0 TB/s"', '"0"')).gpu.gates[1].threshold == "0"


def test_a_domain_is_given_once(load: Any) -> None:
    twice = GOOD.replace("cpu:\n", "    - {name: compute, metrics: []}\ncpu:\n")
    assert any("the domain 'compute' is given twice" in problem for problem in problems(load, twice))


def test_all_mistakes_come_at_once(load: Any) -> None:
    text = (
        GOOD.replace("health.wrong_results", "health.wrong")
        .replace('"3.0 TB/s"', '"3 W"')
        .replace("name: compute", "name: x")
    )
    assert len(problems(load, text)) >= 3


RELATIVE = GOOD.replace(
    "compute.gemm.bf16.fraction_of_reference], weight: 2", "compute.gemm.bf16.fraction_of_baseline]"
)
ANCHOR = "    - {metric: compute.gemm.bf16.fraction_of_reference, threshold: '0.75'}\n"


def test_a_baseline_needs_an_absolute_anchor(load: Any) -> None:
    assert any(p.startswith("14:7: compute rests on a baseline alone") for p in problems(load, RELATIVE))
    gated = RELATIVE.replace("  domains:\n", ANCHOR + "  domains:\n", 1)
    assert load(gated).gpu.domains[0].metrics[0].any_of == ["compute.gemm.bf16.fraction_of_baseline"]


def test_an_anchor_that_may_be_missing_or_is_of_another_domain_is_none(load: Any) -> None:
    critical = RELATIVE.replace("name: compute\n", "name: compute\n      critical: true\n")
    ignoring = ANCHOR.replace("}", ", on_missing: ignore}")
    other = ANCHOR.replace("compute.gemm.bf16", "memory.stream.triad")
    for gate in (ignoring, other):
        found = problems(load, critical.replace("  domains:\n", gate + "  domains:\n", 1))
        assert any("rests on a baseline alone" in problem for problem in found)


def test_the_usual_grades_must_be_on_the_ladder_too(load: Any) -> None:
    without = GOOD.replace("provisional_cap: C\n", "")
    assert any("'B' is not a grade of the ladder" in problem for problem in problems(load, without))


def test_what_ends_a_rating_is_chosen_from_a_list(load: Any) -> None:
    assert load("rerate_on: [driver, vbios]\n" + GOOD).rerate_on == ["driver", "vbios"]
    assert any("rerate" in p or "moon" in p for p in problems(load, "rerate_on: [moon]\n" + GOOD))


@pytest.mark.parametrize(
    ("prior", "expected"),
    [
        ('{share: "1.2"}', "a share above 0 and up to 1"),
        ('{share: "0"}', "a share above 0 and up to 1"),
        ('{spread: "0"}', "write a spread above 0"),
        ('{spread: "5 W"}', "has W"),
        ("{spread: wide}", "wide"),
        ("[]", "a mapping with share, spread"),
    ],
)
def test_a_prior_that_says_nothing_of_a_node_is_a_mistake(load: Any, prior: str, expected: str) -> None:
    found = problems(load, f"prior: {prior}\n" + GOOD)
    assert any(p.startswith("1:") and expected in p for p in found), found
    assert load('prior: {share: "0.80", spread: "0.08"}\n' + GOOD).prior.spread == "0.08"


def test_the_fail_grade_is_below_the_ladder(load: Any) -> None:
    usual = GOOD.replace('C: "0.75"}', 'C: "0.75", F: "0.5"}')
    assert any("'F' is on the ladder" in p and p.startswith("6:") for p in problems(load, usual))


@pytest.mark.parametrize("name", ["[a]", "{a: 1}"])
def test_a_domain_whose_name_is_no_word_is_a_mistake(load: Any, name: str) -> None:
    """Found by fuzzing: the anchor of a baseline was looked up by it."""
    text = RELATIVE.replace("name: compute\n", f"name: {name}\n      critical: true\n")
    text = text.replace("  domains:\n", ANCHOR + "  domains:\n", 1)
    assert any(problem.startswith("15:") and "expected text" in problem for problem in problems(load, text))
