"""The enrolment report as words: what each format shows, in one language. Nothing is judged here, nothing computed."""

import msgspec

from effbench.model.claim import ClaimCheck, Enrolment
from effbench.model.grade import DomainGrade, Reason
from effbench.model.quantity import Interval
from effbench.model.record import Record
from effbench.model.scorecard import Metric, Scorecard
from effbench.report import enrolment_annex, enrolment_claim, format, words
from effbench.report.enrolment_claim import ClaimRow
from effbench.report.language import Messages, load
from effbench.report.view_judged import graded_as

__all__ = ["Check", "DomainRow", "Page", "RuleRow", "build"]

FIRST_PAGE = 3
# How the grader begins a doubt, to its key in the message catalogue.
DOUBTS = (
    ("the figures are simulated", "simulated"),
    ("the scorecard is of a", "subject"),
    ("the run was", "outcome"),
    ("only ", "coverage"),
)


class Check(msgspec.Struct, frozen=True):
    """One check that was not met: actual, required, why it matters, what to do."""

    title: str
    word: str
    tone: str
    actual: str
    required: str
    why: str
    do: str
    detail: str = ""


class DomainRow(msgspec.Struct, frozen=True):
    """One domain with its uncertainty and what it rests on."""

    title: str
    letter: str
    letter_tone: str
    share: str
    interval: str
    word: str
    tone: str
    notes: str


class RuleRow(msgspec.Struct, frozen=True):
    """One rule or figure; `text` is the program's own sentence, in English."""

    title: str
    key: str
    device: str
    actual: str
    required: str
    word: str
    tone: str
    text: str = ""


class Page(msgspec.Struct, frozen=True):
    """The whole report in one language."""

    tag: str
    say: dict[str, str]
    verdict: str
    word: str
    tone: str
    sentence: str
    letter: str
    letter_tone: str
    simulated: bool
    hardware: str
    facts: list[tuple[str, str]]
    domains: list[DomainRow]
    gates: list[RuleRow]
    claimed: str
    claims: list[ClaimRow]
    more_claims: str
    first: list[Check]
    more: str
    failed: list[Check]
    rules: list[RuleRow]
    claim_devices: list[ClaimRow]
    figures: list[RuleRow]
    devices: list[list[str]]
    software: list[tuple[str, str]]
    findings: list[tuple[str, str, str]]
    terms: list[tuple[str, str, str]]


def build(document: Enrolment, card: Scorecard, record: Record | None, tag: str) -> Page:
    """Write everything that a report shows, in the language `tag`.

    Raises:
        InputError: there is no such language.
    """
    m = load(tag)
    verdict, grade = m.verdicts[document.verdict], document.grade
    letter = grade.grade or "–"
    # A grade beside a verdict that the claim changed would read as an acceptance.
    letter = format.clean(letter) if document.verdict == grade.verdict else "–"
    failed = _failed(document, m)
    claim = document.claim
    claims, kept = enrolment_claim.grouped(claim, m) if claim else ([], 0)
    return Page(
        tag=tag,
        say=m.text,
        verdict=document.verdict,
        word=verdict.word,
        tone=words.OUTCOMES[document.verdict][2],
        sentence=m.text[accepted] if (accepted := _accepted(document)) else verdict.sentence,
        letter=letter,
        letter_tone=words.grade_tone(letter),
        simulated=document.simulated,
        hardware=_hardware(document, m),
        facts=_facts(document, m),
        domains=[_domain(d, m) for d in grade.domains],
        gates=[_rule(r, m) for r in grade.gates],
        claimed=m.text["claimed"].format(count=claim.claim.count, part=claim.title) if claim else "",
        claims=claims,
        more_claims=m.text["more_speeds"].format(count=kept) if kept else "",
        first=failed[:FIRST_PAGE],
        more=m.text["more_failed"].format(count=len(failed) - FIRST_PAGE) if len(failed) > FIRST_PAGE else "",
        failed=failed,
        rules=[*(_rule(r, m) for r in grade.gates), *(_rule(r, m) for d in grade.domains for r in d.reasons)],
        claim_devices=[enrolment_claim.row(c, m) for c in claim.checks] if claim else [],
        figures=[_figure(metric, m) for metric in card.metrics if metric.device is None],
        devices=enrolment_annex.devices(record),
        software=enrolment_annex.software(record, m),
        findings=[(m.severities[f.severity], format.clean(f.code), format.clean(f.message)) for f in card.findings],
        terms=enrolment_annex.terms(card, m),
    )


def _accepted(document: Enrolment) -> str:
    """The message for an acceptance with a word to it: warnings of the claim, or figures that a domain carries."""
    if document.verdict != "pass":
        return ""
    checks = document.claim.checks if document.claim else []
    carried = any(r.outcome != "pass" for d in document.grade.domains if d.required for r in d.reasons)
    return "accept_carried" if carried else "accept_warned" if any(c.outcome == "warn" for c in checks) else ""


def _hardware(document: Enrolment, m: Messages) -> str:
    names = [format.clean(d.part_title or d.name) for d in document.devices]
    return ", ".join(f"{names.count(n)} × {n}" for n in dict.fromkeys(names)) or m.text["no_devices"]


