"""Busy and wait of every rank of one step as stacked bars: the straggler is the rank that waits least."""

from effbench.report import format
from effbench.report.charts import line, linear, rect, svg, text, ticks
from effbench.report.view_curves import RankBar, RanksView

LEFT, RIGHT, TOP, BOTTOM = 58.0, 12.0, 8.0, 26.0
SHOWN_MAX, ROW_MAX, ROW_MIN = 64, 24.0, 7.0


def shown(view: RanksView) -> list[RankBar]:
    """Choose the bars to draw: all, or of many the ranks that wait least."""
    if len(view.bars) <= SHOWN_MAX:
        return view.bars
    chosen = sorted(view.bars, key=lambda bar: (bar.wait_s, bar.rank))[:SHOWN_MAX]
    return sorted(chosen, key=lambda bar: bar.rank)


def draw(view: RanksView, width: float, css: str = "") -> str:
    """Draw a bar per rank from zero: solid is its own work, hatched is waiting for the others."""
    bars = shown(view)
    row = max(ROW_MIN, min(ROW_MAX, 420.0 / len(bars)))
    end = max(bar.busy_s + bar.wait_s for bar in bars) * 1.02 or 1.0
    x = linear(0, end, LEFT, width - RIGHT)
    floor = TOP + row * len(bars)
    body = []
    for tick in ticks(0, end, int(width // 130)):
        body.append(line(x(tick), TOP, x(tick), floor, "grid"))
        body.append(text(x(tick), floor + 17, format.tick(tick, "s"), "tick", "middle"))
    every = max(1, round(13 / row + 0.49))
    for i, bar in enumerate(bars):
        top, thick = TOP + i * row + row * 0.12, row * 0.76
        busy, wait = format.quantity(bar.busy_s, "s"), format.quantity(bar.wait_s, "s")
        said = f"rank {bar.rank}: busy {busy}, waiting {wait}"
        body.append(rect(x(0), top, x(bar.busy_s) - x(0), thick, "busy late" if bar.marked else "busy", said))
        body.append(rect(x(bar.busy_s), top, x(bar.wait_s) - x(0), thick, "wait", said))
        if bar.marked or i % every == 0:
            name = "tick late-name" if bar.marked else "tick"
            body.append(text(LEFT - 7, top + thick / 2 + 4, f"rank {bar.rank}", name, "end"))
    body.append(line(LEFT, TOP, LEFT, floor, "axis"))
    return svg(width, floor + BOTTOM, f"Busy and wait of {view.ranks} ranks. {view.said}", body, f"ranks {css}")
