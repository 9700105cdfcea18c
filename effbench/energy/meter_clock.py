"""Joins a wall meter's log to the monotonic time of a run, after its clock was held against the devices' own power.

Nothing is joined on trust: the clock's error is given with the log, or it shows in the power of the devices; a log for
which neither holds, whose clock is more than 0.8 s off, or which does not follow the devices, is refused.
"""

import bisect
import statistics
from collections.abc import Mapping, Sequence

import msgspec

from effbench.energy.meter import NODE, READING, SKEW_LIMIT_S, Meter
from effbench.model.error import InputError
from effbench.model.event import Telemetry, Window
from effbench.model.finding import Finding

__all__ = ["Anchor", "check_clock", "joined", "overlaps", "skew_s"]

# Lags that are tried, s: beyond them a log either does not overlap or does not correlate.
LAG_MAX_S, COARSE_S, FINE_S = 30.0, 0.5, 0.05
GRID_S = 0.1
# A step is clear when the devices' power moves by this share of what the meter shows, and by this many W.
SWING_SHARE, SWING_W = 0.10, 30.0
# A lag is believed when the two agree this well there, and clearly worse wherever it is off by more than 2 s.
AGREEMENT, CONTRAST, APART_S = 0.90, 0.05, 2.0
# Below this agreement at every lag the meter shows something else than this node.
STRANGE = 0.50
PAIRS_MIN = 10
ALWAYS_NS = 1 << 63


class Anchor(msgspec.Struct, frozen=True):
    """One moment by both of the node's clocks, and the span of monotonic time, ns, in which the pair holds."""

    t_ns: int
    utc_ns: int
    end_ns: int

    def monotonic_ns(self, utc_ns: int) -> int:
        """Return the monotonic time of a moment of UTC, ns."""
        return utc_ns - self.utc_ns + self.t_ns


def _pairs(meter: Meter, anchor: Anchor) -> list[tuple[int, float]]:
    """Return the log's readings as (monotonic ns, W), the given skew taken off."""
    ahead_ns = round((meter.skew_s or 0.0) * 1e9)
    return [(anchor.monotonic_ns(point.utc_ns - ahead_ns), point.watts) for point in meter.points]


def overlaps(meter: Meter, anchor: Anchor) -> bool:
    """Say whether at least two readings of the log fall into the anchor's span."""
    return sum(anchor.t_ns <= t_ns <= anchor.end_ns for t_ns, _ in _pairs(meter, anchor)) >= 2


def joined(meter: Meter, anchor: Anchor, windows: Sequence[Window]) -> list[Telemetry]:
    """Return the log's readings in the anchor's span (two steps more at both ends) as telemetry of the node.

    A window that a gap of the log touches, or that is not wholly inside the log, gets no reading at all, so that no
    figure is made across what is not known.
    """
    step_ns = round(1e9 * (meter.sensor.update_s or 0.0))
    edge_ns = 2 * step_ns
    ahead_ns = round((meter.skew_s or 0.0) * 1e9)
    gaps = [
        (anchor.monotonic_ns(gap.start_ns - ahead_ns), anchor.monotonic_ns(gap.end_ns - ahead_ns)) for gap in meter.gaps
    ]
    first_ns, last_ns = (anchor.monotonic_ns(meter.points[place].utc_ns - ahead_ns) for place in (0, -1))
    gaps += [(-ALWAYS_NS, first_ns - step_ns), (last_ns + step_ns, ALWAYS_NS)]
    spoilt = [(w.start_ns, w.t_ns) for w in windows if any(a < w.t_ns and b > w.start_ns for a, b in gaps)]
    return [
        Telemetry(t_ns, NODE, sensors={READING: watts})
        for t_ns, watts in _pairs(meter, anchor)
        if anchor.t_ns - edge_ns <= t_ns <= anchor.end_ns + edge_ns and not any(a <= t_ns <= b for a, b in spoilt)
    ]


