"""Journal to record: the same journal gives the same record, byte for byte, on any machine, without hardware."""

from collections.abc import Mapping, Sequence

import msgspec

from effbench.model.digest import digest
from effbench.model.error import DocumentError
from effbench.model.event import Closed, Ended, Event, Noted, Opened, Sample, Started, Telemetry
from effbench.model.finding import Finding
from effbench.model.plan import Plan
from effbench.model.record import Measurement, Record, TimelinePoint
from effbench.run.energies import Energies
from effbench.run.health import fault, health
from effbench.run.journal import Journal
from effbench.run.measurement import Take, measurement
from effbench.run.one_clock import one_clock
from effbench.run.wall_clock import jumps
from effbench.run.windows import Readings

TIMELINE_POINTS_MAX = 400


def build(journal: Journal) -> Record:
    """Make the record of a journal.

    Raises:
        DocumentError: the journal does not begin with its plan, so nothing in it can be understood.
    """
    events = one_clock(journal.events)
    starts = [e for e in events if isinstance(e, Started)]
    if not starts:
        raise DocumentError("the journal's first member (plan and inventory) is damaged: nothing can be salvaged")
    started, plan = starts[0], starts[-1].plan
    ended = _ended(events)
    readings = Readings(e for e in events if isinstance(e, Telemetry))
    takes = _takes(events)
    measured = _measured(started, plan, takes, readings)
    wall_s = _wall_s(events)
    seen: list[Finding] = []
    figures = _health(plan, measured, readings, wall_s, seen)
    faults = {device: fault(readings.of(device), figures.get(device, {})) for device in plan.devices}
    energies = Energies(events, started, plan, readings, faults)
    findings = [*plan.findings, *_noted(events), *_salvage(journal, ended), *energies.findings(), *seen]
    record = Record(
        schema="effbench.record/1",
        digest="",
        plan=plan,
        inventory_before=started.inventory,
        measurements=_with_energies(measured, plan, energies),
        started_at=started.started_at,
        tool=started.tool,
        journal_digest=journal.digest,
        outcome=ended.outcome if ended else "truncated",
        rounds_done=max((t.round + 1 for many in takes.values() for t in many), default=0),
        inventory_after=ended.inventory if ended else None,
        ended_at=ended.ended_at if ended else "",
        wall_s=wall_s,
        measured_s=_measured_s(events),
        overhead_s=ended.overhead_s if ended else 0.0,
        simulated=any(a.simulated for a in started.inventory.accelerators if a.key in plan.devices),
        health=figures,
        sensors=energies.sensors,
        idle=energies.idle,
        timeline=_timeline(started, readings, events),
        findings=findings,
    )
    return msgspec.structs.replace(record, digest=digest(record))


def _ended(events: Sequence[Event]) -> Ended | None:
    """The end of the last command; None when it was cut off."""
    last = next((e for e in reversed(events) if isinstance(e, Started | Ended)), None)
    return last if isinstance(last, Ended) else None


def _measured(
    started: Started, plan: Plan, takes: Mapping[str, Sequence[Take]], readings: Readings
) -> list[Measurement]:
    kinds = {a.key: a.kind for a in started.inventory.accelerators}
    return [measurement(t, kinds[t.placement.devices[0]], takes.get(t.id, []), readings) for t in plan.trials]


def _with_energies(measured: Sequence[Measurement], plan: Plan, energies: Energies) -> list[Measurement]:
    """Put the energy of each trial, and what was found about it, into its measurement."""
    whole = []
    for found, trial in zip(measured, plan.trials, strict=True):
        energy = energies.of(trial)
        if energy is not None:
            noted = [msgspec.structs.replace(f, device=found.device, trial=found.trial) for f in energy.findings]
            found = msgspec.structs.replace(found, energy=energy, findings=[*found.findings, *noted])
        whole.append(found)
    return whole


