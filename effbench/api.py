"""The whole library on one screen: suite, plan, run, score, grade, render. Nothing here prints or exits."""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from effbench import __version__, kernels, report, resources
from effbench.catalog import parts, policies, suites
from effbench.catalog.site import calibrated, load_site
from effbench.grade.verdict import grade
from effbench.model.digest import short
from effbench.model.energy import Sensor
from effbench.model.error import DocumentError, InputError
from effbench.model.event import Tool
from effbench.model.finding import Finding
from effbench.model.grade import Grade
from effbench.model.inventory import Inventory
from effbench.model.plan import Plan, Trial
from effbench.model.policy import Policy
from effbench.model.record import Record
from effbench.model.scaling import Projection
from effbench.model.scorecard import Scorecard
from effbench.model.site import SiteFacts
from effbench.model.suite import Suite
from effbench.run import doctor, engine, journal
from effbench.run import plan as planning
from effbench.run.agreement import source_digest
from effbench.run.ranks import refuse_nested
from effbench.run.recording import Recording
from effbench.run.redact import redact
from effbench.run.rounds import Done, finished
from effbench.run.site import Site, same_node, survey
from effbench.run.team import launcher as launcher_of
from effbench.run.watch import watch_for
from effbench.score.comparison import Compared, compare_records
from effbench.score.node import score
from effbench.score.projection import project
from effbench.store import documents
from effbench.store.nodes import CLUSTER, cluster_card
from effbench.store.runs import any_document, card_of, keep_site, record_of, replay, scored, site_of

__all__ = [
    "Compared",
    "DocumentError",
    "Done",
    "InputError",
    "Projection",
    "any_document",
    "artefacts",
    "budget",
    "calibration",
    "card_of",
    "checked_folder",
    "checked_launch",
    "cluster_artefacts",
    "compare_records",
    "diagnose",
    "encode",
    "finished",
    "first_round",
    "first_teams",
    "folder_for",
    "grade",
    "joined",
    "keep_site",
    "load_policy",
    "load_site",
    "load_suite",
    "look",
    "plan",
    "project",
    "record_of",
    "recorded_site",
    "recording",
    "redacted",
    "render",
    "replay",
    "run",
    "same_node",
    "score",
    "site_of",
    "tool",
    "unfinished",
]


def load_suite(name: str, extra: Sequence[Path] = ()) -> Suite:
    """Load a suite by name (`node/quick`) or path, checked against its kernels.

    Raises:
        InputError: no such suite, or mistakes in it (CatalogError lists them all).
    """
    known = {kernel: kernels.load(kernel).Params for kernel in kernels.names()}
    return suites.load_suite(resources.find("workloads", name, extra), known)


def load_policy(name: str, extra: Sequence[Path] = ()) -> Policy:
    """Load a policy by name (`node-2026`) or path.

    Raises:
        InputError: no such policy, or mistakes in it (CatalogError lists them all).
    """
    return policies.load_policy(resources.find("policies", name, extra))


def look(environment: Mapping[str, str], fake: str | None = None, devices: str = "all") -> Site:
    """Look at this node: its accelerators, joined across driver and torch, and named by the catalogue.

    Raises:
        SiteError: torch is missing, or cannot use a GPU that the driver lists and `devices` does not leave out.
        InputError: `fake` names no row of the catalogue.
    """
    return survey(engine.environment_for_children(environment), fake, devices)


def plan(suite: Suite, site: Site, devices: str = "all", only: str | None = None, nodes: int = 1) -> Plan:
    """Make the plan of `suite` on the chosen devices of a node; teams may lie over `nodes` such nodes."""
    chosen = planning.devices_of(site.inventory, devices)
    findings = [f for f in site.findings if f.device is None or f.device in {a.key for a in chosen}]
    return planning.make(suite, site.inventory, chosen, parts.digest(), only, findings, nodes)


def run(
    todo: Plan,
    inventory: Inventory,
    folder: Path,
    display: engine.Display,
    options: engine.Options,
    done: Done = frozenset(),
) -> tuple[Record, str]:
    """Measure `todo` into `folder`, but for the trials in `done`. Returns the record and the outcome.

    Raises:
        OutputError: the folder cannot take the journal; the journal keeps what was measured before.
    """
    writer = journal.JournalWriter(folder / documents.JOURNAL)
    try:
        outcome = engine.Engine(todo, inventory, writer, display, options, done).run()
    finally:
        writer.close()
    return replay(folder), outcome


def render(name: str, card: Scorecard, verdict: Grade | None, record: Record | None) -> bytes:
    """Render a scorecard in one format.

    Raises:
        InputError: no such format; the message lists the ones there are.
    """
    if name not in report.names():
        raise InputError(f"no format {name!r}; there are: {', '.join(report.names())}")
    data: bytes = report.load(name).render(card, verdict, record)
    return data


def artefacts(folder: Path, record: Record, policy: Policy, facts: SiteFacts | None = None) -> tuple[Scorecard, Grade]:
    """Score and grade `record` and write every artefact but the journal into `folder`, whatever the verdict.

    `facts` are the site's own figures; those kept in `folder` stand in when there are none. So is a baseline.

    Raises:
        OutputError: the disk is full or not writable; each artefact is whole or absent.
    """
    card = scored(record, folder, facts)
    verdict = grade(card, policy)
    documents.write(folder / documents.RECORD, documents.encode(record))
    documents.write(folder / documents.SCORECARD, documents.encode(card))
    _reports(folder, card, verdict, record)
    return card, verdict


