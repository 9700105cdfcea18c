"""A soak is judged by its end and its evenness: heat that comes late, stalls and throttled batches cannot hide."""

import msgspec
import pytest
from test_grade import card, count, share
from test_score import GEMM, SHAPE, keys, measured, one, record, trial

from effbench import api
from effbench.device.nvml_reasons import HW_THERMAL_SLOWDOWN, SW_POWER_CAP
from effbench.model.event import Sample, Telemetry
from effbench.model.record import Soak
from effbench.model.scorecard import DeviceCard, Metric
from effbench.model.suite import Procedure
from effbench.run.soak import soak
from effbench.score.node import score

PROCEDURE = Procedure(duration_s=600, energy=True)
BATCH_S = 2.0


def samples(steps: list[float], **changes: object) -> list[Sample]:
    """Batches of two seconds one after another; `steps` are seconds a repetition."""
    made = []
    for number, step in enumerate(steps):
        plain = Sample(int((number + 1) * BATCH_S * 1e9), BATCH_S, BATCH_S, max(1, round(BATCH_S / step)))
        made.append(msgspec.structs.replace(plain, device_s=step * plain.inner_steps, **changes))
    return made


def readings(masks: list[int | None]) -> list[Telemetry]:
    return [Telemetry(int((n + 1) * 1e9), "gpu0", reasons=mask) for n, mask in enumerate(masks)]


def went(steps: list[float], masks: list[int | None] | None = None, procedure: Procedure = PROCEDURE) -> Soak | None:
    return soak(procedure, "gpu", [(samples(steps), readings(masks if masks is not None else [0] * 100))])


def test_an_even_soak() -> None:
    found = went([0.010, 0.0102] * 150)
    assert found is not None
    assert found.step_s.value == pytest.approx(0.0101, rel=0.02)
    assert found.interval.low < found.step_s.value < found.interval.high
    assert found.window_s == pytest.approx(600)
    assert abs(found.movement) < 0.002 and found.movement_low <= found.movement <= found.movement_high
    assert found.p5_over_p50 > 0.97 and found.variation < 0.02 and found.throttle_share == 0


def test_the_last_third_counts_and_not_the_cool_start() -> None:
    found = went([0.010] * 200 + [0.015] * 100)
    assert found is not None and found.step_s.value == pytest.approx(0.015)


def test_a_slow_rise_is_told() -> None:
    found = went([0.010 * (1 + 0.1 * n / 300) for n in range(300)])
    assert found is not None
    assert found.movement == pytest.approx(0.095, abs=0.01) and found.movement_low > 0.08


def test_stalls_show_in_the_slowest_twentieth() -> None:
    found = went(([0.010] * 9 + [0.020]) * 30)
    assert found is not None and found.p5_over_p50 == pytest.approx(0.5) and found.variation > 0.2


def test_throttled_batches_are_part_of_the_soak() -> None:
    """They are rejected for the ordinary figure; leaving them out here would hide the fault that is looked for."""
    cool, hot = samples([0.010] * 300)[:200], samples([0.030] * 300, accepted=False, reason="throttled")[200:]
    found = soak(PROCEDURE, "gpu", [([*cool, *hot], readings([0] * 400 + [HW_THERMAL_SLOWDOWN] * 200))])
    assert found is not None
    assert found.step_s.value == pytest.approx(0.030)
    assert found.throttle_share == pytest.approx(1 / 3)


def test_other_rejected_batches_are_not() -> None:
    bad = samples([0.010] * 299) + samples([0.5] * 300, accepted=False, reason="interrupted")[299:]
    found = soak(PROCEDURE, "gpu", [(bad, readings([0]))])
    assert found is not None and found.step_s.value == pytest.approx(0.010)


@pytest.mark.parametrize(
    ("masks", "expected"),
    [
        ([SW_POWER_CAP] * 100, 0.0),
        ([HW_THERMAL_SLOWDOWN | SW_POWER_CAP] * 10 + [0] * 90, 0.1),
        ([], None),
        ([None] * 100, None),
        ([0] * 80 + [None] * 20, None),
    ],
    ids=["power cap", "a tenth", "no telemetry", "no reasons", "a fifth unknown"],
)
def test_the_throttled_share_needs_reasons_that_were_read(masks: list[int | None], expected: float | None) -> None:
    found = went([0.010] * 300, masks)
    assert found is not None and found.throttle_share == expected


@pytest.mark.parametrize(
    ("steps", "procedure"),
    [
        ([0.010] * 300, Procedure(duration_s=60)),
        ([0.010] * 300, Procedure(duration_s=600, mode="burst")),
        ([0.010] * 100, PROCEDURE),
        ([], PROCEDURE),
    ],
    ids=["short by plan", "not sustained", "ended early", "nothing"],
)
def test_what_is_no_soak_gives_none(steps: list[float], procedure: Procedure) -> None:
    assert went(steps, None, procedure) is None


def test_of_several_rounds_the_worst_counts() -> None:
    calm, hot = samples([0.010] * 300), samples([0.010 * (1 + n / 3000) for n in range(300)])
    both = soak(PROCEDURE, "gpu", [(calm, readings([0])), (hot, readings([HW_THERMAL_SLOWDOWN]))])
    alone = soak(PROCEDURE, "gpu", [(hot, readings([0]))])
    assert both is not None and alone is not None
    assert both.movement == alone.movement and both.throttle_share == 1


