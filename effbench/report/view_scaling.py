"""Scaling as it is shown: curves, who holds the others up, pairs, collectives, devices at once."""

import re

import msgspec

from effbench.model.record import Record
from effbench.model.scaling import LinkCost, Straggler, Together
from effbench.model.scorecard import Scorecard
from effbench.report import format, view_links
from effbench.report.format import opened
from effbench.report.view_curves import SPANS, CurveView, curve_view, seconds, share
from effbench.report.view_links import CollectiveView, PairView


class StragglerView(msgspec.Struct, frozen=True):
    """Who holds the others up, in one sentence; `where` names rank or link."""

    kind: str
    where: str
    text: str
    seen: str


class LinkView(msgspec.Struct, frozen=True):
    """What one collective costs, as the model takes it."""

    title: str
    call: str
    latency: str
    bandwidth: str
    rests: str
    residual: str


class TogetherView(msgspec.Struct, frozen=True):
    """One kernel on all devices at once, against alone."""

    title: str
    ranks: str
    spread: str
    slowest: str
    loss: str
    loss_tone: str


class ScalingPage(msgspec.Struct, frozen=True):
    """Everything on the scaling page. `note` says what is missing without the record."""

    curves: list[CurveView]
    stragglers: list[StragglerView]
    pairs: list[PairView]
    collectives: list[CollectiveView]
    links: list[LinkView]
    together: list[TogetherView]
    note: str


def _straggler(found: Straggler) -> StragglerView:
    if found.kind == "compute":
        where = ", ".join(f"rank {rank}" for rank in found.ranks)
    else:
        where = " – ".join(f"rank {rank}" for rank in found.ranks)
    where += f" ({found.device})" if found.device else ""
    kind = "slow rank" if found.kind == "compute" else "slow link"
    seen = "" if "round" in found.text else f"seen in {found.seen} of {format.count(found.rounds, 'round')}"
    where = "" if all(re.search(rf"\b{rank}\b", found.text) for rank in found.ranks) else where
    return StragglerView(kind, where, opened(format.sentence(found.text)), seen)


def _link(link: LinkCost) -> LinkView:
    bandwidth = link.bandwidth
    return LinkView(
        title=f"{view_links.op_title(link.op)}, {SPANS[link.span]}",
        call=seconds(link.call_s),
        latency=seconds(link.latency_s),
        bandwidth="" if bandwidth is None else format.measured(bandwidth.value, "byte/s", bandwidth.interval),
        rests=f"{ranks_list(link.counts)}; {format.count(len(link.sizes), 'size')}",
        residual=format.percent(abs(link.worst_residual), 2),
    )


def ranks_list(counts: list[int]) -> str:
    """Write `2, 4, 8 ranks`."""
    return f"{', '.join(map(str, counts))} ranks" if counts else "no count"


def _together(found: Together) -> TogetherView:
    loss = found.loss
    return TogetherView(
        title=found.kernel,
        ranks=f"{found.ranks} at once",
        spread=format.points(found.spread),
        slowest=f"device {found.slowest}",
        loss=share(loss) if loss else "not known: it was not measured alone",
        loss_tone="open" if loss and loss.interval and loss.interval.low > 0.03 else "none",
    )


def scaling_page(card: Scorecard, record: Record | None) -> ScalingPage | None:
    """Lay out what the run says of scaling and of links; None when it says nothing of either."""
    view = card.scaling
    stragglers = view.stragglers if view else []
    pairs = view_links.pairs(record, stragglers)
    collectives = view_links.collectives(card)
    if view is None and not pairs and not collectives:
        return None
    gone = record is None and bool(view)
    return ScalingPage(
        curves=[curve_view(curve, stragglers) for curve in (view.curves if view else [])],
        stragglers=[_straggler(found) for found in stragglers],
        pairs=pairs,
        collectives=collectives,
        links=[_link(link) for link in (view.links if view else [])],
        together=[_together(found) for found in (view.together if view else [])],
        note="The pair matrix is in the record of the run: `effbench report` on the run folder." if gone else "",
    )
