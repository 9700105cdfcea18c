"""`effbench run`: measure, score, grade, report; exit with the verdict."""

import signal
from pathlib import Path
from typing import Any

import click

from effbench import api, qualification
from effbench.cli import measured, options, slurm_options, slurm_run
from effbench.model.plan import Plan
from effbench.model.record import Record
from effbench.run.recording import Recording
from effbench.run.site import Site

DEFAULT_SUITE = "node/quick"


@click.command("run")
@click.argument("suite", required=False, metavar="[SUITE]")
@click.option("--device", default="all", show_default=True, help="all, cpu, or names such as gpu0,gpu1 (or cuda:0).")
@options.policy_option
@click.option("--budget", type=float, metavar="S", help="Seconds from start to report; the suite's own if absent.")
@click.option("--only", metavar="GLOB", help="Run only the trials or workloads whose id matches.")
@click.option("--resume", type=click.Path(path_type=Path, exists=True), metavar="RUN", help="Continue a run folder.")
@click.option("-o", "folder", type=click.Path(path_type=Path), metavar="DIR", help="The run folder; must be empty.")
@click.option("--fake", metavar="PART[*N]", help="Simulate devices of the catalogue, to try effbench without them.")
@click.option("--replay", type=click.Path(path_type=Path, exists=True), metavar="RUN", help="Play a recorded run back.")
@click.option(
    "--launcher",
    type=measured.LAUNCHERS,
    help="What starts trials of several ranks; absent, slurm in an allocation of several nodes, else torchrun.",
)
@slurm_options.slurm_options
@options.site_option
@options.baseline_option
@options.workloads_option
@options.json_option
def command(
    suite: str | None,
    device: str,
    policy: str,
    budget: float | None,
    only: str | None,
    resume: Path | None,
    folder: Path | None,
    fake: str | None,
    replay: Path | None,
    launcher: str | None,
    site: Path | None,
    baseline: Path | None,
    workloads: Path | None,
    as_json: bool,
    **slurm: Any,
) -> int:
    """Measure this node with SUITE (default node/quick, or the suite of the run that is resumed) and rate it.

    Writes journal, record, scorecard, grade, HTML, Markdown, JUnit and Prometheus files into the run folder, and
    ends with the verdict as exit code: 0 pass, 1 fail, 3 not rated, 4 undecided.

    With --launcher slurm --nodes N the run is submitted as one job; inside an allocation it starts right there. With
    --each it is a campaign: a run on each node by itself, a record per node under DIR/<node>/, then DIR/cluster.json;
    the exit code is 1 when a node failed, else 3 when one is not rated or did not report, else 4, else 0.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler's SIGTERM is a person's Ctrl-C
    extra = options.search_path(workloads)
    rules = api.load_policy(policy, extra)
    placed = slurm_run.placed(launcher, slurm)
    if placed.submitted:
        return slurm_run.submitted(placed, suite or DEFAULT_SUITE, extra, rules)
    if site is not None:
        api.load_site(site)  # its mistakes are told before anything is measured
    folder, earlier = _begun(resume, folder)
    recording = api.recording(replay) if replay is not None else None
    asked = api.load_suite(_suite(suite, earlier, recording), extra)
    if folder is not None and earlier is None:
        api.checked_folder(folder)
    seen = api.recorded_site(recording) if recording else api.look(options.environment(), fake, device)
    todo = _joined(earlier, api.plan(asked, seen, device, only, placed.nodes), seen)
    allowed_s = api.budget(todo, budget)
    here, done = options.environment(), _done(earlier)
    work = qualification.job(
        todo, seen, folder, allowed_s, placed.launcher, rules, here, site, recording, done, baseline
    )
    return measured.present(measured.measured(work), work.folder, as_json)


def _joined(earlier: Record | None, todo: Plan, site: Site) -> Plan:
    """The plan, joined with that of the run that goes on, if one does."""
    if earlier is None:
        return todo
    api.same_node(earlier, site)
    return api.joined(earlier.plan, todo)


def _done(earlier: Record | None) -> api.Done:
    """What need not be run again."""
    return api.finished(earlier) if earlier is not None else frozenset()


def _begun(resume: Path | None, folder: Path | None) -> tuple[Path | None, Record | None]:
    """The run folder, and what its journal holds already when the run is resumed."""
    if resume is None:
        return folder, None
    if folder is not None:
        raise click.UsageError("--resume continues in the folder of RUN; leave out -o.")
    folder = resume if resume.is_dir() else resume.parent
    return folder, api.unfinished(folder)


def _suite(asked: str | None, earlier: Record | None, recording: Recording | None) -> str:
    """The suite to run: the one asked for, else that of the run that goes on or is played back, else the default."""
    if asked is not None:
        return asked
    if earlier is not None:
        return earlier.plan.suite
    return recording.suite if recording is not None else DEFAULT_SUITE
