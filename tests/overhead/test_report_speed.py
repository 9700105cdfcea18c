"""From a stored record to the reports, in a fresh process, imports included: what a person waits for."""

import subprocess
import sys
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from effbench.store import documents
from tests.factory import gpu_node

ROOT = Path(__file__).parents[2]
CHILD = """
import sys
from pathlib import Path
from effbench import api, report
from effbench.model.record import Record
from effbench.store import documents
record = documents.read(Path(sys.argv[1]), Record)
card = api.score(record)
verdict = api.grade(card, api.load_policy("node-2026"))
for name in sys.argv[2].split(","):
    assert report.load(name).render(card, verdict, record)
"""


@pytest.mark.parametrize(
    ("formats", "budget_s"),
    [("terminal,json,markdown", 1.0), ("terminal,json,markdown,html,junit,prometheus", 4.0)],
)
def test_from_record_to_reports(benchmark: BenchmarkFixture, tmp_path: Path, formats: str, budget_s: float) -> None:
    record = gpu_node().record
    assert record is not None
    file = tmp_path / "record.json"
    documents.write(file, documents.encode(record))
    words = [sys.executable, "-c", CHILD, str(file), formats]
    benchmark.pedantic(lambda: subprocess.run(words, cwd=ROOT, check=True), rounds=5, warmup_rounds=1)
    assert benchmark.stats.stats.median < budget_s
