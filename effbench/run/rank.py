"""The rank program: `python -m effbench.run.rank FOLDER`. One process of a team, from meeting the others to its end.

It reads `team.json` in its folder, and writes what it does to `rank-<r>.jsonl` there; rank 0 also writes the trials'
journal lines to `events.jsonl`. What libraries print goes to `rank-<r>.log`. It never opens a port of its own but the
one that the ranks meet at.
"""

import argparse
import contextlib
import faulthandler
import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec

from effbench import kernels
from effbench.kernels import group as groups
from effbench.kernels.contract import Step
from effbench.launch.leash import die_with_parent
from effbench.model.error import EffbenchError, SiteError
from effbench.model.event import Closed, Noted, Opened, Sample, Window
from effbench.model.inventory import Accelerator
from effbench.model.plan import Trial
from effbench.model.team import RankNote, TeamSpec
from effbench.run.agreement import disagreement, source_digest
from effbench.run.measure_group import measure_group
from effbench.run.placement import narrowed
from effbench.run.ranks import Rank, discover, node_name
from effbench.run.wire import Progress, encode

__all__ = ["Outgoing", "main"]

# What a kernel may raise; anything else is a bug of ours, and its traceback goes to the log.
KERNEL_ERRORS = (EffbenchError, MemoryError, RuntimeError, ValueError, TypeError, OSError, ArithmeticError)
TERMINATED = 143
# Recorded with every team trial: what was chosen of the network.
NETWORK = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME", "NCCL_ALGO", "NCCL_PROTO", "NCCL_IB_HCA")


class Outgoing:
    """Where a rank writes: its notes, and on rank 0 the events of the trials."""

    def __init__(self, folder: Path, rank: int) -> None:
        self.rank, self.trial = rank, ""
        self._node = node_name(os.environ)
        self._notes = (folder / f"rank-{rank}.jsonl").open("ab", buffering=0)
        self._events: BinaryIO | None = (folder / "events.jsonl").open("ab", buffering=1 << 16) if rank == 0 else None

    def note(self, phase: str, detail: str = "") -> None:
        """Write one line about where this rank is."""
        note = RankNote(
            time.monotonic_ns(), time.time_ns(), self.rank, phase, self._node, os.getpid(), self.trial, detail[:600]
        )
        self._notes.write(msgspec.json.encode(note) + b"\n")

    def event(self, event: Sample | Noted | Closed | Opened | Window) -> None:
        """Write one event on rank 0. Samples are buffered; anything else flushes."""
        if self._events is not None:
            self._events.write(encode(event))
            if not isinstance(event, Sample):
                self._events.flush()

    def progress(self, progress: Progress) -> None:
        """Say that this rank still works, and on rank 0 how far the trial is."""
        self.note("step", progress.phase)
        if self._events is not None:
            self._events.write(encode(progress))
            self._events.flush()


def main(words: Sequence[str]) -> int:
    """Be one rank; return the exit status."""
    die_with_parent()
    folder, explicit = _arguments(words)
    try:
        rank = discover(dict(os.environ), explicit)
        spec = msgspec.json.decode((folder / "team.json").read_bytes(), type=TeamSpec)
    except (EffbenchError, OSError, msgspec.DecodeError) as error:
        return _refused(folder, str(error))
    out = Outgoing(folder, rank.rank)
    out.note("start")
    _listen_for_the_end(out)
    _redirect(folder / f"rank-{rank.rank}.log")
    try:
        _work(spec, rank, out)
    except KERNEL_ERRORS as error:
        out.note("peer" if groups.is_peers_fault(error) else "error", _sentence(error))
        return error.exit_code if isinstance(error, EffbenchError) else 1
    out.note("end")
    return 0


def _arguments(words: Sequence[str]) -> tuple[Path, Rank | None]:
    parser = argparse.ArgumentParser(prog="python -m effbench.run.rank")
    parser.add_argument("folder", type=Path)
    for name in ("--rank", "--ranks", "--local-rank", "--node-rank"):
        parser.add_argument(name, type=int)
    asked = parser.parse_args(list(words))
    if asked.rank is None and asked.ranks is None:
        return asked.folder, None
    if asked.rank is None or asked.ranks is None:
        parser.error("--rank and --ranks go together")
    local = asked.rank if asked.local_rank is None else asked.local_rank
    return asked.folder, Rank(asked.rank, asked.ranks, local, asked.node_rank or 0, "--rank, --ranks")


def _refused(folder: Path, why: str) -> int:
    """Say why this process does not know what it is: in the team's folder, or where that cannot be, on stderr."""
    node = node_name(os.environ)
    note = RankNote(time.monotonic_ns(), time.time_ns(), -1, "error", node, os.getpid(), detail=why[:600])
    with contextlib.suppress(OSError):
        (folder / f"rank-x{node}-{os.getpid()}.jsonl").write_bytes(msgspec.json.encode(note) + b"\n")
    sys.stderr.write(f"effbench.run.rank: {why}\n")
    return SiteError.exit_code


