"""What every format tells, decided once: verdict, reasons, waterfalls, chains, power, scaling, nodes, findings."""

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from effbench.model.grade import Grade
from effbench.model.record import Record
from effbench.model.scorecard import Scorecard
from effbench.report import (
    format,
    view_chain,
    view_cluster,
    view_metrics,
    view_money,
    view_power,
    view_scaling,
    words,
)
from effbench.report.view_chain import ChainView
from effbench.report.view_cluster import ClusterPage
from effbench.report.view_judged import (
    DomainView,
    FindingGroup,
    ReasonView,
    WaterfallView,
    domain_view,
    finding_groups,
    reason_view,
    waterfall_view,
)
from effbench.report.view_metrics import MetricView
from effbench.report.view_money import MoneyView
from effbench.report.view_power import PowerView
from effbench.report.view_scaling import ScalingPage

Document = TypeVar("Document", bound=msgspec.Struct)
CAUSES = {"fail": "What failed", "undecided": "What is undecided", "not_rated": "What is not rated, and why"}


UNMEASURED = "Absent: it was not measured."
UNMEASURED_JOINED = 3


class Cause(msgspec.Struct, frozen=True):
    """One thing that keeps the node from a plain pass."""

    what: str
    why: str
    next_step: str


class CauseGroup(msgspec.Struct, frozen=True):
    """The causes of one kind: failed, undecided, not rated."""

    title: str
    sign: str
    tone: str
    causes: list[Cause]


class View(msgspec.Struct, frozen=True):
    """A scorecard, its grade and its record, ready to be laid out. Every string is free of control characters."""

    card: Scorecard
    grade: Grade | None
    record: Record | None
    simulated: bool
    node: str
    hardware: str
    outcome: str
    word: str
    sign: str
    tone: str
    letter: str
    letter_tone: str
    summary: str
    notice: str
    facts: list[tuple[str, str]]
    causes: list[CauseGroup]
    waterfalls: list[WaterfallView]
    chains: list[ChainView]
    money: MoneyView | None
    power: PowerView
    scaling: ScalingPage | None
    cluster: ClusterPage | None
    gates: list[ReasonView]
    domains: list[DomainView]
    headline: list[MetricView]
    metrics: list[tuple[str, list[MetricView]]]
    findings: list[FindingGroup]


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    """Change every string in a tree of builtins, keys included."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {change(str(name)): _mapped(inner, change) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_mapped(inner, change) for inner in value]
    return value


def scrubbed(document: Document) -> Document:
    """Return the document with every string cleaned: names come from drivers and may hold anything."""
    return msgspec.convert(_mapped(msgspec.to_builtins(document), format.clean), type(document))


def spelled(view: View) -> View:
    """Return the view in plain ASCII, before it is laid out: `±` takes three cells there."""
    bare = msgspec.structs.replace(view, record=None)
    return msgspec.convert(_mapped(msgspec.to_builtins(bare), format.to_ascii), View)


def _hardware(card: Scorecard) -> str:
    """Name the devices: `2 × NVIDIA H200 SXM`."""
    named: dict[str, int] = {}
    for device in card.devices:
        title = device.part_title or device.name
        title = f"{device.name} ({title})" if device.part_title and device.kind == "cpu" else title
        named[title] = named.get(title, 0) + 1
    devices = ", ".join(f"{number} × {name}" if number > 1 else name for name, number in named.items()) or "no device"
    return f"{len(card.cluster.nodes):,} nodes, {devices}" if card.cluster else devices


def _facts(card: Scorecard, grade: Grade | None, record: Record | None) -> list[tuple[str, str]]:
    """What a reader must know to place the verdict: policy, coverage, when, how long, of what."""
    coverage = format.percent(card.coverage)
    if record is not None:
        states = [m.status for m in record.measurements if m.status != "skipped"]
        suspect = states.count("suspect")
        coverage += f" ({states.count('valid') + suspect} of {format.count(len(states), 'trial')}"
        coverage += f", {suspect} of them suspect)" if suspect else ")"
    policy = card.cluster.policy if card.cluster else ""
    facts = [("Policy", f"{grade.policy.name}, version {grade.policy.version}" if grade else policy or "none applied")]
    facts += [("Coverage", coverage), ("Suite", card.suite), ("Measured", format.when(card.started_at))]
    if record is not None and record.wall_s:
        facts.append(("Took", f"{format.duration(record.wall_s)}, {format.count(record.rounds_done, 'round')}"))
    if grade is not None and grade.rated_until:
        change = f", or the next change of {', '.join(grade.rerate_on)}" if grade.rerate_on else ""
        facts.append(("Valid until", f"{grade.rated_until}{change}"))
    if card.subject == "device":
        facts.append(("Subject", "a part of the node: fewer devices than its driver lists"))
    return facts


def _causes(grade: Grade | None, gates: list[ReasonView], domains: list[DomainView]) -> list[CauseGroup]:
    """Say what keeps the node from a plain pass: what failed, what is undecided, what carries no rating and why."""
    if grade is None:
        title = "Not graded"
        return [CauseGroup(title, "–", "none", [Cause("Everything", "No policy was applied.", "`effbench grade RUN`")])]
    groups = []
    for outcome in ("fail", "undecided", "not_rated"):
        whole = [
            Cause("The node", format.sentence(reason), "")
            for reason in grade.reasons
            if outcome == grade.verdict == "not_rated"
        ]
        rules = [(gate, gate.title) for gate in gates if gate.outcome == outcome]
        for domain in domains:
            mine = [(reason, reason.title) for reason in domain.reasons if reason.outcome == outcome]
            if domain.outcome == outcome and not mine:
                whole.append(Cause(domain.title, f"The domain reaches {domain.range_text} of the reference.", ""))
            rules += [(reason, f"{domain.title}: {title}") for reason, title in mine]
        causes = _joined(whole + [Cause(title, rule.sentence, rule.next_step) for rule, title in rules])
        if causes:
            groups.append(CauseGroup(CAUSES[outcome], *words.OUTCOMES[outcome][1:], list(dict.fromkeys(causes))))
    return groups


def _joined(causes: list[Cause]) -> list[Cause]:
    """Put what this run simply did not measure into one line: a list of it tells nothing that its names do not."""
    unmeasured = [cause for cause in causes if cause.why == UNMEASURED]
    if len(unmeasured) < UNMEASURED_JOINED:
        return causes
    names = "; ".join(cause.what for cause in unmeasured)
    one = Cause("Not measured in this run", f"{names}.", "`effbench run node/quick` measures what the policy asks for.")
    return [cause for cause in causes if cause.why != UNMEASURED] + [one]


def _verdict(card: Scorecard, grade: Grade | None) -> tuple[str, str, str, str]:
    """Return outcome, word, sign and tone of the whole; a cluster carries the verdict over its nodes itself."""
    if grade is None and card.cluster is not None:
        return (card.cluster.verdict, *words.OUTCOMES[card.cluster.verdict])
    if grade is None:
        return "none", "not graded", "–", "none"
    return (grade.verdict, *words.OUTCOMES[grade.verdict])


def _summary(grade: Grade | None, cluster: ClusterPage | None, word: str) -> str:
    if cluster is not None and grade is None:
        return cluster.summary
    return format.sentence(grade.summary, f"{word.capitalize()}: ") if grade else "Measured, not judged."


def _rated(grade: Grade | None) -> list[str]:
    return [reason.metric for domain in grade.domains for reason in domain.reasons] if grade else []


def _by_domain(rows: list[MetricView]) -> list[tuple[str, list[MetricView]]]:
    """Group rows by domain, in the order in which the domains are read."""
    order = [*words.DOMAINS, *sorted({row.domain for row in rows} - set(words.DOMAINS))]
    grouped = [(name, [row for row in rows if row.domain == name]) for name in order]
    return [(words.domain(name), mine) for name, mine in grouped if mine]


def _chains(card: Scorecard, names: dict[str, str]) -> list[ChainView]:
    """Lay out every chain below the start that its device's waterfall gives, the one with the least left first."""
    falls = {fall.device: fall for fall in card.waterfalls}
    views = [view_chain.chain_view(c, names.get(c.device, ""), falls.get(c.device)) for c in card.chains]
    return sorted(views, key=lambda chain: chain.last)


