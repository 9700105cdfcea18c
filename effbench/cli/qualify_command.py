"""`effbench qualify`: one recipe, one verdict, one exit code; what is undecided is measured again in time."""

import signal
import time
from pathlib import Path

import click

from effbench import api, qualification
from effbench.cli import measured, options, slurm_run


@click.command("qualify")
@click.argument("recipe", metavar="RECIPE|FILE")
@click.option("--device", default="all", show_default=True, help="all, cpu, or names such as gpu0,gpu1 (or cuda:0).")
@click.option("--budget", type=float, metavar="S", help="Seconds from start to report; the recipe's own if absent.")
@click.option("-o", "folder", type=click.Path(path_type=Path), metavar="DIR", help="The run folder; must be empty.")
@click.option("--fake", metavar="PART[*N]", help="Simulate devices of the catalogue, to try effbench without them.")
@click.option(
    "--launcher", type=measured.LAUNCHERS, help="What starts trials of several ranks, instead of the recipe's."
)
@options.site_option
@options.workloads_option
@options.json_option
def command(
    recipe: str,
    device: str,
    budget: float | None,
    folder: Path | None,
    fake: str | None,
    launcher: str | None,
    site: Path | None,
    workloads: Path | None,
    as_json: bool,
) -> int:
    """Qualify this node by RECIPE: a suite, a policy, a launcher and a budget in one file.

    Writes what `run` writes, and qualification.json: every look at the evidence and why there was no further one. A
    verdict that is undecided is measured again, only the trials that leave it so, within the same budget. Exit code:
    0 pass, 1 fail, 3 not rated, 4 undecided.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler's SIGTERM is a person's Ctrl-C
    began, extra = time.monotonic(), options.search_path(workloads)
    asked = qualification.asked(recipe, extra)
    placed = slurm_run.placed(launcher or asked.recipe.launcher, {})
    if placed.submitted:
        raise click.UsageError(
            "a qualification by Slurm's ranks starts inside an allocation: call it from salloc or a batch script."
        )
    if site is not None:
        api.load_site(site)  # its mistakes are told before anything is measured
    if folder is not None:
        api.checked_folder(folder)
    seen = api.look(options.environment(), fake, device)
    todo = qualification.budgeted(asked.recipe, asked.suite, api.plan(asked.suite, seen, device, None, placed.nodes))
    allowed_s = api.budget(todo, budget)
    work = measured.job(todo, seen, folder, allowed_s, placed.launcher, asked.rules, site)
    result, looks, stopped = qualification.looked(
        asked.recipe, work, began, allowed_s, lambda one: measured.measured(one), options.say
    )
    spent_s = time.monotonic() - began
    told = qualification.told(work.folder, asked.recipe, looks, stopped, allowed_s, spent_s)
    return measured.present(result, work.folder, as_json, qualification.notes(told))
