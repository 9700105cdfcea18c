"""What quality costs: seeds join into one figure with an interval, recipes separate, nothing unwelcome is dropped."""

import math
from typing import Any

import msgspec
import pytest

from effbench.catalog.findings import codes as known_codes
from effbench.kernels import to_quality as kernel
from effbench.model.energy import Energy
from effbench.model.event import Tool, Verify
from effbench.model.finding import Finding
from effbench.model.inventory import Accelerator, Inventory
from effbench.model.plan import Placement, Plan, Trial
from effbench.model.quantity import Interval, Quantity
from effbench.model.record import Measurement, Record, Round
from effbench.model.scorecard import Metric
from effbench.model.suite import Procedure
from effbench.model.unit import Unit
from effbench.score.quality import to_quality
from effbench.score.seeds import joined, ratio

CPU = Accelerator("cpu", "cpu", "amd", "a CPU", "cpu", 8 << 30, 1 << 20)
CONSTANT, DECAY = "fp32-adamw-constant", "bf16-adamw-warmup-decay"
STEM = "quality.to_quality"
STEPS = {CONSTANT: (800, 900, 840), DECAY: (360, 340, 400)}
STEP_S, STEP_FLOP, WATTS = 0.02, 1e9, 50.0


def trial(recipe: str, seed: int, **params: Any) -> Trial:
    fitted = kernel.fit(kernel.Params(recipe=recipe, seed=seed, **params), CPU)  # type: ignore[arg-type]
    return Trial(
        f"to-quality:{kernel.label(fitted)}@cpu",
        "to-quality",
        "to_quality",
        1,
        msgspec.to_builtins(fitted),
        Placement(["cpu"]),
        Procedure(mode="once"),
        kernel.work(fitted),
        kernel.outputs(fitted),
        "key",
        60,
        1,
    )


def facts(steps: int, reached: bool = True) -> dict[str, float]:
    found = {
        "reached": float(reached),
        "steps": float(steps),
        "heldout_loss": 1.895 if reached else 1.99,
        "pass_s": steps * STEP_S,
        "evaluate_every": 20.0,
    }
    if reached:
        found |= {
            "time_to_quality_s": steps * STEP_S,
            "flop_to_quality": steps * STEP_FLOP,
            "steps_to_quality": float(steps),
        }
    return found


def energy(seconds: float, **changes: Any) -> Energy:
    joules = WATTS * seconds
    plain = Energy(
        "cpu",
        "valid",
        sensor="cpu.package",
        scope="package",
        window_s=seconds,
        windows=1,
        energy=Quantity(joules, Unit.JOULE),
        energy_interval=Interval(joules * 0.96, joules * 1.04),
    )
    return msgspec.structs.replace(plain, **changes)


def measured(of: Trial, steps: int, **changes: Any) -> Measurement:
    plain = Measurement(
        of.id,
        "cpu",
        "valid",
        step_s=Quantity(STEP_S, Unit.SECOND),
        interval=Interval(STEP_S * 0.99, STEP_S * 1.01),
        rounds=[Round(0, "done", facts=facts(steps))],
        verify=Verify(True, 0.0, 1e-6),
    )
    return msgspec.structs.replace(plain, **changes)


def pairs(steps: dict[str, tuple[int, ...]] | None = None, **params: Any) -> list[tuple[Trial, Measurement]]:
    made = []
    for recipe, many in (steps or STEPS).items():
        for seed, count in enumerate(many):
            of = trial(recipe, seed, **params)
            made.append((of, measured(of, count)))
    return made


def changed(of: list[tuple[Trial, Measurement]], at: int, **changes: Any) -> list[tuple[Trial, Measurement]]:
    of = list(of)
    of[at] = (of[at][0], msgspec.structs.replace(of[at][1], **changes))
    return of


