"""One rank of a small gloo team: runs the cases of the link kernels and writes what it saw to a file, as JSON.

Started by `gloo_team.run`; never collected. Each case is a function that every rank calls in the same order.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from effbench import kernels
from effbench.kernels import collective, collective_ops, pair_sweep
from effbench.kernels.group import Group, GroupRig, Seat, join
from effbench.model.error import SiteError
from effbench.model.inventory import Accelerator, CpuFacts

# Odd sizes: nothing divides evenly, and the largest spans several tiles of the checking table.
SIZES = (8, 40_028, 4 << 20)


def cpu() -> Accelerator:
    facts = CpuFacts("AuthenticAMD", 25, 17, "AMD EPYC", [], 1.0, 1, 1, [0])
    return Accelerator("cpu", "cpu", "amd", "AMD EPYC", "cpu", 8 << 30, 32 << 20, cpu=facts)


def built(params: Any, rig: GroupRig) -> Any:
    return collective.build(collective.fit(params, rig.accelerator), rig)


def collectives(rig: GroupRig, group: Group) -> list[Any]:
    """Every operation, size and group: is the right result right, and are the figures finite?"""
    seen = []
    groups = ["all"] if group.nodes == 1 else ["all", "within", "across"]
    for op in collective_ops.OPS:
        for size in SIZES:
            for where in groups if size < SIZES[-1] else ["all"]:
                step = built(collective.Params(op, size, "size", where, group.size, group.nodes), rig)
                for i in range(3):
                    step.run(i)
                same = step.fingerprint() == step.fingerprint()
                found = step.verify()
                seen.append([op, size, where, found.ok, found.error, same, step.facts(), step.texts()])
                step.close()
    return seen


def corrupted(rig: GroupRig, group: Group) -> list[Any]:
    """After every launch the last rank changes one element by the least amount: only this rank may complain."""
    seen = []
    for op in collective_ops.OPS:
        step = built(collective.Params(op, 40_028, ranks=group.size, nodes=group.nodes), rig)
        honest = step._launch

        def spoiled(launch: Any = honest, target: Any = step.target) -> None:
            launch()
            if group.rank == group.size - 1:
                target[target.numel() // 2] += 1

        step._launch = spoiled
        found = step.verify()
        seen.append([op, found.ok, found.error * step.target.numel(), found.detail])
        step._launch = lambda: None
        seen[-1].append(step.verify().ok)
        step.close()
    return seen


def refused(rig: GroupRig, group: Group) -> list[str]:
    """What cannot be is refused on every rank alike, before anything is sent."""
    said = []
    for params in (
        collective.Params("all_reduce", 8, ranks=group.size + 1),
        collective.Params("all_reduce", 1 << 40, ranks=group.size, nodes=group.nodes),
        collective.Params("all_reduce", 8, group="across", ranks=group.size, nodes=group.nodes + 1),
    ):
        try:
            built(params, rig)
            said.append("")
        except SiteError as error:
            said.append(str(error))
    return said


def swept(rig: GroupRig, group: Group, slow: int | None, spoil: int | None, deadline_s: float = 60.0) -> Any:
    """A sweep in which one rank may be late for every exchange, or may spoil what it received."""
    step = pair_sweep.build(pair_sweep.Params(1 << 18, 3, ranks=group.size, nodes=group.nodes), rig)
    honest = step.run

    def run(i: int) -> None:
        if group.rank == slow:
            time.sleep(0.15)
        honest(i)
        if group.rank == spoil and step._peer is not None:
            step.target[7] += 1

    step.run = run
    samples = step.samples(deadline_s)
    found = step.verify()
    seen = [len(samples), found.ok, found.detail, step.facts(), step.texts()]
    step.close()
    return seen


def together(rig: GroupRig, group: Group) -> Any:
    """A small product on all ranks at once."""
    kernel = kernels.load("at_once")
    params = {"kernel": "gemm", "params": {"dtype": "fp32", "m": 128, "n": 128, "k": 128}, "ranks": group.size}
    fitted = kernel.fit(msgspec.convert(params, kernel.Params), rig.accelerator)
    step = kernel.build(fitted, rig)
    samples = step.samples(0.9)
    found = step.verify()
    seen = [len(samples), samples[0].device_s, found.ok, step.facts(), step.texts()]
    step.close()
    if group.rank == group.size - 1:
        kernels.load("gemm").build = lambda params, rig: (_ for _ in ()).throw(SiteError("no room here"))
    try:
        kernel.build(fitted, rig)
        seen.append("")
    except SiteError as error:
        seen.append(str(error))
    return seen


def main() -> None:
    rank, size, nodes, folder = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    per_node = size // nodes
    seat = Seat(rank, size, rank % per_node, rank // per_node)
    group = join(seat, "gloo", 60.0, f"file://{folder}/store", join_s=60.0)
    rig = GroupRig(cpu(), 11, group)
    seen = {
        "collectives": collectives(rig, group),
        "corrupted": corrupted(rig, group),
        "refused": refused(rig, group),
        "swept": swept(rig, group, None, None),
        "spoiled": swept(rig, group, None, 1),
        "cut": swept(rig, group, None, None, 0.0),
        "at_once": together(rig, group),
        "late": swept(rig, group, size - 1, None),
    }
    (folder / f"rank-{rank}.json").write_text(json.dumps(seen))
    group.barrier()
    group.close()


if __name__ == "__main__":
    main()
