"""Owns the measures of scaling: a record's curves with their intervals, what models say of them, and the metrics."""

from collections.abc import Sequence

import msgspec

from effbench.catalog.metrics import lookup
from effbench.model.finding import Finding
from effbench.model.quantity import Interval, Quantity
from effbench.model.record import Record, Status
from effbench.model.scaling import Curve, CurvePoint, Ratio, ScalingView, Together
from effbench.model.scorecard import Metric
from effbench.score.scaling_fits import doubts, fits, points_needed
from effbench.score.scaling_groups import Group, Step, difference, groups, ratio, time_of
from effbench.score.scaling_links import Costs, collectives, links, overlap_rule, predict
from effbench.score.scaling_peaks import of_peak
from effbench.score.scaling_together import together
from effbench.score.stragglers import by_rank, slowest_over_median, stragglers
from effbench.stats.quantile import median
from effbench.stats.scaling_models import karp_flatt

__all__ = ["base_in_words", "curve_of", "scaling", "stem"]

# Metric name, the field of a point that it shows.
SHOWN = {
    "scaling_efficiency": "efficiency",
    "speed_up": "speed_up",
    "efficiency_at_equal_clock": "equal_clock",
    "karp_flatt": "karp_flatt",
    "slowest_rank_penalty": "slowest_rank",
}
PEAKS = {"rated": "fraction_of_rated_peak", "held": "fraction_at_held_clock"}


def scaling(record: Record, findings: list[Finding]) -> tuple[list[Metric], ScalingView | None]:
    """Return `scale.*` metrics of whole teams (without a device) and everything else that a run says of scaling.

    Args:
        record: with or without team trials; without any, the second value is None.
        findings: gains stragglers, curves in doubt, models that the measured points contradict, and what is absent.
    """
    costs, cards = links(record)
    curves = [curve_of(group, costs, findings) for group in groups(record)]
    slow, at_once = stragglers(record), together(record)
    if not (curves or cards or slow or at_once):
        return [], None
    for one in slow:
        code = "scaling-straggler" if one.kind == "compute" else "scaling-slow-link"
        evidence: dict[str, str | int | float | bool] = {"factor": one.factor, "seen": one.seen, "rounds": one.rounds}
        findings.append(Finding(code, "warning", f"{one.trial}: {one.text}", trial=one.trial, evidence=evidence))
    metrics: dict[str, Metric] = {}
    for curve in curves:
        for metric in _metrics(curve):
            metrics.setdefault(metric.key, metric)
    for one_kernel in at_once:
        for metric in _together(one_kernel):
            metrics.setdefault(metric.key, metric)
    return list(metrics.values()), ScalingView(curves, cards, slow, at_once)


def stem(curve: Curve, ranks: int) -> str:
    """Return the key without its quantity: `scale.weak.train_step.ddp.n2`."""
    return f"scale.{curve.scaling}.train_step.{curve.strategy}.n{ranks}"


def curve_of(group: Group, costs: Costs, findings: list[Finding]) -> Curve:
    """Return one curve: its points, what models make of it, and what makes it doubtful."""
    points = [_point(group, ranks, costs) for ranks in group.counts]
    curve = Curve(
        strategy=group.strategy,
        scaling=group.scaling,
        span=group.span,
        base_ranks=group.base,
        base=base_in_words(group),
        points=points,
        capacity=group.capacity,
        overlap_rule=overlap_rule(group.strategy, group.kind),
        doubts=doubts(group.scaling, points),
        params=group.params,
    )
    used = {op for step in group.steps["both"].values() for op in collectives(step)}
    own = {at: cost for at, cost in costs.items() if at[0] in used}
    curve = msgspec.structs.replace(curve, models=fits(curve, own))
    findings += _told(curve)
    if not curve.doubts:
        return curve
    return msgspec.structs.replace(curve, points=[msgspec.structs.replace(p, status="suspect") for p in points])