def build(card: Scorecard, grade: Grade | None, record: Record | None) -> View:
    """Turn the three documents into what is shown. Pure; missing parts stay missing."""
    card = scrubbed(card)
    grade = None if grade is None else scrubbed(grade)
    record = None if record is None else scrubbed(record)
    cluster = view_cluster.cluster_page(card)
    rows = [] if cluster else view_metrics.rows(card)
    names = {device.key: device.part_title or device.name for device in card.devices}
    gates = [reason_view(reason) for reason in grade.gates] if grade else []
    domains = [domain_view(domain) for domain in grade.domains] if grade else []
    falls = [waterfall_view(fall, names.get(fall.device, "")) for fall in card.waterfalls]
    outcome, word, sign, tone = _verdict(card, grade)
    return View(
        card=card,
        grade=grade,
        record=record,
        simulated=card.simulated or bool(record and record.simulated),
        node=card.node,
        hardware=_hardware(card),
        outcome=outcome,
        word=word,
        sign=sign,
        tone=tone,
        letter=(grade.grade if grade else None) or "–",
        letter_tone=words.grade_tone(grade.grade if grade else None),
        summary=_summary(grade, cluster, word),
        notice=words.OUTCOME_NOTES.get(card.outcome, ""),
        facts=_facts(card, grade, record),
        causes=[] if cluster else _causes(grade, gates, domains),
        waterfalls=sorted(falls, key=lambda fall: fall.last),
        chains=_chains(card, names),
        money=None if card.economics is None else view_money.money_view(card.economics),
        power=view_power.power_view(rows, record),
        scaling=view_scaling.scaling_page(card, record),
        cluster=cluster,
        gates=gates,
        domains=domains,
        headline=view_metrics.headline(rows, _rated(grade)),
        metrics=_by_domain(rows),
        findings=finding_groups(card.findings),
    )
