"""A recipe to its verdict: measured, looked at, measured again where undecided. Prints nothing: its callers show it.

`effbench qualify` and the pytest plugin qualify by this one way, and `effbench run` measures by it.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from effbench import api, resources
from effbench.catalog import recipes
from effbench.grade.claim import enrolment
from effbench.model.claim import Claim, Enrolment
from effbench.model.digest import digest
from effbench.model.error import OutputError
from effbench.model.grade import Grade
from effbench.model.plan import Plan
from effbench.model.policy import Policy
from effbench.model.recipe import Look, Qualification, Recipe, Stopped
from effbench.model.record import Record
from effbench.model.scorecard import Scorecard
from effbench.model.suite import DeviceClass, Suite
from effbench.report import enrolment as enrolment_report
from effbench.run import journal
from effbench.run.display import Display
from effbench.run.engine import REPORT_RESERVE_S, Options, environment_for_children
from effbench.run.further import LOOKS_MAX, Further, further, undecided_trials
from effbench.run.recording import Recording
from effbench.run.site import Site
from effbench.score.against_baseline import check_plan
from effbench.store import documents
from effbench.store.baselines import load_baseline
from effbench.store.runs import keep_baseline

__all__ = [
    "QUALIFICATION",
    "Asked",
    "Job",
    "Result",
    "Shown",
    "asked",
    "budgeted",
    "enrolled",
    "job",
    "looked",
    "measured",
    "notes",
    "told",
]

QUALIFICATION = "qualification.json"
ENROLMENT = {"html": "enrolment.html", "markdown": "enrolment.md", "json": "enrolment.json"}
RUNS = Path("reports/runs")
_STOPPED: dict[Stopped, str] = {
    "recipe": "the recipe says not to measure again",
    "looks": f"it was looked at {LOOKS_MAX} times, and more looks would decide it by chance",
    "bounded": "no trial that could decide it takes part in further rounds",
    "budget": "a further round does not fit into what is left of the budget",
}


class Shown(Display, Protocol):
    """A display that can be put away when the measuring is over."""

    def end(self) -> None:
        """Nothing more will be shown. Safe to call twice."""


class Asked(msgspec.Struct, frozen=True):
    """A recipe, its file, and the suite and the policy that it names, all of them checked; and its baseline's file."""

    recipe: Recipe
    path: Path
    suite: Suite
    rules: Policy
    baseline: Path | None = None


class Job(msgspec.Struct, frozen=True):
    """Everything that measuring needs, checked: the plan, the node, the folder, how to run, and the rules."""

    todo: Plan
    node: Site
    folder: Path
    settings: Options
    rules: Policy
    done: api.Done = frozenset()


class Result(msgspec.Struct, frozen=True):
    """What measuring came to. `outcome` is that of the run, not the verdict."""

    card: Scorecard
    verdict: Grade
    record: Record
    outcome: str


def asked(name: str, extra: Sequence[Path] = ()) -> Asked:
    """Load a recipe by name (`node-quick`) or path, with its suite and policy.

    Raises:
        InputError: no such document, or mistakes in one (CatalogError lists them all).
    """
    path = resources.find("recipes", name, extra)
    recipe = recipes.load_recipe(path)
    rules, suite = api.load_policy(recipe.policy, extra), api.load_suite(recipe.suite, extra)
    return Asked(recipe, path, suite, rules, Path(recipe.baseline) if recipe.baseline else None)


def budgeted(recipe: Recipe, suite: Suite, todo: Plan) -> Plan:
    """Put the plan under the recipe's budget for each device, where it has one for this class."""
    kind: DeviceClass = "gpu" if any(key.startswith("gpu") for key in todo.devices) else "cpu"
    own_s = recipe.budget_s.get(kind)
    if own_s is None:
        return todo
    plan = msgspec.structs.replace(todo, digest="", budget_s=own_s * todo.budget_s / suite.budget_s[kind])
    return msgspec.structs.replace(plan, digest=digest(plan))


def job(
    todo: Plan,
    node: Site,
    folder: Path | None,
    allowed_s: float,
    launcher: str,
    rules: Policy,
    environment: Mapping[str, str],
    site: Path | None = None,
    recording: Recording | None = None,
    done: api.Done = frozenset(),
    baseline: Path | None = None,
) -> Job:
    """Choose the run folder, keep the site's figures and the baseline in it, and return what is to be done.

    Raises:
        InputError, SiteError: the teams of the plan cannot be started, or what it measures cannot be held against the
            baseline. OutputError: the folder cannot take results.
    """
    api.checked_launch(todo, launcher, environment)
    held = load_baseline(baseline) if baseline is not None else None
    if held is not None:
        check_plan(todo, node.inventory.accelerators, held)
    if folder is None:
        folder = api.checked_folder(api.folder_for(RUNS, todo, node.inventory.node))
    if site is not None:
        api.keep_site(folder, site)
    if held is not None:
        keep_baseline(folder, held)
    calibrate = api.calibration(api.site_of(folder), node.inventory)
    children = environment_for_children(environment)
    settings = Options(children, allowed_s, api.tool(), recording=recording, calibrate=calibrate, launcher=launcher)
    return Job(todo, node, folder, settings, rules, done)


