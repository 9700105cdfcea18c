"""Many nodes' scorecards to the scorecard of the cluster: medians, who stands out, who is missing, the verdict. Pure.

Nodes are compared within groups of the same suite and the same devices. Nothing that was asked for is dropped: a node
without a result is a row without figures, and counts as not rated.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from effbench.model.cluster import Campaign, Cluster, Distribution, Group, NodeRow, Outlier, State, Version
from effbench.model.error import InputError
from effbench.model.grade import PRECEDENCE, Grade, Verdict
from effbench.model.quantity import Quantity
from effbench.model.scorecard import Metric, Scorecard
from effbench.score.cluster_figures import distributions, is_share, judged
from effbench.score.cluster_findings import findings, limits, slow
from effbench.score.cluster_rank import ranked

__all__ = ["Node", "score_cluster"]

INCIDENTS_MAX, HEADLINES_MAX = 5, 8
# What a reader looks at first, in this order, as far as the suite measured it.
HEADLINES = (
    *("compute.gemm.bf16.flops", "compute.gemm.fp32.flops", "compute.gemm.fp64.flops"),
    *("memory.stream.triad.bandwidth", "train.step.tokens_per_s", "infer.prefill.b1.tokens_per_s"),
    *("infer.decode.b1.tokens_per_s", "host.copy.h2d.pinned.bandwidth", "memory.capacity.verified_bytes"),
)


class Node(msgspec.Struct, frozen=True):
    """What lies in one node's folder. Without a card, `problem` says why; `software` maps what to its version."""

    name: str
    card: Scorecard | None = None
    grade: Grade | None = None
    problem: str = ""
    software: dict[str, str] = {}


def score_cluster(title: str, nodes: Sequence[Node], campaign: Campaign | None = None, policy: str = "") -> Scorecard:
    """Put the nodes of one campaign side by side. The same documents give the same scorecard, byte for byte.

    Args:
        title: the campaign's name.
        nodes: one per folder, graded under `policy` (`name@version`).
        campaign: what was asked for; a node in it that has no folder is missing.

    Raises:
        InputError: not one node has a scorecard: there is nothing to compare.
    """
    kept, copies = _without_copies(nodes)
    cards = {node.name: node.card for node in kept if node.card is not None}
    if not cards:
        reasons = "; ".join(f"{n.name}: {n.problem}" for n in nodes[:5] if n.problem) or "no folder holds a run"
        raise InputError(f"{title}: no node reported: {reasons}")
    groups = _groups(cards)
    drawn = [
        pair
        for group in groups
        for pair in distributions(
            {name: cards[name] for name in group.nodes},
            group.name if len(groups) > 1 else "",
            cards[group.nodes[0]].device_class,
        )
    ]
    rows = ranked(_rows(kept, copies, campaign, groups), drawn, {n.name: n.grade for n in kept})
    order = [row.name for row in rows]
    figures = [msgspec.structs.replace(d, values=[values.get(name) for name in order]) for d, values in drawn]
    cluster = Cluster(
        verdict=_verdict(rows),
        counts=dict(sorted(Counter(row.verdict for row in rows).items())),
        nodes=rows,
        groups=groups,
        distributions=_sorted(figures),
        outliers=_all_outliers(figures, order),
        headlines=_headlines(figures),
        versions=_versions(kept),
        policy=policy,
    )
    cluster = msgspec.structs.replace(cluster, slow=slow(cluster), limits=limits(cluster))
    return _card(title, cluster, cards, groups[0])


def _without_copies(nodes: Sequence[Node]) -> tuple[list[Node], dict[str, str]]:
    """Refuse a run that lies in two folders: the later folder has no evidence of its own. Returns name -> of whom."""
    first: dict[str, str] = {}
    copies: dict[str, str] = {}
    for node in sorted(nodes, key=lambda n: n.name):
        digests = node.card.record_digests if node.card is not None else []
        for name in digests:
            if name in first:
                copies[node.name] = first[name]
            first.setdefault(name, node.name)
    return [msgspec.structs.replace(n, card=None, grade=None) if n.name in copies else n for n in nodes], copies


def _groups(cards: Mapping[str, Scorecard]) -> list[Group]:
    """Sort the nodes by what may be compared; the largest group first."""
    members: dict[tuple[str, str], list[str]] = {}
    for name, card in sorted(cards.items()):
        kinds = Counter(device.part_title or device.name for device in card.devices)
        devices = ", ".join(f"{n} x {kind}" for kind, n in sorted(kinds.items()))
        members.setdefault((card.suite, devices), []).append(name)
    found = sorted(members.items(), key=lambda item: (-len(item[1]), item[0]))
    return [Group(f"{suite} on {devices}", suite, devices, names) for (suite, devices), names in found]


