"""Collectives and pairs: counted as nccl-tests counts, verified whole on every rank, and the bad link or rank named."""

import math

import gloo_team
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effbench.catalog.metrics import lookup
from effbench.kernels import collective, collective_ops, pair_sweep, pairs
from effbench.kernels.collective_ops import OPS
from effbench.model.error import SiteError
from effbench.model.inventory import Accelerator, CpuFacts

FACTS = CpuFacts("AuthenticAMD", 25, 17, "AMD EPYC", [], 2.0, 2, 2, [0, 1])
CPU = Accelerator("cpu", "cpu", "amd", "AMD EPYC", "cpu", 8 << 30, 32 << 20, cpu=FACTS)
GPU = Accelerator("gpu0", "gpu", "nvidia", "a GPU", "cuda:0", 141 << 30, 50 << 20)


# ---- counts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "n", "factor"),
    [
        ("all_reduce", 2, 1.0),
        ("all_reduce", 8, 1.75),
        ("all_gather", 8, 0.875),
        ("reduce_scatter", 4, 0.75),
        ("all_to_all", 4, 0.75),
        ("broadcast", 8, 1.0),
        ("sendrecv", 8, 1.0),
        ("all_reduce", 1, 0.0),
    ],
)
def test_bus_factors_are_those_of_nccl_tests(op, n, factor):
    """doc/PERFORMANCE.md of nccl-tests, with its table worked out by hand."""
    assert collective_ops.factor(op, n) == pytest.approx(factor)
    params = collective.Params(op, 1 << 20, ranks=n)
    assert collective.work(params).payload_bytes == 1 << 20
    assert collective.work(params).link_bytes == pytest.approx(factor * (1 << 20))