def measured(work: Job, shown: Shown) -> Result:
    """Run the plan, and write every artefact whatever the verdict.

    Raises:
        OutputError: the disk is full; the journal keeps what was measured. KeyboardInterrupt: while reports are made.
    """
    try:
        record, outcome = api.run(work.todo, work.node.inventory, work.folder, shown, work.settings, work.done)
        shown.end()
        return Result(*_artefacts(work.folder, record, work.rules), record, outcome)
    finally:
        shown.end()


def _artefacts(folder: Path, record: Record, rules: Policy) -> tuple[Scorecard, Grade]:
    try:
        return api.artefacts(folder, record, rules)
    except OutputError as error:
        step = f"the journal is whole: make room, then `effbench replay {folder}` (or `-o DIR`) writes all of them"
        raise OutputError(f"{error}; {step}") from error


def looked(
    recipe: Recipe,
    work: Job,
    began: float,
    allowed_s: float,
    measure: Callable[[Job], Result],
    say: Callable[[str], None],
) -> tuple[Result, list[Look], Stopped]:
    """Measure, and measure what is undecided again, until it is decided or there is a reason to stop.

    Args:
        recipe: says whether to measure again at all.
        work: what to measure first.
        began: `time.monotonic()` of the start. allowed_s: seconds from there to the last report.
        measure: measures one job and writes its artefacts.
        say: takes one line before each further look.
    """
    looks: list[Look] = []
    while True:
        result = measure(work)
        spent_s = time.monotonic() - began
        verdict = result.verdict
        looks.append(Look(result.record.rounds_done, verdict.verdict, verdict.summary, round(spent_s, 3)))
        following = _following(recipe, result, work.folder, len(looks), allowed_s - spent_s)
        if not isinstance(following, Further):
            return result, looks, following
        left_s = allowed_s - (time.monotonic() - began)
        say(
            f"undecided after {result.record.rounds_done} rounds: {following.rounds} more "
            f"of {following.trials} trials, about {following.plan.expected_s:.0f} s of the {left_s:.0f} s left"
        )
        settings = msgspec.structs.replace(work.settings, budget_s=left_s)
        work = msgspec.structs.replace(work, todo=following.plan, done=following.done, settings=settings)


def _following(recipe: Recipe, result: Result, folder: Path, looks: int, left_s: float) -> Further | Stopped:
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


def told(
    folder: Path, recipe: Recipe, looks: list[Look], stopped: Stopped, budget_s: float, spent_s: float
) -> Qualification:
    """Write how the qualification went into the run folder, and return it.

    Raises:
        OutputError: it cannot be written.
    """
    document = Qualification(
        schema="effbench.qualification/1",
        recipe=recipe.name,
        recipe_digest=recipes.digest(recipe),
        verdict=looks[-1].verdict,
        looks=looks,
        stopped=stopped,
        budget_s=budget_s,
        spent_s=round(spent_s, 3),
    )
    documents.write(folder / QUALIFICATION, documents.encode(document))
    return document


def enrolled(folder: Path, result: Result, claim: Claim | None = None, lang: str = "en") -> Enrolment:
    """Write the enrolment report of a run into its folder, as HTML, Markdown and JSON, and return what it says.

    Its verdict is the run's and the claim's together.

    Raises:
        InputError: there is no language `lang`. OutputError: it cannot be written.
    """
    document = enrolment(result.card, result.verdict, result.record, claim)
    for form, name in ENROLMENT.items():
        documents.write(folder / name, enrolment_report.render(form, document, result.card, result.record, lang))
    return document


def notes(document: Qualification) -> list[str]:
    """Return lines for a person: the recipe, the looks where there were several, and why it stays undecided."""
    lines = [f"Recipe: {document.recipe}, {document.spent_s:.0f} s of a budget of {document.budget_s:.0f} s"]
    if len(document.looks) > 1:
        shown = ", ".join(f"{look.verdict} after {look.rounds} rounds" for look in document.looks)
        lines.append(f"Looks:  {shown}")
    if document.stopped in _STOPPED:
        lines.append(f"Stays undecided: {_STOPPED[document.stopped]}")
    return lines
