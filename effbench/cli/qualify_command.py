"""`effbench qualify`: one recipe, one verdict, one exit code; what is undecided is measured again in time."""

import signal
import time
from pathlib import Path

import click
import msgspec

from effbench import api, resources
from effbench.catalog import recipes
from effbench.cli import measured, options, slurm_run
from effbench.model.digest import digest
from effbench.model.plan import Plan
from effbench.model.recipe import Look, Qualification, Recipe, Stopped
from effbench.model.suite import DeviceClass, Suite
from effbench.run import journal
from effbench.run.engine import REPORT_RESERVE_S
from effbench.run.further import LOOKS_MAX, Further, further, undecided_trials
from effbench.store import documents

QUALIFICATION = "qualification.json"
_STOPPED: dict[Stopped, str] = {
    "recipe": "the recipe says not to measure again",
    "looks": f"it was looked at {LOOKS_MAX} times, and more looks would decide it by chance",
    "bounded": "no trial that could decide it takes part in further rounds",
    "budget": "a further round does not fit into what is left of the budget",
}


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
    asked = recipes.load_recipe(resources.find("recipes", recipe, extra))
    rules, suite = api.load_policy(asked.policy, extra), api.load_suite(asked.suite, extra)
    placed = slurm_run.placed(launcher or asked.launcher, {})
    if placed.submitted:
        raise click.UsageError(
            "a qualification by Slurm's ranks starts inside an allocation: call it from salloc or a batch script."
        )
    if site is not None:
        api.load_site(site)  # its mistakes are told before anything is measured
    if folder is not None:
        api.checked_folder(folder)
    seen = api.look(options.environment(), fake, device)
    todo = _budgeted(asked, suite, api.plan(suite, seen, device, None, placed.nodes))
    allowed_s = api.budget(todo, budget)
    work = measured.job(todo, seen, folder, allowed_s, placed.launcher, rules, site)
    result, looks, stopped = _looked(asked, work, began, allowed_s)
    told = _told(asked, looks, stopped, allowed_s, time.monotonic() - began)
    documents.write(work.folder / QUALIFICATION, documents.encode(told))
    return measured.present(result, work.folder, as_json, _notes(told))


def _budgeted(recipe: Recipe, suite: Suite, todo: Plan) -> Plan:
    """The plan under the recipe's budget for each device, where it has one for this class."""
    kind: DeviceClass = "gpu" if any(key.startswith("gpu") for key in todo.devices) else "cpu"
    own_s = recipe.budget_s.get(kind)
    if own_s is None:
        return todo
    plan = msgspec.structs.replace(todo, digest="", budget_s=own_s * todo.budget_s / suite.budget_s[kind])
    return msgspec.structs.replace(plan, digest=digest(plan))


def _looked(
    recipe: Recipe, work: measured.Job, began: float, allowed_s: float
) -> tuple[measured.Result, list[Look], Stopped]:
    """Measure, and measure what is undecided again, until it is decided or there is a reason to stop."""
    looks: list[Look] = []
    while True:
        result = measured.measured(work)
        spent_s = time.monotonic() - began
        verdict = result.verdict
        looks.append(Look(result.record.rounds_done, verdict.verdict, verdict.summary, round(spent_s, 3)))
        following = _following(recipe, result, work.folder, len(looks), allowed_s - spent_s)
        if not isinstance(following, Further):
            return result, looks, following
        left_s = allowed_s - (time.monotonic() - began)
        options.say(
            f"undecided after {result.record.rounds_done} rounds: {following.rounds} more "
            f"of {following.trials} trials, about {following.plan.expected_s:.0f} s of the {left_s:.0f} s left"
        )
        settings = msgspec.structs.replace(work.settings, budget_s=left_s)
        work = msgspec.structs.replace(work, todo=following.plan, done=following.done, settings=settings)


def _following(recipe: Recipe, result: measured.Result, folder: Path, looks: int, left_s: float) -> Further | Stopped:
    """The rounds to measure next, or why there are none."""
    if result.outcome == "interrupted":
        return "interrupted"
    if result.verdict.verdict != "undecided":
        return "decided"
    if recipe.on_undecided == "stop":
        return "recipe"
    if looks >= LOOKS_MAX:
        return "looks"
    events = journal.read(folder / documents.JOURNAL).events
    undecided = undecided_trials(result.card, result.verdict)
    return further(result.record, events, undecided, left_s - REPORT_RESERVE_S)


def _told(recipe: Recipe, looks: list[Look], stopped: Stopped, budget_s: float, spent_s: float) -> Qualification:
    return Qualification(
        schema="effbench.qualification/1",
        recipe=recipe.name,
        recipe_digest=recipes.digest(recipe),
        verdict=looks[-1].verdict,
        looks=looks,
        stopped=stopped,
        budget_s=budget_s,
        spent_s=round(spent_s, 3),
    )


def _notes(told: Qualification) -> list[str]:
    """Lines for a person: the recipe, the looks where there were several, and why it stays undecided."""
    lines = [f"Recipe: {told.recipe}, {told.spent_s:.0f} s of a budget of {told.budget_s:.0f} s"]
    if len(told.looks) > 1:
        shown = ", ".join(f"{look.verdict} after {look.rounds} rounds" for look in told.looks)
        lines.append(f"Looks:  {shown}")
    if told.stopped in _STOPPED:
        lines.append(f"Stays undecided: {_STOPPED[told.stopped]}")
    return lines
