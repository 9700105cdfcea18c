"""Asks Slurm: which nodes there are, where each task is, submit, pin, cancel. By its own commands, never slurmdbd.

Field letters are those of squeue(1) and sinfo(1), Slurm 22.05. A refusal is passed on in Slurm's own words.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence

import msgspec

from effbench.model.error import InputError, SiteError

__all__ = [
    "ENDED",
    "NodeState",
    "Task",
    "address",
    "array_limit",
    "call",
    "cancel",
    "hostnames",
    "nodes",
    "pin",
    "reached",
    "said",
    "submit",
    "tasks",
]

DEADLINE_S = 60.0
# squeue(1), JOB STATE CODES: a task in one of these states does not come back by itself.
ENDED = (
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL"),
    *("OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"),
)
# sinfo(1), NODE STATE CODES: a task that is pinned to such a node starts sooner or later. Flags behind them: `*` does
# not answer, everything else (~ # % $ @ - +) comes back by itself.
_ABLE = ("idle", "mixed", "allocated", "completing", "planned", "reserved", "powering_up", "powered_down")
ARRAY_LIMIT = 1001  # MaxArraySize's default: indices 0 to 1000


class Task(msgspec.Struct, frozen=True):
    """One line of squeue. `index` is the array index, None of a plain job; `wanted` the node that it is pinned to."""

    job: str
    index: int | None
    state: str
    node: str
    wanted: str
    reason: str


class NodeState(msgspec.Struct, frozen=True):
    """One line of sinfo. `able` says whether a job can start there now or later without somebody's help."""

    name: str
    state: str
    able: bool
    reason: str


