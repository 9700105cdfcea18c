"""A verdict as one line for a scheduler or a log: who says it, what is wrong, where, and by how much. Plain ASCII."""

from effbench.model.grade import Grade, Reason, Verdict
from effbench.report import format, words

__all__ = ["LENGTH_MAX", "line"]

MARK = "effbench:"
# Room in a queue's listing and in a node's condition; the report has the rest.
LENGTH_MAX = 200


def line(verdict: Verdict, grade: Grade | None, why: str = "") -> str:
    """Write the verdict on one line that begins with `effbench:`.

    The line of one grade is always the same: no age, no time of asking, so that a scheduler's reason stays still.

    Args:
        verdict: the one that holds.
        grade: the grade it comes from; absent when there is none.
        why: why there is no verdict, where the grade itself does not decide it.
    """
    if why or grade is None:
        return _fitted(f"{words.OUTCOMES[verdict][0]}: {why or 'no verdict'}")
    if verdict == "pass":
        letter = f", grade {grade.grade}" if grade.grade else ""
        return _fitted(f"pass{letter}, by {grade.policy.name} on {grade.decided_at}")
    named = _culprits(grade, verdict)
    if not named:
        return _fitted(grade.summary)
    more = f" (and {len(named) - 1} more)" if len(named) > 1 else ""
    lead = "" if verdict == "fail" else f"{words.OUTCOMES[verdict][0]}: "
    return _fitted(f"{lead}{named[0]}{more}")


def _culprits(grade: Grade, verdict: Verdict) -> list[str]:
    """What made the verdict so, gates first; a domain by its own share only where none of its figures says it."""
    reasons = [gate for gate in grade.gates if gate.outcome == verdict]
    named = [*(grade.reasons if verdict == "not_rated" else []), *map(_told, reasons)]
    for domain in grade.domains:
        if not domain.required or domain.outcome != verdict:
            continue
        own = [_told(reason) for reason in domain.reasons if reason.outcome == verdict]
        share = f"{words.domain(domain.name)}: {format.percent(domain.share)} of the reference"
        named += own or [share]
    return named


def _told(reason: Reason) -> str:
    if reason.observed is None or reason.threshold is None:
        return reason.text
    row = words.metric(reason.metric)
    seen = format.quantity(reason.observed, reason.unit, reason.metric)
    asked = format.quantity(reason.threshold, reason.unit, reason.metric)
    sense = "at least" if row.better == "higher" else "at most"
    where = f" on {reason.device}" if reason.device else ""
    return f"{reason.metric} {seen}{where}, required {sense} {asked}"


def _fitted(text: str) -> str:
    plain = " ".join(format.to_ascii(format.clean(text)).split())
    shown = f"{MARK} {''.join(c for c in plain if c.isprintable())}"
    return shown if len(shown) <= LENGTH_MAX else shown[: LENGTH_MAX - 3] + "..."
