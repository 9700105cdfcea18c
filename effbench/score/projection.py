"""Owns projections: what models of a measured curve say of a count that was not measured. Never a measurement.

The interval spans those of all models that the measured points do not contradict, and the spread over all models is
told beside it: far from what was measured, a projection is a statement about the model.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from effbench.model.finding import Finding
from effbench.model.quantity import Interval
from effbench.model.record import Record
from effbench.model.scaling import Curve, CurvePoint, ModelProjection, Projection, Ratio, Span
from effbench.score.scaling import curve_of
from effbench.score.scaling_fits import POINTS_MIN, TITLES, fitted, measured, points_needed
from effbench.score.scaling_groups import Group, groups, time_of
from effbench.score.scaling_links import Costs, collectives, links, model_at
from effbench.stats.collective_cost import redrawn
from effbench.stats.non_negative import non_negative
from effbench.stats.scaling_models import efficiency

__all__ = ["BEYOND", "project"]

Array = NDArray[np.float64]

# measuring-scaling section 6: beyond about four times the largest count the forms differ by more than the data can say.
BEYOND = 4
# Per step and rank, bytes of the same collectives may change by this much over counts (padding of shards).
_SAME_BYTES = 0.02


def project(record: Record, to: int, force: bool = False) -> list[Projection]:
    """Project every curve of the record to `to` ranks, or say why not.

    Args:
        to: number of ranks, at least 1. force: go beyond four times the largest count and over links that were never
            measured; what was overridden is stamped. The least number of points is never overridden.
    """
    costs, _ = links(record)
    found: dict[tuple[str, str, str], list[tuple[Group, Curve]]] = {}
    for group in groups(record):
        quiet: list[Finding] = []
        same = group.strategy, group.scaling, repr(group.params)
        found.setdefault(same, []).append((group, curve_of(group, costs, quiet)))
    return [_chosen(spans, costs, to, force, record.simulated) for spans in found.values()]


def _chosen(spans: list[tuple[Group, Curve]], costs: Costs, to: int, force: bool, simulated: bool) -> Projection:
    """Project the curve over the links that `to` ranks would use; by force that of others."""
    span = _span_at(spans[0][1].capacity, to)
    same = next(((g, c) for g, c in spans if c.span == span), None)
    group, curve = same or spans[-1]
    forced = []
    if same is None:
        where = "within one node" if span == "node" else "between nodes"
        text = f"{to} ranks exchange {where}, over links that were never measured (a node holds {curve.capacity} ranks)"
        if not force:
            return _refused(curve, to, f"{text}; --force projects all the same", simulated)
        forced.append(text)
    largest = max(p.ranks for p in curve.points)
    if to > BEYOND * largest:
        text = f"{to} ranks are more than {BEYOND} times the largest count measured ({largest})"
        if not force:
            return _refused(curve, to, f"{text}; --force projects all the same", simulated)
        forced.append(text)
    # Too few points are told before anything else: force does not help there.
    if short := points_needed(curve):
        return _refused(curve, to, short, simulated)
    return _projected(group, curve, costs, to, forced, simulated)


def _span_at(capacity: int, ranks: int) -> Span:
    return "node" if ranks <= capacity else "cluster"


def _refused(curve: Curve, to: int, why: str, simulated: bool) -> Projection:
    why = points_needed(curve) or why
    return Projection(
        curve.strategy, curve.scaling, curve.span, to, curve.base, _counts(curve), refused=why, simulated=simulated
    )


def _counts(curve: Curve) -> list[int]:
    return [p.ranks for p in curve.points]


def _projected(group: Group, curve: Curve, costs: Costs, to: int, forced: list[str], simulated: bool) -> Projection:
    models, notes = _models(group, curve, costs, to), list(curve.doubts)
    if not models:
        text = f"{POINTS_MIN} points with an interval are needed, and a base above which they lie"
        return _refused(curve, to, text, simulated)
    if any(p.status == "suspect" for p in curve.points):
        notes.append("some of the points are suspect")
    if not any(m.included for m in models):
        notes.append("no model fits the measured points within their noise: the interval spans all of them")
        models = [ModelProjection(m.name, m.title, m.efficiency, m.time_s, True, m.note) for m in models]
    used = [m for m in models if m.included]
    ends = [i for m in used if (i := m.efficiency.interval) is not None]
    interval = Interval(
        min(i.low for i in ends), max(i.high for i in ends), method="redrawn points, all models that fit"
    )
    values = [m.efficiency.value for m in models]
    return Projection(
        curve.strategy,
        curve.scaling,
        curve.span,
        to,
        curve.base,
        _counts(curve),
        primary=used[0].name,
        efficiency=Ratio(used[0].efficiency.value, interval),
        spread=[min(values), max(values)],
        models=models,
        forced=forced,
        notes=notes,
        simulated=simulated,
    )


def _models(group: Group, curve: Curve, costs: Costs, to: int) -> list[ModelProjection]:
    """Every model at `to`: the mechanistic one first, then those fitted to the curve."""
    found = []
    swept = _mechanistic(group, curve, costs, to)
    if swept is not None:
        found.append(swept)
    told = {m.name: m for m in curve.models}
    for one, error in fitted(curve):
        value, low, high = one.efficiency(to)
        health, note = told[one.form].health, told[one.form].note
        if health == "contradicted":
            note = "contradicted by the measured points" + (f"; {note}" if note else "")
        wider = (error or 0.0) * value
        # What leaving one count out missed is added to what redrawing the points gives.
        low, high = value - float(np.hypot(value - low, wider)), value + float(np.hypot(high - value, wider))
        interval = Interval(max(0.0, low), high, method="redrawn points and one left out")
        ratio = Ratio(value, interval)
        found.append(ModelProjection(one.form, TITLES[one.form], ratio, one.time_s(to), health == "fits", note))
    return found


def _mechanistic(group: Group, curve: Curve, costs: Costs, to: int) -> ModelProjection | None:
    """The model whose links and compute were measured apart; None where `to` asks for something that was not."""
    calls = _same_collectives(group)
    compute = _compute_at(group, to)
    model = next((m for m in curve.models if m.name == "mechanistic"), None)
    base = next((m for p in curve.points if p.ranks == curve.base_ranks and (m := measured(p)) is not None), None)
    if calls is None or compute is None or model is None or base is None:
        return None
    said = model_at(group, compute, calls, costs, (to, _span_at(curve.capacity, to)))
    if isinstance(said, str):
        return None
    value = efficiency(curve.scaling, base.ranks, base.time_s, to, said.time_s)
    low_s, high_s = said.interval
    wider = (model.worst_residual or 0.0) * value
    sigma = base.sigma_s / base.time_s * 1.96 * value
    low = value - float(np.hypot(np.hypot(value - value * said.time_s / high_s, wider), sigma))
    high = value + float(np.hypot(np.hypot(value * said.time_s / low_s - value, wider), sigma))
    fits = model.health == "fits"
    note = "" if fits else "contradicted by the measured points"
    ratio = Ratio(value, Interval(max(0.0, low), high, method="sweep redrawn, and its residuals"))
    return ModelProjection("mechanistic", TITLES["mechanistic"], ratio, said.time_s, fits, note)


def _same_collectives(group: Group) -> Mapping[str, tuple[float, float]] | None:
    """The step's collectives, where every count above one has the same of them; None where they change with it."""
    told = [collectives(group.steps["both"][n]) for n in group.counts if n > 1]
    if not told or any(one.keys() != told[-1].keys() for one in told):
        return None
    for op, figures in told[-1].items():
        if any(abs(a - b) > _SAME_BYTES * b for one in told for a, b in zip(one[op], figures, strict=True)):
            return None
    return told[-1]


def _compute_at(group: Group, to: int) -> tuple[float, Array] | None:
    """Compute alone at `to` ranks: constant when weak, a divisible and a constant part when strong; with replicates."""
    steps = [s for n in group.counts if (s := group.steps["compute"].get(n)) is not None]
    points = [m for s in steps if (m := measured(CurvePoint(s.ranks, time_of(s), "valid", s.trial.id))) is not None]
    if not points or min(p.time_s for p in points) <= 0:
        return None
    rows = [[1.0, 1 / p.ranks] if group.scaling == "strong" else [1.0] for p in points]
    times = np.array([p.time_s for p in points])
    sigma = np.array([max(p.sigma_s, 1e-6 * p.time_s) for p in points])
    at = np.array([1.0, 1 / to] if group.scaling == "strong" else [1.0])
    drawn = redrawn(times, sigma, np.random.default_rng(to))
    value = float(at @ non_negative(np.array(rows), times, sigma))
    return value, at @ non_negative(np.array(rows), drawn, sigma)
