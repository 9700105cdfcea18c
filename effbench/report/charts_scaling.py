"""Scaling curves: efficiency and step time over the number of ranks, measured with its band, ideal, and predicted."""

import itertools
import math
from collections.abc import Sequence

from effbench.model.quantity import Interval
from effbench.model.scaling import Curve, CurvePoint
from effbench.report import format
from effbench.report.charts import Scale, circle, line, linear, logarithmic, path, px, svg, text, ticks

LEFT, RIGHT, TOP, FLOOR, HEIGHT = 58.0, 20.0, 30.0, 250.0, 276.0
NODES = 14.0  # px more for the line that counts nodes
Points = list[tuple[float, float]]
Whisker = tuple[float, float, float]  # ranks, low, high


def band(lows: Points, highs: Points, css: str) -> str:
    """Fill the area between two lines of the same length."""
    if len(lows) < 2:
        return ""
    joined = "L".join(f"{px(x)} {px(y)}" for x, y in [*highs, *reversed(lows)])
    return f'<path class="{css}" d="M{joined}Z"/>'


def diamond(x: float, y: float, css: str) -> str:
    """Draw an open diamond: a prediction, not a measurement."""
    corners = "L".join(f"{px(a)} {px(b)}" for a, b in ((x, y - 5), (x + 5, y), (x, y + 5), (x - 5, y)))
    return f'<path class="{css}" d="M{corners}Z"/>'


def _across(points: list[CurvePoint], width: float) -> Scale:
    """Scale the ranks on a log2 axis, with room beside the first and the last."""
    low, high = points[0].ranks, points[-1].ranks
    return logarithmic(low / 1.12, high * 1.12, LEFT, width - RIGHT)


def _frame(points: list[CurvePoint], x: Scale, width: float, title: str) -> list[str]:
    """Draw title, baseline and the counts, and under them the nodes where there are several."""
    floor = FLOOR
    body = [text(LEFT, 14, title, "strip-title"), line(LEFT, floor, width - RIGHT, floor, "axis")]
    shown: list[float] = []
    for point in points:
        at = x(point.ranks)
        body.append(line(at, floor, at, floor + 4, "axis"))
        if all(abs(at - other) > 20 for other in shown):
            body.append(text(at, floor + 17, str(point.ranks), "tick", "middle"))
            if any(p.nodes > 1 for p in points):
                body.append(text(at, floor + 31, format.count(point.nodes, "node"), "tick faint", "middle"))
            shown.append(at)
    body.append(text(LEFT - 8, floor + 17, "ranks", "tick faint", "end"))
    return body


def _whiskers(ends: list[Whisker], x: Scale, y: Scale) -> list[str]:
    body = []
    for ranks, low, high in ends:
        at = x(ranks)
        body.append(line(at, y(low), at, y(high), "whisker"))
        body += [line(at - 4, y(end), at + 4, y(end), "whisker") for end in (low, high)]
    return body


def _ends(pairs: Sequence[tuple[int, float, Interval | None]]) -> list[Whisker]:
    """Write each point's interval; a point without one has no height."""
    return [(n, iv.low if iv else value, iv.high if iv else value) for n, value, iv in pairs]


def _measured(pairs: list[tuple[CurvePoint, float, Interval | None]], x: Scale, y: Scale, said: str) -> list[str]:
    """Draw the measured points: band, line, whiskers, dots (hollow where disturbed)."""
    ends = _ends([(point.ranks, value, interval) for point, value, interval in pairs])
    lows, highs = [(x(n), y(low)) for n, low, _ in ends], [(x(n), y(high)) for n, _, high in ends]
    body = [band(lows, highs, "scale-band")]
    body.append(path([(x(p.ranks), y(value)) for p, value, _ in pairs], "scale-line"))
    body += _whiskers([end for end in ends if end[2] > end[1]], x, y)
    for point, value, interval in pairs:
        css = "scale-dot" if point.status == "valid" else "scale-dot hollow"
        unit = "s" if said == "time" else "1"
        written = format.measured(value, unit, interval, "" if said == "time" else "scaling_efficiency")
        doubt = "" if point.status == "valid" else f" ({point.status})"
        body.append(circle(x(point.ranks), y(value), 4.2, css, f"{point.ranks} ranks: {said} {written}{doubt}"))
    return body


def efficiencies(curve: Curve) -> list[tuple[CurvePoint, float, Interval | None]]:
    """List the points that have an efficiency; the base is 1 by definition."""
    found = []
    for point in curve.points:
        if point.efficiency is not None:
            found.append((point, point.efficiency.value, point.efficiency.interval))
        elif point.ranks == curve.base_ranks:
            found.append((point, 1.0, None))
    return found


def compared(curve: Curve) -> list[tuple[str, Points]]:
    """List the models that were fitted to the curve, with what they give at the measured counts."""
    counts = [point.ranks for point in curve.points]
    lines = [
        (
            model.title or model.name,
            [(float(n), model.efficiency[str(n)]) for n in counts if str(n) in model.efficiency],
        )
        for model in curve.models
        if model.name != "mechanistic"
    ]
    return [(title, points) for title, points in lines if len(points) > 1]


def _limits(values: list[float]) -> tuple[float, float]:
    """Choose the range of the efficiency axis: down to a round tenth below the lowest, from 0 where that is near."""
    low = min([*values, 1.0])
    high = max([*values, 1.0])
    floor = max(0.0, int((low - 0.06) * 10) / 10)
    return (0.0 if floor <= 0.3 else min(floor, 0.8)), high + (high - floor) * 0.07