def scored(of: list[tuple[Trial, Measurement]]) -> tuple[dict[str, Metric], list[Finding]]:
    trials = [one for one, _ in of]
    plan = Plan("effbench.plan/1", "d", "s", "s", "c", {}, "i", 1, 1, 1, 300, 60, trials, ["cpu"])
    record = Record(
        "effbench.record/1",
        "d",
        plan,
        Inventory("n", [CPU]),
        [m for _, m in of if m is not None],
        "2026-11-21T10:00:00+00:00",
        Tool("0", "s"),
        "j",
        "complete",
        1,
    )
    findings: list[Finding] = []
    metrics = to_quality(record, findings)
    assert len({m.key for m in metrics}) == len(metrics)
    for one in findings:
        assert one.code in known_codes()
    return {m.key: m for m in metrics}, findings


def codes(findings: list[Finding]) -> set[str]:
    return {one.code for one in findings}


def test_seeds_join_into_a_geometric_mean_with_students_interval() -> None:
    metrics, findings = scored(pairs())
    flop = metrics[f"{STEM}.fp32_adamw_constant.flop"]
    logs = [math.log(steps * STEP_FLOP) for steps in STEPS[CONSTANT]]
    mean = sum(logs) / 3
    assert flop.quantity.value == pytest.approx(math.exp(mean))
    assert flop.quantity.unit == Unit.FLOP
    between = sum((one - mean) ** 2 for one in logs) / 2
    resolution = sum(20 / steps for steps in STEPS[CONSTANT]) / 3
    half = 4.302653 * math.sqrt((between + resolution**2 / 12) / 3)  # Student, two degrees of freedom
    assert flop.interval is not None
    assert math.log(flop.interval.high) == pytest.approx(mean + half, rel=1e-6)
    assert math.log(flop.interval.low) == pytest.approx(mean - half, rel=1e-6)
    assert (flop.interval.method, flop.interval.n_samples) == ("seeds(3)", 3)
    assert flop.params["by_seed"] == {str(i): n * STEP_FLOP for i, n in enumerate(STEPS[CONSTANT])}
    assert len(flop.evidence) == 3
    assert metrics[f"{STEM}.fp32_adamw_constant.heldout_loss"].quantity.value == pytest.approx(1.895)
    assert codes(findings) == {"to-quality-no-joules"}


def test_two_recipes_separate_beyond_their_seeds() -> None:
    separation = scored(pairs())[0][f"{STEM}.separation"]
    assert separation.quantity.value == pytest.approx((800 * 900 * 840 / (360 * 340 * 400)) ** (1 / 3))
    assert separation.interval is not None and separation.interval.low > 1
    assert separation.params["over"] == CONSTANT
    assert len(separation.evidence) == 6


def test_recipes_that_differ_less_than_their_seeds_do_not_separate() -> None:
    separation = scored(pairs({CONSTANT: (400, 800, 1200), DECAY: (360, 700, 1000)}))[0][f"{STEM}.separation"]
    assert separation.interval is not None
    assert separation.interval.low < 1 < separation.interval.high


def test_welchs_interval_against_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    first, second = {0: 800.0, 1: 900.0, 2: 840.0}, {0: 360.0, 1: 340.0, 2: 400.0, 3: 371.0}
    value, interval = ratio(joined(first, 0.0, 0.0, ""), joined(second, 0.0, 0.0, ""))
    logs = [[math.log(x) for x in side.values()] for side in (first, second)]
    oracle = stats.ttest_ind(*logs, equal_var=False).confidence_interval(0.95)
    assert interval is not None
    # Degrees of freedom are rounded down here, so the interval is a little wider.
    assert math.log(interval.low) <= oracle.low <= math.log(value) <= oracle.high <= math.log(interval.high)
    assert math.log(interval.high / interval.low) < 1.3 * (oracle.high - oracle.low)


def test_equal_seeds_do_not_claim_certainty() -> None:
    metrics, _ = scored(pairs({CONSTANT: (800, 800, 800), DECAY: (360, 360, 360)}))
    interval = metrics[f"{STEM}.fp32_adamw_constant.steps"].interval
    assert interval is not None
    assert interval.high - interval.low > 20


