"""The rigs: clocks, threads, buffers and flushes of a real device; time, noise and faults of a simulated one."""

import json
import math
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from effbench.kernels import inputs, probe, rig, stream, virtual
from effbench.kernels.buffers import LLC_ASSUMED_BYTES, SETS_MAX, sets_needed
from effbench.kernels.virtual import VirtualRig, fake_step
from effbench.model.error import SiteError
from effbench.model.inventory import Part
from effbench.model.plan import Output, Work
from tests.unit.kernel_devices import SEED, cpu, cpu_rig, gpu
from tests.unit.kernel_fakes import FAKE, step_of, trial_of

torch = pytest.importorskip("torch")

ROOT = Path(__file__).parents[2]


@given(st.integers(1, 1 << 34), st.integers(0, 1 << 31), st.one_of(st.none(), st.integers(0, 1 << 40)))
def test_sets_span_twice_the_cache_unless_memory_or_number_forbids(size, llc, free):
    sets = sets_needed(size, llc, free)
    assert 1 <= sets <= SETS_MAX
    if free is None:
        assert sets >= 2
        assert sets * size >= 2 * (llc or LLC_ASSUMED_BYTES) or sets == SETS_MAX
    else:
        assert sets == 1 or sets * size <= free / 2


def test_sets_of_known_cases():
    assert sets_needed(48 << 20, 32 << 20) == 2
    assert sets_needed(1 << 20, 32 << 20) == 64
    assert sets_needed(100 << 20, 0) == 3
    assert sets_needed(1 << 30, 50 << 20, free_bytes=3 << 30) == 1


@pytest.mark.parametrize(
    ("llc", "free", "expected"),
    [
        (50 << 20, 100 << 30, 256 << 20),
        (256 << 20, 100 << 30, 512 << 20),
        (32 << 20, 1 << 30, 128 << 20),
        (0, 0, 1 << 20),
    ],
)
def test_a_flush_overwrites_256_mib_or_twice_the_cache(llc, free, expected):
    assert rig.flush_bytes(llc, free) == expected


def test_a_cpu_is_timed_by_the_host_clock_and_its_held_clock_is_probed_after():
    real = cpu_rig()
    assert real.clock_hz() is None
    ran = []

    def run(i):
        ran.append(i)
        time.sleep(0.002)

    timing = real.time(run, 4, 3)
    assert ran == [4, 5, 6]
    assert timing.device_s == timing.host_s >= 0.006
    real._probe = lambda: 3.5e9
    real.time(run, 0, 1)
    assert real.clock_hz() == 3.5e9


def test_threads_are_the_whole_cores_that_are_ours():
    facts = cpu().cpu
    for cores, threads in [(0.5, 1), (1.0, 1), (2.9, 2)]:
        accelerator = msgspec.structs.replace(cpu(), cpu=msgspec.structs.replace(facts, cores_usable=cores))
        assert rig.threads_for(accelerator) == threads
    before = torch.get_num_threads()
    cpu_rig()
    assert torch.get_num_threads() == 1
    torch.set_num_threads(before)


def test_the_flush_buffer_is_kept_and_memory_figures_are_plausible(monkeypatch):
    real = cpu_rig()
    monkeypatch.setattr(rig, "flush_bytes", lambda llc, free: 1 << 20)
    real.flush()
    kept = real._flushed
    real.flush()
    assert real._flushed is kept
    assert 1 << 20 < real.free_bytes() < 1 << 50
    assert real.peak_bytes() > 50 << 20
    real.reset_peak()
    real.synchronize()
    assert real.monotonic() <= real.monotonic()
    assert {"torch", "threads", "onednn"} <= set(real.context_texts())


def test_a_gpu_that_torch_cannot_use_is_one_sentence():
    if torch.cuda.is_available():
        pytest.skip("this torch can use a GPU")
    with pytest.raises(SiteError, match="cannot use gpu0"):
        rig.TorchRig(gpu(), 1)


@pytest.fixture
def cuda_log(monkeypatch):
    """A `torch.cuda` that writes down what the rig asks of it; every event pair is 2.5 ms apart."""
    log = []

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing
            self.name = f"event{sum(entry.startswith('new') for entry in log)}"
            log.append(f"new {self.name}")

        def record(self):
            log.append(f"record {self.name}")

        def synchronize(self):
            log.append(f"wait {self.name}")

        def elapsed_time(self, other):
            return 2.5

    answers = {
        "is_available": True,
        "set_device": None,
        "mem_get_info": (100 << 30, 139 << 30),
        "max_memory_allocated": 5 << 30,
        "reset_peak_memory_stats": None,
        "get_device_name": "NVIDIA H200",
    }
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda *_: log.append("synchronize"))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: log.append("empty cache"))
    for name, answer in answers.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, answer=answer: answer)
    return log


