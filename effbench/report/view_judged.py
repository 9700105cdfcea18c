"""The pieces of a report that judge and explain: rules as they came out, domains, waterfalls, grouped findings."""

import msgspec

from effbench.model.finding import Finding
from effbench.model.grade import DomainGrade, Reason
from effbench.model.scorecard import Stage, Waterfall
from effbench.report import format, words

UNCHANGED = 0.005  # a stage within half a per cent of the one before neither gains nor loses


class ReasonView(msgspec.Struct, frozen=True):
    """One rule of the policy as it came out."""

    key: str
    title: str
    device: str
    outcome: str
    word: str
    sign: str
    tone: str
    text: str
    sentence: str
    next_step: str
    observed: str
    required: str
    margin: str
    notes: str


class DomainView(msgspec.Struct, frozen=True):
    """One domain with its share of the reference: `low` and `high` are the ends of the interval."""

    name: str
    title: str
    outcome: str
    word: str
    sign: str
    tone: str
    grade: str
    grade_tone: str
    required: bool
    critical: bool
    capped: bool
    share: float | None
    low: float | None
    high: float | None
    share_text: str
    range_text: str
    role: str
    summary: str
    threshold: float | None
    reasons: list[ReasonView]


class StageView(msgspec.Struct, frozen=True):
    """One bar of the waterfall. `width` and `before` are fractions of the drawing, `change` is against the last bar."""

    title: str
    explanation: str
    value: str
    share: str
    width: float | None
    before: float | None
    change: str
    tone: str


class WaterfallView(msgspec.Struct, frozen=True):
    """The waterfall of one device; `end` says in words where it ends."""

    device: str
    name: str
    dtype: str
    stages: list[StageView]
    end: str
    last: float


class FindingView(msgspec.Struct, frozen=True):
    """All findings of one code and severity: what happened where, and what to do about it."""

    code: str
    title: str
    what: str
    why: str
    do: str
    messages: list[tuple[str, str]]


class FindingGroup(msgspec.Struct, frozen=True):
    """The findings of one severity."""

    severity: str
    title: str
    sign: str
    tone: str
    findings: list[FindingView]


def reason_view(reason: Reason) -> ReasonView:
    """Write one rule of the policy for people."""
    row = words.metric(reason.metric)
    word, sign, tone = words.OUTCOMES[reason.outcome]
    sense = "≥" if row.better == "higher" else "≤"
    observed = "" if reason.observed is None else format.quantity(reason.observed, reason.unit, reason.metric)
    if observed and reason.bound is not None and reason.bound != reason.observed:
        worst = (reason.bound < (reason.observed or 0.0)) == (row.better == "higher")
        end = "at worst" if worst else "at best"
        observed += f" ({end} {format.quantity(reason.bound, reason.unit, reason.metric)})"
    notes = ["provisional reference"] if reason.provisional else []
    notes += ["disturbed evidence"] if reason.suspect else []
    notes += _beside(reason)
    required = "" if reason.threshold is None else format.quantity(reason.threshold, reason.unit, reason.metric)
    text = format.sentence(reason.text, f"{reason.metric} is ")
    sentence = f"{observed}, required {sense} {required}." if observed and required else text
    return ReasonView(
        key=reason.metric,
        title=row.title,
        device=reason.device or "",
        outcome=reason.outcome,
        word=word,
        sign=sign,
        tone=tone,
        text=text,
        sentence=f"{reason.device}: {sentence}" if reason.device else sentence,
        next_step=format.sentence(reason.next_step),
        observed=observed,
        required=f"{sense} {required}" if required else "",
        margin="" if reason.margin is None else format.points(reason.margin),
        notes=", ".join(notes),
    )


def _beside(reason: Reason) -> list[str]:
    """The other yardsticks that there are, in the order peak, reference, baseline."""
    mine = [y for y in reason.yardsticks if y.metric != reason.metric and y.share is not None]
    names = {"peak": "peak", "reference": "provisional reference", "baseline": "baseline"}
    return [f"{format.percent(y.share)} of the {names[y.kind] if y.provisional else y.kind}" for y in mine]


