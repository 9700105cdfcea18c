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

__all__ = ["Anchor", "Lag", "check_clock", "joined", "overlaps", "skew_s"]

# Lags that are tried, s: beyond them a log either does not overlap or does not correlate.
LAG_MAX_S, COARSE_S, FINE_S, REACH_S = 30.0, 0.5, 0.05, 1.5
GRID_S = 0.1
# A step is clear when the devices' power moves by this share of what the meter shows, and by this many W.
SWING_SHARE, SWING_W = 0.10, 30.0
# A lag is believed when the two agree this well there, and clearly worse wherever it is off by more than 2 s.
AGREEMENT, CONTRAST, APART_S = 0.90, 0.05, 2.0
# Below this agreement at every lag the meter shows something else than this node.
STRANGE = 0.50
PAIRS_MIN, PAIRS_MAX = 10, 4000
ALWAYS_NS = 1 << 63


class Anchor(msgspec.Struct, frozen=True):
    """One moment by both of the node's clocks, and the span of monotonic time, ns, in which the pair holds."""

    t_ns: int
    utc_ns: int
    end_ns: int

    def monotonic_ns(self, utc_ns: int) -> int:
        """Return the monotonic time of a moment of UTC, ns."""
        return utc_ns - self.utc_ns + self.t_ns


class Lag(msgspec.Struct, frozen=True):
    """How far a clock is ahead: between `low` and `high`, s, and how well the two agree there. No ends: unclear."""

    agreement: float
    low: float | None = None
    high: float | None = None


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
        found = skew_s(pairs, grid)
        told = _told(meter, found) if found is not None else None
        if told is not None:
            return told
    if meter.skew_s is None:
        raise InputError(
            f"{meter.path}: the meter's clock cannot be checked: the devices' power shows no step that settles it; "
            "compare the clocks (NTP) and write how far the meter's is ahead into the log, `# skew: 0.1 s`"
        )
    text = f"the meter's clock is {meter.skew_s:g} s ahead as given with the log; the devices' power does not settle it"
    return Finding("meter-clock", "info", text, device=NODE, evidence={"skew_s": meter.skew_s})


def _told(meter: Meter, found: Lag) -> Finding | None:
    """Say what the devices' power shows of the meter's clock; None when it leaves that open. Refuses as above."""
    if found.agreement < STRANGE:
        raise InputError(
            f"{meter.path}: the log does not follow the devices' power (correlation {found.agreement:.2f} at best); is "
            "it the meter of another node?"
        )
    if found.low is None or found.high is None:
        return None
    middle, half = (found.low + found.high) / 2, (found.high - found.low) / 2
    off = f"the meter's clock is {middle:+.2f} ± {half:.2f} s off by the devices' own power"
    if abs(middle) - half > SKEW_LIMIT_S:
        step = "no figure is made of it; set both clocks by NTP and measure again"
        raise InputError(f"{meter.path}: {off}, beyond {SKEW_LIMIT_S:g} s: {step}")
    if abs(middle) + half > SKEW_LIMIT_S:
        return None
    evidence: dict[str, str | int | float | bool] = {"skew_s": round(middle, 3), "half_width_s": round(half, 3)}
    return Finding("meter-clock", "info", f"{off} ({SKEW_LIMIT_S:g} s are allowed)", device=NODE, evidence=evidence)


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

    def near(self, t_ns: int) -> bool:
        """Say whether a reading may lie in what was read at some lag that is tried."""
        reach = round(LAG_MAX_S * 1e9)
        return self.start_ns - reach <= t_ns <= self.start_ns + len(self.watts) * GRID_S * 1e9 + reach


def _held(one: Sequence[tuple[int, float]], times: Sequence[int]) -> list[float]:
    """Return the last reading at or before each time."""
    stamps = [t_ns for t_ns, _ in one]
    return [one[max(0, bisect.bisect_right(stamps, t) - 1)][1] for t in times]


def skew_s(pairs: Sequence[tuple[int, float]], grid: _Grid) -> Lag | None:
    """Return how far the pairs' clock is ahead; None with too few pairs to tell anything.

    Readings that lie apart cannot tell lags between them: all lags that agree as well as the best one are its range.
    It is unclear where the agreement is weak, or comes back at another lag (a periodic load).
    """
    pairs = [pair for pair in pairs if grid.near(pair[0])]
    pairs = pairs[:: 1 + len(pairs) // PAIRS_MAX]
    steps = round(LAG_MAX_S / COARSE_S)
    least = max(PAIRS_MIN, len(_both(pairs, grid, 0.0)) // 2)  # a lag that few readings support proves nothing
    known = _scores(pairs, grid, [i * COARSE_S for i in range(-steps, steps + 1)], least)
    if not known:
        return None
    about, reach = max(known, key=lambda lag: known[lag]), round(REACH_S / FINE_S)
    fine = _scores(pairs, grid, [about + i * FINE_S for i in range(-reach, reach + 1)], least)
    best = max(fine, key=lambda lag: fine[lag])
    apart = [score for lag, score in known.items() if abs(lag - best) > APART_S]
    if fine[best] < AGREEMENT or any(score > fine[best] - CONTRAST for score in apart):
        return Lag(fine[best])
    as_good = [lag for lag, score in fine.items() if score >= fine[best] - 1 / len(pairs)]
    return Lag(fine[best], min(as_good), max(as_good))


def _scores(pairs: Sequence[tuple[int, float]], grid: _Grid, lags: Sequence[float], least: int) -> dict[float, float]:
    scored = ((lag, _agreement(pairs, grid, lag, least)) for lag in lags)
    return {lag: score for lag, score in scored if score is not None}


def _both(pairs: Sequence[tuple[int, float]], grid: _Grid, lag_s: float) -> list[tuple[float, float]]:
    """Return what the meter and the devices showed at the same moments if the meter's clock were `lag_s` ahead."""
    return [(watts, at) for t_ns, watts in pairs if (at := grid.at(t_ns - lag_s * 1e9)) is not None]


def _agreement(pairs: Sequence[tuple[int, float]], grid: _Grid, lag_s: float, least: int) -> float | None:
    """Return the correlation of the meter with the devices at one lag; None with fewer than `least` pairs."""
    both = _both(pairs, grid, lag_s)
    if len(both) < least:
        return None
    try:
        return statistics.correlation([one for one, _ in both], [other for _, other in both])
    except statistics.StatisticsError:  # one of them does not move
        return None
