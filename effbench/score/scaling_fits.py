"""Owns what models make of a measured curve, and what makes a curve doubtful before any model is believed."""

import itertools
from collections.abc import Sequence

from effbench.model.scaling import Curve, CurvePoint, Health, ModelFit, Scaling
from effbench.score.scaling_links import Costs
from effbench.stats.collective_cost import sigma_of
from effbench.stats.scaling_models import FORMS, Fitted, Form, Measured, fit, left_out

__all__ = ["POINTS_MIN", "TITLES", "doubts", "fits", "fitted", "measured", "points_needed"]

# measuring-scaling: a projection from fewer distinct counts is a guess about the form.
POINTS_MIN = 4
# Below this many counts a form with two parameters passes through whatever was measured.
_POINTS_TO_FIT = 3
TITLES = {
    "mechanistic": "Links and compute, measured apart",
    "fitted": "Ring, fitted to the curve",
    "fitted_latency": "Ring with latency, fitted",
    "amdahl": "Amdahl",
    "usl": "Universal Scalability Law",
}


def points_needed(curve: Curve) -> str:
    """Return `not enough points (2 of 4)`, or nothing when there are enough."""
    have = len({p.ranks for p in curve.points})
    return f"not enough points ({have} of {POINTS_MIN})" if have < POINTS_MIN else ""


def doubts(scaling: Scaling, points: Sequence[CurvePoint]) -> list[str]:
    """Return what cannot be so, in words: efficiency that rises with the count, or lies above 1, beyond its interval.

    Such a curve is first suspected as a bad measurement (a wrong link setting once looked like an algorithm that
    scales badly), then as one whose base is handicapped.
    """
    known = [(p, own) for p in points if p.efficiency is not None and (own := p.efficiency.interval) is not None]
    found = []
    for (before, own), (after, later) in itertools.pairwise(known):
        if later.low > own.high:
            found.append(
                f"efficiency rises from {before.ranks} to {after.ranks} ranks beyond its interval: suspect the "
                "measurement first"
            )
    for point, own in known:
        if own.low > 1:
            why = "smaller shares may fit a cache" if scaling == "strong" else "the base may have been held up"
            found.append(f"efficiency at {point.ranks} ranks is above 1 beyond its interval: {why}")
    return found


def measured(point: CurvePoint) -> Measured | None:
    """Return a point for a fit; None without an interval, because nothing could be said of its noise."""
    own = point.time.interval
    if own is None or not own.low <= point.time.value <= own.high:
        return None
    return Measured(point.ranks, point.time.value, sigma_of(point.time.value, own.low, own.high, own.level))


def fitted(curve: Curve) -> list[tuple[Fitted, float | None]]:
    """Fit every form to the curve, each with its error when one count is left out; nothing below three counts."""
    points = [m for p in curve.points if (m := measured(p)) is not None]
    base = next((m for m in points if m.ranks == curve.base_ranks), None)
    others = [m for m in points if m.ranks > curve.base_ranks]
    if base is None or len(others) + 1 < _POINTS_TO_FIT:
        return []
    return [(fit(f, curve.scaling, base, others), left_out(f, curve.scaling, base, others)) for f in FORMS]


def fits(curve: Curve, costs: Costs) -> list[ModelFit]:
    """Return every model of the curve: the mechanistic one first, where its links were measured."""
    swept = _mechanistic(curve, costs)
    return [*([swept] if swept else []), *(_fit(curve, one, error) for one, error in fitted(curve))]


def _mechanistic(curve: Curve, costs: Costs) -> ModelFit | None:
    told = {p.ranks: p.predicted for p in curve.points if p.predicted is not None}
    if not told:
        return None
    worst = max(abs(p.residual) for p in told.values())
    health: Health = "contradicted" if any(p.beyond_noise for p in told.values()) else "fits"
    parameters: dict[str, float] = {}
    for (op, span), cost in costs.items():
        if span == curve.span:
            parameters |= {f"call_s.{op}": cost.cost.call_s, f"latency_s.{op}": cost.cost.latency_s}
            parameters[f"s_per_byte.{op}"] = cost.cost.inverse_s_per_byte
    shares = {str(curve.base_ranks): 1.0} | {str(n): p.efficiency for n, p in told.items()}
    note = f"nothing fitted to this curve; {curve.overlap_rule}"
    return ModelFit("mechanistic", TITLES["mechanistic"], health, parameters, shares, worst, note=note)


def _fit(curve: Curve, one: Fitted, error: float | None) -> ModelFit:
    form: Form = one.form
    health: Health = "untested" if one.untested else "contradicted" if one.contradicted else "fits"
    shares = {str(p.ranks): one.efficiency(p.ranks)[0] for p in curve.points if p.ranks != curve.base_ranks}
    notes = {
        "amdahl": "cannot express a collective whose time saturates",
        "usl": "no parameter below zero; unbounded it fits saturating curves with nonsense",
    }
    return ModelFit(form, TITLES[form], health, one.parameters, shares, one.worst_residual, error, notes.get(form, ""))
