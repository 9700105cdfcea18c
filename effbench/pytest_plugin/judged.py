"""What a qualification's result says of one item: passed, failed or skipped. Pure; fails closed.

Only a trial or a rule that does not apply is skipped. What is not rated or undecided fails: nothing was proven.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from effbench.model.grade import PRECEDENCE, Grade, Reason
from effbench.model.plan import Trial
from effbench.model.policy import Section
from effbench.model.record import USABLE
from effbench.qualification import Result
from effbench.report.view_judged import reason_view


class Outcome(NamedTuple):
    """How an item ends: `word` is the status or verdict behind it, `text` says why."""

    kind: Literal["passed", "failed", "skipped"]
    word: str
    text: str = ""


def trial(result: Result, asked: Trial) -> Outcome:
    """Say whether a trial gave usable evidence. A disturbed one did: the gates know what it may be used for."""
    found = next((m for m in result.record.measurements if m.trial == asked.id), None)
    if found is None:
        return Outcome("failed", "missing", f"{asked.id} is not in the record")
    if found.status == "skipped":
        return Outcome("skipped", found.status, f"not applicable: {found.detail}")
    if found.status in USABLE:
        return Outcome("passed", found.status)
    return Outcome("failed", found.status, f"{asked.id} is {found.status}: {found.detail or 'too little evidence'}")


def gate(verdict: Grade, section: Section, metric: str) -> Outcome:
    """Say what came of every gate on one metric."""
    reasons = [reason for reason in verdict.gates if reason.metric == metric]
    if reasons:
        return _of(reasons)
    rules = [rule for rule in section.gates if rule.metric == metric]
    if rules and all(rule.on_missing != "not_rated" for rule in rules):
        return Outcome("skipped", "missing", f"not applicable: {metric} is absent, and the policy lets that be")
    return Outcome("failed", "missing", f"the verdict says nothing of {metric}")


def domain(verdict: Grade, name: str) -> Outcome:
    """Say what came of one domain. One that the policy does not require is skipped where it did not pass or fail."""
    found = next((d for d in verdict.domains if d.name == name), None)
    if found is None:
        return Outcome("failed", "missing", f"the verdict says nothing of the domain {name}")
    if found.outcome == "pass":
        return Outcome("passed", "pass")
    open_ = [reason for reason in found.reasons if reason.outcome != "pass"]
    told = _of(open_ or found.reasons)
    share = "" if found.share_low is None else f" at {found.share_low:.3f} to {found.share_high:.3f} of the reference"
    text = f"domain {name} {_WORDS[found.outcome]}{share}: {told.text}"
    if not found.required and found.outcome != "fail":
        return Outcome("skipped", found.outcome, f"not required by the policy; {text}")
    return Outcome("failed", found.outcome, text)


def verdict(found: Grade) -> Outcome:
    """Say what the verdict is, with everything that speaks against the run as a whole."""
    if found.verdict == "pass":
        return Outcome("passed", "pass")
    more = [reason for reason in found.reasons if reason not in found.summary]
    return Outcome("failed", found.verdict, "\n".join([found.summary, *more]))


_WORDS = {"pass": "passes", "fail": "fails", "not_rated": "is not rated", "undecided": "is undecided"}


def _of(reasons: Sequence[Reason]) -> Outcome:
    """The worst outcome of several reasons, with the sentences of all that are as bad."""
    if not reasons:
        return Outcome("failed", "missing", "no reason is given")
    worst = next((v for v in PRECEDENCE if any(r.outcome == v for r in reasons)), "not_rated")
    if worst == "pass":
        return Outcome("passed", worst)
    lines = []
    for reason in reasons:
        if reason.outcome == worst:
            shown = reason_view(reason)
            lines.append(" ".join(filter(None, [f"{reason.metric} {_WORDS[worst]}:", shown.sentence, shown.next_step])))
    return Outcome("failed", worst, "\n".join(lines))
