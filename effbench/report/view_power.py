"""Power and energy as they are shown: figures per workload, the two idles, what is lost, and why a figure is absent."""

import re

import msgspec

from effbench.model.energy import Energy, Idle, Sensor
from effbench.model.record import Record
from effbench.report import format, view_sensors, words
from effbench.report.view_metrics import MetricView
from effbench.report.view_sensors import BudgetView, LedgerView, SensorView, energies, usable

# The figures of one workload, in the order in which they are read; the first that is there leads.
LEADS = ("flops_per_joule", "bytes_per_joule", "tokens_per_joule", "watts")
SHORT = {
    "watts": "Power",
    "flops_per_joule": "Work per energy",
    "bytes_per_joule": "Bytes per energy",
    "tokens_per_joule": "Tokens per energy",
    "joules_per_token": "Energy per token",
    "joules_per_step": "Energy per step",
    "fraction_of_limit": "Of the power limit",
    "energy_delay": "Energy × delay",
    "joules": "Energy",
}
NAMES = {
    "gemm": "GEMM",
    "stream": "Stream",
    "train_step": "Training step",
    "prefill": "Prefill",
    "decode": "Decode",
    "soak": "Soak",
    "attention": "Attention",
}
APART = ("power.idle", "power.device", "power.held")
BATCH = re.compile(r"b(\d+)")
NO_RECORD = "The sensors, windows and ledgers are in the record of the run: `effbench report` on the run folder."
NOT_SENSED = "This run took no inventory of power sensors."
NOT_SENSED_DO = "Measure again with this version of effbench."
NO_WINDOW = "a sensor reads, but no trial of this run was long enough to be an energy window"
NO_WINDOW_DO = "Run `node/standard` (10 s windows) or `node/full` (60 s windows)."
NO_REASON = "no reason was recorded"
LIMITS = {
    "sw_power_cap": "power limit",
    "hw_slowdown": "hardware slowdown",
    "sync_boost": "held to the clock of other GPUs",
    "sw_thermal_slowdown": "temperature (driver)",
    "hw_thermal_slowdown": "temperature (hardware)",
    "hw_power_brake_slowdown": "power brake from outside",
    "applications_clocks_setting": "clocks set by the administrator",
    "gpu_idle": "nothing to do",
}


class WorkloadPower(msgspec.Struct, frozen=True):
    """The figures of one workload; `lead` is the first of `figures`."""

    title: str
    lead: MetricView
    figures: list[tuple[str, MetricView]]
    trust: str
    trust_tone: str
    trust_text: str
    facts: list[tuple[str, str]]
    flag: str


class Absence(msgspec.Struct, frozen=True):
    """Why there is no figure, for what, and what to do."""

    what: str
    word: str
    tone: str
    reason: str
    remedy: str


class IdleView(msgspec.Struct, frozen=True):
    """One of the two idles of one device; without a figure, why."""

    title: str
    device: str
    meaning: str
    text: str
    note: str
    reason: str
    remedy: str


class HeldView(msgspec.Struct, frozen=True):
    """Time and energy under one clock-event reason on one device, over all energy windows."""

    reason: str
    device: str
    seconds: str
    share: str
    joules: str


class PowerView(msgspec.Struct, frozen=True):
    """Everything on the power page that is not money. `absences` is never empty when there is no figure."""

    workloads: list[WorkloadPower]
    absences: list[Absence]
    idles: list[IdleView]
    proportionality: MetricView | None
    held: list[HeldView]
    sensors: list[SensorView]
    ledgers: list[LedgerView]
    budgets: list[BudgetView]
    note: str


def workload_title(stem: str) -> str:
    """Write `power.decode.b8` as `Decode, batch 8` and `power.gemm.bf16` as `GEMM bf16`."""
    parts = stem.split(".")[1:]
    written = NAMES.get(parts[0], parts[0]) if parts else stem
    for part in parts[1:]:
        batch = BATCH.fullmatch(part)
        written += f", batch {batch.group(1)}" if batch else f" {part}"
    return written


