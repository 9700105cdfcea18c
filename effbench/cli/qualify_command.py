"""`effbench qualify`: one recipe, one verdict, one exit code; what is undecided is measured again in time."""

import signal
import time
from pathlib import Path

import click

from effbench import api, qualification
from effbench.catalog.claim import read_claim
from effbench.cli import measured, options, slurm_run
from effbench.model.claim import Claim
from effbench.model.recipe import Recipe
from effbench.report.language import load as load_language


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
@options.baseline_option
@click.option("--claim", metavar="TEXT|FILE", help="For the enrolment report: what the node is said to have.")
@click.option("--lang", default="en", show_default=True, help="Language of the enrolment report: en, zh-Hant.")
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
    baseline: Path | None,
    claim: str | None,
    lang: str,
    workloads: Path | None,
    as_json: bool,
) -> int:
    """Qualify this node by RECIPE: a suite, a policy, a launcher and a budget in one file.

    Writes what `run` writes, and qualification.json: every look at the evidence and why there was no further one. A
    verdict that is undecided is measured again, only the trials that leave it so, within the same budget. Exit code:
    0 pass, 1 fail, 3 not rated, 4 undecided.

    Where the recipe says `report: enrolment` it writes that report too (enrolment.html, .md, .json); with --claim the
    verdict is that of the node and the claim together.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler's SIGTERM is a person's Ctrl-C
    began, extra = time.monotonic(), options.search_path(workloads)
    asked = qualification.asked(recipe, extra)
    claimed = _claimed(asked.recipe, claim, lang)
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
    here, held = options.environment(), baseline or asked.baseline
    work = qualification.job(todo, seen, folder, allowed_s, placed.launcher, asked.rules, here, site, baseline=held)
    result, looks, stopped = qualification.looked(
        asked.recipe, work, began, allowed_s, lambda one: measured.measured(one), options.say
    )
    spent_s = time.monotonic() - began
    told = qualification.told(work.folder, asked.recipe, looks, stopped, allowed_s, spent_s)
    enrolled = qualification.enrolled(work.folder, result, claimed, lang) if asked.recipe.report else None
    return measured.present(result, work.folder, as_json, qualification.notes(told), enrolled)


def _claimed(recipe: Recipe, claim: str | None, lang: str) -> Claim | None:
    """The claim to enrol by; its mistakes and those of the language are told before anything is measured."""
    if recipe.report is None:
        if claim is not None or lang != "en":
            raise click.UsageError("--claim and --lang are for a recipe with `report: enrolment`, such as enrolment.")
        return None
    load_language(lang)
    return read_claim(claim) if claim is not None else None
