"""Scaling, links and many nodes, as short blocks of the terminal report."""

from typing import TYPE_CHECKING

from effbench.report import format
from effbench.report.cells import STYLES, grid, heading, styled
from effbench.report.charts_scaling import efficiencies
from effbench.report.view import View
from effbench.report.view_cluster import ClusterPage
from effbench.report.view_curves import CurveView
from effbench.report.view_scaling import ScalingPage

if TYPE_CHECKING:
    from rich.console import RenderableType

NODES_MAX, OUTLIERS_MAX, FIGURES_MAX, NAME_MAX = 12, 8, 8, 24


def _short(name: str) -> str:
    """Cut a name that would push everything else off the line."""
    return name if len(name) <= NAME_MAX else f"{name[: NAME_MAX - 3]}..."


def _lines(*rows: tuple[str, str]) -> "RenderableType":
    """Write (text, style) pairs as points of a list that may wrap."""
    table = grid(("left", None), ("left", 1))
    for text, style in rows:
        table.add_row("  ·", styled((text, style)))
    return table


def _curve(curve: CurveView, unicode: bool) -> "list[RenderableType]":
    """Write one curve: a row per count with its bar, time and prediction."""
    shares = {point.ranks: value for point, value, _ in efficiencies(curve.data)}
    table = grid(("right", None), ("left", None), ("left", None), ("right", None), ("left", 1))
    for point in curve.points:
        bar = format.bar(shares.get(point.ranks, 0.0), 16, unicode).ljust(16)
        flag = f" ({point.word})" if point.word != "valid" else ""
        tail = f"predicted {point.predicted}, off {point.residual}" if point.predicted else ""
        shown = point.efficiency or "no figure"
        time = point.time or "–"
        table.add_row(f"  {point.ranks}", styled((bar, "cyan")), f"{shown}{flag}", time, styled((tail, "dim")))
    doubts = [(f"Suspect measurement first: {doubt}", STYLES["open"]) for doubt in curve.doubts]
    said = [(curve.end, ""), *doubts]
    return [styled((f"  {curve.title}", "bold"), (f"  base: {curve.base}", "dim")), table, _lines(*said)]


def scaling(page: ScalingPage, unicode: bool) -> "list[RenderableType]":
    """Write who holds the others up, the curves, the slowest pair, and the collectives at the largest count."""
    found: list[RenderableType] = [heading("Scaling", "efficiency against the base")]
    table = grid(("left", None), ("left", 1))
    for named in page.stragglers:
        table.add_row(
            styled((f"  ! {named.kind}", STYLES["open"])),
            styled((f"{named.where}  " if named.where else "", "bold"), (named.text, ""), (f"  {named.seen}", "dim")),
        )
    found += [table] if page.stragglers else []
    for curve in page.curves:
        found += _curve(curve, unicode)
    projections = dict.fromkeys(curve.projection for curve in page.curves)
    found += [_lines(*((text, "dim") for text in projections))] if projections else []
    found += [
        _lines((f"{pairs.title}: {pairs.said}", STYLES["open" if pairs.tone == "open" else "plain"]))
        for pairs in page.pairs
    ]
    for group in page.collectives[:1]:
        table = grid(("left", None), ("right", None), ("right", None))
        for series in group.series:
            latency = f"{series.latency} for 8 B" if series.latency else ""
            table.add_row(f"  {series.title}", styled((series.headline or "–", "bold")), styled((latency, "dim")))
        found += [styled(("  Collectives", "bold"), (f"  {group.ranks} ranks, {group.group}", "dim")), table]
    rows = [(f"{one.title}, {one.ranks}: loss against alone {one.loss}", "") for one in page.together]
    return found + ([_lines(*rows)] if rows else [])


def _outliers(page: ClusterPage) -> "list[RenderableType]":
    if not page.outliers:
        return []
    table = grid(("left", None), ("left", 1), ("right", None), ("left", 1))
    for node in page.outliers[:OUTLIERS_MAX]:
        first = node.figures[0]
        more = f" (and {len(node.figures) - 1} more)" if len(node.figures) > 1 else ""
        ground = "; ".join(text for text in (first.robust, first.anchor) if text)
        table.add_row(
            styled((f"  {_short(node.node)}", "bold")),
            f"{first.title} {first.value}{more}",
            styled((first.against, STYLES["bad"])),
            styled((ground, "dim")),
        )
    hidden = len(page.outliers) - OUTLIERS_MAX
    more_nodes = [styled((f"  and {format.count(hidden, 'more node')}, in the report", "dim"))] if hidden > 0 else []
    return [heading("Who stands out", "against the other nodes, and against the absolute anchor"), table, *more_nodes]


def _figures(page: ClusterPage) -> "list[RenderableType]":
    table = grid(("left", 1), ("right", None), ("right", None), ("left", None))
    for of in page.headlines[:FIGURES_MAX]:
        worst = ", ".join(of.worst[:1])
        table.add_row(
            f"  {of.title}",
            styled((of.median, "bold")),
            f"spread {of.spread}",
            styled((f"worst {_short(worst)}", "dim")),
        )
    return [heading("Figures over the nodes", "median and robust spread"), table] if page.headlines else []


def _nodes(page: ClusterPage) -> "list[RenderableType]":
    table = grid(("left", None), ("left", None), ("right", None), ("left", 1))
    for node in page.nodes[:NODES_MAX]:
        why = "; ".join(text for text in (node.out, node.why) if text)
        word = f"{node.sign} {node.word}{f' {node.letter}' if node.letter else ''}"
        style = STYLES[node.tone]
        table.add_row(f"  {_short(node.name)}", styled((word, style)), node.typical or "–", styled((why, "dim")))
    hidden = len(page.nodes) - NODES_MAX
    tail = [styled((f"  and {hidden:,} more, in the report", "dim"))] if hidden > 0 else []
    return [heading("Nodes", "worst first; typical figure against the median"), table, *tail]


def cluster(page: ClusterPage) -> "list[RenderableType]":
    """Write whom to look at first and why, who stands out, the figures, the worst nodes, and what is not the same."""
    found: list[RenderableType] = []
    if page.first:
        found += [heading("Look here first"), styled((f"  {page.first}", "bold"))]
        found += [_lines(*((why, "") for why in page.first_why))]
    else:
        found += [heading("Nothing stands out"), "  Every node reported and passed."]
    found += [_lines(*((f"The fleet as a whole is slow: {text}", STYLES["bad"]) for text in page.slow))]
    found += [*_outliers(page), *_figures(page), *_nodes(page)]
    mixed = [(f"group {name}: {text}", "") for name, text in page.groups]
    mixed += [(f"{what} {value}: {on}", "") for what, values in page.versions for value, on in values]
    found += [heading("Not the same on all nodes"), _lines(*mixed)] if mixed else []
    return [*found, _lines(*((text, "dim") for text in page.limits))] if page.limits else found


def blocks(shown: View, unicode: bool) -> "list[RenderableType]":
    """Return the blocks that the scorecard has something for."""
    found = cluster(shown.cluster) if shown.cluster else []
    return found + (scaling(shown.scaling, unicode) if shown.scaling else [])
