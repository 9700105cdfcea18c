"""Owns when a polled sensor renewed its value: the update period, and a time for each new value better than one poll.

Whoever polls sees a new value up to one poll late. Because the sensor renews in a rhythm of its own, the changes of the
neighbours tell when each one really happened. Pure.
"""

from collections.abc import Sequence

import msgspec
import numpy as np

# A period explains a gap between changes when the gap is a whole multiple of it within what two polls leave open.
EXPLAINED_SHARE = 0.9
# Below this many polls per update the rhythm cannot be seen: every second poll or so brings a new value anyway.
POLLS_PER_UPDATE = 1.6
CHANGES_MIN = 20
SMOOTHED = 61  # changes over which the rhythm counts as steady: 6 s of a 100 ms sensor


class Updates(msgspec.Struct, frozen=True):
    """New values in time order. `reason` says why there is no `period_s`; then `times_s` are those of the polls.

    Attributes:
        times_s: when each new value appeared, s. values: as read, W or J.
        steps: updates since the new value before: 1 when none was missed, 0 where it is not one or not known.
        period_s: time between updates, s. regular: share of the changes that keep to the rhythm.
        poll_s: median time between polls, s. doubt_s: how far the times may be off, s.
    """

    times_s: list[float]
    values: list[float]
    steps: list[int]
    poll_s: float
    doubt_s: float = 0.0
    period_s: float | None = None
    regular: float = 0.0
    reason: str = ""


def updates(times_s: Sequence[float], values: Sequence[float]) -> Updates:
    """Find the updates among polls, in time order, s."""
    t, v = np.asarray(times_s, dtype=float), np.asarray(values, dtype=float)
    if len(t) < CHANGES_MIN:
        return Updates([], [], [], 0.0, reason=f"only {len(t)} readings")
    poll_s = float(np.median(np.diff(t)))
    where = np.flatnonzero(np.diff(v) != 0.0) + 1
    if len(where) < CHANGES_MIN:
        return Updates([], [], [], poll_s, reason=f"the reading changed only {len(where)} times in {len(t)} polls")
    before, after = t[where - 1], t[where]
    gaps = np.diff(after)
    period_s = _period(gaps, poll_s)
    if period_s is None:
        why = (
            f"polls came every {poll_s * 1e3:.1f} ms and new values every {np.median(gaps) * 1e3:.1f} ms: "
            "the update is no slower than that, and faster polls are needed to see it"
        )
        return Updates(after.tolist(), v[where].tolist(), [0] * len(where), poll_s, poll_s / 2, reason=why)
    numbers = _counted((before + after) / 2, period_s)
    period_s = _slope(numbers, (before + after) / 2, period_s, poll_s)
    renewed, regular, doubt_s = _placed(numbers, before, after, period_s, poll_s)
    steps = [0, *np.diff(numbers).tolist()]
    if regular < EXPLAINED_SHARE:
        why = f"new values keep no rhythm: {regular:.0%} of them come when the others say"
        return Updates(renewed.tolist(), v[where].tolist(), [0] * len(where), poll_s, doubt_s, None, regular, why)
    return Updates(renewed.tolist(), v[where].tolist(), steps, poll_s, doubt_s, period_s, regular)


def _period(gaps: np.ndarray, poll_s: float) -> float | None:
    """The longest period, of those that the gaps propose, of which nearly all gaps are whole multiples."""
    proposed = sorted({float(np.quantile(gaps, q)) for q in (0.1, 0.25, 0.5)}, reverse=True)
    proposed = [one for one in proposed if one >= POLLS_PER_UPDATE * poll_s]
    if not proposed or float(np.median(gaps)) < POLLS_PER_UPDATE * poll_s:
        return None
    for one in proposed:
        multiples = np.maximum(1, np.rint(gaps / one))
        if np.mean(np.abs(gaps - multiples * one) <= 1.25 * poll_s) >= EXPLAINED_SHARE:
            return float(np.sum(gaps) / np.sum(multiples))
    return float(np.median(gaps))


def _counted(middle: np.ndarray, period_s: float) -> np.ndarray:
    """Number the updates, following the rhythm: what was seen late, or came in between, is not one more update."""
    numbers, expected = [0], float(middle[0])
    for t in middle[1:].tolist():
        steps = max(0, round((t - expected) / period_s))
        expected += steps * period_s
        expected += 0.2 * (t - expected)
        numbers.append(numbers[-1] + steps)
    return np.array(numbers)


def _slope(numbers: np.ndarray, middle: np.ndarray, period_s: float, poll_s: float) -> float:
    """Time per update by a straight line through all changes; the first guess where the line makes no sense."""
    slope = float(np.polyfit(numbers - numbers.mean(), middle, 1)[0])
    return slope if abs(slope - period_s) <= max(0.1 * period_s, 0.25 * poll_s) else period_s


def _placed(
    numbers: np.ndarray, before: np.ndarray, after: np.ndarray, period_s: float, poll_s: float
) -> tuple[np.ndarray, float, float]:
    """Put each change where it and its neighbours all fit between their polls; else in the middle of its own two.

    Returns the times, the share of the changes that fit, and how far a time may be off, s.
    """
    earliest, latest = before - numbers * period_s, after - numbers * period_s
    half = min(SMOOTHED, len(numbers)) // 2
    spans = [slice(max(0, i - half), i + half + 1) for i in range(len(numbers))]
    low = np.array([np.quantile(earliest[span], 0.9) for span in spans])
    high = np.array([np.quantile(latest[span], 0.1) for span in spans])
    offset = (low + high) / 2
    slack = 0.25 * poll_s
    regular = float(np.mean((offset >= earliest - slack) & (offset <= latest + slack)))
    if regular < EXPLAINED_SHARE:
        return (before + after) / 2, regular, poll_s / 2
    return numbers * period_s + offset, regular, float(np.median(np.abs(high - low))) / 2
