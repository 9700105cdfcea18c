"""The data loader: the same bits from any number of workers, stalls as measured, and workers that die."""

import os
import signal
from typing import Any

import pytest

from effbench.kernels import dataloader
from effbench.model.error import SiteError
from tests.unit.kernel_devices import cpu, cpu_rig

torch = pytest.importorskip("torch")


def built(workers: int, **params: Any) -> Any:
    return dataloader.build(dataloader.Params(workers=workers, batch=4, **params), cpu_rig())


def delivered(workers: int, batches: int) -> Any:
    step = built(workers)
    source = step._batches()
    found = torch.cat([next(source) for _ in range(batches)])
    source.close()
    step.close()
    return found


def test_every_count_of_workers_delivers_the_same_bits_in_the_same_order() -> None:
    alone = delivered(0, 3)
    assert alone.shape == (12, 3, 224, 224) and alone.dtype == torch.float32
    assert torch.equal(alone, delivered(0, 3)) and torch.equal(alone, delivered(2, 3))
    assert len({sample.double().sum().item() for sample in alone}) == 12, "samples repeat"
    assert not torch.equal(dataloader.Images(1, 9)[3], dataloader.Images(2, 9)[3])


@pytest.mark.parametrize("workers", [0, 2])
def test_both_passes_are_measured_and_the_stall_is_made_of_them(workers: int) -> None:
    step = built(workers, step_s=0.002)
    assert "stall_fraction" not in step.facts(), "a figure before anything was measured"
    samples = step.samples(0.1)
    assert len(samples) >= dataloader.GROUPS_MIN
    assert {sample.inner_steps for sample in samples} == {max(1, 2 * workers)}
    facts = step.facts()
    assert facts["stall_fraction"] == facts["waited_s"] / (facts["waited_s"] + facts["worked_s"])
    assert 0 < facts["stall_fraction"] < 1 and facts["worked_s"] >= 0.002 * dataloader.GROUPS_MIN
    assert step.verify().ok and step.fingerprint() is None
    step.close()


def test_waiting_and_working_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock of our own: 3 s for each batch, 1 s of step after it."""
    now = [0.0]

    def pass_by(seconds: float) -> None:
        now[0] += seconds

    def batches() -> Any:
        while True:
            pass_by(3.0)
            yield torch.zeros(1)

    monkeypatch.setattr(dataloader.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(dataloader.time, "sleep", pass_by)
    step = built(0, step_s=1.0)
    monkeypatch.setattr(step, "_batches", batches)
    assert [sample.device_s for sample in step.samples(60.0)] == [3.0] * 4
    assert step.facts()["stall_fraction"] == 0.75
    step.close()


class Tainted(dataloader.Images):
    """Differs in a worker from what it is here; with a signal, the worker dies instead."""

    home, kill = os.getpid(), False

    def __getitem__(self, i: int) -> Any:
        if os.getpid() != self.home:
            if self.kill:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().__getitem__(i + 1)
        return super().__getitem__(i)


def test_samples_that_come_wrong_out_of_a_worker_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    step = built(1)
    step._images = Tainted(step._rig.seed, 1000)
    verdict = step.verify()
    assert not verdict.ok and "2 of 2 batches differ" in verdict.detail
    monkeypatch.setattr(Tainted, "kill", True)
    with pytest.raises(SiteError, match=r"data loader with 1 workers: .*/dev/shm"):
        step.samples(0.1)
    step.close()


def test_more_workers_than_cores_do_not_apply_and_a_plain_procedure_is_refused() -> None:
    assert dataloader.support(dataloader.Params(workers=1), cpu()).skip is None
    assert dataloader.support(dataloader.Params(workers=2), cpu()).skip == (
        "not applicable: 2 workers on 1 usable cores"
    )
    before = torch.get_num_threads()
    step = built(0)
    with pytest.raises(SiteError, match="mode: once"):
        step.run(0)
    step.close()
    assert torch.get_num_threads() == before
