"""Owns what a square-wave load says of one power sensor: update period, averaging window, coverage, lag, granularity.

A sensor of watts is fitted directly. A counter is first turned into the mean power of each of its own updates, so that
a counter which sums up 25 ms out of every 100 ms betrays itself: its window then is shorter than its update. What
cannot be told stays as it was published, with the reason. Pure; the fit is in `boxcar`, the updates are in `updates`.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import msgspec
import numpy as np

from effbench.energy.boxcar import Fit, Load, fit
from effbench.energy.updates import Updates, updates
from effbench.model.energy import Sensor
from effbench.model.event import Telemetry

__all__ = ["Characterised", "characterise"]

Confidence = Literal["high", "medium", "low", ""]

# A step response needs phases that outlast the longest published window (1 s, NVML's average), more than one of them.
SLOW_S, SLOW_MIN, EDGES_MIN = 1.2, 2, 20
# The start is cut off: work before the first edge would still be inside a window of a second.
HEAD_S = 1.5
RISE_OVER_NOISE = 3.0
EXPLAINED_MIN = 0.7
# A window is told when its 95 % range spans less than this factor, or no more than the times are uncertain.
WINDOW_FACTOR = 2.0
RESIDUAL_HIGH, RESIDUAL_MEDIUM, NOISE_FACTOR = 0.08, 0.25, 2.0
# Without a visible update a reading may be one poll old, so only far longer windows can be told from that.
WINDOW_OVER_POLL = 8.0
# Readings that may be older than this by the polls alone do not tell a lag.
LAG_DOUBT_S = 0.02
DIFFERS_UPDATE, DIFFERS_WINDOW = 1.25, 1.5


class Characterised(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What was found of one sensor. A quantity that could not be told is absent, and `reason` says why.

    Attributes:
        sensor: the card to use from now on: the published one with every field replaced that was found.
        published: the card as it was before.
        edges, wave_s, poll_s: evidence: busy phases, length of the wave and median time between polls, s.
        update_s, window_s, coverage, lag_s: as in `Sensor`; `window_low_s` and `window_high_s` are the 95 % range. The
            lag is from the end of the averaging window to the moment at which the reading shows it.
        granularity_j: smallest step of a counter, J. rise_w: how far the load lifted the power, W. Both as it was read.
        residual: rms of what the moving mean does not explain, over the rise.
        contradictions: where the sensor does not do what was published of its class.
    """

    sensor: Sensor
    published: Sensor
    edges: int = 0
    wave_s: float = 0.0
    poll_s: float | None = None
    update_s: float | None = None
    window_s: float | None = None
    window_low_s: float | None = None
    window_high_s: float | None = None
    coverage: float | None = None
    lag_s: float | None = None
    granularity_j: float | None = None
    rise_w: float | None = None
    residual: float | None = None
    confidence: Confidence = ""
    reason: str = ""
    contradictions: list[str] = []


def characterise(edges: Sequence[tuple[int, int]], readings: Sequence[Telemetry], card: Sensor) -> Characterised:
    """Characterise the sensor of `card` by a load that was busy between each pair of `edges` (monotonic ns).

    Never raises on bad data: what cannot be told is absent, with a reason, and the card keeps what was published.

    Args:
        edges: start and end of every busy phase, in time order.
        readings: telemetry of the card's device over the wave, in time order; only `card.reading` is looked at.
        card: the sensor as it was published or assumed.
    """
    wave = [(start / 1e9, end / 1e9) for start, end in edges]
    bare = Characterised(card, card, len(wave), wave[-1][1] - wave[0][0] if wave else 0.0)
    if card.absent:
        return _refused(bare, card.absent)
    if why := _unfit(wave):
        return _refused(bare, why)
    times, values = _series(readings, card, wave)
    found = updates(times, values)
    bare = msgspec.structs.replace(bare, poll_s=found.poll_s or None, update_s=found.period_s)
    if not found.times_s:
        return _refused(bare, found.reason)
    if card.unit == "J":
        bare = msgspec.structs.replace(bare, granularity_j=_granularity(found))
    at_s, watts = _watts(found, card)
    inside = (at_s >= wave[0][0] + HEAD_S) & (at_s <= wave[-1][1])
    at_s, watts = at_s[inside], watts[inside]
    rise, noise = _step_response(wave, at_s, watts)
    if rise is None:
        return _refused(bare, "too few readings inside the slow phases")
    if rise <= RISE_OVER_NOISE * noise or rise <= 0:
        return _refused(bare, f"no load change visible: {rise:.3g} W between rest and load, noise {noise:.3g} W")
    best = fit(Load(wave), at_s.tolist(), watts.tolist())
    return _fitted(msgspec.structs.replace(bare, rise_w=rise), found, best, noise)


