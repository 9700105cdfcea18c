"""Who is named as the one that holds the others up, how surely, and that the innocent are not."""

import random
from collections.abc import Mapping

import msgspec
import pytest

from effbench.model.finding import Finding
from effbench.model.inventory import Accelerator, NvLinks
from effbench.model.plan import Placement
from effbench.model.record import Record
from effbench.score.device_paths import way
from effbench.score.scaling import scaling
from effbench.score.stragglers import compute_straggler, network_straggler, slowest_over_median, stragglers
from tests.unit.scaling_records import node_of, step, team, with_trials

STEP_S = 0.2


def round_of(busy: list[float], step_s: float = STEP_S) -> dict[str, float]:
    """Synchronous steps: everybody's step is as long as the slowest's, what is not busy is waiting."""
    long = max(max(busy), step_s)
    return {f"busy_s.r{i}": b for i, b in enumerate(busy)} | {f"wait_s.r{i}": long - b for i, b in enumerate(busy)}


def named(rounds: list[dict[str, float]], ranks: int = 4) -> list[int] | None:
    _, measured = step(ranks, [STEP_S] * len(rounds), by_round=rounds)
    found = compute_straggler(measured, ranks, "cpu")
    return found.ranks if found else None


def test_the_rank_of_the_facts_is_named() -> None:
    """Busy 100/100/150/100 ms, wait 100/100/50/100 ms, all steps 200 ms (measuring-scaling section 7)."""
    _, measured = step(4, [STEP_S] * 3, by_round=[round_of([0.1, 0.1, 0.15, 0.1])] * 3)
    found = compute_straggler(measured, 4, "cpu")
    assert found is not None
    assert (found.kind, found.ranks, found.of_ranks) == ("compute", [2], 4)
    assert found.factor == pytest.approx(1.5)
    assert (found.seen, found.rounds) == (3, 3)
    assert "rank 2 of 4 is busy 1.50 times" in found.text


@pytest.mark.parametrize("ranks", [2, 4, 8])
def test_half_more_work_is_named_in_nineteen_of_twenty_runs(ranks: int) -> None:
    right = 0
    for seed in range(100):
        rng = random.Random(seed)
        slow = rng.randrange(ranks)
        rounds = []
        for _ in range(3):
            busy = [0.1 * (1.5 if r == slow else 1) * (1 + 0.05 * abs(rng.gauss(0, 1))) for r in range(ranks)]
            rounds.append(round_of(busy))
        right += named(rounds, ranks) == [slow]
    assert right >= 95


@pytest.mark.parametrize("ranks", [2, 4, 8])
def test_equal_ranks_are_left_alone(ranks: int) -> None:
    wrong = 0
    for seed in range(200):
        rng = random.Random(seed)
        rounds = [round_of([0.1 * (1 + 0.05 * abs(rng.gauss(0, 1))) for _ in range(ranks)]) for _ in range(3)]
        wrong += named(rounds, ranks) is not None
    assert wrong <= 4


def test_once_is_not_enough_and_contradiction_names_nobody() -> None:
    even, slow = round_of([0.1] * 4), round_of([0.1, 0.1, 0.15, 0.1])
    assert named([slow, even, even]) is None
    assert named([slow, slow, even]) == [2]
    assert named([slow, round_of([0.15, 0.1, 0.1, 0.1]), even]) is None
    # The busiest rank must be the one that waits least, else what was measured contradicts itself.
    assert named([{**slow, "wait_s.r2": 0.3}] * 3) is None


def test_wide_ranks_have_no_single_straggler() -> None:
    assert named([round_of([0.08, 0.1, 0.13, 0.15])] * 3) is None


@pytest.mark.parametrize("lost", ["busy_s.r1", "wait_s.r3"])
def test_a_rank_that_said_nothing_leaves_no_verdict(lost: str) -> None:
    facts = {k: v for k, v in round_of([0.1, 0.1, 0.15, 0.1]).items() if k != lost}
    assert named([facts] * 3) is None


def test_the_penalty_is_the_slowest_over_the_median() -> None:
    assert slowest_over_median([0.1, 0.1, 0.15, 0.1]) == pytest.approx(1.5)
    assert slowest_over_median([0.1]) is None
    assert slowest_over_median([0.0, 0.0]) is None


