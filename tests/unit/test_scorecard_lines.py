"""Scorecards in JSON lines: each graded as if it were alone, and what cannot be read costs only its own line."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import msgspec
import pytest

from effbench import api
from effbench.importers.text import lines
from effbench.model.scorecard import Scorecard
from effbench.store.scorecard_lines import GradedLine, LostLine, graded_lines
from tests.unit.command_line import call

RECORDING = sorted((Path(__file__).parents[1] / "recordings").glob("*/journal.jsonl.gz"))[0]


@pytest.fixture(scope="module")
def card() -> Scorecard:
    """The recording's scorecard, which passes."""
    return api.score(api.record_of(RECORDING))


def named(card: Scorecard, node: str, factor: float = 1.0) -> bytes:
    """The line of one node, all of its figures `factor` times as large."""
    metrics = []
    for metric in card.metrics:
        ends = metric.interval
        if ends is not None:
            ends = msgspec.structs.replace(ends, low=ends.low * factor, high=ends.high * factor)
        quantity = msgspec.structs.replace(metric.quantity, value=metric.quantity.value * factor)
        metrics.append(msgspec.structs.replace(metric, quantity=quantity, interval=ends))
    return msgspec.json.encode(msgspec.structs.replace(card, node=node, metrics=metrics))


def written(path: Path, *found: bytes) -> Path:
    """Write lines, the last one without an end."""
    path.write_bytes(b"\n".join(found))
    return path


def test_every_line_is_graded_as_the_scorecard_alone(card: Scorecard, tmp_path: Path) -> None:
    texts = [named(card, "good"), named(card, "slow", 0.5)]
    path = written(tmp_path / "cards.jsonl", *texts)
    done = call("grade", path)
    found = [json.loads(line) for line in done.out.splitlines()]
    assert [(one["line"], one["node"]) for one in found] == [(1, "good"), (2, "slow")]
    for text, one in zip(texts, found, strict=True):
        alone = written(tmp_path / "scorecard.json", text)
        assert call("grade", alone, "--json").document == one["grade"]
    assert [one["grade"]["verdict"] for one in found] == ["pass", "fail"] and done.code == 1
    assert done.said.splitlines()[-1].startswith("Scorecards: 1 fail, 1 pass; 0 lines lost")


NO_FIGURE = b'{"schema":"effbench.scorecard/1","metrics":[{"quantity":{"value":NaN,"unit":"s"}}]}'


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (b"{", "damaged JSON"),
        (b"\xff\xfe", "damaged JSON"),
        (b"[" * 100_000, "damaged JSON"),
        (b"[]", "damaged JSON"),
        (NO_FIGURE, "damaged JSON"),
        (b'{"schema":"effbench.scorecard/2"}', "written by a newer effbench"),
        (b'{"schema":"effbench.grade/1"}', "expected a document of schema effbench.scorecard/1"),
        (b'{"schema":"effbench.scorecard/1"}', "does not fit its schema"),
        (b'{"schema":"\\u001b[2J"}', "found ?[2J"),
    ],
)
def test_a_bad_line_costs_only_itself_and_is_no_pass(card: Scorecard, tmp_path: Path, bad: bytes, told: str) -> None:
    path = written(tmp_path / "cards.jsonl", named(card, "a"), bad, b"  ", named(card, "b"))
    done = call("grade", path)
    assert [json.loads(line)["line"] for line in done.out.splitlines()] == [1, 4]
    assert f"{path}:2: " in done.said and told in done.said and "\x1b" not in done.said
    assert "2 pass; 1 lines lost, 0 there before. Verdict: not_rated, exit code 3" in done.said
    assert done.code == 3


def test_what_is_lost_does_not_hide_a_failure(card: Scorecard, tmp_path: Path) -> None:
    cut = named(card, "c")[:-40]
    done = call("grade", written(tmp_path / "cards.jsonl", named(card, "a", 0.5), cut))
    assert done.code == 1 and "cards.jsonl:2: damaged JSON" in done.said


def test_a_figure_that_is_no_number_or_upside_down_is_lost(card: Scorecard, tmp_path: Path) -> None:
    text = named(card, "a")
    interval = b'"interval":{"low":9e99,"high"'
    assert b'"interval":{"low":' in text
    turned = interval + text.split(b'"interval":{"low":', 1)[1].split(b'"high"', 1)[1]
    bad = text.split(b'"interval":{"low":', 1)[0] + turned
    done = call("grade", written(tmp_path / "cards.jsonl", bad, text.replace(b'"value":', b'"value":1e999,"x":', 1)))
    assert done.code == 2 and "is above Interval.high" in done.said and done.out == ""


def test_the_same_scorecard_counts_once_and_another_of_the_same_node_counts(card: Scorecard, tmp_path: Path) -> None:
    one, other = named(card, "a"), named(card, "a", 0.99)
    spaced = msgspec.json.format(one, indent=0)
    done = call("grade", written(tmp_path / "cards.jsonl", one, other, spaced, one))
    assert [json.loads(line)["line"] for line in done.out.splitlines()] == [1, 2]
    assert ":3: the same scorecard of a as in line 1" in done.said and ":4: the same" in done.said
    assert done.code == 0 and "2 pass; 0 lines lost, 2 there before" in done.said


def test_an_endless_line_is_passed_by_and_not_held(card: Scorecard, tmp_path: Path) -> None:
    path = written(tmp_path / "cards.jsonl", named(card, "a"), b"")
    with path.open("r+b") as file:
        file.seek(64 << 20, 2)  # a hole: zero bytes that take no room
        file.write(b"\n" + named(card, "b"))
    policy = api.load_policy("node-2026")
    tracemalloc.start()
    found: list[Any] = list(graded_lines(lines(path, 1 << 20), policy, path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [type(one) for one in found] == [GradedLine, LostLine, GradedLine]
    assert (found[1].line, found[2].line, found[2].node) == (2, 3, "b") and peak < 8 << 20


def test_the_grades_go_into_a_file_that_is_whole_or_the_old_one(card: Scorecard, tmp_path: Path) -> None:
    path, out = written(tmp_path / "cards.jsonl", named(card, "a")), tmp_path / "grades.jsonl"
    done = call("grade", path, "-o", out)
    assert done.code == 0 and done.out == "" and json.loads(out.read_text())["grade"]["verdict"] == "pass"
    before = out.read_bytes()
    assert call("grade", written(tmp_path / "none.jsonl", b"{"), "-o", out).code == 2
    assert out.read_bytes() == before
    assert call("grade", path, "-o", tmp_path / "no" / "grades.jsonl").code == 2
    assert sorted(found.name for found in tmp_path.iterdir()) == ["cards.jsonl", "grades.jsonl", "none.jsonl"]


def test_what_does_not_go_together_is_said(card: Scorecard, tmp_path: Path) -> None:
    path = written(tmp_path / "cards.jsonl", named(card, "a"))
    assert "name another" in call("grade", path, "-o", path).said and path.stat().st_size > 1000
    assert call("grade", path, "--json").code == 2
    assert call("grade", path, "--baseline", tmp_path / "b.json").code == 2
    alone = written(tmp_path / "scorecard.json", named(card, "a"))
    assert "-o is for scorecards in JSON lines" in call("grade", alone, "-o", tmp_path / "x").said
    missing = call("grade", tmp_path / "missing.jsonl", "-o", tmp_path / "x")
    assert missing.code == 2 and "missing.jsonl: cannot read: No such file" in missing.said