def test_more_recipes_widen_the_interval_of_the_extremes() -> None:
    over, under = joined({0: 8.0, 1: 9.0, 2: 8.4}, 0.0, 0.0, ""), joined({0: 3.6, 1: 3.4, 2: 4.0}, 0.0, 0.0, "")
    one, three = ratio(over, under)[1], ratio(over, under, pairs=3)[1]
    assert one is not None and three is not None
    assert three.low < one.low < one.high < three.high


def test_a_seed_that_missed_takes_its_recipe_and_the_separation_away() -> None:
    missed = Round(0, "done", facts=facts(2500, reached=False))
    metrics, findings = scored(changed(pairs(), 1, rounds=[missed]))
    assert not [key for key in metrics if "fp32" in key or "separation" in key]
    assert f"{STEM}.bf16_adamw_warmup_decay.flop" in metrics
    told = next(one for one in findings if one.code == "to-quality-missed")
    assert "seed 1 did not reach the held-out loss 1.95 in 2500 steps; it came to 1.99" in told.message
    assert any("separation is absent: fp32-adamw-constant has no cost" in one.message for one in findings)


def test_a_missed_round_counts_even_when_another_round_got_there() -> None:
    rounds = [Round(0, "done", facts=facts(800)), Round(1, "done", facts=facts(2500, reached=False))]
    metrics, findings = scored(changed(pairs(), 0, rounds=rounds))
    assert not [key for key in metrics if "fp32" in key]
    assert "to-quality-missed" in codes(findings)


LACKING = facts(800)
del LACKING["flop_to_quality"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"status": "invalid", "detail": "no round was completed"}, "seed 0 is invalid: no round was completed"),
        ({"status": "failed", "detail": "wrong result"}, "seed 0 is failed: wrong result"),
        ({"verify": None}, "was not verified"),
        ({"verify": Verify(False, 1.0, 1e-6)}, "was not verified"),
        ({"rounds": []}, "cut off"),
        ({"rounds": [Round(0, "done", facts=facts(800)), Round(1, "cut off")]}, "cut off"),
        ({"rounds": [Round(0, "done")]}, "mode `once`"),
        ({"rounds": [Round(0, "done", facts=LACKING)]}, "mode `once`"),
        ({"rounds": [Round(0, "done", facts={**facts(800), "reached": 0.5})]}, "mode `once`"),
    ],
)
def test_evidence_that_is_not_whole_leaves_no_figure(changes: dict[str, Any], says: str) -> None:
    metrics, findings = scored(changed(pairs(), 0, **changes))
    assert not [key for key in metrics if "fp32" in key or "separation" in key]
    assert any(one.code == "to-quality-incomplete" and says in one.message for one in findings)


def test_a_trial_without_a_measurement_is_not_forgotten() -> None:
    of: list[Any] = list(pairs())
    of[2] = (of[2][0], None)
    metrics, findings = scored(of)
    assert not [key for key in metrics if "fp32" in key]
    assert any("seed 2 is invalid: it was not measured" in one.message for one in findings)


def test_fewer_than_three_seeds_have_no_interval() -> None:
    metrics, findings = scored(pairs({CONSTANT: (800, 900), DECAY: (360, 340)}))
    assert metrics and all(m.interval is None for m in metrics.values())
    assert "to-quality-few-seeds" in codes(findings)


def test_the_same_seed_twice_is_one_seed() -> None:
    of = pairs({CONSTANT: (800, 900)})
    again = (msgspec.structs.replace(of[0][0], id="other@cpu"), msgspec.structs.replace(of[0][1], trial="other@cpu"))
    metrics, findings = scored([*of, again])
    assert metrics[f"{STEM}.fp32_adamw_constant.flop"].interval is None
    assert "to-quality-few-seeds" in codes(findings)


def test_trials_that_differ_in_more_than_the_seed_are_not_joined() -> None:
    of = pairs({CONSTANT: (800, 900)})
    other = trial(CONSTANT, 2, target=2.5)
    metrics, findings = scored([*of, (other, measured(other, 200))])
    assert not metrics
    assert "differ in more than the seed" in findings[0].message


