"""Power, the full chain and what a result costs, as short blocks of the terminal report."""

from typing import TYPE_CHECKING

from effbench.report import format, view_chain, view_money
from effbench.report.cells import STYLES, grid, heading, styled
from effbench.report.view import View
from effbench.report.view_chain import ChainView
from effbench.report.view_metrics import MetricView
from effbench.report.view_power import WorkloadPower

if TYPE_CHECKING:
    from rich.console import RenderableType

ABSENCES_MAX, COSTS_MAX = 3, 4


def _figure(work: WorkloadPower, *names: str) -> MetricView | None:
    """Return the first of the figures called `names` that the workload has, except the one that leads."""
    by_name = {row.key.rpartition(".")[2]: row for _, row in work.figures if row is not work.lead}
    return next((by_name[name] for name in names if name in by_name), None)


def power(shown: View) -> "list[RenderableType]":
    """Write the figures of each workload, or in one line each why there are none."""
    page = shown.power
    found: list[RenderableType] = [heading("Power", "by the device's own sensor unless it says otherwise")]
    if page.workloads:
        table = grid(("left", 1), ("right", None), ("right", None), ("right", None), ("left", None))
        for work in page.workloads:
            watts, per = _figure(work, "watts"), _figure(work, "joules_per_token", "joules_per_step")
            flag = f" ({work.flag})" if work.flag else ""
            table.add_row(
                f"  {work.title}{flag}",
                styled((work.lead.text, "bold")),
                watts.text if watts else "",
                styled((per.text if per else "", "dim")),
                styled((work.trust, STYLES[work.trust_tone])),
            )
        found.append(table)
    else:
        found.append(styled(("  No figure of power or energy; nothing is estimated in its place.", "")))
    table = grid(("left", None), ("left", 1))
    for absence in page.absences[:ABSENCES_MAX]:
        remedy = (f"  {absence.remedy}", "dim") if absence.remedy else ("", "")
        said = [(f"{absence.word}: ", STYLES[absence.tone]), (f"{absence.what}: {absence.reason}", ""), remedy]
        table.add_row("  ·", styled(*said))
    found += [table] if page.absences else []
    hidden = len(page.absences) - ABSENCES_MAX
    return found + ([styled((f"  ·  and {hidden} more, in the report", "dim"))] if hidden > 0 else [])


def _links(chain: ChainView, width: int, unicode: bool) -> "RenderableType":
    cells = max(8, min(30, width - 72))
    table = grid(("left", None), ("left", None), ("right", None), ("right", None), ("left", None))
    for link in chain.links:
        if link.basis == "unknown":
            bar = styled(
                (("?" * cells)[: round((1.0 if link.before is None else link.before) * cells)].ljust(cells), "dim")
            )
        else:
            bar = styled((format.bar(link.width or 0.0, cells, unicode).ljust(cells), "cyan"))
        style = STYLES["loss"] if link.weakest else "dim"
        keeps = "" if link.basis == "unknown" else link.share
        table.add_row(f"  {link.title}", bar, link.product or "–", styled((keeps, "dim")), styled((link.basis, style)))
    return table


def chain(shown: View, width: int, unicode: bool) -> "list[RenderableType]":
    """Write the chain of the device with the least left, a row per link, and its two sentences."""
    if not shown.chains:
        return [heading("The full chain"), f"  {view_chain.NO_CHAIN}"]
    first = shown.chains[0]
    found: list[RenderableType] = [
        heading("The full chain", f"{first.device}, {first.dtype}; what is left, what it keeps")
    ]
    table = grid(("left", None), ("left", 1))
    for sentence in (first.weakest, first.end):
        if sentence:
            table.add_row("  ·", styled((sentence, "")))
    return [*found, _links(first, width, unicode), table]


def costs(shown: View) -> "list[RenderableType]":
    """Write at most four lines of money and carbon, energy cost and total cost apart; unknown ones say what to give."""
    table = grid(("left", None), ("left", 1))
    if shown.money is None:
        table.add_row("  Cost", styled(("unknown. ", "bold"), (f"{view_money.NO_SITE} {view_money.NO_SITE_DO}", "dim")))
        return [table]
    for result in shown.money.results[:1]:
        picked = [(title, line) for title, lines in result.columns for line in lines]
        for title, line in picked[:COSTS_MAX]:
            what = ", ".join(part for part in (line.scenario, line.basis) if part)
            if line.value:
                table.add_row(f"  {title}", styled((line.value, "bold"), (f" {line.unit}", ""), (f"  {what}", "dim")))
            else:
                table.add_row(f"  {title}", styled(("unknown. ", "bold"), (f"{line.unit}: {line.absent}", "dim")))
    return [table] if shown.money.results else []


def blocks(shown: View, width: int, unicode: bool) -> "list[RenderableType]":
    """Return the blocks in their order: chain, costs, power."""
    return [*chain(shown, width, unicode), *costs(shown), *power(shown)]
