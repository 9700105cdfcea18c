"""Suites: every mistake at its line with the valid choices, all at once; parameters checked against the kernels."""

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest

from effbench.catalog import schema
from effbench.catalog.suites import digest, load_suite
from effbench.model.error import CatalogError

GOOD = """\
schema: effbench.suite/1
name: test
purpose: a test
rounds: {cpu: {min: 2, max: 3}}
budget_s: {cpu: 60}
workloads:
  - id: gemm
    kernel: gemm
    params: {m: 64}
    axes: {dtype: [fp32, bf16]}
    on: [cpu]
  - {id: stream, kernel: stream}
"""


class Gemm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    dtype: Literal["fp32", "bf16", "fp8"] = "bf16"
    m: int | None = None
    variant: Literal["", "exact"] = ""
    words: Annotated[int, msgspec.Meta(multiple_of=8)] | None = None

    def __post_init__(self) -> None:
        if self.variant and self.dtype != "fp8":
            raise ValueError(f"variant {self.variant} exists for fp8 only")


class Stream(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    op: Literal["copy", "triad"] = "triad"
    share: float = 0.5


KERNELS: dict[str, type[msgspec.Struct]] = {"gemm": Gemm, "stream": Stream}


@pytest.fixture
def load(tmp_path: Path) -> Any:
    def _load(text: str, kernels: Any = KERNELS) -> Any:
        file = tmp_path / "s.yaml"
        file.write_text(text)
        return load_suite(file, kernels)

    return _load


def problems(load: Any, text: str, kernels: Any = KERNELS) -> list[str]:
    with pytest.raises(CatalogError) as caught:
        load(text, kernels)
    assert caught.value.exit_code == 2
    return [problem.split("s.yaml:", 1)[1] for problem in caught.value.problems]


def test_a_good_suite_is_read(load: Any) -> None:
    suite = load(GOOD)
    assert [w.id for w in suite.workloads] == ["gemm", "stream"]
    assert suite.workloads[0].axes == {"dtype": ["fp32", "bf16"]} and suite.workloads[0].on == ["cpu"]
    assert suite.rounds["cpu"].max == 3 and suite.budget_s == {"cpu": 60.0}


def test_the_digest_is_of_the_content(load: Any) -> None:
    same = GOOD.replace("purpose: a test", "# a remark\npurpose:   a test")
    assert digest(load(GOOD)) == digest(load(same)) != digest(load(GOOD.replace("m: 64", "m: 65")))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("kernel: gemm", "kernel: gem", "8:13: there is no kernel 'gem'; did you mean gemm? valid: gemm, stream"),
        ("params: {m: 64}", "params: {mm: 64}", "9:14: gemm has no parameter 'mm'; did you mean m? valid: dtype,"),
        ("params: {m: 64}", "params: {m: big}", "9:17: expected a whole number, got text 'big'"),
        ("params: {m: 64}", "params: {m: 1.5}", "9:17: expected a whole number, got 1.5"),
        ("params: {m: 64}", "params: {m: true}", "9:17: expected a whole number, got true"),
        ("[fp32, bf16]", "[fp32, bf61]", "10:26: text 'bf61' is not allowed here; did you mean bf16?"),
        ("[fp32, bf16]", "[fp32, fp32]", "10:26: 'fp32' is given twice on this axis"),
        ("[fp32, bf16]", "[]", "10:19: the axis 'dtype' has no values"),
        ("[fp32, bf16]", "fp32", "10:19: expected a list, got text 'fp32'"),
        ("params: {m: 64}", "params: {m: 64, dtype: fp32}", "10:12: 'dtype' is both a parameter and an axis"),
        ("params: {m: 64}", "parms: {m: 64}", "9:5: unknown field 'parms'; did you mean params?"),
        ("on: [cpu]", "on: [gpu]", "11:10: the suite has no rounds for gpu"),
        ("on: [cpu]", "on: [tpu]", "11:10: text 'tpu' is not allowed here; did you mean gpu? valid: cpu, gpu"),
        ("on: [cpu]", "on: []", "11:9: `on` is empty"),
        ("id: stream", "id: gemm", "12:10: the id 'gemm' is taken by the workload on line 7"),
        ("id: stream", "id: Stream!", "12:10: 'Stream!': an id is lower-case letters"),
        ("budget_s: {cpu: 60}", "budget_s: {cpu: 0}", "5:17: the budget must be above zero"),
        ("budget_s: {cpu: 60}", "budget_s: {gpu: 60}", "4:10: cpu has rounds but no budget_s"),
        ("{min: 2, max: 3}", "{min: 3, max: 2}", "4:15: rounds need 1 <= min <= max, not min 3, max 2"),
        ("{min: 2, max: 3}", "{min: 2}", "4:15: the field 'max' is missing"),
        ("{min: 2, max: 3}", "{min: 2:30, max: 3}", "4:21: `2:30`: YAML 1.1 reads it as a number in base 60"),
        ("budget_s: {cpu: 60}", "budget_s: {cpu: 6e1}", "5:17: `6e1`: some YAML readers take it for text"),
        ("purpose: a test", "purpose: 3", "3:10: expected text, got 3"),
        ("params: {m: 64}", "params: {words: 7}", "10:11: gemm refuses words=7, dtype=fp32: Expected `int`"),
        ("params: {m: 64}", "params: {variant: exact}", "10:11: gemm refuses variant=exact, dtype=fp32: variant exact"),
        ("on: [cpu]", "procedure: {mode: burts}", "11:23: text 'burts' is not allowed here; did you mean burst?"),
        ("on: [cpu]", "procedure: {duration_s: 0}", "11:16: duration_s must be above zero"),
        ("on: [cpu]", "procedure: {durations_s: 1}", "11:17: unknown field 'durations_s'; did you mean duration_s?"),
        ("on: [cpu]", "scope: galaxy", "11:12: text 'galaxy' is not allowed here"),
    ],
)
def test_each_mistake_is_told_at_its_place(load: Any, old: str, new: str, expected: str) -> None:
    assert old in GOOD
    found = problems(load, GOOD.replace(old, new, 1))
    assert any(problem.startswith(expected) for problem in found), found


