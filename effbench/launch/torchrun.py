"""Launch a team on one node through torchrun: one agent, fixed size, no restarts, a meeting point of its own."""

import re
import sys
from collections.abc import Mapping

from effbench.launch.local_team import LocalTeam
from effbench.launch.team_job import TeamJob, unnumbered, variables
from effbench.model.error import SiteError

__all__ = ["Torchrun", "command", "start"]

# The agent's summary of a failure, per rank: "rank      : 1 (local_rank: 1)" and below it "exitcode  : -9 (pid: 81)".
_FAILED = re.compile(r"rank\s*:\s*(\d+) \(local_rank: \d+\)\s+exitcode\s*:\s*(-?\d+)")
SUMMARY_CHARACTERS = 16_000


def command(job: TeamJob) -> list[str]:
    """Return the words of the agent. Pure. Port 0: the agent's store takes a free one, so that none can be taken."""
    return [
        *(sys.executable, "-P", "-u", "-m", "effbench.launch.leash"),
        *(sys.executable, "-P", "-u", "-m", "torch.distributed.run"),
        f"--nnodes={job.nodes}",
        f"--nproc-per-node={job.ranks_per_node}",
        "--max-restarts=0",
        "--monitor-interval=0.5",
        "--rdzv-backend=c10d",
        f"--rdzv-endpoint={job.host}:{job.port}",
        f"--rdzv-id={job.token}",
        f"--local-addr={job.host}",
        *("-m", job.module, job.folder),
    ]


def start(job: TeamJob, environment: Mapping[str, str]) -> "Torchrun":
    """Start the agent, which starts the ranks.

    Raises:
        SiteError: the job wants several nodes, or the agent cannot be started.
    """
    if job.nodes != 1:
        raise SiteError(f"one torchrun serves one node, not {job.nodes}; use --launcher slurm")
    try:
        return Torchrun([command(job)], [variables(job, unnumbered(environment))])
    except OSError as error:
        raise SiteError(f"torchrun cannot be started: {error.strerror or error}") from error


class Torchrun(LocalTeam):
    """A running agent. What it writes to stderr is no failure: it prints stack traces when the ranks leave in order."""

    def rank_returncodes(self) -> dict[int, int]:
        """Exit status of the ranks that failed, as the agent's summary tells them; its root cause, the last, first."""
        told = _FAILED.findall(self.stderr_tail(SUMMARY_CHARACTERS))
        return {int(rank): int(code) for rank, code in reversed(told)}
