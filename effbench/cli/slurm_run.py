"""`effbench run` and Slurm: is a run submitted, started in the allocation at hand, or none of Slurm's business?"""

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from effbench import api
from effbench.cli import cluster_files, options
from effbench.cli.slurm_options import SlurmAsked, inside_slurm, sbatch_nodes, taken
from effbench.launch import slurm, slurm_queue
from effbench.model.error import InputError, SiteError
from effbench.model.grade import EXIT_CODES
from effbench.model.policy import Policy
from effbench.run.campaign import WHOLE, Batch, usable
from effbench.store import documents


class Placed(msgspec.Struct, frozen=True):
    """Where a run is to happen: `submitted` to Slurm, or here, by `launcher`, over `nodes` nodes of the allocation."""

    launcher: str
    asked: SlurmAsked
    submitted: bool = False
    nodes: int = 1


def placed(launcher: str | None, given: Mapping[str, Any]) -> Placed:
    """Decide where a run happens. An allocation of several nodes is found without being named.

    Raises:
        click.UsageError: options contradict each other. SiteError: Slurm's commands are not here.
    """
    environment = dict(os.environ)
    inside = inside_slurm(environment)
    if launcher is None:
        several = inside and int(environment.get("SLURM_JOB_NUM_NODES") or environment.get("SLURM_NNODES") or 1) > 1
        launcher = "slurm" if several else "torchrun"
    asked = taken(given, launcher)
    if launcher != "slurm":
        return Placed(launcher, asked)
    slurm_queue.reached(environment)
    if asked.each or not inside:
        return Placed(launcher, asked, submitted=True)
    if asked != SlurmAsked():
        raise click.UsageError("this is inside a Slurm allocation: leave out --nodes and what sbatch would take.")
    if "SLURMD_NODENAME" not in environment:
        _onto_node(environment)
    found = slurm.allocation(environment)
    assert found is not None
    return Placed(launcher, asked, nodes=len(found.nodes))


def _onto_node(environment: Mapping[str, str]) -> None:
    """Start this very command again on the first node of the allocation: `salloc` leaves its shell elsewhere."""
    kept = slurm.own_environment(environment)
    step = ["srun", "--nodes=1-1", "--ntasks=1", "--overlap", "--cpu-bind=none", "--mpi=none", "--input=none"]
    options.say(f"on the first node of allocation {environment['SLURM_JOB_ID']}")
    said = [*sys.argv[1:]] if "--launcher" in sys.argv else [*sys.argv[1:], "--launcher", "slurm"]
    os.execvpe("srun", [*step, sys.executable, "-P", "-m", "effbench", *said], kept)


def words(suite: str, given: Mapping[str, Any]) -> list[str]:
    """Write the run that a task does, as a shell would: this python, this effbench. Paths become absolute."""
    named = Path(suite)
    said = [sys.executable, "-P", "-m", "effbench", "run", str(named.resolve()) if named.is_file() else suite]
    for name, value in given.items():
        if value is None or value == "":
            continue
        path = Path(value) if isinstance(value, str | Path) else None
        said += [name, str(path.resolve()) if path is not None and path.exists() else str(value)]
    return said


def submitted(where: Placed, suite: str, extra: Sequence[Path], rules: Policy) -> int:
    """Submit a campaign, or one run over nodes, follow it, show what came back, and return the verdict's exit code.

    `extra` are the folders to search for suites; the rest is taken from the command's own parameters.

    Raises:
        click.UsageError: something was asked for that is only possible here. SiteError: no node came to a result.
    """
    given = click.get_current_context().params
    if given["resume"] or given["fake"] or given["replay"]:
        raise click.UsageError("--resume, --fake and --replay are for a run here, not for one that Slurm starts.")
    name = api.load_suite(suite, extra).name
    passed = ("device", "policy", "budget", "only", "site", "baseline", "workloads")
    called = words(suite, {f"--{option}": given[option] for option in passed})
    signal.signal(signal.SIGHUP, signal.default_int_handler)  # a lost terminal is Ctrl-C: the jobs are cancelled
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    root = given["folder"] or Path("reports/runs") / f"{stamp}-{'campaign' if where.asked.each else 'slurm'}"
    root = root.absolute()
    if where.asked.each:
        _campaign(root, where.asked, name, [*called, "--launcher", "torchrun"])
        try:
            card, verdict = api.cluster_artefacts(root, rules)
        except InputError as error:  # no run can be read: here that is the nodes' doing and not the user's
            raise SiteError(str(error)) from error
        return cluster_files.show(root, card, verdict, given["as_json"])
    _whole(root, where.asked, name, [*called, "--launcher", "slurm"])
    return _shown(root, rules, given["as_json"])


