"""`effbench policy`: what is wrong with a set of rules, before anything is judged by it."""

import click

from effbench import resources
from effbench.catalog.lint import Remark, lint
from effbench.cli import options


@click.group("policy")
def command() -> None:
    """Look after policies: the rules that a node is graded by."""


@command.command("lint")
@click.argument("policies", nargs=-1, required=True, metavar="FILE|NAME...")
@click.option("--strict", is_flag=True, help="Exit with 2 on warnings too.")
@options.json_option
def lint_command(policies: tuple[str, ...], strict: bool, as_json: bool) -> int:
    """Find everything that is wrong with each policy at once, with line and column.

    Unknown metrics, wrong units, thresholds that nothing or everything meets, gaps in the ladder, grades out of
    reach, gates that let missing evidence pass. Exit code 0 without mistakes, 2 with any.
    """
    extra = options.search_path(None)
    remarks = [remark for policy in policies for remark in lint(resources.find("policies", policy, extra))]
    if as_json:
        options.emit_json(remarks)
    else:
        options.emit("\n".join([*(f"{r.level}: {r.text}" for r in remarks), _summary(remarks, len(policies))]))
    refused = ("mistake", "warning") if strict else ("mistake",)
    return 2 if any(r.level in refused for r in remarks) else 0


def _summary(remarks: list[Remark], files: int) -> str:
    counts = {level: sum(r.level == level for r in remarks) for level in ("mistake", "warning", "note")}
    said = ", ".join(f"{count} {level}{'s' * (count != 1)}" for level, count in counts.items())
    return f"{files} {'policy' if files == 1 else 'policies'}: {said}"
