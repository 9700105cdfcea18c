"""Matrix products: counts, the ladder, what a device supports, and every format for real at tiny sizes."""

import msgspec
import pytest

from effbench.kernels import dtypes, gemm, gemm_achievable, isa
from effbench.model.error import SiteError
from effbench.model.inventory import Part
from tests.unit.kernel_devices import cpu, cpu_rig, gpu

torch = pytest.importorskip("torch")

ZEN4 = ("avx512_bf16", "avx512_vnni")
FORMATS = ["fp64", "fp32", "bf16", "fp16", "fp8", "int8"]


def tiny(dtype, m=64, n=48, k=80, **more):
    return gemm.Params(dtype=dtype, m=m, n=n, k=k, **more)


def test_work_counts_two_flop_per_product_and_every_matrix_once():
    work = gemm.work(gemm.Params(dtype="fp8", m=3, n=5, k=7))
    assert work.flop == work.hardware_flop == 2 * 3 * 5 * 7
    assert work.memory_bytes == 3 * 7 + 7 * 5 + 2 * 3 * 5


@pytest.mark.parametrize("dtype", ["fp64", "fp32", "bf16"])
def test_flop_agree_with_torch(dtype):
    from torch.utils.flop_counter import FlopCounterMode

    step = gemm.build(tiny(dtype), cpu_rig())
    with FlopCounterMode(display=False) as counter:
        step.run(0)
    assert counter.get_total_flops() == gemm.work(tiny(dtype)).flop


@pytest.mark.parametrize("dtype", FORMATS)
def test_every_format_runs_is_right_and_repeats_its_bits(dtype):
    rig = cpu_rig()
    step = gemm.build(tiny(dtype), rig)
    verdict = step.verify()
    assert verdict.ok, verdict
    assert step.fingerprint() == step.fingerprint()
    assert rig.time(step.run, 0, 5).device_s > 0
    assert step.verify() == verdict
    assert step.facts()["buffer_sets"] >= 2
    texts = step.texts()
    assert texts["isa"]
    assert "seed" in texts["inputs"]
    step.close()


def test_bf16_names_the_instruction_set_where_onednn_reports_it():
    texts = gemm.build(tiny("bf16", 128, 128, 128), cpu_rig()).texts()
    assert texts["isa"].startswith(("oneDNN", "oneMKL", "unknown"))


def test_a_wrong_product_is_seen():
    step = gemm.build(tiny("fp32"), cpu_rig())
    right = step._multiply
    step._multiply = lambda a, b, c: (right(a, b, c), c[7, 9].mul_(-1.5))
    assert not step.verify().ok


def test_a_product_that_is_never_written_is_seen():
    step = gemm.build(tiny("bf16"), cpu_rig())
    step._multiply = lambda a, b, c: None
    assert "never written" in step.verify().detail


def test_sets_hold_equal_values_at_different_addresses():
    step = gemm.build(tiny("fp32"), cpu_rig(llc_bytes=1 << 18))
    assert len(step._sets) > 4
    assert len({entry[0].data_ptr() for entry in step._sets}) == len(step._sets)
    assert torch.equal(step._sets[0][0], step._sets[2][0])


@pytest.mark.parametrize(
    ("accelerator", "dtype", "side"),
    [
        (gpu(), "bf16", 8192),
        (gpu(), "fp64", 4096),
        (cpu(*ZEN4), "fp32", 2048),
        (cpu(*ZEN4), "bf16", 2048),
        (cpu(*ZEN4), "fp16", 256),
        (cpu("avx2"), "bf16", 256),
        (cpu(*ZEN4), "fp8", 256),
    ],
)
def test_the_ladder_goes_by_device_class_and_hardware(accelerator, dtype, side):
    params = gemm.fit(gemm.Params(dtype=dtype), accelerator)
    assert (params.m, params.n, params.k) == (side, side, side)
    assert gemm.fit(gemm.Params(dtype=dtype, n=17), accelerator) == msgspec.structs.replace(params, n=17)