def pairs_of(ranks: int, slow: Mapping[tuple[int, int], float], noise: float = 0.0, seed: int = 0) -> dict[str, float]:
    rng = random.Random(seed)
    return {
        f"pair_bandwidth.r{i}.r{j}": 122e6 * slow.get((i, j), 1.0) * (1 + noise * rng.gauss(0, 1))
        for i in range(ranks)
        for j in range(i + 1, ranks)
    }


def network(facts: dict[str, float], ranks: int, nodes: int = 1) -> list[list[int]]:
    _, measured = team("pair_sweep", ranks, {"bytes": 1}, [0.1], by_round=[facts], nodes=nodes)
    return [one.ranks for one in network_straggler(measured, ranks, nodes)]


def test_the_link_of_the_facts_is_named() -> None:
    """Pairs 12 .981, 13 .241, 14 .976, 23 .241, 24 .981, 34 .241: the third node's link at a quarter speed."""
    table = {(0, 1): 0.981, (0, 2): 0.241, (0, 3): 0.976, (1, 2): 0.241, (1, 3): 0.981, (2, 3): 0.241}
    _, measured = team("pair_sweep", 4, {"bytes": 1}, [0.1], by_round=[pairs_of(4, table)])
    found = network_straggler(measured, 4)
    assert [one.ranks for one in found] == [[2]]
    assert found[0].factor == pytest.approx(0.241 / 0.981, rel=0.01)
    assert "every pair with rank 2" in found[0].text


@pytest.mark.parametrize("ranks", [3, 4, 5, 8])
def test_a_quarter_speed_link_is_named_in_nineteen_of_twenty_runs(ranks: int) -> None:
    right = 0
    for seed in range(100):
        bad = seed % ranks
        slow = {(i, j): 0.25 for i in range(ranks) for j in range(i + 1, ranks) if bad in (i, j)}
        right += network(pairs_of(ranks, slow, 0.05, seed), ranks) == [[bad]]
    assert right >= 95


def test_one_slow_pair_is_named_as_a_pair() -> None:
    assert network(pairs_of(4, {(1, 3): 0.4}), 4) == [[1, 3]]
    assert network(pairs_of(4, {(0, 1): 0.4, (2, 3): 0.4}), 4) == [[0, 1], [2, 3]]


def test_like_pairs_and_a_single_pair_name_nobody() -> None:
    assert network(pairs_of(4, {}, 0.05), 4) == []
    assert network(pairs_of(2, {(0, 1): 0.1}), 2) == []
    assert network({}, 4) == []


def test_pairs_that_take_turns_at_being_slow_name_nobody() -> None:
    turns = [((0, 1), (0, 2)), ((0, 2), (1, 2)), ((0, 1), (1, 2))]
    rounds = [pairs_of(3, dict.fromkeys(slow, 0.4)) for slow in turns]
    _, measured = team("pair_sweep", 3, {"bytes": 1}, [0.1] * 3, by_round=rounds)
    assert network_straggler(measured, 3) == []


def test_pairs_between_nodes_are_not_held_against_those_within() -> None:
    across = {(i, j): 0.1 for i in (0, 1) for j in (2, 3)}
    assert network(pairs_of(4, across), 4, nodes=2) == []
    assert network(pairs_of(4, across | {(0, 2): 0.04}), 4, nodes=2) == [[0, 2]]


def test_findings_and_unusable_evidence() -> None:
    slow = [round_of([0.1, 0.1, 0.15, 0.1])] * 3
    record = with_trials(
        node_of(4),
        [
            step(4, [STEP_S] * 3, by_round=slow),
            team("pair_sweep", 4, {"bytes": 1}, [0.1], by_round=[pairs_of(4, {(1, 3): 0.4})]),
        ],
    )
    findings: list[Finding] = []
    _, view = scaling(record, findings)
    assert view is not None
    assert [f.code for f in findings] == ["scaling-straggler", "scaling-slow-link"]
    assert findings[0].evidence["factor"] == pytest.approx(1.5)
    disturbed = with_trials(node_of(4), [step(4, [STEP_S] * 3, by_round=slow, status="suspect")])
    told = scaling(disturbed, [])[1]
    assert told is not None
    assert "other load disturbed the trial" in told.stragglers[0].text
    failed = with_trials(node_of(4), [step(4, [STEP_S] * 3, by_round=slow, status="failed")])
    assert scaling(failed, []) == ([], None)
    alone = with_trials(node_of(4), [step(4, [STEP_S] * 3, "communication", by_round=slow)])
    assert scaling(alone, []) == ([], None)


