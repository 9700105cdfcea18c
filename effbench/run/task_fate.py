"""What becomes of one task of a campaign: done, still possible, or lost for a reason that can be said in words."""

import time

import msgspec

from effbench.launch.slurm_queue import ENDED, Task

__all__ = ["DONE", "Limits", "Signs", "fate"]

DONE = "done"
# squeue(1), JOB REASON CODES: a task with one of these waits for a person, not for its turn.
_STUCK = (
    *("BadConstraints", "DependencyNeverSatisfied", "InvalidAccount", "InvalidQOS", "JobHeldAdmin", "JobHeldUser"),
    *("PartitionNodeLimit", "PartitionTimeLimit", "PartitionDown", "PartitionInactive", "AccountNotAllowed"),
    "launch failed requeued held",
)
# squeue(1), JOB STATE CODES: held until a person lets it go.
_HELD = ("REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT")
_ENDINGS = {
    "NODE_FAIL": "its node failed while the run was on it (NODE_FAIL)",
    "TIMEOUT": "the time limit ended it (TIMEOUT); ask for more with --time",
    "OUT_OF_MEMORY": "it ran out of memory (OUT_OF_MEMORY)",
    "PREEMPTED": "another job preempted it (PREEMPTED)",
    "CANCELLED": "somebody cancelled it (CANCELLED)",
}


class Limits(msgspec.Struct, frozen=True):
    """How long each doubtful state may last, s.

    `shared_s`: a task runs and nothing that it writes is seen (the attribute cache of NFS holds up to 60 s, nfs(5)).
    `settle_s`: a task has ended and said nothing. `unable_s`: a task waits for a node that cannot run one.
    `queue_s`: a task waits for its turn.
    """

    poll_s: float = 1.0
    shared_s: float = 75.0
    settle_s: float = 20.0
    unable_s: float = 60.0
    queue_s: float = 86400.0


class Signs:
    """Since when one task has been in the state that it is in."""

    def __init__(self) -> None:
        self._state, self._since = "", 0.0

    def lasting_s(self, state: str) -> float:
        """Note `state` and return for how many seconds it has been the same."""
        now = time.monotonic()
        if state != self._state:
            self._state, self._since = state, now
        return now - self._since


def fate(task: Task | None, started: bool, ended: bool, unable: str, signs: Signs, limits: Limits) -> str | None:
    """Judge one task: `DONE`, a sentence on why it is lost, or None while it may still report.

    Args:
        task: what squeue says; None when Slurm knows it no longer.
        started, ended: whether its signs of beginning and end are seen.
        unable: why its node cannot run a job; empty when it can.
        signs: since when; kept between calls. limits: how long each doubt may last.
    """
    if ended:
        return DONE
    if task is None or task.state in ENDED:
        return _over(task, started) if signs.lasting_s("over") >= limits.settle_s else None
    if task.state == "PENDING":
        return _waiting(task, unable, signs, limits)
    if task.state in _HELD:
        return f"Slurm holds it ({task.state})" if signs.lasting_s("held") >= limits.settle_s else None
    if not started:
        if signs.lasting_s("silent") < limits.shared_s:
            return None
        where = task.node or "its node"
        return f"it runs on {where}, but nothing that it writes is seen here: the folder is not on shared storage"
    signs.lasting_s("running")
    return None


def _over(task: Task | None, started: bool) -> str:
    state = task.state if task is not None else ""
    if not started and state in ("FAILED", "COMPLETED", ""):
        return (
            f"its task ended{f' ({state})' if state else ''} before it could write into the folder: "
            "is the folder on storage that this node sees?"
        )
    if task is None:
        return "its task is gone from the queue and left no result"
    return _ENDINGS.get(state, f"its task ended as {state} and left no result")


def _waiting(task: Task, unable: str, signs: Signs, limits: Limits) -> str | None:
    if any(word.lower() in task.reason.lower() for word in _STUCK):
        return f"Slurm will not start it: {task.reason}" if signs.lasting_s("stuck") >= limits.settle_s else None
    if unable:
        return f"its node cannot run a job: {unable}" if signs.lasting_s("unable") >= limits.unable_s else None
    waited = signs.lasting_s("waiting")
    return f"waited {waited:.0f} s for its turn ({task.reason})" if waited >= limits.queue_s else None