@pytest.mark.parametrize(
    ("accelerator", "dtype", "skip", "emulated"),
    [
        (cpu(*ZEN4), "tf32", "a CPU has no tf32", False),
        (cpu(*ZEN4), "fp64", None, False),
        (cpu(*ZEN4), "bf16", None, False),
        (cpu("avx2"), "bf16", None, True),
        (cpu("amx_bf16"), "bf16", None, False),
        (cpu(*ZEN4), "fp16", None, True),
        (cpu("avx512_fp16"), "fp16", None, False),
        (cpu("avx2"), "int8", None, True),
        (cpu("asimddp", "asimdhp", "bf16"), "int8", None, False),
        (gpu(), "fp8", None, False),
        (gpu(capability="8.6"), "fp8", "needs compute capability 8.9", False),
        (gpu(capability="8.0"), "bf16", None, False),
        (gpu(capability="7.5"), "bf16", "needs compute capability 8.0", False),
        (gpu(capability="7.5"), "int8", None, False),
        (gpu(capability="7.0"), "tf32", "needs compute capability 8.0", False),
        (gpu(capability=""), "fp8", None, False),
    ],
)
def test_support_goes_by_flags_and_compute_capability(accelerator, dtype, skip, emulated):
    found = dtypes.support(dtype, accelerator)
    assert found.emulated == emulated
    assert (found.skip is None) if skip is None else (skip in found.skip)


def test_the_catalogue_row_decides_what_is_emulated_where_it_is_known():
    part = Part("x", "x", "high", "s", "2026-01-01", "0", emulated=["fp16"])
    known = msgspec.structs.replace(cpu(), part=part)
    assert dtypes.support("fp16", known).emulated
    assert not dtypes.support("bf16", known).emulated
    assert dtypes.half_or_single(known) == "bf16"
    assert dtypes.half_or_single(cpu()) == "fp32"


def test_large_shapes_of_an_emulated_format_are_not_run():
    params = gemm.Params(dtype="fp16", m=4096, n=4096, k=4096)
    assert "emulated here" in gemm.support(params, cpu(*ZEN4)).skip
    assert gemm.support(params, gpu()).skip is None


def test_a_gpu_takes_eight_bit_shapes_in_multiples_of_sixteen_only():
    assert "multiples of 16" in gemm.support(gemm.Params(dtype="fp8", m=100, n=64, k=64), gpu()).skip
    assert "m above 16" in gemm.support(gemm.Params(dtype="int8", m=16, n=64, k=64), gpu()).skip
    assert gemm.support(gemm.Params(dtype="bf16", m=100, n=63, k=65), gpu()).skip is None


def test_what_does_not_fit_is_not_applicable():
    params = gemm.Params(dtype="fp32", m=65536, n=65536, k=65536)
    assert "memory" in gemm.support(params, gpu()).skip


@pytest.mark.parametrize(
    "wrong", [{"dtype": "fp4"}, {"m": 0}, {"m": -5}, {"variant": "no_fast_accum"}, {"dtype": "fp8", "variant": "x"}]
)
def test_wrong_parameters_are_refused(wrong):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, gemm.Params)


def test_outputs_name_the_shape_the_variant_and_the_headline():
    output = gemm.outputs(tiny("fp8", variant="no_fast_accum"))[0]
    assert output.key == "compute.gemm.fp8.no_fast_accum.m64n48k80.flops"
    assert output.headline == "compute.gemm.fp8.no_fast_accum.flops"
    assert (output.of, output.peak, output.fractions) == ("flop", "fp8", True)


def test_too_little_memory_and_a_refusing_torch_are_one_sentence(monkeypatch):
    rig = cpu_rig()
    monkeypatch.setattr(rig, "free_bytes", lambda: 1000)
    with pytest.raises(SiteError, match="1000 are free"):
        gemm.build(tiny("fp32"), rig)

    def refuse(*args, **kwargs):
        raise RuntimeError('"addmm_impl_cpu_" not implemented\nlong traceback')

    monkeypatch.setattr(torch, "_scaled_mm", refuse)
    with pytest.raises(SiteError) as caught:
        gemm.build(tiny("fp8"), cpu_rig())
    assert "cannot multiply fp8" in str(caught.value)
    assert "traceback" not in str(caught.value)