def _resting(rows: list[MetricView], record: Record | None) -> list[Energy]:
    """Find the energies that a workload's figures rest on."""
    trials = {trial for row in rows for trial in row.evidence}
    found = [m.energy for m in (record.measurements if record else []) if m.trial in trials and m.energy is not None]
    return [energy for energy in found if usable(energy)]


def _net(energy: Energy) -> str:
    if energy.net is None or energy.energy is None or energy.idle_w is None:
        return ""
    idle = f"{energy.idle_name} idle of {format.quantity(energy.idle_w, 'W')}".strip()
    net, gross = (format.quantity(q.value, q.unit) for q in (energy.net, energy.energy))
    return f"{net} of {gross} above the {idle}"


def _facts(mine: list[Energy]) -> list[tuple[str, str]]:
    """Write what the figures rest on: window, sensor, limit; only what is the same on every device is said once."""
    windows = dict.fromkeys(f"{format.duration(e.window_s)} in {format.count(e.windows, 'window')}" for e in mine)
    heat = [t for e in mine for t in e.temperature_degc]
    known = [
        ("Window", "; ".join(windows)),
        ("Sensor", ", ".join(dict.fromkeys(e.sensor for e in mine if e.sensor))),
        ("Temperature", f"{min(heat):.0f} to {max(heat):.0f} °C" if heat else ""),
        ("Net, as an extra", "; ".join(dict.fromkeys(text for e in mine if (text := _net(e))))),
    ]
    return [(name, text) for name, text in known if text]


def _workloads(rows: list[MetricView], record: Record | None) -> list[WorkloadPower]:
    """Group the figures by workload. A figure that is not valid or suspect is not among them."""
    stems: dict[str, dict[str, MetricView]] = {}
    for row in rows:
        if row.domain == "power" and not row.stem.startswith(APART) and row.word in ("valid", "suspect"):
            stems.setdefault(row.stem, {})[row.key.rpartition(".")[2]] = row
    views = []
    for stem, mine in stems.items():
        order = [*LEADS, *SHORT, *mine]
        figures = [(SHORT.get(name, mine[name].title), mine[name]) for name in dict.fromkeys(order) if name in mine]
        resting = _resting(list(mine.values()), record)
        trust = max((energy.trust for energy in resting if energy.trust), default="")
        text, tone = words.TRUSTS.get(trust, ("", "none"))
        flags = ["suspect"] if any(row.word == "suspect" for row in mine.values()) else []
        flags += ["capped"] if any(energy.capped for energy in resting) else []
        lead, facts = figures[0][1], _facts(resting)
        views.append(WorkloadPower(workload_title(stem), lead, figures, trust, tone, text, facts, ", ".join(flags)))
    return views


def _absent_energies(record: Record) -> list[Absence]:
    """Collect the energies without a figure, those of one reason together."""
    grouped: dict[tuple[str, str, str], list[str]] = {}
    for title, energy in energies(record):
        if not usable(energy):
            status = energy.status if energy.status in ("absent", "invalid") else "absent"
            grouped.setdefault((status, energy.reason, energy.remedy), []).append(f"{title} on {energy.device}")
    return [
        Absence(_several(whats), *words.ENERGIES[status][::2], format.sentence(why or NO_REASON), format.sentence(do))
        for (status, why, do), whats in grouped.items()
    ]


def _several(whats: list[str]) -> str:
    shown = ", ".join(whats[:3])
    return shown if len(whats) <= 3 else f"{shown} and {len(whats) - 3} more"


def _device_absence(device: str, mine: list[Sensor]) -> list[Absence]:
    """Say of one device why it has no figure: each absent sensor, or that nothing was long enough."""
    what = "The node's meter" if device == "node" else device
    if any(not sensor.absent for sensor in mine):
        return [Absence(what, "absent", "none", format.sentence(NO_WINDOW), NO_WINDOW_DO)]
    grouped: dict[tuple[str, str], list[str]] = {}
    for sensor in mine:
        grouped.setdefault((sensor.absent, sensor.remedy), []).append(sensor.key.rpartition(".")[2])
    return [
        Absence(f"{what} ({', '.join(names)})", "absent", "none", format.sentence(why), format.sentence(do))
        for (why, do), names in grouped.items()
    ]


