"""Owns which sensor a figure is taken from, over which windows, and what stepped aside for it. Pure."""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence

import msgspec

from effbench.energy.integrate import Amount, amount, averages
from effbench.energy.ledger import rank
from effbench.energy.rules import least_window_s, short_words
from effbench.energy.series import Series, between, series, watts
from effbench.energy.uncertainty import LEAST_COVERAGE, sampling
from effbench.model.energy import Sensor
from effbench.model.event import Telemetry, Window
from effbench.model.finding import Finding

# Readings around a window that its ends need: a few polls and updates of a chip, half a minute of a slow meter.
MARGIN_S, METER_MARGIN_S = 3.0, 30.0
# The window's own swing of power is looked for this far beyond its ends.
SWING_S = 0.3


class Taken(msgspec.Struct, frozen=True):
    """One sensor over all windows, by place: its readings around each, what it says of each, how power moved there."""

    card: Sensor
    windows: Sequence[Window]
    found: list[Series]
    amounts: list[Amount]
    swings: list[float | None]

    @property
    def dropped(self) -> int:
        """Readings lost around all windows."""
        return sum(one.dropped for one in self.found)

    @property
    def poll_s(self) -> float:
        """The usual time between readings, s."""
        return max(one.poll_s for one in self.found)

    def watts(self, places: Sequence[int]) -> list[float]:
        """Power of every new value in the windows at `places`, W."""
        return [w for place in places for w in watts(self.found[place], *_span(self.windows[place]))]


class Choice(msgspec.Struct, frozen=True):
    """The primary sensor and the windows (`places`) that its figure is over; or none, with the reason.

    `short` when longer windows would help; `stepped_in` when a better sensor failed; `shower` is the sensor that shows
    how power moves, for a counter whose coverage nobody knows.
    """

    primary: Taken | None
    places: list[int] = []
    seconds: list[float] = []
    reason: str = ""
    short: bool = False
    stepped_in: bool = False
    shower: Taken | None = None
    findings: list[Finding] = []

    def values(self, place: int) -> list[float]:
        """Raw readings of the primary inside one window."""
        if self.primary is None:
            return []
        found, (start, end) = self.primary.found[place], _span(self.primary.windows[place])
        return [value for t, value in zip(found.times, found.values, strict=True) if start <= t <= end]


def take(
    card: Sensor, readings: Mapping[str, Sequence[Telemetry]], cards: Sequence[Sensor], windows: Sequence[Window]
) -> Taken:
    """Read one sensor over every window. `cards` tells which watts show how a counter's device moves."""
    points = readings.get(card.device, ())
    margin = int((METER_MARGIN_S if card.kind == "meter" else MARGIN_S) * 1e9)
    found, amounts, swings = [], [], []
    shower = card if card.unit == "W" else _shower(card, cards)
    for window in windows:
        near = between(points, window.start_ns - margin, window.t_ns + margin)
        one = series(card, near)
        swing = _swing(one if shower is card else series(shower, near) if shower else None, window)
        found.append(one)
        swings.append(swing)
        amounts.append(amount(one, window.start_ns, window.t_ns, swing, window.settled_s))
    return Taken(card, windows, found, amounts, swings)


def choose(taken: Sequence[Taken], windows: Sequence[Window], key: str, scope: str) -> Choice:
    """Pick the best sensor of the device's own scope that has joules in every window that it resolves.

    Windows that are too short for it are left out by name; so are those in which no sensor of the device answered.
    """
    own = sorted(
        (one for one in taken if one.card.device == key and one.card.scope == scope), key=lambda o: rank(o.card)
    )
    lengths = [(window.t_ns - window.start_ns) * 1e-9 for window in windows]
    answered = [any(one.amounts[place].joules is not None for one in own) for place in range(len(windows))]
    reasons: list[str] = []
    findings: list[Finding] = []
    short = False
    for one in own:
        least = least_window_s(one.card)
        long = [place for place, length in enumerate(lengths) if length >= least - 1e-9]
        places = [place for place in long if answered[place]]
        problems = [one.amounts[place].problem for place in places if one.amounts[place].joules is None]
        if places and not problems:
            left_out = _left_out(key, lengths, long, places, least, windows)
            shower = _shower(one.card, [other.card for other in own])
            return Choice(
                primary=one,
                places=places,
                seconds=[lengths[place] for place in places],
                stepped_in=bool(findings),
                shower=next((other for other in own if other.card is shower), None),
                findings=[*findings, *left_out],
            )
        if not long:
            short = True
            reasons.append(short_words(max(lengths), least))
            continue
        problem = (problems or [one.amounts[place].problem for place in long])[0]
        reasons.append(f"{one.card.key}: {problem}")
        findings.append(Finding("sensor-doubtful", "warning", f"{one.card.key}: {problem}", key))
    unique = list(dict.fromkeys(reasons))
    return Choice(None, reason="; ".join(unique), short=short, findings=findings)


def view_of(choice: Choice) -> tuple[float | None, float | None]:
    """Return the share of time that the primary sees (None: unknown) and what that may cost the figure, relative.

    A counter whose coverage nobody published is held to that of its chip's instant power, as if they shared it. No cost
    when all of the time is seen.
    """
    primary = choice.primary
    if primary is None:
        return None, None
    coverage = primary.card.coverage
    shower = choice.shower if primary.card.unit == "J" and choice.shower is not None else primary
    if coverage is None:
        coverage = shower.card.coverage if shower.card.coverage is not None else LEAST_COVERAGE
    seen = msgspec.structs.replace(shower.card, coverage=coverage)
    polled = shower.poll_s if primary.card.unit == "W" else 0.0  # a counter misses nothing while nobody looks
    cost = sampling(seen, shower.watts(choice.places), sum(choice.seconds), polled)
    return coverage, cost if coverage < 1 or cost > 0 else None


def _left_out(
    key: str,
    lengths: Sequence[float],
    long: Sequence[int],
    places: Sequence[int],
    least: float,
    windows: Sequence[Window],
) -> list[Finding]:
    found = []
    trial = windows[0].trial or None
    if len(long) < len(lengths):
        short = [length for place, length in enumerate(lengths) if place not in long]
        text = f"{len(short)} of {len(lengths)} windows of {key} left out: {short_words(max(short), least)}"
        found.append(Finding("energy-windows-dropped", "info", text, key, trial))
    if len(places) < len(long):
        text = f"{len(long) - len(places)} of {len(lengths)} windows of {key} left out: no sensor answered through them"
        found.append(Finding("energy-windows-dropped", "warning", text, key, trial))
    return found


def _shower(card: Sensor, cards: Sequence[Sensor]) -> Sensor | None:
    """The watts that show how a device moves within fractions of a second: its instant power."""
    same = [one for one in cards if one.device == card.device and one.scope == card.scope and not one.absent]
    return next((one for one in same if one.kind == "instant" and not averages(one)), None)


def _swing(found: Series | None, window: Window) -> float | None:
    """By how much the power moves in and next to a window, W; None where no watts show it."""
    if found is None:
        return None
    edge = int(SWING_S * 1e9)
    low, high = bisect_left(found.times, window.start_ns - edge), bisect_right(found.times, window.t_ns + edge)
    seen = found.values[low:high]
    return abs(found.card.gain) * (max(seen) - min(seen)) if len(seen) > 1 else None


def _span(window: Window) -> tuple[int, int]:
    return window.start_ns, window.t_ns
