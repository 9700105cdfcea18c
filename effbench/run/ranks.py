"""Which rank is this process? One function with a fixed order of sources; sources that disagree are refused by name."""

import platform
from collections.abc import Callable, Mapping

import msgspec

from effbench.model.error import SiteError

__all__ = ["Rank", "discover", "node_name", "refuse_nested"]


class Rank(msgspec.Struct, frozen=True):
    """This process among the others, and who said so. `node_rank` counts the nodes."""

    rank: int
    world_size: int
    local_rank: int
    node_rank: int
    source: str


def discover(environment: Mapping[str, str], explicit: Rank | None = None) -> Rank:
    """Find out which rank this is: explicit flags, then torchrun, Slurm, MPI, PMI, Flux, Kubernetes' index.

    A torchrun that runs one agent per Slurm task is no contradiction; eight agents that each believe to be alone are.

    Raises:
        SiteError: no source says it, one is incomplete or not a number, or two disagree.
    """
    said = [explicit] if explicit is not None else []
    said += [found for read in (_torchrun, _slurm, _mpi, _pmi, _flux, _kubernetes) if (found := read(environment))]
    if not said:
        raise SiteError(
            "nothing says which rank this process is: start it through `effbench run`, torchrun, or srun "
            "(inside an sbatch script too), or give --rank and --ranks"
        )
    first = said[0]
    _check(first)
    for other in said[1:]:
        _check(other)
        if not _agree(first, other, environment):
            raise SiteError(
                f"{first.source} says rank {first.rank} of {first.world_size}, {other.source} says rank {other.rank} "
                f"of {other.world_size}: start one torchrun per node (srun --ntasks-per-node=1) or none at all"
            )
    return first


def node_name(environment: Mapping[str, str]) -> str:
    """Return the node's name as its scheduler has it (Slurm's `SLURMD_NODENAME`), else its host name."""
    return environment.get("SLURMD_NODENAME") or platform.node()


def refuse_nested(environment: Mapping[str, str]) -> None:
    """Refuse to start teams from inside a step of several tasks: each of its tasks would start the whole team.

    Raises:
        SiteError: this program itself is one of several tasks.
    """
    outer = [found for read in (_torchrun, _slurm, _mpi) if (found := read(environment))]
    for one in outer:
        if one.world_size > 1:
            raise SiteError(
                f"{one.source} started effbench {one.world_size} times (this is rank {one.rank}); start it once: "
                "it launches the ranks itself"
            )


def _agree(first: Rank, other: Rank, environment: Mapping[str, str]) -> bool:
    """Same rank of the same size; or the outer engine counts torchrun's agents, one to a node."""
    if (first.rank, first.world_size) == (other.rank, other.world_size):
        return True
    if first.source != TORCHRUN or "GROUP_RANK" not in environment or "GROUP_WORLD_SIZE" not in environment:
        return False
    agent = _number(environment, "GROUP_RANK", TORCHRUN), _number(environment, "GROUP_WORLD_SIZE", TORCHRUN)
    return agent == (other.rank, other.world_size)


def _check(rank: Rank) -> None:
    if not (0 <= rank.rank < rank.world_size and 0 <= rank.local_rank <= rank.rank and rank.node_rank >= 0):
        raise SiteError(
            f"{rank.source} says rank {rank.rank} of {rank.world_size}, number {rank.local_rank} on node "
            f"{rank.node_rank}: that cannot be"
        )


TORCHRUN = "torchrun (RANK, WORLD_SIZE)"


def _torchrun(environment: Mapping[str, str]) -> Rank | None:
    if "RANK" not in environment:
        return None
    if "WORLD_SIZE" not in environment:
        raise SiteError("RANK is set but WORLD_SIZE is not; torchrun sets both")
    get = _getter(environment, TORCHRUN)
    rank, size = get("RANK", None), get("WORLD_SIZE", None)
    return Rank(rank, size, get("LOCAL_RANK", rank), get("GROUP_RANK", 0), TORCHRUN)


