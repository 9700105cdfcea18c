"""Owns what may be concluded from a cumulative energy counter: differences, resets, stuck counters, granularity.

Pure functions over readings that somebody else took. NVML's counter is in mJ since the driver was loaded and moves in
steps of roughly 100 ms on data-centre parts, so a difference over `T` seconds is uncertain by up to two steps over `T`.
"""

import statistics
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import msgspec

Problem = Literal["", "too-few-readings", "reset", "stuck"]

# A powered device always draws something, so a counter that has not moved for 20 of its ordinary 100 ms steps is stuck.
STUCK_AFTER_S = 2.0


class EnergyReading(msgspec.Struct, frozen=True):
    """One reading: monotonic ns and the cumulative counter in J."""

    t_ns: int
    energy_j: float


class EnergyWindow(msgspec.Struct, frozen=True):
    """What a window of readings says. `energy_j` is absent when `problem` names why it cannot be trusted.

    `seconds` is between the first and the last reading, `step_s` the counter's own update period as seen here
    (absent below two changes), `uncertainty` the relative end effect 2 * step / seconds.
    """

    seconds: float
    energy_j: float | None = None
    problem: Problem = ""
    step_s: float | None = None
    uncertainty: float | None = None


def counter_delta(before: float, after: float, wrap: float | None = None) -> float | None:
    """Subtract two readings of a cumulative counter, in its own unit.

    `wrap` is the value at which it starts again from 0, where the counter has one that is known (a 32-bit byte
    counter: 2**32); one wrap is then undone. Without it a backward step is a reset (driver reload, GPU reset), the
    amount before it is lost, and the answer is None.
    """
    if after >= before:
        return after - before
    if wrap is not None and before < wrap:
        return after + wrap - before
    return None


def is_stuck(readings: Sequence[EnergyReading], after_s: float = STUCK_AFTER_S) -> bool:
    """Tell whether the counter stood still for the last `after_s` seconds or more."""
    if not readings:
        return False
    since = readings[-1]
    for reading in reversed(readings):
        if reading.energy_j != since.energy_j:
            break
        since = reading
    return (readings[-1].t_ns - since.t_ns) / 1e9 >= after_s


def update_period_s(readings: Sequence[EnergyReading]) -> float | None:
    """Median time between changes of the counter, s; None below two changes. Poll at twice its rate or faster."""
    changes = [after.t_ns for before, after in pairwise(readings) if after.energy_j != before.energy_j]
    if len(changes) < 2:
        return None
    return statistics.median(after - before for before, after in pairwise(changes)) / 1e9


def energy_window(readings: Sequence[EnergyReading]) -> EnergyWindow:
    """Judge the readings of one measured window, in time order, and give its energy where it can be trusted.

    A window in which the counter never moved has no energy, whatever its length: it is never reported as 0 J.
    """
    if len(readings) < 2:
        return EnergyWindow(seconds=0.0, problem="too-few-readings")
    first, last = readings[0], readings[-1]
    seconds = (last.t_ns - first.t_ns) / 1e9
    if any(counter_delta(before.energy_j, after.energy_j) is None for before, after in pairwise(readings)):
        return EnergyWindow(seconds=seconds, problem="reset")
    if is_stuck(readings):
        return EnergyWindow(seconds=seconds, problem="stuck")
    if last.energy_j == first.energy_j:
        return EnergyWindow(seconds=seconds, problem="too-few-readings")
    step_s = update_period_s(readings)
    return EnergyWindow(
        seconds=seconds,
        energy_j=last.energy_j - first.energy_j,
        step_s=step_s,
        uncertainty=2 * step_s / seconds if step_s is not None and seconds > 0 else None,
    )
