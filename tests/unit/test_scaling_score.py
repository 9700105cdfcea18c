"""From records to measures of scaling: values by hand, intervals, and every way a figure must stay away."""

import random
from typing import Any

import msgspec
import pytest

from effbench.model.finding import Finding
from effbench.model.plan import Output, Work
from effbench.model.record import Record
from effbench.model.scaling import Curve, CurvePoint, Ratio, ScalingView
from effbench.model.scorecard import Metric, Stage, Waterfall
from effbench.score.node import score
from effbench.score.scaling import scaling
from effbench.score.scaling_fits import doubts
from effbench.score.waterfall import many_devices
from tests.unit.scaling_records import GRADIENTS, cost_s, gpus, node_of, step, sweep, team, with_trials

LATENCY, BANDWIDTH = 1e-4, 25e6


def scored(record: Record) -> tuple[dict[str, Metric], ScalingView, list[Finding]]:
    findings: list[Finding] = []
    metrics, view = scaling(record, findings)
    assert view is not None
    return {m.key: m for m in metrics}, view, findings


def point(curve: Curve, ranks: int) -> CurvePoint:
    return next(p for p in curve.points if p.ranks == ranks)


def simple(**more: Any) -> Record:
    """Weak and strong, one and two ranks of one core each, both with parts."""
    trials = [
        step(1, [1.00, 1.01, 0.99], **more),
        step(2, [1.25, 1.26, 1.24], **more),
        step(1, [1.0, 1.0, 1.0], "compute"),
        step(2, [1.05, 1.05, 1.05], "compute"),
        step(2, [0.30, 0.30, 0.30], "communication"),
        step(1, [2.0, 2.0, 2.0], scaling="strong"),
        step(2, [1.25, 1.25, 1.25], scaling="strong"),
    ]
    return with_trials(node_of(2), trials)


def test_values_by_hand() -> None:
    metrics, view, _ = scored(simple())
    weak, strong = "scale.weak.train_step.ddp.n2", "scale.strong.train_step.ddp.n2"
    assert metrics[f"{weak}.scaling_efficiency"].quantity.value == pytest.approx(0.8)
    assert metrics[f"{weak}.speed_up"].quantity.value == pytest.approx(1.6)
    assert metrics[f"{weak}.karp_flatt"].quantity.value == pytest.approx(0.25)
    assert metrics[f"{weak}.exposed_communication"].quantity.value == pytest.approx(0.2 / 1.25)
    assert metrics[f"{weak}.overlap"].quantity.value == pytest.approx((1.05 + 0.3 - 1.25) / 0.3)
    assert metrics[f"{strong}.scaling_efficiency"].quantity.value == pytest.approx(0.8)
    assert metrics[f"{strong}.speed_up"].quantity.value == pytest.approx(1.6)
    assert all(m.device is None and m.params["base"] == "one rank alone" for m in metrics.values())
    assert not any(".n1." in key for key in metrics)
    weak_curve = next(c for c in view.curves if c.scaling == "weak")
    assert (weak_curve.base_ranks, weak_curve.span, weak_curve.capacity) == (1, "node", 2)
    assert point(weak_curve, 1).efficiency == Ratio(1.0)


def test_the_interval_is_that_of_both_times() -> None:
    metrics, _, _ = scored(simple())
    own = metrics["scale.weak.train_step.ddp.n2.scaling_efficiency"].interval
    assert own is not None
    # One per cent on each side of both times: about 1.4 % of the ratio.
    assert own.low == pytest.approx(0.8 * (1 - 0.01 * 2**0.5), rel=1e-3)
    assert own.high == pytest.approx(0.8 * (1 + 0.01 * 2**0.5), rel=1e-3)
    assert own.method.startswith("two times")
    karp = metrics["scale.weak.train_step.ddp.n2.karp_flatt"].interval
    assert karp is not None
    assert karp.low < 0.25 < karp.high