def _absences(record: Record | None, figures: bool) -> list[Absence]:
    """Say why figures are missing: of every window without one, and of every device that has none at all."""
    if record is None:
        return [] if figures else [Absence("Power", "absent", "none", NO_RECORD, "")]
    found = _absent_energies(record)
    told = {energy.device for _, energy in energies(record)}
    shown = {energy.device for _, energy in energies(record) if usable(energy)}
    for device in [key for key in [*record.plan.devices, "node"] if key not in shown]:
        mine = [sensor for sensor in record.sensors if sensor.device == device]
        if device == "node":
            found += _device_absence(device, mine) if any(sensor.absent for sensor in mine) else []
        elif not mine:
            found += [] if device in told else [Absence(device, "absent", "none", NOT_SENSED, NOT_SENSED_DO)]
        elif device not in told or all(sensor.absent for sensor in mine):
            found += _device_absence(device, mine)
    return _merged(found)


def _merged(found: list[Absence]) -> list[Absence]:
    """Say a reason once for everything that it holds for."""
    grouped: dict[tuple[str, str, str, str], list[str]] = {}
    for absence in found:
        grouped.setdefault((absence.word, absence.tone, absence.reason, absence.remedy), []).append(absence.what)
    return [Absence(", ".join(dict.fromkeys(whats)), *rest) for rest, whats in grouped.items()]


IDLES = {
    "bare": "no program has the device open",
    "context": "a program has the device open and does nothing",
}


def _idle(idle: Idle) -> IdleView:
    energy = idle.energy
    shown = energy.power if usable(energy) else None
    since = "the last program closed it" if idle.name == "bare" else "it was opened"
    settled = "" if idle.settled_s is None else f", {format.duration(idle.settled_s)} after {since}"
    trust = f", trust {energy.trust}" if energy.trust else ""
    return IdleView(
        title=f"{idle.name.capitalize()} idle",
        device=idle.device,
        meaning=IDLES[idle.name],
        text="" if shown is None else format.measured(shown.value, shown.unit, energy.power_interval),
        note="" if shown is None else f"over {format.duration(energy.window_s)}{settled}{trust}",
        reason="" if shown is not None else format.sentence(energy.reason or NO_REASON),
        remedy="" if shown is not None else format.sentence(energy.remedy),
    )


def _held(record: Record) -> list[HeldView]:
    """Sum time and energy per device and reason over the windows that have a figure, as the metrics do.

    Joules are shown only where every one of these windows knows them.
    """
    whole: dict[str, float] = {}
    seconds: dict[tuple[str, str], float] = {}
    joules: dict[tuple[str, str], float | None] = {}
    for energy in [m.energy for m in record.measurements if m.energy is not None and usable(m.energy)]:
        whole[energy.device] = whole.get(energy.device, 0.0) + energy.window_s
        for held in energy.held:
            key = (energy.device, held.reason)
            seconds[key] = seconds.get(key, 0.0) + held.seconds
            before = joules.get(key, 0.0)
            joules[key] = None if before is None or held.joules is None else before + held.joules
    return [
        HeldView(
            reason=LIMITS.get(reason, reason),
            device=device,
            seconds=format.duration(spent),
            share=format.percent(min(spent / whole[device], 1.0)) if whole[device] else "",
            joules="" if (lost := joules[device, reason]) is None else format.quantity(lost, "J"),
        )
        for (device, reason), spent in sorted(seconds.items(), key=lambda item: -item[1])
    ]


def power_view(rows: list[MetricView], record: Record | None) -> PowerView:
    """Lay out the power page from the rows of the scorecard and, where it is at hand, the record."""
    workloads = _workloads(rows, record)
    return PowerView(
        workloads=workloads,
        absences=_absences(record, bool(workloads)),
        idles=[_idle(idle) for idle in record.idle] if record else [],
        proportionality=next((row for row in rows if row.key == "power.device.proportionality"), None),
        held=_held(record) if record else [],
        sensors=view_sensors.sensors(record) if record else [],
        ledgers=view_sensors.ledgers(record) if record else [],
        budgets=view_sensors.budgets(record) if record else [],
        note="" if record else NO_RECORD,
    )
