"""How each figure was obtained, and on what: trials, verification, clocks, distributions, and the inventory."""

import msgspec

from effbench.model.inventory import Accelerator, Inventory
from effbench.model.plan import Trial
from effbench.model.record import Measurement, Record
from effbench.report import format, words

MODES = {
    "sustained": "sustained: device kept busy, buffers rotated",
    "burst": "burst: cache flushed and a gap before each repetition",
    "latency": "latency: repetitions timed one by one",
    "once": "one pass to its end",
}


class TrialView(msgspec.Struct, frozen=True):
    """One trial and what became of it. `details` are labelled facts, longest last."""

    id: str
    label: str
    device: str
    word: str
    sign: str
    tone: str
    step: str
    relative: str
    samples: str
    verified: str
    verified_tone: str
    note: str
    details: list[tuple[str, str]]


class SpreadView(msgspec.Struct, frozen=True):
    """The distribution of one trial's step times, relative to their median, with each round's own median."""

    label: str
    device: str
    step: str
    relative: str
    quantiles: dict[str, float]
    rounds: list[float]


class DeviceFacts(msgspec.Struct, frozen=True):
    """One device of the inventory as labelled facts."""

    key: str
    name: str
    facts: list[tuple[str, str]]


def label(trial_id: str) -> str:
    """Shorten a trial's id for display: its device is shown apart."""
    return trial_id.rsplit("@", 1)[0]


def _verified(measurement: Measurement) -> tuple[str, str]:
    verify = measurement.verify
    if verify is None:
        return "not verified", "none"
    error, tolerance = format.scientific(verify.error), format.scientific(verify.tolerance)
    if not verify.ok:
        return f"WRONG: error {error} > {tolerance}. {verify.detail}".strip(), "bad"
    bits = {True: ", same bits", False: ", bits differ", None: ""}[verify.bit_identical]
    return f"error {error} ≤ {tolerance}{bits}", "good"


def _work(trial: Trial) -> str:
    """Write what one repetition must do."""
    work = trial.work
    parts = [
        (work.flop, format.quantity(work.flop, "flop")),
        (work.memory_bytes, f"{format.quantity(work.memory_bytes, 'byte')} moved"),
        (work.link_bytes, f"{format.quantity(work.link_bytes, 'byte')} over the link"),
        (work.items, f"{work.items:,.0f} tokens"),
    ]
    return ", ".join(text for amount, text in parts if amount)


def _clock(measurement: Measurement) -> str:
    clock = measurement.clock_hz
    if clock is None:
        return ""
    return f"{format.quantity(clock.p50, 'Hz')} median, {format.quantity(clock.p5, 'Hz')} at the 5th percentile"


def _power(measurement: Measurement) -> str:
    power = measurement.power_w
    parts = [f"{format.quantity(power.mean, 'W')} mean, {format.quantity(power.p99, 'W')} p99"] if power else []
    if measurement.energy is not None and measurement.energy.energy is not None:
        parts.append(f"{format.quantity(measurement.energy.energy.value, 'J')} over its energy windows")
    if measurement.temperature_max_degc is not None:
        parts.append(f"at most {format.quantity(measurement.temperature_max_degc, 'degC')}")
    return ", ".join(parts)


def _details(trial: Trial | None, measurement: Measurement) -> list[tuple[str, str]]:
    rounds = ", ".join(f"{format.duration(r.step_s)}" for r in measurement.rounds if r.step_s is not None)
    interval = measurement.interval
    facts = {name: value for name, value in measurement.facts.items() if not name.startswith("_")}
    found = [
        ("Parameters", format.params(trial.params) if trial else ""),
        ("Work per step", _work(trial) if trial else ""),
        ("Protocol", MODES.get(trial.procedure.mode, trial.procedure.mode) if trial else ""),
        ("Round medians", rounds),
        ("Interval", f"{format.percent(interval.level, 2)}, {interval.method}" if interval else ""),
        ("Drift", "" if measurement.drift is None else f"{format.points(measurement.drift)} over the window"),
        ("Clock held", _clock(measurement)),
        ("Power and heat", _power(measurement)),
        ("Held back by", ", ".join(measurement.throttle_reasons)),
        ("Reported", ", ".join(f"{name} {value:,.6g}" for name, value in facts.items())),
        *measurement.texts.items(),
        ("Trial key", trial.trial_key if trial else ""),
    ]
    return [(name, text) for name, text in found if text]