def test_rounds_that_share_their_weather_are_paired() -> None:
    weather = [1.0, 1.3, 0.8, 1.1, 1.2]
    record = with_trials(
        node_of(2),
        [
            step(1, weather, half=0.3),
            step(2, [w * 1.25 * (1 + e) for w, e in zip(weather, (0, 1e-3, -1e-3, 5e-4, 0), strict=True)], half=0.3),
        ],
    )
    metrics, _, _ = scored(record)
    found = metrics["scale.weak.train_step.ddp.n2.scaling_efficiency"]
    assert found.interval is not None
    assert found.interval.method == "paired rounds"
    assert found.interval.n_processes == 5
    assert found.quantity.value == pytest.approx(0.8, rel=1e-3)
    assert found.interval.half_width < 0.005


def test_paired_intervals_hold_the_truth() -> None:
    held = 0
    for seed in range(200):
        rng = random.Random(seed)
        weather = [1 + 0.1 * rng.gauss(0, 1) for _ in range(5)]
        pairs = [(w * (1 + 0.02 * rng.gauss(0, 1)), 1.25 * w * (1 + 0.02 * rng.gauss(0, 1))) for w in weather]
        record = with_trials(node_of(2), [step(1, [a for a, _ in pairs]), step(2, [b for _, b in pairs])])
        own = scored(record)[0]["scale.weak.train_step.ddp.n2.scaling_efficiency"].interval
        assert own is not None
        held += own.low <= 0.8 <= own.high
    assert held >= 180


def test_without_an_interval_of_the_base_there_is_none() -> None:
    record = simple()
    bare = [msgspec.structs.replace(m, interval=None) if "n1" in m.trial else m for m in record.measurements]
    metrics, view, _ = scored(msgspec.structs.replace(record, measurements=bare))
    found = metrics["scale.weak.train_step.ddp.n2.scaling_efficiency"]
    assert found.quantity.value == pytest.approx(0.8)
    assert found.interval is None
    assert all(p.predicted is None or p.ranks > 1 for c in view.curves for p in c.points)


@pytest.mark.parametrize("status", ["failed", "invalid", "skipped"])
def test_an_unusable_base_leaves_no_curve(status: str) -> None:
    record = with_trials(node_of(2), [step(1, [1.0], status=status), step(2, [1.25])])
    assert scaling(record, []) == ([], None)


def test_a_suspect_point_makes_its_figures_suspect() -> None:
    metrics, view, _ = scored(with_trials(node_of(2), [step(1, [1.0], status="suspect"), step(2, [1.25])]))
    assert {m.status for m in metrics.values()} == {"suspect"}
    assert {p.status for p in view.curves[0].points} == {"suspect"}


@pytest.mark.parametrize(
    "other",
    [
        step(2, [1.25], cores=2),
        step(2, [1.25], strategy="fsdp2"),
        step(2, [1.25], scaling="strong"),
        step(2, [1.25], "compute"),
        team("parallel_step", 2, {"strategy": "ddp", "scaling": "weak", "part": "both", "config": "other"}, [1.25]),
    ],
    ids=["cores", "strategy", "scaling", "part", "model"],
)
def test_what_is_not_the_same_work_is_never_joined(other: Any) -> None:
    assert scaling(with_trials(node_of(4), [step(1, [1.0]), other]), []) == ([], None)


def test_a_single_count_is_no_curve() -> None:
    assert scaling(with_trials(node_of(2), [step(1, [1.0])]), []) == ([], None)


def test_nothing_is_exposed_without_collectives_or_the_part_alone() -> None:
    metrics, _, findings = scored(with_trials(node_of(2), [step(1, [1.0]), step(2, [1.25])]))
    assert not any("exposed" in key or "overlap" in key for key in metrics)
    assert "the step without communication was not measured" in next(
        f.message for f in findings if f.code == "scaling-unpredicted"
    )


