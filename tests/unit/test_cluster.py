"""Many nodes side by side: the slow one comes first, a slow fleet is named, and nobody is dropped."""

import math
import random
from pathlib import Path

import msgspec
import pytest

from effbench import api
from effbench.model.cluster import Campaign, Cluster
from effbench.model.digest import digest
from effbench.model.error import InputError
from effbench.model.grade import EXIT_CODES
from effbench.model.quantity import Ceiling, Interval, Quantity
from effbench.model.scorecard import DeviceCard, Metric, Scorecard
from effbench.model.unit import Unit
from effbench.score.cluster import Node, score_cluster
from effbench.stats.outlying import robust_sigma, split
from effbench.store import documents
from effbench.store.nodes import CLUSTER, cluster_card
from tests.factory import gpu_node

SPREAD = 0.004


def metric(key: str, value: float, half: float = 0.005, unit: Unit = Unit.FLOP_PER_S, better: str = "higher") -> Metric:
    ceiling = Ceiling(1e15, Unit.FLOP_PER_S, "a table", "2026-01") if key.endswith("fraction_of_reference") else None
    held = Interval(value * (1 - half), value * (1 + half)) if half else None
    return Metric(key, Quantity(value, unit), better, "valid", ["t"], interval=held, ceiling=ceiling)  # type: ignore[arg-type]


def card(name: str, speed: float, share: float = 0.9, suite: str = "node/quick", half: float = 0.005) -> Scorecard:
    rng = random.Random(name)
    noisy = [speed * rng.gauss(1, SPREAD) for _ in range(4)]
    return Scorecard(
        schema="effbench.scorecard/1",
        subject="node",
        node=f"host-{name}",
        device_class="gpu",
        devices=[DeviceCard("gpu0", "gpu", "GPU X", "x", "GPU X")],
        metrics=[
            metric("compute.gemm.bf16.flops", 8e14 * noisy[0], half),
            metric("compute.gemm.bf16.fraction_of_reference", share * noisy[0], half, Unit.ONE),
            metric("memory.stream.triad.bandwidth", 4e12 * noisy[1], half, Unit.BYTE_PER_S),
            metric("train.step.time", 0.2 / noisy[2], half, Unit.SECOND, "lower"),
        ],
        coverage=1.0,
        findings=[],
        record_digests=[f"sha256:{name}"],
        suite=suite,
        started_at="2026-11-21T10:00:00Z",
    )


def graded(name: str, own: Scorecard) -> Node:
    return Node(name, own, api.grade(own, api.load_policy("node-2026")))


def fleet(speeds: list[float], **more: float) -> list[Node]:
    return [graded(f"n{i}", card(f"n{i}", speed, **more)) for i, speed in enumerate(speeds)]  # type: ignore[arg-type]


def cluster_of(nodes: list[Node], campaign: Campaign | None = None) -> Cluster:
    found = score_cluster("c", nodes, campaign).cluster
    assert found is not None
    return found


def test_one_slowed_node_of_four_is_first_and_told_by_its_spread():
    found = cluster_of(fleet([1.0, 1.0, 0.7, 1.0]))
    first = found.first()
    assert first is not None and first.name == "n2"
    assert first.n_outliers == 3 and first.slowest is not None and "spread" in first.slowest.grounds
    assert first.typical == pytest.approx(0.7, rel=0.03)
    assert {o.node for o in found.outliers} == {"n2"}
    time = next(d for d in found.distributions if d.key == "train.step.time")
    assert time.worst[0] == "n2" and time.outliers[0].ratio > 1.3
    assert [v is not None for v in time.values] == [True] * 4


@pytest.mark.parametrize("seed", range(8))
def test_even_nodes_name_nobody(seed):
    names = [f"{seed}-{i}" for i in range(40)]
    found = cluster_of([Node(name, card(name, 1.0)) for name in names])
    assert found.outliers == [] and all(d.halves is None for d in found.distributions)


