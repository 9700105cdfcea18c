"""The scorecard as Markdown, short: fits a step summary or a ticket. Every text is escaped; nothing is markup."""

import re

from effbench.model.grade import Grade
from effbench.model.record import Record
from effbench.model.scorecard import Scorecard
from effbench.report import format, markdown_scaling, view, view_chain, view_money, words
from effbench.report.view import View
from effbench.report.view_chain import ChainView
from effbench.report.view_judged import DomainView, FindingGroup, ReasonView, WaterfallView
from effbench.report.view_metrics import MetricView
from effbench.report.view_money import MoneyView
from effbench.report.view_power import PowerView

MEDIA_TYPE = "text/markdown"
FILENAME: str | None = "report.md"

BAR = 20
_SPECIAL = re.compile(r"([\\`*_\[\]<>#|~$])")


def escaped(text: str) -> str:
    """Make `text` plain: no link, no tag, no table cell of its own."""
    return _SPECIAL.sub(r"\\\1", text).replace("://", ":&#47;&#47;")


def code(text: str) -> str:
    """Set `text` as code within a table cell; what would end it is replaced."""
    return f"`{text.replace('`', chr(39)).replace('|', '¦')}`"


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    lines = [f"| {' | '.join(head)} |", f"|{'|'.join(' --- ' for _ in head)}|"]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows), ""]


def _top(shown: View) -> list[str]:
    letter = f", grade {escaped(shown.letter)}" if shown.letter != "–" else ""
    lines = [f"# {shown.sign} {shown.word.capitalize()}{letter}: {escaped(shown.node)}", ""]
    if shown.simulated:
        lines += ["> [!CAUTION]", f"> **{words.SIMULATED}.** {words.SIMULATED_TEXT}", ""]
    lines += [f"**{escaped(shown.hardware)}.** {escaped(shown.summary)}", ""]
    lines += [" · ".join(f"{name}: {escaped(text)}" for name, text in shown.facts), ""]
    if shown.notice:
        lines += [f"> {shown.notice}", ""]
    for group in shown.causes:
        lines += [f"**{group.title}**", ""]
        for cause in group.causes:
            step = f" Next: {escaped(cause.next_step)}" if cause.next_step else ""
            lines.append(f"- **{escaped(cause.what)}.** {escaped(cause.why)}{step}")
        lines.append("")
    return lines


def _waterfall(fall: WaterfallView) -> list[str]:
    lines = [f"**{escaped(fall.device)}**, {escaped(fall.dtype)}. {escaped(fall.end)}", ""]
    rows = [
        [
            escaped(stage.title),
            stage.value or "no figure",
            f"`{format.bar(stage.width or 0.0, BAR).ljust(BAR)}`",
            stage.share or "–",
            stage.change or "",
            escaped(stage.explanation),
        ]
        for stage in fall.stages
    ]
    return lines + _table(["Stage", "Value", "Share of the first", "", "Change", "Why"], rows)


def _chain(chain: ChainView) -> list[str]:
    lines = [f"**{escaped(chain.device)}**, {escaped(chain.dtype)}. {escaped(chain.weakest)} {escaped(chain.end)}", ""]
    rows = [
        [
            escaped(link.title),
            link.product or "–",
            f"`{('unknown' if link.width is None else format.bar(link.width, BAR)).ljust(BAR)}`",
            link.share,
            link.basis,
            " ".join(escaped(part) for part in (link.explanation, f"({link.source})" if link.source else "") if part),
        ]
        for link in chain.links
    ]
    return lines + _table(["Link", "Is left", "", "Keeps", "Basis", "Why"], rows)


def _money(money: MoneyView | None) -> list[str]:
    """Write money and carbon line by line, energy cost and total cost apart; unknown ones say what to give."""
    if money is None:
        return [f"Money and carbon: unknown. {escaped(view_money.NO_SITE)} {escaped(view_money.NO_SITE_DO)}", ""]
    rows = []
    for group in money.groups:
        for line in group.lines:
            of = f"{line.title} ({line.scenario})" if line.scenario else line.title
            rows.append([group.title, escaped(of), f"**{line.value}**", escaped(line.unit), line.basis])
        rows += [[group.title, escaped(what), "unknown", escaped(why), "unknown"] for what, why in group.absent]
    return _table(["Cost", "Of", "Value", "Unit, or what is missing", "Basis"], rows) if rows else []