def _refused(bare: Characterised, why: str) -> Characterised:
    """Nothing is claimed beyond what is already in `bare`; without a visible load not even the update is believed."""
    return msgspec.structs.replace(bare, update_s=None, granularity_j=None, reason=why)


def _unfit(wave: Sequence[tuple[float, float]]) -> str:
    """Say why these edges are no square wave; empty when they are one."""
    if len(wave) < EDGES_MIN:
        return f"too few edges: {len(wave)} busy phases, {EDGES_MIN} are needed"
    if any(end <= start for start, end in wave):
        return "a busy phase ends before it begins"
    if any(later[0] < earlier[1] for earlier, later in pairwise(wave)):
        return "busy phases overlap: their times are not those of this machine's clock"
    slow = sum(end - start >= SLOW_S for start, end in wave)
    if slow < SLOW_MIN:
        return f"too few slow cycles: {slow} phases of {SLOW_S} s or more, {SLOW_MIN} are needed"
    return ""


def _series(
    readings: Sequence[Telemetry], card: Sensor, wave: Sequence[tuple[float, float]]
) -> tuple[list[float], list[float]]:
    """Times, s, and values of one sensor, from a second before the wave to its end; a 0 W answer is none."""
    times: list[float] = []
    values: list[float] = []
    for line in readings:
        t = line.t_ns / 1e9
        if line.device != card.device or not wave[0][0] - 1.0 <= t <= wave[-1][1] + 1.0:
            continue
        value = line.sensors.get(card.reading, getattr(line, card.reading, None))
        if isinstance(value, float) and np.isfinite(value) and (card.unit == "J" or value > 0) and _later(t, times):
            times.append(t)
            values.append(value)
    return times, values


def _later(t: float, times: Sequence[float]) -> bool:
    return not times or t > times[-1]


def _watts(found: Updates, card: Sensor) -> tuple[np.ndarray, np.ndarray]:
    """Moments of renewal and the watts that each one reports; a counter's are the mean since its last update."""
    at_s, values = np.array(found.times_s), np.array(found.values)
    if card.unit == "W":
        return at_s, values
    delta, gaps = np.diff(values), np.diff(at_s)
    if found.period_s is not None:
        # Where an update was missed the step covers two windows, which no single one explains.
        keep = (delta > 0) & (np.array(found.steps[1:]) == 1)
        return at_s[1:][keep], delta[keep] / found.period_s
    keep = (delta > 0) & (gaps > 0)
    return at_s[1:][keep], delta[keep] / gaps[keep]


def _granularity(found: Updates) -> float | None:
    """Smallest step of a counter over one of its own updates, J; None when polls were too slow to see single ones."""
    if found.period_s is None:
        return None
    delta = np.diff(np.array(found.values))[np.array(found.steps[1:]) == 1]
    delta = delta[delta > 0]
    return round(float(delta.min()), 6) if len(delta) else None


def _step_response(
    wave: Sequence[tuple[float, float]], at_s: np.ndarray, watts: np.ndarray
) -> tuple[float | None, float]:
    """Mean power of the settled halves of slow phases minus that of slow rests, W, and the noise inside them, W."""
    rests = [(a[1], b[0]) for a, b in pairwise(wave)]
    settled = []
    for spans in (wave, rests):
        halves = [((a + b) / 2, b) for a, b in spans if b - a >= SLOW_S]
        parts = [watts[(at_s > a) & (at_s <= b)] for a, b in halves]
        settled.append(np.concatenate(parts) if parts else np.array([]))
    if min(len(part) for part in settled) < 6:
        return None, 0.0
    on, off = settled
    return float(on.mean() - off.mean()), float(np.sqrt((on.var() + off.var()) / 2))


