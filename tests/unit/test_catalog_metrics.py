"""Metric rows: every key of the contract has one, the most particular wins, and titles read well."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from effbench.catalog.metrics import DOMAINS, lookup, metrics
from effbench.model.unit import Unit

# The keys of INTERFACES section 4, and one of each family that the kernels and the score layer make.
KEYS = [
    "compute.gemm.bf16.flops",
    "compute.gemm.bf16.fraction_of_rated_peak",
    "compute.gemm.bf16.fraction_at_held_clock",
    "compute.gemm.bf16.fraction_of_reference",
    "compute.gemm.bf16.achievable.flops",
    "compute.gemm.bf16.achievable.fraction_of_reference",
    "compute.gemm.bf16.m8192n8192k8192.flops",
    "compute.gemm.fp8.no_fast_accum.flops",
    "compute.gemm.fp8.no_fast_accum.m8192n8192k8192.fraction_of_rated_peak",
    "compute.gemm.bf16.m8192n8192k8192.fraction_at_held_clock",
    "compute.attention.fwd.d128.flops",
    "compute.attention.fwd_bwd.d64.fraction_of_rated_peak",
    "memory.stream.triad.bandwidth",
    "memory.stream.copy.fraction_of_reference",
    "memory.fill.read.bandwidth",
    "memory.fill.read.fraction_of_rated_peak",
    "memory.capacity.verified_bytes",
    "health.memory_errors",
    "train.step.mfu",
    "train.step.hfu",
    "train.step.tokens_per_s",
    "train.step.time",
    "train.step.peak_memory_bytes",
    "train.step.fraction_of_reference",
    "infer.prefill.b1.mfu",
    "infer.prefill.b1.tokens_per_s",
    "infer.prefill.b1.time_to_first_token",
    "infer.prefill.b1.fraction_of_reference",
    "infer.decode.b8.tokens_per_s",
    "infer.decode.b8.fraction_of_bandwidth",
    "infer.decode.b8.inter_token_p50",
    "infer.decode.b8.inter_token_p99",
    "infer.decode.b8.fraction_of_reference",
    "host.copy.h2d.pinned.bandwidth",
    "host.copy.duplex.pageable.latency",
    "host.copy.h2d.pinned.fraction_of_reference",
    "host.launch.async.latency",
    "host.launch.sync.latency",
    "host.launch.graph.latency",
    "link.all_reduce.n2.busbw",
    "link.all_reduce.n2.latency",
    "scale.weak.train_step.ddp.n2.scaling_efficiency",
    "scale.strong.train_step.fsdp.n8.scaling_efficiency",
    "power.gemm.bf16.flops_per_joule",
    "power.decode.b8.joules_per_token",
    "quality.known_truth.time",
    "health.wrong_results",
    "health.device_lost",
    "health.ecc_uncorrected",
    "health.row_remap_pending",
    "health.row_remap_failed",
    "health.xid_hardware",
    "health.ecc_corrected_rate",
    "health.pcie_replay_rate",
    "storage.read.sequential.q8.bandwidth",
]


@pytest.mark.parametrize("key", KEYS)
def test_every_key_of_the_contract_has_a_row(key: str) -> None:
    row = lookup(key)
    assert row is not None
    assert row.domain == key.split(".")[0]
    assert "{" not in row.title and row.title == row.title.strip()


@pytest.mark.parametrize("key", KEYS)
def test_units_and_directions_follow_from_the_last_word(key: str) -> None:
    row = lookup(key)
    assert row is not None
    last = key.rsplit(".", 1)[1]
    if last in ("flops", "bandwidth", "busbw", "tokens_per_s", "mfu", "hfu") or last.startswith("fraction"):
        assert row.better == "higher"
    if last in ("latency", "time", "time_to_first_token", "inter_token_p50", "inter_token_p99"):
        assert (row.unit, row.better) == (Unit.SECOND, "lower")
    if last.startswith("fraction"):
        assert row.unit is Unit.ONE
    if row.domain == "health":
        assert row.better == "lower"


@pytest.mark.parametrize(
    "key", ["", "nope", "compute", "compute.gemm", "compute.gemm.bf16", "Compute.Gemm.x.flops", "a b"]
)
def test_what_is_no_metric_has_no_row(key: str) -> None:
    assert lookup(key) is None


def test_the_most_particular_pattern_wins() -> None:
    achievable, shape = lookup("compute.gemm.bf16.achievable.flops"), lookup("compute.gemm.bf16.m1n2k3.flops")
    assert achievable is not None and achievable.pattern == "compute.gemm.*.achievable.flops"
    assert shape is not None and shape.pattern == "compute.gemm.*.*.flops"
    idle = lookup("power.idle.bare.watts")
    assert idle is not None and idle.pattern == "power.idle.*.watts"


@pytest.mark.parametrize(
    ("key", "title"),
    [
        ("compute.gemm.bf16.flops", "GEMM, bf16"),
        ("compute.gemm.bf16.m2048n2048k2048.flops", "GEMM, bf16, 2048 × 2048 × 2048"),
        ("compute.attention.fwd_bwd.d64.flops", "Attention, forward and backward, head size 64"),
        ("infer.decode.b8.inter_token_p99", "Time between tokens, batch 8, 99 of 100"),
        ("host.copy.h2d.pinned.bandwidth", "Copy host to device, pinned memory"),
        ("link.all_reduce.n2.busbw", "Collective all reduce, 2 ranks, bus bandwidth"),
    ],
)
def test_titles_are_words(key: str, title: str) -> None:
    row = lookup(key)
    assert row is not None and row.title == title


def test_two_rows_of_one_family_have_different_titles() -> None:
    titles = {key: row.title for key in KEYS if (row := lookup(key))}
    assert len(set(titles.values())) == len(titles)


def test_every_domain_is_known_and_used() -> None:
    assert {row.domain for row in metrics()} == set(DOMAINS)


@given(st.lists(st.sampled_from(["compute", "gemm", "bf16", "b8", "x_1", "flops", "latency"]), max_size=8))
def test_lookup_never_fails(segments: list[str]) -> None:
    row = lookup(".".join(segments))
    assert row is None or len(row.pattern.split(".")) == len(segments)