def cluster_artefacts(folder: Path, policy: Policy) -> tuple[Scorecard, Grade]:
    """Score the campaign in `folder`, grade it and write `cluster.json` and its reports, whatever the verdict.

    Raises:
        InputError: `folder` holds no campaign, or not one node reported. OutputError: it cannot be written.
    """
    card = cluster_card(folder, policy)
    verdict = grade(card, policy)
    documents.write(folder / CLUSTER, documents.encode(card))
    _reports(folder, card, verdict, None)
    return card, verdict


def _reports(folder: Path, card: Scorecard, verdict: Grade, record: Record | None) -> None:
    """Write the grade and every format that leaves a file."""
    documents.write(folder / documents.GRADE, documents.encode(verdict))
    for name in report.names():
        reporter = report.load(name)
        if reporter.FILENAME and reporter.FILENAME != documents.SCORECARD:
            documents.write(folder / reporter.FILENAME, reporter.render(card, verdict, record))


def calibration(facts: SiteFacts | None, inventory: Inventory) -> Callable[[list[Sensor]], list[Sensor]] | None:
    """Return what puts the site's gains and offsets into sensors' cards; None when it gave none."""
    if facts is None or not facts.calibrations:
        return None
    uuids = {a.key: a.uuid for a in inventory.accelerators}
    return lambda sensors: calibrated(sensors, facts, uuids)


def tool() -> Tool:
    """This program's version and the digest of its own source files."""
    return Tool(__version__, source_digest())


def folder_for(root: Path, todo: Plan, node: str) -> Path:
    """Choose the run folder `<root>/<utc>-<node>-<digest8>`."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    safe = "".join(c if c.isalnum() or c in "-_." else "-" for c in node) or "node"
    return root / f"{stamp}-{safe}-{short(todo.digest)}"


def checked_launch(todo: Plan, launcher: str, environment: Mapping[str, str]) -> None:
    """Refuse before anything is measured what no team could be started with.

    Raises:
        InputError: there is no such launcher.
        SiteError: this program was itself started several times over, by srun or torchrun.
    """
    if any(trial.scope != "device" and trial.skipped is None for trial in todo.trials):
        launcher_of(launcher)
        refuse_nested(environment)


def checked_folder(folder: Path) -> Path:
    """Prepare the run folder before anything is measured. Raises OutputError when it cannot take results."""
    documents.prepare(folder)
    return folder


def budget(todo: Plan, asked_s: float | None) -> float:
    """The budget that is enforced: the asked one, else the suite's. Raises InputError when it is no positive time."""
    if asked_s is not None and not (math.isfinite(asked_s) and asked_s > 0):
        raise InputError(f"--budget {asked_s:g} s is not a number of seconds above zero")
    return asked_s if asked_s is not None else todo.budget_s


def encode(document: msgspec.Struct) -> bytes:
    """Return a document as JSON, as it is stored."""
    return documents.encode(document)


def first_round(todo: Plan, device: str) -> list[Trial]:
    """Return the trials of one device in the order of the first round."""
    return planning.order(todo, 0, device)


def first_teams(todo: Plan) -> list[list[Trial]]:
    """Return the teams of the first round, each with its trials in order."""
    return planning.team_order(todo, 0)


def unfinished(folder: Path) -> Record:
    """Return what the journal in `folder` holds so far, for the run to be continued.

    Raises:
        DocumentError: there is no journal; a record alone cannot be continued, nothing could be added to it.
    """
    return replay(folder)


def joined(earlier: Plan, later: Plan) -> Plan:
    """Join two plans of the same node into one: the trials of both, each once.

    Raises:
        InputError: they were made for different devices.
    """
    return planning.joined(earlier, later)


def redacted(source: Path, target: Path, salt: bytes, words: Sequence[str]) -> Record:
    """Write a redacted copy of the journal in `source` into `target` and return its record."""
    whole = journal.read(source / documents.JOURNAL)
    journal.copy(target / documents.JOURNAL, redact(whole.events, salt, words, whole.damage))
    return replay(target)


def diagnose(environment: Mapping[str, str], fake: str | None = None) -> tuple[Inventory, list[Sensor], list[Finding]]:
    """Look at the node and watch it for two seconds; return it, its power sensors, what would disturb a measurement."""
    children = engine.environment_for_children(environment)
    site = survey(children, fake)
    seen = watch_for(site.inventory.accelerators, children, doctor.WATCH_S)
    return site.inventory, seen.sensors, [*site.findings, *doctor.examine(site.inventory, seen)]


def recording(path: Path) -> Recording:
    """Open a run folder or a journal as a device to play back. Raises DocumentError when it cannot be read."""
    return Recording(path / documents.JOURNAL if path.is_dir() else path)


def recorded_site(played: Recording) -> Site:
    """Return the node that a recording was made on, every device marked as simulated."""
    return Site(played.inventory, [])
