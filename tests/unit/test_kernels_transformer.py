"""The reference transformer: its counts against torch's own counter, its sizes, and its second computation."""

import math
from typing import Any

import pytest

from effbench.kernels import transformer, transformer_fit, transformer_reference
from effbench.kernels import transformer_config as counts
from effbench.kernels.transformer_config import CONFIGS, Config
from tests.unit.kernel_devices import SEED, cpu, gpu

torch = pytest.importorskip("torch")
attention = pytest.importorskip("torch.nn.attention")
flop_counter = pytest.importorskip("torch.utils.flop_counter")

SHAPES = [
    pytest.param(CONFIGS["tiny"], 2, 32, id="tiny"),
    pytest.param(Config("multi-head", 3, 48, 3, 3, 16, 80, 101), 1, 17, id="multi-head"),
    pytest.param(Config("one-kv-head", 1, 64, 8, 1, 8, 96, 64), 3, 24, id="one-kv-head"),
    pytest.param(Config("wide-heads", 2, 32, 2, 1, 32, 64, 50), 2, 16, id="wide-heads"),
]


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def model(config: Config, positions: int, dtype: str = "fp32", grad: bool = False) -> transformer.Weights:
    weights = transformer.init_weights(config, dtype, "cpu", SEED, positions)
    for tensor in transformer.trainable(weights):
        tensor.requires_grad_(grad)
    return weights