def cluster(
    counts: tuple[int, ...] = (1, 2, 3, 4),
    latency: float = LATENCY,
    bandwidth: float = BANDWIDTH,
    extra: dict[int, float] | None = None,
    half: float = 0.01,
) -> Record:
    """One rank per node; work of 0.5 s, then an all_reduce of 4 MB in one piece; `extra` seconds at some counts."""
    nodes = {n: n for n in counts}
    record = with_trials(node_of(1), sweep("all_reduce", [n for n in counts if n > 1], latency, bandwidth, nodes=nodes))
    for n in counts:
        sent = cost_s("all_reduce", n, GRADIENTS, latency, bandwidth) if n > 1 else 0.0
        time = 0.5 + sent + (extra or {}).get(n, 0.0)
        record = with_trials(record, [step(n, [time] * 3, nodes=n, half=half)])
        record = with_trials(record, [step(n, [0.5] * 3, "compute", nodes=n, half=half)])
    return record


def test_the_step_tests_the_model_of_its_links() -> None:
    _, view, findings = scored(cluster())
    curve = view.curves[0]
    assert (curve.span, curve.capacity, curve.base) == ("cluster", 1, "one rank alone")
    for n in (2, 3, 4):
        said = point(curve, n).predicted
        assert said is not None
        assert said.time_s == pytest.approx(point(curve, n).time.value, rel=1e-3)
        assert said.transfer_s == pytest.approx(2 * (n - 1) / n * GRADIENTS / BANDWIDTH, rel=1e-2)
        assert said.overlapped_s == pytest.approx(0.0, abs=1e-9)
        assert not said.beyond_noise
    assert not [f for f in findings if f.code == "scaling-residual"]
    assert next(m for m in curve.models if m.name == "mechanistic").health == "fits"
    link = view.links[0]
    assert link.bandwidth is not None
    assert link.bandwidth.value == pytest.approx(BANDWIDTH, rel=1e-3)
    assert link.latency_s.value == pytest.approx(LATENCY, rel=1e-2)
    assert (link.counts, link.span) == ([2, 3, 4], "cluster")


def test_a_step_that_its_links_do_not_explain_is_named() -> None:
    _, view, findings = scored(cluster(extra={3: 0.2}))
    said = point(view.curves[0], 3).predicted
    assert said is not None
    assert said.beyond_noise
    assert said.residual == pytest.approx(0.2 / point(view.curves[0], 3).time.value, rel=0.02)
    told = [f for f in findings if f.code == "scaling-residual"]
    assert [f.trial for f in told] == [point(view.curves[0], 3).trial]
    mechanistic = next(m for m in view.curves[0].models if m.name == "mechanistic")
    assert mechanistic.health == "contradicted"


def test_buckets_are_hidden_and_a_missing_sweep_is_said() -> None:
    record = with_trials(node_of(2), sweep("all_reduce", [2], LATENCY, BANDWIDTH))
    sent = {"all_reduce": (4.0, GRADIENTS)}
    trials = [
        step(1, [0.5] * 3),
        step(1, [0.5] * 3, "compute"),
        step(2, [0.55] * 3, sent=sent),
        step(2, [0.5] * 3, "compute"),
    ]
    said = point(scored(with_trials(record, trials))[1].curves[0], 2).predicted
    assert said is not None
    exposed = (4 * cost_s("all_reduce", 2, GRADIENTS / 4, LATENCY, BANDWIDTH)) / 4
    assert said.time_s == pytest.approx(0.5 + exposed, rel=1e-3)
    gathers = {"all_gather": (2.0, GRADIENTS), "reduce_scatter": (1.0, GRADIENTS)}
    trials[2] = step(2, [0.55] * 3, sent=gathers)
    absent = point(scored(with_trials(record, trials))[1].curves[0], 2).predicted_absent
    assert absent == "no sweep of all_gather, reduce_scatter within the node was measured (two sizes at least)"