def test_recipes_with_different_targets_are_not_held_against_each_other() -> None:
    of = pairs({CONSTANT: STEPS[CONSTANT]}) + pairs({DECAY: STEPS[DECAY]}, target=2.5)
    metrics, findings = scored(of)
    assert f"{STEM}.bf16_adamw_warmup_decay.flop" in metrics
    assert not [key for key in metrics if "separation" in key]
    assert any("different targets (1.95, 2.5)" in one.message for one in findings)


def test_one_recipe_alone_separates_from_nothing() -> None:
    metrics, findings = scored(pairs({CONSTANT: STEPS[CONSTANT]}))
    assert not [key for key in metrics if "separation" in key]
    assert codes(findings) == {"to-quality-no-joules"}


def test_a_disturbed_seed_makes_its_recipe_suspect() -> None:
    metrics, _ = scored(changed(pairs(), 0, status="suspect"))
    assert metrics[f"{STEM}.fp32_adamw_constant.flop"].status == "suspect"
    assert metrics[f"{STEM}.bf16_adamw_warmup_decay.flop"].status == "valid"
    assert metrics[f"{STEM}.separation"].status == "suspect"


def test_a_recipe_that_does_not_apply_is_left_out_without_a_word() -> None:
    of = [
        (msgspec.structs.replace(one, skipped="not applicable: no bf16"), m)
        if one.params["recipe"] == DECAY
        else (one, m)
        for one, m in pairs()
    ]
    metrics, findings = scored(of)
    assert f"{STEM}.fp32_adamw_constant.flop" in metrics
    assert not [key for key in metrics if "bf16" in key or "separation" in key]
    assert codes(findings) == {"to-quality-no-joules"}


def with_energy(**changes: Any) -> list[tuple[Trial, Measurement]]:
    return [
        (one, msgspec.structs.replace(m, energy=energy(m.rounds[0].facts["pass_s"], **changes))) for one, m in pairs()
    ]


def test_joules_carry_the_sensors_uncertainty_undivided() -> None:
    metrics, findings = scored(with_energy())
    joules = metrics[f"{STEM}.fp32_adamw_constant.joules"]
    steps = metrics[f"{STEM}.fp32_adamw_constant.steps"]
    assert joules.quantity.value == pytest.approx(steps.quantity.value * STEP_S * WATTS)
    assert joules.interval is not None and steps.interval is not None
    plain = math.log(steps.interval.high / steps.quantity.value)
    assert math.log(joules.interval.high / joules.quantity.value) == pytest.approx(math.hypot(plain, 0.04))
    assert joules.interval.method == "seeds(3)+sensor"
    assert f"{STEM}.separation_joules" in metrics
    assert not findings


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"status": "absent", "energy": None, "reason": "no sensor", "remedy": "Attach a meter."}, "no sensor; Attach"),
        ({"status": "invalid", "reason": "the ledger disagrees"}, "the ledger disagrees"),
        ({"window_s": 3.0}, "energy windows of seed 0 are 3 s, its training 16 s"),
    ],
)
def test_joules_of_anything_but_whole_runs_are_absent(changes: dict[str, Any], says: str) -> None:
    metrics, findings = scored(with_energy(**changes))
    assert not [key for key in metrics if "joules" in key]
    assert f"{STEM}.fp32_adamw_constant.time" in metrics
    assert any(one.code == "to-quality-no-joules" and says in one.message for one in findings)


def test_joules_whose_sensor_states_no_interval_have_none() -> None:
    metrics, _ = scored(with_energy(energy_interval=None))
    assert metrics[f"{STEM}.fp32_adamw_constant.joules"].interval is None
    assert metrics[f"{STEM}.separation_joules"].interval is None


def test_a_record_without_such_trials_says_nothing() -> None:
    other = msgspec.structs.replace(trial(CONSTANT, 0), kernel="gemm")
    assert scored([(other, measured(other, 1))]) == ({}, [])


@pytest.mark.parametrize("values", [{}, {0: 0.0}, {0: 1.0, 1: -2.0}])
def test_figures_that_have_no_logarithm_are_refused(values: dict[int, float]) -> None:
    with pytest.raises(ValueError, match="above zero"):
        joined(values, 0.0, 0.0, "")