def counted_train(config: Config, batch: int, seq: int, forward_only: bool, fused: bool) -> int:
    """Torch's count of a pass: with plain attention, or with the fused one's formulas of the GPU kernels."""
    weights = model(config, seq, grad=not forward_only)
    tokens = transformer.random_tokens(config, (batch, seq + 1), "cpu", 1)

    def forward(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
        return int(flop_counter.sdpa_flop_count(query, key, value))

    def backward(grad: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
        return int(flop_counter.sdpa_backward_flop_count(grad, query, key, value))

    mapping = {
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: forward,
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: backward,
    }
    backend = attention.SDPBackend.FLASH_ATTENTION if fused else attention.SDPBackend.MATH
    counter = flop_counter.FlopCounterMode(display=False, custom_mapping=mapping)
    with attention.sdpa_kernel(backend), counter:
        loss = transformer.cross_entropy(config, weights, tokens)
        if not forward_only:
            loss.backward()
    return int(counter.get_total_flops())


@pytest.mark.parametrize(("config", "batch", "seq"), SHAPES)
def test_forward_flop_agrees_with_torch(config: Config, batch: int, seq: int) -> None:
    # Torch counts the full square; we count half, so our half is added once more.
    ours = counts.linear_flop(config, batch * seq, batch * seq) + 2 * counts.causal_attention_flop(config, batch, seq)
    assert counted_train(config, batch, seq, forward_only=True, fused=False) == ours
    assert counted_train(config, batch, seq, forward_only=True, fused=True) == ours


@pytest.mark.parametrize(("config", "batch", "seq"), SHAPES)
def test_train_flop_agrees_with_torch(config: Config, batch: int, seq: int) -> None:
    # Plain attention recomputes nothing: the useful count. Its causal half is again added back.
    masked = 3 * counts.causal_attention_flop(config, batch, seq)
    assert counted_train(config, batch, seq, forward_only=False, fused=False) == (
        counts.train_flop(config, batch, seq) + masked
    )


@pytest.mark.parametrize(("config", "batch", "seq"), SHAPES)
def test_train_hardware_flop_agrees_with_torch(config: Config, batch: int, seq: int) -> None:
    # Fused attention: seven products where six are useful, each counted whole by torch and half by us.
    masked = 3.5 * counts.causal_attention_flop(config, batch, seq)
    assert counted_train(config, batch, seq, forward_only=False, fused=True) == (
        counts.train_hardware_flop(config, batch, seq) + masked
    )


@pytest.mark.parametrize(("config", "batch", "seq"), SHAPES)
def test_inference_flop_agrees_with_torch(config: Config, batch: int, seq: int) -> None:
    weights = model(config, seq)
    tokens = transformer.random_tokens(config, (batch, seq), "cpu", 1)
    cache = transformer.empty_cache(config, "fp32", "cpu", batch, seq)
    with attention.sdpa_kernel(attention.SDPBackend.MATH), torch.no_grad():
        with flop_counter.FlopCounterMode(display=False) as prefill:
            transformer.next_logits(config, weights, tokens, cache, 0)
        with flop_counter.FlopCounterMode(display=False) as decode:
            transformer.next_logits(config, weights, tokens[:, -1:], cache, seq - 1)
    masked = counts.causal_attention_flop(config, batch, seq)
    assert prefill.get_total_flops() == counts.prefill_flop(config, batch, seq) + masked
    assert decode.get_total_flops() == counts.decode_flop(config, batch, seq)


@pytest.mark.parametrize("name", ["tiny", "cpu-20m"])
def test_parameters_are_what_is_allocated(name: str) -> None:
    config = CONFIGS[name]
    assert sum(tensor.numel() for tensor in transformer.trainable(model(config, 4))) == counts.parameters(config)


@pytest.mark.parametrize(
    ("name", "millions"), [("cpu-20m", 21.1), ("125m", 124.7), ("1b", 1104.2), ("3b", 3015.4), ("4b", 3820.7)]
)
def test_named_sizes(name: str, millions: float) -> None:
    assert counts.parameters(CONFIGS[name]) / 1e6 == pytest.approx(millions, abs=0.05)


def test_the_largest_config_fills_eighty_gigabytes_and_no_more() -> None:
    needed = counts.train_peak_bytes(CONFIGS["4b"], 2, 2048, "bf16")
    assert 0.85 * 80e9 < needed < 0.95 * 80e9


@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
def test_activation_bytes_are_what_autograd_keeps(dtype: str) -> None:
    config, batch, seq = CONFIGS["cpu-20m"], 1, 64
    weights = model(config, seq, dtype, grad=True)
    tokens = transformer.random_tokens(config, (batch, seq + 1), "cpu", 1)
    own = {tensor.untyped_storage().data_ptr() for tensor in (*transformer.trainable(weights), *weights[-2:])}
    kept: dict[int, int] = {}

    def pack(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own and tensor.is_floating_point():
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        hidden = transformer.hidden_states(config, weights, tokens[:, :-1])
    assert hidden.requires_grad
    # What RMSNorm keeps differs between torch builds: composite ones keep fp32 copies of the residual stream.
    expected = counts.activation_bytes(config, batch, seq, dtype)
    assert 0.9 * expected < sum(kept.values()) < 1.5 * expected


def test_cache_and_weight_bytes_are_what_is_allocated() -> None:
    config = CONFIGS["tiny"]
    cache = transformer.empty_cache(config, "bf16", "cpu", 3, 10)
    assert sum(part.nbytes for part in (*cache.keys, *cache.values)) == 30 * counts.cache_bytes_per_token(
        config, "bf16"
    )
    weights = transformer.trainable(model(config, 4, "bf16"))
    assert sum(tensor.nbytes for tensor in weights) == counts.weight_bytes(config, "bf16")


def test_decode_bytes_by_hand() -> None:
    config = Config("hand", layers=1, hidden=4, heads=2, kv_heads=1, head_dim=2, ffn=8, vocab=10)
    # qkv 4x8, out 4x4, gate/up/down 3x4x8, norms 3x4, head 10x4, two rows of the embedding; bf16.
    weights = 2 * (32 + 16 + 96 + 12 + 40 + 2 * 4)
    # Two sequences, keys and values of one head of two elements: 8 byte a position; 5 read, 1 written.
    assert counts.decode_bytes(config, 2, 6.0, "bf16") == weights + 2 * 8 * (5 + 1)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_prefill_and_decode_equal_plain_recomputation(dtype: str) -> None:
    config, length = CONFIGS["tiny"], 20
    weights = model(config, length, dtype)
    tokens = transformer.random_tokens(config, (2, length), "cpu", 1)
    cache = transformer.empty_cache(config, dtype, "cpu", 2, length)
    allowed = transformer_reference.tolerance(config, dtype)
    with torch.no_grad():
        logits = transformer.next_logits(config, weights, tokens[:, :12], cache, 0)
        for at in range(12, length):
            expected = [transformer_reference.reference(config, weights, tokens[row, :at]) for row in range(2)]
            for row in range(2):
                error = transformer_reference.sequence_error(expected[row], logits[row], cache, row)
                assert error < allowed
            logits = transformer.next_logits(config, weights, tokens[:, at : at + 1], cache, at)


def test_loss_equals_plain_recomputation() -> None:
    config, seq = CONFIGS["tiny"], 16
    weights = model(config, seq)
    tokens = transformer.random_tokens(config, (1, seq + 1), "cpu", 1)
    found = float(transformer.cross_entropy(config, weights, tokens))
    assert found == pytest.approx(transformer_reference.reference_loss(config, weights, tokens[0]), rel=1e-6)


@pytest.mark.parametrize("broken", ["attention", "rotation", "cached value", "norm"])
def test_the_reference_sees_a_broken_model(broken: str) -> None:
    config, length = CONFIGS["tiny"], 16
    weights = model(config, length)
    tokens = transformer.random_tokens(config, (1, length), "cpu", 1)
    cache = transformer.empty_cache(config, "fp32", "cpu", 1, length)
    expected = transformer_reference.reference(config, weights, tokens[0])
    wrong = weights
    if broken == "rotation":
        wrong = weights._replace(sine=-weights.sine)
    elif broken == "norm":
        wrong = weights._replace(norm=weights.norm * 1.001)
    elif broken == "attention":
        first = weights.layers[0]._replace(attention_out=weights.layers[0].attention_out.roll(1, 0))
        wrong = weights._replace(layers=(first, *weights.layers[1:]))
    with torch.no_grad():
        logits = transformer.next_logits(config, wrong, tokens, cache, 0)
    if broken == "cached value":
        cache.values[1][0, 1, 7, 3] += 0.01
    error = transformer_reference.sequence_error(expected, logits[0], cache, 0)
    assert error > 10 * transformer_reference.tolerance(config, "fp32")


def test_later_tokens_do_not_change_earlier_logits() -> None:
    config, length = CONFIGS["tiny"], 12
    weights = model(config, length)
    tokens = transformer.random_tokens(config, (1, length), "cpu", 1)
    other = tokens.clone()
    other[0, -1] = (other[0, -1] + 1) % config.vocab
    with torch.no_grad():
        before = transformer.hidden_states(config, weights, tokens)
        after = transformer.hidden_states(config, weights, other)
    torch.testing.assert_close(before[:, :-1], after[:, :-1])
    assert not torch.equal(before[:, -1], after[:, -1])


def test_a_prompt_cannot_start_in_the_middle() -> None:
    config = CONFIGS["tiny"]
    cache = transformer.empty_cache(config, "fp32", "cpu", 1, 8)
    with pytest.raises(ValueError, match="start at position 0"):
        transformer.next_logits(config, model(config, 8), torch.zeros(1, 2, dtype=torch.int64), cache, 3)


def test_not_finite_is_never_within_tolerance() -> None:
    expected = torch.ones(4)
    assert transformer_reference.relative_error(torch.tensor([1.0, math.nan, 1.0, 1.0]), expected) == math.inf
    assert transformer_reference.relative_error(torch.tensor([1.0, math.inf, 1.0, 1.0]), expected) == math.inf


def test_checked_sequences_hold_first_and_last() -> None:
    assert transformer_reference.checked_sequences(1) == [0]
    assert transformer_reference.checked_sequences(3) == [0, 1, 2]
    assert transformer_reference.checked_sequences(64) == [0, 21, 42, 63]


def test_copies_are_equal_and_apart() -> None:
    weights = model(CONFIGS["tiny"], 4)
    twin = transformer.copied(weights)
    assert type(twin) is transformer.Weights
    assert type(twin.layers[0]) is transformer.Layer
    assert torch.equal(twin.layers[1].down, weights.layers[1].down)
    twin.layers[1].down.zero_()
    assert bool(weights.layers[1].down.any())


def test_joined_fingerprint_sees_order_and_bits() -> None:
    first, second = torch.arange(10.0), torch.arange(10.0) + 1
    one = transformer.joined_fingerprint([first, second])
    assert one == transformer.joined_fingerprint([first.clone(), second.clone()])
    assert one != transformer.joined_fingerprint([second, first])
    second[3] = torch.nextafter(second[3], torch.tensor(9.0))
    assert one != transformer.joined_fingerprint([first, second])


@pytest.mark.parametrize("rung", transformer_fit.TRAIN_GPU, ids=lambda rung: f"{rung.config}-{rung.batch}")
def test_every_training_rung_fits_its_memory(rung: transformer_fit.Rung) -> None:
    needed = counts.train_peak_bytes(CONFIGS[rung.config], rung.batch, rung.tokens, "bf16")
    assert needed < 0.9 * max(rung.memory_bytes, 2e9)


@pytest.mark.parametrize("rung", transformer_fit.INFER_GPU, ids=lambda rung: rung.config)
def test_every_inference_rung_fits_with_a_batch_of_eight(rung: transformer_fit.Rung) -> None:
    assert counts.infer_peak_bytes(CONFIGS[rung.config], 8, rung.tokens, "bf16") < 0.9 * max(rung.memory_bytes, 1e9)


@pytest.mark.parametrize("ladder", [transformer_fit.TRAIN_GPU, transformer_fit.INFER_GPU])
def test_ladders_descend_to_zero(ladder: tuple[transformer_fit.Rung, ...]) -> None:
    bounds = [rung.memory_bytes for rung in ladder]
    assert bounds == sorted(bounds, reverse=True)
    assert bounds[-1] == 0


@pytest.mark.parametrize(
    ("memory_bytes", "config"),
    [(151e9, "4b"), (85.0e9, "4b"), (51e9, "1b"), (42e9, "1b"), (25.6e9, "1b"), (15.6e9, "125m"), (5e9, "cpu-20m")],
)
def test_training_config_by_memory(memory_bytes: float, config: str) -> None:
    assert transformer_fit.train_rung(None, gpu(memory_bytes)).config == config


def test_a_cpu_gets_the_small_model_whatever_its_memory() -> None:
    big = cpu(memory_bytes=1 << 40)
    assert transformer_fit.train_rung(None, big).config == "cpu-20m"
    assert transformer_fit.infer_rung(None, big).config == "cpu-20m"


def test_a_named_config_keeps_its_own_rung() -> None:
    small = transformer_fit.train_rung("1b", gpu(25.6e9))
    assert (small.config, small.batch) == ("1b", 1)
    assert transformer_fit.train_rung("1b", gpu(85e9)).batch == 2
    assert transformer_fit.train_rung("3b", cpu()).config == "3b"


def test_what_does_not_fit_is_said_with_both_figures() -> None:
    sentence = transformer_fit.train_too_large(CONFIGS["4b"], 2, 2048, "bf16", gpu(25.6e9))
    assert sentence == (
        "not applicable: training 4b with 2 x 2048 tokens needs about 71.0 GB and the device has 25.6 GB"
    )
    assert transformer_fit.train_too_large(CONFIGS["4b"], 2, 2048, "bf16", gpu()) is None