def draw_efficiency(curve: Curve, width: float, css: str = "") -> str:
    """Draw efficiency over ranks; an empty string below two points, because one point is no curve."""
    pairs = efficiencies(curve)
    if len(pairs) < 2:
        return ""
    predicted = [(p.ranks, p.predicted.efficiency) for p in curve.points if p.predicted is not None]
    others = compared(curve)
    ends = _ends([(p.ranks, value, interval) for p, value, interval in pairs])
    values = [v for _, low, high in ends for v in (low, high)] + [e for _, e in predicted]
    low, high = _limits([*values, *(max(min(e, 1.2), 0.0) for _, points in others for _, e in points)])
    x, y = _across([p for p, _, _ in pairs], width), linear(low, high, FLOOR, TOP)
    body = _frame([p for p, _, _ in pairs], x, width, "Efficiency")
    for tick in ticks(low, high, 5):
        body.append(line(LEFT, y(tick), width - RIGHT, y(tick), "grid"))
        body.append(text(LEFT - 6, y(tick) + 3.5, f"{tick * 100:.0f} %", "tick", "end"))
    body.append(line(LEFT, y(1.0), width - RIGHT, y(1.0), "ideal"))
    for i, (_, points) in enumerate(others):
        inside = [(x(n), y(e)) for n, e in itertools.takewhile(lambda point: low <= point[1] <= high, points)]
        body.append(path(inside, f"model model-{i % 4}"))
    body.append(path([(x(n), y(e)) for n, e in predicted], "predicted"))
    body += _measured(pairs, x, y, "efficiency")
    body += [diamond(x(n), y(e), "predicted-mark") for n, e in predicted]
    last, value, interval = pairs[-1]
    written = f"{format.written(value, '1', interval, 'scaling_efficiency').number} %"
    body.append(text(x(last.ranks), y(value) + 20, written, "number", "middle"))
    said = f"{curve.scaling.capitalize()} scaling efficiency at {', '.join(str(p.ranks) for p, _, _ in pairs)} ranks"
    return svg(width, _height(curve.points), f"{said}; {written} at {last.ranks}", body, f"scaling {css}")


def _ideal_time(curve: Curve, base: CurvePoint, ranks: int) -> float:
    return base.time.value if curve.scaling == "weak" else base.time.value * base.ranks / ranks


def draw_time(curve: Curve, width: float, css: str = "") -> str:
    """Draw the time of a step over ranks, from zero; strong scaling on a logarithmic axis, where ideal is straight."""
    points = curve.points
    base = next((p for p in points if p.ranks == curve.base_ranks), None)
    if len(points) < 2 or base is None:
        return ""
    pairs = [(p, p.time.value, p.time.interval) for p in points]
    predicted = [(p.ranks, p.predicted) for p in points if p.predicted is not None]
    ideal = [(p.ranks, _ideal_time(curve, base, p.ranks)) for p in points]
    ends = _ends([(p.ranks, value, interval) for p, value, interval in pairs])
    every = [v for end in ends for v in end[1:]] + [t for _, t in ideal]
    every += [
        v for _, made in predicted for v in (max(made.low_s, made.time_s * 0.5), min(made.high_s, made.time_s * 2))
    ]
    x = _across(points, width)
    if curve.scaling == "weak":
        low, high = 0.0, max(every) * 1.08
        y, marks = linear(low, high, FLOOR, TOP), ticks(low, high, 5)
    else:
        low, high = min(every) / 1.15, max(every) * 1.15
        y, marks = logarithmic(low, high, FLOOR, TOP), log_ticks(low, high)
    body = _frame(points, x, width, "Time of a step")
    for tick in marks:
        body.append(line(LEFT, y(tick), width - RIGHT, y(tick), "grid"))
        body.append(text(LEFT - 6, y(tick) + 3.5, format.tick(tick, "s"), "tick", "end"))
    body.append(path([(x(n), y(t)) for n, t in ideal], "ideal"))
    body += _parts(points, x, y, low)
    body += _whiskers([(n, max(made.low_s, low), made.high_s) for n, made in predicted if made.high_s <= high], x, y)
    body.append(path([(x(n), y(made.time_s)) for n, made in predicted], "predicted"))
    body += _measured(pairs, x, y, "time")
    body += [diamond(x(n), y(made.time_s), "predicted-mark") for n, made in predicted]
    said = f"Time of a step at {', '.join(str(p.ranks) for p in points)} ranks, {curve.scaling} scaling"
    return svg(width, _height(curve.points), said, body, f"scaling {css}")


def _parts(points: list[CurvePoint], x: Scale, y: Scale, low: float) -> list[str]:
    """Draw the step of only computing and of only communicating, as thin lines, where they were measured."""
    body = []
    for name, css in (("compute_s", "part-line computing"), ("communication_s", "part-line communicating")):
        known = [(p.ranks, part.value) for p in points if (part := getattr(p, name)) is not None]
        inside = [(x(n), y(value)) for n, value in known if value > low]
        body.append(path(inside, css))
        body += [circle(a, b, 2.2, css) for a, b in inside]
    return body


def log_ticks(low: float, high: float) -> list[float]:
    """Choose round numbers for a logarithmic axis: 1, 2 and 5 times powers of ten, or even steps where it is short."""
    if high < 4 * low:
        return ticks(low, high, 5)
    powers = [10.0**n for n in range(math.floor(math.log10(low)), math.floor(math.log10(high)) + 1)]
    steps = (1, 2, 5) if high < 1000 * low else (1,)
    return [step * power for power in powers for step in steps if low <= step * power <= high]


def _height(points: list[CurvePoint]) -> float:
    return HEIGHT + (NODES if any(point.nodes > 1 for point in points) else 0.0)