def gpu(number: int, **joined: object) -> Accelerator:
    more = {"pci_bus_id": f"0000:{number:02x}:00.0", **joined}
    return Accelerator(f"gpu{number}", "gpu", "nvidia", "a GPU", "cuda:0", 1 << 37, 0, **more)


def board() -> list[Accelerator]:
    """Four GPUs in two pairs by NVLink bridges; the pairs are on two sockets."""
    found = []
    for i in range(4):
        hops = {f"gpu{j}": "node" if i // 2 == j // 2 else "system" for j in range(4) if j != i}
        found.append(gpu(i, hops=hops, nvlink=NvLinks(4, 4, peers={f"0000:{i ^ 1:02x}:00.0": 4})))
    return found


def copied(slow: Mapping[tuple[int, int], float], devices: list[Accelerator]) -> Record:
    """A record of copies between GPUs, both directions of each pair, with bridges ten times as fast as PCIe."""
    ranks = len(devices)
    facts = {
        f"copy_bandwidth.gpu{i}.gpu{j}": (200e9 if i // 2 == j // 2 else 20e9) * slow.get((i, j), 1.0)
        for i in range(ranks)
        for j in range(ranks)
        if i != j
    }
    trial, measured = team("p2p_copy", ranks, {"peer": "on"}, [0.1], by_round=[facts])
    keys = [device.key for device in devices]
    trial = msgspec.structs.replace(trial, placement=Placement(keys, ranks))
    record = with_trials(node_of(ranks), [(trial, msgspec.structs.replace(measured, device="gpu0"))])
    return msgspec.structs.replace(
        record, inventory_before=msgspec.structs.replace(record.inventory_before, accelerators=devices)
    )


def test_copies_are_held_against_copies_over_the_same_way() -> None:
    assert stragglers(copied({}, board())) == []
    # One direction of one pair over PCIe at a third of the others over PCIe.
    found = stragglers(copied({(3, 0): 0.3}, board()))
    assert [one.ranks for one in found] == [[0, 3]]
    assert found[0].text.startswith("GPUs 0 and 3 copy at 30%")
    # All pairs on the same switch: an end that is slow with everybody.
    switched = [gpu(i, nvlink=NvLinks(18, 18, switched=18)) for i in range(4)]
    like = {(i, j): (0.1 if i // 2 == j // 2 else 1.0) for i in range(4) for j in range(4)}
    bad = {pair: share * (0.5 if 2 in pair else 1.0) for pair, share in like.items()}
    assert stragglers(copied(like, switched)) == []
    assert [(one.ranks, one.text.split(" has")[0]) for one in stragglers(copied(bad, switched))] == [
        ([2], "every pair with GPU 2 by 18 NVLinks through a switch")
    ]


def test_copies_of_a_board_that_nobody_described_name_nobody() -> None:
    assert stragglers(copied({(3, 0): 0.3}, [gpu(i) for i in range(4)])) == []
    half = [*board()[:3], gpu(3)]
    half[2] = gpu(2)
    assert stragglers(copied({(3, 0): 0.3}, half)) == []


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        ({"nvlink": NvLinks(4, 4, peers={"0000:01:00.0": 4})}, {}, "by 4 NVLinks"),
        ({"nvlink": NvLinks(18, 18, switched=18)}, {"nvlink": NvLinks(18, 17, switched=17)}, "by 17 NVLinks through a"),
        ({"nvlink": NvLinks(18, 18, switched=18), "hops": {"gpu1": "system"}}, {}, "between NUMA nodes"),
        ({}, {"hops": {"gpu0": "single"}}, "through one PCIe switch"),
        ({"nvlink": NvLinks(4, 0)}, {"nvlink": NvLinks(4, 0)}, ""),
    ],
)
def test_the_way_between_two_gpus(one: dict[str, object], other: dict[str, object], words: str) -> None:
    found = way(gpu(0, **one), gpu(1, **other))
    assert found.startswith(words) and bool(found) == bool(words)


def test_a_sweep_that_was_cut_short_names_nobody() -> None:
    facts = pairs_of(4, {(0, 2): 0.3})
    assert network(facts, 4) == [[0, 2]]
    del facts["pair_bandwidth.r2.r3"]
    assert network(facts, 4) == []
