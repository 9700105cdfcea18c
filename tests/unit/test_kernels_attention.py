"""Attention: the flop convention against torch's counter, and results that a wrong mask or scale would betray."""

import math

import msgspec
import pytest

from effbench.kernels import attention
from tests.unit.kernel_devices import cpu, cpu_rig, gpu

torch = pytest.importorskip("torch")


def small(direction="fwd", dtype="fp32", head_dim=64, batch=2, heads=3, seq=48):
    return attention.Params(direction=direction, head_dim=head_dim, dtype=dtype, batch=batch, heads=heads, seq=seq)


@pytest.mark.parametrize("direction", ["fwd", "fwd_bwd"])
def test_flop_are_half_of_what_torch_counts_without_the_causal_discount(direction):
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    step = attention.build(small(direction), cpu_rig())
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        step.run(0)
    # The math backend keeps the scores, so its backward pass has four products where ours counts five.
    forward = counter.get_total_flops() / (1 if direction == "fwd" else 3)
    assert attention.work(small(direction)).flop == forward / 2 * (1 if direction == "fwd" else 3.5)


def test_backward_counts_the_five_products_of_torch_own_formula():
    from torch.utils.flop_counter import sdpa_backward_flop_count, sdpa_flop_count

    shape = (2, 3, 48, 64)
    full = sdpa_flop_count(shape, shape, shape) + sdpa_backward_flop_count(shape, shape, shape, shape)
    assert attention.work(small("fwd_bwd")).flop == full / 2


@pytest.mark.parametrize("head_dim", [64, 128])
@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("direction", ["fwd", "fwd_bwd"])
def test_results_are_right_and_repeat(direction, dtype, head_dim):
    step = attention.build(small(direction, dtype, head_dim), cpu_rig())
    verdict = step.verify()
    assert verdict.ok, verdict
    assert verdict.error < 0.7 * verdict.tolerance
    assert step.fingerprint() == step.fingerprint()
    texts = step.texts()
    assert "causal" in texts["flop_convention"]
    assert texts["backend"] in ("math", "flash", "memory-efficient", "cudnn", "unknown")
    step.close()


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("change", [{"is_causal": False}, {"is_causal": True, "scale": 0.13}])
def test_a_wrong_mask_or_scale_is_seen(monkeypatch, dtype, change):
    step = attention.build(small(dtype=dtype), cpu_rig())
    right = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        torch.nn.functional, "scaled_dot_product_attention", lambda q, k, v, is_causal: right(q, k, v, **change)
    )
    assert not step.verify().ok


def test_nan_in_a_head_that_is_not_compared_is_seen():
    step = attention.build(small(), cpu_rig())
    run = step.run
    step.run = lambda i: (run(i), step._results[0][1, 0].fill_(math.nan))
    assert "NaN" in step.verify().detail


def test_a_wrong_gradient_is_seen():
    step = attention.build(small("fwd_bwd"), cpu_rig())
    run = step.run
    step.run = lambda i: (run(i), step._results[2][0, 0, 5].mul_(1.01))
    assert not step.verify().ok


@pytest.mark.parametrize(
    ("accelerator", "head_dim", "expected"),
    [
        (gpu(), 128, ("bf16", 4, 16, 4096)),
        (gpu(), 64, ("bf16", 4, 32, 4096)),
        (gpu(capability="7.5"), 64, ("fp16", 4, 32, 4096)),
        (cpu("avx512_bf16"), 128, ("bf16", 1, 8, 1024)),
        (cpu("avx2"), 64, ("fp32", 1, 16, 1024)),
    ],
)
def test_the_ladder_goes_by_device_class_and_units(accelerator, head_dim, expected):
    params = attention.fit(attention.Params(head_dim=head_dim), accelerator)
    assert (params.dtype, params.batch, params.heads, params.seq) == expected


def test_outputs_name_direction_and_head_size():
    output = attention.outputs(small("fwd_bwd", "bf16"))[0]
    assert (output.key, output.of, output.peak) == ("compute.attention.fwd_bwd.d64.flops", "flop", "bf16")


@pytest.mark.parametrize("wrong", [{"head_dim": 96}, {"direction": "bwd"}, {"seq": 0}, {"dtype": "fp8"}])
def test_wrong_parameters_are_refused(wrong):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, attention.Params)