def _campaign(root: Path, asked: SlurmAsked, suite: str, called: Sequence[str]) -> None:
    """Run one suite on each of many nodes by itself, until each has reported or is given up.

    Raises:
        SiteError: no node can run a job, or none reported, with the reasons.
    """
    environment = dict(os.environ)
    names, barred = usable(asked.nodes, asked.partition, environment)
    if not names:
        raise SiteError("none of these nodes can run a job: " + "; ".join(f"{n}: {why}" for n, why in barred.items()))
    documents.prepare(root)
    batch = Batch(root, asked.asked(), environment, options.say)
    try:
        batch.prepare(suite, barred)
        for name, why in barred.items():
            options.say(f"{name}: {why}")
        batch.each(names, called, asked.at_once)
        fates = batch.follow()
    finally:
        batch.close()
    if not any((root / name).is_dir() for name in names):
        raise SiteError("no node reported: " + "; ".join(f"{name}: {why}" for name, why in list(fates.items())[:5]))


def _whole(root: Path, asked: SlurmAsked, suite: str, called: Sequence[str]) -> None:
    """Submit one run over nodes and follow it until its results are in `root`.

    Raises:
        SiteError: it came to no result, with the reason and the last words of the run.
    """
    environment = dict(os.environ)
    where = sbatch_nodes(asked, lambda listed: _able(listed, asked.partition, environment))
    documents.prepare(root)
    batch = Batch(root, asked.asked(), environment, options.say)
    try:
        batch.prepare(suite, {})
        batch.whole(called, where)
        fates = batch.follow()
    finally:
        batch.close()
    if not (root / documents.RECORD).exists() and not (root / documents.JOURNAL).exists():
        tail = batch.log_tail(WHOLE)
        raise SiteError(f"the run came to no result: {fates.get(WHOLE, '')}{f' ({tail})' if tail else ''}")


def _able(listed: str, partition: str, environment: dict[str, str]) -> list[str]:
    """Return the nodes for one run over nodes: of `all` those that can run a job; of a list all, or none can start."""
    names, barred = usable(listed, partition, environment)
    told = "; ".join(f"{name}: {why.removeprefix('not asked: ')}" for name, why in barred.items())
    if barred and (listed != "all" or not names):
        raise SiteError(f"cannot run on all of these nodes: {told}")
    if barred:
        options.say(f"without {told}")
    return names


def _shown(root: Path, rules: Policy, as_json: bool) -> int:
    """Show the run that a job left in `root`; one that was cut off gets its record and reports from the journal."""
    if not (root / documents.RECORD).exists():
        api.artefacts(root, api.replay(root), rules)
    card, record = api.card_of(root)
    verdict = api.grade(card, rules)
    if as_json:
        document = {**msgspec.to_builtins(card), "grade": msgspec.to_builtins(verdict), "run_dir": str(root)}
        options.emit_json(document)
    else:
        from effbench.report import terminal

        options.emit(terminal.text(card, verdict, record, options.terminal_width(), options.color()))
        options.emit(f"Report: {root / 'report.html'}\nRun:    {root}")
        options.emit(f"Verdict: {verdict.verdict}, exit code {EXIT_CODES[verdict.verdict]}")
    return EXIT_CODES[verdict.verdict]