def _power(power: PowerView) -> list[str]:
    """Write the figures per workload, and why others are missing."""
    rows = []
    for work in power.workloads:
        also = "; ".join(f"{escaped(name)} {row.text}" for name, row in work.figures[1:])
        flag = f" ({work.flag})" if work.flag else ""
        rows.append([escaped(work.title) + flag, f"**{work.lead.text}**", also, work.trust or "–"])
    lines = _table(["Workload", "Figure", "Also", "Trust"], rows) if rows else []
    lines += [] if rows else ["No figure of power or energy; nothing is estimated in its place.", ""]
    for absence in power.absences:
        remedy = f" What to do: {escaped(absence.remedy)}" if absence.remedy else ""
        lines.append(f"- **{absence.word}**: {escaped(absence.what)}: {escaped(absence.reason)}{remedy}")
    return [*lines, ""]


def _domain(domain: DomainView) -> list[str]:
    return [
        f"**{escaped(domain.title)}**",
        f"**{escaped(domain.grade)}**",
        f"{domain.share_text} ({domain.range_text})" if domain.range_text else domain.share_text,
        f"{domain.sign} {domain.word}",
        domain.role + (", capped by provisional references" if domain.capped else ""),
    ]


def _reason(reason: ReasonView) -> list[str]:
    return [
        escaped(reason.title) + (f" ({escaped(reason.device)})" if reason.device else ""),
        escaped(reason.observed) or escaped(reason.text),
        reason.required or "–",
        reason.margin or "–",
        f"{reason.sign} {reason.word}",
        escaped(reason.next_step) if reason.outcome != "pass" else "",
    ]


def _metric(row: MetricView) -> list[str]:
    fractions = "; ".join(f"{fraction.text} {fraction.name} {fraction.ceiling}".strip() for fraction in row.fractions)
    flag = f" **{row.word}**" if row.word != "valid" else ""
    return [f"{escaped(row.title)}{flag}", code(row.key), f"**{row.text}**", escaped(fractions)]


def _findings(groups: list[FindingGroup]) -> list[str]:
    lines = []
    for group in groups:
        lines += [f"### {group.title}", ""]
        for finding in group.findings:
            lines.append(f"- **{escaped(finding.title)}** {code(finding.code)}")
            for where, message in finding.messages:
                lines.append(f"  - {escaped(message)}{f' {code(where)}' if where else ''}")
            if finding.do:
                lines.append(f"  - What to do: {escaped(finding.do)}")
        lines.append("")
    return lines


def _one_node(shown: View) -> list[str]:
    """Write what only a single node has: waterfall, chain, scaling, money, power."""
    scaling = markdown_scaling.scaling(shown.scaling, escaped, _table)
    lines = [] if shown.waterfalls else scaling
    lines += ["## Where the performance goes", ""]
    for fall in shown.waterfalls:
        lines += _waterfall(fall)
    lines += [] if shown.waterfalls else ["No waterfall: no matrix multiply was measured and verified.", ""]
    lines += ["## The full chain", ""]
    lines += [line for chain in shown.chains for line in _chain(chain)] or [view_chain.NO_CHAIN, ""]
    lines += scaling if shown.waterfalls else []
    return [*lines, *_money(shown.money), "## Power", "", *_power(shown.power)]


def render(card: Scorecard, grade: Grade | None, record: Record | None) -> bytes:
    """Write the summary, UTF-8."""
    shown = view.build(card, grade, record)
    lines = [*_top(shown), *markdown_scaling.cluster(shown.cluster, escaped, _table)]
    lines += [] if shown.cluster else _one_node(shown)
    if shown.domains:
        lines += ["## Domains", ""]
        head = ["Domain", "Grade", "Share of the reference", "Outcome", "Role"]
        lines += _table(head, [_domain(domain) for domain in shown.domains])
        head = ["Rule", "Observed", "Required", "Margin", "Outcome", "Next step"]
        reasons = [reason for domain in shown.domains for reason in domain.reasons] + shown.gates
        lines += _table(head, [_reason(reason) for reason in reasons])
    lines += ["## Findings", "", *(_findings(shown.findings) or ["None.", ""])]
    if shown.metrics:
        lines += ["<details><summary>Every figure</summary>", ""]
        for title, rows in shown.metrics:
            lines += [f"### {escaped(title)}", ""]
            lines += _table(["Figure", "Key", "Value", "Held against"], [_metric(row) for row in rows])
        lines += ["</details>", ""]
    return ("\n".join(lines).rstrip() + "\n").encode()
