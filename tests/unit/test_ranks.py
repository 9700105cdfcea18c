"""Which rank a process is: every engine's variables, the order between them, and contradictions refused."""

import pytest

from effbench.model.error import SiteError
from effbench.run.ranks import Rank, discover, refuse_nested

TORCHRUN = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "GROUP_RANK": "2", "GROUP_WORLD_SIZE": "4"}
SLURM = {
    "SLURM_PROCID": "5",
    "SLURM_NTASKS": "8",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "2",
    "SLURM_STEP_ID": "0",
}
BATCH = {"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_LOCALID": "0", "SLURM_JOB_ID": "17"}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        (TORCHRUN, (5, 8, 1, 2)),
        ({"RANK": "0", "WORLD_SIZE": "1"}, (0, 1, 0, 0)),
        (SLURM, (5, 8, 1, 2)),
        ({**SLURM, "SLURM_STEP_NUM_TASKS": "6"}, (5, 6, 1, 2)),
        (
            {
                "OMPI_COMM_WORLD_RANK": "5",
                "OMPI_COMM_WORLD_SIZE": "8",
                "OMPI_COMM_WORLD_LOCAL_RANK": "1",
                "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
            },
            (5, 8, 1, 2),
        ),
        ({"PMI_RANK": "1", "PMI_SIZE": "2"}, (1, 2, 1, 0)),
        (
            {"FLUX_TASK_RANK": "5", "FLUX_JOB_SIZE": "8", "FLUX_JOB_NNODES": "4", "FLUX_TASK_LOCAL_ID": "1"},
            (5, 8, 1, 2),
        ),
        ({"JOB_COMPLETION_INDEX": "3", "WORLD_SIZE": "4"}, (3, 4, 0, 3)),
    ],
)
def test_each_engine_is_understood(environment, expected):
    found = discover(environment)
    assert (found.rank, found.world_size, found.local_rank, found.node_rank) == expected


def test_flags_come_first_and_agree_with_what_else_is_said():
    flags = Rank(5, 8, 1, 2, "--rank, --ranks")
    assert discover({**TORCHRUN, **SLURM}, flags) is flags
    with pytest.raises(SiteError, match=r"--rank, --ranks says rank 0 of 2, torchrun .* says rank 5 of 8"):
        discover(TORCHRUN, Rank(0, 2, 0, 0, "--rank, --ranks"))


def test_one_agent_per_slurm_task_is_no_contradiction():
    tasks = {**SLURM, "SLURM_PROCID": "2", "SLURM_NTASKS": "4", "SLURM_LOCALID": "0"}
    assert discover({**TORCHRUN, **tasks}).source.startswith("torchrun")


def test_one_agent_per_pod_is_no_contradiction():
    assert discover({**TORCHRUN, "JOB_COMPLETION_INDEX": "2"}).rank == 5
    with pytest.raises(SiteError, match=r"Kubernetes .* says rank 3 of 4"):
        discover({**TORCHRUN, "JOB_COMPLETION_INDEX": "3"})


def test_torchrun_inside_eight_tasks_by_mistake_is_refused_by_name():
    mine = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "GROUP_RANK": "0", "GROUP_WORLD_SIZE": "1"}
    with pytest.raises(SiteError, match=r"torchrun .* rank 1 of 2, Slurm .* rank 5 of 8.*one torchrun per node"):
        discover({**mine, **SLURM})
    with pytest.raises(SiteError, match="started effbench 8 times"):
        refuse_nested(SLURM)


def test_a_batch_script_is_no_rank_but_may_start_torchrun():
    with pytest.raises(SiteError, match="srun"):
        discover(BATCH)
    assert discover({**BATCH, "RANK": "1", "WORLD_SIZE": "2"}).rank == 1
    refuse_nested(BATCH)
    refuse_nested({**SLURM, "SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"})


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, "nothing says which rank"),
        ({"RANK": "0"}, "WORLD_SIZE is not"),
        ({"RANK": "x", "WORLD_SIZE": "2"}, "RANK='x' is not a number"),
        ({"RANK": "-1", "WORLD_SIZE": "2"}, "RANK='-1' is not a number"),
        ({"RANK": "²", "WORLD_SIZE": "2"}, "is not a number"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "rank 2 of 2.*cannot be"),
        ({"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}, "cannot be"),
        ({"SLURM_PROCID": "0", "SLURM_STEP_ID": "0", "SLURM_NTASKS": ""}, "SLURM_NTASKS='' is not"),
        ({"JOB_COMPLETION_INDEX": "3"}, "set WORLD_SIZE"),
    ],
)
def test_what_is_missing_or_nonsense_is_said(environment, message):
    with pytest.raises(SiteError, match=message):
        discover(environment)
