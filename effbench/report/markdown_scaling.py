"""Scaling, links and many nodes as Markdown. Texts are escaped by the caller's functions; nothing is markup."""

from collections.abc import Callable

from effbench.report import format
from effbench.report.view_cluster import ClusterPage, NodeView
from effbench.report.view_curves import CurveView
from effbench.report.view_scaling import ScalingPage

Escape = Callable[[str], str]
Table = Callable[[list[str], list[list[str]]], list[str]]
NODES_MAX, OUTLIERS_MAX = 40, 30


def _curve(curve: CurveView, escaped: Escape, table: Table) -> list[str]:
    lines = [f"**{escaped(curve.title)}.** {escaped(curve.end)} Base: {escaped(curve.base)}", ""]
    lines += [f"> **Suspect measurement first:** {escaped(doubt)}" for doubt in curve.doubts]
    lines += [""] if curve.doubts else []
    rows = [
        [
            str(point.ranks) + (f" on {format.count(point.nodes, 'node')}" if point.nodes > 1 else ""),
            (point.time or "no figure") + (f" **{point.word}**" if point.word != "valid" else ""),
            f"**{point.efficiency}**" if point.efficiency else "–",
            point.speed_up or "–",
            point.exposed or "–",
            f"{point.predicted} ({point.residual})" if point.predicted else "–",
        ]
        for point in curve.points
    ]
    head = ["Ranks", "Time of a step", "Efficiency", "Speed-up", "Exposed communication", "Predicted (off by)"]
    return [*lines, *(table(head, rows) if rows else []), escaped(curve.projection), ""]


def scaling(page: ScalingPage | None, escaped: Escape, table: Table) -> list[str]:
    """Write the scaling page; nothing when the run says nothing of scaling."""
    if page is None:
        return []
    lines = ["## Scaling", ""]
    lines += [
        f"- **{found.kind}** {escaped(found.where)} {escaped(found.text)} {found.seen}".replace("  ", " ")
        for found in page.stragglers
    ]
    lines += [""] if page.stragglers else []
    for curve in page.curves:
        lines += _curve(curve, escaped, table)
    for pairs in page.pairs:
        lines += [f"**{pairs.title}** (median {pairs.median}). {escaped(pairs.said)}", ""]
        rows = [[escaped(name), escaped(nvlink) or "–", escaped(pcie)] for name, nvlink, pcie in pairs.devices]
        lines += table(["Joined, by the driver", "NVLink", "PCIe, NUMA node"], rows) if rows else []
    for group in page.collectives:
        rows = [[series.title, series.headline or "–", series.latency or "–"] for series in group.series]
        lines += [f"**Collectives**, {group.ranks} ranks, {group.group}", ""]
        lines += table(["Collective", "Bus bandwidth, largest size", "Latency, 8 B"], rows)
    if page.together:
        rows = [[escaped(one.title), one.ranks, escaped(one.loss), one.spread, one.slowest] for one in page.together]
        head = ["All devices at once", "Ranks", "Loss against alone", "Slowest over fastest", "Slowest"]
        lines += table(head, rows)
    return lines


def _node(node: NodeView, escaped: Escape) -> list[str]:
    letter = f" {escaped(node.letter)}" if node.letter else ""
    word = f"{node.sign} {node.word}{letter}"
    return [f"**{escaped(node.name)}**", word, node.typical or "–", escaped(node.out) or "–", escaped(node.why) or "–"]


def _outliers(page: ClusterPage, escaped: Escape, table: Table) -> list[str]:
    rows = [
        [
            f"**{escaped(node.node)}**",
            f"{escaped(found.title)} {found.value}",
            found.against,
            found.robust or "within the spread",
            escaped(found.anchor) or "no anchor",
        ]
        for node in page.outliers
        for found in node.figures
    ]
    if not rows:
        return []
    head = ["Node", "Figure", "Against the median", "Among the nodes", "Absolute anchor"]
    more = [f"and {len(rows) - OUTLIERS_MAX} more", ""] if len(rows) > OUTLIERS_MAX else []
    return ["", "## Who stands out", "", *table(head, rows[:OUTLIERS_MAX]), *more]


def _figures(page: ClusterPage, escaped: Escape, table: Table) -> list[str]:
    rows = [
        [
            escaped(of.title),
            f"**{of.median}**",
            of.spread,
            of.range,
            escaped(", ".join(of.worst[:3])),
            escaped(of.anchor),
        ]
        for of in page.headlines
    ]
    head = ["Figure", "Median", "Spread", "Least to greatest", "Worst first", "Absolute anchor"]
    return ["", "## Figures over the nodes", "", *(table(head, rows) if rows else ["None was measured.", ""])]


def cluster(page: ClusterPage | None, escaped: Escape, table: Table) -> list[str]:
    """Write the cluster's page; nothing when the scorecard is of one node."""
    if page is None:
        return []
    lines = (
        ["## Look here first", "", f"**{escaped(page.first)}**", ""] if page.first else ["## Nothing stands out", ""]
    )
    lines += [f"- {escaped(why)}" for why in page.first_why]
    lines += [f"- **The fleet as a whole is slow:** {escaped(text)}" for text in page.slow]
    lines += [*_outliers(page, escaped, table), *_figures(page, escaped, table)]
    nodes = [_node(node, escaped) for node in page.nodes]
    head = ["Node", "Verdict", "Typical figure", "Furthest out", "Why"]
    lines += ["## Nodes, worst first", "", *table(head, nodes[:NODES_MAX])]
    lines += [f"and {len(nodes) - NODES_MAX:,} more", ""] if len(nodes) > NODES_MAX else []
    mixed = [f"- group {escaped(name)}: {escaped(text)}" for name, text in page.groups]
    mixed += [
        f"- {escaped(what)} {escaped(value)}: {escaped(on)}" for what, all_of in page.versions for value, on in all_of
    ]
    lines += ["## Not the same on all nodes", "", *mixed, ""] if mixed else []
    return [*lines, *(f"- {escaped(text)}" for text in page.limits), ""]
