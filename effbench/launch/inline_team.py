"""Launch a team on this machine without an engine: one process per rank, told on its command line which one it is."""

import sys
from collections.abc import Mapping

from effbench.launch.local_team import LocalTeam
from effbench.launch.team_job import TeamJob, free_port, unnumbered, variables
from effbench.model.error import SiteError

__all__ = ["command", "start"]


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
    meeting = {"MASTER_ADDR": job.host, "MASTER_PORT": str(job.port or free_port(job.host))}
    words = command(job)
    try:
        return LocalTeam(words, [{**variables(job, unnumbered(environment)), **meeting}] * len(words))
    except OSError as error:
        raise SiteError(f"the ranks cannot be started: {error.strerror or error}") from error