def base_in_words(group: Group) -> str:
    """Say what efficiency 1 stands for."""
    if group.base == 1:
        return "one rank alone"
    if group.span == "node":
        return f"{group.base} ranks, the fewest that were measured"
    whole = "a full node" if group.base >= group.capacity else f"one node of {group.capacity} used in part"
    return f"{group.base} ranks on {whole}"


def _point(group: Group, ranks: int, costs: Costs) -> CurvePoint:
    step, base = group.steps["both"][ranks], group.steps["both"][group.base]
    busy, wait = (by_rank(step.measurement.facts, name, ranks) for name in ("busy_s", "wait_s"))
    of, peak = of_peak(step)
    point = CurvePoint(
        ranks=ranks,
        time=time_of(step),
        status=_worst(step, base),
        trial=step.trial.id,
        nodes=step.trial.placement.nodes,
        slowest_rank=_slowest(step),
        of_peak=of,
        peak=peak,
        busy_s=busy,
        wait_s=wait,
    )
    point = _parts(point, group, step)
    if ranks == group.base:
        return msgspec.structs.replace(point, efficiency=Ratio(1.0), speed_up=Ratio(1.0))
    n = ranks / group.base
    share = ratio(base, step, 1.0 if group.scaling == "weak" else 1 / n)
    said = predict(group, ranks, costs)
    return msgspec.structs.replace(
        point,
        efficiency=share,
        speed_up=_scaled(share, n),
        equal_clock=_equal_clock(share, base, step),
        karp_flatt=_karp_flatt(share, n),
        predicted=None if isinstance(said, str) else said,
        predicted_absent=said if isinstance(said, str) else "",
    )


def _worst(*steps: Step) -> Status:
    return "suspect" if any(s.measurement.status == "suspect" for s in steps) else "valid"


def _scaled(share: Ratio, factor: float) -> Ratio:
    own = share.interval
    scaled = msgspec.structs.replace(own, low=own.low * factor, high=own.high * factor) if own else None
    return Ratio(share.value * factor, scaled)


def _equal_clock(share: Ratio, base: Step, step: Step) -> Ratio | None:
    """The efficiency in cycles: devices clock lower when more are busy. Needs both clocks, of the same ranks."""
    clocks = [_slowest_clock(s) for s in (base, step)]
    if clocks[0] is None or clocks[1] is None:
        return None
    return _scaled(share, clocks[0] / clocks[1])


def _slowest_clock(step: Step) -> float | None:
    """The clock that the slowest rank held, Hz. What only one rank of several told says nothing of the others."""
    told = by_rank(step.measurement.facts, "clock_hz", step.ranks)
    if told:
        return min(told) if min(told) > 0 else None
    clock = step.measurement.clock_hz
    return clock.p50 if clock is not None and step.ranks == 1 and clock.p50 > 0 else None


def _karp_flatt(share: Ratio, n: float) -> Ratio:
    own = share.interval
    ends = None
    if own is not None and own.low > 0:
        ends = msgspec.structs.replace(own, low=karp_flatt(own.high * n, n), high=karp_flatt(own.low * n, n))
    return Ratio(karp_flatt(share.value * n, n), ends)


def _slowest(step: Step) -> Ratio | None:
    """The slowest rank's busy time over the ranks' median: round by round, then the median of rounds."""
    rounds = [r for r in step.measurement.rounds if r.status == "done"]
    found = [slowest_over_median(by_rank(r.facts, "busy_s", step.ranks)) for r in rounds]
    known = [f for f in found if f is not None]
    return Ratio(median(known)) if known else None


def _parts(point: CurvePoint, group: Group, step: Step) -> CurvePoint:
    """Add what the step costs with only its compute and only its communication, and what of the latter shows."""
    compute, alone = group.steps["compute"].get(step.ranks), group.steps["communication"].get(step.ranks)
    changes: dict[str, object] = {}
    if compute is not None:
        changes["compute_s"] = time_of(compute)
        if step.ranks > 1 and collectives(step):
            changes["exposed_s"] = difference(step, compute)
    if alone is not None and step.ranks > 1:
        changes["communication_s"] = time_of(alone)
    if compute is not None and alone is not None and step.ranks > 1:
        hidden = compute.seconds + alone.seconds - step.seconds
        changes["overlap"] = hidden / min(compute.seconds, alone.seconds)
    return msgspec.structs.replace(point, **changes)


