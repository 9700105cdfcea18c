"""`policy lint`: a rule that cannot be met, or that lets a bad node pass, is told with its line; nothing raises."""

from pathlib import Path

import pytest
from command_line import call
from hypothesis import given, settings
from hypothesis import strategies as st

from effbench import resources
from effbench.catalog.lint import Remark, lint

GOOD = """\
schema: effbench.policy/1
name: test
version: 1
effective_from: "2026-11-01"
purpose: a test
ladder: {S: "0.97", A: "0.92", B: "0.85", C: "0.75"}
gpu:
  gates:
    - {metric: health.wrong_results, threshold: "0"}
    - {metric: memory.stream.triad.bandwidth, threshold: "3.0 TB/s"}
    - {metric: compute.gemm.bf16.fraction_of_rated_peak, threshold: "0.5"}
  domains:
    - name: compute
      metrics:
        - {any_of: [compute.gemm.bf16.fraction_of_reference]}
cpu:
  gates:
    - {metric: health.wrong_results, threshold: "0"}
  domains:
    - name: memory
      metrics:
        - {any_of: [memory.stream.triad.fraction_of_reference]}
"""


def remarks(tmp_path: Path, text: str) -> list[Remark]:
    file = tmp_path / "p: 1.yaml"
    file.write_text(text)
    return [Remark(r.level, r.text.removeprefix(f"{file}:")) for r in lint(file)]


def test_a_good_policy_has_only_notes(tmp_path: Path) -> None:
    found = remarks(tmp_path, GOOD)
    assert {r.level for r in found} == {"note"}
    assert found[0].text.startswith("13:7: unreachable today: S, A in compute")


@pytest.mark.parametrize("name", resources.names("policies"))
def test_the_shipped_policies_have_no_mistake_and_no_warning(name: str) -> None:
    assert [r for r in lint(resources.find("policies", name)) if r.level != "note"] == []


@pytest.mark.parametrize(
    ("old", "new", "level", "expected"),
    [
        ('"0.5"', '"1.2"', "mistake", "11:69: nothing can meet '1.2': "),
        ('"0.5"', '"0"', "mistake", "11:69: everything meets '0': "),
        ('"0.5"', '"-0.1"', "mistake", "11:69: everything meets '-0.1'"),
        ("bf16.fraction_of_rated_peak", "bf16.fraction_of_reference", "", ""),
        ('rated_peak, threshold: "0.5"', 'reference, threshold: "0.41"', "warning", "11:68: 0.41: a device at half"),
        ('rated_peak, threshold: "0.5"', 'reference, threshold: "1.1"', "mistake", "11:68: nothing can meet '1.1'"),
        ('"3.0 TB/s"', '"0"', "mistake", "10:58: everything meets '0'"),
        ('"3.0 TB/s"', '"300 TB/s"', "mistake", "10:58: nothing can meet '300 TB/s': the highest rated peak"),
        (
            'memory.stream.triad.bandwidth, threshold: "3.0 TB/s"',
            'compute.gemm.bf16.flops, threshold: "300 PFLOP/s"',
            "mistake",
            "10:52: nothing can meet '300 PFLOP/s'",
        ),
        (
            'memory.stream.triad.bandwidth, threshold: "3.0 TB/s"',
            'health.row_remap_failed, threshold: "1"',
            "mistake",
            "10:52: everything meets '1'",
        ),
        ('wrong_results, threshold: "0"', 'wrong_results, threshold: "-1"', "mistake", "9:49: nothing can meet '-1'"),
        ("memory.stream.triad.bandwidth", "health.wrong_results", "mistake", "10:16: health.wrong_results has a gate"),
        ('"3.0 TB/s"}', '"3.0 TB/s", on_missing: ignore}', "warning", "10:82: a node that gives no memory.stream"),
        (
            'threshold: "0"}',
            'threshold: "0", on_missing: ignore}',
            "warning",
            "9:66: a node that gives no health.wrong_results",
        ),
        (', A: "0.92"', "", "warning", "6:24: a gap in the ladder: no A between S and B"),
        (', B: "0.85"', "", "mistake", "6:9: 'B' is not a grade of the ladder"),
        ('C: "0.75"', 'C: "0.41"', "warning", "6:46: a gap in the ladder: everything from 0.41 to 0.85 is C"),
        ('C: "0.75"', 'C: "0.41"', "warning", "6:46: C passes, and asks for 0.41"),
        ("gpu:", "pass_grade: A\ngpu:", "mistake", "1:1: B is below the pass grade A"),
        ("gpu:", "gpu:\n  pass_grade: A", "mistake", "1:1: B is below the pass grade A"),
        ("gpu:", 'coverage_min: "0"\ngpu:', "warning", "7:15: 0: a run that measured nothing"),
        ("gpu:", "accepts_simulated: true\ngpu:", "warning", "7:20: simulated devices would be rated"),
        ("gpu:", "rated_for_days: 4000\ngpu:", "warning", "7:17: 4000 days"),
        ("gpu:", 'prior: {spread: "0.01"}\ngpu:', "warning", "7:17: 0.01 is less than runs of one GPU differ by"),
        ("gpu:", "above_worst_critical: -1\ngpu:", "mistake", "7:23: -1: the overall grade"),
        ("fraction_of_reference]}\ncpu", "fraction_of_reference], required: false}\ncpu", "warning", "13:7: no metric"),
        ("name: memory\n", "name: memory\n      required: false\n", "warning", "17:3: no figure of speed is required"),
        # What the loader itself refuses is told too, and told once.
        ("wrong_results", "wrong_result", "mistake", "9:16: there is no metric 'health.wrong_result'"),
        ('"3.0 TB/s"', '"3.0 W"', "mistake", "10:58: '3.0 W' has W, but"),
        ('B: "0.85"', 'B: "0.99"', "mistake", "6:35: B asks for 0.99, which is not below"),
    ],
)
def test_each_flaw_is_told_at_its_place(tmp_path: Path, old: str, new: str, level: str, expected: str) -> None:
    assert old in GOOD
    found = remarks(tmp_path, GOOD.replace(old, new, 1))
    told = [r for r in found if r.level != "note"]
    if not level:
        assert told == []
        return
    assert any(r.level == level and r.text.startswith(expected) for r in told), found
    assert len({r.text for r in told}) == len(told)


