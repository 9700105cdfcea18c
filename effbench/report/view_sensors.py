"""Why a figure of power can be believed: sensor cards, the ledger that reconciles them, the uncertainty budget.

A figure is written only of an energy that is `valid` or `suspect`; an `invalid` one keeps what its sensors said, as
evidence of the disagreement, and no figure.
"""

import msgspec

from effbench.model.energy import Energy, LedgerRow, Sensor
from effbench.model.record import Record
from effbench.report import format, words
from effbench.report.view_evidence import label

KINDS = {"counter": "energy counter", "instant": "instant power", "average": "average power", "meter": "meter"}
SCOPES = {
    "gpu": "the whole GPU board",
    "module": "the whole module: GPU, CPU and memory on it",
    "hbm": "the GPU's memory only",
    "package": "the CPU package",
    "dram": "the host's memory",
    "node": "the whole node, at the wall or the rack's meter",
}
COMPONENTS = {
    "sensor": "sensor class",
    "window": "window",
    "granularity": "granularity",
    "spread": "spread of trials",
    "calibration": "calibration",
}

NEGLIGIBLE = 1e-4


class SensorView(msgspec.Struct, frozen=True):
    """One sensor card. Absent ones have a reason and a remedy and nothing else."""

    key: str
    device: str
    title: str
    scope: str
    trust: str
    tone: str
    trust_text: str
    facts: list[tuple[str, str]]
    absent: str
    remedy: str


class LedgerLine(msgspec.Struct, frozen=True):
    """What one sensor says of the same window."""

    sensor: str
    what: str
    joules: str
    readings: str
    difference: str
    tolerance: str
    word: str
    tone: str
    note: str


class LedgerView(msgspec.Struct, frozen=True):
    """The reconciliation of one trial's window, with its verdict."""

    title: str
    device: str
    word: str
    sign: str
    tone: str
    window: str
    verdict: str
    remedy: str
    lines: list[LedgerLine]


class BudgetPart(msgspec.Struct, frozen=True):
    """One component of an interval: its half-width, and its part of the whole variance, 0 to 1."""

    name: str
    title: str
    text: str
    part: float


class BudgetView(msgspec.Struct, frozen=True):
    """Where the uncertainty of one figure comes from."""

    title: str
    device: str
    figure: str
    total: str
    parts: list[BudgetPart]


def usable(energy: Energy) -> bool:
    """Say whether a figure may be shown of this energy."""
    return energy.status in ("valid", "suspect") and energy.power is not None and energy.energy is not None


def energies(record: Record) -> list[tuple[str, Energy]]:
    """List every energy of a record with what it is of: the trials in the order of the plan, then the idles."""
    found = [(label(m.trial), m.energy) for m in record.measurements if m.energy is not None]
    return found + [(f"idle, {idle.name}", idle.energy) for idle in record.idle]


def windows_of(record: Record, device: str) -> list[tuple[str, Energy]]:
    """List the energies of one device that have slices, for the timeline."""
    return [(title, energy) for title, energy in energies(record) if energy.device == device and energy.slices]


def _seconds(value: float | None) -> str:
    return "unknown" if value is None else format.duration(value)


def _facts(sensor: Sensor) -> list[tuple[str, str]]:
    """Write what is known of a sensor; what is unknown says so, because a reader must not take it for granted."""
    basis = ", ".join(part for part in (sensor.basis, sensor.basis_source) if part)
    gain = "unknown" if sensor.uncertainty is None else f"± {format.percent(sensor.uncertainty, 2)} of the reading"
    calibrated = f"true = {sensor.gain:g} × read {'−' if sensor.offset_w < 0 else '+'} {abs(sensor.offset_w):g} W"
    step = "" if sensor.granularity_j is None else format.quantity(sensor.granularity_j, "J")
    known = [
        ("Read from", sensor.source),
        ("One reading averages", _seconds(sensor.window_s)),
        ("New value every", _seconds(sensor.update_s)),
        ("Sees", "unknown" if sensor.coverage is None else f"{format.percent(sensor.coverage)} of the time"),
        ("Behind the load by", _seconds(sensor.lag_s)),
        ("Least step", step or ("unknown" if sensor.kind == "counter" else "")),
        ("These are", basis),
        ("Against a meter", f"{gain}{f' ({sensor.uncertainty_source})' if sensor.uncertainty_source else ''}"),
        ("Calibration", f"{calibrated}, by the user" if sensor.calibrated else "none"),
    ]
    return [(name, text) for name, text in known if text]