def test_what_fsdp2_hides_needs_streams() -> None:
    sweeps = [*sweep("all_gather", [2], LATENCY, BANDWIDTH), *sweep("reduce_scatter", [2], LATENCY, BANDWIDTH)]
    sent = {"all_gather": (8.0, 2 * GRADIENTS), "reduce_scatter": (4.0, GRADIENTS)}
    exchange = 12 * LATENCY + 1.5 * GRADIENTS / BANDWIDTH
    for record, device, expected in ((node_of(2), "cpu", 0.5 + exchange), (gpus(), "gpu0", 0.5 + exchange / 4)):
        moved = [
            (
                msgspec.structs.replace(t, placement=msgspec.structs.replace(t.placement, devices=[device])),
                msgspec.structs.replace(m, device=device),
            )
            for t, m in sweeps
        ]
        steps = [
            step(n, [0.6] * 3, part, strategy="fsdp2", sent=sent, device=device) for n in (1, 2) for part in ("both",)
        ] + [step(n, [0.5] * 3, "compute", strategy="fsdp2", device=device) for n in (1, 2)]
        said = point(scored(with_trials(record, [*moved, *steps]))[1].curves[0], 2).predicted
        assert said is not None
        assert said.time_s == pytest.approx(expected, rel=0.01)


def test_links_of_another_class_are_never_used() -> None:
    record = cluster()
    inside = sweep("all_reduce", [2, 4], LATENCY, BANDWIDTH)
    others = [(t, m) for t, m in zip(record.plan.trials, record.measurements, strict=True) if t.kernel != "collective"]
    record = with_trials(node_of(1), [*others, *inside])
    _, view, _ = scored(record)
    assert all(p.predicted is None for p in view.curves[0].points)
    assert "between nodes" in point(view.curves[0], 2).predicted_absent