def _facts(document: Enrolment, m: Messages) -> list[tuple[str, str]]:
    say, policy = m.text, document.grade.policy
    return [
        (say["node"], format.clean(document.node)),
        (say["hardware"], _hardware(document, m)),
        (say["measured_at"], format.when(document.measured_at)),
        (say["suite"], format.clean(document.suite)),
        (say["policy"], format.clean(f"{policy.name} {policy.version} ({policy.digest[7:15]})")),
        (say["digest"], ", ".join(d[7:19] if d.startswith("sha256:") else d[:12] for d in document.record_digests)),
        (say["evidence"], say["self_reported"]),
        (say["valid_until"], _valid(document, m)),
    ]


def _valid(document: Enrolment, m: Messages) -> str:
    if not document.rated_until:
        return m.text["no_expiry"]
    return f"{document.rated_until}. {m.text['rerate'] if document.grade.rerate_on else ''}".strip()


def _domain(found: DomainGrade, m: Messages) -> DomainRow:
    low, high = found.share_low, found.share_high
    notes = [] if found.required else [m.text["optional"]]
    if found.capped:
        notes.append(m.text["capped"])
    elif any(r.provisional for r in found.reasons):
        notes.append(m.text["provisional"])
    if counts := graded_as(found):
        notes.append(m.text["graded_as"].format(share=counts))
    return DomainRow(
        title=m.domains[found.name].title if found.name in m.domains else format.clean(found.name),
        letter=format.clean(found.grade or "–"),
        letter_tone=words.grade_tone(found.grade),
        share=format.percent(found.share),
        interval=format.percent_range(low, high) if low is not None and high is not None else "–",
        word=m.verdicts[found.outcome].short,
        tone=words.OUTCOMES[found.outcome][2],
        notes="; ".join(notes),
    )


def _rule(reason: Reason, m: Messages) -> RuleRow:
    return RuleRow(
        title=enrolment_claim.title(reason.metric, m),
        key=format.clean(reason.metric),
        device=format.clean(reason.device or ""),
        actual=_actual(reason, m),
        required=_required(reason, m),
        word=m.verdicts[reason.outcome].short,
        tone=words.OUTCOMES[reason.outcome][2],
        text=format.clean(reason.text),
    )


def _actual(reason: Reason, m: Messages) -> str:
    if reason.observed is None:
        return m.text["absent"]
    actual = format.quantity(reason.observed, reason.unit, reason.metric)
    if reason.bound is None or reason.bound == reason.observed:
        return actual
    bound = format.quantity(reason.bound, reason.unit, reason.metric)
    return f"{actual} ({_limit(reason.metric, bound, m)})"


def _required(reason: Reason, m: Messages) -> str:
    if reason.threshold is None:
        return "–"
    return _limit(reason.metric, format.quantity(reason.threshold, reason.unit, reason.metric), m)


def _limit(key: str, value: str, m: Messages) -> str:
    """Write a limit in the direction of the metric; the pessimistic end of a figure bounds it the same way."""
    return m.text["at_most" if words.metric(key).better == "lower" else "at_least"].format(value=value)


def _figure(metric: Metric, m: Messages) -> RuleRow:
    unit: str = metric.quantity.unit
    interval: Interval | None = metric.interval
    usable = metric.status in ("valid", "suspect")
    return RuleRow(
        title=enrolment_claim.title(metric.key, m),
        key=format.clean(metric.key),
        device=format.clean(str(metric.params.get("worst_device", ""))),
        actual=format.measured(metric.quantity.value, unit, interval, metric.key) if usable else m.text["no_evidence"],
        required="",
        word=metric.status,
        tone=words.STATUSES[metric.status][2],
    )


def _failed(document: Enrolment, m: Messages) -> list[Check]:
    """Doubts of the whole run first, then what failed, then what is missing or open; warnings last."""
    grade = document.grade
    required = [r for d in grade.domains if d.required for r in d.reasons]
    optional = [r for d in grade.domains if not d.required for r in d.reasons]
    made = [_doubt(text, m) for text in grade.reasons] if grade.verdict != "pass" else []
    rank = {"fail": 0, "not_rated": 1, "undecided": 2}
    for group in ([*grade.gates, *required], optional):
        missed = sorted((r for r in group if r.outcome != "pass"), key=lambda r: rank[r.outcome])
        made += [_check(r, m) for r in missed]
        if group is not optional and document.claim is not None:
            made += [_claim_check(c, m) for c in enrolment_claim.worst(document.claim) if c.outcome != "met"]
    tones = {"bad": 0, "none": 1, "open": 2}
    return sorted(made, key=lambda c: tones.get(c.tone, 3))


def _doubt(text: str, m: Messages) -> Check:
    key = next((key for begin, key in DOUBTS if text.startswith(begin)), "other")
    said = m.doubts[key]
    word, tone = m.verdicts["not_rated"].short, words.OUTCOMES["not_rated"][2]
    return Check(said.title, word, tone, m.text["no_evidence"], "–", said.why, said.do, format.clean(text))


def _check(reason: Reason, m: Messages) -> Check:
    row = _rule(reason, m)
    said = m.domains.get(reason.metric.split(".")[0], m.missing)
    missing = reason.observed is None
    title = f"{row.title} ({row.device})" if row.device else row.title
    why, do = (m.missing.why, m.missing.do) if missing else (said.why, said.do)
    return Check(title, row.word, row.tone, row.actual, row.required, why, do, row.text)


def _claim_check(check: ClaimCheck, m: Messages) -> Check:
    row, said = enrolment_claim.row(check, m), m.checks[check.subject]
    why = m.missing.why if check.outcome == "unknown" else said.why
    do = m.remedies.get(check.reason, said.do)
    return Check(row.title, row.word, row.tone, row.actual, row.required, f"{row.reason} {why}".strip(), do)