def domain_view(domain: DomainGrade) -> DomainView:
    """Write one domain for people; its summary is the first reason that did not pass."""
    word, sign, tone = words.OUTCOMES[domain.outcome]
    reasons = [reason_view(reason) for reason in domain.reasons]
    worst = next((reason for reason in reasons if reason.outcome == domain.outcome), None)
    low, high = domain.share_low, domain.share_high
    return DomainView(
        name=domain.name,
        title=words.domain(domain.name),
        outcome=domain.outcome,
        word=word,
        sign=sign,
        tone=tone,
        grade=domain.grade or "–",
        grade_tone=words.grade_tone(domain.grade),
        required=domain.required,
        critical=domain.critical,
        capped=domain.capped,
        share=domain.share,
        low=low,
        high=high,
        share_text=format.percent(domain.share),
        range_text="" if low is None or high is None else format.percent_range(low, high),
        role=_role(domain),
        summary=worst.text if worst and domain.outcome != "pass" else "",
        threshold=next((reason.threshold for reason in domain.reasons if reason.threshold is not None), None),
        reasons=reasons,
    )


def _role(domain: DomainGrade) -> str:
    """What the domain is to the verdict; and its score, where little evidence makes it less than the share at worst."""
    role = "critical" if domain.critical else "required" if domain.required else "not required"
    counts = graded_as(domain)
    return f"{role}, graded as {counts}: its interval is wide" if counts else role


def graded_as(domain: DomainGrade) -> str:
    """Write the score that earned the grade, where it is another figure than the share's low end; else nothing."""
    low, counts = format.percent(domain.share_low), format.percent(domain.score)
    return counts if domain.grade is not None and domain.score is not None and counts != low else ""


def _stage_view(stage: Stage, before: Stage | None, widest: float) -> StageView:
    change = None
    if before and before.value and stage.value is not None:
        change = stage.value / before.value - 1
    gain = change is not None and change > UNCHANGED
    return StageView(
        title=stage.title,
        explanation=stage.explanation,
        value="" if stage.value is None else format.quantity(stage.value, "flop/s"),
        share="" if stage.share is None else format.percent(stage.share),
        width=None if stage.share is None else stage.share / widest,
        before=None if before is None or before.share is None else before.share / widest,
        change="" if change is None else format.points(change),
        tone="none" if change is None or abs(change) <= UNCHANGED else "good" if gain else "loss",
    )


def waterfall_view(waterfall: Waterfall, name: str) -> WaterfallView:
    """Lay out one waterfall; a stage without a value stays, with the reason, and the next is held against the last."""
    shares = [stage.share for stage in waterfall.stages if stage.share is not None]
    widest = max([*shares, 1e-12])
    stages, before = [], None
    for stage in waterfall.stages:
        stages.append(_stage_view(stage, before, widest))
        before = stage if stage.value is not None else before
    known = [stage for stage in waterfall.stages if stage.share is not None]
    end = ""
    if len(known) > 1 and known[-1].share is not None:
        first, last = (title[:1].lower() + title[1:] for title in (known[0].title, known[-1].title))
        end = f"{format.percent(known[-1].share)} of the {first} reaches the {last}."
    last_share = shares[-1] if shares else 0.0
    return WaterfallView(waterfall.device, name, waterfall.dtype, stages, end, last_share)


def finding_groups(findings: list[Finding]) -> list[FindingGroup]:
    """Group findings by severity, worst first, and then by code."""
    groups = []
    for severity, (title, sign, tone) in words.SEVERITIES.items():
        by_code: dict[str, list[Finding]] = {}
        for finding in findings:
            if finding.severity == severity:
                by_code.setdefault(finding.code, []).append(finding)
        views = []
        for code, mine in by_code.items():
            text = words.finding(code)
            messages = [(finding.trial or finding.device or "", finding.message) for finding in mine]
            views.append(FindingView(code, text.title, text.what, text.why, text.do, list(dict.fromkeys(messages))))
        if views:
            groups.append(FindingGroup(severity, title, sign, tone, views))
    return groups
