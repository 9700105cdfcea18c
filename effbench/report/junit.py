"""The scorecard as JUnit XML: a CI must never go green on missing evidence.

Outcomes: `fail` is a failure; `not_rated` and `undecided` are errors, because nothing was proven. What the policy does
not require, what does not apply, and what was disturbed is skipped: it is said, and it turns nothing red.
"""

from typing import NamedTuple
from xml.etree import ElementTree

from effbench.model.grade import Grade
from effbench.model.record import Measurement, Record
from effbench.model.scorecard import Scorecard
from effbench.report import view, view_evidence, words
from effbench.report.view import View
from effbench.report.view_judged import ReasonView

MEDIA_TYPE = "application/xml"
FILENAME: str | None = "junit.xml"


class TestCase(NamedTuple):
    """One case: `kind` is None when it passed, else failure, error or skipped."""

    group: str
    name: str
    kind: str | None
    message: str
    detail: str


def _kind(outcome: str, required: bool) -> str | None:
    if outcome == "pass":
        return None
    if outcome == "fail":
        return "failure"
    return "error" if required else "skipped"


def _verdict(shown: View) -> TestCase:
    if shown.grade is None:
        return TestCase("verdict", "verdict", "error", "not graded: no policy was applied", shown.summary)
    named = f"{shown.grade.policy.name} version {shown.grade.policy.version}"
    kind = _kind(shown.outcome, True)
    return TestCase("verdict", f"verdict under {named}", kind, f"{shown.word}: {shown.summary}", shown.summary)


def _reason(group: str, reason: ReasonView, required: bool) -> TestCase:
    next_step = f"Next: {reason.next_step}" if reason.next_step and reason.outcome != "pass" else ""
    detail = " ".join(part for part in (reason.text, reason.margin and f"Margin {reason.margin}.", next_step) if part)
    name = f"{reason.key} on {reason.device}" if reason.device else reason.key
    return TestCase(group, name, _kind(reason.outcome, required), f"{reason.word}: {reason.sentence}", detail)


def _trial(measurement: Measurement, text: view_evidence.TrialView) -> TestCase:
    kinds = {"valid": None, "suspect": "skipped", "skipped": "skipped", "invalid": "error", "failed": "failure"}
    message = f"{text.word}: {text.note}" if text.note else text.word
    detail = " ".join(part for part in (text.step, text.samples, text.verified) if part)
    return TestCase("trials", text.id, kinds[measurement.status], message, detail)


def cases(shown: View) -> list[TestCase]:
    """List the verdict, every gate, every domain reason and every trial."""
    found = [_verdict(shown)]
    found += [_reason("gates", gate, True) for gate in shown.gates]
    for domain in shown.domains:
        found += [_reason(f"domain {domain.name}", reason, domain.required) for reason in domain.reasons]
    if shown.record is not None:
        texts = view_evidence.trials(shown.record)
        found += [_trial(m, text) for m, text in zip(shown.record.measurements, texts, strict=True)]
    return found


def _attributes(name: str, mine: list[TestCase]) -> dict[str, str]:
    kinds = [case.kind for case in mine]
    return {
        "name": name,
        "tests": str(len(mine)),
        "failures": str(kinds.count("failure")),
        "errors": str(kinds.count("error")),
        "skipped": str(kinds.count("skipped")),
    }


def _element(parent: ElementTree.Element, case: TestCase, mark: str) -> None:
    names = {"classname": f"{mark}effbench.{case.group}", "name": case.name}
    node = ElementTree.SubElement(parent, "testcase", names)
    if case.kind is not None:
        ElementTree.SubElement(node, case.kind, {"message": case.message}).text = case.detail
    elif case.detail:
        ElementTree.SubElement(node, "system-out").text = case.detail


def render(card: Scorecard, grade: Grade | None, record: Record | None) -> bytes:
    """Write the suites `verdict`, `gates`, one per domain, and `trials`."""
    shown = view.build(card, grade, record)
    found = cases(shown)
    mark = f"{words.SIMULATED} " if shown.simulated else ""
    root = ElementTree.Element("testsuites", _attributes(f"{mark}effbench {card_name(shown)}", found))
    for group in dict.fromkeys(case.group for case in found):
        mine = [case for case in found if case.group == group]
        suite = ElementTree.SubElement(root, "testsuite", _attributes(f"{mark}{group}", mine))
        properties = ElementTree.SubElement(suite, "properties")
        known = {"node": shown.node, "suite": shown.card.suite, "simulated": str(shown.simulated).lower()}
        for name, value in known.items():
            ElementTree.SubElement(properties, "property", {"name": name, "value": value})
        for case in mine:
            _element(suite, case, mark)
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    return ('<?xml version="1.0" encoding="UTF-8"?>\n' + text + "\n").encode()


def card_name(shown: View) -> str:
    """Name the run: its suite and its node."""
    return f"{shown.card.suite} on {shown.node}"
