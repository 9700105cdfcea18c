"""The claim in the words of one language: row by row, and the devices of a node together as one row."""

import msgspec

from effbench.grade.claim_speed import DEMANDED
from effbench.model.claim import ClaimCheck, ClaimVerdict, Outcome
from effbench.report import format, words
from effbench.report.language import Messages

__all__ = ["ClaimRow", "grouped", "row", "title", "worst"]

_BAD_FIRST: tuple[Outcome, ...] = ("reject", "review", "unknown", "undecided", "warn", "met")
TONES: dict[Outcome, str] = {
    "met": "good",
    "warn": "open",
    "undecided": "open",
    "unknown": "none",
    "review": "open",
    "reject": "bad",
}


class ClaimRow(msgspec.Struct, frozen=True):
    """One part of a claim: what is there, what was claimed, how it came out and why."""

    title: str
    device: str
    actual: str
    required: str
    word: str
    tone: str
    reason: str
    notes: str


def title(key: str, m: Messages) -> str:
    """Write a metric's title; one that the language has no words for has the catalogue's English title."""
    known = words.metric(key)
    if key in m.gates:
        return m.gates[key].title
    if known.pattern not in m.metrics:
        return known.title
    pairs = zip(known.pattern.split("."), key.split("."), strict=False)
    return m.metrics[known.pattern].format(*(format.clean(said) for star, said in pairs if star == "*"))


def worst(claim: ClaimVerdict) -> list[ClaimCheck]:
    """Return one check for each subject and metric: the worst of its devices, in the order of the claim."""
    groups: dict[tuple[str, str | None], list[ClaimCheck]] = {}
    for check in claim.checks:
        groups.setdefault((check.subject, check.metric), []).append(check)
    return [min(group, key=lambda c: _BAD_FIRST.index(c.outcome)) for group in groups.values()]


def grouped(claim: ClaimVerdict, m: Messages) -> tuple[list[ClaimRow], int]:
    """Return the claim for the first page, and how many speeds are left to the annex.

    One row for each subject and metric; of a fact of each device, how many meet it. Left out are speeds beyond the two
    that every claim needs, unless they stand against it.
    """
    rows, left = [], 0
    for check in worst(claim):
        if check.subject == "speed" and check.metric not in DEMANDED and check.outcome in ("met", "warn"):
            left += 1
            continue
        together = check.device is not None and check.subject != "above_peak"
        shown = msgspec.structs.replace(check, device=None) if together and check.outcome == "met" else check
        made = row(shown, m)
        if together:
            same = [c for c in claim.checks if (c.subject, c.metric) == (check.subject, check.metric)]
            count = m.text["of_devices"].format(met=sum(c.outcome == "met" for c in same), all=len(same))
            made = msgspec.structs.replace(made, notes="; ".join(t for t in (count, made.notes) if t))
        rows.append(made)
    return rows, left


def row(check: ClaimCheck, m: Messages) -> ClaimRow:
    """Write one check."""
    said = m.checks[check.subject].title
    if check.metric is not None:
        said = f"{said}: {title(check.metric, m)}"
    if check.device is not None:
        said = f"{said} ({format.clean(check.device)})"
    return ClaimRow(
        title=said,
        device=format.clean(check.device or ""),
        actual=_actual(check, m),
        required=_required(check, m),
        word=m.outcomes[check.outcome],
        tone=TONES[check.outcome],
        reason=m.reasons[check.reason],
        notes=m.text["provisional"] if check.provisional else "",
    )


def _actual(check: ClaimCheck, m: Messages) -> str:
    if check.named:
        return format.clean(check.named)
    if check.actual is None:
        return m.text["absent"]
    actual = format.quantity(check.actual, check.unit)
    if check.subject == "speed" and check.share_low is not None and check.share_high is not None:
        return f"{actual}: {format.percent_range(check.share_low, check.share_high)}"
    return actual


def _required(check: ClaimCheck, m: Messages) -> str:
    if check.demanded:
        return format.clean(check.demanded)
    if check.required is None:
        return "–"
    value = format.quantity(check.required, check.unit)
    if check.subject == "speed":
        return m.text["of_expected"].format(share="90 %", value=value)
    return m.text["at_most" if check.subject == "above_peak" else "at_least"].format(value=value)
