"""Starts a team inside a Slurm allocation, by one `srun` step, and ends the step by its id. Knows no queue's words.

Outside an allocation there is nothing to start a team in: the whole run is submitted instead (`slurm_batch`).
"""

import os
import re
import shutil
import subprocess
import sys
import time
import zlib
from collections.abc import Mapping, Sequence

import msgspec

from effbench.launch import slurm_queue
from effbench.launch.team_job import TeamJob, variables
from effbench.model.error import SiteError

__all__ = ["Allocation", "SlurmTeam", "allocation", "command", "own_environment", "start"]

GRACE_S = 10.0
# What sbatch and srun leave in the environment of a job's shell and what would change a later step unasked: srun(1),
# INPUT ENVIRONMENT VARIABLES. Sizes and placement are ours to say, per team.
_INHERITED = re.compile(
    r"SLURM_(NTASKS\w*|NPROCS|TASKS_PER_NODE|CPUS_PER_TASK|CPU_BIND\w*|MEM_\w+|DISTRIBUTION|NNODES|JOB_NUM_NODES|HINT"
    r"|GPUS_PER_TASK|NODELIST|STEP\w*|PROCID|LOCALID|NODEID|EXACT|EXCLUSIVE|OVERLAP|KILL_BAD_EXIT|NO_KILL|WAIT)"
)


class Allocation(msgspec.Struct, frozen=True):
    """The allocation that this process is in: the job's id and its nodes, in Slurm's order."""

    job: str
    nodes: list[str]


def allocation(environment: Mapping[str, str]) -> Allocation | None:
    """Return the allocation that the environment tells of; None outside of one.

    Raises:
        InputError: its list of nodes cannot be read. SiteError: Slurm's commands are not here.
    """
    job, listed = environment.get("SLURM_JOB_ID", ""), environment.get("SLURM_JOB_NODELIST", "")
    if not job.isdigit() or not listed:
        return None
    return Allocation(job, slurm_queue.hostnames(listed, environment))


def step_name(job: TeamJob) -> str:
    """Name the step of `job`; its token makes it unique, so that the step's id can be found by it. Pure."""
    return f"effbench-{job.token}"


def command(job: TeamJob) -> list[str]:
    """Return the words that start `job` within an allocation. Pure.

    `--kill-on-bad-exit`: one rank's death ends the step. `--overlap`: a task of the same job (ours) holds the cores.
    `--cpu-bind=none`: ranks pin themselves. `--mpi=none`: nothing else sets up ranks. What the job asked for of GPUs,
    its steps have too; not what an exclusive job has without having asked (srun(1), --gres).
    """
    return [
        "srun",
        f"--job-name={step_name(job)}",
        f"--nodes={job.nodes}-{job.nodes}",
        f"--ntasks={job.ranks}",
        f"--ntasks-per-node={job.ranks_per_node}",
        *([f"--nodelist={','.join(job.node_names)}"] if job.node_names else []),
        "--distribution=block",
        "--kill-on-bad-exit=1",
        "--overlap",
        "--cpu-bind=none",
        "--mpi=none",
        "--input=none",
        "--unbuffered",
        "--export=ALL",
        *(sys.executable, "-P", "-u", "-m", job.module, job.folder),
    ]


