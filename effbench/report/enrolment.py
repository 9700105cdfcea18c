"""The enrolment report as a page, as Markdown or as JSON: the same words in each, by language."""

from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from effbench import resources
from effbench.model.claim import Enrolment
from effbench.model.error import InputError
from effbench.model.record import Record
from effbench.model.scorecard import Scorecard
from effbench.report import enrolment_view
from effbench.report.enrolment_view import Check, Page
from effbench.report.markdown import escaped

__all__ = ["FORMATS", "render"]

FORMATS = ("html", "markdown", "json")


def render(form: str, document: Enrolment, card: Scorecard, record: Record | None, tag: str = "en") -> bytes:
    """Write the report, UTF-8; JSON is the decision itself, in codes that no language changes.

    Raises:
        InputError: no such format, or no such language; the message lists the ones there are.
    """
    if form not in FORMATS:
        raise InputError(f"no format {form!r} for an enrolment report; there are: {', '.join(FORMATS)}")
    page = enrolment_view.build(document, card, record, tag)
    if form == "json":
        return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"
    text = _html(page) if form == "html" else _markdown(page)
    return (text.strip() + "\n").encode()


@cache
def _template(folder: str) -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(folder)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("enrolment.html.j2")


def _html(page: Page) -> str:
    from markupsafe import Markup

    folder = resources.folder("templates")
    style = Markup((Path(folder) / "enrolment.css").read_text(encoding="utf-8"))
    written: str = _template(str(folder)).render(page=page, say=page.say, style=style)
    return written


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    if not rows:
        return ["–", ""]
    lines = [head, ["---"] * len(head), *([escaped(cell) for cell in row] for row in rows)]
    return [*(f"| {' | '.join(line)} |" for line in lines), ""]


def _checks(checks: list[Check], say: dict[str, str]) -> list[str]:
    lines = []
    for check in checks:
        lines += [
            f"- **{escaped(check.title)}** ({check.word})",
            f"  - {say['actual']}{say['colon']}{escaped(check.actual)}",
            f"  - {say['required']}{say['colon']}{escaped(check.required)}",
            f"  - {say['why']}{say['colon']}{escaped(check.why)}",
            f"  - {say['do']}{say['colon']}{escaped(check.do)}",
        ]
        lines += [f"  - {escaped(check.detail)}"] if check.detail else []
    return [*(lines or [say["none_failed"]]), ""]


def _markdown(page: Page) -> str:
    say = page.say
    lines = [f"# {say['title']}", ""]
    lines += [f"> **{say['simulated']}**", ""] if page.simulated else []
    decision = f"{say['decision']}{say['colon']}{page.word}; {say['grade']}{say['colon']}{escaped(page.letter)}"
    lines += [f"**{decision}** – {page.sentence}", ""]
    lines += [f"- {name}{say['colon']}{escaped(text)}" for name, text in page.facts]
    lines += ["", f"## {say['domains']}", ""]
    rows = [[d.title, d.letter, d.share, d.interval, d.word, d.notes] for d in page.domains]
    lines += _table([say[k] for k in ("domain", "grade", "share", "interval", "outcome")] + [" "], rows)
    lines += [
        say["uncertainty"],
        "",
        f"## {say['gates']}",
        "",
        say["gates_note"] if page.gates else say["no_gates"],
        "",
    ]
    head = [say[k] for k in ("check", "actual", "required", "outcome")]
    lines += _table(head, [[r.title, r.actual, r.required, r.word] for r in page.gates])
    lines += [f"## {say['claim']}", "", escaped(page.claimed) or escaped(say["no_claim"]), ""]
    claims = [[r.title, r.actual, r.required, r.word, f"{r.reason} {r.notes}".strip()] for r in page.claims]
    lines += _table([*head, " "], claims) if claims else []
    lines += [page.more_claims, ""] if page.more_claims else []
    lines += [f"## {say['failed']}", "", *_checks(page.failed, say)]
    lines += [f"## {say['annex_rules']}", "", say["own_words"], ""]
    rules = [[r.title, r.key, r.actual, r.required, r.word, r.text] for r in page.rules]
    lines += _table([say["rule"], say["metric"], *head[1:], " "], rules)
    devices = [[r.title, r.actual, r.required, r.word, r.reason] for r in page.claim_devices]
    lines += [f"## {say['annex_claim']}", "", *_table([*head, " "], devices)] if devices else []
    return "\n".join([*lines, *_annexes(page)])


def _annexes(page: Page) -> list[str]:
    say = page.say
    figures = [[r.title, r.key, r.device, r.actual, r.word] for r in page.figures]
    head = [say[k] for k in ("metric", "metric", "device", "value", "outcome")]
    lines = [f"## {say['annex_figures']}", "", say["aggregate_note"], "", *_table(head, figures)]
    named = [say[k] for k in ("device", "part", "units", "memory", "link", "identity")]
    lines += [f"## {say['annex_devices']}", ""]
    lines += _table(named, page.devices) if page.devices else [say["no_record"], ""]
    lines += [f"- {name}{say['colon']}{escaped(text)}" for name, text in page.software]
    lines += ["", f"## {say['annex_findings']}", ""]
    lines += [f"- {word}, {escaped(name)}: {escaped(text)}" for word, name, text in page.findings] or [
        say["no_findings"]
    ]
    lines += ["", f"## {say['annex_terms']}", "", say["terms_note"], say["pue"], ""]
    terms = [list(term) for term in page.terms]
    return [*lines, *(_table([say[k] for k in ("metric", "term", "standard")], terms) if terms else [])]