def test_noise_of_the_figures_themselves_names_nobody():
    wide = [Node(f"n{i}", card(f"n{i}", s, half=0.2)) for i, s in enumerate([1.0, 1.0, 0.88, 1.0])]
    assert cluster_of(wide).outliers == []
    sharp = [Node(f"n{i}", card(f"n{i}", s)) for i, s in enumerate([1.0, 1.0, 0.88, 1.0])]
    assert {o.node for o in cluster_of(sharp).outliers} == {"n2"}


def test_a_fleet_that_is_slow_as_a_whole_is_named_by_the_anchor_and_its_nodes_are_not():
    found = cluster_of(fleet([1.0] * 6, share=0.6))
    assert len(found.slow) == 1 and "0.75" in found.slow[0]
    assert found.outliers == []
    whole = score_cluster("c", fleet([1.0] * 6, share=0.6))
    assert "cluster-slow" in {f.code for f in whole.findings}


def test_a_node_below_the_anchor_is_named_though_the_spread_is_too_wide_to_tell():
    speeds = [1.0, 0.9, 1.1, 0.95, 1.05, 0.8]
    found = cluster_of(fleet(speeds))
    named = {o.node: o.grounds for o in found.outliers if o.key == "compute.gemm.bf16.flops"}
    assert named == {"n5": ["anchor"]}
    assert next(o for o in found.outliers if o.node == "n5").share == pytest.approx(0.72, rel=0.02)


def test_a_weak_reference_judges_nobody():
    nodes = fleet([1.0] * 4, share=0.5)
    weak = []
    for node in nodes:
        assert node.card is not None
        held = [
            msgspec.structs.replace(m, ceiling=msgspec.structs.replace(m.ceiling, confidence="low")) if m.ceiling else m
            for m in node.card.metrics
        ]
        weak.append(Node(node.name, msgspec.structs.replace(node.card, metrics=held)))
    found = cluster_of(weak)
    assert found.slow == [] and any("no reference" in text for text in found.limits)


def test_disturbed_evidence_names_a_node_and_says_so_but_is_no_ground_against_the_fleet():
    nodes = []
    for node in fleet([1.0, 1.0, 0.6, 1.0], share=0.6):
        assert node.card is not None
        held = [msgspec.structs.replace(m, status="suspect") for m in node.card.metrics]
        nodes.append(Node(node.name, msgspec.structs.replace(node.card, metrics=held)))
    found = cluster_of(nodes)
    assert found.slow == [] and all(d.anchor is None or d.anchor.below == [] for d in found.distributions)
    assert found.nodes[0].name == "n2" and found.nodes[0].slowest is not None
    assert "disturbed" in found.nodes[0].slowest.text


@pytest.mark.parametrize("absurd", [1.7e308, 5e-324, 0.0, -1e308])
def test_one_absurd_figure_is_named_and_costs_only_its_own_node(absurd):
    nodes = fleet([1.0, 1.0, 1.0, 1.0, 1.0])
    assert nodes[2].card is not None
    spoilt = [
        msgspec.structs.replace(m, quantity=Quantity(absurd, m.quantity.unit), interval=None)
        for m in nodes[2].card.metrics
    ]
    nodes[2] = graded("n2", msgspec.structs.replace(nodes[2].card, metrics=spoilt))
    found = cluster_of(nodes)
    assert {o.node for o in found.outliers} == {"n2"} and found.nodes[0].name == "n2"
    assert {row.n_outliers for row in found.nodes if row.name != "n2"} == {0}
    assert all(d.median == pytest.approx(d.median) and math.isfinite(d.median) for d in found.distributions)


def test_two_kinds_of_nodes_are_a_hint_and_not_a_list_of_outliers():
    found = cluster_of(fleet([1.0] * 6 + [0.8] * 6))
    gemm = next(d for d in found.distributions if d.key == "compute.gemm.bf16.flops")
    assert gemm.halves is not None and len(gemm.halves.nodes_low) == 6 and gemm.halves.n_high == 6
    assert "cluster-two-kinds" in {f.code for f in score_cluster("c", fleet([1.0] * 6 + [0.8] * 6)).findings}


