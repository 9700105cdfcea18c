"""Power over the run, one strip per device: what the sensor read, the trials, and each energy window at its mean."""

import msgspec

from effbench.model.energy import Energy
from effbench.model.record import Record
from effbench.report import format
from effbench.report.charts import Scale, line, linear, path, rect, svg, text, ticks
from effbench.report.charts_timeline import moment, moments, series, spans
from effbench.report.view_sensors import usable, windows_of

LEFT, RIGHT, TOP, STRIP, GAP = 56.0, 10.0, 24.0, 116.0, 34.0
LETTER = 6.1  # mean width of a letter of the labels, px


class Lane(msgspec.Struct, frozen=True):
    """One device: its readings (s, W), its energies with windows, its power limit in W."""

    device: str
    points: list[tuple[float, float]]
    windows: list[tuple[str, Energy]]
    limit: float | None


def lanes(record: Record) -> list[Lane]:
    """Collect what there is to draw: devices in the order of the plan, the node's meter last; none without data."""
    limits = {a.key: a.power_limit_w for a in record.inventory_before.accelerators}
    lines = series(record, "power_w")
    order = [*record.plan.devices, *sorted(set(lines) - set(record.plan.devices) - {"node"}), "node"]
    found = [Lane(key, lines.get(key, []), windows_of(record, key), limits.get(key)) for key in dict.fromkeys(order)]
    return [lane for lane in found if lane.points or any(usable(energy) for _, energy in lane.windows)]


def end_of(record: Record) -> float:
    """Return the last moment that is drawn, s since the start of the run."""
    ends = [point.t_s for point in record.timeline]
    ends += [
        s.start_s + s.seconds
        for key in [*record.plan.devices, "node"]
        for _, e in windows_of(record, key)
        for s in e.slices
    ]
    return max([*ends, 0.0]) or 1.0


def _highest(lane: Lane) -> float:
    means = [s.joules / s.seconds for _, e in lane.windows if usable(e) for s in e.slices if s.seconds > 0]
    return max([*(watts for _, watts in lane.points), *means, lane.limit or 0.0, 1.0]) * 1.06


def _slices(title: str, energy: Energy, x: Scale, y: Scale) -> list[str]:
    """Draw the windows of one energy: as high as its mean power, or without a height when it has no figure."""
    body = []
    shown = usable(energy)
    for s in energy.slices:
        left, wide = x(s.start_s), x(s.start_s + s.seconds) - x(s.start_s)
        if shown and s.seconds > 0:
            watts = s.joules / s.seconds
            said = f"{title}: {format.quantity(watts, 'W')} over {format.duration(s.seconds)}"
            css = "window" if energy.status == "valid" else "window doubtful"
            body.append(rect(left, y(watts), wide, y(0) - y(watts), css, said))
            body.append(line(left, y(watts), left + wide, y(watts), "window-mean"))
        else:
            said = f"{title}: no figure. {format.sentence(energy.reason)}"
            body.append(rect(left, y(0) - STRIP, wide, STRIP, "window refused", said))
    return body


def _runs(energy: Energy, gap: float) -> list[tuple[float, float]]:
    """Join slices that follow one another within `gap` s: (from, to)."""
    joined: list[tuple[float, float]] = []
    for s in sorted(energy.slices, key=lambda s: s.start_s):
        if joined and s.start_s - joined[-1][1] <= gap:
            joined[-1] = (joined[-1][0], max(joined[-1][1], s.start_s + s.seconds))
        else:
            joined.append((s.start_s, s.start_s + s.seconds))
    return joined


def _label(title: str, energy: Energy, span: tuple[float, float], x: Scale, bottom: float) -> str:
    """Name a window within its box where there is room; its watts first, because they are what is looked for."""
    room = x(span[1]) - x(span[0]) - 4
    name = title.partition("[")[0]
    watts = "no figure"
    if usable(energy) and energy.power is not None:
        watts = format.quantity(energy.power.value, energy.power.unit)
    middle = (x(span[0]) + x(span[1])) / 2
    lines = [(bottom - 22, watts, "window-watts"), (bottom - 8, name, "window-name")]
    return "".join(text(middle, at, said, css, "middle") for at, said, css in lines if len(said) * LETTER <= room)


def _lane(lane: Lane, i: int, top: float, width: float, end: float) -> list[str]:
    high = _highest(lane)
    bottom = top + STRIP
    x, y = linear(0, end, LEFT, width - RIGHT), linear(0, high, bottom, top)
    name = "node, by its meter" if lane.device == "node" else lane.device
    body = [text(LEFT, top - 8, name, "strip-title")]
    for tick in ticks(0, high, 4):
        body.append(line(LEFT, y(tick), width - RIGHT, y(tick), "grid"))
        body.append(text(LEFT - 6, y(tick) + 3.5, format.tick(tick, "W"), "tick", "end"))
    for title, energy in lane.windows:
        body += _slices(title, energy, x, y)
    body.append(path([(x(t), y(watts)) for t, watts in lane.points], f"series series-{i % 8}"))
    if lane.limit:
        body.append(line(LEFT, y(lane.limit), width - RIGHT, y(lane.limit), "limit"))
        body.append(text(width - RIGHT, top - 8, f"power limit {format.tick(lane.limit, 'W')}", "tick", "end"))
    for title, energy in lane.windows:
        body += [_label(title, energy, span, x, bottom) for span in _runs(energy, end / 100)]
    return body


def draw(record: Record, width: float, css: str = "") -> str:
    """Draw all strips at `width` pixels; an empty string when no sensor read anything."""
    drawn = lanes(record)
    if not drawn:
        return ""
    end = end_of(record)
    bottom = TOP + len(drawn) * (STRIP + GAP) - GAP
    x = linear(0, end, LEFT, width - RIGHT)
    body = [
        rect(x(start), TOP, x(stop) - x(start), bottom - TOP, f"trial trial-{i % 2}", trial)
        for i, (start, stop, trial) in enumerate(spans([p for p in record.timeline if p.device != "node"]))
    ]
    for i, lane in enumerate(drawn):
        body += _lane(lane, i, TOP + i * (STRIP + GAP), width, end)
    body.append(line(LEFT, bottom, width - RIGHT, bottom, "axis"))
    for tick in moments(end, int(width // 110)):
        body.append(line(x(tick), bottom, x(tick), bottom + 4, "axis"))
        body.append(text(x(tick), bottom + 17, moment(tick, end), "tick", "middle"))
    said = f"Power of {', '.join(lane.device for lane in drawn)} over the {format.duration(end)} of the run"
    return svg(width, bottom + 24, said, body, f"power {css}")
