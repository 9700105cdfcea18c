"""The training step on several ranks: what it counts, and on gloo that it computes what one rank alone computes."""

import itertools
import math
from pathlib import Path
from typing import Any

import msgspec
import pytest

from effbench.kernels import parallel_fit, parallel_step, parallel_traffic
from effbench.kernels.parallel_step import Params
from effbench.kernels.transformer_config import CONFIGS, parameters, train_flop
from effbench.kernels.wait_clock import WaitClock
from tests.unit.kernel_devices import cpu, cpu_rig, gpu
from tests.unit.parallel_team import run_team

pytest.importorskip("torch")

TINY = Params(config="tiny", batch=2, seq=32, dtype="fp32")
STRATEGIES = ("ddp", "fsdp2", "tp")

GOOD: dict[str, dict[str, Any]] = {
    **{f"{s} {d}": {"strategy": s, "dtype": d} for s, d in itertools.product(STRATEGIES, ("fp32", "bf16"))},
    **{f"{s} strong": {"strategy": s, "scaling": "strong", "batch": 4} for s in STRATEGIES},
    **{f"{s} compute": {"strategy": s, "part": "compute"} for s in STRATEGIES},
    **{f"{s} communication": {"strategy": s, "part": "communication"} for s in STRATEGIES},
}
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "a weight of one rank": ({}, "do not hold the same weights"),
    "no reduction": ({}, "gradients differ"),
    "no sum over slices": ({"strategy": "tp"}, "gradients differ"),
    "a mean over too many": ({"strategy": "fsdp2"}, "gradients differ"),
    "no optimizer": ({}, "the loss did not fall"),
    "nothing is sent": ({"part": "communication"}, "all_reduce of 500992 byte gave wrong values"),
}
LARGER = {"config": "cpu-20m", "batch": 1, "seq": 4, "verify": False, "steps": 2}
COUNTED: dict[str, dict[str, Any]] = {f"{s} counted": {**LARGER, "strategy": s} for s in STRATEGIES}
# Three times the work of the others is beyond what other programs on the cores add.
SLOW = {"batch": 4, "seq": 64, "steps": 9, "stretch": 3.0, "verify": False}
STRETCHED: dict[str, dict[str, Any]] = {f"{s} stretched": {**SLOW, "strategy": s} for s in STRATEGIES}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    bad = {name: {**case, "sabotage": name} for name, (case, _) in BAD.items()}
    return run_team(tmp_path_factory.mktemp("pair"), 2, {**GOOD, **bad, **COUNTED, **STRETCHED})


def fitted(name: str, ranks: int) -> Params:
    """The parameters of one of the cases above."""
    case = {k: v for k, v in {**GOOD, **COUNTED}[name].items() if k not in ("verify", "steps")}
    return msgspec.structs.replace(TINY, **{"ranks": ranks, **case})


@pytest.mark.parametrize("name", GOOD)
def test_every_rank_computes_what_one_rank_alone_computes(pair: list[dict[str, Any]], name: str) -> None:
    for rank in pair:
        verdict = rank[name]["verdict"]
        assert verdict["ok"], verdict
        assert verdict["error"] <= verdict["tolerance"]


@pytest.mark.parametrize("name", BAD)
def test_the_verification_notices(pair: list[dict[str, Any]], name: str) -> None:
    for rank in pair:
        verdict = rank[name]["verdict"]
        assert not verdict["ok"]
        assert BAD[name][1] in verdict["detail"]


@pytest.mark.parametrize("name", [*GOOD, *COUNTED])
def test_the_counts_are_those_of_the_calls_that_are_made(pair: list[dict[str, Any]], name: str) -> None:
    params = fitted(name, 2)
    expected = parallel_step.collectives(params) if params.part != "compute" else []
    for rank in pair:
        assert rank[name]["calls"] == {f"{op}:{size}": times for op, size, times in expected}
        facts = rank[name]["facts"]
        for op in {op for op, _, _ in expected}:
            assert facts[f"collective_count.{op}"] == sum(t for o, _, t in expected if o == op)
            assert facts[f"collective_bytes.{op}"] == sum(s * t for o, s, t in expected if o == op)
        assert sum(key.startswith("collective_") for key in facts) == 2 * len({op for op, _, _ in expected})