def test_an_id_may_stand_once_for_each_device_class(load: Any) -> None:
    both = GOOD.replace("cpu: {min: 2, max: 3}}", "cpu: {min: 2, max: 3}, gpu: {min: 1, max: 1}}").replace(
        "{cpu: 60}", "{cpu: 60, gpu: 60}"
    )
    two = both.replace("{id: stream, kernel: stream}", "{id: gemm, kernel: gemm, on: [gpu]}")
    assert len(load(two).workloads) == 2
    assert any("is taken" in problem for problem in problems(load, two.replace("on: [gpu]", "on: [gpu, cpu]")))


def test_a_scalar_that_yaml_mangles_is_told_once(load: Any) -> None:
    assert len(problems(load, GOOD.replace("params: {m: 64}", "params: {m: 12:30}"))) == 1


def test_all_mistakes_come_at_once_and_in_order(load: Any) -> None:
    text = GOOD.replace("kernel: gemm", "kernel: gem").replace("purpose: a test", "purposes: a test")
    text = text.replace("kernel: stream", "kernel: stream, params: {op: tirad, share: much}").replace(
        "cpu: 60", "cpu: -1"
    )
    found = problems(load, text)
    lines = [int(problem.split(":")[0]) for problem in found]
    assert lines == sorted(lines) and len(found) == 6, found
    assert any("did you mean triad? valid: copy, triad" in problem for problem in found)
    assert any("expected a number, got text 'much'" in problem for problem in found)


def test_without_the_kernels_names_are_taken_as_they_are(load: Any) -> None:
    assert load(GOOD.replace("kernel: gemm", "kernel: anything"), None).workloads[0].kernel == "anything"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("schema: effbench.suite/2", "was written for a newer effbench; this one reads effbench.suite/1"),
        ("schema: effbench.policy/1", "'effbench.policy/1', and effbench.suite/1 is expected here"),
        ("schema: effbench.suite/x", "not a version that effbench ever wrote"),
        ("schema: 3", "the first line must be `schema: effbench.suite/1`"),
        ("", "the first line must be `schema: effbench.suite/1`"),
    ],
)
def test_another_schema_is_refused_before_anything_else(load: Any, line: str, said: str) -> None:
    (problem,) = problems(load, GOOD.replace("schema: effbench.suite/1", line).replace("purpose", "porpoise"))
    assert said in problem


def test_no_workloads_is_a_mistake(load: Any) -> None:
    head = GOOD.split("workloads:")[0]
    assert any("the suite has no workloads" in p for p in problems(load, head + "workloads: []\n"))
    assert any("the field 'workloads' is missing" in p for p in problems(load, head))
    assert any("expected a mapping with id, kernel" in p for p in problems(load, head + "workloads: [gemm]\n"))


def test_a_huge_product_of_axes_is_not_walked_to_its_end(load: Any) -> None:
    axis = "[" + ", ".join(map(str, range(1, 400))) + "]"
    text = GOOD.replace("axes: {dtype: [fp32, bf16]}", f"axes: {{dtype: [fp32, bf16], words: {axis}}}")
    assert any("gemm refuses" in problem for problem in problems(load, text))


def test_the_schema_file_has_a_check_mode(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "schema.json"
    assert schema.main(["--check"], target) == 1
    assert "run: python -m effbench.catalog.schema" in capsys.readouterr().err
    assert schema.main([], target) == 0 and schema.main(["--check"], target) == 0
    target.write_bytes(target.read_bytes() + b" ")
    assert schema.main(["--check"], target) == 1
    assert schema.main(["--write"], target) == 2
    assert msgspec.json.decode(schema.render())["title"] == "effbench suite"