def trials(record: Record) -> list[TrialView]:
    """Write every trial of the record, in the order of the plan."""
    by_id = {trial.id: trial for trial in record.plan.trials}
    alone = len(record.plan.devices) < 2
    views = []
    for m in record.measurements:
        word, sign, tone = words.STATUSES[m.status]
        verified, verified_tone = _verified(m) if m.status != "skipped" else ("", "none")
        rejected = f", {m.n_rejected} rejected" if m.n_rejected else ""
        trial = by_id.get(m.trial)
        emulated = "emulated: no hardware unit, so no peak applies" if trial and trial.emulated else ""
        views.append(
            TrialView(
                id=m.trial,
                label=label(m.trial),
                device="" if alone else m.device,
                word=word,
                sign=sign,
                tone=tone,
                step="" if m.step_s is None else format.measured(m.step_s.value, m.step_s.unit, m.interval),
                relative=format.relative(m.interval, m.step_s.value) if m.step_s else "",
                samples=f"{m.n_accepted:,} in {format.count(len(m.rounds), 'round')}{rejected}" if m.rounds else "",
                verified=verified,
                verified_tone=verified_tone,
                note="; ".join(note for note in (m.detail.removeprefix(f"{word}: "), emulated) if note),
                details=_details(trial, m),
            )
        )
    return views


def spreads(record: Record) -> list[SpreadView]:
    """Write the distribution of every trial that has one, the widest first."""
    alone = len(record.plan.devices) < 2
    views = []
    for m in record.measurements:
        middle = m.quantiles_s.get("50")
        if not middle or m.step_s is None or m.n_accepted < 2:
            continue
        views.append(
            SpreadView(
                label=label(m.trial),
                device="" if alone else m.device,
                step=format.duration(m.step_s.value),
                relative=format.relative(m.interval, m.step_s.value),
                quantiles={name: value / middle - 1 for name, value in m.quantiles_s.items()},
                rounds=[r.step_s / middle - 1 for r in m.rounds if r.step_s is not None],
            )
        )
    return sorted(views, key=lambda s: s.quantiles.get("5", 0) - s.quantiles.get("95", 0))


def _yes(flag: bool | None) -> str:
    return "" if flag is None else "on" if flag else "off"


def _cpu_facts(accelerator: Accelerator) -> list[tuple[str, str]]:
    cpu = accelerator.cpu
    if cpu is None:
        return []
    quota = "" if cpu.cgroup_quota_cores is None else f", quota {cpu.cgroup_quota_cores:g}"
    units = ("amx_bf16", "amx_int8", "avx512_bf16", "avx512_fp16", "avx512_vnni", "avx512f", "avx2", "sve", "asimd")
    return [
        ("Model", f"{cpu.model_name} (family {cpu.family}, model {cpu.model}, {cpu.isa})"),
        ("Cores", f"{cpu.cores_usable:g} usable of {cpu.cores_physical}, {cpu.threads_logical} threads{quota}"),
        ("Topology", "virtual: a hypervisor hides which cores are real" if cpu.virtual else "physical"),
        ("Nominal clock", "" if cpu.nominal_hz is None else format.quantity(cpu.nominal_hz, "Hz")),
        ("Governor", cpu.governor or ""),
        ("Units", ", ".join(unit for unit in units if unit in cpu.flags)),
    ]


def _power_limit(accelerator: Accelerator) -> str:
    limit, default = accelerator.power_limit_w, accelerator.power_limit_default_w
    if limit is None:
        return ""
    text = format.quantity(limit, "W")
    return text if default in (None, limit) else f"{text}, default {format.quantity(default or 0, 'W')}"