def _listen_for_the_end(out: Outgoing) -> None:
    """Note a SIGTERM (torchrun sends it when another rank failed) even while the main thread waits in a collective."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def wait() -> None:
        signal.sigwait({signal.SIGTERM})
        out.note("terminated")
        os._exit(TERMINATED)

    threading.Thread(target=wait, daemon=True, name="end").start()


def _redirect(log: Path) -> None:
    sink = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    os.close(sink)
    faulthandler.enable()


def _work(spec: TeamSpec, rank: Rank, out: Outgoing) -> None:
    """Take this rank's device, meet the others, agree with them, and do every trial."""
    if rank.world_size != spec.ranks:
        raise SiteError(f"{rank.source} started {rank.world_size} ranks for a team of {spec.ranks}")
    accelerator = _device(spec, rank)
    seat = groups.Seat(rank.rank, rank.world_size, rank.local_rank, rank.node_rank)
    deadline_s, device = spec.deadline_s, accelerator.torch_device
    where = f"{os.environ.get('MASTER_ADDR', '?')}:{os.environ.get('MASTER_PORT', '?')}"
    group = groups.join(seat, spec.backend, deadline_s, device=device, join_s=deadline_s, where=where)
    out.note("joined", rank.source)
    network = {name: os.environ[name] for name in NETWORK if os.environ.get(name)}
    rig = groups.GroupRig(accelerator, spec.seed, group, network)
    _agree(spec, rig)
    out.note("agreed")
    for trial in spec.trials:
        _trial(trial, spec, rig, out)
    group.barrier()
    group.close()


def _device(spec: TeamSpec, rank: Rank) -> Accelerator:
    """Take this rank's cores or its GPU, before torch is loaded: thread pools and contexts are made of what is there.

    Raises:
        SiteError: there are more ranks on this node than devices, or the cores are not ours.
    """
    first = spec.accelerators[0]
    if first.kind == "cpu":
        cores = spec.trials[0].placement.cores
        if rank.local_rank >= len(cores):
            raise SiteError(f"rank {rank.rank} is number {rank.local_rank} on its node, which has {len(cores)} places")
        mine = cores[rank.local_rank]
        try:
            os.sched_setaffinity(0, mine)
        except OSError as error:
            raise SiteError(f"rank {rank.rank} may not use cores {mine}: {error.strerror}") from error
        os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(len(mine))
        return narrowed(first, mine)
    if spec.nodes > 1:  # every node has devices of its own: what the engine shows us counts
        shown = [one for one in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if one.strip()]
        index = 0 if len(shown) == 1 else rank.local_rank
        return msgspec.structs.replace(first, torch_device=f"cuda:{index}")
    if rank.local_rank >= len(spec.accelerators):
        there = len(spec.accelerators)
        raise SiteError(f"rank {rank.rank} is number {rank.local_rank} on its node, which has {there} devices")
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(one.uuid for one in spec.accelerators)
    return msgspec.structs.replace(spec.accelerators[rank.local_rank], torch_device=f"cuda:{rank.local_rank}")


def _agree(spec: TeamSpec, rig: groups.GroupRig) -> None:
    """Make sure that every rank runs the same software. Raises SiteError that names what differs, and where."""
    mine = {
        "effbench": source_digest() if spec.source_digest else "",  # one node has one installation
        "plan": spec.token,
        "python": platform.python_version(),
        **groups.versions(rig.accelerator),
    }
    told = rig.group.all_objects([node_name(os.environ), mine])
    difference = disagreement([(node, facts) for node, facts in told], spec.source_digest)
    if difference:
        raise SiteError(difference)


def _trial(trial: Trial, spec: TeamSpec, rig: groups.GroupRig, out: Outgoing) -> None:
    """Build, measure and close one trial. A rank that cannot build closes it for all as `failed`, and the team goes on.

    Raises whatever `measure_group` raises: after an error in the middle of collectives the team cannot go on.
    """
    out.trial = trial.id
    out.note("trial")
    out.event(Opened(time.monotonic_ns(), trial.id, spec.round, spec.process, trial.placement.devices[0]))
    step: Step | None = None
    problem = ""
    module = kernels.load(trial.kernel)
    try:
        rig.reset_peak()
        step = module.build(msgspec.convert(trial.params, module.Params), rig)
    except KERNEL_ERRORS as error:
        if groups.is_peers_fault(error):
            raise
        problem = _sentence(error)
        out.note("problem", problem)
    problems = [f"rank {rank}: {text}" for rank, text in enumerate(rig.group.all_objects(problem)) if text]
    if problems:
        out.event(Closed(time.monotonic_ns(), trial.id, spec.round, "failed", problems[0][:500]))
    elif step is not None:
        measure_group(step, trial, rig, spec.round, out)
    if step is not None:
        step.close()
    out.note("closed")
    out.trial = ""


def _sentence(error: BaseException) -> str:
    text = str(error).strip()
    first = text.splitlines()[0] if text else "no message"
    return first if isinstance(error, EffbenchError) else f"{type(error).__name__}: {first}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
