"""`effbench plan`: what would run, in what order and how long; nothing is measured."""

from pathlib import Path

import click

from effbench import api
from effbench.cli import options
from effbench.model.plan import Placement, Plan


@click.command("plan")
@click.argument("suite", default="node/quick", metavar="[SUITE]")
@click.option("--device", default="all", show_default=True, help="all, cpu, or names such as gpu0,gpu1 (or cuda:0).")
@click.option("--only", metavar="GLOB", help="Only the trials or workloads whose id matches.")
@click.option("--fake", metavar="PART[*N]", help="Plan for simulated devices of the catalogue.")
@options.workloads_option
@options.json_option
def command(suite: str, device: str, only: str | None, fake: str | None, workloads: Path | None, as_json: bool) -> int:
    """Show the trials of SUITE on this node, round by round order, with their expected time."""
    asked = api.load_suite(suite, options.search_path(workloads))
    site = api.look(options.environment(), fake, device)
    todo = api.plan(asked, site, device, only)
    if as_json:
        options.emit_json(todo)
        return 0
    names = {a.key: a.part.title if a.part else a.name for a in site.inventory.accelerators}
    running = [t for t in todo.trials if t.skipped is None]
    lines = [f"{todo.suite}: {asked.purpose}", ""]
    for key in todo.devices:
        alone = api.first_round(todo, key)
        if alone:
            order = "all devices at once" if todo.at_once else "one device after another"
            lines.append(f"{key}: {names[key]}, {order}")
        for trial in alone:
            lines.append(f"  {trial.expected_s:6.1f} s  {trial.id}{'  (emulated)' if trial.emulated else ''}")
    for team in api.first_teams(todo):
        lines.append(_team(team[0].placement))
        lines += [f"  {trial.expected_s:6.1f} s  {trial.id}" for trial in team]
    skipped = [t for t in todo.trials if t.skipped is not None]
    if skipped:
        lines += ["", "Not applicable here:"] + [f"  {t.id}: {t.skipped}" for t in skipped]
    lines += [
        "",
        f"{len(running)} trials, {_rounds(todo.rounds_min, todo.rounds_max)} in fresh processes, shuffled in each",
        f"about {todo.expected_s:.0f} s for {todo.rounds_min} rounds; {_budget(todo)}, enforced",
    ]
    options.emit("\n".join(lines))
    return 0


def _team(place: Placement) -> str:
    """One line about a team: how many ranks, on what."""
    ranks = f"{place.ranks} rank{'s' if place.ranks > 1 else ''} together"
    where = f", over {place.nodes} nodes" if place.nodes > 1 else ""
    cores = f", {len(place.cores[0])} core{'s' if len(place.cores[0]) > 1 else ''} each" if place.cores else ""
    return f"{ranks}{where}{cores}"


def _budget(todo: Plan) -> str:
    per_device = f", {todo.budget_s / len(todo.devices):.0f} s a device" if len(todo.devices) > 1 else ""
    return f"budget {todo.budget_s:.0f} s{per_device}"


def _rounds(least: int, most: int) -> str:
    return f"{least} rounds" if least == most else f"{least} to {most} rounds"