def scored(**changes: object) -> tuple:
    held = went([0.00130, 0.00131] * 150)
    assert held is not None
    t = trial(SHAPE)
    return t, score(record([(t, measured(t, 1.25e-3, soak=msgspec.structs.replace(held, **changes)))]))


def test_the_end_of_the_soak_is_held_against_peak_and_reference() -> None:
    _, card = scored()
    whole, last = one(card, f"{GEMM}.flops"), one(card, f"{GEMM}.soak.flops")
    assert last.quantity.value == pytest.approx(1e12 / 0.001305, rel=0.01) and whole.quantity.value == 8e14
    assert last.interval is not None and last.interval.low < last.quantity.value < last.interval.high
    for name in ("fraction_of_rated_peak", "fraction_at_held_clock", "fraction_of_reference"):
        share, short = one(card, f"{GEMM}.soak.{name}"), one(card, f"{GEMM}.{name}")
        assert share.ceiling == short.ceiling
        assert share.quantity.value / short.quantity.value == pytest.approx(last.quantity.value / 8e14)
    assert one(card, f"{GEMM}.soak.slowdown").better == "lower"
    assert one(card, f"{GEMM}.soak.throttle_share").quantity.value == 0


def test_unknown_reasons_give_no_throttled_share() -> None:
    _, card = scored(throttle_share=None)
    assert f"{GEMM}.soak.throttle_share" not in keys(card) and f"{GEMM}.soak.slowdown" in keys(card)


def test_a_soak_that_was_too_fast_to_be_true_is_invalid_in_all_its_figures() -> None:
    t = trial(SHAPE)
    card = score(record([(t, measured(t, 1e-4, soak=went([1e-4] * 300)))]))
    mine = [m for m in card.metrics if ".soak." in m.key]
    assert mine and {m.status for m in mine} == {"invalid"}


@pytest.mark.parametrize("status", ["invalid", "failed"])
def test_unusable_evidence_gives_no_soak(status: str) -> None:
    t = trial(SHAPE)
    card = score(record([(t, measured(t, 1.25e-3, soak=went([0.0013] * 300), status=status))]))
    assert not any(".soak." in key for key in keys(card))


def test_a_run_without_a_soak_has_no_such_figure() -> None:
    t = trial(SHAPE)
    assert not any(".soak." in key for key in keys(score(record([(t, measured(t, 1.25e-3))]))))


def node_2026(kind: str, soaked: dict[str, float], planned: list[str] | None, **changes: object) -> str:
    """The verdict of node-2026 on a node that meets all else, with these figures of its soak."""
    policy = api.load_policy("node-2026")
    section = policy.gpu if kind == "gpu" else policy.cpu
    met = {g.metric: 1e12 if g.metric.endswith("bytes") else 0.0 for g in section.gates if ".soak." not in g.metric}
    shares = [share(rule.any_of[0], 0.99, 0.001) for domain in section.domains for rule in domain.metrics]
    found: list[Metric] = [msgspec.structs.replace(count(key, value), **changes) for key, value in soaked.items()]
    whole = [count(key, value, better="higher" if value else "lower") for key, value in met.items()]
    node = card(metrics=[*whole, *shares, *found], device_class=kind, devices=[DeviceCard(f"{kind}0", kind, "x")])
    node = msgspec.structs.replace(node, planned=planned)
    return api.grade(node, policy).verdict


@pytest.mark.parametrize(
    ("kind", "figure", "held", "late"),
    [
        ("gpu", "compute.gemm.bf16.soak.slowdown", 0.01, 0.08),
        ("gpu", "compute.gemm.bf16.soak.throttle_share", 0.0, 0.3),
        ("cpu", "compute.gemm.fp32.soak.slowdown", 0.04, 0.25),
    ],
)
def test_a_node_that_slows_down_late_in_its_soak_is_not_accepted(
    kind: str, figure: str, held: float, late: float
) -> None:
    soak = [figure.rpartition(".")[0]]
    assert node_2026(kind, {}, []) == "pass", "without a soak there is none to judge"
    assert node_2026(kind, {}, soak) == "not_rated", "a soak that was planned and gave nothing is missing evidence"
    assert node_2026(kind, {}, None) == "not_rated", "what was planned is not known"
    whole = {f"{soak[0]}.throttle_share": 0.0, f"{soak[0]}.slowdown": 0.0}
    assert node_2026(kind, whole | {figure: held}, soak) == "pass"
    assert node_2026(kind, whole | {figure: late}, soak) == "fail"
    assert node_2026(kind, {figure: late}, []) == "fail"
    assert node_2026(kind, whole | {figure: held}, soak, status="invalid") == "not_rated"
    assert node_2026(kind, whole | {figure: late}, soak, status="suspect") == "not_rated"


def test_the_card_says_which_soaks_were_planned() -> None:
    brief, long = trial(SHAPE), trial(SHAPE, procedure=Procedure(duration_s=600.0))
    assert f"{GEMM}.soak" not in (score(record([(brief, measured(brief, 1e-3))])).planned or [])
    failed = measured(long, 1e-3)
    failed = msgspec.structs.replace(failed, status="failed", step_s=None, interval=None)
    assert f"{GEMM}.soak" in (score(record([(long, failed)])).planned or [])
