"""Teams on links whose speed and delay are known: what the kernels report must be what was set up."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system import truth
from tests.system.sandboxes import Sandbox, need

RATE = 1e9


@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_busbw_is_the_links_rate_at_any_number_of_ranks(
    ranks: int, links: Callable[..., Sandbox], tmp_path: Path
) -> None:
    sandbox = links(ranks, "--rate", "1gbit")
    tasks = [truth.collective("all_reduce", 4 << 20, 5, 5), truth.collective("all_reduce", truth.BUS_BYTES, 5, 2)]
    low, high = truth.BUS_SHARE
    for result in truth.run_team(sandbox, ranks, tasks, tmp_path):
        assert low <= truth.busbw(result) / RATE <= high, result["times_s"]


def test_the_bad_link_is_named_and_a_good_network_blames_nobody(links: Callable[..., Sandbox], tmp_path: Path) -> None:
    sandbox = links(4, "--rate", "1gbit")
    (healthy,) = truth.run_team(sandbox, 4, [truth.pair_sweep()], tmp_path)
    assert truth.named_by_pairs(healthy) == ""
    sandbox.must("shape", 3, truth.QUARTER)
    swept = truth.run_team(sandbox, 4, [truth.pair_sweep()] * 3, tmp_path)
    assert [truth.named_by_pairs(one) for one in swept] == ["r2"] * 3
    for one in swept:
        assert 0.2 <= one["facts"]["slowest_to_median"] <= 0.75


def test_the_rank_with_more_work_is_the_one_that_waits_least(links: Callable[..., Sandbox], tmp_path: Path) -> None:
    sandbox = links(4, "--rate", "1gbit")
    tasks = [truth.waiting_step(0.1, truth.WEAK_BYTES, 5, 1.5, slow) for slow in (0, 1, 2, 3)]
    results = truth.run_team(sandbox, 4, tasks, tmp_path)
    assert [truth.named_by_waiting(one) for one in results] == [0, 1, 2, 3]
    for slow, one in enumerate(results):
        busy = [rank["busy_s"] for rank in one["ranks"]]
        assert busy[slow] == pytest.approx(0.15, rel=0.02)
        assert sorted(busy)[:3] == pytest.approx([0.1] * 3, rel=0.02)


def test_the_weak_scaling_curve_is_the_one_that_the_link_allows(links: Callable[..., Sandbox], tmp_path: Path) -> None:
    sandbox = links(4, "--rate", truth.WEAK_RATE)
    step = [truth.waiting_step(truth.WEAK_STEP_S, truth.WEAK_BYTES, 7)]
    # The fastest of the steps: other work on this machine only adds to one.
    times = {n: min(truth.run_team(sandbox, n, step, tmp_path)[0]["times_s"]) for n in (1, 2, 3, 4)}
    for ranks in (2, 3, 4):
        assert times[1] / times[ranks] == pytest.approx(truth.WEAK_EFFICIENCY[ranks], rel=0.02), times


def test_an_added_delay_comes_back_as_the_fitted_latency(links: Callable[..., Sandbox], tmp_path: Path) -> None:
    need("ip")
    delays_s, fitted = (1e-3, 4e-3), []
    for delay_s in delays_s:
        sandbox = links(3, "--rate", "1gbit", "--delay", f"{delay_s * 1e3:g}ms")
        sweeps = {n: truth.run_team(sandbox, n, truth.latency_tasks(), tmp_path) for n in (2, 3)}
        fitted.append(truth.fitted_latency_s(sweeps))
        sandbox.must("down")
    added_s = delays_s[1] - delays_s[0]
    assert (fitted[1] - fitted[0]) / truth.CROSSINGS_PER_STEP == pytest.approx(added_s, rel=0.15), fitted
