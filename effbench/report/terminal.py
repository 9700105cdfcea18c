"""The scorecard in a terminal: verdict, waterfall, domains, the figures that decided, the findings that matter.

Works from 80 columns up, without colour and without Unicode. Where the files are is the caller's to say.
"""

import io
from typing import TYPE_CHECKING

from effbench.model.grade import Grade
from effbench.model.record import Record
from effbench.model.scorecard import Scorecard
from effbench.report import format, terminal_power, terminal_scaling, view, words
from effbench.report.cells import STYLES, grid, heading, styled
from effbench.report.view import View
from effbench.report.view_judged import DomainView, WaterfallView

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

MEDIA_TYPE = "text/plain"
FILENAME: str | None = None

WIDTH, WIDTH_MIN = 100, 80
FINDINGS_MAX, CAUSES_MAX = 6, 5


def _verdict(shown: View, unicode: bool) -> "RenderableType":
    from rich import box
    from rich.console import Group
    from rich.panel import Panel

    style = STYLES[shown.tone]
    letter = f"  grade {shown.letter}" if shown.letter not in ("–", "-") else ""
    lines: list[RenderableType] = [styled((f"{shown.sign} {shown.word.upper()}{letter}", style))]
    lines += [styled((shown.hardware, "bold")), styled((shown.summary, ""))]
    lines.append(styled((" · ".join(f"{name} {text}" for name, text in shown.facts), "dim")))
    lines += [styled((shown.notice, STYLES["open"]))] if shown.notice else []
    title = styled((f" effbench · {shown.node} ", "bold"))
    kind = box.ROUNDED if unicode else box.ASCII
    return Panel(Group(*lines), title=title, title_align="left", border_style=style, box=kind, padding=(0, 1))


def _banner() -> "RenderableType":
    from rich.padding import Padding

    return Padding(styled((f"{words.SIMULATED}: {words.SIMULATED_TEXT}", "bold black on yellow")), (0, 0, 1, 0))


def _causes(shown: View) -> "list[RenderableType]":
    found: list[RenderableType] = []
    for group in shown.causes:
        found.append(styled((f"\n{group.sign} {group.title}", STYLES[group.tone])))
        table = grid(("left", None), ("left", 1))
        for cause in group.causes[:CAUSES_MAX]:
            step = (f"  Next: {cause.next_step}", "dim") if cause.next_step else ("", "")
            table.add_row("  ·", styled((f"{cause.what}. ", "bold"), (cause.why, ""), step))
        found.append(table)
        if (hidden := len(group.causes) - CAUSES_MAX) > 0:
            found.append(styled((f"  ·  and {hidden} more, in the report", "dim")))
    return found


def _waterfall(fall: WaterfallView, width: int, unicode: bool) -> "RenderableType":
    """Draw one waterfall: a bar per stage, what is lost against the stage above in a lighter shade."""
    cells = max(10, min(40, width - 58))
    table = grid(("left", None), ("right", None), ("left", None), ("right", None), ("right", None))
    for stage in fall.stages:
        kept = format.bar(stage.width or 0.0, cells, unicode)
        upto = 0 if stage.width is None else round((stage.before or 0.0) * cells)
        lost = ("░" if unicode else ".") * max(0, upto - len(kept))
        bar = styled((kept, "cyan"), (lost, "yellow"), (" " * (cells - len(kept) - len(lost)), ""))
        change = styled((stage.change, STYLES[stage.tone]))
        table.add_row(f"  {stage.title}", stage.value or "no figure", bar, stage.share or "–", change)
    return table


def _explanations(fall: WaterfallView) -> "RenderableType":
    table = grid(("left", None), ("left", 1))
    for stage in fall.stages:
        if stage.explanation:
            table.add_row("  ·", styled((f"{stage.title}: ", ""), (stage.explanation, "dim")))
    return table


def _waterfalls(shown: View, width: int, unicode: bool) -> "list[RenderableType]":
    if not shown.waterfalls:
        return [heading("Where the performance goes"), "  No matrix multiply was measured and verified."]
    first = shown.waterfalls[0]
    found: list[RenderableType] = [heading("Where the performance goes", f"{first.device}, {first.dtype}")]
    found += [_waterfall(first, width, unicode), _explanations(first)]
    found += [styled((f"  {fall.device}: ", "bold"), (fall.end, "")) for fall in shown.waterfalls[1:]]
    return found


def _domain_row(table: "Table", domain: DomainView, unicode: bool) -> None:
    table.add_row(
        f"  {domain.title}",
        styled((domain.grade, STYLES[domain.grade_tone])),
        styled((format.bar(domain.share or 0.0, 10, unicode).ljust(10), "cyan")),
        domain.share_text,
        styled((domain.range_text, "dim")),
        styled((f"{domain.sign} {domain.word}", STYLES[domain.tone])),
        styled((domain.role, "dim")),
    )


