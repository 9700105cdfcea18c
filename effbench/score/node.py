"""A record to the scorecard of its node: metrics per device, the node's aggregate, coverage, waterfalls. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from effbench.catalog.metrics import lookup
from effbench.model.finding import Finding
from effbench.model.inventory import Accelerator
from effbench.model.quantity import Ceiling, Quantity
from effbench.model.record import USABLE, Measurement, Record
from effbench.model.scaling import ScalingView
from effbench.model.scorecard import DeviceCard, Metric, Scorecard, Waterfall
from effbench.model.site import SiteFacts
from effbench.model.unit import Unit
from effbench.score.chain import chain
from effbench.score.derive import Derived, Source, against_reference, derive, fractions
from effbench.score.economics import economics
from effbench.score.identity import identity
from effbench.score.power import power
from effbench.score.quality import to_quality
from effbench.score.scaling import scaling
from effbench.score.stability import planned, settled, steadiness
from effbench.score.waterfall import many_devices, of_teams, waterfall

READ_BANDWIDTH = "memory.stream.read.bandwidth"


def score(record: Record, facts: SiteFacts | None = None) -> Scorecard:
    """Turn one record into its scorecard. The same record and site give the same scorecard, byte for byte.

    `facts` are the site's own figures (PUE, utilisation, price, tariff); what it does not say stays unknown.
    """
    findings = list(record.findings)
    for measurement in record.measurements:
        findings += [f for f in measurement.findings if f not in findings]
    derived = _derived(record, findings)
    headlines = _headlines(derived)
    per_device = _with_shares([*derived, *headlines, *settled(record, findings)], findings)
    per_device += steadiness(record, per_device)
    per_device += _checked_power(record, per_device)
    per_device += to_quality(record, findings)
    teams, view = scaling(record, findings)
    per_device += teams
    per_device += _health(record)
    accelerators = _accelerators(record)
    metrics = [*_aggregates(per_device, record.plan.devices), *per_device]
    gemms = [*derived, *headlines]
    falls = [fall for key in record.plan.devices if (fall := waterfall(gemms, key)) is not None]
    money = economics(per_device, record, facts) if facts is not None else None
    return Scorecard(
        schema="effbench.scorecard/1",
        subject=_subject(record),
        node=record.inventory_before.node,
        device_class=accelerators[record.plan.devices[0]].kind,
        devices=[_card(accelerators[key]) for key in record.plan.devices],
        metrics=sorted(metrics, key=lambda m: (m.key, m.device or "")),
        coverage=_coverage(record.measurements),
        findings=_unique(findings),
        record_digests=[record.digest],
        suite=record.plan.suite,
        started_at=record.started_at,
        waterfalls=_shown(record, falls, teams, view),
        chains=[chain(fall, per_device, facts, money) for fall in falls],
        economics=money,
        outcome=record.outcome,
        simulated=record.simulated,
        ended_at=record.ended_at,
        scaling=view,
        planned=planned(record.plan),
        identity=identity(record.inventory_before),
    )


def _shown(
    record: Record, falls: Sequence[Waterfall], teams: Sequence[Metric], view: ScalingView | None
) -> list[Waterfall]:
    """The waterfalls with their bar of many devices. The chain has a link of its own for it, and starts without."""
    if falls or view is None:
        return [many_devices(fall, teams) for fall in falls]
    alone = of_teams(view.curves, {t.id: t for t in record.plan.trials})
    return [alone] if alone is not None else []


def _accelerators(record: Record) -> dict[str, Accelerator]:
    return {a.key: a for a in record.inventory_before.accelerators}


def _card(accelerator: Accelerator) -> DeviceCard:
    part = accelerator.part
    return DeviceCard(
        key=accelerator.key,
        kind=accelerator.kind,
        name=accelerator.name,
        part=part.id if part else None,
        part_title=part.title if part else "",
        part_confidence=part.confidence if part else "",
        simulated=accelerator.simulated,
    )


def _subject(record: Record) -> Literal["node", "device"]:
    """`node` when every GPU that the driver lists was measured, or the CPU of a machine without one."""
    listed = {a.key for a in record.inventory_before.accelerators if a.kind == "gpu"} or {"cpu"}
    return "node" if listed <= set(record.plan.devices) else "device"


def _derived(record: Record, findings: list[Finding]) -> list[Derived]:
    accelerators = _accelerators(record)
    trials = {t.id: t for t in record.plan.trials}
    usable = [m for m in record.measurements if m.status in USABLE]
    sources = [Source(trials[m.trial], m, accelerators[m.device]) for m in usable]
    reads = {
        s.accelerator.key: Ceiling(
            s.trial.work.memory_bytes / s.measurement.step_s.value,
            Unit.BYTE_PER_S,
            f"read bandwidth measured in the same run ({s.trial.id})",
            record.started_at[:10],
            protocol="sustained",
        )
        for s in sources
        if s.measurement.step_s is not None and any(o.key == READ_BANDWIDTH for o in s.trial.outputs)
    }
    derived: list[Derived] = []
    # The same figure may come from two trials: rounds of fresh processes count more than one long energy window.
    sources.sort(key=lambda s: -sum(r.status == "done" for r in s.measurement.rounds))
    seen: set[tuple[str, str | None]] = set()
    for source in sources:
        found = derive(msgspec.structs.replace(source, measured_read=reads.get(source.accelerator.key)), findings)
        if source.trial.scope != "device":  # a figure of the ranks together, of no single device
            found = [msgspec.structs.replace(d, metric=msgspec.structs.replace(d.metric, device=None)) for d in found]
        derived += [d for d in found if (d.metric.key, d.metric.device) not in seen]
        seen |= {(d.metric.key, d.metric.device) for d in found}
    return derived


def _headlines(derived: Iterable[Derived]) -> list[Derived]:
    """The best of the fixed shapes per device, by median, under the headline's key; its shape stays in `params`."""
    groups: dict[tuple[str, str], list[Derived]] = defaultdict(list)
    for item in derived:
        if item.output.headline and item.output.headline != item.metric.key:
            groups[item.output.headline, item.source.accelerator.key].append(item)
    best = []
    for (key, _), items in groups.items():
        sign = -1 if items[0].metric.better == "lower" else 1
        top = max(items, key=lambda d: sign * d.metric.quantity.value)
        metric = msgspec.structs.replace(top.metric, key=key)
        best.append(msgspec.structs.replace(top, metric=metric))
    return best


