"""Launch a team on this machine without an engine: one process per rank, told on its command line which one it is."""

import sys
from collections.abc import Mapping

from effbench.launch.local_team import LocalTeam
from effbench.launch.team_job import TeamJob, free_port, variables
from effbench.model.error import SiteError

__all__ = ["FOREIGN", "command", "start"]

# Who else numbers processes: their words would contradict ours, which are the command line's.
FOREIGN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "GROUP_RANK", "GROUP_WORLD_SIZE", "JOB_COMPLETION_INDEX")
_FOREIGN_STARTS = ("SLURM_", "OMPI_COMM_WORLD_", "PMI_", "PMIX_", "FLUX_", "TORCHELASTIC_")


def command(job: TeamJob) -> list[list[str]]:
    """Return the words of every rank, in rank order. Pure."""
    return [
        [
            *(sys.executable, "-P", "-u", "-m", job.module, job.folder),
            *("--rank", str(rank), "--ranks", str(job.ranks), "--local-rank", str(rank)),
        ]
        for rank in range(job.ranks)
    ]


def start(job: TeamJob, environment: Mapping[str, str]) -> LocalTeam:
    """Start every rank; they meet at `job.host`, on `job.port` or a free one.

    Raises:
        SiteError: the job wants several nodes, or the processes cannot be started.
    """
    if job.nodes != 1:
        raise SiteError(f"the inline launcher knows this machine alone, not {job.nodes} nodes; use --launcher slurm")
    kept = {
        name: value
        for name, value in environment.items()
        if name not in FOREIGN and not name.startswith(_FOREIGN_STARTS)
    }
    meeting = {"MASTER_ADDR": job.host, "MASTER_PORT": str(job.port or free_port(job.host))}
    words = command(job)
    try:
        return LocalTeam(words, [{**variables(job, kept), **meeting}] * len(words))
    except OSError as error:
        raise SiteError(f"the ranks cannot be started: {error.strerror or error}") from error
