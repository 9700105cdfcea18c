"""Importing other tools' files, by pytest-benchmark: a small fleet, read, compared and graded."""

from pathlib import Path
from typing import Any

import pytest

from effbench import api
from effbench.grade.verdict import grade
from effbench.importers.records import records
from effbench.model.imported import ImportedRecord
from effbench.score.imported import Fleet, scorecard
from tests.overhead._fleet import write_summary

NODES, FIGURES = 200, 200


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fleet") / "results-summary.jsonl"
    write_summary(path, NODES, FIGURES)
    return path


def taken(path: Path) -> Fleet:
    """Every node of the file, compared with none yet."""
    fleet = Fleet()
    for found in records("superbench", [path]):
        assert isinstance(found, ImportedRecord)
        fleet.add(found)
    return fleet


def test_read_a_fleet(benchmark: Any, file: Path) -> None:
    assert len(benchmark.pedantic(taken, (file,), rounds=3)) == NODES


def test_compare_a_fleet(benchmark: Any, file: Path) -> None:
    fleet = taken(file)
    assert len(benchmark.pedantic(fleet.summary, ("superbench", [], []), rounds=3).nodes) == NODES


def test_grade_an_imported_node(benchmark: Any, file: Path) -> None:
    record, policy = next(iter(records("superbench", [file]))), api.load_policy("node-2026")
    assert isinstance(record, ImportedRecord)
    card = scorecard(record)
    assert benchmark.pedantic(grade, (card, policy), rounds=10).verdict == "not_rated"
