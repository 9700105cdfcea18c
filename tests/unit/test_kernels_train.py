"""The training step, for real on one core at tiny sizes: a falling loss, honest masters, a verdict that can fail."""

import math
from typing import Any

import msgspec
import pytest

from effbench.kernels import train_state, train_step
from effbench.kernels.train_step import Params
from effbench.kernels.transformer_config import CONFIGS, parameters, train_flop, train_hardware_flop
from effbench.model.error import SiteError
from tests.unit.kernel_devices import cpu, cpu_rig, gpu

torch = pytest.importorskip("torch")

TINY = Params(config="tiny", batch=2, seq=32, dtype="bf16")


def built(**changes: Any) -> train_step.TrainStep:
    return train_step.build(msgspec.structs.replace(TINY, **changes), cpu_rig())


@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
def test_a_real_run_learns_and_verifies(dtype: str) -> None:
    step = built(dtype=dtype)
    for i in range(6):
        step.run(i)
    verdict, facts = step.verify(), step.facts()
    assert verdict.ok, verdict.detail
    assert verdict.error < verdict.tolerance
    assert facts["loss_first"] < math.log(CONFIGS["tiny"].vocab) + 0.5
    assert facts["loss_last"] < 0.9 * facts["loss_first"]
    assert facts["parameters"] == parameters(CONFIGS["tiny"])
    assert facts["steps"] == train_state.STEPS_TO_JUDGE
    assert all(math.isfinite(value) for value in facts.values())
    assert step.fingerprint() is None
    assert step.texts()["compile"] == "eager"
    step.close()


def test_verification_trains_on_when_the_timed_part_was_short() -> None:
    step = built()
    assert step.verify().ok
    assert step.facts()["steps"] == train_state.STEPS_TO_JUDGE


def test_the_loss_falls_without_a_spike() -> None:
    step = built()
    losses = []
    for i in range(24):
        step.run(i)
        losses.append(float(step._losses[i % train_state.BATCHES]))
    pairs = [first + second for first, second in zip(losses[::2], losses[1::2], strict=True)]
    assert pairs == sorted(pairs, reverse=True)


def test_the_loss_stays_low_over_a_long_soak() -> None:
    step = built()
    for i in range(300):
        step.run(i)
    assert step.verify().ok
    assert step.facts()["loss_last"] < 1.0


def test_bf16_keeps_fp32_masters_and_a_bf16_copy() -> None:
    step = built()
    before = [master.detach().clone() for master in step.masters]
    step.run(0)
    for working, master, old in zip(step.working, step.masters, before, strict=True):
        assert working.dtype == torch.bfloat16
        assert master.dtype == torch.float32
        assert master.grad is not None and master.grad.dtype == torch.float32
        assert working.grad is None
        assert torch.equal(working, master.to(torch.bfloat16))
        assert not torch.equal(master, old)
    # An update too small for bf16 survives in a master.
    assert any(not torch.equal(master, master.to(torch.bfloat16).float()) for master in step.masters)
    moments = [state["exp_avg"] for state in step.optimizer.state.values()]
    assert len(moments) == len(step.masters)
    assert {moment.dtype for moment in moments} == {torch.float32}


def test_fp32_weights_are_their_own_masters() -> None:
    step = built(dtype="fp32")
    assert all(working is master for working, master in zip(step.working, step.masters, strict=True))


def test_gradients_are_those_of_plain_autograd() -> None:
    from effbench.kernels import transformer

    step = built()
    std = train_state.EMBEDDING_STD
    plain = transformer.init_weights(step.config, "bf16", "cpu", step.rig.seed, 32, std)
    tensors = [tensor.requires_grad_() for tensor in transformer.trainable(plain)]
    transformer.cross_entropy(step.config, plain, step.data[0]).backward()
    step.run(0)
    for tensor, master in zip(tensors, step.masters, strict=True):
        assert tensor.grad is not None and master.grad is not None
        assert torch.equal(tensor.grad.float(), master.grad)


def test_the_same_seed_gives_the_same_losses() -> None:
    losses = []
    for _ in range(2):
        step = built(dtype="fp32")
        step.run(0)
        step.run(1)
        losses.append(step.facts()["loss_last"])
    assert losses[0] == losses[1]


def test_data_follow_the_rule_but_for_the_noise() -> None:
    tokens = train_state.learnable_tokens(CONFIGS["cpu-20m"], 4, 128, "cpu", 1)
    assert tokens.shape == (train_state.BATCHES, 4, 129)
    assert int(tokens.min()) >= 0
    assert int(tokens.max()) < train_state.ALPHABET
    kept = (5 * tokens[..., :-1] + 17) % train_state.ALPHABET == tokens[..., 1:]
    assert 0.75 < float(kept.float().mean()) < 0.97
    assert torch.equal(tokens, train_state.learnable_tokens(CONFIGS["cpu-20m"], 4, 128, "cpu", 1))
    assert not torch.equal(tokens[0], tokens[1])


def test_a_broken_gradient_is_seen() -> None:
    step = built()
    real = step.loss_of
    step.loss_of = lambda *args: real(*args) * math.nan
    verdict = step.verify()
    assert not verdict.ok
    assert "not finite" in verdict.detail
    assert math.isfinite(verdict.error)


def test_training_that_does_not_learn_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_state, "rate_at", lambda config, steps: 0.0)
    verdict = built().verify()
    assert not verdict.ok
    assert "did not fall" in verdict.detail


