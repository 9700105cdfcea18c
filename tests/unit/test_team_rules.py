"""The pure rules of teams: sizes and cores, the launchers' words, agreement of versions, and who is to blame."""

from pathlib import Path

import msgspec
import pytest

from effbench import api
from effbench.launch import inline_team, torchrun
from effbench.launch.team_job import TeamJob, variables
from effbench.model.error import CatalogError, InputError, SiteError
from effbench.model.inventory import Accelerator, CpuFacts, Inventory
from effbench.model.team import RankNote
from effbench.run import placement
from effbench.run import plan as planning
from effbench.run.agreement import disagreement
from effbench.run.blame import blame
from effbench.run.duration import span_s
from effbench.run.team import launcher


def cpu(cores: float = 8.0, affinity: int = 8) -> Accelerator:
    facts = CpuFacts("AuthenticAMD", 25, 17, "AMD EPYC", [], cores, affinity, affinity, list(range(affinity)))
    return Accelerator("cpu", "cpu", "amd", "AMD EPYC", "cpu", 32 << 30, 32 << 20, cpu=facts)


def gpus(n: int, **more: object) -> list[Accelerator]:
    one = Accelerator("gpu0", "gpu", "nvidia", "a GPU", "cuda:0", 80 << 30, 50 << 20, compute_capability="9.0")
    return [msgspec.structs.replace(one, key=f"gpu{i}", uuid=f"GPU-{i}", **more) for i in range(n)]


def plan_of(tmp_path: Path, workload: str, accelerators: list[Accelerator], only: str | None = None):
    path = tmp_path / "suite.yaml"
    path.write_text(
        "schema: effbench.suite/1\nname: test/team\npurpose: p\n"
        "rounds: {gpu: {min: 2, max: 2}, cpu: {min: 2, max: 2}}\n"
        f"budget_s: {{gpu: 60, cpu: 60}}\nworkloads:\n  - {{id: t, {workload}}}\n"
    )
    suite = api.load_suite(str(path))
    return planning.make(suite, Inventory("n", accelerators), accelerators, "sha256:0", only)


def test_sizes_double_and_end_with_all_there_are():
    assert placement.counts(None, 1) == [1]
    assert placement.counts(None, 6) == [1, 2, 4, 6]
    assert placement.counts(None, 8) == [1, 2, 4, 8]
    assert placement.counts([4, 2, 2], 8) == [2, 4]
    assert placement.most([cpu(1.5)]) == 1
    assert placement.most([cpu(0.5)]) == 1
    assert placement.most(gpus(8), nodes=4) == 32


def test_a_rank_has_the_same_cores_at_every_size():
    for asked, width in (([1, 2, 4], 2), (None, 1), ([1, 3], 2)):
        teams = placement.teams(asked, [cpu()])
        assert {len(cores) for team in teams for cores in team.placement.cores} == {width}
        assert {team.accelerator.cpu.cores_usable for team in teams} == {float(width)}
        assert len({team.accelerator.memory_bytes for team in teams}) == 1
        for team in teams:
            used = [core for cores in team.placement.cores for core in cores]
            assert len(used) == len(set(used)) == width * team.placement.ranks
    quota = placement.teams(None, [cpu(cores=2.5, affinity=8)])
    assert quota[-1].placement.cores == [[0], [1]]


def test_a_team_lies_on_as_few_nodes_as_hold_it():
    sizes = {t.placement.ranks: t.placement for t in placement.teams(None, gpus(4), nodes=4)}
    assert {ranks: (place.nodes, len(place.devices)) for ranks, place in sizes.items()} == {
        1: (1, 1),
        2: (1, 2),
        4: (1, 4),
        8: (2, 4),
        16: (4, 4),
    }


def test_what_cannot_form_a_team_is_skipped_with_a_reason():
    reasons = [team.skip for team in placement.teams([1, 2, 4], gpus(2))]
    assert reasons == [None, None, "not applicable: 4 ranks need as many GPUs, and there are 2"]
    assert "MIG" in placement.teams([2], gpus(2, mig=True))[0].skip
    assert placement.teams([1], gpus(1, mig=True))[0].skip is None
    assert "simulated" in placement.teams([1], gpus(1, simulated=True))[0].skip


def test_more_ranks_than_devices_and_nothing_else_is_wrong_input(tmp_path):
    with pytest.raises(InputError, match="16 ranks need as many usable cores, and there are 8"):
        plan_of(tmp_path, "kernel: team_truth, scope: node, counts: [16]", [cpu()])


