"""How an energy window is paced: a part-time sensor must never see the same piece of every repetition. Pure.

A sensor that looks for 25 ms in every 100 ms (GH100, GA100) sees one phase of a load whose repetitions take 100 ms,
50 ms or 200 ms, and reports that phase's power as the whole. Batches of many repetitions therefore vary in length;
single repetitions that would lock get a pause that walks the phase through one whole period over the window.
"""

import math

# NVML's power readings and energy counters are renewed every 100 ms on every data-centre part since Volta's successor
# (arXiv 2312.02741, November 2026 catalogue of sensors); a CPU's RAPL every millisecond, for which nothing is paced.
SENSOR_PERIOD_S = 0.1
# Repetitions of p/q periods are seen at places 1/q of a period apart: from q = 4 on looks of 25 ms see all of it.
FRACTIONS = 4
# Discarded before anything is taken over a window: NVML's one-second mean needs 0.9 s to rise (arXiv 2312.02741).
RAMP_S = 1.5
GOLDEN = (math.sqrt(5) - 1) / 2
SPREAD = 0.25


def batch(n: int, number: int) -> int:
    """Vary a batch of `n` repetitions by up to a quarter, without a pattern: the golden ratio never repeats itself."""
    if n < 4:
        return n
    return max(1, round(n * (1 - SPREAD + 2 * SPREAD * ((number * GOLDEN) % 1.0))))


def walk_s(step_s: float, window_s: float, period_s: float = SENSOR_PERIOD_S) -> float:
    """Return how far, s, the sensor's look wanders through the repetition over the window; 0 is locked for good.

    Measured against the nearest simple fraction p/q of the period (q up to 4): the look returns to the same places, and
    only the distance from that fraction moves them.
    """
    if step_s <= 0:
        return period_s
    distances = []
    for q in range(1, FRACTIONS + 1):
        p = max(1, round(step_s * q / period_s))
        distances.append(abs(step_s - period_s * p / q))
    return window_s / step_s * min(distances)


def pause_s(step_s: float, window_s: float, period_s: float = SENSOR_PERIOD_S) -> float:
    """Return the pause after each repetition that makes the phase walk one `period_s` over the window, s.

    0 where it walks by itself. The pause is at most two periods over the whole window (2 % of one of ten seconds);
    where none of that length does it, as with a few long repetitions, the one that walks furthest.
    """
    if step_s < period_s / FRACTIONS / 2 or window_s <= 0 or walk_s(step_s, window_s, period_s) >= period_s:
        return 0.0
    pauses = [times * period_s * step_s / window_s for times in (1.0, 1.5, 2.0)]
    walks = [walk_s(step_s + pause, window_s, period_s) for pause in pauses]
    enough = (pause for pause, walk in zip(pauses, walks, strict=True) if walk >= 0.9 * period_s)
    return next(enough, pauses[walks.index(max(walks))])
