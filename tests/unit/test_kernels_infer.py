"""Prefill and decode, for real on one core at tiny sizes: verified against a recomputation without a cache."""

import math
from typing import Any

import msgspec
import pytest

from effbench.kernels import cuda_graph, decode_step, prefill_step
from effbench.kernels.decode_step import WINDOW, copies_needed
from effbench.kernels.transformer_config import CONFIGS, decode_bytes, decode_flop, parameters, prefill_flop
from effbench.model.error import SiteError
from tests.unit.kernel_devices import cpu, cpu_rig, gpu

torch = pytest.importorskip("torch")

PREFILL = prefill_step.Params(config="tiny", batch=2, prompt=24, dtype="bf16")
DECODE = decode_step.Params(config="tiny", batch=2, context=24, dtype="bf16", graph=False)


def prefilling(**changes: Any) -> prefill_step.PrefillStep:
    return prefill_step.build(msgspec.structs.replace(PREFILL, **changes), cpu_rig())


def decoding(llc_bytes: int = 1, **changes: Any) -> decode_step.DecodeStep:
    return decode_step.build(msgspec.structs.replace(DECODE, **changes), cpu_rig(llc_bytes=llc_bytes))


@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
@pytest.mark.parametrize("batch", [1, 6])
@pytest.mark.parametrize("start", [prefilling, decoding])
def test_a_real_run_verifies(start: Any, dtype: str, batch: int) -> None:
    step = start(dtype=dtype, batch=batch)
    for i in range(5):
        step.run(i)
    verdict = step.verify()
    assert verdict.ok, verdict.detail
    assert 0 < verdict.error < verdict.tolerance
    assert f"of {batch} sequences" in verdict.detail
    facts = step.facts()
    assert facts["parameters"] == parameters(CONFIGS["tiny"])
    assert facts["weight_bytes"] == parameters(CONFIGS["tiny"]) * (2 if dtype == "bf16" else 4)
    assert step.texts()["precision"].startswith(dtype)
    step.close()


@pytest.mark.parametrize("start", [prefilling, decoding])
def test_fingerprints_repeat_and_see_a_changed_weight(start: Any) -> None:
    step = start()
    first = step.fingerprint()
    for i in range(2 * WINDOW):
        step.run(i)
    assert step.fingerprint() == first
    weights = step.weights if isinstance(step, prefill_step.PrefillStep) else step.copies[0].weights
    weights.head[3, 5] *= -1
    assert step.fingerprint() != first


def test_prefill_rotates_its_prompts() -> None:
    step = prefilling()
    seen = set()
    for i in range(prefill_step.PROMPTS):
        step.run(i)
        seen.add(float(step.logits.float().sum()))
    assert len(seen) == prefill_step.PROMPTS


def test_decode_walks_through_its_window() -> None:
    step = decoding()
    first = step.logits.clone()
    seen = set()
    for i in range(WINDOW):
        step.run(i)
        seen.add(float(step.logits.float().sum()))
    assert len(seen) == WINDOW
    step.run(WINDOW)
    again = step.logits.clone()
    step.run(0)
    assert torch.equal(again, step.logits)
    assert not torch.equal(first, again)


def test_decode_at_every_position_equals_the_recomputation() -> None:
    from effbench.kernels import transformer_reference as reference

    step = decoding(dtype="fp32")
    for slot in range(WINDOW):
        step.run(slot)
        expected = reference.reference(step.config, step.copies[0].weights, step.tokens[1, : 24 + slot + 1])
        assert reference.relative_error(step.logits[1], expected.logits[-1]) < reference.tolerance(step.config, "fp32")


