"""Joins a wall meter's log to what was recorded: to a command that was just run, or to a run's journal."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from effbench.energy import meter_clock
from effbench.energy.meter import Meter, read_log
from effbench.model.energy import Sensor
from effbench.model.error import InputError
from effbench.model.event import Ended, Event, Noted, Sensed, Started, Telemetry, Window
from effbench.model.finding import Finding
from effbench.run import journal
from effbench.run.metered import Metered, figures

__all__ = ["add_to_command", "add_to_run"]

# A logger that writes through once a second or two; one that buffers longer gives no figure here.
TAIL_S = 5.0


def add_to_command(done: Metered, log: Path, uncertainty: str | None) -> Metered:
    """Return `done` with the meter's card, its readings during the command, and the figures that follow.

    Raises:
        InputError: the log has mistakes (CatalogError), its clock is off or unknown, or it has nothing of the command.
    """
    start_ns, end_ns = done.window
    meter = _caught_up(log, uncertainty, done.utc_ns + end_ns - start_ns)
    anchor = meter_clock.Anchor(start_ns, done.utc_ns, end_ns)
    if not meter_clock.overlaps(meter, anchor):
        raise InputError(f"{log}: the log has no two readings while the command ran; {_span(meter)}")
    checked = meter_clock.check_clock(meter, anchor, done.readings)
    window = Window(end_ns, start_ns, "node", "command")
    joined = msgspec.structs.replace(
        done,
        sensors=[*done.sensors, meter.sensor],
        readings={**done.readings, "node": meter_clock.joined(meter, anchor, [window])},
        findings=[*done.findings, *meter.findings, checked],
    )
    return msgspec.structs.replace(joined, energies=figures(joined))


def _caught_up(log: Path, uncertainty: str | None, end_utc_ns: int) -> Meter:
    """Read a log that is still being written, once it holds the end of the command; or as it is after a few seconds."""
    deadline = time.monotonic() + TAIL_S
    meter = read_log(log, uncertainty)
    while meter.points[-1].utc_ns < end_utc_ns and time.monotonic() < deadline:
        time.sleep(TAIL_S / 10)
        meter = read_log(log, uncertainty)
    return meter


def add_to_run(source: Path, log: Path, target: Path, uncertainty: str | None) -> int:
    """Copy the journal at `source` to `target` with the meter's card and readings; return how many were added.

    Raises:
        InputError: the log has mistakes (CatalogError), its clock is off or unknown, it does not overlap with the run,
            or the run has a meter already or was recorded before runs noted their time exactly.
        OutputError: the copy cannot be written.
    """
    whole = journal.read(source)
    meter = read_log(log, uncertainty)
    added = _merged(whole.events, meter, source)
    lost = [
        Noted(whole.events[0].t_ns, Finding("record-truncated", "error", f"the journal was damaged ({text})"))
        for text in whole.damage
    ]
    journal.copy(target, [*added[:1], *lost, *added[1:]])
    return sum(isinstance(event, Telemetry) and event.device == "node" for event in added)


def _merged(events: Sequence[Event], meter: Meter, source: Path) -> list[Event]:
    """Put the card and the readings at the end of each part of the journal (a resumed run has several)."""
    cards = {card.key: card for event in events if isinstance(event, Sensed) for card in event.sensors}
    if meter.sensor.key in cards and not cards[meter.sensor.key].absent:
        raise InputError(f"{source}: this run has a meter already; add the log to the run that it was made from")
    parts = _parts(events)
    anchors = [_anchor(part) for part in parts]
    if not any(anchors):
        raise InputError(f"{source}: this run did not note its time exactly, so no log can be joined to it; run again")
    merged: list[Event] = []
    found = False
    for part, anchor in zip(parts, anchors, strict=True):
        ended = part[-1:] if isinstance(part[-1], Ended) else []
        merged += part[: len(part) - len(ended)]
        if anchor is not None and meter_clock.overlaps(meter, anchor):
            merged += _joined(
                part,
                anchor,
                meter,
                [] if found else meter.findings,
                [card for card in cards.values() if card.key != meter.sensor.key],
            )
            found = True
        merged += ended
    if not found:
        raise InputError(f"{meter.path}: the log and the run do not overlap; {_span(meter)}")
    return merged


def _parts(events: Sequence[Event]) -> list[list[Event]]:
    parts: list[list[Event]] = []
    for event in events:
        if isinstance(event, Started) or not parts:
            parts.append([])
        parts[-1].append(event)
    return parts


def _anchor(part: Sequence[Event]) -> meter_clock.Anchor | None:
    first = part[0]
    if not isinstance(first, Started) or not first.utc_ns:
        return None
    return meter_clock.Anchor(first.t_ns, first.utc_ns, max(event.t_ns for event in part))


def _joined(
    part: Sequence[Event], anchor: meter_clock.Anchor, meter: Meter, told: Sequence[Finding], cards: Sequence[Sensor]
) -> list[Event]:
    """Return what the meter adds to one part: its card beside the others, its readings, and what was found."""
    readings: dict[str, list[Telemetry]] = {}
    for event in part:
        if isinstance(event, Telemetry):
            readings.setdefault(event.device, []).append(event)
    checked = meter_clock.check_clock(meter, anchor, readings)
    windows = [event for event in part if isinstance(event, Window)]
    sensed = Sensed(anchor.end_ns, [*cards, meter.sensor])
    noted = [Noted(anchor.end_ns, finding) for finding in (*told, checked)]
    return [sensed, *meter_clock.joined(meter, anchor, windows), *noted]


def _span(meter: Meter) -> str:
    """Say which time the log covers, by its own clock, for a person who compares."""
    ends = [datetime.fromtimestamp(meter.points[i].utc_ns * 1e-9, UTC).isoformat(timespec="seconds") for i in (0, -1)]
    return f"it covers {ends[0]} to {ends[1]}; is its time zone right?"
