"""The truth must be true: mean, spread, correlation and the offset between rounds are as the parameters say."""

import statistics
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from effbench.kernels import known_truth
from effbench.kernels.virtual import VirtualRig
from effbench.model.error import SiteError
from tests.unit.kernel_devices import cpu

FAKE = msgspec.structs.replace(cpu(), simulated=True, torch_device="fake")


def times(params, round_number=0, n=20_000, seed=3):
    rig = VirtualRig(FAKE, seed, round_number, real_share=0.0)
    step = known_truth.build(params, rig)
    return [rig.time(step.run, i, 1).device_s for i in range(n)]


def test_mean_and_spread_are_the_true_ones():
    taken = times(known_truth.Params(mean_s=0.003, spread=0.04, rho=0.0, round_spread=0.0))
    assert statistics.fmean(taken) == pytest.approx(0.003, rel=0.001)
    assert statistics.stdev(taken) / 0.003 == pytest.approx(0.04, rel=0.03)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_neighbours_correlate_as_asked(rho):
    taken = times(known_truth.Params(rho=rho, round_spread=0.0))
    assert statistics.correlation(taken[:-1], taken[1:]) == pytest.approx(rho, abs=0.03)


def test_rounds_differ_by_their_own_spread_around_the_true_mean():
    params = known_truth.Params(spread=0.0, round_spread=0.03)
    medians = [times(params, round_number, n=3)[1] for round_number in range(400)]
    assert statistics.fmean(medians) == pytest.approx(params.mean_s, rel=0.005)
    assert statistics.stdev(medians) / params.mean_s == pytest.approx(0.03, rel=0.12)


def test_the_same_seed_and_round_repeat_and_others_do_not():
    params = known_truth.Params()
    assert times(params, 1, 50) == times(params, 1, 50)
    assert times(params, 1, 50) != times(params, 2, 50)
    assert times(params, 1, 50) != times(params, 1, 50, seed=4)


def test_real_time_is_waited_on_the_host_clock():
    import time

    step = known_truth.build(known_truth.Params(mean_s=0.002, real=True), VirtualRig(FAKE, 0))
    start = time.perf_counter()
    step.run(0)
    assert time.perf_counter() - start >= 0.002
    assert step.verify().ok
    assert step.fingerprint() is None
    assert step.facts() == {"true_mean_s": 0.002}


def test_simulated_time_on_a_real_device_is_refused_in_one_sentence():
    class Real:
        seed = 0

    with pytest.raises(SiteError, match="real: true"):
        known_truth.build(known_truth.Params(), Real())
    assert "simulated device" in known_truth.support(known_truth.Params(), cpu()).skip
    assert known_truth.support(known_truth.Params(real=True), cpu()).skip is None
    assert known_truth.support(known_truth.Params(), FAKE).skip is None


def test_a_simulated_run_imports_neither_torch_nor_numpy():
    code = (
        "import sys\n"
        "from effbench import kernels\n"
        "from effbench.kernels.virtual import VirtualRig, fake_step\n"
        "from tests.unit.kernel_devices import cpu\n"
        "k = kernels.load('known_truth')\n"
        "rig = VirtualRig(cpu(), 1)\n"
        "step = k.build(k.Params(), rig)\n"
        "rig.time(step.run, 0, 10), step.verify()\n"
        "print(sorted({'torch', 'numpy', 'yaml'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


@pytest.mark.parametrize("wrong", [{"mean_s": 0}, {"rho": 1.0}, {"spread": -0.1}, {"mean_s": float("nan")}, {"x": 1}])
def test_wrong_parameters_are_refused(wrong):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, known_truth.Params)