def test_a_cluster_curve_starts_from_a_full_node() -> None:
    trials = [step(n, [t] * 3) for n, t in ((1, 1.0), (2, 1.1))]
    trials += [step(n, [t] * 3, nodes=n // 2) for n, t in ((4, 1.2), (8, 1.3))]
    metrics, view, _ = scored(with_trials(node_of(2), trials))
    inside, across = view.curves
    assert (inside.span, inside.base_ranks, [p.ranks for p in inside.points]) == ("node", 1, [1, 2])
    assert (across.span, across.base_ranks, [p.ranks for p in across.points]) == ("cluster", 2, [2, 4, 8])
    assert across.base == "2 ranks on a full node"
    last = metrics["scale.weak.train_step.ddp.n8.scaling_efficiency"]
    assert last.quantity.value == pytest.approx(1.1 / 1.3)
    assert last.params["base_ranks"] == 2
    assert metrics["scale.weak.train_step.ddp.n8.speed_up"].quantity.value == pytest.approx(4 * 1.1 / 1.3)
    assert metrics["scale.weak.train_step.ddp.n2.scaling_efficiency"].params["base_ranks"] == 1


def test_equal_clock_needs_the_clocks_of_all_ranks() -> None:
    slower = {"clock_hz.r0": 1.8e9, "clock_hz.r1": 1.5e9}
    base = step(1, [1.0] * 3, clock_hz=2.0e9)
    metrics, _, _ = scored(with_trials(node_of(2), [base, step(2, [1.25] * 3, facts=slower)]))
    found = metrics["scale.weak.train_step.ddp.n2.efficiency_at_equal_clock"]
    assert found.quantity.value == pytest.approx(0.8 * 2.0 / 1.5)
    for lacking in (step(2, [1.25] * 3, clock_hz=1.8e9), step(2, [1.25] * 3, facts={"clock_hz.r0": 1.8e9})):
        metrics, _, _ = scored(with_trials(node_of(2), [base, lacking]))
        assert not any("equal_clock" in key for key in metrics)


def test_a_team_is_held_against_the_peaks_of_its_own_share() -> None:
    # fp32 of Zen 4 is 32 flop a clock and core: at 1 GHz one core's peak is 32 GFLOP/s.
    work = Work(flop=16e9)
    trials = [step(1, [1.0] * 3, work=work, clock_hz=1e9), step(2, [1.25] * 3, work=work, clock_hz=1e9)]
    metrics, _, _ = scored(with_trials(node_of(2), trials))
    assert metrics["scale.weak.train_step.ddp.n1.fraction_at_held_clock"].quantity.value == pytest.approx(0.5)
    assert metrics["scale.weak.train_step.ddp.n2.fraction_at_held_clock"].quantity.value == pytest.approx(0.4)
    impossible = [step(1, [1.0] * 3, work=Work(flop=64e9), clock_hz=1e9), trials[1]]
    metrics, _, _ = scored(with_trials(node_of(2), impossible))
    assert "scale.weak.train_step.ddp.n1.fraction_at_held_clock" not in metrics
    unknown = [step(1, [1.0] * 3, work=work), step(2, [1.25] * 3, work=work)]
    assert not any("held_clock" in key for key in scored(with_trials(node_of(2), unknown))[0])


def test_gpus_are_held_against_rated_peaks() -> None:
    trials = [step(n, [t] * 3, work=Work(flop=30e12), device="gpu0") for n, t in ((1, 1.0), (2, 1.1))]
    metrics, _, _ = scored(with_trials(gpus(), trials))
    rated = gpus().inventory_before.accelerators[0].part
    assert rated is not None
    found = metrics["scale.weak.train_step.ddp.n2.fraction_of_rated_peak"]
    assert found.quantity.value == pytest.approx(30e12 / 1.1 / rated.peak_flops["fp32"])


def test_a_curve_that_rises_is_a_suspect_measurement() -> None:
    trials = [step(n, [t] * 3) for n, t in ((1, 1.0), (2, 1.4), (4, 1.1))]
    metrics, view, findings = scored(with_trials(node_of(4), trials))
    assert "efficiency rises from 2 to 4 ranks" in view.curves[0].doubts[0]
    assert {m.status for m in metrics.values()} == {"suspect"}
    assert [f.severity for f in findings if f.code == "scaling-suspect-curve"] == ["warning"]


def test_more_than_ideal_is_a_suspect_measurement() -> None:
    _, view, _ = scored(with_trials(node_of(2), [step(1, [1.0] * 3), step(2, [0.8] * 3)]))
    assert "above 1" in view.curves[0].doubts[0]
    _, view, _ = scored(with_trials(node_of(2), [step(1, [1.0] * 3), step(2, [0.995] * 3)]))
    assert view.curves[0].doubts == []


def test_noise_alone_raises_no_doubt() -> None:
    trials = [step(n, [t] * 3, half=0.05) for n, t in ((1, 1.0), (2, 1.12), (4, 1.1))]
    assert scored(with_trials(node_of(4), trials))[1].curves[0].doubts == []
    assert doubts("weak", []) == []


def test_models_wait_for_three_counts_and_say_what_they_are() -> None:
    assert scored(simple())[1].curves[0].models == []
    models = scored(cluster())[1].curves[0].models
    assert [m.name for m in models] == ["mechanistic", "fitted", "fitted_latency", "amdahl", "usl"]
    assert {m.name: m.health for m in models}["amdahl"] == "contradicted"
    fitted = models[1]
    assert fitted.parameters["compute_s"] == pytest.approx(0.5, rel=1e-2)
    assert fitted.left_out is not None
    assert models[2].note == "" and "saturates" in models[3].note


def test_too_few_counts_are_said() -> None:
    _, _, findings = scored(simple())
    assert "not enough points (2 of 4)" in next(f.message for f in findings if f.code == "scaling-few-points")


def at_once(ranks: int, times: list[float], **more: Any) -> Any:
    facts = {f"step_s.r{i}": t for i, t in enumerate(times)}
    params = {"kernel": "gemm", "params": {"dtype": "bf16"}}
    trial, measured = team("at_once", ranks, params, [max(times)] * 3, facts=facts, **more)
    key = f"scale.at_once.gemm.bf16.n{ranks}"
    return msgspec.structs.replace(trial, outputs=[Output(f"{key}.spread", "fact:spread")]), measured


def test_all_at_once_against_alone() -> None:
    metrics, view, _ = scored(with_trials(node_of(2), [at_once(1, [1.0]), at_once(2, [1.1, 1.25])]))
    found = view.together[0]
    assert (found.slowest, found.ranks) == (1, 2)
    assert found.spread == pytest.approx(1.25 / 1.1 - 1)
    loss = metrics["scale.at_once.gemm.bf16.n2.loss"]
    assert loss.quantity.value == pytest.approx(0.2)
    assert loss.interval is not None
    assert loss.interval.low < 0.2 < loss.interval.high


def test_on_a_cpu_the_whole_node_alone_is_no_comparison() -> None:
    alone, measured = team("gemm", 1, {"dtype": "bf16"}, [0.6] * 3)
    alone = msgspec.structs.replace(alone, scope="device", params={"dtype": "bf16"})
    _, view, _ = scored(with_trials(node_of(2), [(alone, measured), at_once(2, [1.1, 1.25])]))
    assert view.together[0].loss is None
    beside = msgspec.structs.replace(alone, placement=msgspec.structs.replace(alone.placement, devices=["gpu0"]))
    pair = beside, msgspec.structs.replace(measured, device="gpu0")
    _, view, _ = scored(with_trials(gpus(), [pair, at_once(2, [0.7, 0.75], device="gpu0")]))
    assert view.together[0].loss is not None
    assert view.together[0].loss.value == pytest.approx(0.2)


def test_the_scorecard_holds_it_all() -> None:
    card = score(simple())
    assert card.scaling is not None
    found = [m for m in card.metrics if m.key == "scale.weak.train_step.ddp.n2.scaling_efficiency"]
    assert [m.device for m in found] == [None]
    assert msgspec.json.decode(msgspec.json.encode(card), type=type(card)) == card
    assert score(node_of_with_nothing()).scaling is None


def node_of_with_nothing() -> Record:
    return with_trials(node_of(2), [team("gemm", 1, {"dtype": "fp32"}, [1.0])])


def test_the_waterfall_gains_a_bar_and_the_chain_counts_it_once() -> None:
    metrics, _, _ = scored(simple())
    fall = Waterfall("cpu", "fp32", [Stage("best_gemm", "g", "", 10.0, 1.0), Stage("train_step", "t", "", 4.0, 0.4)])
    last = many_devices(fall, list(metrics.values())).stages[-1]
    assert (last.name, last.title) == ("n_devices", "2 ranks")
    assert (last.value, last.share) == (pytest.approx(3.2), pytest.approx(0.32))
    assert last.metric == "scale.weak.train_step.ddp.n2.scaling_efficiency"
    assert many_devices(fall, []) == fall
    absent = Waterfall("cpu", "fp32", [Stage("train_step", "t", "Absent.")])
    assert many_devices(absent, list(metrics.values())) == absent


def test_a_run_without_a_gemm_has_its_waterfall_from_the_team() -> None:
    work = Work(flop=16e9)
    trials = [step(1, [1.0] * 3, work=work, clock_hz=1e9), step(2, [1.25] * 3, work=work, clock_hz=1e9)]
    card = score(with_trials(node_of(2), trials))
    stages = card.waterfalls[0].stages
    assert [(s.name, s.share) for s in stages] == [
        ("held_clock_peak", 1.0),
        ("train_step", pytest.approx(0.5)),
        ("n_devices", pytest.approx(0.4)),
    ]
    assert stages[0].value == pytest.approx(32e9)
    assert stages[2].metric in {m.key for m in card.metrics}
    # The chain starts at a verified matrix multiply: there is none here.
    assert card.chains == []
    blind = [step(1, [1.0] * 3, work=work), step(2, [1.25] * 3, work=work)]
    assert score(with_trials(node_of(2), blind)).waterfalls == []