def _takes(events: Sequence[Event]) -> dict[str, list[Take]]:
    """Group the events by trial and round. A trial without its `Closed` was cut off and keeps what it has."""
    takes: dict[str, list[Take]] = {}
    opened: tuple[str, int] | None = None
    samples: list[Sample] = []
    findings: list[Finding] = []
    for event in events:
        if isinstance(event, Opened):
            if opened is not None:
                takes.setdefault(opened[0], []).append(Take(opened[1], samples, None, findings))
            opened, samples, findings = (event.trial, event.round), [], []
        elif isinstance(event, Sample):
            samples.append(event)
        elif isinstance(event, Noted) and event.finding.trial is not None:
            findings.append(event.finding)
        elif isinstance(event, Closed):
            takes.setdefault(event.trial, []).append(Take(event.round, samples, event, findings))
            opened, samples, findings = None, [], []
    if opened is not None:
        takes.setdefault(opened[0], []).append(Take(opened[1], samples, None, findings))
    return takes


def _noted(events: Sequence[Event]) -> list[Finding]:
    return [e.finding for e in events if isinstance(e, Noted) and e.finding.trial is None]


def _salvage(journal: Journal, ended: Ended | None) -> list[Finding]:
    findings = [
        Finding("record-truncated", "error", f"the journal is damaged ({text}); everything whole was kept")
        for text in journal.damage
    ]
    if ended is None:
        text = "the journal has no end: the run was killed or is still going; everything whole was kept"
        findings.append(Finding("record-truncated", "error", text))
    elif ended.outcome == "interrupted":
        findings.append(Finding("interrupted", "warning", "the run was interrupted; what was measured is kept"))
    return [*findings, *jumps(journal.events)]


def _wall_s(events: Sequence[Event]) -> float:
    """Seconds from start to end, added up over the commands that continued the run."""
    total, begin, last = 0.0, 0, 0
    for event in events:
        if isinstance(event, Started):
            total += (last - begin) / 1e9
            begin = last = event.t_ns
        last = max(last, event.t_ns)
    return total + (last - begin) / 1e9


def _measured_s(events: Sequence[Event]) -> float:
    """Seconds inside measured or soaking windows."""
    timed = sum(e.host_s for e in events if isinstance(e, Sample))
    return timed + sum(e.facts.get("soak_s", 0.0) for e in events if isinstance(e, Closed))


def _health(
    plan: Plan, measurements: Sequence[Measurement], readings: Readings, wall_s: float, findings: list[Finding]
) -> dict[str, dict[str, float]]:
    figures = {}
    for device in plan.devices:
        killed = any(r.status == "lost" for m in measurements if m.device == device for r in m.rounds)
        figures[device] = health(readings.of(device), wall_s, killed, findings)
    return {device: found for device, found in figures.items() if found}


def _timeline(started: Started, readings: Readings, events: Sequence[Event]) -> list[TimelinePoint]:
    """Thin telemetry for display, with the name of the trial that ran at each point."""
    opened = [(e.t_ns, e.trial) for e in events if isinstance(e, Opened)]
    points = []
    for device in readings.devices():
        of = readings.of(device)
        stride = max(1, -(-len(of) // TIMELINE_POINTS_MAX))
        for reading in of[::stride]:
            trial = next((name for t, name in reversed(opened) if t <= reading.t_ns), "")
            points.append(
                TimelinePoint(
                    round((reading.t_ns - started.t_ns) / 1e9, 3),
                    device,
                    reading.clock_hz,
                    reading.power_w,
                    reading.temperature_degc,
                    trial,
                )
            )
    return [*points, *_probed(started, events)]


def _probed(started: Started, events: Sequence[Event]) -> list[TimelinePoint]:
    """On a CPU the clock comes from the probe behind each timed block, not from telemetry."""
    device, points = "", []
    trial = ""
    for event in events:
        if isinstance(event, Opened):
            device, trial = event.device, event.trial
        elif isinstance(event, Sample) and event.clock_hz is not None:
            t_s = round((event.t_ns - started.t_ns) / 1e9, 3)
            points.append(TimelinePoint(t_s, device, clock_hz=event.clock_hz, trial=trial))
    return points[:: max(1, -(-len(points) // TIMELINE_POINTS_MAX))]
