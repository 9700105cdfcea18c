"""Scoring is pure: rates, fractions only where a denominator applies, the worst device as the node's figure."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from effbench.model.digest import digest
from effbench.model.event import Tool, Verify
from effbench.model.inventory import Accelerator, CpuFacts, Inventory, Part
from effbench.model.plan import Output, Placement, Plan, Trial, Work
from effbench.model.quantity import Interval, Quantity
from effbench.model.record import ClockSpread, Measurement, Record
from effbench.model.scorecard import Metric, Scorecard
from effbench.model.suite import Procedure
from effbench.model.unit import Unit
from effbench.score.node import score

PEAK, PER_CLOCK, SMS, CLOCK = 989.4e12, 4096.0, 132, 1.83e9
GEMM = "compute.gemm.bf16"
PART = Part(
    "nvidia-h200-sxm",
    "an H200",
    "high",
    "datasheet",
    "2026-11",
    "row",
    peak_flops={"bf16": PEAK},
    flops_per_clock={"bf16": PER_CLOCK},
    memory_bandwidth=4.8e12,
    clock_hz=CLOCK,
)


def gpu(key: str = "gpu0", **changes: Any) -> Accelerator:
    plain = Accelerator(key, "gpu", "nvidia", "NVIDIA H200", "cuda:0", 141 << 30, 50 << 20, sm_count=SMS, part=PART)
    return msgspec.structs.replace(plain, **changes)


def trial(name: str, device: str = "gpu0", **changes: Any) -> Trial:
    shape = {"dtype": "bf16", "m": 8192, "n": 8192, "k": 8192}
    output = Output(f"{GEMM}.{name}.flops", "flop", "bf16", f"{GEMM}.flops", fractions=True)
    work = Work(flop=1e12)
    plain = Trial(
        f"gemm:{name}@{device}",
        "gemm",
        "gemm",
        1,
        shape,
        Placement([device]),
        Procedure(),
        work,
        [output],
        "key",
        60,
        1,
    )
    return msgspec.structs.replace(plain, **changes)


def measured(of: Trial, step_s: float, **changes: Any) -> Measurement:
    plain = Measurement(
        of.id,
        of.placement.devices[0],
        "valid",
        step_s=Quantity(step_s, Unit.SECOND),
        interval=Interval(step_s * 0.99, step_s * 1.01),
        clock_hz=ClockSpread(CLOCK, CLOCK),
        verify=Verify(True, 0.0, 1e-3),
    )
    return msgspec.structs.replace(plain, **changes)


def record(pairs: list[tuple[Trial, Measurement]], *accelerators: Accelerator, **changes: Any) -> Record:
    inventory = Inventory("n", list(accelerators) or [gpu()])
    trials = [t for t, _ in pairs]
    devices = list(dict.fromkeys(t.placement.devices[0] for t in trials))
    plan = Plan("effbench.plan/1", "d", "s", "s", "c", {}, digest(inventory), 1, 2, 2, 60, 60, trials, devices)
    plain = Record(
        "effbench.record/1",
        "d",
        plan,
        inventory,
        [m for _, m in pairs],
        "2026-11-21T10:00:00+00:00",
        Tool("0", "s"),
        "j",
        "complete",
        2,
    )
    return msgspec.structs.replace(plain, **changes)


def one(card: Scorecard, key: str, device: str | None = None) -> Metric:
    return next(m for m in card.metrics if m.key == key and m.device == device)


def keys(card: Scorecard) -> set[str]:
    return {m.key for m in card.metrics}


SHAPE = "m8192n8192k8192"


def test_a_rate_and_its_fractions() -> None:
    t = trial(SHAPE)
    card = score(record([(t, measured(t, 1.25e-3))]))
    rate = one(card, f"{GEMM}.{SHAPE}.flops")
    assert rate.quantity.value == pytest.approx(8e14)
    assert rate.interval is not None
    assert rate.interval.low == pytest.approx(8e14 / 1.01)
    assert one(card, f"{GEMM}.fraction_of_rated_peak").quantity.value == pytest.approx(8e14 / PEAK)
    held = PER_CLOCK * SMS * CLOCK
    assert one(card, f"{GEMM}.fraction_at_held_clock").quantity.value == pytest.approx(8e14 / held)
    assert one(card, f"{GEMM}.flops").params["m"] == 8192


def test_the_headline_is_the_best_shape_by_median() -> None:
    slow, fast = trial("m4096n4096k4096"), trial(SHAPE)
    card = score(record([(slow, measured(slow, 2e-3)), (fast, measured(fast, 1.25e-3))]))
    assert one(card, f"{GEMM}.flops").evidence == [fast.id]


def test_above_the_peak_at_the_held_clock_is_invalid_and_named() -> None:
    t = trial(SHAPE)
    card = score(record([(t, measured(t, 0.9e-3))]))
    family = [m for m in card.metrics if m.key.startswith(GEMM)]
    assert family
    assert {m.status for m in family} == {"invalid"}, "nothing of an impossible figure may be graded"
    assert "above-peak" in {f.code for f in card.findings}


def test_an_unknown_part_has_rates_and_no_fractions() -> None:
    t = trial(SHAPE)
    card = score(record([(t, measured(t, 1e-3))], gpu(part=None)))
    assert f"{GEMM}.flops" in keys(card)
    assert not any("fraction" in key for key in keys(card))
    assert "part-unknown" in {f.code for f in card.findings}


def test_an_emulated_dtype_is_never_held_against_a_peak() -> None:
    t = trial(SHAPE, emulated=True)
    card = score(record([(t, measured(t, 1e-3))]))
    assert not any("fraction" in key for key in keys(card))


def test_an_unknown_clock_leaves_out_only_what_needs_it() -> None:
    t = trial(SHAPE)
    card = score(record([(t, measured(t, 1.25e-3, clock_hz=None))]))
    assert f"{GEMM}.fraction_of_rated_peak" in keys(card)
    assert f"{GEMM}.fraction_at_held_clock" not in keys(card)
    assert "clock-unknown" in {f.code for f in card.findings}


def test_a_cpu_has_one_fraction_of_peak() -> None:
    part = msgspec.structs.replace(PART, id="cpu-x", peak_flops={}, flops_per_clock={"fp32": 32.0}, emulated=["fp16"])
    facts = CpuFacts("AuthenticAMD", 25, 17, "EPYC", [], 2.0, 2, 2, [0, 1])
    cpu = Accelerator("cpu", "cpu", "amd", "EPYC", "cpu", 8 << 30, 32 << 20, cpu=facts, part=part)
    output = Output("compute.gemm.fp32.flops", "flop", "fp32", fractions=True)
    t = trial(SHAPE, "cpu", outputs=[output], work=Work(flop=1e11))
    clock = ClockSpread(3.6e9, 3.6e9)
    card = score(record([(t, measured(t, 0.5, clock_hz=clock))], cpu))
    assert "compute.gemm.fp32.fraction_of_rated_peak" not in keys(card)
    expected = 2e11 / (2 * 32 * 3.6e9)
    assert one(card, "compute.gemm.fp32.fraction_at_held_clock").quantity.value == pytest.approx(expected)


def test_the_node_is_its_worst_device_with_the_spread() -> None:
    a, b = trial(SHAPE, "gpu0"), trial(SHAPE, "gpu1")
    card = score(record([(a, measured(a, 1.2e-3)), (b, measured(b, 1.5e-3))], gpu("gpu0"), gpu("gpu1")))
    node = one(card, f"{GEMM}.flops")
    assert node.quantity.value == pytest.approx(1e12 / 1.5e-3)
    assert node.params["worst_device"] == "gpu1"
    assert node.params["spread"] == pytest.approx(0.25)
    assert card.subject == "node"


def test_a_device_without_a_figure_leaves_the_node_without_one() -> None:
    a, b = trial(SHAPE, "gpu0"), trial(SHAPE, "gpu1")
    lost = Measurement(b.id, "gpu1", "failed", "the worker was killed")
    card = score(record([(a, measured(a, 1.2e-3)), (b, lost)], gpu("gpu0"), gpu("gpu1")))
    assert not [m for m in card.metrics if m.key == f"{GEMM}.flops" and m.device is None]
    assert card.coverage == pytest.approx(0.5)


def test_fewer_devices_than_the_driver_lists_is_not_the_node() -> None:
    t = trial(SHAPE, "gpu0")
    assert score(record([(t, measured(t, 1e-3))], gpu("gpu0"), gpu("gpu1"))).subject == "device"


def test_a_wrong_result_has_no_speed_and_is_counted() -> None:
    t = trial(SHAPE)
    wrong = measured(t, 1e-3, status="failed", verify=Verify(False, 1.0, 1e-3))
    card = score(record([(t, wrong)]))
    assert f"{GEMM}.flops" not in keys(card)
    assert one(card, "health.wrong_results").quantity.value == 1


def test_what_is_not_applicable_does_not_count_against_coverage() -> None:
    a, b = trial(SHAPE), trial("m1n1k1", skipped="not applicable: no")
    skipped = Measurement(b.id, "gpu0", "skipped", "not applicable: no")
    assert score(record([(a, measured(a, 1.25e-3)), (b, skipped)])).coverage == 1.0


def test_the_waterfall_names_each_loss() -> None:
    g = trial(SHAPE)
    step = Output("train.step.mfu", "fraction", "bf16")
    t = trial("x", kernel="train_step", id="train@gpu0", outputs=[step], work=Work(flop=4e11), params={"config": "4b"})
    card = score(record([(g, measured(g, 1.25e-3)), (t, measured(t, 1e-3))]))
    (fall,) = card.waterfalls
    assert [s.name for s in fall.stages] == ["rated_peak", "held_clock_peak", "best_gemm", "train_step"]
    shares = [s.share for s in fall.stages]
    assert shares[0] == 1.0
    assert shares[2] == pytest.approx(8e14 / PEAK)
    assert shares[3] == pytest.approx(4e14 / PEAK)
    assert all(s.explanation for s in fall.stages)


@given(step=st.floats(1.2e-3, 1.0), factor=st.floats(1.0, 10.0))
def test_score_is_monotone_in_step_time(step: float, factor: float) -> None:
    t = trial(SHAPE)
    fast, slow = (score(record([(t, measured(t, s))])) for s in (step, step * factor))
    for key in keys(fast) & keys(slow):
        if key.startswith(GEMM):
            assert one(slow, key).quantity.value <= one(fast, key).quantity.value * (1 + 1e-12)


def test_the_same_record_gives_the_same_bytes(tmp_path: Path) -> None:
    t = trial(SHAPE)
    made = record([(t, measured(t, 1.25e-3))])
    assert msgspec.json.encode(score(made)) == msgspec.json.encode(score(made))


def test_the_reasons_it_explains_are_the_names_that_records_carry() -> None:
    from effbench.device.nvml_reasons import HARDWARE, NAMES, POWER, THERMAL
    from effbench.score.waterfall import CAPPED, HARD

    assert {NAMES[bit] for bit in NAMES if bit & (HARDWARE | THERMAL)} >= HARD
    assert CAPPED in {NAMES[bit] for bit in NAMES if bit & POWER}


@pytest.mark.parametrize(
    ("reasons", "word"), [(["hw_thermal_slowdown"], "heat"), (["sw_power_cap"], "power cap"), ([], "no reason")]
)
def test_a_clock_held_down_is_explained_by_its_reason(reasons: list[str], word: str) -> None:
    t = trial(SHAPE)
    slow = measured(t, 1.5e-3, clock_hz=ClockSpread(1.4e9, 1.4e9), throttle_reasons=reasons)
    (fall,) = score(record([(t, slow)])).waterfalls
    assert word in fall.stages[1].explanation