def _trust(sensor: Sensor, known: list[tuple[str, Energy]]) -> tuple[str, str, str]:
    """Return letter, tone and one line: the least trust of the figures that rest on this sensor."""
    resting = [e.trust for _, e in known if e.sensor == sensor.key and usable(e) and e.trust is not None]
    if resting:
        letter = max(resting)
        return letter, words.TRUSTS[letter][1], words.TRUSTS[letter][0]
    if any(row.sensor == sensor.key and row.joules is not None for _, e in known for row in e.ledger):
        return "", "none", "no figure rests on it; it is held against the others in the ledger"
    return "", "none", "no figure of this run rests on it"


def sensors(record: Record) -> list[SensorView]:
    """Write every sensor card: those that read first, absent ones after them with reason and remedy."""
    known = energies(record)
    views = []
    for sensor in sorted(record.sensors, key=lambda s: bool(s.absent)):
        letter, tone, text = ("", "none", "") if sensor.absent else _trust(sensor, known)
        views.append(
            SensorView(
                key=sensor.key,
                device=sensor.device,
                title=KINDS[sensor.kind],
                scope=SCOPES[sensor.scope],
                trust=letter,
                tone=tone,
                trust_text=text,
                facts=[] if sensor.absent else _facts(sensor),
                absent=format.sentence(sensor.absent),
                remedy=format.sentence(sensor.remedy) if sensor.absent else "",
            )
        )
    return views


def _line(row: LedgerRow) -> LedgerLine:
    if row.joules is None:
        word, tone = "no reading", "none"
    elif row.primary:
        word, tone = "primary", "fair"
    elif row.difference is None or row.tolerance is None:
        word, tone = "not comparable", "none"
    elif abs(row.difference) <= row.tolerance:
        word, tone = "agrees", "good"
    else:
        word, tone = "disagrees", "bad"
    return LedgerLine(
        sensor=row.sensor,
        what=f"{KINDS[row.kind]}, {row.scope}",
        joules="" if row.joules is None else format.quantity(row.joules, "J"),
        readings=f"{row.readings:,}",
        difference="" if row.difference is None or row.primary else format.points(row.difference),
        tolerance="" if row.tolerance is None or row.primary else f"± {format.percent(row.tolerance, 2)}",
        word=word,
        tone=tone,
        note=row.note,
    )


def _verdict(lines: list[LedgerLine], energy: Energy) -> str:
    """Say in one sentence what the ledger showed; a reason of the energy itself comes first."""
    if energy.reason:
        return format.sentence(energy.reason)
    against = [line.sensor for line in lines if line.word == "agrees"]
    if against:
        return f"{format.count(len(against), 'other sensor')} {'agrees' if len(against) == 1 else 'agree'}."
    return "Nothing confirms it: a single sensor."


def ledgers(record: Record) -> list[LedgerView]:
    """Write the ledger of every window that has one, what is wrong first."""
    views = []
    for title, energy in energies(record):
        if not energy.ledger:
            continue
        word, sign, tone = words.ENERGIES[energy.status]
        lines = [_line(row) for row in energy.ledger]
        window = f"{format.duration(energy.window_s)} in {format.count(energy.windows, 'window')}"
        remedy = format.sentence(energy.remedy)
        verdict = _verdict(lines, energy)
        views.append(LedgerView(title, energy.device, word, sign, tone, window, verdict, remedy, lines))
    return sorted(views, key=lambda view: ("invalid", "suspect", "valid", "absent").index(view.word))


def _half_width(half: float) -> str:
    """Write a relative half-width; what is far below any other part is not written out to its last digit."""
    return format.percent(half, 2) if half >= NEGLIGIBLE else f"less than {format.percent(NEGLIGIBLE, 1)}"


def budgets(record: Record) -> list[BudgetView]:
    """Write the uncertainty budget of every figure, with each component's part of the variance."""
    views = []
    for title, energy in energies(record):
        power = energy.power
        if not usable(energy) or power is None or not energy.components:
            continue
        whole = sum(half**2 for half in energy.components.values())
        order = [*COMPONENTS, *sorted(set(energy.components) - set(COMPONENTS))]
        parts = [
            BudgetPart(name, COMPONENTS.get(name, name), _half_width(half), half**2 / whole if whole else 0.0)
            for name in order
            if (half := energy.components.get(name)) is not None
        ]
        figure = format.measured(power.value, power.unit, energy.power_interval)
        total = format.relative(energy.power_interval, power.value)
        views.append(BudgetView(title, energy.device, figure, total, parts))
    return views