def _rows(
    nodes: Sequence[Node], copies: Mapping[str, str], campaign: Campaign | None, groups: Sequence[Group]
) -> list[NodeRow]:
    group_of = {name: group.name for group in groups for name in group.nodes}
    asked = campaign.nodes if campaign is not None else {}
    rows = [_row(node, copies.get(node.name), asked.get(node.name, ""), group_of.get(node.name, "")) for node in nodes]
    here = {node.name for node in nodes}
    for name, fate in sorted(asked.items()):
        if name not in here:
            said = "asked, and nothing of it is here" if fate in ("asked", "running", "done") else fate
            rows.append(NodeRow(name, "missing", "not_rated", detail=said, reason=said))
    return rows


def _row(node: Node, copy_of: str | None, fate: str, group: str) -> NodeRow:
    card, grade = node.card, node.grade
    if card is None:
        state: State = "duplicate" if copy_of else "unreadable"
        said = f"holds the same run as {copy_of}, so it has no evidence of its own" if copy_of else node.problem
        return NodeRow(node.name, state, "not_rated", detail=said, reason=said)
    short = f"its run was {card.outcome}" if card.outcome not in ("complete", "budget") else ""
    said = "; ".join(part for part in (short, fate if fate not in ("", "done", "asked", "running") else "") if part)
    errors = [f"{f.code}: {f.message}" for f in card.findings if f.severity == "error"]
    return NodeRow(
        node.name,
        "reported",
        grade.verdict if grade is not None else "not_rated",
        host=card.node,
        detail=said,
        letter=(grade.grade or "") if grade is not None else "",
        reason=grade.summary if grade is not None else "it was not graded",
        group=group,
        outcome=card.outcome,
        coverage=card.coverage,
        incidents=errors[:INCIDENTS_MAX],
        started_at=card.started_at,
        ended_at=card.ended_at,
        record_digest=card.record_digests[0] if card.record_digests else "",
    )


def _verdict(rows: Sequence[NodeRow]) -> Verdict:
    """Precedence over the nodes: fail, not rated, undecided, pass (INTERFACES section 1)."""
    found = {row.verdict for row in rows}
    return next((verdict for verdict in PRECEDENCE if verdict in found), "not_rated")


def _headlines(figures: Sequence[Distribution]) -> list[str]:
    """Choose the keys that a reader sees first; of a suite that has none of the usual ones, its first rates."""
    here = {d.key for d in figures}
    found = [key for key in HEADLINES if key in here]
    rest = [d.key for d in figures if judged(d.key) and d.key not in found]
    return [*found, *dict.fromkeys(rest)][:HEADLINES_MAX] if len(found) < 3 else found[:HEADLINES_MAX]


def _sorted(figures: Sequence[Distribution]) -> list[Distribution]:
    front = {key: i for i, key in enumerate(HEADLINES)}
    return sorted(figures, key=lambda d: (front.get(d.key, len(front)), is_share(d.key), d.key, d.group))


def _all_outliers(figures: Sequence[Distribution], order: Sequence[str]) -> list[Outlier]:
    place = {name: i for i, name in enumerate(order)}
    found = [outlier for d in _sorted(figures) for outlier in d.outliers]
    return sorted(found, key=lambda o: (o.side == "better", place[o.node]))


def _versions(nodes: Sequence[Node]) -> list[Version]:
    """Return the software that differs between nodes; what a node does not tell is not held against it."""
    table: dict[str, dict[str, list[str]]] = {}
    for node in nodes:
        for what, version in node.software.items():
            if version and node.card is not None:
                table.setdefault(what, {}).setdefault(version, []).append(node.name)
    return [Version(what, dict(sorted(by.items()))) for what, by in sorted(table.items()) if len(by) > 1]


def _card(title: str, cluster: Cluster, cards: Mapping[str, Scorecard], group: Group) -> Scorecard:
    """Wrap the cluster as a scorecard: every metric of the largest group as its median over the nodes."""
    first = cards[group.nodes[0]]
    main = [d for d in cluster.distributions if d.group in ("", group.name)]
    coverage = sum(row.coverage or 0.0 for row in cluster.nodes) / len(cluster.nodes)
    return Scorecard(
        schema="effbench.scorecard/1",
        subject="cluster",
        node=title,
        device_class=first.device_class,
        devices=first.devices,
        metrics=sorted((_metric(d) for d in main), key=lambda m: m.key),
        coverage=coverage,
        findings=findings(cluster, {name: card.node for name, card in cards.items()}),
        record_digests=[digest for name in sorted(cards) for digest in cards[name].record_digests],
        suite=group.suite,
        started_at=min(card.started_at for card in cards.values()),
        outcome="complete" if all(row.state == "reported" for row in cluster.nodes) else "incomplete",
        simulated=any(card.simulated for card in cards.values()),
        ended_at=max(card.ended_at or card.started_at for card in cards.values()),
        cluster=cluster,
    )


def _metric(shown: Distribution) -> Metric:
    params = {"nodes": shown.n, "over": "median", "worst_node": shown.worst[0]}
    evidence = [f"median of {shown.n} nodes"]
    return Metric(shown.key, Quantity(shown.median, shown.unit), shown.better, "valid", evidence, params=params)