def _told(curve: Curve) -> list[Finding]:
    """Say what a reader must know before believing the curve."""
    name = f"{curve.scaling} scaling of {curve.strategy}"
    found = [Finding("scaling-suspect-curve", "warning", f"{name}: {text}") for text in curve.doubts]
    for point in curve.points:
        said = point.predicted
        if said is not None and said.beyond_noise:
            text = (
                f"{name} at {point.ranks} ranks: {point.time.value:.4g} s measured, {said.time_s:.4g} s predicted from "
                f"links measured by themselves; {abs(said.residual):.1%} apart where noise explains {said.noise:.1%}"
            )
            evidence: dict[str, str | int | float | bool] = {"measured_s": point.time.value, "predicted_s": said.time_s}
            found.append(Finding("scaling-residual", "warning", text, trial=point.trial, evidence=evidence))
        elif said is None and point.predicted_absent:
            text = f"{name} at {point.ranks} ranks has no prediction: {point.predicted_absent}"
            found.append(Finding("scaling-unpredicted", "info", text, trial=point.trial))
    if short := points_needed(curve):
        found.append(Finding("scaling-few-points", "info", f"{name}: {short}, so there is no projection"))
    return found


def _metrics(curve: Curve) -> list[Metric]:
    found = []
    for point in curve.points:
        for name, field in SHOWN.items():
            figure: Ratio | None = getattr(point, field)
            if figure is not None and (point.ranks != curve.base_ranks or field == "slowest_rank"):
                found.append(_metric(curve, point, name, figure))
        if point.of_peak is not None and point.peak:
            found.append(_metric(curve, point, PEAKS[point.peak], point.of_peak))
        if point.exposed_s is not None:
            found.append(_metric(curve, point, "exposed_communication", _exposed_share(point)))
        if point.overlap is not None:
            found.append(_metric(curve, point, "overlap", Ratio(point.overlap)))
    return found


def _exposed_share(point: CurvePoint) -> Ratio:
    """Exposed communication over the step; its interval is that of the difference, because it is the larger part."""
    assert point.exposed_s is not None
    own, time = point.exposed_s.interval, point.time.value
    ends = msgspec.structs.replace(own, low=own.low / time, high=own.high / time) if own else None
    return Ratio(point.exposed_s.value / time, ends)


def _metric(curve: Curve, point: CurvePoint, name: str, figure: Ratio) -> Metric:
    params = {"base": curve.base, "base_ranks": curve.base_ranks, "ranks": point.ranks, "nodes": point.nodes}
    base = next(p for p in curve.points if p.ranks == curve.base_ranks)
    evidence = list(dict.fromkeys([point.trial, base.trial]))
    return _made(f"{stem(curve, point.ranks)}.{name}", figure, point.status, evidence, params | curve.params)


def _made(key: str, figure: Ratio, status: Status, evidence: Sequence[str], params: dict[str, object]) -> Metric:
    row = lookup(key)
    if row is None:
        raise KeyError(f"no row in metrics.yaml for {key}; add one")
    interval: Interval | None = figure.interval
    quantity = Quantity(figure.value, row.unit)
    return Metric(key, quantity, row.better, status, list(evidence), interval=interval, params=params)


def _together(found: Together) -> list[Metric]:
    """How much slower the slowest device is than alone, beside the figures that the trial itself declares."""
    if found.loss is None or not found.key:
        return []
    params: dict[str, object] = {"ranks": found.ranks, "alone": found.alone, "slowest": f"r{found.slowest}"}
    return [_made(f"{found.key}.loss", found.loss, found.status, [found.trial, found.alone], params)]