def test_a_wrong_forward_pass_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    from effbench.kernels import transformer

    step = built(dtype="fp32")
    monkeypatch.setattr(transformer, "attend", lambda queries, keys, values: queries.flatten(2))
    verdict = step.verify()
    assert not verdict.ok
    assert "differs from the fp32 recomputation" in verdict.detail


@pytest.mark.parametrize(
    ("found", "finite", "last", "words"),
    [
        (math.nan, True, 1.0, "the loss is not finite"),
        (2.0, True, math.inf, "the loss is not finite"),
        (2.0, False, 1.0, "a gradient is missing"),
        (2.0, True, 3.0, "did not fall: 3 at first, 3 at last"),
        (2.1, True, 1.0, "differs"),
    ],
)
def test_each_reason_for_a_wrong_result(found: float, finite: bool, last: float, words: str) -> None:
    verdict = train_state.judged(found, 2.0, 0.01, finite, 3.0, last)
    assert not verdict.ok
    assert words in verdict.detail
    assert train_state.judged(2.001, 2.0, 0.01, True, 3.0, 1.0).ok


def test_peak_memory_is_what_the_steps_needed() -> None:
    step = built(config="cpu-20m", seq=16, batch=1)
    step.run(0)
    facts = step.facts()
    state = 14 * parameters(CONFIGS["cpu-20m"])
    if "peak_memory_bytes" not in facts:
        pytest.skip("the kernel does not let this process reset its high-water mark")
    assert state * 0.8 < facts["peak_memory_bytes"] < 4 * state


def test_peak_memory_is_absent_where_nobody_counts() -> None:
    rig = cpu_rig()
    rig.peak_bytes = lambda: None  # type: ignore[method-assign]
    step = train_step.build(TINY, rig)
    step.run(0)
    assert "peak_memory_bytes" not in step.facts()


def test_verification_does_not_count_towards_the_peak() -> None:
    rig, readings = cpu_rig(), iter([1000, 10_000_000, 99_000_000])
    rig.peak_bytes = lambda: next(readings)  # type: ignore[method-assign]
    step = train_step.build(TINY, rig)
    assert step.verify().ok
    assert step.facts()["peak_memory_bytes"] == 10_000_000 - 1000


def test_compile_that_fails_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no working C++ compiler\nlong trace")

    monkeypatch.setattr(torch, "compile", refuse)
    with pytest.raises(SiteError, match=r"^compile unavailable: no working C\+\+ compiler; set compile: false"):
        built(compile=True)


def test_compile_that_works_trains_the_compiled_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def wrap(real: Any, dynamic: bool) -> Any:
        def compiled(*args: Any) -> Any:
            calls.append(dynamic)
            return real(*args)

        return compiled

    monkeypatch.setattr(torch, "compile", wrap)
    step = built(compile=True)
    assert calls == [False]
    assert all(master.grad is None for master in step.masters)
    step.run(0)
    assert len(calls) == 2
    assert step.texts()["compile"] == "torch.compile"
    assert step.verify().ok


def test_work_counts_tokens_and_both_kinds_of_flop() -> None:
    work, config = train_step.work(TINY), CONFIGS["tiny"]
    assert work.items == 64
    assert work.flop == train_flop(config, 2, 32)
    assert work.hardware_flop == train_hardware_flop(config, 2, 32) > work.flop
    bf16, fp32 = (train_step.work(msgspec.structs.replace(TINY, dtype=dtype)) for dtype in ("bf16", "fp32"))
    assert bf16.memory_bytes > 46 * parameters(config)
    assert fp32.memory_bytes > 40 * parameters(config)


def test_fit_by_device() -> None:
    assert train_step.fit(Params(), cpu("avx512_bf16")) == Params("cpu-20m", 2, 128, "bf16")
    assert train_step.fit(Params(), cpu()) == Params("cpu-20m", 2, 128, "fp32")
    assert train_step.fit(Params(), gpu(85e9)) == Params("4b", 2, 2048, "bf16")
    assert train_step.fit(Params(), gpu(16e9, "7.5")).dtype == "fp32"
    assert train_step.fit(Params(batch=7, dtype="fp32"), gpu(85e9)) == Params("4b", 7, 2048, "fp32")
    fitted = train_step.fit(Params(), cpu())
    assert train_step.fit(fitted, cpu()) == fitted


def test_support() -> None:
    assert train_step.support(TINY, cpu("avx512_bf16")) == train_step.Support()
    assert train_step.support(TINY, cpu()).emulated
    assert "has 25.6 GB" in str(train_step.support(train_step.fit(Params(config="4b"), gpu(25.6e9)), gpu(25.6e9)).skip)
    assert str(train_step.support(TINY, gpu(85e9, "7.5")).skip).startswith("not applicable: bf16 needs")


def test_outputs_and_label() -> None:
    found = {output.key: (output.of, output.peak) for output in train_step.outputs(TINY)}
    assert found == {
        "train.step.mfu": ("fraction", "bf16"),
        "train.step.hfu": ("hardware_fraction", "bf16"),
        "train.step.tokens_per_s": ("items", None),
        "train.step.time": ("time", None),
        "train.step.peak_memory_bytes": ("fact:peak_memory_bytes", None),
    }
    assert train_step.label(TINY) == "tiny-b2-s32-bf16"
    assert train_step.label(msgspec.structs.replace(TINY, compile=True)) == "tiny-b2-s32-bf16-compile"


def test_open_parameters_are_refused() -> None:
    with pytest.raises(ValueError, match="must be fitted"):
        train_step.work(Params())


@pytest.mark.parametrize("wrong", [{"config": "70b"}, {"batch": 0}, {"dtype": "fp8"}, {"sequence": 4}])
def test_bad_parameters_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, Params)