def test_a_plan_of_teams(tmp_path):
    plan = plan_of(tmp_path, "kernel: team_truth, scope: node, axes: {mean_s: [0.001, 0.002]}", [cpu()])
    assert [trial.placement.ranks for trial in plan.trials] == [1, 1, 2, 2, 4, 4, 8, 8]
    assert all(trial.params["ranks"] == trial.placement.ranks for trial in plan.trials)
    assert len({trial.id for trial in plan.trials}) == len({trial.trial_key for trial in plan.trials}) == 8
    assert planning.order(plan, 0, "cpu") == []
    teams = planning.team_order(plan, 0)
    assert sorted(len(team) for team in teams) == [2, 2, 2, 2]
    assert all(len({trial.placement.ranks for trial in team}) == 1 for team in teams)
    assert planning.team_order(plan, 0) == teams
    assert any(planning.team_order(plan, number) != teams for number in range(1, 6))
    assert span_s(plan.trials, False, dict.fromkeys((t.id for t in plan.trials), 0.0), 1.0) == 4, "one start a team"


def test_a_kernel_on_the_wrong_scope_is_refused(tmp_path):
    with pytest.raises(CatalogError, match="team_truth needs a scope wider than device"):
        plan_of(tmp_path, "kernel: team_truth", [cpu()])
    with pytest.raises(CatalogError, match="known_truth needs the scope device"):
        plan_of(tmp_path, "kernel: known_truth, scope: node, params: {real: true}", [cpu()])


def job(**more: object) -> TeamJob:
    return TeamJob("/run/teams/team-1", 4, 4, "token", interface="lo", cores=2, **more)


def test_torchrun_is_asked_for_a_fixed_team_without_restarts():
    words = torchrun.command(job())
    assert {"--nnodes=1", "--nproc-per-node=4", "--max-restarts=0", "--rdzv-backend=c10d"} <= set(words)
    assert "--rdzv-endpoint=127.0.0.1:0" in words and "--rdzv-id=token" in words
    assert words[-3:] == ["-m", "effbench.run.rank", "/run/teams/team-1"]


def test_inline_ranks_are_told_who_they_are():
    words = inline_team.command(job())
    assert len(words) == 4
    assert words[3][-6:] == ["--rank", "3", "--ranks", "4", "--local-rank", "3"]


def test_threads_and_interface_are_the_teams():
    made = variables(job(), {"PYTHONPATH": "/x", "KEPT": "1"})
    assert made["OMP_NUM_THREADS"] == made["MKL_NUM_THREADS"] == "2"
    assert made["GLOO_SOCKET_IFNAME"] == made["NCCL_SOCKET_IFNAME"] == "lo"
    assert made["KEPT"] == "1" and made["PYTHONPATH"].endswith(":/x")
    assert "OMP_NUM_THREADS" not in variables(TeamJob("/f", 1, 1, "t"), {})


@pytest.mark.parametrize("module", [inline_team, torchrun])
def test_what_other_engines_number_by_does_not_reach_a_team_on_one_node(module, monkeypatch):
    """A pod's index or a batch step's numbers would contradict the team's own."""
    seen: list[dict[str, str]] = []
    for name in ("LocalTeam", "Torchrun"):
        if hasattr(module, name):
            monkeypatch.setattr(module, name, lambda words, environments: seen.extend(environments))
    outer = {"JOB_COMPLETION_INDEX": "3", "SLURM_PROCID": "0", "PMIX_RANK": "0", "RANK": "1", "SLURMD_NODENAME": "n1"}
    module.start(job(), {**outer, "KEPT": "1"})
    assert seen and all(not (set(outer) - {"SLURMD_NODENAME"}) & set(one) for one in seen)
    assert all(one["SLURMD_NODENAME"] == "n1" and one["KEPT"] == "1" for one in seen)


def test_single_node_launchers_refuse_several_nodes():
    for module in (torchrun, inline_team):
        with pytest.raises(SiteError, match="slurm"):
            module.start(job(nodes=2), {})
    with pytest.raises(InputError, match="no launcher 'mpi'; there are: inline, torchrun, slurm"):
        launcher("mpi")


def test_torchruns_summary_tells_how_ranks_ended():
    text = "[0]:\n  time : x\n  host : y\n  rank      : 1 (local_rank: 1)\n  exitcode  : -9 (pid: 81)\n"
    assert torchrun._FAILED.findall(text) == [("1", "-9")]


