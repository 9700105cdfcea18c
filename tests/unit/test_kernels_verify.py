"""The whole-result check must see one wrong element, and the fingerprint one wrong bit."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from effbench.kernels import inputs, products, verify  # noqa: E402

DTYPES = ["fp64", "fp32", "bf16", "fp16", "fp8", "int8"]
SEED = 5


def multiplied(dtype, m=96, n=160, k=128, seed=SEED):
    a, b, c = products.operands(dtype, m, n, k, "cpu", seed)
    products.multiplier(dtype, "cpu", True)(a, b, c)
    return a, b, c


def judged(dtype, a, b, c):
    return verify.product(a, b, c, verify.tolerance(dtype, a.shape[1]), SEED, exact=dtype == "int8")


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(96, 160, 128), (64, 64, 16), (48, 208, 512), (32, 80, 2048)])
def test_a_right_product_passes_with_room_to_spare(dtype, shape):
    for seed in range(3):
        verdict = judged(dtype, *multiplied(dtype, *shape, seed=seed))
        assert verdict.ok, verdict
        assert verdict.error <= 0.8 * verdict.tolerance


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("place", [(0, 0), (95, 159), (50, 63), (50, 64)])
def test_one_element_of_the_wrong_sign_fails(dtype, place):
    a, b, c = multiplied(dtype)
    row = c[place[0]].double()
    c[place] = (3 * row.abs().mean()).to(c.dtype) * (-1 if row[place[1]] > 0 else 1)
    verdict = judged(dtype, a, b, c)
    assert not verdict.ok
    assert "differs" in verdict.detail


@pytest.mark.parametrize("dtype", DTYPES)
def test_swapped_rows_swapped_columns_and_a_missing_k_slice_fail(dtype):
    a, b, c = multiplied(dtype)
    rows, columns = c.clone(), c.clone()
    rows[[3, 4]] = c[[4, 3]]
    columns[:, [10, 100]] = c[:, [100, 10]]
    assert not judged(dtype, a, b, rows).ok
    assert not judged(dtype, a, b, columns).ok
    short = torch.empty_like(c)
    multiply = products.multiplier(dtype, "cpu", True)
    right = b[:112] if dtype != "fp8" else b.t()[:, :112].contiguous().t()
    multiply(a[:, :112].contiguous(), right, short)
    assert not judged(dtype, a, b, short).ok


def test_int8_is_exact_to_the_last_unit():
    a, b, c = multiplied("int8")
    c[17, 40] += 1
    assert not judged("int8", a, b, c).ok


@pytest.mark.parametrize("dtype", ["fp64", "fp32", "bf16", "fp16", "fp8"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_fail_and_are_named(dtype, value):
    a, b, c = multiplied(dtype)
    c[1, 2] = value
    verdict = judged(dtype, a, b, c)
    assert not verdict.ok
    assert "NaN or Inf" in verdict.detail
    assert math.isfinite(verdict.error)


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_output_that_was_not_written_fails(dtype):
    a, b, c = multiplied(dtype)
    verify.poison(c[90:])
    assert "never written" in judged(dtype, a, b, c).detail
    c.zero_()
    assert "zeros" in judged(dtype, a, b, c).detail


@pytest.mark.parametrize("piece", [1 << 12, 1 << 16])
def test_the_size_of_the_pieces_does_not_matter(monkeypatch, piece):
    whole = judged("fp32", *multiplied("fp32"))
    tensor = torch.randn(10_007)
    mark = verify.fingerprint(tensor)
    monkeypatch.setattr(verify, "PIECE_BYTES", {"cpu": piece, "cuda": piece})
    again = judged("fp32", *multiplied("fp32"))
    assert again.ok
    assert again.error == pytest.approx(whole.error, rel=1e-6)
    assert verify.fingerprint(tensor) == mark


def test_tolerances_grow_with_k_and_shrink_with_precision():
    assert verify.tolerance("fp32", 16384) > verify.tolerance("fp32", 128)
    assert verify.tolerance("fp64", 4096) < verify.tolerance("fp32", 4096) < verify.tolerance("tf32", 4096)
    assert verify.tolerance("fp8", 4096, promoted=True) < verify.tolerance("fp8", 4096)
    assert verify.tolerance("int8", 4096) == 0.0


@settings(deadline=None, max_examples=60)
@given(st.binary(min_size=1, max_size=300), st.integers(0, 10**9))
def test_every_single_bit_flip_changes_the_fingerprint(data, where):
    raw = torch.tensor(list(data), dtype=torch.uint8)
    before = verify.fingerprint(raw)
    raw[where % len(data)] ^= 1 << (where % 8)
    assert verify.fingerprint(raw) != before


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(width=32, allow_nan=False), min_size=2, max_size=80), st.integers(0, 10**6))
def test_swapping_two_elements_changes_the_fingerprint(values, where):
    tensor = torch.tensor(values, dtype=torch.float32)
    i, j = where % len(values), (where // 7) % len(values)
    swapped = tensor.clone()
    swapped[i], swapped[j] = tensor[j], tensor[i]
    same = tensor.view(torch.int32)[i] == tensor.view(torch.int32)[j]
    assert (verify.fingerprint(swapped) == verify.fingerprint(tensor)) == bool(same)


def test_fingerprints_depend_on_length_zeros_and_sign_and_not_on_strides():
    zeros = torch.zeros(64)
    assert len({verify.fingerprint(torch.zeros(n)) for n in range(1, 40)}) == 39
    assert verify.fingerprint(zeros) != verify.fingerprint(-zeros)
    matrix = torch.randn(31, 17)
    assert verify.fingerprint(matrix.t()) == verify.fingerprint(matrix.t().contiguous())
    assert verify.fingerprint(matrix[1:, :]) == verify.fingerprint(matrix[1:, :].clone())
    assert 0 <= verify.fingerprint(matrix) < 1 << 64


@pytest.mark.parametrize("dtype", [*DTYPES, "int32"])
def test_every_format_has_a_fingerprint(dtype):
    tensor = torch.arange(1, 20).to(inputs.torch_dtype(dtype))
    assert verify.fingerprint(tensor) == verify.fingerprint(tensor.clone())
