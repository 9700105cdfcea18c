"""What only a real GPU can show. Skipped, with the reason, where torch sees none."""

from pathlib import Path

import pytest
import torch

from effbench import api
from effbench.cli.main import invoke

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU on this machine"),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One node/quick of this node."""
    folder = tmp_path_factory.mktemp("gpu") / "run"
    assert invoke(["run", "node/quick", "-o", str(folder)]) in (0, 1, 3, 4)
    return folder


def test_every_planned_trial_ran_with_a_verified_result(run: Path) -> None:
    record = api.record_of(run)
    planned = [m for m in record.measurements if m.status != "skipped"]
    assert [(m.trial, m.detail) for m in planned if m.status not in ("valid", "suspect")] == []
    assert all(m.verify is not None and m.verify.ok for m in planned)


def test_the_part_is_known_and_nothing_beats_its_peak(run: Path) -> None:
    record = api.record_of(run)
    gpus = [a for a in record.inventory_before.accelerators if a.kind == "gpu"]
    assert gpus
    assert all(gpu.part is not None and gpu.sm_count and gpu.llc_bytes for gpu in gpus)
    assert "above-peak" not in {finding.code for finding in api.score(record).findings}


def test_telemetry_saw_clock_and_watts_during_the_trials(run: Path) -> None:
    gemm = next(m for m in api.record_of(run).measurements if m.trial.startswith("gemm:bf16"))
    assert gemm.clock_hz is not None
    assert gemm.power_w is not None
    assert gemm.power_w.mean > 0


def test_the_run_kept_its_budget_and_used_it(run: Path) -> None:
    record = api.record_of(run)
    assert record.wall_s <= record.plan.budget_s
    assert record.outcome == "complete"


def test_a_replay_of_the_journal_is_the_record(run: Path) -> None:
    assert api.encode(api.replay(run)) == (run / "record.json").read_bytes()