def test_a_metric_counts_once(tmp_path: Path) -> None:
    twice = "        - {any_of: [compute.gemm.bf16.fraction_of_reference]}\n"
    found = remarks(tmp_path, GOOD.replace(twice, twice * 2))
    assert any(r.level == "mistake" and "counts already in this section" in r.text for r in found)


def test_a_section_that_asks_nothing_is_named(tmp_path: Path) -> None:
    text = GOOD[: GOOD.index("cpu:")] + "cpu: {gates: [], domains: []}\n"
    assert any(r.level == "note" and "nothing is required of a cpu" in r.text for r in remarks(tmp_path, text))


def test_flaws_of_every_kind_come_at_once_mistakes_first(tmp_path: Path) -> None:
    text = GOOD.replace('"0.5"', '"1.2"').replace("wrong_results", "wrong", 1).replace('C: "0.75"', 'C: "0.41"')
    found = remarks(tmp_path, text)
    levels = [r.level for r in found]
    assert levels.count("mistake") >= 2 and levels.count("warning") >= 2
    assert levels == sorted(levels, key=("mistake", "warning", "note").index)


@pytest.mark.parametrize("text", ["", "- a", "a: &x [*x]", "schema: effbench.suite/1", "!!python/object:os.system x"])
def test_what_is_no_policy_is_one_mistake(tmp_path: Path, text: str) -> None:
    found = remarks(tmp_path, text)
    assert found and all(r.level == "mistake" for r in found)


@pytest.mark.parametrize("line", ["fail_grade: {a: 1}", "fail_grade: [F]", "pass_grade: {}", "provisional_cap: [1]"])
def test_a_grade_that_is_no_word_is_a_mistake(tmp_path: Path, line: str) -> None:
    """Found by fuzzing: a mapping cannot be looked up among the grades."""
    found = remarks(tmp_path, GOOD.replace("gpu:", f"{line}\ngpu:", 1))
    assert any(r.level == "mistake" and r.text.startswith("7:") for r in found)


SCRAPS = ["[]", "{}", "1", "null", '"0"', '"-1"', '"1e308 W"', "[1, {}]", "{a: 1}", "true", "0.5", "health"]


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_damaged_policy_never_raises(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    lines = GOOD.splitlines()
    number = data.draw(st.integers(0, len(lines) - 1))
    key, colon, _ = lines[number].rpartition(": ")
    lines[number] = f"{key}{colon}{data.draw(st.sampled_from(SCRAPS))}"
    file = tmp_path_factory.getbasetemp() / "damaged.yaml"
    file.write_text("\n".join(lines))
    for remark in lint(file):
        assert remark.text.startswith(str(file))


def test_the_command_prints_all_and_exits_with_2(tmp_path: Path) -> None:
    good, bad, doubtful = (tmp_path / name for name in ("good.yaml", "bad.yaml", "doubtful.yaml"))
    good.write_text(GOOD)
    bad.write_text(GOOD.replace('"0.5"', '"1.2"'))
    doubtful.write_text(GOOD.replace(', A: "0.92"', ""))
    assert call("policy", "lint", str(good), "node-2026").code == 0
    told = call("policy", "lint", str(bad), str(good))
    assert told.code == 2 and "mistake: " in told.out and "bad.yaml:11:69: " in told.out
    assert call("policy", "lint", str(doubtful)).code == 0
    assert call("policy", "lint", "--strict", str(doubtful)).code == 2
    assert call("policy", "lint", str(tmp_path / "none.yaml")).code == 2
