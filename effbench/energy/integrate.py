"""Owns one sensor's joules over one window, with the bound of what its ends may hide; or why there are none. Pure.

Counter: the difference between its values at both ends, each found on the straight line between the changes around it.
Watts: each reading holds until the next (so repeated values add nothing), moved back by how far the sensor is behind.
Nothing is ever filled in: a gap, a reset, a standstill or a missing end leaves no joules and says so.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise

import msgspec

from effbench.energy.series import Series, first_seen
from effbench.model.energy import Sensor

# A counter of a powered device always moves: standing still for this many of its updates, and so many seconds, is a
# fault.
STUCK_UPDATES, STUCK_AFTER_S = 20, 2.0
# The end of a window must have a reading within two polls; a busy host delays single readings by a tenth of a second.
END_POLLS, END_LEAST_S = 2.0, 0.25
# Watts are not integrated over a hole of more than three polls (and half a second), nor with under 95 % of the window
# seen: what happened in a hole is unknown, and loads move by more than that.
GAP_POLLS, GAP_LEAST_S, COVERED_LEAST = 3.0, 0.5, 0.95
# A chip's average needs the ramp of its own window to pass: rise times of 0.9 s were seen on a 1 s mean.
SETTLED_WINDOWS = 1.5
AVERAGING_S = 0.5


class Amount(msgspec.Struct, frozen=True):
    """What one sensor says of one window. `joules` is absent when `problem` tells why.

    `readings` fell inside; `ends_j` bounds at about 95 % what the window's ends hide; `settled` is False for a mean
    that still held what came before the window: such joules are compared with nothing.
    """

    joules: float | None = None
    readings: int = 0
    ends_j: float = 0.0
    problem: str = ""
    settled: bool = True


def amount(found: Series, start_ns: int, end_ns: int, swing_w: float | None, settled_s: float = 0.0) -> Amount:
    """Take the energy of one window, J, from readings of it and of some time around it.

    `swing_w` is by how much the device's power moves in the window, where some sensor shows it; `settled_s` is for how
    long the same load had run before.
    """
    low, high = bisect_left(found.times, start_ns), bisect_right(found.times, end_ns)
    if high - low < 2:
        return Amount(readings=high - low, problem=f"{_count(high - low)} in the window")
    if found.card.unit == "J":
        return _counter(found, start_ns, end_ns, swing_w)
    return _watts(found, start_ns, end_ns, swing_w, settled_s)


def lag_s(card: Sensor) -> float:
    """Return how far a held reading is behind the load, s: as characterised, else half of window plus update."""
    if card.lag_s is not None:
        return max(0.0, card.lag_s)
    return ((card.window_s or 0.0) + (card.update_s or 0.0)) / 2


def averages(card: Sensor) -> bool:
    """Tell whether a reading of on-chip watts is a mean over so long that what came before a window is still in it.

    Older calls give a mean of 1 s under the name of the present power.
    """
    return card.kind == "average" or (card.kind == "instant" and (card.window_s or 0.0) >= AVERAGING_S)


def _counter(found: Series, start_ns: int, end_ns: int, swing_w: float | None) -> Amount:
    readings = bisect_right(found.times, end_ns) - bisect_left(found.times, start_ns)
    if problem := _counter_problem(found, start_ns, end_ns):
        return Amount(readings=readings, problem=problem)
    when, what = first_seen(found)
    begin, end = _on_line(when, what, start_ns), _on_line(when, what, end_ns)
    seconds = (end_ns - start_ns) * 1e-9
    joules = found.card.gain * (end - begin) + found.card.offset_w * seconds
    if not joules > 0:
        return Amount(readings=readings, problem="the counter gives no energy above zero")
    mean_w = joules / seconds
    swing = mean_w if swing_w is None else min(swing_w, mean_w)
    # When a change was seen is late by at most one poll (or one update, where those are faster), differently at both
    # ends; between two changes the power may have stepped by the swing, which bends the line by a quarter of its area.
    late = min(found.poll_s, found.card.update_s or found.poll_s)
    spans = [_bracket_s(when, moment) for moment in (start_ns, end_ns)]
    beyond = (max(0, when[0] - start_ns) + max(0, end_ns - when[-1])) * 1e-9
    ends = mean_w * (late + beyond) + sum(spans) * swing / 4
    return Amount(joules, readings, ends + (found.card.granularity_j or 0.0) * found.card.gain)


def _counter_problem(found: Series, start_ns: int, end_ns: int) -> str:
    reach = max(END_POLLS * found.poll_s, END_POLLS * (found.card.update_s or 0.0), END_LEAST_S)
    for moment, name in ((start_ns, "start"), (end_ns, "end")):
        place = bisect_left(found.times, moment)
        near = min(abs(t - moment) for t in found.times[max(0, place - 1) : place + 1])
        if near * 1e-9 > reach:
            return f"no reading within {reach:.2f} s of the window's {name}"
    pairs = zip(pairwise(found.times), pairwise(found.values), strict=True)
    for (t0, t1), (v0, v1) in pairs:
        if v1 < v0 and t1 > start_ns and t0 < end_ns:
            return f"the counter ran backwards from {v0:.1f} J to {v1:.1f} J (reset, or a wrap that nobody counted)"
    return _standstill(found, start_ns, end_ns)


def _standstill(found: Series, start_ns: int, end_ns: int) -> str:
    """Tell whether the counter stood still: in the window for long, or so that an end has no change near it."""
    when, _ = first_seen(found)
    limit = max(STUCK_AFTER_S, STUCK_UPDATES * (found.card.update_s or 0.0))
    last = min(found.times[-1], end_ns)
    inside = [max(start_ns, found.times[0]), *(t for t in when if start_ns < t <= last), last]
    longest = max(later - earlier for earlier, later in pairwise(inside)) * 1e-9
    if longest >= limit:
        return f"the counter stood still for {longest:.1f} s"
    if len(inside) < 4:
        return "the counter moved less than twice in the window"
    return ""


def _on_line(when: Sequence[int], what: Sequence[float], moment: int) -> float:
    """The counter at `moment`, on the line between the changes around it; beyond the last, on by the mean slope."""
    place = bisect_right(when, moment)
    if 0 < place < len(when):
        share = (moment - when[place - 1]) / (when[place] - when[place - 1])
        return what[place - 1] + share * (what[place] - what[place - 1])
    slope = (what[-1] - what[0]) / (when[-1] - when[0])
    near = 0 if place == 0 else -1
    return what[near] + slope * (moment - when[near])


def _bracket_s(when: Sequence[int], moment: int) -> float:
    place = min(max(bisect_right(when, moment), 1), len(when) - 1)
    return (when[place] - when[place - 1]) * 1e-9


def _watts(found: Series, start_ns: int, end_ns: int, swing_w: float | None, settled_s: float) -> Amount:
    card, lag = found.card, int(lag_s(found.card) * 1e9)
    averaging = averages(card)
    settled = not averaging or settled_s >= SETTLED_WINDOWS * (card.window_s or 0.0)
    low, high = start_ns + lag, end_ns + lag
    if averaging and settled:
        # Only the readings whose whole averaging window lies inside: what follows the window never gets in.
        low, high = start_ns + 2 * lag, end_ns
    readings = bisect_right(found.times, high) - bisect_left(found.times, low)
    mean, problem = _mean(found, low, high)
    if mean is None:
        return Amount(readings=readings, problem=problem)
    seconds = (end_ns - start_ns) * 1e-9
    joules = (card.gain * mean + card.offset_w) * seconds
    if not joules > 0:
        return Amount(readings=readings, problem="the calibration leaves no energy above zero")
    swing = joules / seconds if swing_w is None else swing_w
    hidden = max(found.poll_s, card.update_s or 0.0)
    if averaging:
        hidden = lag * 1e-9 if settled else max(hidden, card.window_s or 0.0)
    return Amount(joules, readings, hidden * swing, settled=settled)


def _mean(found: Series, low: int, high: int) -> tuple[float | None, str]:
    """The mean of held readings between two moments, W; or none, and why."""
    times, values, poll = found.times, found.values, found.poll_s
    most = max(GAP_POLLS * poll, GAP_LEAST_S)
    near = max(END_POLLS * poll, found.card.update_s or 0.0)
    first = max(bisect_right(times, low) - 1, 0)
    last = bisect_left(times, high)
    if high <= low or last - first < 2:
        return None, "fewer than 2 readings of the window"
    area = seen = 0.0
    for place in range(first, last):
        begin = max(times[place], low)
        end = min(times[place + 1] if place + 1 < len(times) else high, high)
        if (min(end, high) - times[place]) * 1e-9 > most:
            return None, f"a gap of {(end - times[place]) * 1e-9:.1f} s in the readings"
        area += values[place] * (end - begin)
        seen += max(0, min(end, times[place] + int(near * 1e9)) - begin)
    held = high - max(times[first], low)
    if seen < COVERED_LEAST * (high - low):
        return None, f"readings cover {seen / (high - low):.0%} of the window, less than {COVERED_LEAST:.0%}"
    return area / held, ""


def _count(readings: int) -> str:
    return ("no reading", "1 reading")[readings] if readings < 2 else f"{readings} readings"
