"""One figure over all nodes as a strip: a dot per node, columns where there are too many, outliers always as dots."""

from effbench.report import format
from effbench.report.charts import Scale, circle, line, linear, rect, svg, text
from effbench.report.view_cluster import DistributionView

HEIGHT, BASE, MARGIN = 74.0, 50.0, 10.0
DOTS_MAX = 80  # nodes drawn one by one; more become columns
NAMED_MAX = 3
LETTER = 6.4  # mean width of a letter of the labels, px


def _range(view: DistributionView) -> tuple[float, float]:
    """Choose the axis: all values, and at least a twentieth of the median, so that noise does not look like spread."""
    of = view.data
    low, high = of.low, of.high
    least = 0.05 * abs(of.median)
    if high - low < least:
        middle = (high + low) / 2
        low, high = middle - least / 2, middle + least / 2
    pad = (high - low) * 0.04 or 1.0
    return low - pad, high + pad


def _stacked(values: list[tuple[float, str, str]], x: Scale) -> list[tuple[float, float, str, str]]:
    """Place dots so that none hides another: (x, y, node, class), stacked upwards from the baseline."""
    placed: list[tuple[float, float, str, str]] = []
    levels: dict[int, int] = {}
    for value, node, css in sorted(values):
        column = round(x(value) / 7)
        level = levels.get(column, 0)
        levels[column] = level + 1
        placed.append((x(value), BASE - 6 - min(level, 6) * 6.4, node, css))
    return placed


def _columns(values: list[float], x: Scale, width: float) -> list[str]:
    """Draw nodes that do not stand out as a histogram of columns 6 px wide."""
    counts: dict[int, int] = {}
    for value in values:
        counts[int((x(value) - MARGIN) // 6)] = counts.get(int((x(value) - MARGIN) // 6), 0) + 1
    most = max(counts.values(), default=1)
    body = []
    for column, number in sorted(counts.items()):
        tall = max(2.0, number / most * 40)
        left = min(MARGIN + column * 6, width - MARGIN - 5)
        body.append(rect(left, BASE - tall, 5, tall, "node-column", format.count(number, "node")))
    return body


def _labels(view: DistributionView, at: dict[str, tuple[float, float]], width: float) -> list[str]:
    """Name the nodes that stand out most, where there is room."""
    body: list[str] = []
    taken: list[tuple[float, float]] = []
    for found in view.data.outliers:
        if found.node not in at or len(taken) >= NAMED_MAX:
            continue
        x, y = at[found.node]
        half = len(found.node) * LETTER / 2
        middle = min(max(x, MARGIN + half), width - MARGIN - half)
        if all(middle + half < left or middle - half > right for left, right in taken):
            taken.append((middle - half, middle + half))
            body.append(text(middle, y - 8, found.node, "number", "middle"))
    return body


def draw(view: DistributionView, nodes: list[str], width: float, css: str = "") -> str:
    """Draw the strip; `nodes` names the values by position. The median is a line, two robust deviations a band."""
    of = view.data
    low, high = _range(view)
    x = linear(low, high, MARGIN, width - MARGIN)
    out = {found.node: ("node-out" if found.side == "worse" else "node-over") for found in of.outliers}
    known = [(value, node) for value, node in zip(of.values, nodes, strict=False) if value is not None]
    body = []
    if of.sigma:
        left, right = max(low, of.median - 2 * of.sigma), min(high, of.median + 2 * of.sigma)
        body.append(rect(x(left), 8, x(right) - x(left), BASE - 8, "node-usual"))
    body.append(line(MARGIN, BASE, width - MARGIN, BASE, "axis"))
    single = len(known) <= DOTS_MAX
    dots = [(value, node, out.get(node, "node-dot")) for value, node in known if single or node in out]
    if not single:
        body += _columns([value for value, node in known if node not in out], x, width)
    body.append(line(x(of.median), 8, x(of.median), BASE + 5, "median"))
    at: dict[str, tuple[float, float]] = {}
    for left, top, node, kind in _stacked(dots, x):
        figure = format.quantity(of.values[nodes.index(node)] or 0.0, of.unit, of.key)
        body.append(circle(left, top, 3.6, kind, f"{node}: {figure}"))
        at[node] = (left, top)
    body += _labels(view, at, width)
    body.append(text(MARGIN, BASE + 17, format.quantity(of.low, of.unit, of.key), "tick"))
    body.append(text(width - MARGIN, BASE + 17, format.quantity(of.high, of.unit, of.key), "tick", "end"))
    worse = (MARGIN, "start", "← worse") if of.better == "higher" else (width - MARGIN, "end", "worse →")
    body.append(text(worse[0], 4, worse[2], "tick faint", worse[1]))
    said = f"{view.title} of {view.nodes}: median {view.median}, from {view.range}"
    return svg(width, HEIGHT, said, body, f"strip {css}")