def pcie(accelerator: Accelerator) -> str:
    """Write the PCIe link as it is, and as it could be where that is more; empty where it is not known."""
    link = accelerator.pcie
    if link is None or link.generation is None:
        return ""
    text = f"gen {link.generation} x{link.width or '?'}"
    most = (link.generation_max, link.width_max)
    return (
        text if most in ((None, None), (link.generation, link.width)) else f"{text}, could be gen {most[0]} x{most[1]}"
    )


def nvlink(accelerator: Accelerator) -> str:
    """Write the NVLinks that are up, of how many, and where they end; empty without any."""
    link = accelerator.nvlink
    if link is None:
        return ""
    told = sum(link.peers.values()) + link.switched
    ends = [f"{link.switched} to a switch"] if link.switched else []
    ends += [f"{number} to {address}" for address, number in sorted(link.peers.items())]
    ends += [f"{link.active - told} to where is not told"] if link.active > told else []
    up = str(link.active) if link.active == link.links else f"{link.active} of {link.links}"
    return f"{up} up: {', '.join(ends)}" if ends else f"{up} up"


def _part(accelerator: Accelerator) -> str:
    part = accelerator.part
    return (
        "not in the catalogue"
        if part is None
        else f"{part.id} ({part.confidence} confidence; {part.source}, {part.as_of})"
    )


def device(accelerator: Accelerator) -> DeviceFacts:
    """Write one device of the inventory. What is unknown is left out."""
    a = accelerator
    known = [
        ("Catalogue row", _part(a)),
        *_cpu_facts(a),
        ("Memory", format.quantity(a.memory_bytes, "byte") if a.memory_bytes else ""),
        ("Last-level cache", format.quantity(a.llc_bytes, "byte") if a.llc_bytes else ""),
        ("Multiprocessors", "" if a.sm_count is None else str(a.sm_count)),
        ("Compute capability", a.compute_capability),
        ("Highest clock", "" if a.clock_max_hz is None else format.quantity(a.clock_max_hz, "Hz")),
        ("Power limit", _power_limit(a)),
        ("ECC", _yes(a.ecc)),
        ("MIG", _yes(a.mig)),
        ("Persistence mode", _yes(a.persistence)),
        ("NVLink", nvlink(a)),
        ("PCIe", pcie(a)),
        ("NUMA node", "" if a.numa is None else str(a.numa)),
        ("VBIOS", a.vbios),
        ("Serial", a.serial),
        ("UUID", a.uuid),
        ("PCI bus", a.pci_bus_id),
        ("Other processes", ", ".join(str(pid) for pid in a.other_pids)),
    ]
    return DeviceFacts(a.key, a.name, [(name, text) for name, text in known if text])


def node(inventory: Inventory) -> list[tuple[str, str]]:
    """Write the software and the host of the inventory. What is unknown is left out."""
    known = [
        ("Node", inventory.node),
        ("Operating system", inventory.os),
        ("Kernel", inventory.kernel),
        ("Host memory", format.quantity(inventory.host_memory_bytes, "byte") if inventory.host_memory_bytes else ""),
        ("Driver", inventory.driver),
        ("CUDA", inventory.cuda),
        ("torch", inventory.torch),
        ("NCCL", inventory.nccl),
        ("Python", inventory.python),
        ("Container", inventory.container_digest),
        *inventory.env.items(),
    ]
    return [(name, text) for name, text in known if text]


def provenance(record: Record) -> list[tuple[str, str]]:
    """Write the digests that tie the report to its evidence, and what effbench itself cost."""
    share = f" ({format.percent(record.measured_s / record.wall_s)} of the wall time)" if record.wall_s else ""
    return [
        ("effbench", f"{record.tool.version}, source {record.tool.source_digest}"),
        ("Record", record.digest),
        ("Journal", record.journal_digest),
        ("Plan", record.plan.digest),
        ("Suite", f"{record.plan.suite}, {record.plan.suite_digest}"),
        ("Catalogue", record.plan.catalog_digest),
        ("Seed", str(record.plan.seed)),
        ("Measuring", f"{format.duration(record.measured_s)}{share}" if record.measured_s else ""),
        ("Own overhead", format.duration(record.overhead_s) if record.overhead_s else ""),
        ("Outcome", record.outcome),
    ]
