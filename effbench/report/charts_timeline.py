"""Clock, power and temperature over the run, one strip each, all devices on the same axes."""

import msgspec

from effbench.model.record import Record, TimelinePoint
from effbench.report import format
from effbench.report.charts import line, linear, path, rect, svg, text, ticks

LEFT, RIGHT, TOP, STRIP, GAP = 62.0, 14.0, 22.0, 92.0, 30.0
COLUMNS_MAX = 300  # points drawn per line; more are thinned to the extremes of each column


class Strip(msgspec.Struct, frozen=True):
    """One quantity: the telemetry field, its title, its unit as stored, and the limits of the devices."""

    field: str
    title: str
    unit: str
    limits: dict[str, float]
    limit_title: str


def _strips(record: Record) -> list[Strip]:
    devices = record.inventory_before.accelerators
    clocks = {a.key: a.clock_max_hz for a in devices if a.clock_max_hz}
    watts = {a.key: a.power_limit_w for a in devices if a.power_limit_w}
    return [
        Strip("clock_hz", "Clock", "Hz", clocks, "highest clock"),
        Strip("power_w", "Power", "W", watts, "power limit"),
        Strip("temperature_degc", "Temperature", "degC", {}, ""),
    ]


def series(record: Record, field: str) -> dict[str, list[tuple[float, float]]]:
    """Collect the points of one quantity per device, in time order; what was not read is not drawn."""
    found: dict[str, list[tuple[float, float]]] = {}
    for point in sorted(record.timeline, key=lambda p: p.t_s):
        value = getattr(point, field)
        if value is not None:
            found.setdefault(point.device, []).append((point.t_s, value))
    return {device: thinned(points) for device, points in sorted(found.items())}


def thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Keep the lowest and the highest point of each column, so that no spike is lost."""
    if len(points) <= COLUMNS_MAX:
        return points
    size = -(-len(points) // (COLUMNS_MAX // 2))
    kept = []
    for start in range(0, len(points), size):
        column = points[start : start + size]
        ends = {min(column, key=lambda p: p[1]), max(column, key=lambda p: p[1])}
        kept += sorted(ends)
    return kept


def spans(timeline: list[TimelinePoint]) -> list[tuple[float, float, str]]:
    """Find when each trial ran on the first device: (from, to, trial), seconds."""
    if not timeline:
        return []
    points = sorted((p for p in timeline if p.device == min(q.device for q in timeline)), key=lambda p: p.t_s)
    found: list[tuple[float, float, str]] = []
    for point, after in zip(points, [*points[1:], points[-1]], strict=True):
        if found and found[-1][2] == point.trial:
            found[-1] = (found[-1][0], after.t_s, point.trial)
        else:
            found.append((point.t_s, after.t_s, point.trial))
    return [span for span in found if span[2]]


def _axis(strip: Strip, points: list[float], top: float, width: float) -> tuple[list[str], float, float]:
    """Choose the range of one strip and draw its frame; returns elements, low and high."""
    limit = max(strip.limits.values(), default=None)
    high = max([*points, *([limit] if limit else [])])
    low = min(points)
    low = 0.0 if strip.unit == "W" else low
    pad = (high - low) * 0.08 or abs(high) * 0.05 or 1.0
    low, high = (low if strip.unit == "W" else low - pad), high + pad
    y = linear(low, high, top + STRIP, top)
    body = [text(LEFT, top - 7, strip.title, "strip-title")]
    for tick in ticks(low, high, 4):
        body.append(line(LEFT, y(tick), width - RIGHT, y(tick), "grid"))
        body.append(text(LEFT - 6, y(tick) + 3.5, format.tick(tick, strip.unit), "tick", "end"))
    if limit:
        body.append(line(LEFT, y(limit), width - RIGHT, y(limit), "limit"))
        said = f"{strip.limit_title} {format.tick(limit, strip.unit)}"
        body.append(text(width - RIGHT, top - 7, said, "tick", "end"))
    return body, low, high


def _strip(
    strip: Strip, lines: dict[str, list[tuple[float, float]]], top: float, width: float, end: float
) -> list[str]:
    values = [value for points in lines.values() for _, value in points]
    body, low, high = _axis(strip, values, top, width)
    x, y = linear(0, end, LEFT, width - RIGHT), linear(low, high, top + STRIP, top)
    for i, points in enumerate(lines.values()):
        body.append(path([(x(t), y(value)) for t, value in points], f"series series-{i % 8}"))
    return body


def draw(record: Record, width: float, css: str = "") -> str:
    """Draw the strips that have data, at `width` pixels; an empty string when telemetry gave nothing."""
    drawn = [(strip, lines) for strip in _strips(record) if (lines := series(record, strip.field))]
    if not drawn:
        return ""
    end = max(p.t_s for p in record.timeline) or 1.0
    height = TOP + len(drawn) * (STRIP + GAP) - GAP + 24
    x = linear(0, end, LEFT, width - RIGHT)
    body = [
        rect(x(start), TOP, x(stop) - x(start), height - TOP - 24, f"trial trial-{i % 2}", trial)
        for i, (start, stop, trial) in enumerate(spans(record.timeline))
    ]
    for i, (strip, lines) in enumerate(drawn):
        body += _strip(strip, lines, TOP + i * (STRIP + GAP), width, end)
    bottom = TOP + len(drawn) * (STRIP + GAP) - GAP
    for tick in moments(end, int(width // 110)):
        body.append(line(x(tick), bottom, x(tick), bottom + 4, "axis"))
        body.append(text(x(tick), bottom + 17, moment(tick, end), "tick", "middle"))
    body.append(line(LEFT, bottom, width - RIGHT, bottom, "axis"))
    said = ", ".join(strip.title.lower() for strip, _ in drawn)
    return svg(
        width, height, f"{said} over the {format.duration(end)} of the run".capitalize(), body, f"timeline {css}"
    )


def moments(end: float, wanted: int) -> list[float]:
    """Choose round moments of the run: whole minutes when it is long."""
    return [60 * minute for minute in ticks(0, end / 60, wanted)] if end > 300 else ticks(0, end, wanted)


def moment(seconds: float, end: float) -> str:
    """Write a moment on the time axis, in minutes when the run is long."""
    return f"{seconds / 60:g} min" if end > 300 else f"{seconds:g} s"


def missing(record: Record) -> list[str]:
    """Name the quantities that no device reported."""
    return [strip.title.lower() for strip in _strips(record) if not series(record, strip.field)]
