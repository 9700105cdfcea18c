"""The drawings of the scaling page and the cluster's page, each for the page and for a phone; nothing without data."""

from collections.abc import Callable
from functools import partial

import msgspec

from effbench.report import charts_nodes, charts_pairs, charts_ranks, charts_scaling
from effbench.report.view_cluster import ClusterPage
from effbench.report.view_curves import CurveView
from effbench.report.view_scaling import ScalingPage

FULL, HALF, MATRIX, NARROW = 1020.0, 500.0, 600.0, 340.0


class Figure(msgspec.Struct, frozen=True):
    """One drawing in both widths, as markup; empty strings when there is nothing to draw."""

    wide: str
    narrow: str


class CurveFigures(msgspec.Struct, frozen=True):
    """The drawings of one curve, and what its legend must name."""

    efficiency: Figure
    time: Figure
    ranks: list[Figure]
    models: list[str]
    predicted: bool
    parts: bool


class ScalingFigures(msgspec.Struct, frozen=True):
    """The drawings of the scaling page, in the order of its view."""

    curves: list[CurveFigures]
    pairs: list[Figure]
    collectives: list[Figure]
    heats: list[tuple[str, str]]


class ClusterFigures(msgspec.Struct, frozen=True):
    """The strips of the cluster's headline figures."""

    strips: list[Figure]


def _figure(draw: Callable[[float, str], str], wide: float = FULL) -> Figure:
    from markupsafe import Markup

    return Figure(Markup(draw(wide, "wide")), Markup(draw(NARROW, "narrow")))


def _curve(curve: CurveView) -> CurveFigures:
    data = curve.data
    efficiency = _figure(partial(charts_scaling.draw_efficiency, data), HALF)
    return CurveFigures(
        efficiency=efficiency,
        time=_figure(partial(charts_scaling.draw_time, data), HALF),
        ranks=[_figure(partial(charts_ranks.draw, ranks)) for ranks in curve.ranks],
        models=[title for title, _ in charts_scaling.compared(data)] if efficiency.wide else [],
        predicted=any(point.predicted is not None for point in data.points),
        parts=any(point.compute_s or point.communication_s for point in data.points),
    )


def scaling(page: ScalingPage | None) -> ScalingFigures | None:
    """Draw the scaling page."""
    if page is None:
        return None
    return ScalingFigures(
        curves=[_curve(curve) for curve in page.curves],
        pairs=[_figure(partial(charts_pairs.draw, view), MATRIX) for view in page.pairs],
        collectives=[_figure(partial(charts_pairs.draw_collectives, view)) for view in page.collectives],
        heats=[(css, said) for _, css, said in charts_pairs.STEPS],
    )


def cluster(page: ClusterPage | None) -> ClusterFigures | None:
    """Draw the strips of the cluster's headlines."""
    if page is None:
        return None
    return ClusterFigures([_figure(partial(charts_nodes.draw, of, page.names), HALF) for of in page.headlines])