class SlurmTeam:
    """A started step: the local `srun`, and the step that it stands for."""

    def __init__(self, words: Sequence[str], job: TeamJob, inside: Allocation, environment: Mapping[str, str]) -> None:
        self._job, self._nodes, self._allocated = job, inside.nodes[: job.nodes], inside.job
        self._name, self._environment = step_name(job), dict(environment)
        self._stderr = os.fdopen(os.memfd_create("effbench-srun"), "w+b")
        self._process = subprocess.Popen(
            list(words),
            stdin=subprocess.DEVNULL,
            stdout=self._stderr,
            stderr=self._stderr,
            env=self._environment,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """The local srun: ranks are children of Slurm's step daemons, not of it."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Has srun ended? It does when every task has, or when Slurm gave the step up."""
        return self._process.poll() is not None

    def returncode(self) -> int | None:
        """Srun's status, the highest of its tasks; None while it runs."""
        return self._process.poll()

    def rank_returncodes(self) -> dict[int, int]:
        """Return what srun said of single tasks (`n3: task 2: Exited with exit code 1`) or of their node."""
        per = self._job.ranks_per_node
        seats = {name: list(range(i * per, min((i + 1) * per, self._job.ranks))) for i, name in enumerate(self._nodes)}
        return told(self.stderr_tail(20_000), seats)

    def stderr_tail(self, characters: int = 600) -> str:
        """End of what srun and the ranks wrote."""
        size = os.fstat(self._stderr.fileno()).st_size
        return os.pread(self._stderr.fileno(), characters, max(0, size - characters)).decode("utf-8", "replace").strip()

    def kill(self) -> bool:
        """Cancel the step by its id, end srun, and see that both are gone. False when something stays."""
        began = time.monotonic()
        while not self.ended or self._steps():
            waited = time.monotonic() - began
            if waited > GRACE_S:
                return False
            slurm_queue.cancel(["--signal=KILL", *steps] if (steps := self._steps()) else [], self._environment)
            if waited > GRACE_S / 3 and not self.ended:
                self._process.kill()
            time.sleep(0.2)
        return True

    def _steps(self) -> list[str]:
        return slurm_queue.steps(self._allocated, self._name, self._environment)


_TASKS = re.compile(
    r"srun: error: \S+: tasks? ([\d,\-]+): (?:Exited with exit code (\d+)|(Killed|Terminated|\w[\w ]*))"
)
_SIGNALS = {"Killed": -9, "Terminated": -15, "Segmentation fault": -11, "Aborted": -6, "Bus error": -7}


_LOST = re.compile(r"srun: error: Node failure on (\S+)")
_ENDING = re.compile(r"srun: .*(?:Terminating StepId|Force Terminated|Job step aborted)")


def told(text: str, seats: Mapping[str, Sequence[int]]) -> dict[int, int]:
    """Read srun's messages: exit status by rank, negative for a signal, 1 for a fate that it only describes. Pure.

    `seats` are the ranks of each node. Only what came before Slurm ended the rest counts; when a node failed, its ranks
    are the ones that fell (-9), for Slurm kills the others after it (measured: `Node failure on n2`, then n1's tasks).
    """
    whole = _ENDING.split(text)[0]
    lost = [rank for name in _LOST.findall(whole) for rank in seats.get(name, ())]
    if lost:
        return dict.fromkeys(lost, -9)
    found: dict[int, int] = {}
    for match in _TASKS.finditer(whole):
        status = int(match[2]) if match[2] else _SIGNALS.get(match[3].strip(), 1)
        for piece in match[1].split(","):
            first, _, last = piece.partition("-")
            if first.isdigit():
                found |= dict.fromkeys(range(int(first), int(last or first) + 1), status)
    return found


def start(job: TeamJob, environment: Mapping[str, str]) -> SlurmTeam:
    """Start `job` in the allocation that `environment` tells of.

    Raises:
        SiteError: there is no allocation, it has too few nodes, or srun is not here.
    """
    inside = allocation(environment)
    if inside is None:
        raise SiteError("no Slurm allocation here: `--launcher slurm` outside of one submits the whole run instead")
    if job.nodes > len(inside.nodes):
        listed = ", ".join(inside.nodes)
        raise SiteError(f"{job.nodes} nodes are needed; allocation {inside.job} has {len(inside.nodes)}: {listed}")
    used = inside.nodes[: job.nodes]
    words = command(msgspec.structs.replace(job, node_names=used))
    found = shutil.which(words[0], path=environment.get("PATH", os.defpath))
    if found is None:
        raise SiteError("srun is not on PATH, although this is a Slurm allocation; add Slurm's commands to PATH")
    host = job.host if job.nodes == 1 else slurm_queue.address(used[0], environment)
    kept = own_environment(variables(job, environment))
    kept |= {"SLURM_JOB_ID": inside.job, "MASTER_ADDR": host, "MASTER_PORT": str(job.port or port(job.token))}
    return SlurmTeam([found, *words[1:]], job, inside, kept)


def own_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without what an allocation's shell would make a step inherit unasked. Pure."""
    return {name: value for name, value in environment.items() if not _INHERITED.fullmatch(name)}


def port(token: str) -> int:
    """Choose where the ranks meet: by the launch's token, below the range that kernels hand out (32768 up). Pure.

    The first node is another machine, so no port can be tried beforehand; a taken one is found out and tried anew.
    """
    return 20000 + zlib.crc32(token.encode()) % 12000
