"""The roofline of one device as a log-log chart: numbered kernels under the roofs that are known."""

import math

from effbench.report import format
from effbench.report.charts import Scale, circle, decades, line, logarithmic, path, svg, text
from effbench.report.roofline import Bandwidth, Dot, Roofline

LEFT, RIGHT, TOP, BOTTOM = 88.0, 16.0, 16.0, 46.0
# Where a dot's number may stand, in order of preference: (dx, dy) of its middle from the dot.
PLACES = [(0, -13), (13, 0), (0, 13), (-13, 0), (12, -11), (-12, -11), (12, 11), (-12, 11), (0, -25), (25, 0), (0, 25)]
LABEL_WIDTH, LABEL_HEIGHT = 15.0, 12.0


def _range(values: list[float]) -> tuple[float, float]:
    """Widen to a little beyond the extremes, in decades."""
    low, high = math.log10(min(values)), math.log10(max(values))
    pad = max((high - low) * 0.06, 0.15)
    return 10 ** (low - pad), 10 ** (high + pad)


def _limits(roofline: Roofline) -> tuple[tuple[float, float], tuple[float, float]]:
    """Choose both ranges so that dots, roofs and the ridges between them are inside."""
    xs = [dot.intensity for dot in roofline.dots]
    ys = [dot.rate for dot in roofline.dots] + [peak for _, peak in roofline.peaks]
    if roofline.bandwidths and roofline.peaks:
        xs.append(roofline.peaks[0][1] / roofline.bandwidths[0].value)
    return _range(xs), _range(ys)


def _grid(x: Scale, y: Scale, xs: tuple[float, float], ys: tuple[float, float], size: tuple[float, float]) -> list[str]:
    width, height = size
    body = []
    for value in decades(*xs):
        body.append(line(x(value), TOP, x(value), height - BOTTOM, "grid"))
        body.append(text(x(value), height - BOTTOM + 16, format.tick(value, "1"), "tick", "middle"))
    for value in decades(*ys):
        body.append(line(LEFT, y(value), width - RIGHT, y(value), "grid"))
        body.append(text(LEFT - 7, y(value) + 3.5, format.tick(value, "flop/s"), "tick", "end"))
    body.append(text((LEFT + width - RIGHT) / 2, height - 8, "flop per byte moved", "axis-title", "middle"))
    return body


def _slope(slope: Bandwidth, roofline: Roofline, x: Scale, y: Scale, limits: tuple[float, float, float, float]) -> str:
    """Draw a bandwidth as a line from the edge of the chart to its ridge, with its name along it."""
    x_low, x_high, y_low, y_high = limits
    top = roofline.peaks[0][1] if roofline.peaks else y_high
    start, end = max(x_low, y_low / slope.value), min(x_high, top / slope.value)
    if start >= end:
        return ""
    ends = [(x(start), y(start * slope.value)), (x(end), y(end * slope.value))]
    (x1, y1), (x2, y2) = ends
    turn = math.degrees(math.atan2(y2 - y1, x2 - x1))
    name = f"{slope.kind} {format.quantity(slope.value, 'byte/s')}"
    at, off = (0.42, -6) if slope.kind == "rated" else (0.42, 13)
    spot = (x1 + (x2 - x1) * at, y1 + (y2 - y1) * at)
    shift = (-off * math.sin(math.radians(turn)), off * math.cos(math.radians(turn)))
    said = text(spot[0] + shift[0], spot[1] + shift[1], name, f"roof-name {slope.kind}", "middle", turn)
    fits = math.hypot(x2 - x1, y2 - y1) > 150
    return path(ends, f"roof {slope.kind}") + (said if fits else "")


Box = tuple[float, float, float, float]  # middle x, middle y, width, height


def _peaks(roofline: Roofline, x: Scale, y: Scale, x_low: float, right: float) -> tuple[list[str], list[Box]]:
    """Draw each peak from its ridge to the right edge; peaks of the same height share a line and a name.

    Returns the elements, and the room that the names take.
    """
    by_height: dict[float, list[str]] = {}
    for dtype, peak in roofline.peaks:
        by_height.setdefault(peak, []).append(dtype.removesuffix("_tensor"))
    body: list[str] = []
    names: list[Box] = []
    above = -math.inf
    for peak, dtypes in by_height.items():
        ridge = peak / roofline.bandwidths[0].value if roofline.bandwidths else x_low
        start = min(max(x(max(ridge, x_low)), LEFT), right - 20)
        body.append(path([(start, y(peak)), (right, y(peak))], "roof peak"))
        at = max(y(peak) - 5, above + 12)
        name = f"{', '.join(dtypes)} {format.quantity(peak, 'flop/s')}"
        body.append(text(right - 2, at, name, "roof-name", "end"))
        names.append((right - 2 - len(name) * 3.2, at - 4, len(name) * 6.4, 11.0))
        above = at
    return body, names


def _numbers(dots: list[Dot], x: Scale, y: Scale, names: list[Box]) -> list[str]:
    """Put each dot's number where it covers neither a dot nor a name nor a number, as far as there is room."""
    spots = [(x(dot.intensity), y(dot.rate)) for dot in dots]
    taken = [*names, *((sx, sy, 9.0, 9.0) for sx, sy in spots)]
    body = []
    for dot, (sx, sy) in zip(dots, spots, strict=True):
        free = next((place for place in PLACES if not _hits((sx + place[0], sy + place[1]), taken)), PLACES[0])
        at = (sx + free[0], sy + free[1])
        taken.append((*at, LABEL_WIDTH, LABEL_HEIGHT))
        if max(abs(free[0]), abs(free[1])) > 14:
            body.append(line(sx, sy, at[0], at[1], "leader"))
        body.append(text(at[0], at[1] + 4, str(dot.number), "number", "middle"))
    return body


def _hits(at: tuple[float, float], taken: list[Box]) -> bool:
    return any(
        abs(at[0] - x) < (LABEL_WIDTH + width) / 2 and abs(at[1] - y) < (LABEL_HEIGHT + height) / 2
        for x, y, width, height in taken
    )


def draw(roofline: Roofline, width: float, height: float, css: str = "") -> str:
    """Draw the chart at `width` x `height` pixels."""
    xs, ys = _limits(roofline)
    x = logarithmic(*xs, LEFT, width - RIGHT)
    y = logarithmic(*ys, height - BOTTOM, TOP)
    body = _grid(x, y, xs, ys, (width, height))
    body += [_slope(slope, roofline, x, y, (*xs, *ys)) for slope in roofline.bandwidths]
    peaks, names = _peaks(roofline, x, y, xs[0], width - RIGHT)
    body += peaks
    for dot in roofline.dots:
        said = f"{dot.number}. {dot.label}: {dot.rate_text} at {dot.intensity_text}"
        body.append(circle(x(dot.intensity), y(dot.rate), 4.5, f"dot dom-{dot.domain}", said))
    body += _numbers(roofline.dots, x, y, names)
    label = f"Roofline of {roofline.device}: {format.count(len(roofline.dots), 'kernel')}, listed below"
    return svg(width, height, label, body, f"roofline {css}")