@given(op=st.sampled_from(OPS), size=st.integers(1, 1 << 30), n=st.integers(2, 64))
@settings(max_examples=200, deadline=None)
def test_sizes_follow_the_conventions_of_each_operation(op, size, n):
    """S is one rank's buffer, the message, or the count per rank times n; what is asked for is rounded down."""
    sent, received = collective_ops.buffers(op, size, n)
    moved = collective_ops.moved_bytes(op, size, n)
    whole = 4 * n if op in collective_ops.SPLIT else 4
    assert moved == max(whole, size // whole * whole)
    assert {"all_gather": received, "reduce_scatter": sent, "all_to_all": sent}.get(op, sent) * 4 == moved
    parts = collective_ops.expected(op, n - 1, n, collective_ops.piece(op, size, n))
    assert sum(part.count for part in parts) == received
    assert [part.start for part in parts] == [i * parts[0].count for i in range(len(parts))]


def test_the_largest_size_that_fits_is_fixed_by_the_device():
    assert collective.fit(collective.Params(), CPU).bytes == 64 << 20
    assert collective.fit(collective.Params(), GPU).bytes == 8 << 30
    small = msgspec.structs.replace(GPU, memory_bytes=24 << 30)
    assert collective.fit(collective.Params(), small).bytes == 4 << 30
    assert collective.fit(collective.Params(role="latency"), GPU).bytes == 8
    too_large = collective.Params(bytes=(8 << 30) + 4, role="size")
    assert "do not fit" in (collective.support(too_large, small).skip or "")


def test_keys_name_operation_group_ranks_and_size():
    def keys(**params):
        fitted = collective.fit(collective.Params(**params), CPU)
        return [output.key for output in collective.outputs(fitted)]

    assert keys(ranks=2) == ["link.all_reduce.n2.busbw", "link.all_reduce.n2.algbw"]
    assert keys(op="all_to_all", role="latency", ranks=4) == ["link.all_to_all.n4.latency"]
    assert keys(role="size", bytes=1024, ranks=4) == ["link.all_reduce.n4.s1024.time", "link.all_reduce.n4.s1024.busbw"]
    assert keys(group="within", ranks=16, nodes=2)[0] == "link.all_reduce.within.n16.busbw"
    for role, size in (("headline", None), ("size", 1024), ("latency", None)):
        for group in ("all", "within", "across"):
            for key in keys(role=role, bytes=size, group=group, ranks=16, nodes=2):
                row = lookup(key)
                assert row is not None and (group == "all" or group in row.title), key


def test_a_group_counts_its_own_ranks():
    within = collective.Params("all_reduce", 1 << 20, group="within", ranks=16, nodes=2)
    across = msgspec.structs.replace(within, group="across")
    assert (collective.members(within), collective.members(across)) == (8, 2)
    assert collective.work(within).link_bytes == pytest.approx(1.75 * (1 << 20))
    assert collective.work(across).link_bytes == pytest.approx(1.0 * (1 << 20))


@pytest.mark.parametrize(
    ("params", "word"),
    [
        ({"ranks": 1}, "nobody to talk to"),
        ({"ranks": 1, "op": "sendrecv", "role": "latency"}, "nobody to talk to"),
        ({"ranks": 4, "group": "within"}, "one node"),
        ({"ranks": 5, "nodes": 2, "group": "across"}, "evenly"),
        ({"ranks": 2, "nodes": 2, "group": "within"}, "one rank"),
    ],
)
def test_what_makes_no_sense_is_skipped_with_words(params, word):
    fitted = collective.fit(collective.Params(**params), CPU)
    assert word in (collective.support(fitted, CPU).skip or "")


def test_one_rank_yields_no_bandwidth_but_the_cost_of_the_call():
    latency = collective.fit(collective.Params(role="latency", ranks=1), CPU)
    assert collective.support(latency, CPU).skip is None
    headline = collective.fit(collective.Params(ranks=1), CPU)
    assert all(output.of != "link_bytes" for output in collective.outputs(headline))


def test_a_team_kernel_without_a_team_is_refused():
    class Lonely:
        accelerator, device, seed = CPU, "cpu", 1

    for kernel, params in ((collective, collective.Params(bytes=8)), (pair_sweep, pair_sweep.Params())):
        with pytest.raises(SiteError, match="team"):
            kernel.build(params, Lonely())


# ---- tables --------------------------------------------------------------------------------------------------------


def test_the_checking_table_sees_every_element_and_every_shift():
    torch = pytest.importorskip("torch")
    count = collective_ops.PERIOD * collective_ops.TILE_PERIODS["cpu"] + 77
    values = collective_ops.table(3, 5, "cpu")
    whole = torch.empty(count)
    collective_ops.fill(whole, values)
    assert collective_ops.wrong_elements(whole, values) == 0
    whole[count - 1] = math.nan
    whole[0] += 1
    assert collective_ops.wrong_elements(whole, values) == 2
    assert collective_ops.wrong_elements(whole.roll(-64), values) > count // 2
    assert collective_ops.wrong_elements(whole[1000 : count - 1], values, 1000) == 0


def test_no_two_ranks_send_the_same_and_sums_are_exact():
    pytest.importorskip("torch")
    tables = [collective_ops.table(rank, 1, "cpu") for rank in range(64)]
    assert len({tuple(table.tolist()) for table in tables}) == 64
    summed = collective_ops.summed(range(64), 1, "cpu")
    exact = [int(sum(column)) for column in zip(*(table.tolist() for table in tables), strict=True)]
    assert summed.tolist() == exact and max(exact) < 1 << 24


# ---- pairs ---------------------------------------------------------------------------------------------------------


@given(st.integers(0, 65))
@settings(deadline=None)
def test_every_pair_meets_exactly_once_in_rounds_of_disjoint_pairs(n):
    rounds = pairs.schedule(n)
    met = [pair for one in rounds for pair in one]
    assert sorted(met) == [(i, j) for i in range(n) for j in range(i + 1, n)]
    assert len(rounds) == (0 if n < 2 else n - 1 + n % 2)
    for one in rounds:
        ends = [end for pair in one for end in pair]
        assert len(ends) == len(set(ends)) == n - n % 2
        for rank in range(n):
            peer = pair_sweep.peer_of(rank, one)
            assert peer is None or pair_sweep.peer_of(peer, one) == rank


def test_the_measured_example_of_a_bad_link_names_its_rank():
    """Link of rank 3 at a quarter of 1 Gbit/s: the six pairs of measuring-scaling, section 7."""
    gbit = {(0, 1): 0.981, (0, 2): 0.976, (0, 3): 0.241, (1, 2): 0.981, (1, 3): 0.241, (2, 3): 0.241}
    judged = pairs.judge({pair: value * 125e6 for pair, value in gbit.items()}, 4)
    assert judged.suspects == [3] and set(judged.slow) == {(0, 3), (1, 3), (2, 3)}
    assert judged.slowest == (0, 3) and judged.slowest_to_median == pytest.approx(0.241 / 0.6085)
    said = pairs.texts(gbit, judged, "r")
    assert said["suspect"] == "r3" and "r1-r3" in said["slow_pairs"]


@given(n=st.integers(4, 24), data=st.data())
@settings(deadline=None, max_examples=60)
def test_one_bad_rank_or_one_bad_link_is_named_and_healthy_ranks_are_not(n, data):
    noise = st.floats(0.95, 1.05)
    rates = {pair: 1e9 * data.draw(noise) for one in pairs.schedule(n) for pair in one}
    assert pairs.judge(rates, n).slow == []
    bad = data.draw(st.integers(0, n - 1))
    of_rank = {pair: rate * (0.25 if bad in pair else 1.0) for pair, rate in rates.items()}
    assert pairs.judge(of_rank, n).suspects == [bad]
    link = data.draw(st.sampled_from(sorted(rates)))
    judged = pairs.judge({pair: rate * (0.25 if pair == link else 1.0) for pair, rate in rates.items()}, n)
    assert judged.slow == [link] == [judged.slowest] and judged.suspects == []


def test_pairs_across_nodes_are_not_held_against_pairs_on_one_node():
    rates = {pair: 400e9 if pair[0] // 4 == pair[1] // 4 else 50e9 for one in pairs.schedule(8) for pair in one}
    assert pairs.judge(rates, 4).slow == []
    rates[1, 6] = 20e9
    assert pairs.judge(rates, 4).slowest == (1, 6)
    two = {pair: rate * (0.3 if set(pair) & {2, 5} else 1.0) for pair, rate in rates.items()}
    assert set(pairs.judge(two, 4).suspects) == {2, 5}


def test_a_single_pair_has_no_median_to_be_held_against():
    two, four = (pair_sweep.outputs(pair_sweep.Params(ranks=n)) for n in (2, 4))
    assert [output.key for output in two] == ["link.pair.n2.slowest.bandwidth"]
    assert "link.pair.n4.slowest_to_median" in [output.key for output in four]


def test_nothing_measured_is_not_judged():
    with pytest.raises(ValueError, match="no pair"):
        pairs.judge({}, 2)


# ---- real ranks on gloo --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[(2, 1), (4, 2)], ids=["2-ranks", "4-ranks-as-2-nodes"])
def team(request, tmp_path_factory):
    pytest.importorskip("torch")
    size, nodes = request.param
    return size, nodes, gloo_team.run(size, nodes, tmp_path_factory.mktemp("team"))


def test_every_collective_is_right_on_every_rank_and_says_what_it_sent(team):
    size, nodes, seen = team
    for told in seen:
        assert len(told["collectives"]) == len(OPS) * (3 if nodes == 1 else 7)
        for op, asked, where, ok, error, same, facts, texts in told["collectives"]:
            ranks = {"all": size, "within": size // nodes, "across": nodes}[where]
            assert ok and error == 0.0 and same, (op, asked, where)
            assert facts == {"bytes": collective_ops.moved_bytes(op, asked, ranks), "group_ranks": ranks}
            assert texts["backend"] == "gloo" and texts["group"] == where


def test_a_single_wrong_element_is_seen_and_counted_by_the_rank_that_has_it(team):
    size, _, seen = team
    for rank, told in enumerate(seen):
        for op, ok, wrong, detail, ok_without_any_launch in told["corrupted"]:
            assert ok == (rank != size - 1), op
            if not ok:
                assert round(wrong) == 1 and detail.startswith(f"rank {rank}: 1 of ")
            root = op == "broadcast" and rank == 0
            assert ok_without_any_launch == root, f"{op}: what was never sent must not pass"


def test_impossible_teams_sizes_and_groups_are_refused_on_every_rank(team):
    size, _, seen = team
    for told in seen:
        planned, memory, group = told["refused"]
        assert planned == f"{size + 1} ranks were planned, the process group has {size}"
        assert "lacks" in memory and "free memory" in memory
        assert "all ranks are on one node" in group or "was planned, this one has" in group


def test_a_sweep_measures_every_pair_and_all_ranks_agree_on_it(team):
    size, _, seen = team
    every = size * (size - 1) // 2
    assert all(told["swept"] == seen[0]["swept"] for told in seen)
    samples, ok, _, facts, texts = seen[0]["swept"]
    assert ok and samples == 3 * len(pairs.schedule(size)) and facts["pairs_measured"] == every
    rates = [value for name, value in facts.items() if name.startswith("pair_bandwidth.")]
    assert len(rates) == every and facts["slowest_bandwidth"] in rates
    assert "slowest_pair" in texts and "incomplete" not in texts


def test_a_sweep_whose_exchange_arrives_wrong_fails_and_names_the_pairs(team):
    size, _, seen = team
    for told in seen:
        _, ok, detail, _, _ = told["spoiled"]
        assert not ok
        named = {words.split(":")[0] for words in detail.split(", ")}
        assert named == {f"r{min(1, other)}-r{max(1, other)}" for other in range(size) if other != 1}


def test_a_sweep_that_is_cut_short_names_no_slowest_pair(team):
    size, _, seen = team
    _, _, _, facts, texts = seen[0]["cut"]
    if size == 2:  # one round is all there is, and a round is always ended
        assert facts["pairs_measured"] == 1.0 and texts["slowest_pair"] == "r0-r1" and "suspect" not in texts
        return
    assert facts["pairs_measured"] == 2.0 and texts["incomplete"].startswith("2 of 6")
    assert not {"slowest_bandwidth", "median_bandwidth", "slowest_to_median"} & set(facts)
    assert "slowest_pair" not in texts and "suspect" not in texts


def test_the_rank_that_is_late_for_every_exchange_is_the_suspect(team):
    size, _, seen = team
    _, ok, _, facts, texts = seen[0]["late"]
    assert ok
    if size == 2:  # the only pair has nothing to be compared with
        assert "suspect" not in texts and not {"slowest_to_median", "median_bandwidth"} & set(facts)
        return
    assert texts["suspect"] == f"r{size - 1}" and facts["slowest_to_median"] < 0.7


def test_at_once_tells_every_rank_and_the_slowest_ones_samples_count(team):
    size, _, seen = team
    for told in seen:
        samples, first_s, ok, facts, texts, refused = told["at_once"]
        times = [facts[f"step_s.r{rank}"] for rank in range(size)]
        assert ok and samples > 0 and first_s > 0 and min(times) > 0
        assert texts["slowest"] == f"r{times.index(max(times))}"
        ordered = sorted(times)
        middle = (ordered[(size - 1) // 2] + ordered[size // 2]) / 2
        assert facts["spread"] == pytest.approx((ordered[-1] - ordered[0]) / middle)
        assert texts["alone"] == "compute.gemm.fp32.m128n128k128.flops"
        assert refused == f"rank {size - 1}: no room here", "who could not build is named on every rank"