@pytest.mark.parametrize("name", STRETCHED)
def test_the_rank_with_more_to_do_is_busy_longest_and_waits_least(pair: list[dict[str, Any]], name: str) -> None:
    busy, wait = ([rank[name]["shares"][share] for rank in pair] for share in ("busy_s", "wait_s"))
    assert busy[1] > 1.5 * busy[0]
    assert wait[1] < wait[0]


@pytest.mark.parametrize("name", GOOD)
def test_busy_and_wait_are_told_only_where_they_were_measured(pair: list[dict[str, Any]], name: str) -> None:
    expected = {"both": {"busy_s", "wait_s"}, "compute": {"busy_s"}, "communication": set()}
    for rank in pair:
        shares = rank[name]["shares"]
        assert set(shares) == expected[fitted(name, 2).part]
        assert all(math.isfinite(share) and share >= 0 for share in shares.values())


def test_three_ranks_share_what_does_not_divide(tmp_path: Path) -> None:
    cases = {name: {**GOOD[name], "batch": 3} for name in ("ddp strong", "fsdp2 bf16")}
    cases["fsdp2 communication"] = {**GOOD["fsdp2 communication"], "batch": 3}
    for rank in run_team(tmp_path, 3, {name: dict(case) for name, case in cases.items()}):
        for name, case in cases.items():
            assert rank[name]["verdict"]["ok"], rank[name]["verdict"]
            expected = parallel_step.collectives(msgspec.structs.replace(TINY, **{"ranks": 3, **case}))
            assert rank[name]["calls"] == {f"{op}:{size}": times for op, size, times in expected}


def test_one_rank_is_the_base_by_the_same_code_and_sends_nothing(tmp_path: Path) -> None:
    cases = {name: GOOD[name] for name in ("ddp fp32", "fsdp2 fp32", "tp fp32", "ddp compute")}
    (alone,) = run_team(tmp_path, 1, {name: dict(case) for name, case in cases.items()})
    for name in cases:
        assert alone[name]["verdict"]["ok"], alone[name]["verdict"]
        assert not any(key.startswith("collective_") for key in alone[name]["facts"])
        assert alone[name]["shares"]["busy_s"] > 0
    assert alone["fsdp2 fp32"]["facts"]["loss_last"] == pytest.approx(alone["ddp fp32"]["facts"]["loss_last"], rel=1e-4)
    assert alone["tp fp32"]["facts"]["loss_last"] == pytest.approx(alone["ddp fp32"]["facts"]["loss_last"], rel=1e-4)


def test_a_rig_without_a_group_and_a_group_of_another_size_are_refused() -> None:
    with pytest.raises(Exception, match="works in a team"):
        parallel_step.build(TINY, cpu_rig())


def test_weak_fixes_the_work_of_a_rank_and_strong_the_work_of_all() -> None:
    base = parallel_step.work(TINY)
    for strategy in ("ddp", "fsdp2"):
        weak = msgspec.structs.replace(TINY, strategy=strategy, ranks=4)
        assert parallel_step.work(weak).flop == base.flop == train_flop(CONFIGS["tiny"], 2, 32)
        assert parallel_step.work(weak).items == 4 * base.items
        strong = msgspec.structs.replace(weak, scaling="strong", batch=8)
        assert parallel_step.work(strong).flop == base.flop
        assert parallel_step.work(strong).items == parallel_step.work(msgspec.structs.replace(strong, ranks=1)).items


def test_sliced_ranks_share_the_layers_and_all_compute_the_head() -> None:
    sliced = msgspec.structs.replace(TINY, strategy="tp", scaling="strong", ranks=2)
    whole, half = (parallel_step.work(msgspec.structs.replace(sliced, ranks=n)).flop for n in (1, 2))
    head = 6 * 2 * 32 * 256 * 64
    assert whole == train_flop(CONFIGS["tiny"], 2, 32)
    assert half == (whole - head) / 2 + head


