"""Reading YAML: places, mangled scalars, bombs, and files that are no documents."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from effbench.catalog import yaml as reader
from effbench.model.error import CatalogError

LOADERS = [pytest.param(yaml.SafeLoader, id="python")]
if hasattr(yaml, "CSafeLoader"):
    LOADERS.append(pytest.param(yaml.CSafeLoader, id="libyaml"))


@pytest.fixture(params=LOADERS)
def read(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Read a text with one of PyYAML's parsers; both must agree."""
    monkeypatch.setattr(reader, "_LOADER", request.param)

    def _read(text: str) -> reader.Document:
        file = tmp_path / "x.yaml"
        file.write_text(text, encoding="utf-8")
        return reader.read(file)

    return _read


def test_values_are_plain_and_have_places(read: Any) -> None:
    document = read('a: 1\nb:\n  - 2.5\n  - "3"\nc: {d: true, e: null, f: plain words}\n')
    assert document.value == {"a": 1, "b": [2.5, "3"], "c": {"d": True, "e": None, "f": "plain words"}}
    assert document.problems == []
    assert document.marks[("b", 1)] == (4, 5)
    assert document.at(("c", "f"), "x").endswith("x.yaml:5:26: x")
    assert document.at(("c", "d"), "x", key=True).endswith("x.yaml:5:5: x")


def test_on_is_a_key_and_not_true(read: Any) -> None:
    assert read("on: [cpu]\n").value == {"on": ["cpu"]}


def test_a_value_without_a_place_gets_its_parents(read: Any) -> None:
    assert ":2:3: " in read("a:\n  b: 1\n").at(("a", "missing", "deep"), "x")


@pytest.mark.parametrize(
    ("scalar", "said"),
    [
        ("12:30:00", "base 60"),
        ("190:20:30.15", "base 60"),
        ("3.35e12", "exponent with its sign"),
        ("1e3", "exponent with its sign"),
        ("010", "octal"),
        ("0x1F", "decimal"),
        ("0b101", "decimal"),
        ("1_000", "underscores"),
        ("yes", "true or false"),
        ("Off", "true or false"),
        (".inf", "not finite"),
        ("-.Inf", "not finite"),
        (".NaN", "not finite"),
        ("1e+999", "too large"),
        ("9" * 5000, None),
    ],
)
def test_what_yaml_would_change_is_refused(read: Any, scalar: str, said: str | None) -> None:
    document = read(f"x: {scalar}\n")
    if said is None:
        assert document.problems or isinstance(document.value["x"], str | float)
        return
    (problem,) = document.problems
    assert said in problem and "x.yaml:1:4: " in problem


@pytest.mark.parametrize("scalar", ["12:30:00", "3.35e12", "yes", "010", ".nan"])
def test_quoted_it_is_just_text(read: Any, scalar: str) -> None:
    document = read(f'x: "{scalar}"\n')
    assert document.value == {"x": scalar} and document.problems == []


@pytest.mark.parametrize(("scalar", "value"), [("3.35e+12", 3.35e12), ("-4", -4), ("0", 0), (".5", 0.5), ("1.", 1.0)])
def test_ordinary_numbers_are_numbers(read: Any, scalar: str, value: float) -> None:
    document = read(f"x: {scalar}\n")
    assert document.value["x"] == value and not document.problems


def test_a_date_stays_text(read: Any) -> None:
    assert read("day: 2026-11-21\n").value == {"day": "2026-11-21"}


@pytest.mark.parametrize(
    ("text", "said", "place"),
    [
        ("a: 1\na: 2\n", "given twice in this mapping, first on line 1", "2:1"),
        ("a: !!python/object/apply:os.system [x]\n", "tags are not supported", "1:4"),
        ("a: !!float 3\n", "tags are not supported", "1:4"),
        ("a: &x 1\nb: *x\n", "anchors and aliases", "1:4"),
        ("a:\n  <<: {b: 1}\n", "merge keys", "2:3"),
        ("? [a, b]\n: 1\n", "a key must be a plain word", "1:3"),
        ("a: 1\n---\nb: 2\n", "a second document", "2:1"),
    ],
)
def test_what_is_not_plain_is_a_problem_with_its_place(read: Any, text: str, said: str, place: str) -> None:
    problems = read(text).problems
    assert any(said in problem and f"x.yaml:{place}: " in problem for problem in problems), problems


def test_all_problems_are_found_at_once(read: Any) -> None:
    assert len(read("a: yes\nb: 12:30\na: 1\nc: !!str x\n").problems) == 4


def test_an_alias_bomb_costs_nothing(read: Any) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    assert len(read("\n".join(lines)).problems) > 29


def test_endless_nesting_is_refused(read: Any) -> None:
    with pytest.raises(CatalogError, match="nested more than"):
        read("a: " + "[" * 60 + "]" * 60)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the document is empty"),
        ("# only a comment\n", "the document is empty"),
        ("- a\n- b\n", "the document is a list"),
        ("words\n", "the document is a single value"),
        ("a: [1, 2\n", "not YAML"),
        ("a: b: c\n", "not YAML"),
        ("\tx: 1\n", "not YAML"),
        ("a: \x00\n", "not YAML"),
    ],
)
def test_what_is_no_mapping_is_refused(read: Any, text: str, said: str) -> None:
    with pytest.raises(CatalogError) as caught:
        read(text)
    assert said in str(caught.value) and "x.yaml:" in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="there is no such file"):
        reader.read(tmp_path / "none.yaml")
    with pytest.raises(CatalogError, match="cannot be read"):
        reader.read(tmp_path)
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"purpose: M\xfcll\n")
    with pytest.raises(CatalogError, match="not UTF-8 text"):
        reader.read(latin)
    large = tmp_path / "large.yaml"
    large.write_bytes(b"a" * ((1 << 20) + 1))
    with pytest.raises(CatalogError, match="larger than 1 MiB"):
        reader.read(large)


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    file = tmp_path / "bom.yaml"
    file.write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert reader.read(file).value == {"a": 1}


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text(alphabet=st.sampled_from("abn:-[]{}#&*!|>'\"% \n01.e~<?,"), max_size=60))
def test_any_text_gives_a_document_or_a_catalog_error(tmp_path: Path, text: str) -> None:
    file = tmp_path / "fuzz.yaml"
    file.write_text(text, encoding="utf-8")
    try:
        document = reader.read(file)
    except CatalogError as error:
        assert error.problems
    else:
        assert isinstance(document.value, dict)