@pytest.mark.parametrize("draw", ["gauss", "uniform"])
def test_one_kind_is_hardly_ever_cut_in_two(draw):
    drawn = 0
    for seed in range(1000):
        rng = random.Random(seed)
        xs = [getattr(rng, draw)(1.0, 0.1) for _ in range(rng.choice([8, 12, 30, 200]))]
        drawn += split(xs) is not None
    assert drawn <= 8  # 2 in 1,000 expected at most; more than 8 has a probability below 0.001


def test_below_three_nodes_nobody_stands_out_and_it_says_so():
    found = cluster_of(fleet([1.0, 0.5]))
    assert all(o.grounds == ["anchor"] for o in found.outliers)
    assert any("2 of the 3 nodes" in text for text in found.limits)
    assert robust_sigma([1.0, 2.0]) is None


def test_nothing_that_was_asked_for_is_dropped():
    nodes = [*fleet([1.0, 1.0, 1.0]), Node("broken", problem="damaged JSON")]
    copy = msgspec.structs.replace(nodes[0], name="zcopy")
    asked = dict.fromkeys(["n0", "n1", "n2", "broken", "zcopy"], "done") | {"n9": "its node cannot run a job: down"}
    whole = score_cluster("c", [*nodes, copy], Campaign("effbench.campaign/1", "node/quick", "t", asked))
    assert whole.cluster is not None
    states = {row.name: row.state for row in whole.cluster.nodes}
    assert states == {
        **dict.fromkeys(["n0", "n1", "n2"], "reported"),
        "broken": "unreadable",
        "zcopy": "duplicate",
        "n9": "missing",
    }
    codes = {f.code for f in whole.findings}
    assert codes >= {"cluster-node-missing", "cluster-node-unreadable", "cluster-node-duplicate"}
    assert any("down" in f.message for f in whole.findings)
    assert all(len(d.values) == 6 and d.n == 3 for d in whole.cluster.distributions)
    assert whole.coverage == pytest.approx(0.5)


def test_different_suites_are_compared_apart():
    odd = [Node("o1", card("o1", 0.5, suite="node/standard"))]
    whole = score_cluster("c", [*fleet([1.0, 1.0, 1.0]), *odd])
    assert whole.cluster is not None
    assert [len(g.nodes) for g in whole.cluster.groups] == [3, 1]
    assert not [o for o in whole.cluster.outliers if o.node == "o1" and "spread" in o.grounds]
    assert "cluster-mixed" in {f.code for f in whole.findings}


def test_software_that_differs_and_figures_that_are_missing_are_told():
    nodes = fleet([1.0] * 4)
    nodes = [msgspec.structs.replace(n, software={"driver": "1" if n.name != "n3" else "2"}) for n in nodes]
    assert nodes[1].card is not None
    nodes[1] = msgspec.structs.replace(
        nodes[1], card=msgspec.structs.replace(nodes[1].card, metrics=nodes[1].card.metrics[:-1])
    )
    whole = score_cluster("c", nodes)
    assert whole.cluster is not None and whole.cluster.versions[0].nodes["2"] == ["n3"]
    row = next(r for r in whole.cluster.nodes if r.name == "n1")
    assert row.absent == ["train.step.time"]
    assert {"cluster-versions", "cluster-metric-missing"} <= {f.code for f in whole.findings}


def test_without_one_report_there_is_no_scorecard():
    with pytest.raises(InputError, match=r"no node reported.*disk on fire"):
        score_cluster("c", [Node("n1", problem="disk on fire")])


def written(root: Path, name: str, own: Scorecard | None = None) -> Path:
    case = gpu_node(simulated=False)
    assert case.record is not None
    record = msgspec.structs.replace(case.record, journal_digest=f"sha256:{name}", digest="")
    record = msgspec.structs.replace(record, digest=digest(record))
    made = msgspec.structs.replace(own or case.card, node=name, record_digests=[record.digest])
    folder = root / name
    folder.mkdir(parents=True)
    documents.write(folder / documents.RECORD, documents.encode(record))
    documents.write(folder / documents.SCORECARD, documents.encode(made))
    return folder


