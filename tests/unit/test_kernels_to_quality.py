"""Training to quality: a task that repeats, a split that nothing crosses, counted work, and a claim that is checked."""

import math
from typing import Any

import msgspec
import pytest

from effbench.kernels import to_quality, to_quality_recipe, to_quality_run, to_quality_task
from effbench.kernels.to_quality import Params
from effbench.kernels.to_quality_recipe import RECIPES, rate_at, recipe
from effbench.model.event import Sample
from tests.unit.kernel_devices import cpu, cpu_rig, gpu

torch = pytest.importorskip("torch")

FP32, BF16 = RECIPES
EASY, SENTENCES = 3.9, 512
REAL_CORPUS = to_quality_task.corpus


@pytest.fixture(autouse=True)
def small_corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A corpus that is drawn at once; everything else is as in a run."""
    monkeypatch.setattr(to_quality_task, "corpus", lambda: REAL_CORPUS(SENTENCES))


def built(target: float = EASY, steps_max: int = 60, **params: Any) -> to_quality_run.QualityRun:
    rig = cpu_rig()
    return to_quality.build(to_quality.fit(Params(target=target, steps_max=steps_max, **params), rig.accelerator), rig)


def ran(**options: Any) -> tuple[to_quality_run.QualityRun, list[Sample]]:
    step = built(**options)
    return step, step.samples(60.0)


def test_the_task_repeats_and_its_split_is_by_construction() -> None:
    first, second, held = REAL_CORPUS(300), REAL_CORPUS(300), to_quality_task.held_out()
    assert torch.equal(first, second)
    assert to_quality_task.checksum(first, held) == to_quality_task.checksum(second, held)
    assert first.shape == (300, to_quality_task.SEQ + 1)
    assert int(first.min()) >= 0 and int(first.max()) < to_quality_task.VOCAB
    assert set((held[:, 0] % to_quality_task.SPLIT).tolist()) == {0}
    assert set((first[:, 0] % to_quality_task.SPLIT).tolist()) == {1, 2, 3}
    assert to_quality_task.disjoint(first, held)


def test_a_split_that_was_crossed_is_seen_by_rule_and_by_comparison() -> None:
    trained, held = REAL_CORPUS(50), to_quality_task.held_out()
    assert not to_quality_task.disjoint(torch.cat((trained, held[:1])), held)
    assert not to_quality_task.disjoint(trained, torch.cat((held, trained[:1])))


def test_held_out_words_follow_the_law_that_is_trained() -> None:
    """The entropy by the law agrees with what its own probabilities must yield, in both halves."""
    whole = to_quality_task.entropy(REAL_CORPUS(4000))
    held = to_quality_task.entropy(to_quality_task.held_out())
    assert held == pytest.approx(whole, abs=0.05)
    assert min(whole, held) > to_quality_task.ENTROPY_MIN
    assert max(whole, held) < to_quality.TARGET < math.log(to_quality_task.VOCAB)
    shuffled = to_quality_task.held_out()[:, torch.randperm(65, generator=torch.Generator().manual_seed(1))]
    assert to_quality_task.entropy(shuffled) > 3.5


def test_flop_are_those_counted_by_hand() -> None:
    # Per layer: qkv 64 x 128, output 64 x 64, gate, up and down 3 x 64 x 176; head 64 x 64; 1024 words, 2 flop each.
    matrices = 2 * 1024 * (2 * (64 * 128 + 64 * 64 + 3 * 64 * 176) + 64 * 64)
    attention = 2 * 16 * 2 * (64 * 64) * 64  # two layers, 16 sentences, two products, half of 64 x 64, width 64
    attention = attention * 2 // 2  # two flop per product term, half of the square
    forward = matrices + attention
    work = to_quality.work(Params())
    assert work.flop == 3 * forward == 641_728_512
    assert work.items == 1024
    step, samples = ran()
    facts = step.facts()
    assert facts["flop"] == facts["steps"] * work.flop == facts["flop_to_quality"]
    assert facts["eval_flop"] == facts["evaluations"] * forward * 128 / 16
    assert samples[0].inner_steps == facts["steps"] == facts["steps_to_quality"]


@pytest.mark.parametrize("name", [row.name for row in RECIPES])
def test_an_easy_target_is_reached_and_verified(name: Any) -> None:
    step, samples = ran(recipe=name)
    verdict, facts = step.verify(), step.facts()
    assert verdict.ok, verdict.detail
    assert facts["reached"] == 1.0
    assert facts["heldout_loss"] <= EASY
    assert facts["steps"] % to_quality_run.EVALUATE_EVERY == 0
    assert len(samples) == 1
    assert facts["time_to_quality_s"] == facts["pass_s"] == samples[0].host_s
    assert facts["train_s"] + facts["eval_s"] == pytest.approx(facts["pass_s"])
    assert 0 < facts["eval_s"] < facts["pass_s"]
    assert all(math.isfinite(value) for value in facts.values())
    assert step.texts()["ended"] == "target reached"
    step.close()


def test_a_target_that_is_not_reached_has_no_cost() -> None:
    step, samples = ran(target=1.9, steps_max=25)
    facts = step.facts()
    assert facts["reached"] == 0.0
    assert facts["steps"] == samples[0].inner_steps == 25
    assert facts["heldout_loss"] > 1.9
    assert not {name for name in facts if "to_quality" in name}
    assert step.verify().ok
    assert "not reached within 25 steps" in step.texts()["ended"]


def test_time_that_runs_out_is_not_a_target_reached() -> None:
    step = built(target=1.9, steps_max=10_000)
    step.samples(0.0)
    assert step.facts()["reached"] == 0.0
    assert step.steps == to_quality_run.EVALUATE_EVERY
    assert "out of time" in step.texts()["ended"]


def test_steps_without_the_pass_claim_nothing() -> None:
    step = built()
    step.run(0)
    assert "reached" not in step.facts()
    assert not {name for name in step.facts() if "to_quality" in name}
    assert step.verify().ok
    assert step.fingerprint() is None


def test_a_claimed_loss_that_is_not_so_is_seen() -> None:
    step, _ = ran()
    assert step.held_loss is not None
    step.held_loss -= 0.01
    verdict = step.verify()
    assert not verdict.ok
    assert "differs from the recomputed one" in verdict.detail


def test_weights_that_miss_the_claimed_target_are_seen() -> None:
    step, _ = ran()
    with torch.no_grad():
        step.masters[0].normal_()
    verdict = step.verify()
    assert not verdict.ok
    assert f"misses the target {EASY:g}" in verdict.detail


def test_training_on_held_out_sentences_is_seen() -> None:
    step, _ = ran()
    step.corpus[0] = step.held[0]
    verdict = step.verify()
    assert not verdict.ok
    assert "not those that the task draws" in verdict.detail
    assert "held-out sentences were trained on" in verdict.detail


def test_a_loss_that_is_no_number_ends_the_run_and_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    step = built(target=1.9)
    with torch.no_grad():
        step.masters[0].fill_(math.nan)
    step.samples(60.0)
    assert step.texts()["ended"] == "the held-out loss is not finite"
    assert step.facts()["reached"] == 0.0
    assert "heldout_loss" not in step.facts()
    verdict = step.verify()
    assert not verdict.ok and math.isfinite(verdict.error)


def test_a_seed_moves_weights_and_order_and_nothing_else() -> None:
    one, same, other = built(seed=1), built(seed=1), built(seed=2)
    assert torch.equal(one.masters[0], same.masters[0])
    assert not torch.equal(one.masters[0], other.masters[0])
    assert torch.equal(one._batch(), same._batch())
    assert not torch.equal(one._batch(), other._batch())
    assert torch.equal(one.held, other.held)
    assert torch.equal(one.corpus, other.corpus)


def test_warming_up_leaves_no_trace() -> None:
    step = built()
    assert (step.steps, step.evaluations, step.eval_s) == (0, 0, 0.0)
    assert "reached" not in step.facts()
    assert not step.optimizer.state


def test_one_cpu_core_trains_and_the_threads_are_given_back() -> None:
    before, seen = torch.get_num_threads(), []
    step = built()
    torch.set_num_threads(2)
    try:
        real = step.run
        step.run = lambda i: (seen.append(torch.get_num_threads()), real(i))  # type: ignore[method-assign,assignment]
        step.samples(60.0)
        assert step.verify().ok
        assert set(seen) == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_every_pass_over_the_corpus_takes_each_sentence_once() -> None:
    step = built()
    taken = torch.cat([step._batch() for _ in range(SENTENCES // to_quality_run.BATCH)])
    assert sorted(map(tuple, taken.tolist())) == sorted(map(tuple, step.corpus.tolist()))


def test_schedules() -> None:
    assert {rate_at(FP32, step) for step in (0, 10, 5000)} == {1e-3}
    rates = [rate_at(BF16, step) for step in range(500)]
    assert rates[0] == pytest.approx(BF16.rate / BF16.warmup_steps)
    assert max(rates) == BF16.rate == rates[BF16.warmup_steps]
    assert BF16.decay_steps is not None
    falling = rates[BF16.warmup_steps : BF16.decay_steps]
    assert falling == sorted(falling, reverse=True)
    assert rates[-1] == pytest.approx(BF16.rate_last * BF16.rate)


def test_the_plain_recipe_is_the_optimizer_as_torch_ships_it() -> None:
    weight = torch.zeros(2, 2, requires_grad=True)
    shipped = torch.optim.AdamW([weight]).param_groups[0]
    ours = to_quality_recipe.optimizer(FP32, [weight]).param_groups[0]
    assert {name: ours[name] for name in ("lr", "betas", "eps", "weight_decay")} == {
        name: shipped[name] for name in ("lr", "betas", "eps", "weight_decay")
    }


def test_clipping_bounds_all_gradients_together() -> None:
    weights = [torch.zeros(3, requires_grad=True), torch.zeros(2, 2, requires_grad=True)]
    for weight in weights:
        weight.grad = torch.full_like(weight, 5.0)
    to_quality_recipe.clip(FP32, weights)
    assert float(weights[0].grad[0]) == 5.0
    to_quality_recipe.clip(BF16, weights)
    assert math.hypot(*(float(w.grad.norm()) for w in weights)) == pytest.approx(1.0, rel=1e-4)


def test_every_recipe_says_all_its_settings() -> None:
    assert "constant rate 0.001" in to_quality_recipe.words(FP32)
    assert "cosine" in to_quality_recipe.words(BF16) and "0.02" in to_quality_recipe.words(BF16)
    with pytest.raises(ValueError, match="there are: fp32-adamw-constant"):
        recipe("sgd")


def test_fit_support_label_and_outputs() -> None:
    fitted = to_quality.fit(Params(), cpu())
    assert (fitted.target, fitted.steps_max) == (to_quality.TARGET, to_quality.STEPS_MAX)
    assert to_quality.label(fitted) == "fp32-adamw-constant-s0"
    other = msgspec.structs.replace(fitted, target=2.5, steps_max=7, seed=3)
    assert to_quality.label(other) == "fp32-adamw-constant-s3-t2.5-n7"
    keys = [output.key for output in to_quality.outputs(fitted)]
    assert keys == [f"quality.to_quality.fp32_adamw_constant.s0.{name}" for name in ("reached", "heldout_loss")]
    bf16 = to_quality.fit(Params(recipe="bf16-adamw-warmup-decay"), cpu())
    assert to_quality.support(bf16, cpu()).emulated
    assert not to_quality.support(bf16, cpu("avx512_bf16")).emulated
    assert str(to_quality.support(bf16, gpu(capability="7.5")).skip).startswith("not applicable: bf16")
    with pytest.raises(ValueError, match="must be fitted"):
        to_quality.label(Params())


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"target": 1.2}, "no model can reach it"),
        ({"recipe": "sgd"}, "recipe"),
        ({"seed": -1}, "seed"),
        ({"steps_max": 0}, "steps_max"),
        ({"rate": 1.0}, "rate"),
    ],
)
def test_bad_parameters_are_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=says):
        msgspec.convert(wrong, Params)
