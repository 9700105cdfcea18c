"""The square wave: planned phases, real ones on a CPU, and what it refuses."""

import time
from itertools import pairwise

import msgspec
import pytest

from effbench.kernels import square_wave
from effbench.kernels.square_wave import Params
from effbench.model.error import SiteError
from tests.unit.command_line import FAKE, call
from tests.unit.kernel_devices import cpu, cpu_rig, gpu

BRIEF = {
    "side": 64,
    "dtype": "fp32",
    "slow_cycles": 2,
    "slow_half_s": 0.15,
    "fast_periods_s": (0.1, 0.07),
    "fast_s": 0.5,
}


def test_the_wave_lasts_30_to_60_seconds_and_takes_few_words_to_plan():
    assert 30 <= square_wave.length_s(Params()) <= 60
    planned = list(square_wave.phases(Params(), 7))
    assert planned == list(square_wave.phases(Params(), 7)) != list(square_wave.phases(Params(), 8))
    ends = [p.start_s + p.busy_s for p in planned]
    assert all(end < later.start_s for end, later in zip(ends, planned[1:], strict=False))
    assert ends[-1] < square_wave.length_s(Params()) + 1.0
    assert [p.busy_s for p in planned[:3]] == [2.0] * 3


def test_the_train_at_100_ms_keeps_exact_time_and_the_others_do_not():
    planned = list(square_wave.phases(Params(slow_cycles=1, fast_periods_s=(0.1, 0.07), fast_s=2.0), 1))
    exact = [p for p in planned[1:] if p.start_s < 6.9]
    assert len(exact) in (19, 20) and all(p.busy_s == pytest.approx(0.05) for p in exact)
    jittered = {round(p.busy_s, 6) for p in planned[1 + len(exact) :]}
    assert len(jittered) > 20 and all(0.035 * 0.85 <= busy <= 0.035 * 1.15 for busy in jittered)


def test_the_format_is_the_parts_ordinary_one():
    def chosen(device):
        return square_wave.fit(Params(), device).dtype

    assert (chosen(gpu()), chosen(gpu(capability="7.0")), chosen(gpu(capability="5.0"))) == ("bf16", "fp16", "fp32")
    assert chosen(cpu()) == "fp32" and chosen(cpu("avx512_bf16")) == "bf16"
    assert square_wave.fit(Params(dtype="fp64"), gpu()).dtype == "fp64"
    assert square_wave.work(square_wave.fit(Params(), gpu())).flop == 2 * 4096**3


@pytest.mark.parametrize(
    "wrong", [{"slow_cycles": 0}, {"slow_half_s": -1}, {"fast_periods_s": [0.0]}, {"side": 4}, {"fast_s": "nan"}]
)
def test_a_wave_that_cannot_be_is_refused(wrong):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, Params)
    with pytest.raises(ValueError, match="not fitted"):
        square_wave.work(Params())


def test_a_real_wave_leaves_its_edges_in_the_samples():
    rig = cpu_rig()
    params = Params(**BRIEF)
    step = square_wave.build(params, rig)
    assert step.verify().ok and step.fingerprint() == step.fingerprint()
    began = time.monotonic_ns()
    samples = step.samples(30.0)
    planned = list(square_wave.phases(params, rig.seed))
    assert len(samples) == len(planned) and step.facts()["busy_phases"] == len(planned)
    edges = [(s.t_ns - round(s.host_s * 1e9), s.t_ns) for s in samples]
    assert began <= edges[0][0] and edges[-1][1] <= time.monotonic_ns()
    assert all(a[1] <= b[0] for a, b in pairwise(edges)), "phases never overlap"
    assert all(s.inner_steps >= 1 and s.device_s == s.host_s > 0 for s in samples)
    wanted = [(p.start_s + p.busy_s) for p in planned]
    assert all(end - edges[0][0] + 2e6 >= due * 1e9 for (_, end), due in zip(edges, wanted, strict=True)), "never early"
    assert step.verify().ok and "slow cycles" in step.texts()["wave"]
    step.close()


def test_lack_of_time_cuts_the_wave_and_says_so():
    step = square_wave.build(Params(**BRIEF), cpu_rig())
    samples = step.samples(0.5)
    assert 1 <= len(samples) < 8
    assert "cut off after" in step.texts()["wave"]


def test_a_product_longer_than_the_phases_is_refused():
    step = square_wave.build(Params(**{**BRIEF, "fast_periods_s": (0.002,)}), cpu_rig())
    with pytest.raises(SiteError, match="too long for phases"):
        step.samples(5.0)


def test_a_simulated_device_runs_the_wave_and_no_sensor_is_characterised_by_it(tmp_path):
    done = call("run", "selftest/power", "--fake", FAKE, "-o", tmp_path / "run", "--json")
    keys = [m["key"] for m in done.document["metrics"]]
    assert any(key == "quality.square_wave.time" for key in keys), done.err
    record = (tmp_path / "run" / "record.json").read_text()
    assert "square wave of" not in record and '"basis":"measured"' not in record