def _fitted(bare: Characterised, found: Updates, best: Fit | None, noise: float) -> Characterised:
    """Take over what the fit can stand for, and judge it."""
    if best is None or best.explained < EXPLAINED_MIN:
        share = "none" if best is None else f"{best.explained:.0%}"
        why = f"the readings do not follow the load: a moving mean explains {share} of their variance"
        return _refused(bare, found.reason or why)
    low, high = max(0.0, best.window_low_s - found.doubt_s), best.window_high_s + found.doubt_s
    # What is left over must be the sensor's own noise, else the moments of renewal or the load were not as modelled.
    noisy = best.residual <= min(RESIDUAL_MEDIUM, NOISE_FACTOR * noise / best.rise)
    confidence: Confidence = "high" if best.residual <= RESIDUAL_HIGH else "medium" if noisy else "low"
    told = bare
    why = found.reason
    if found.period_s is None and (bare.published.unit == "J" or best.window_s < WINDOW_OVER_POLL * found.poll_s):
        why = why or "no update is visible"
    elif high > WINDOW_FACTOR * low and high - low > 4 * max(found.doubt_s, 0.002):
        why = f"the averaging window cannot be told: anything from {low * 1e3:.0f} to {high * 1e3:.0f} ms fits"
    elif confidence == "low":
        why = f"a moving mean fits badly: {best.residual:.0%} of the rise is left over"
    else:
        coverage = None if found.period_s is None else _coverage(best.window_s, low, high, found.period_s)
        told = msgspec.structs.replace(
            bare, window_s=best.window_s, window_low_s=low, window_high_s=high, coverage=coverage
        )
    lag_s = max(0.0, best.lag_s) if found.doubt_s <= LAG_DOUBT_S else None
    told = msgspec.structs.replace(
        told, lag_s=lag_s, residual=best.residual, confidence=confidence, reason=why, update_s=found.period_s
    )
    return msgspec.structs.replace(told, sensor=_card(told), contradictions=_contradictions(told))


def _coverage(window_s: float, low_s: float, high_s: float, update_s: float) -> float:
    """Window over update; all of the time only where the range says so and is narrow, never by a lucky middle."""
    if low_s > 0.9 * update_s and high_s >= update_s:
        return 1.0
    return round(min(1.0, window_s / update_s), 3)


def _card(told: Characterised) -> Sensor:
    """The published card with what was found; `measured` only when update and window both were."""
    card = told.published
    source = f"square wave of {told.wave_s:.0f} s in this run, {told.confidence} confidence"
    fields: dict[str, float | str | None] = {}
    whole = told.window_s is not None and told.update_s is not None
    if whole:
        fields = {"window_s": _ms(told.window_s), "coverage": told.coverage, "basis": "measured"}
        fields |= {"update_s": _ms(told.update_s), "lag_s": _ms(told.lag_s), "basis_source": source}
    elif told.update_s is not None:
        kept = card.basis_source or card.basis
        fields = {"update_s": _ms(told.update_s), "basis_source": f"update: {source}; window and coverage: {kept}"}
    if told.granularity_j is not None:
        fields["granularity_j"] = told.granularity_j
    return msgspec.structs.replace(card, **fields)


def _ms(seconds: float | None) -> float | None:
    """Seconds to a tenth of a millisecond: more would be made up."""
    return None if seconds is None else round(seconds, 4)


def _contradictions(told: Characterised) -> list[str]:
    """Sentences for every published figure that this sensor does not keep to."""
    card, found = told.published, []
    for name, here, there, factor in (
        ("update", told.update_s, card.update_s, DIFFERS_UPDATE),
        ("window", told.window_s, card.window_s, DIFFERS_WINDOW),
    ):
        if here is not None and there and not 1 / factor <= here / there <= factor:
            found.append(f"{card.key}: {name} of {here * 1e3:.0f} ms, published for its class: {there * 1e3:.0f} ms")
    if told.coverage is not None and card.coverage is not None and abs(told.coverage - card.coverage) > 0.15:
        found.append(f"{card.key}: sees {told.coverage:.0%} of the time, published: {card.coverage:.0%}")
    return found