def test_a_gpu_batch_lies_between_two_events_on_an_idle_device(cuda_log):
    real = rig.TorchRig(gpu(), 1)
    del cuda_log[:]
    timing = real.time(lambda i: cuda_log.append(f"run {i}"), 7, 2)
    assert cuda_log == ["synchronize", "record event0", "run 7", "run 8", "record event1", "wait event1"]
    assert timing.device_s == 0.0025
    assert timing.host_s > 0
    assert real.clock_hz() is None


def test_gpu_memory_counts_what_torch_gives_back(cuda_log):
    real = rig.TorchRig(gpu(), 1)
    assert real.free_bytes() == 100 << 30
    assert "empty cache" in cuda_log
    assert real.peak_bytes() == 5 << 30
    real.reset_peak()
    texts = real.context_texts()
    assert texts["device_name"] == "NVIDIA H200"
    assert "threads" not in texts


def test_a_gpu_that_will_not_open_is_one_sentence(cuda_log, monkeypatch):
    def refuse(*_):
        raise RuntimeError("CUDA error: device busy\nmore")

    monkeypatch.setattr(torch.cuda, "set_device", refuse)
    with pytest.raises(SiteError, match=r"device busy$"):
        rig.TorchRig(gpu(), 1)


def test_a_missing_torch_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(SiteError, match="install it"):
        rig.TorchRig(cpu(), 1)
    assert "install it" in probe.view()["error"]