def _domains(shown: View, unicode: bool) -> "list[RenderableType]":
    if not shown.domains:
        return []
    columns = [("left", None), ("left", None), ("left", None), ("right", None), ("left", None), ("left", None)]
    table = grid(*columns, ("left", 1))
    for domain in shown.domains:
        _domain_row(table, domain, unicode)
    passed = sum(gate.outcome == "pass" for gate in shown.gates)
    gates = f"  Hard gates: {passed} of {len(shown.gates)} passed" if shown.gates else ""
    capped = ", ".join(domain.title for domain in shown.domains if domain.capped)
    note = f"  Capped, because they rest on provisional references: {capped}" if capped else ""
    return [heading("Domains", "share of the reference"), table, *(line for line in (note, gates) if line)]


def _figures(shown: View) -> "list[RenderableType]":
    if not shown.headline:
        return []
    table = grid(("left", None), ("left", 1), ("right", None), ("left", None))
    for row in shown.headline:
        lead = f"{row.lead.text} {row.lead.name}".replace(" of the reference", " of reference") if row.lead else ""
        flag = f" ({row.word})" if row.word != "valid" else ""
        worst = f" ({row.worst_device})" if row.worst_device else ""
        table.add_row("", f"{row.title}{worst}{flag}", styled((row.text, "bold")), styled((lead, "dim")))
    return [heading("Figures"), table]


def _findings(shown: View) -> "list[RenderableType]":
    found: list[RenderableType] = []
    table = grid(("left", None), ("left", 1))
    every = [(group, finding) for group in shown.findings for finding in group.findings]
    for group, finding in every[:FINDINGS_MAX]:
        where, message = finding.messages[0]
        more = f" (and {len(finding.messages) - 1} more)" if len(finding.messages) > 1 else ""
        at = (f" [{where}]", "dim") if where else ("", "")
        do = (f"  {finding.do}", "dim") if finding.do and group.severity != "info" else ("", "")
        parts = [(f"{finding.title}. ", "bold"), (message + more, ""), at, do]
        table.add_row(styled((f"  {group.sign}", STYLES[group.tone])), styled(*parts))
    if every:
        hidden = len(every) - FINDINGS_MAX
        found += [heading("Findings"), table]
        found += (
            [styled((f"  {format.count(hidden, 'more kind')} of finding in the report.", "dim"))] if hidden > 0 else []
        )
    return found


def _blocks(shown: View, width: int, unicode: bool) -> "list[RenderableType]":
    """Return waterfall, scaling and power; scaling first where there is no waterfall, and alone for a cluster."""
    scaling = terminal_scaling.blocks(shown, unicode)
    if shown.cluster is not None:
        return scaling
    falls = _waterfalls(shown, width, unicode)
    return [*(falls + scaling if shown.waterfalls else scaling + falls), *terminal_power.blocks(shown, width, unicode)]


def _console(target: io.StringIO, width: int, color: bool) -> "Console":
    from rich.console import Console

    return Console(
        file=target,
        width=max(width, WIDTH_MIN),
        force_terminal=color,
        color_system="standard" if color else None,
        no_color=not color,
        legacy_windows=False,
        markup=False,
        emoji=False,
        highlight=False,
        _environ={},
    )


def text(
    card: Scorecard, grade: Grade | None, record: Record | None, width: int, color: bool, unicode: bool = True
) -> str:
    """Write the scorecard for a terminal.

    Args:
        card: what was measured.
        grade: the verdict, if one was given.
        record: the run, if it is at hand.
        width: columns; fewer than 80 are taken as 80.
        color: whether to write ANSI colours.
        unicode: False spells every sign in ASCII.
    """
    shown = view.build(card, grade, record)
    shown = shown if unicode else view.spelled(shown)
    target = io.StringIO()
    console = _console(target, width, color)
    parts: list[RenderableType] = [_banner()] if shown.simulated else []
    parts += [_verdict(shown, unicode), *_causes(shown)]
    parts += _blocks(shown, max(width, WIDTH_MIN), unicode)
    parts += [*_domains(shown, unicode), *_figures(shown), *_findings(shown)]
    for part in parts:
        console.print(part)
    if shown.simulated:
        console.print(styled((f"\n{words.SIMULATED}: not a measurement.", "bold black on yellow")))
    written = "\n".join(line.rstrip() for line in target.getvalue().split("\n"))
    return written if unicode else format.to_ascii(written)


def render(card: Scorecard, grade: Grade | None, record: Record | None) -> bytes:
    """Write the same without colour at 100 columns, UTF-8."""
    return text(card, grade, record, WIDTH, color=False).encode()
