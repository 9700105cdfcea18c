"""The pair matrix as a heat map, and the collectives over message size."""

from effbench.report import format
from effbench.report.charts import Scale, circle, line, logarithmic, path, rect, svg, text
from effbench.report.charts_scaling import log_ticks
from effbench.report.view_links import CollectiveView, PairCell, PairView

# Share of the upper quartile -> class, the slowest first; colours are in the style sheet.
STEPS: list[tuple[float, str, str]] = [
    (0.5, "heat-0", "below 50 %"),
    (0.7, "heat-1", "50 – 70 %"),
    (0.85, "heat-2", "70 – 85 %"),
    (0.95, "heat-3", "85 – 95 %"),
    (1.05, "heat-4", "95 – 105 %"),
    (float("inf"), "heat-5", "above 105 %"),
]
LEFT, TOP, EDGE = 54.0, 30.0, 8.0
CELL_MAX, FIGURE_MIN = 64.0, 44.0  # px: the largest cell, and the smallest that has its figure written inside


def heat(ratio: float) -> str:
    """Name the class of a share."""
    return next(css for limit, css, _ in STEPS if ratio < limit)


def _cell(cell: PairCell, noun: str, left: float, top: float, size: float, named: bool) -> list[str]:
    figure = format.quantity(cell.value, "byte/s")
    said = (
        f"{noun} {cell.first} to {noun} {cell.second}: {figure}, {format.percent(cell.ratio, 2)} of the upper quartile"
    )
    said += f", {cell.way}" if cell.way else ""
    gap = 1.0 if size > 10 else 0.4
    body = [rect(left + gap, top + gap, size - 2 * gap, size - 2 * gap, f"heat {heat(cell.ratio)}", said)]
    if size >= FIGURE_MIN:
        number, _, unit = figure.partition(" ")
        middle = left + size / 2
        ink = "on-heat strong" if cell.ratio < 0.7 else "on-heat"
        body.append(text(middle, top + size / 2 - 1, number, ink, "middle"))
        body.append(text(middle, top + size / 2 + 13, unit, f"{ink} small-text", "middle"))
    if named:
        body.append(rect(left, top, size, size, "heat-mark"))
    return body


def _placed(view: PairView) -> list[tuple[int, int, PairCell]]:
    """List the cells by row and column: a pair measured both ways at once fills both halves of the matrix."""
    both = {(cell.first, cell.second) for cell in view.cells}
    found = [(cell.first, cell.second, cell) for cell in view.cells]
    return found + [(j, i, cell) for i, j, cell in found if (j, i) not in both]


def draw(view: PairView, width: float, css: str = "") -> str:
    """Draw the matrix: a row per first rank, a column per second; a pair that was not measured is left open."""
    n = len(view.shown)
    size = min((width - LEFT - EDGE) / n, CELL_MAX)
    place = {rank: i for i, rank in enumerate(view.shown)}
    body: list[str] = []
    every = max(1, round(20 / size + 0.49))
    for rank, i in place.items():
        body.append(rect(LEFT + i * size, TOP + i * size, size, size, "heat-self"))
        if i % every == 0 or rank in view.suspects:
            middle = i * size + size / 2
            css_of = "tick late-name" if rank in view.suspects else "tick"
            body.append(text(LEFT + middle, TOP - 8, str(rank), css_of, "middle"))
            body.append(text(LEFT - 8, TOP + middle + 4, str(rank), css_of, "end"))
    body.append(text(0, TOP - 8, view.noun, "tick faint"))
    marked: list[str] = []
    for row, column, cell in _placed(view):
        if row in place and column in place:
            named = (cell.first, cell.second) in view.marked
            drawn = _cell(cell, view.noun, LEFT + place[column] * size, TOP + place[row] * size, size, named)
            (marked if named else body).extend(drawn)
    said = f"{view.title}: median {view.median}. {view.said}"
    wide = LEFT + n * size + EDGE
    return svg(max(wide, 200.0), TOP + n * size + EDGE, said, body + marked, f"pairs {css}")


def _sizes(view: CollectiveView) -> list[float]:
    return [size for series in view.series for size, _ in series.points]


def _size_ticks(low: float, high: float) -> list[float]:
    """Choose powers of two about a decade and a half apart: 8 B, 256 B, 8 KiB, ..."""
    found, size = [], 8.0
    while size <= high * 1.01:
        found += [size] if size >= low * 0.99 else []
        size *= 32
    return found


def draw_collectives(view: CollectiveView, width: float, css: str = "") -> str:
    """Draw bus bandwidth over message size, both axes logarithmic; an empty string below two sizes."""
    sizes = _sizes(view)
    rates = [rate for series in view.series for _, rate in series.points]
    if len(set(sizes)) < 2:
        return ""
    left, right, top, floor = 78.0, 16.0, 14.0, 274.0
    x = logarithmic(min(sizes) / 1.5, max(sizes) * 1.5, left, width - right)
    y = logarithmic(min(rates) / 1.6, max(rates) * 1.6, floor, top)
    body = []
    for tick in log_ticks(min(rates) / 1.6, max(rates) * 1.6):
        body.append(line(left, y(tick), width - right, y(tick), "grid"))
        body.append(text(left - 6, y(tick) + 3.5, format.tick(tick, "byte/s"), "tick", "end"))
    body.append(line(left, floor, width - right, floor, "axis"))
    for tick in _size_ticks(min(sizes) / 1.5, max(sizes) * 1.5):
        body.append(line(x(tick), floor, x(tick), floor + 4, "axis"))
        body.append(text(x(tick), floor + 17, format.tick(tick, "byte"), "tick", "middle"))
    for i, series in enumerate(view.series):
        body += _line(series.title, series.points, i, x, y)
    said = f"Bus bandwidth over message size, {view.ranks} ranks, {view.group}: "
    return svg(width, 300, said + ", ".join(series.title for series in view.series), body, f"collectives {css}")


def _line(title: str, points: list[tuple[float, float]], i: int, x: Scale, y: Scale) -> list[str]:
    body = [path([(x(size), y(rate)) for size, rate in points], f"series series-{i % 8}")]
    for size, rate in points:
        said = f"{title}, {format.tick(size, 'byte')}: {format.quantity(rate, 'byte/s')}"
        body.append(circle(x(size), y(rate), 3, f"bead bead-{i % 8}", said))
    return body
