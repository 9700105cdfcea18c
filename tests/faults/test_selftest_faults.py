"""`effbench selftest faults`: what it prints, what it writes, and its exit code; the parts beside the table."""

from pathlib import Path

import msgspec
import pytest

from effbench.cli import selftest_faults
from effbench.faults.curve import MARKED, MARKS
from effbench.faults.result import Marked, Result, everything
from effbench.faults.table import NODES, SEED, Row, counted, table
from effbench.faults.words import markdown, verdict
from tests.unit.command_line import call


def line(key: str, hits: int, n: int = 300, healthy: bool = False, spread: float = 0.02, **more: object) -> Row:
    made = counted(key, f"the fault {key}", "baseline", spread, hits, n, healthy)
    return msgspec.structs.replace(made, verdicts={"fail": hits, "pass": n - hits}, **more)


def result(*rows: Row, missed: list[str] = [], broken: list[str] = []) -> Result:  # noqa: B006 - never changed
    wide = line("fleet-10", 200, spread=0.08)
    return Result(
        *("effbench.faults/1", "0.1.0", SEED, 300, list(rows), [wide], [Marked("0.94", line("one-10", 300))]),
        page=[line("page-half", 300)],
        missed=missed,
        broken=broken,
    )


def test_targets_are_met_or_missed_and_wide_spreads_have_none() -> None:
    assert [line("a", hits).target for hits in (300, 297, 296)] == ["met", "met", "MISSED"]
    assert [line("h", hits, healthy=True).target for hits in (0, 3, 4)] == ["met", "met", "MISSED"]
    assert line("a", 0, spread=0.04).target == ""
    found = line("a", 297)
    assert found.low < 0.99 < found.high and (found.rate, found.n) == (0.99, 300)


def test_missing_evidence_that_passed_is_never_a_success() -> None:
    passed = line("absent", 299, missing=True)
    assert passed.broken and not line("absent", 300, missing=True).broken and not line("slow", 299).broken
    assert result().ok and not result(broken=["absent at 2%"]).ok and not result(missed=["a at 2%"]).ok
    text = markdown(result(passed, broken=["absent at 2%"]))
    assert "missing evidence PASSED" in text and "absent at 2%" in text


def test_a_missed_target_is_in_the_headline_and_in_its_row() -> None:
    found = result(line("one-10", 250), line("one-30", 300), missed=["one-10 at 2%"])
    text = markdown(found)
    assert "## targets MISSED: 1\n\n- one-10 at 2%\n" in text and verdict(found) in text
    row = next(part for part in text.splitlines() if part.startswith("| the fault one-10"))
    assert "83.3%" in row and "78.6% to 87.4%" in row and "MISSED" in row
    assert f"--cases 300 --seed {SEED}" in text and "effbench 0.1.0" in text
    assert "Every target is met" in markdown(result(line("one-30", 300)))


@pytest.mark.parametrize(("missed", "code"), [([], 0), (["one-10 at 2%"], 3)])
def test_the_command_prints_one_document_and_says_how_it_went(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, missed: list[str], code: int
) -> None:
    asked = []

    def drawn(count: int, seed: int, version: str, tell: object) -> Result:
        asked.append((count, seed))
        return result(line("one-10", 250), missed=missed)

    monkeypatch.setattr(selftest_faults, "everything", drawn)
    done = call("selftest", "faults", "--cases", "7", "--seed", "3", "--json")
    assert done.code == code and done.document["missed"] == missed and asked == [(7, 3)]
    file = tmp_path / "table.md"
    done = call("selftest", "faults", "-o", file)
    assert done.code == code and done.out == "" and file.read_text().startswith("# Faults in simulated nodes")
    assert asked[-1] == (300, SEED)
    assert call("selftest", "faults").out == file.read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["faults", "--cases", "0"], "one case"),
        (["faults", "--seed", "-1"], "--seed"),
        (["truth", "--cases", "3"], "belong to"),
        (["faults", "-o", "no/such/folder/x.md"], "cannot be written"),
    ],
)
def test_bad_input_is_one_sentence(words: list[str], said: str) -> None:
    done = call("selftest", *words)
    assert done.code == 2 and said in done.err and "Traceback" not in done.said


def test_a_few_cases_of_every_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("effbench.faults.result.table", lambda count, seed: table(count, seed, ["no-counters"]))
    monkeypatch.setattr("effbench.faults.page.MEASURED", NODES)
    told: list[str] = []
    found = everything(2, SEED, "0.1.0", told.append)
    assert [(row.cell, row.n) for row in found.rows] == [("no-counters", 2)] * 2
    assert len(told) == len(found.rows) + len(found.curve) + len(found.page)
    assert {one.mark for one in found.marks} == set(MARKS) and {one.row.cell for one in found.marks} == set(MARKED)
    assert {row.spread for row in found.curve} == {0.04, 0.08}
    assert {"fleet-10", "own history-0", "own history-10"} <= {row.cell for row in found.curve}
    half = [row for row in found.page if row.cell == "page-half"]
    assert len(half) == 2 and all(row.target == "met" for row in half)
    by_mark = [one.row.verdicts.get("pass", 0) for one in found.marks if one.row.cell == "one-10"]
    assert by_mark == sorted(by_mark, reverse=True), "a higher mark passes no more of the same cases"
    assert msgspec.json.decode(msgspec.json.encode(found), type=Result) == found
