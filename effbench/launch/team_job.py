"""What a launcher is asked to start, and what it hands back: one job of ranks, one handle to end all of it."""

import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

__all__ = ["MODULE", "Launcher", "TeamHandle", "TeamJob", "free_port", "unnumbered", "variables"]

MODULE = "effbench.run.rank"
# Who else numbers processes, and by what.
_FOREIGN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "GROUP_RANK", "GROUP_WORLD_SIZE", "JOB_COMPLETION_INDEX")
_FOREIGN_STARTS = ("SLURM_", "OMPI_COMM_WORLD_", "PMI_", "PMIX_", "FLUX_", "TORCHELASTIC_")


class TeamJob(msgspec.Struct, frozen=True, omit_defaults=True):
    """One team to start.

    Attributes:
        folder: the team's folder, absolute; on several nodes on storage that all of them see.
        ranks: size of the process group; `ranks_per_node` of them on each of `nodes` nodes.
        token: names the launch; no other job uses it.
        port: where the ranks meet on `host`; 0 lets the launcher's own rendezvous choose.
        interface: network interface for gloo and NCCL; empty leaves the choice to them.
        cores: how many cores a rank has, for its thread counts; 0 on a GPU.
        node_names: the nodes to use, in their order; empty leaves the choice to the engine.
        module: the rank program.
    """

    folder: str
    ranks: int
    ranks_per_node: int
    token: str
    nodes: int = 1
    host: str = "127.0.0.1"
    port: int = 0
    interface: str = ""
    cores: int = 0
    node_names: list[str] = []
    module: str = MODULE


class TeamHandle(Protocol):
    """A started team. `kill` ends every process and every allocation of it, by handle, on every exit path."""

    @property
    def pid(self) -> int:
        """A process of ours under which the ranks on this machine run; 0 when there is none here."""

    @property
    def ended(self) -> bool:
        """Have all of its processes ended?"""

    def returncode(self) -> int | None:
        """Worst exit status, negative for a signal; None while it runs or where it is not known."""

    def rank_returncodes(self) -> dict[int, int]:
        """Exit status of single ranks that have ended, the earliest first, where the launcher knows them."""

    def stderr_tail(self, characters: int = 600) -> str:
        """End of what the launcher itself wrote to stderr. Not a sign of failure: torchrun writes there anyway."""

    def kill(self) -> bool:
        """End everything and wait. False when something survives, stuck in the kernel."""


class Launcher(Protocol):
    """A module of this folder that can start a team."""

    def command(self, job: TeamJob) -> Sequence[str] | Sequence[Sequence[str]]:
        """Return the words that start `job`. Pure."""

    def start(self, job: TeamJob, environment: Mapping[str, str]) -> TeamHandle:
        """Start `job`.

        Raises:
            SiteError: the engine is not there, or refuses; its own words.
        """


def variables(job: TeamJob, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a team: threads, interface, and this very effbench on the module path. Pure."""
    own = str(Path(__file__).resolve().parents[2])
    asked = environment.get("PYTHONPATH", "")
    made = {
        **environment,
        "PYTHONPATH": os.pathsep.join([own, asked] if asked else [own]),
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
    }
    if job.cores:
        made |= {"OMP_NUM_THREADS": str(job.cores), "MKL_NUM_THREADS": str(job.cores)}
    if job.interface:
        made |= {"GLOO_SOCKET_IFNAME": job.interface, "NCCL_SOCKET_IFNAME": job.interface}
    return made


def unnumbered(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without the numbers that other engines gave this process: of a team that is started on
    one node, a rank's number is its launcher's alone. Pure.
    """
    return {
        name: value
        for name, value in environment.items()
        if name not in _FOREIGN and not name.startswith(_FOREIGN_STARTS)
    }


def free_port(host: str = "127.0.0.1") -> int:
    """Return a TCP port that was free a moment ago. Another program may take it first: starting is tried again."""
    with socket.socket() as one:
        one.bind((host, 0))
        return int(one.getsockname()[1])