def test_versions_that_differ_are_named_with_their_ranks():
    same = ("n1", {"torch": "2.13", "effbench": "sha256:aa"})
    assert disagreement([same, same]) == ""
    text = disagreement([same, ("n2", {"torch": "2.12", "effbench": "sha256:aa"})])
    assert text.startswith("versions differ: torch is 2.13 on rank 0 (n1), 2.12 on rank 1 (n2)")
    assert "absent on rank 1 (n2)" in disagreement([same, ("n2", {"effbench": "sha256:aa"})])
    assert "another effbench" in disagreement([same, same], "sha256:bb")


def notes(rank: int, *phases: tuple[int, str, str]) -> list[RankNote]:
    return [RankNote(t, t, rank, phase, f"n{rank}", 100 + rank, "trial", detail) for t, phase, detail in phases]


def judged(told: dict[int, list[RankNote]], ranks: int, codes=None, alive=None, waited_s: float = 9.0):
    return blame(told, ranks, codes or {}, alive or {}, {}, "its last line", waited_s)


PEER = "Connection closed by peer [10.0.0.3]:4711"


def test_the_silent_rank_is_blamed_and_not_the_address_in_the_last_message():
    told = {
        0: notes(0, (1, "trial", ""), (9, "peer", "Timed out waiting for recv")),
        1: notes(1, (1, "trial", "")),
        2: notes(2, (1, "trial", ""), (10, "peer", PEER)),
    }
    found = judged(told, 3, alive={1: True})
    assert (found.kind, found.rank, found.node) == ("hung", 1, "n1")
    assert "10.0.0.3" not in found.detail
    assert judged(told, 3, alive={1: False}).kind == "crashed"
    killed = judged(told, 3, codes={1: -9})
    assert (killed.kind, killed.signal) == ("crashed", 9)


def test_a_ranks_own_error_comes_before_what_follows_from_it():
    told = {
        0: notes(0, (5, "peer", PEER)),
        1: notes(1, (6, "error", "RuntimeError: later")),
        2: notes(2, (4, "error", "RuntimeError: first")),
    }
    found = judged(told, 3)
    assert (found.kind, found.rank) == ("error", 2)
    assert "first" in found.detail


def test_a_rank_that_was_told_to_end_is_not_the_one_that_died():
    told = {0: notes(0, (1, "trial", ""), (5, "terminated", "")), 1: notes(1, (1, "trial", ""))}
    assert judged(told, 2, alive={1: False}).rank == 1


def test_a_rank_that_never_came_is_named():
    told = {0: notes(0, (1, "start", ""), (50, "peer", "rank 1 did not come"))}
    found = judged(told, 2)
    assert (found.kind, found.rank) == ("unformed", 1)
    nobody = judged({}, 2)
    assert nobody.kind == "unformed" and "its last line" in nobody.detail


def test_of_silent_ranks_the_one_that_spoke_first_and_then_no_more_is_stuck():
    told = {0: notes(0, (1, "trial", ""), (8, "step", "")), 1: notes(1, (1, "trial", ""), (3, "step", ""))}
    assert judged(told, 2, alive={0: True, 1: True}).rank == 1


def test_versions_and_unknown_ranks_are_no_ones_fault():
    differ = {0: notes(0, (3, "error", "versions differ: torch ..."))}
    assert (judged(differ, 1).kind, judged(differ, 1).rank) == ("differ", None)
    unknown = {-1: [RankNote(1, 1, -1, "error", "n7", 5, "", "torchrun says rank 1 of 2, Slurm says rank 5 of 8")]}
    assert judged(unknown, 2).kind == "unformed"
    assert "Slurm says" in judged(unknown, 2).detail


def test_a_problem_that_the_team_outlived_is_not_blamed_later():
    told = {
        0: notes(0, (1, "problem", "no memory"), (2, "closed", ""), (9, "peer", PEER)),
        1: notes(1, (1, "trial", ""), (2, "closed", "")),
    }
    assert judged(told, 2, alive={1: False}).rank == 1


def test_of_the_ranks_that_an_engine_ended_the_first_to_fall_is_blamed():
    told = {0: notes(0, (9, "peer", PEER)), 1: notes(1, (1, "trial", "")), 2: notes(2, (1, "trial", ""))}
    assert judged(told, 3, codes={2: -9, 1: -9}).rank == 2
    assert judged(told, 3, codes={1: -15, 2: -11}).rank == 2
    assert judged(told, 3, codes={1: 143}).rank == 1
