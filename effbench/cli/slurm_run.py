"""`effbench run --launcher slurm` outside of an allocation: submit, follow, and show what came back."""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from effbench.cli import cluster_files, options
from effbench.cli.slurm_options import SlurmAsked, placed
from effbench.launch import slurm_queue
from effbench.model.error import SiteError
from effbench.model.policy import Policy
from effbench.run.campaign import WHOLE, Batch, usable
from effbench.run.task_fate import DONE
from effbench.store import documents


def words(suite: str, given: Sequence[tuple[str, Any]]) -> list[str]:
    """Write the run that a task does, as a shell would: this python, this effbench. Paths become absolute."""
    said = [sys.executable, "-P", "-m", "effbench", "run", suite]
    for name, value in given:
        if value is not None and value != "":
            said += [name, str(value.resolve()) if isinstance(value, Path) else str(value)]
    return said


def campaign(folder: Path, asked: SlurmAsked, suite: str, called: Sequence[str], rules: Policy, as_json: bool) -> int:
    """Run one suite on each of many nodes by itself, compare them, and return the exit code of their verdict."""
    environment = _environment()
    slurm_queue.reached(environment)
    names, barred = usable(asked.nodes, asked.partition, environment)
    if not names:
        raise SiteError("none of these nodes can run a job: " + "; ".join(f"{n}: {why}" for n, why in barred.items()))
    documents.prepare(folder)
    batch = Batch(folder.resolve(), asked.asked(), environment, options.say)
    batch.prepare(suite, barred)
    for name, why in barred.items():
        options.say(f"{name}: {why}")
    try:
        batch.each(names, called, asked.at_once)
        fates = batch.follow()
    finally:
        batch.close()
    if DONE not in fates.values() and not any((folder / name).is_dir() for name in names):
        raise SiteError("no node reported: " + "; ".join(f"{name}: {why}" for name, why in list(fates.items())[:5]))
    card, verdict = cluster_files.write(folder, rules)
    return cluster_files.show(folder, card, verdict, as_json)


def whole(folder: Path, asked: SlurmAsked, suite: str, called: Sequence[str]) -> None:
    """Submit one run over nodes and follow it until its results are in `folder`.

    Raises:
        SiteError: it came to no result, with the reason and the last words of the run.
    """
    environment = _environment()
    slurm_queue.reached(environment)
    where = placed(asked, lambda listed: _able(listed, asked.partition, environment))
    documents.prepare(folder)
    batch = Batch(folder.resolve(), asked.asked(), environment, options.say)
    batch.prepare(suite, {})
    try:
        batch.whole(called, where)
        fates = batch.follow()
    finally:
        batch.close()
    if not (folder / documents.RECORD).exists():
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


def _environment() -> dict[str, str]:
    """Take the environment, and let a lost terminal end this program as Ctrl-C does: jobs are cancelled."""
    signal.signal(signal.SIGHUP, signal.default_int_handler)
    return dict(os.environ)