def test_communication_alone_computes_nothing() -> None:
    assert parallel_step.work(msgspec.structs.replace(TINY, part="communication", ranks=2)).flop == 0


@pytest.mark.parametrize("config", ["tiny", "cpu-20m", "1b"])
def test_gradients_are_sent_whole_in_buckets_of_25_mib(config: str) -> None:
    sizes = parallel_traffic.buckets(CONFIGS[config], "bf16")
    assert sum(sizes) == 2 * parameters(CONFIGS[config])
    assert all(size >= 25 << 20 for size in sizes[:-1])


def test_shards_move_every_weight_twice_and_every_gradient_once() -> None:
    config = CONFIGS["cpu-20m"]
    calls = parallel_traffic.calls("fsdp2", config, "bf16", 2, 1, 1)
    moved = {op: sum(size for o, size in calls if o == op) for op in ("all_gather", "reduce_scatter")}
    assert moved == {"all_gather": 4 * parameters(config), "reduce_scatter": 2 * parameters(config)}


def test_slices_sum_twice_per_layer_and_direction() -> None:
    config = CONFIGS["cpu-20m"]
    assert parallel_traffic.counted(parallel_traffic.calls("tp", config, "fp32", 2, 3, 5)) == [
        ("all_reduce", 3 * 5 * config.hidden * 4, 4 * config.layers)
    ]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"part": "communication"}, "nobody to talk to"),
        ({"scaling": "strong", "batch": 4, "ranks": 3}, "4 sequences do not divide over 3 ranks"),
        ({"strategy": "tp", "ranks": 4}, "2 key heads do not divide over 4 ranks"),
        ({"config": "4b", "batch": 64, "seq": 2048}, "GB"),
    ],
)
def test_what_cannot_be_done_is_skipped_in_words(changes: dict[str, Any], words: str) -> None:
    reason = parallel_step.support(msgspec.structs.replace(TINY, **changes), cpu()).skip
    assert reason is not None and reason.startswith("not applicable: ") and words in reason


def test_the_strong_batch_divides_over_the_usual_counts() -> None:
    for device, counts in ((gpu(), (1, 2, 3, 4, 6, 8, 12, 16, 48)), (cpu(), (1, 2, 3, 4, 6, 8, 16, 32, 96))):
        params = parallel_step.fit(Params(scaling="strong"), device)
        for ranks in counts:
            assert parallel_step.support(msgspec.structs.replace(params, ranks=ranks), device).skip is None


@pytest.mark.parametrize("scaling", ["weak", "strong"])
def test_every_rung_leaves_a_tenth_of_the_memory(scaling: Any) -> None:
    for rung in parallel_fit.GPU[scaling]:
        if rung.memory_bytes:
            config = CONFIGS[rung.config]
            assert parallel_fit.needed_bytes(config, rung.batch, rung.tokens, "bf16") <= 0.9 * rung.memory_bytes


def test_parts_have_keys_of_their_own() -> None:
    keys = {
        part: [o.key for o in parallel_step.outputs(msgspec.structs.replace(TINY, part=part, ranks=2))]
        for part in ("both", "compute", "communication")
    }
    stem = "scale.weak.train_step.ddp.n2"
    assert keys["both"] == [f"{stem}.tokens_per_s", f"{stem}.time"]
    assert keys["compute"] == [f"{stem}.compute_time"] and keys["communication"] == [f"{stem}.communication_time"]


def test_a_clock_splits_steps_at_its_marks_and_takes_medians(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0, 3, 4, 5, 10, 12, 15, 16, 20, 23, 24, 25])
    monkeypatch.setattr("time.perf_counter", lambda: float(next(times)))
    clock = WaitClock(cuda=False)
    assert clock.shares() == {}
    for _ in range(3):
        clock.begin()
        clock.waiting()
        clock.resumed()
        clock.end()
    assert clock.shares() == {"busy_s": 4.0, "wait_s": 1.0}
    clock.on = False
    clock.begin()
    clock.end()
    assert clock.shares() == {"busy_s": 4.0, "wait_s": 1.0}