def test_verbose_lines_are_read():
    lines = (
        "onednn_verbose,v1,info,cpu,isa:Intel AVX-512\n"
        "onednn_verbose,v1,primitive,exec,cpu,matmul,brg_matmul:avx512_core_bf16,undef,src:bf16,,256x256:256x256,0.1\n"
        "onednn_verbose,v1,primitive,exec,cpu,matmul,brg_matmul:avx512_core_bf16,undef,src:bf16,,256x256:256x256,0.1\n"
        "MKL_VERBOSE oneMKL 2024.0 Update 2 Product build\n"
        "MKL_VERBOSE SGEMM(N,N,256,256) 1.38ms\n"
    )
    assert isa.parse(lines) == "oneDNN matmul brg_matmul:avx512_core_bf16 + oneMKL SGEMM"
    assert isa.parse("onednn_verbose,v1,primitive,exec,cpu,gemm_api,,undef,src_s8\n") == "oneDNN gemm_api"
    assert isa.parse("onednn_verbose,v1,primitive,exec,gpu,matmul,x\nfoo\n").startswith("unknown")
    assert isa.parse("").startswith("unknown")


def test_an_old_verbose_form_without_the_word_primitive_is_read():
    assert isa.parse("onednn_verbose,exec,cpu,matmul,gemm:jit:avx2,undef") == "oneDNN matmul gemm:jit:avx2"


def test_the_capture_gives_stdout_back(capfd):
    import os

    isa.what_ran(lambda: os.write(1, b"swallowed"))
    os.write(1, b"seen")
    assert capfd.readouterr().out == "seen"


def test_achievable_declares_its_grid_and_a_tenth_of_it():
    params = gemm_achievable.fit(gemm_achievable.Params(), gpu())
    sides = gemm_achievable.axis(params)
    assert (sides[0], sides[-1], len(sides)) == (1024, 16384, 16)
    assert params.evaluations_max == 409
    on_cpu = gemm_achievable.fit(gemm_achievable.Params(dtype="fp32"), cpu())
    assert gemm_achievable.axis(on_cpu) == [256 * i for i in range(1, 9)]
    assert gemm_achievable.work(on_cpu).flop == 1e9
    assert (
        "emulated"
        in gemm_achievable.support(gemm_achievable.Params(dtype="fp16", grid_step=8, grid_count=2), cpu()).skip
    )


def test_achievable_measures_its_winner_in_steps_of_a_gigaflop():
    pytest.importorskip("effbench.stats.search")
    rig = cpu_rig()
    rig.flush = lambda: None
    params = gemm_achievable.Params(dtype="fp32", grid_step=64, grid_count=4, evaluations_max=20)
    step = gemm_achievable.build(params, rig)
    assert step.verify().ok
    samples = step.samples(20.0)
    facts = step.facts()
    assert step.verify().ok
    assert step.texts()["search"] == "complete"
    assert len(samples) == gemm_achievable.WINNER_SAMPLES_MAX
    assert 0 < facts["evaluations"] <= 20
    assert {facts["best_m"], facts["best_n"], facts["best_k"]} <= {64.0, 128.0, 192.0, 256.0}
    assert all(sample.inner_steps == 1 for sample in samples)
    step.close()


def test_achievable_scales_times_to_whole_gigaflop(monkeypatch):
    from effbench.kernels.contract import Timing

    rig = cpu_rig()
    rig.flush = lambda: None
    step = gemm_achievable.build(gemm_achievable.Params(dtype="fp32", grid_step=512, grid_count=2), rig)
    monkeypatch.setattr(rig, "time", lambda run, first, n: Timing(0.5, 0.6))
    step._aim((1024, 1024, 1024))
    sample = step._burst()
    assert sample.inner_steps == 2
    assert sample.device_s / sample.inner_steps == pytest.approx(0.5 / (2 * 1024**3 / 1e9))
    assert sample.host_s / sample.device_s == pytest.approx(1.2)


def test_achievable_keeps_the_best_so_far_when_its_time_is_up():
    pytest.importorskip("effbench.stats.search")
    rig = cpu_rig()
    rig.flush = lambda: None
    step = gemm_achievable.build(gemm_achievable.Params(dtype="fp32", grid_step=16, grid_count=8), rig)
    ticks = iter(range(10_000))
    rig.monotonic = lambda: float(next(ticks))
    samples = step.samples(10.0)
    assert "cut short" in step.texts()["search"]
    assert len(samples) >= gemm_achievable.WINNER_SAMPLES_MIN
    assert step.facts()["evaluations"] <= 10