def check_clock(meter: Meter, anchor: Anchor, readings: Mapping[str, Sequence[Telemetry]]) -> Finding:
    """Hold the meter's clock against the power of the devices; return what was found.

    Raises:
        InputError: the clock is more than 0.8 s off, cannot be checked and was not given, or the log shows another
            power than that of this node.
    """
    pairs = _pairs(meter, anchor)
    grid = _Grid(readings, anchor)
    if grid.swing_w >= max(SWING_W, SWING_SHARE * statistics.median(watts for _, watts in pairs)):
        best, agreement = skew_s(pairs, grid)
        if best is not None and abs(best) > SKEW_LIMIT_S:
            raise InputError(
                f"{meter.path}: the meter's clock is {best:+.2f} s off by the devices' own power, beyond "
                f"{SKEW_LIMIT_S:g} s: no figure is made of it; set both clocks by NTP and measure again"
            )
        if agreement is not None and agreement < STRANGE:
            raise InputError(
                f"{meter.path}: the log does not follow the devices' power (correlation {agreement:.2f} at best); is "
                "it the meter of another node?"
            )
        if best is not None:
            text = f"the meter's clock is {best:+.2f} s off by the devices' own power ({SKEW_LIMIT_S:g} s are allowed)"
            return Finding("meter-clock", "info", text, device=NODE, evidence={"skew_s": round(best, 3)})
    if meter.skew_s is None:
        raise InputError(
            f"{meter.path}: the meter's clock cannot be checked: the devices' power shows no clear step to hold it "
            "against; compare the clocks (NTP) and write how far the meter's is ahead into the log, `# skew: 0.1 s`"
        )
    text = (
        f"the meter's clock is {meter.skew_s:g} s ahead as given with the log; the devices' power shows no clear step"
    )
    return Finding("meter-clock", "info", text, device=NODE, evidence={"skew_s": meter.skew_s})


class _Grid:
    """The power of all devices together, W, every tenth of a second of the anchor's span; lives for one check."""

    def __init__(self, readings: Mapping[str, Sequence[Telemetry]], anchor: Anchor) -> None:
        series = [
            [(r.t_ns, r.power_w) for r in many if r.power_w is not None and anchor.t_ns <= r.t_ns <= anchor.end_ns]
            for key, many in readings.items()
            if key != NODE
        ]
        known = [one for one in series if len(one) >= PAIRS_MIN]
        self.start_ns = max((one[0][0] for one in known), default=0)
        end_ns = min((one[-1][0] for one in known), default=0)
        count = max(0, int((end_ns - self.start_ns) * 1e-9 / GRID_S))
        times = [self.start_ns + round(i * GRID_S * 1e9) for i in range(count)]
        held = [_held(one, times) for one in known]
        self.watts = [sum(parts) for parts in zip(*held, strict=True)] if held else []
        ordered = sorted(self.watts)
        edge = len(ordered) // 20
        self.swing_w = ordered[-1 - edge] - ordered[edge] if ordered else 0.0

    def at(self, t_ns: float) -> float | None:
        """Return the power at a monotonic time; None outside of what was read."""
        index = int((t_ns - self.start_ns) * 1e-9 / GRID_S)
        return self.watts[index] if t_ns >= self.start_ns and index < len(self.watts) else None


def _held(one: Sequence[tuple[int, float]], times: Sequence[int]) -> list[float]:
    """Return the last reading at or before each time."""
    stamps = [t_ns for t_ns, _ in one]
    return [one[max(0, bisect.bisect_right(stamps, t) - 1)][1] for t in times]


def skew_s(pairs: Sequence[tuple[int, float]], grid: _Grid) -> tuple[float | None, float | None]:
    """Return how far the pairs' clock is ahead, s, and the best correlation; None for what cannot be told.

    The lag is None where the agreement is weak or comes back at another lag (a periodic load).
    """
    steps = int(LAG_MAX_S / COARSE_S)
    scores = {i * COARSE_S: _agreement(pairs, grid, i * COARSE_S) for i in range(-steps, steps + 1)}
    known = {lag: score for lag, score in scores.items() if score is not None}
    if not known:
        return None, None
    about = max(known, key=lambda lag: known[lag])
    near = [about + i * FINE_S for i in range(-round(COARSE_S / FINE_S), round(COARSE_S / FINE_S) + 1)]
    fine = {lag: score for lag in near if (score := _agreement(pairs, grid, lag)) is not None}
    best = max(fine, key=lambda lag: fine[lag])
    apart = [score for lag, score in known.items() if abs(lag - best) > APART_S]
    clear = fine[best] >= AGREEMENT and all(score <= fine[best] - CONTRAST for score in apart)
    return (round(best, 3) if clear else None), fine[best]


def _agreement(pairs: Sequence[tuple[int, float]], grid: _Grid, lag_s: float) -> float | None:
    """Return the correlation of the meter with the devices if its clock were `lag_s` ahead; None with few pairs."""
    both = [(watts, at) for t_ns, watts in pairs if (at := grid.at(t_ns - lag_s * 1e9)) is not None]
    if len(both) < PAIRS_MIN:
        return None
    try:
        return statistics.correlation([one for one, _ in both], [other for _, other in both])
    except statistics.StatisticsError:  # one of them does not move
        return None