@pytest.mark.parametrize(("tf32", "word"), [(True, "high"), (False, "highest")])
def test_tf32_is_decided_explicitly(tf32, word):
    before = torch.get_float32_matmul_precision()
    try:
        assert inputs.fp32_products(tf32) == f"float32_matmul_precision={word}"
        assert f"float32_matmul_precision={word}" in inputs.matmul_flags()
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("dtype", ["fp64", "fp32", "tf32", "bf16", "fp16", "fp8", "int8"])
def test_inputs_are_seeded_normal_and_within_range(dtype):
    first, again, other = (inputs.tensor((200, 100), dtype, "cpu", seed).double() for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert bool(torch.isfinite(first).all())
    if dtype == "fp8":
        assert float(first.abs().max()) == inputs.FP8_MAX
        assert int((first.abs() == inputs.FP8_MAX).sum()) < 5
    elif dtype == "int8":
        assert (float(first.min()), float(first.max())) == (-128.0, 127.0)
    else:
        assert float(first.std()) == pytest.approx(1.0, abs=0.03)
        assert float(first.mean()) == pytest.approx(0.0, abs=0.03)
    assert "seed 1" in inputs.distribution(dtype, 1)


def test_the_probe_answers_one_line_of_json():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "effbench.kernels.probe"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    view = json.loads(done.stdout)
    assert done.stdout.count("\n") == 1
    assert view["torch"] == str(torch.__version__)
    assert view["devices"] or view["cuda_absent"]


def test_the_probe_joins_devices_as_nvml_writes_them(monkeypatch):
    class Properties:
        name, major, minor, multi_processor_count, L2_cache_size = "NVIDIA H200", 9, 0, 132, 50 << 20
        uuid, pci_domain_id, pci_bus_id, pci_device_id = "5d0e0c7e-0000", 0, 0x1A, 0

    class Cuda:
        get_device_properties = staticmethod(lambda i: Properties)
        mem_get_info = staticmethod(lambda i: (130 << 30, 139 << 30))

    facts = probe._device(type("Torch", (), {"cuda": Cuda}), 0)
    assert facts["uuid"] == "GPU-5d0e0c7e-0000"
    assert facts["pci_bus_id"] == "00000000:1A:00.0"
    assert (facts["sm_count"], facts["compute_capability"], facts["llc_bytes"]) == (132, "9.0", 50 << 20)


# The simulated rig.


@pytest.mark.parametrize(
    ("work", "outputs", "seconds"),
    [
        ({"flop": 1e12}, [Output("a.flops", "flop", "bf16")], 1e12 / (1e15 * virtual.COMPUTE_SHARE)),
        ({"flop": 1e12}, [Output("a.flops", "flop", "fp64")], 1e12 / (6e13 * virtual.COMPUTE_SHARE)),
        ({"memory_bytes": 4e9}, [Output("a.bandwidth", "memory_bytes", "bandwidth")], 1e-3 / virtual.MEMORY_SHARE),
        ({"link_bytes": 55e9}, [Output("a.bandwidth", "link_bytes")], 1.0),
        ({}, [Output("a.latency", "time")], virtual.LAUNCH_S),
    ],
)
def test_simulated_durations_come_from_the_slowest_resource(work, outputs, seconds):
    assert virtual.duration_s(Work(**work), outputs, FAKE) == pytest.approx(seconds)


def test_a_simulated_cpu_goes_by_cores_clock_and_flop_per_clock():
    part = Part("c", "c", "high", "s", "2026-01-01", "0", flops_per_clock={"fp32": 32}, clock_hz=2e9)
    device = msgspec.structs.replace(cpu(), part=part)
    seconds = virtual.duration_s(Work(flop=64e9), [Output("a.flops", "flop", "fp32")], device)
    assert seconds == pytest.approx(1.0 / virtual.COMPUTE_SHARE)
    assert VirtualRig(device, 0).clock_hz() == 2e9
    assert VirtualRig(FAKE, 0).clock_hz() is None


def test_only_spending_moves_the_clock_and_a_little_of_it_really_passes():
    simulated = VirtualRig(FAKE, 0)
    before = simulated.monotonic()
    assert simulated.time(lambda i: None, 0, 5).device_s == 0.0
    start = time.monotonic()
    assert simulated.time(lambda i: simulated.spend(0.5), 0, 4).device_s == 2.0
    assert 0.02 <= time.monotonic() - start < 1.0
    simulated.flush()
    assert simulated.monotonic() - before > 2.0


def test_own_passes_yield_samples():
    _, step = step_of()
    samples = step.samples(10.0)
    assert len(samples) == virtual.PASS_SAMPLES
    assert all(sample.device_s > 0 for sample in samples)


def test_slow_and_noise_change_the_times():
    plain, slow = (rig_.time(step.run, 0, 50).device_s for rig_, step in (step_of(), step_of(faults={"slow": 2.0})))
    assert slow / plain == pytest.approx(2.0, rel=0.02)


def test_wrong_results_flipped_bits_errors_and_nan():
    assert not step_of(faults={"wrong": True})[1].verify().ok
    _, step = step_of(faults={"flip_after": 2})
    assert step.fingerprint() == step.fingerprint() != step.fingerprint()
    simulated, step = step_of(faults={"nan_after": 1})
    assert math.isfinite(simulated.time(step.run, 0, 1).device_s)
    assert math.isnan(simulated.time(step.run, 1, 1).device_s)
    assert math.isfinite(simulated.monotonic())
    simulated, step = step_of(faults={"error_after": 0})
    with pytest.raises(RuntimeError, match="illegal memory access"):
        simulated.time(step.run, 0, 1)
    with pytest.raises(RuntimeError, match="no such luck"):
        step_of(faults={"refuse": "no such luck"})
    with pytest.raises(msgspec.ValidationError):
        step_of(faults={"explode": 1})


def test_reported_figures_are_there_and_memory_errors_can_be_asked_for():
    outputs = [Output("health.memory_errors", "fact:memory_errors"), Output("m.verified_bytes", "fact:verified_bytes")]
    _, step = step_of(trial_of(outputs=tuple(outputs)), {"memory_errors": 3})
    assert step.facts() == {"memory_errors": 3.0, "verified_bytes": FAKE.memory_bytes // 4}


@pytest.mark.parametrize(("fault", "outcome"), [("crash_after", -9), ("hang_after", None)])
def test_a_simulated_step_can_die_or_hang(fault, outcome):
    code = (
        "from tests.unit.kernel_fakes import step_of\n"
        f"simulated, step = step_of(faults={{{fault!r}: 2}})\n"
        "simulated.time(step.run, 0, 2)\n"
        "print('alive', flush=True)\n"
        "simulated.time(step.run, 2, 1)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout.readline() == "alive\n"
            if outcome is None:
                with pytest.raises(subprocess.TimeoutExpired):
                    child.wait(timeout=0.5)
            else:
                assert child.wait(timeout=60) == outcome
        finally:
            child.kill()


def test_kernels_that_simulate_time_build_their_own_step():
    from effbench.kernels import known_truth

    simulated = VirtualRig(FAKE, SEED, 0, real_share=0.0)
    params = known_truth.Params(mean_s=0.25, spread=0.0, round_spread=0.0)
    step = fake_step(known_truth, params, trial_of("known_truth"), simulated, 0, {})
    assert simulated.time(step.run, 0, 4).device_s == pytest.approx(1.0)


def test_a_stream_on_a_simulated_gpu_reaches_its_share_of_the_bandwidth():
    params = stream.fit(stream.Params(), FAKE)
    work = stream.work(params)
    simulated = VirtualRig(FAKE, SEED, 0, real_share=0.0)
    trial = trial_of("stream", tuple(stream.outputs(params)), memory_bytes=work.memory_bytes)
    timing = simulated.time(fake_step(stream, params, trial, simulated, 0, {}).run, 0, 100)
    assert 100 * work.memory_bytes / timing.device_s == pytest.approx(4e12 * virtual.MEMORY_SHARE, rel=0.03)