def _with_shares(derived: Iterable[Derived], findings: list[Finding]) -> list[Metric]:
    metrics: list[Metric] = []
    for item in derived:
        shares = fractions(item, findings)
        against = against_reference(item, shares, findings)
        family = [item.metric, *shares, *([against] if against is not None else [])]
        if any(m.status == "invalid" for m in shares):  # faster than possible: nothing of it may be graded
            family = [msgspec.structs.replace(m, status="invalid") for m in family]
        metrics += family
    seen: dict[tuple[str, str | None], Metric] = {}
    for metric in metrics:
        seen.setdefault((metric.key, metric.device), metric)
    return list(seen.values())


def _checked_power(record: Record, others: Sequence[Metric]) -> list[Metric]:
    """Power metrics; those of a trial that was faster than its units can be are as invalid as its speed."""
    impossible = {trial for metric in others if metric.status == "invalid" for trial in metric.evidence}
    return [
        msgspec.structs.replace(metric, status="invalid") if impossible & set(metric.evidence) else metric
        for metric in power(record)
    ]


def _health(record: Record) -> list[Metric]:
    """Counts that hard gates look at: wrong results, lost devices, and the driver's error counters over the run."""
    metrics = []
    for key in record.plan.devices:
        mine = [m for m in record.measurements if m.device == key and m.status != "skipped"]
        verified = [m for m in mine if m.verify is not None]
        counts: dict[str, float] = {}
        if verified:
            counts["health.wrong_results"] = float(sum(not m.verify.ok for m in verified if m.verify is not None))
        for name, value in record.health.get(key, {}).items():
            counts[f"health.{name}"] = value
        for name, value in counts.items():
            row = lookup(name)
            if row is None:
                continue
            metrics.append(
                Metric(name, Quantity(value, row.unit), row.better, "valid", [m.trial for m in mine], device=key)
            )
    return metrics


def _aggregates(metrics: Sequence[Metric], devices: Sequence[str]) -> list[Metric]:
    """The node's figure for each key: its worst device, with the spread. Absent when a device has none."""
    by_key: dict[str, list[Metric]] = defaultdict(list)
    for metric in metrics:
        by_key[metric.key].append(metric)
    return [_worst(group) for group in by_key.values() if {m.device for m in group} == set(devices)]


def _worst(group: Sequence[Metric]) -> Metric:
    sign = -1 if group[0].better == "lower" else 1
    unusable = [m for m in group if m.status not in USABLE]
    worst = unusable[0] if unusable else min(group, key=lambda m: sign * m.quantity.value)
    params = {**worst.params, "worst_device": worst.device}
    values = [m.quantity.value for m in group]
    if len(values) > 1 and min(values) > 0:
        params["spread"] = max(values) / min(values) - 1
    return msgspec.structs.replace(worst, device=None, params=params)


def _coverage(measurements: Sequence[Measurement]) -> float:
    """Valid or suspect trials over planned ones; what does not apply to the device was not planned on it."""
    planned = [m for m in measurements if m.status != "skipped"]
    return sum(m.status in USABLE for m in planned) / len(planned) if planned else 0.0


def _unique(findings: Iterable[Finding]) -> list[Finding]:
    rank = {"error": 0, "warning": 1, "info": 2}
    unique: list[Finding] = []
    for finding in findings:
        if finding not in unique:
            unique.append(finding)
    return sorted(unique, key=lambda f: rank[f.severity])
