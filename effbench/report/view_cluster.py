"""Many nodes as they are shown: who to look at first and why, each figure over the nodes, a row per node."""

import re

import msgspec

from effbench.model.cluster import Anchor, Cluster, Distribution, NodeRow, Outlier
from effbench.model.scorecard import Scorecard
from effbench.report import format, words
from effbench.report.format import opened

STATES = {
    "reported": ("reported", "good"),
    "missing": ("missing", "none"),
    "unreadable": ("unreadable", "open"),
    "duplicate": ("duplicate", "open"),
}
GROUNDS = {"spread": "far from the other nodes", "anchor": "below what a healthy part keeps"}
HEADLINES_MAX, NAMES_MAX = 8, 6
ROWS_MIN, ROWS_MAX = 8, 40  # rows of nodes that are open at first: all that are not well, within these
DIGITS = re.compile(r"(\d+)")


class OutlierView(msgspec.Struct, frozen=True):
    """One figure of one node that stands out, with each ground in words."""

    node: str
    title: str
    key: str
    value: str
    median: str
    against: str
    tone: str
    robust: str
    anchor: str
    flag: str
    text: str


class NodeOutliers(msgspec.Struct, frozen=True):
    """Every figure of one node that stands out, the furthest first."""

    node: str
    tone: str
    figures: list[OutlierView]


class DistributionView(msgspec.Struct, frozen=True):
    """One figure over the nodes. `data` is what the strip plot draws; `names` are its nodes by position."""

    title: str
    key: str
    group: str
    median: str
    spread: str
    range: str
    nodes: str
    arrow: str
    anchor: str
    anchor_tone: str
    worst: list[str]
    halves: str
    missing: str
    outliers: int
    data: Distribution


class NodeView(msgspec.Struct, frozen=True):
    """One node. `why` is what decided, in words; `out` its furthest figure."""

    name: str
    host: str
    word: str
    sign: str
    tone: str
    gone: bool
    letter: str
    letter_tone: str
    typical: str
    out: str
    outliers: int
    why: str
    group: str


class ClusterPage(msgspec.Struct, frozen=True):
    """Everything on the cluster's page."""

    word: str
    sign: str
    tone: str
    summary: str
    counts: list[tuple[str, str, str, int]]
    first: str
    first_why: list[str]
    outliers: list[NodeOutliers]
    better: list[NodeOutliers]
    headlines: list[DistributionView]
    distributions: list[DistributionView]
    nodes: list[NodeView]
    tiles: list[NodeView]
    gone: list[NodeView]
    groups: list[tuple[str, str]]
    versions: list[tuple[str, list[tuple[str, str]]]]
    slow: list[str]
    limits: list[str]
    names: list[str]
    open_rows: int


def names(listed: list[str], most: int = NAMES_MAX) -> str:
    """Write node names; of many only the first."""
    shown = ", ".join(listed[:most])
    return shown if len(listed) <= most else f"{shown} and {len(listed) - most} more"


def natural(name: str) -> list[tuple[int, str]]:
    """Sort key that puts `node-9` before `node-10`."""
    return [(int(piece), "") if piece.isdecimal() else (-1, piece) for piece in DIGITS.split(name)]


def _anchor(anchor: Anchor | None) -> tuple[str, str]:
    """Write the absolute measure that stands beside the comparison among the nodes, with its tone."""
    if anchor is None:
        return "No absolute anchor applies.", "none"
    kind = words.metric(anchor.key).title
    median = f"Median at {format.percent(anchor.share)} ({kind})"
    if anchor.bar is None:
        return f"{median}; no bar applies", "none"
    bar = f"{median}; a healthy part keeps {format.percent(anchor.bar)}"
    source = f" ({anchor.source})" if anchor.source else ""
    if anchor.slow:
        return f"{bar}{source}: the fleet as a whole is slow", "bad"
    below = f"; below it: {names(anchor.below)}" if anchor.below else ""
    return f"{bar}{source}{below}", "open" if anchor.below else "none"


def _outlier(found: Outlier, of: Distribution | None) -> OutlierView:
    robust = ""
    if "spread" in found.grounds:
        far = "" if found.deviation is None else f"{abs(found.deviation):.3g} robust standard deviations off"
        robust = far or GROUNDS["spread"]
    anchor = ""
    if "anchor" in found.grounds:
        bar = of.anchor.bar if of is not None and of.anchor is not None else None
        told = [] if found.share is None else [format.percent(found.share)]
        told += [] if bar is None else [f"bar {format.percent(bar)}"]
        anchor = f"{GROUNDS['anchor']} ({', '.join(told)})" if told else GROUNDS["anchor"]
    elif found.share is not None:
        anchor = f"at {format.percent(found.share)} of the anchor, which does not condemn it"
    return OutlierView(
        node=found.node,
        title=words.metric(found.key).title,
        key=found.key,
        value=format.quantity(found.value, found.unit, found.key),
        median="" if of is None else format.quantity(of.median, of.unit, of.key),
        against=format.points(found.ratio - 1),
        tone="bad" if found.side == "worse" else "open",
        robust=robust,
        anchor=anchor,
        flag="" if found.status == "valid" else words.STATUSES[found.status][0],
        text=format.sentence(found.text),
    )


