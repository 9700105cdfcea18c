"""The distribution of one trial's step times as a small strip: nested quantile bands and each round's own median."""

from effbench.report import format
from effbench.report.charts import circle, line, linear, rect, svg
from effbench.report.view_evidence import SpreadView

WIDTH, HEIGHT = 220.0, 34.0
MARGIN = 3.0
LIMITS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
BANDS = (("1", "99", "band wide"), ("5", "95", "band middle"), ("25", "75", "band narrow"))


def limit(spread: SpreadView) -> float:
    """Choose the half-width of the scale: the smallest round one that holds the 1-99 % range and every round."""
    q = spread.quantiles
    inside = [abs(q[name]) for name in ("1", "5", "25", "75", "95", "99") if name in q]
    reach = max([*inside, *(abs(median) for median in spread.rounds), 0.0])
    return next((size for size in LIMITS if reach <= size), LIMITS[-1])


def scale(spread: SpreadView) -> tuple[str, str, str]:
    """Write the ends of the scale, and between them the slowest sample where it lies beyond."""
    half, most = limit(spread), spread.quantiles.get("100", 0.0)
    beyond = f"slowest {format.points(most)}" if most > half else ""
    return f"−{format.percent(half, 1)}", beyond, f"+{format.percent(half, 1)}"


def draw(spread: SpreadView) -> str:
    """Draw the strip. Slower is right. What lies beyond the scale is written beside it, not drawn."""
    half = limit(spread)
    x = linear(-half, half, MARGIN, WIDTH - MARGIN)
    q = spread.quantiles
    body = [line(MARGIN, 33, WIDTH - MARGIN, 33, "axis")]
    for low, high, css in BANDS:
        if low in q and high in q:
            left, right = max(q[low], -half), min(q[high], half)
            title = f"{low} to {high} % of the samples: {format.points(q[low])} to {format.points(q[high])}"
            body.append(rect(x(left), 4, max(x(right) - x(left), 1), 14, css, title))
    body.append(line(x(0), 1, x(0), 21, "median"))
    for i, median in enumerate(spread.rounds):
        shown = min(max(median, -half), half)
        body.append(circle(x(shown), 27, 2.8, "round", f"median of round {i + 1}: {format.points(median)}"))
    said = f"Step times of {spread.label}: median {spread.step}, half of them within {format.points(q.get('25'))} and "
    return svg(WIDTH, HEIGHT, f"{said}{format.points(q.get('75'))}", body, "spread")