def _slurm(environment: Mapping[str, str]) -> Rank | None:
    """Slurm numbers the tasks of a step. A batch script has the same variables, but is no task of many."""
    step = environment.get("SLURM_STEP_ID", "")
    if "SLURM_PROCID" not in environment or not step.isdigit() or int(step) >= _SLURM_SPECIAL_STEPS:
        return None
    get = _getter(environment, "Slurm (SLURM_PROCID)")
    size = get("SLURM_STEP_NUM_TASKS", get("SLURM_NTASKS", 1))
    rank = get("SLURM_PROCID", None)
    return Rank(rank, size, get("SLURM_LOCALID", rank), get("SLURM_NODEID", 0), "Slurm (SLURM_PROCID, SLURM_NTASKS)")


# slurm.h: batch script, external and interactive steps have numbers from 0xfffffff0 on.
_SLURM_SPECIAL_STEPS = 0xFFFFFFF0


def _mpi(environment: Mapping[str, str]) -> Rank | None:
    if "OMPI_COMM_WORLD_RANK" not in environment:
        return None
    get = _getter(environment, "Open MPI (OMPI_COMM_WORLD_RANK)")
    rank, size = get("OMPI_COMM_WORLD_RANK", None), get("OMPI_COMM_WORLD_SIZE", None)
    local = get("OMPI_COMM_WORLD_LOCAL_RANK", rank)
    locals_ = get("OMPI_COMM_WORLD_LOCAL_SIZE", size)
    return Rank(rank, size, local, rank // max(1, locals_), "Open MPI (OMPI_COMM_WORLD_RANK)")


def _pmi(environment: Mapping[str, str]) -> Rank | None:
    """Slurm sets PMI variables beside its own; those without a size say nothing."""
    if "PMI_RANK" not in environment or "PMI_SIZE" not in environment:
        return None
    get = _getter(environment, "PMI (PMI_RANK)")
    rank = get("PMI_RANK", None)
    return Rank(rank, get("PMI_SIZE", None), get("MPI_LOCALRANKID", rank), 0, "PMI (PMI_RANK)")


def _flux(environment: Mapping[str, str]) -> Rank | None:
    if "FLUX_TASK_RANK" not in environment:
        return None
    get = _getter(environment, "Flux (FLUX_TASK_RANK)")
    rank = get("FLUX_TASK_RANK", None)
    size = get("FLUX_JOB_SIZE", None)
    nodes = max(1, get("FLUX_JOB_NNODES", 1))
    per_node = max(1, size // nodes)
    return Rank(rank, size, get("FLUX_TASK_LOCAL_ID", rank % per_node), rank // per_node, "Flux (FLUX_TASK_RANK)")


def _kubernetes(environment: Mapping[str, str]) -> Rank | None:
    """An Indexed Job gives each pod its index. One process is one rank then, unless torchrun's variables say more."""
    if "JOB_COMPLETION_INDEX" not in environment:
        return None
    source = "Kubernetes (JOB_COMPLETION_INDEX)"
    get = _getter(environment, source)
    index = get("JOB_COMPLETION_INDEX", None)
    if "GROUP_WORLD_SIZE" in environment:
        return Rank(index, get("GROUP_WORLD_SIZE", None), 0, index, source)
    if "WORLD_SIZE" not in environment:
        raise SiteError(f"{source} says index {index} but not of how many; set WORLD_SIZE to the job's completions")
    return Rank(index, get("WORLD_SIZE", None), 0, index, source)


def _getter(environment: Mapping[str, str], source: str) -> Callable[[str, int | None], int]:
    def get(name: str, default: int | None) -> int:
        if default is not None and name not in environment:
            return default
        return _number(environment, name, source)

    return get


def _number(environment: Mapping[str, str], name: str, source: str) -> int:
    text = environment.get(name, "")
    if not (text.isascii() and text.isdigit()):
        raise SiteError(f"{source}: {name}={text!r} is not a number from 0 on")
    return int(text)