@pytest.mark.parametrize("start", [prefilling, decoding])
def test_a_result_that_is_not_written_is_seen(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    step = start()
    monkeypatch.setattr(step, "run", lambda i: None)
    verdict = step.verify()
    assert not verdict.ok
    assert "never written" in verdict.detail
    assert math.isfinite(verdict.error)


@pytest.mark.parametrize("start", [prefilling, decoding])
def test_a_wrong_choice_is_seen(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    step = start()
    real = step.run

    def wrong(i: int) -> None:
        real(i)
        step.chosen.copy_((step.chosen + 1) % CONFIGS["tiny"].vocab)

    monkeypatch.setattr(step, "run", wrong)
    assert "not the likeliest" in step.verify().detail


def test_a_corrupt_cache_is_seen() -> None:
    step = decoding(dtype="fp32")
    step.copies[0].cache.values[0][1, 0, 5, 2] += 0.5
    verdict = step.verify()
    assert not verdict.ok
    assert verdict.error > verdict.tolerance
    step.copies[0].cache.keys[1][0, 0, 5, 2] = math.nan
    verdict = step.verify()
    assert not verdict.ok
    assert verdict.error == 1.0


def test_a_wrong_logit_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    step = prefilling(dtype="bf16")
    real = step.run

    def wrong(i: int) -> None:
        real(i)
        step.logits[1, 7] -= 0.3 * step.logits[1].float().abs().max()

    monkeypatch.setattr(step, "run", wrong)
    assert not step.verify().ok


def test_copies_rotate_where_a_cache_would_hold_them() -> None:
    one = decoding(llc_bytes=1)
    assert len(one.copies) == 1
    several = decoding(llc_bytes=1 << 20)
    assert len(several.copies) > 2
    assert several.facts()["copies"] == len(several.copies)
    logits = set()
    for i in range(len(several.copies)):
        several.run(i)
        logits.add(float(several.logits.float().sum()))
    assert len(logits) == 1  # the same position of every copy
    assert several.copies[0].weights.head.data_ptr() != several.copies[1].weights.head.data_ptr()
    assert several.verify().ok


def test_copies_needed() -> None:
    assert copies_needed(100 << 20, 50 << 20, 1 << 40) == 1
    assert copies_needed(10 << 20, 50 << 20, 1 << 40) == 10
    assert copies_needed(10 << 20, 50 << 20, 80 << 20) == 4
    assert copies_needed(200 << 20, 0, 1 << 40) == 2


def test_work_of_prefill() -> None:
    work = prefill_step.work(PREFILL)
    assert work.items == 48
    assert work.flop == work.hardware_flop == prefill_flop(CONFIGS["tiny"], 2, 24)


def test_work_of_decode_is_the_mean_over_the_window() -> None:
    config, work = CONFIGS["tiny"], decode_step.work(DECODE)
    positions = [24 + slot + 1 for slot in range(WINDOW)]
    assert work.flop == pytest.approx(sum(decode_flop(config, 2, keys) for keys in positions) / WINDOW)
    assert work.memory_bytes == pytest.approx(sum(decode_bytes(config, 2, keys, "bf16") for keys in positions) / WINDOW)
    assert work.items == 2


def test_fit_by_device() -> None:
    prefill, decode = prefill_step.Params(), decode_step.Params(batch=8)
    assert prefill_step.fit(prefill, cpu()) == prefill_step.Params("cpu-20m", 1, 256, "fp32")
    assert prefill_step.fit(prefill, gpu(85e9)) == prefill_step.Params("4b", 1, 2048, "bf16")
    assert decode_step.fit(decode, cpu("amx_bf16")) == decode_step.Params("cpu-20m", 8, 256, "bf16", False)
    assert decode_step.fit(decode, gpu(25.6e9)) == decode_step.Params("4b", 8, 2048, "bf16", True)
    assert decode_step.fit(decode_step.Params(graph=False), gpu()).graph is False


def test_support() -> None:
    assert decode_step.support(DECODE, cpu("avx512_bf16")).skip is None
    assert prefill_step.support(PREFILL, cpu()).emulated
    graphs = msgspec.structs.replace(DECODE, graph=True)
    assert decode_step.support(graphs, cpu()).skip == "not applicable: a CPU has no CUDA graphs"
    assert decode_step.support(graphs, gpu()).skip is None
    large = decode_step.fit(decode_step.Params(config="4b", batch=256), gpu())
    assert str(decode_step.support(large, gpu()).skip).startswith(
        f"not applicable: 4b with a cache of 256 x {2048 + WINDOW} tokens"
    )


def test_outputs_and_labels() -> None:
    assert [(output.key, output.of, output.peak) for output in prefill_step.outputs(PREFILL)] == [
        ("infer.prefill.b2.mfu", "fraction", "bf16"),
        ("infer.prefill.b2.tokens_per_s", "items", None),
        ("infer.prefill.b2.time_to_first_token", "time", None),
    ]
    assert [(output.key, output.of, output.peak) for output in decode_step.outputs(DECODE)] == [
        ("infer.decode.b2.tokens_per_s", "items", None),
        ("infer.decode.b2.fraction_of_bandwidth", "memory_fraction", "bandwidth"),
        ("infer.decode.b2.inter_token_p50", "p50", None),
        ("infer.decode.b2.inter_token_p99", "p99", None),
    ]
    assert prefill_step.label(PREFILL) == "tiny-b2-p24-bf16"
    assert decode_step.label(DECODE) == "tiny-b2-c24-bf16"


@pytest.mark.parametrize("kernel", [prefill_step, decode_step])
def test_open_parameters_are_refused(kernel: Any) -> None:
    with pytest.raises(ValueError, match="must be fitted"):
        kernel.work(kernel.Params())


def test_a_prompt_has_at_least_two_tokens() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"prompt": 1}, prefill_step.Params)


class Recorded:
    """Stands in for a CUDA graph: a replay launches again."""

    def __init__(self, launch: Any) -> None:
        self.launch, self.replays = launch, 0

    def pool(self) -> str:
        return "pool"

    def replay(self) -> None:
        self.replays += 1
        self.launch()


def test_graphs_replay_every_copy_and_position(monkeypatch: pytest.MonkeyPatch) -> None:
    pools: list[Any] = []

    def capture(launch: Any, pool: Any) -> Recorded:
        pools.append(pool)
        return Recorded(launch)

    monkeypatch.setattr(cuda_graph, "capture", capture)
    step, eager = decoding(graph=True, llc_bytes=1 << 18), decoding(llc_bytes=1 << 18)
    count = len(step.copies) * WINDOW
    assert len(step.copies) > 1
    assert pools == [None, *["pool"] * (count - 1)]
    for i in (0, 1, 5, count - 1, count, count + 3):
        step.run(i)
        eager.run(i)
        assert torch.equal(step.logits, eager.logits)
    assert sum(graph.replays for graph in step.graphs) == 6
    assert step.verify().ok
    assert step.texts()["launch"] == f"{count} CUDA graphs"


def test_graphs_that_cannot_be_captured_are_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def capture(launch: Any, pool: Any) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(cuda_graph, "capture", capture)
    with pytest.raises(SiteError, match=r"^CUDA graphs unavailable: operation not permitted when stream is capturing"):
        decoding(graph=True)