def test_a_folder_of_nodes_is_scored_and_what_is_damaged_is_named(tmp_path):
    root = tmp_path / "fleet"
    for i in range(3):
        written(root, f"n{i}")
    (written(root, "n3") / documents.RECORD).write_bytes(b"{}")
    (root / "n4").mkdir()
    (root / ".campaign").mkdir()
    whole = cluster_card(root, api.load_policy("node-2026"))
    assert whole.cluster is not None and whole.node == "fleet"
    assert {row.name: row.state for row in whole.cluster.nodes} == {
        **dict.fromkeys(["n0", "n1", "n2"], "reported"),
        **dict.fromkeys(["n3", "n4"], "unreadable"),
    }


def test_a_scorecard_that_is_not_of_the_record_beside_it_is_made_again(tmp_path):
    root = tmp_path / "fleet"
    for i in range(3):
        written(root, f"n{i}")
    path = root / "n1" / documents.SCORECARD
    stale = documents.read(path, Scorecard)
    absurd = [
        msgspec.structs.replace(m, quantity=Quantity(1e30, m.quantity.unit), interval=None) for m in stale.metrics
    ]
    documents.write(
        path, documents.encode(msgspec.structs.replace(stale, metrics=absurd, record_digests=["sha256:other"]))
    )
    whole = cluster_card(root, api.load_policy("node-2026"))
    assert whole.cluster is not None
    assert all(d.high < 1e29 for d in whole.cluster.distributions)


def test_a_verdict_on_disk_is_not_believed_but_made_from_the_evidence(tmp_path):
    root, policy = tmp_path / "fleet", api.load_policy("node-2026")
    for i in range(3):
        folder = written(root, f"n{i}")
        card = documents.read(folder / documents.SCORECARD, Scorecard)
        own = api.grade(card, policy)
        said = msgspec.structs.replace(own, verdict="fail" if own.verdict == "pass" else "pass")
        documents.write(folder / documents.GRADE, documents.encode(said))
    whole = cluster_card(root, policy)
    assert whole.cluster is not None and {row.verdict for row in whole.cluster.nodes} == {own.verdict}


def test_the_verdict_is_over_the_nodes_and_only_under_their_own_policy(tmp_path):
    root = tmp_path / "fleet"
    for i in range(3):
        written(root, f"n{i}")
    policy = api.load_policy("node-2026")
    whole = cluster_card(root, policy)
    assert whole.cluster is not None
    decided = api.grade(whole, policy)
    assert decided.verdict == whole.cluster.verdict == whole.cluster.nodes[-1].verdict
    other = msgspec.structs.replace(policy, version=policy.version + 1)
    assert api.grade(whole, other).verdict == "not_rated"
    (root / "lost").mkdir()
    assert api.grade(cluster_card(root, policy), policy).verdict in ("not_rated", "fail")


def test_the_command_writes_the_cluster_and_its_reports_twice_the_same(tmp_path, capfdbinary):
    from effbench.cli.main import invoke

    root = tmp_path / "fleet"
    for i in range(4):
        written(root, f"n{i}")
    codes = []
    kept = []
    for _ in range(2):
        codes.append(invoke(["score", str(root), "--subject", "cluster"]))
        kept.append([(root / name).read_bytes() for name in (CLUSTER, "report.html", "report.md", "grade.json")])
    assert codes[0] == codes[1] in EXIT_CODES.values() and kept[0] == kept[1]
    assert b"n0" in capfdbinary.readouterr().out


@pytest.mark.parametrize("where", ["nowhere", "single", "empty"])
def test_a_folder_that_is_no_campaign_is_refused(tmp_path, where):
    if where == "single":
        written(tmp_path, "single")
    if where == "empty":
        (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no such folder|single run|no node reported"):
        cluster_card(tmp_path / where, api.load_policy("node-2026"))