def call(
    words: Sequence[str], environment: Mapping[str, str], given: str = "", deadline_s: float = DEADLINE_S
) -> "subprocess.CompletedProcess[str]":
    """Run one of Slurm's commands. Raises SiteError when it is absent or does not answer in time."""
    found = shutil.which(words[0], path=environment.get("PATH", os.defpath))
    if found is None:
        raise SiteError(
            f"{words[0]} is not on PATH: Slurm's commands are not on this machine; run this on a login node of the "
            "cluster, or leave out --launcher slurm to stay on this node"
        )
    try:
        return subprocess.run(
            [found, *words[1:]],
            input=given,
            capture_output=True,
            text=True,
            errors="replace",
            env=dict(environment),
            timeout=deadline_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise SiteError(
            f"{words[0]} did not answer within {deadline_s:.0f} s; is slurmctld up? (`scontrol ping`)"
        ) from error
    except OSError as error:
        raise SiteError(f"{found}: cannot be run: {error.strerror}") from error


def said(words: Sequence[str], answer: "subprocess.CompletedProcess[str]") -> str:
    """Return what a command that failed said on stderr, in one line."""
    text = " / ".join(line.strip() for line in answer.stderr.splitlines() if line.strip())
    return text or f"{words[0]} ended with status {answer.returncode} and no message"


def reached(environment: Mapping[str, str]) -> None:
    """Make sure that Slurm's commands are there. Raises SiteError naming the one that is absent."""
    path = environment.get("PATH", os.defpath)
    absent = [
        name
        for name in ("sbatch", "srun", "squeue", "sinfo", "scontrol", "scancel")
        if not shutil.which(name, path=path)
    ]
    if absent:
        raise SiteError(
            f"{', '.join(absent)} not found on PATH: --launcher slurm needs Slurm's commands; run this on a login node "
            "of the cluster, or leave out --launcher slurm to stay on this node"
        )


def hostnames(listed: str, environment: Mapping[str, str]) -> list[str]:
    """Spell out a node list such as `n[1-3],n7`, in its order, each name once.

    Raises:
        InputError: Slurm cannot read the list.
    """
    words = ["scontrol", "show", "hostnames", listed]
    answer = call(words, environment)
    found = list(dict.fromkeys(answer.stdout.split()))
    if answer.returncode or not found:
        raise InputError(f"--nodes {listed!r}: {said(words, answer)}")
    return found


def nodes(environment: Mapping[str, str], partition: str = "") -> list[NodeState]:
    """List the nodes of the cluster, or of one partition, each once, in sinfo's order.

    Raises:
        SiteError: sinfo does not answer. InputError: there is no such partition, or it has no nodes.
    """
    words = ["sinfo", "-h", "-N", "-o", "%N|%T|%E", *(["-p", partition] if partition else [])]
    answer = call(words, environment)
    if answer.returncode:
        raise SiteError(f"sinfo does not answer: {said(words, answer)}")
    found: dict[str, NodeState] = {}
    for line in answer.stdout.splitlines():
        name, state, reason = (*line.strip().split("|", 2), "", "")[:3]
        if name and name not in found:
            found[name] = NodeState(name, state, _able(state), "" if reason.lower() == "none" else reason)
    if not found:
        where = f"partition {partition!r}" if partition else "this cluster"
        raise InputError(f"sinfo lists no nodes in {where}; `sinfo -s` shows the partitions")
    return list(found.values())


def _able(state: str) -> bool:
    return state.lower().startswith(_ABLE) and not state.endswith("*")


def submit(words: Sequence[str], script: str, environment: Mapping[str, str]) -> str:
    """Hand `script` to `sbatch` (`words` are its options) and return the id of the job.

    Raises:
        InputError: sbatch refused; its message.
    """
    called = ["sbatch", "--parsable", *words]
    answer = call(called, environment, script)
    job = answer.stdout.strip().split("\n")[-1].partition(";")[0].strip()
    if answer.returncode or not job.isdigit():
        raise InputError(f"sbatch refused the job: {said(called, answer)}")
    return job


def pin(job: str, wanted: Sequence[str], environment: Mapping[str, str]) -> None:
    """Pin task `i` of the held array `job` to `wanted[i]`, see that it took, and release the array.

    Slurm gives every task of an array the same request, so the node is set per task while the array is held.

    Raises:
        SiteError: a task could not be pinned or released; the caller cancels the job.
    """
    lines = [f"update JobId={job}_{i} ReqNodeList={name}" for i, name in enumerate(wanted)]
    answer = call(["scontrol", "-Q"], environment, "\n".join([*lines, "quit", ""]), deadline_s=10 * DEADLINE_S)
    here = {task.index: task.wanted for task in tasks([job], environment)}
    loose = [name for i, name in enumerate(wanted) if here.get(i) != name]
    if loose:
        raise SiteError(
            f"Slurm would not pin a task to {', '.join(loose[:5])}"
            f"{f' and {len(loose) - 5} more' if len(loose) > 5 else ''}: {said(['scontrol'], answer)}"
        )
    words = ["scontrol", "release", job]
    answer = call(words, environment)
    if answer.returncode:
        raise SiteError(f"Slurm would not release job {job}: {said(words, answer)}")


def tasks(jobs: Sequence[str], environment: Mapping[str, str]) -> list[Task]:
    """Return where every task of `jobs` is; one that Slurm has forgotten (MinJobAge) is absent.

    Raises:
        SiteError: squeue does not answer. That may pass: slurmctld restarts.
    """
    words = ["squeue", "-h", "-r", "-t", "all", "-j", ",".join(jobs), "-o", "%i|%T|%N|%n|%r"]
    answer = call(words, environment)
    if answer.returncode and "Invalid job id" not in answer.stderr:
        raise SiteError(f"squeue does not answer: {said(words, answer)}")
    return [_task(line) for line in answer.stdout.splitlines() if line.count("|") >= 4]


def _task(line: str) -> Task:
    name, state, node, wanted, reason = line.strip().split("|", 4)
    job, _, index = name.partition("_")
    return Task(job, int(index) if index.isdigit() else None, state.upper(), node, wanted, reason)


def cancel(names: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Cancel jobs, array tasks (`12_3`) or steps (`12.0`) by id. True when Slurm took it; safe to call again."""
    if not names:
        return True
    try:
        return call(["scancel", "--quiet", *names], environment).returncode == 0
    except SiteError:
        return False


def array_limit(environment: Mapping[str, str]) -> int:
    """Return how many tasks one array may have: MaxArraySize, which is one above the greatest index."""
    answer = call(["scontrol", "show", "config"], environment)
    for line in answer.stdout.splitlines():
        name, _, value = line.partition("=")
        if name.strip() == "MaxArraySize" and value.strip().isdigit():
            return max(1, int(value))
    return ARRAY_LIMIT


def steps(job: str, name: str, environment: Mapping[str, str]) -> list[str]:
    """Return the ids of the steps of `job` that are called `name` and still run; none when squeue does not answer."""
    try:
        answer = call(["squeue", "-h", "-s", "-j", job, "-o", "%i|%j"], environment)
    except SiteError:
        return []
    pairs = [line.strip().partition("|") for line in answer.stdout.splitlines()]
    return [found for found, _, called in pairs if called == name]


def address(name: str, environment: Mapping[str, str]) -> str:
    """Return the address by which Slurm itself reaches a node (`NodeAddr`); its name when Slurm does not tell."""
    answer = call(["scontrol", "show", "node", name, "--oneliner"], environment)
    found = [word.removeprefix("NodeAddr=") for word in answer.stdout.split() if word.startswith("NodeAddr=")]
    return found[0] if found and found[0] not in ("", "(null)") else name