def _distribution(of: Distribution, several: bool) -> DistributionView:
    anchor, tone = _anchor(of.anchor)
    halves = ""
    if of.halves is not None:
        low, high = (format.quantity(value, of.unit, of.key) for value in (of.halves.low, of.halves.high))
        n = len(of.halves.nodes_low)
        halves = f"Two kinds of nodes: {n} at {low} ({names(of.halves.nodes_low)}), {of.halves.n_high} at {high}."
    spread = of.spread
    return DistributionView(
        title=words.metric(of.key).title,
        key=of.key,
        group=of.group if several else "",
        median=format.quantity(of.median, of.unit, of.key),
        spread="too few nodes" if spread is None else format.percent(spread, 2),
        range=f"{format.quantity(of.low, of.unit, of.key)} – {format.quantity(of.high, of.unit, of.key)}",
        nodes=format.count(of.n, "node"),
        arrow="higher is better" if of.better == "higher" else "lower is better",
        anchor=anchor,
        anchor_tone=tone,
        worst=of.worst,
        halves=halves,
        missing=f"No usable figure: {names(of.missing)}." if of.missing else "",
        outliers=sum(found.side == "worse" for found in of.outliers),
        data=of,
    )


def _node(row: NodeRow, several: bool) -> NodeView:
    word, sign, tone = words.OUTCOMES[row.verdict]
    if row.state != "reported":
        word, tone = STATES[row.state]
        sign = "–" if row.state == "duplicate" else "✗"
    why = [row.detail, row.reason, *row.incidents]
    why += [f"not measured: {names(row.absent, 3)}"] if row.absent else []
    out = ""
    if row.slowest is not None:
        out = f"{words.metric(row.slowest.key).title} {format.points(row.slowest.ratio - 1)}"
    return NodeView(
        name=row.name,
        host=row.host if row.host != row.name else "",
        word=word,
        sign=sign,
        tone=tone,
        gone=row.state != "reported",
        letter=row.letter,
        letter_tone=words.grade_tone(row.letter or None),
        typical="" if row.typical is None else format.points(row.typical - 1),
        out=out,
        outliers=row.n_outliers,
        why=" ".join(opened(format.sentence(reason)) for reason in dict.fromkeys(why) if reason),
        group=row.group if several else "",
    )


def _by_node(found: list[tuple[Outlier, OutlierView]], side: str) -> list[NodeOutliers]:
    """Gather the figures of each node, in the order in which the nodes first appear."""
    grouped: dict[str, list[OutlierView]] = {}
    for outlier, view in found:
        if outlier.side == side:
            grouped.setdefault(outlier.node, []).append(view)
    return [NodeOutliers(node, mine[0].tone, mine) for node, mine in grouped.items()]


def _counts(cluster: Cluster) -> list[tuple[str, str, str, int]]:
    """Count the nodes by what became of them: verdicts of those that reported, states of the others."""
    found: dict[tuple[str, str, str], int] = {}
    for row in cluster.nodes:
        view = _node(row, False)
        found[view.word, view.sign, view.tone] = found.get((view.word, view.sign, view.tone), 0) + 1
    order = ["fail", "missing", "unreadable", "duplicate", "not rated", "undecided", "pass"]
    return [(*key, found[key]) for key in sorted(found, key=lambda key: order.index(key[0]))]


def _spoken(found: Outlier) -> str:
    """Write an outlier's sentence with the figure's title in place of its key, without the node's name again."""
    return found.text.removeprefix(f"{found.node}, ").replace(found.key, words.metric(found.key).title)


def _first(cluster: Cluster) -> tuple[str, list[str]]:
    """Name the node to look at first, and say why."""
    row = cluster.first()
    if row is None:
        return "", []
    why = [_spoken(row.slowest)] if row.slowest is not None else []
    why += [row.detail, row.reason, *row.incidents[:2]]
    return row.name, [opened(format.sentence(text)) for text in dict.fromkeys(why) if text]


def cluster_page(card: Scorecard) -> ClusterPage | None:
    """Lay out the nodes of a campaign; None when the scorecard is not a cluster's."""
    cluster = card.cluster
    if cluster is None:
        return None
    word, sign, tone = words.OUTCOMES[cluster.verdict]
    several = len(cluster.groups) > 1
    by_key = {(of.group if several else "", of.key): of for of in cluster.distributions}
    group = {row.name: row.group for row in cluster.nodes}
    outliers = [
        (o, _outlier(o, by_key.get((group.get(o.node, "") if several else "", o.key)))) for o in cluster.outliers
    ]
    shown = [_distribution(of, several) for of in cluster.distributions]
    heads = [of for of in shown if of.key in cluster.headlines] or shown
    rows = [_node(row, several) for row in cluster.nodes]
    first, why = _first(cluster)
    counts = _counts(cluster)
    total = f"{len(rows):,} {'node' if len(rows) == 1 else 'nodes'}"
    return ClusterPage(
        word=word,
        sign=sign,
        tone=tone,
        summary=f"{total}: {', '.join(f'{number:,} {name}' for name, _, _, number in counts)}.",
        counts=counts,
        first=first,
        first_why=why,
        outliers=_by_node(outliers, "worse"),
        better=_by_node(outliers, "better"),
        headlines=heads[:HEADLINES_MAX],
        distributions=shown,
        nodes=rows,
        tiles=sorted(rows, key=lambda node: natural(node.name)),
        gone=[node for node in rows if node.gone],
        groups=[(g.name, f"{g.suite}, {g.devices}: {names(g.nodes)}") for g in cluster.groups] if several else [],
        versions=[(v.what, [(value, names(on)) for value, on in v.nodes.items()]) for v in cluster.versions],
        slow=[opened(format.sentence(text)) for text in cluster.slow],
        limits=[opened(format.sentence(text)) for text in cluster.limits],
        names=[row.name for row in cluster.nodes],
        open_rows=min(max(sum(node.tone != "good" or bool(node.outliers) for node in rows), ROWS_MIN), ROWS_MAX),
    )
