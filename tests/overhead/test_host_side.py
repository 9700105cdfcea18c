"""The host-side work behind every command, by pytest-benchmark: reading, building, scoring, grading, rendering."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from effbench import api, report
from effbench.run import journal
from effbench.run.record import build
from effbench.stats.interval import estimate

RECORDING = sorted((Path(__file__).parents[1] / "recordings").glob("*/journal.jsonl.gz"))[0]


@pytest.fixture(scope="module")
def record() -> Any:
    return api.record_of(RECORDING)


def test_read_a_journal(benchmark: Any) -> None:
    assert benchmark(journal.read, RECORDING).damage == []


def test_build_a_record(benchmark: Any) -> None:
    whole = journal.read(RECORDING)
    assert benchmark(build, whole).outcome == "complete"


def test_score_a_record(benchmark: Any, record: Any) -> None:
    assert benchmark(api.score, record).metrics


def test_grade_a_scorecard(benchmark: Any, record: Any) -> None:
    card, policy = api.score(record), api.load_policy("node-2026")
    assert benchmark(api.grade, card, policy).domains


@pytest.mark.parametrize("name", report.names())
def test_render(benchmark: Any, record: Any, name: str) -> None:
    card = api.score(record)
    verdict = api.grade(card, api.load_policy("node-2026"))
    assert benchmark(api.render, name, card, verdict, record)


def test_estimate_an_interval(benchmark: Any) -> None:
    rng = np.random.default_rng(1)
    rounds = [list(1e-3 * (1 + 0.01 * rng.standard_normal(500))) for _ in range(5)]
    assert benchmark(estimate, rounds, 0.015).low > 0


def test_load_a_suite(benchmark: Any) -> None:
    assert benchmark(api.load_suite, "node/quick").workloads
