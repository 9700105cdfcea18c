"""Owns which part of a journal characterises which sensor, and puts what was found into the sensors' cards. Pure."""

from collections.abc import Sequence

import msgspec

from effbench.energy.characterise import Characterised, characterise
from effbench.model.energy import Sensor
from effbench.model.event import Closed, Event, Opened, Sample, Sensed, Started, Telemetry
from effbench.model.finding import Finding

__all__ = ["cards_of", "characterised", "findings", "measured"]

KERNEL = "square_wave"


def cards_of(events: Sequence[Event]) -> list[Sensor]:
    """Return the sensors' cards as the journal last has them; empty when the devices were never asked."""
    return next((list(e.sensors) for e in reversed(events) if isinstance(e, Sensed)), [])


def characterised(cards: Sequence[Sensor], events: Sequence[Event]) -> list[Characterised]:
    """Characterise every sensor whose device ran a square wave in this journal, absent sensors included.

    Only a wave that was closed as right counts, and none of a simulated or played-back device. Of several rounds the
    one that says most is kept. Empty when the journal holds no such wave.
    """
    plans = [e for e in events if isinstance(e, Started)]
    trials = {t.id for start in plans for t in start.plan.trials if t.kernel == KERNEL}
    simulated = {a.key for start in plans for a in start.inventory.accelerators if a.simulated}
    waves = [wave for part in _commands(events) for wave in _waves(part, trials) if wave.device not in simulated]
    found = []
    for card in cards:
        tried = [characterise(one.edges, one.readings, card) for one in waves if one.device == card.device]
        if tried:
            found.append(max(tried, key=_says))
    return found


def measured(cards: Sequence[Sensor], found: Sequence[Characterised]) -> list[Sensor]:
    """Return all cards in their order, those that were characterised replaced; the others stay as published."""
    new = {one.published.key: one.sensor for one in found}
    return [new.get(card.key, card) for card in cards]


def findings(found: Sequence[Characterised]) -> list[Finding]:
    """Say which sensors contradict what was published of their class, and which could not be characterised."""
    noted = []
    for one in found:
        device, key = one.published.device, one.published.key
        noted += [Finding("sensor-contradicts-class", "warning", text, device=device) for text in one.contradictions]
        if one.reason and not one.published.absent:
            text = f"{key}: not wholly characterised: {one.reason}; what was published of it is used for the rest"
            noted.append(Finding("sensor-not-characterised", "info", text, device=device))
    return noted


def _says(one: Characterised) -> tuple[int, float]:
    told = sum(value is not None for value in (one.update_s, one.window_s, one.lag_s))
    return told, -(one.residual if one.residual is not None else float("inf"))


class _Wave(msgspec.Struct, frozen=True):
    """One square wave: its device, the edges of its busy phases in monotonic ns, and the telemetry beside it."""

    device: str
    edges: list[tuple[int, int]]
    readings: list[Telemetry]


def _commands(events: Sequence[Event]) -> list[list[Event]]:
    """Split a journal where the run was continued: the monotonic clock of another boot is another clock."""
    parts: list[list[Event]] = [[]]
    for event in events:
        if isinstance(event, Started):
            parts.append([])
        parts[-1].append(event)
    return parts


def _waves(events: Sequence[Event], trials: set[str]) -> list[_Wave]:
    """The square waves of one command that were closed as right."""
    telemetry = sorted((e for e in events if isinstance(e, Telemetry)), key=lambda line: line.t_ns)
    waves = []
    opened: Opened | None = None
    edges: list[tuple[int, int]] = []
    for event in events:
        if isinstance(event, Opened):
            opened, edges = event, []
        elif isinstance(event, Sample) and opened is not None and opened.trial in trials:
            edges.append((event.t_ns - round(event.host_s * 1e9), event.t_ns))
        elif isinstance(event, Closed):
            if opened is not None and event.trial == opened.trial and event.status == "done" and edges:
                waves.append(_Wave(opened.device, edges, [r for r in telemetry if r.device == opened.device]))
            opened, edges = None, []
    return waves
