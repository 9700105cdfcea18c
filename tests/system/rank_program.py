"""One rank of a small team for the tests on shaped links: builds team kernels, times them as the tool does.

    python tests/system/rank_program.py TASKS.json RESULT.jsonl

TASKS is a list of `{"kernel", "params", "repeats", "inner"}`; rank 0 writes one line per task: the slowest
rank's times, the work counted, the verdict of all ranks, the step's facts, and each rank's own facts.
"""

import importlib
import json
import os
import statistics
import sys
from pathlib import Path
from typing import Any

import msgspec

from effbench.device import cpu
from effbench.kernels.group import Group, GroupRig, Seat, join
from effbench.run.ranks import discover

DEADLINE_S = 60.0


def work_off(task: dict[str, Any], rig: GroupRig, group: Group) -> dict[str, Any]:
    """Carry out one task; every rank gets the same result."""
    module = importlib.import_module(f"effbench.kernels.{task['kernel']}")
    given = {"ranks": group.size, **task["params"]}
    params = module.fit(msgspec.convert(given, module.Params), rig.accelerator)
    step = module.build(params, rig)
    repeats, inner = int(task.get("repeats", 5)), int(task.get("inner", 1))
    group.barrier()
    if hasattr(step, "samples"):
        times = [sample.device_s for sample in step.samples(DEADLINE_S)]
    else:
        step.run(0)
        times = []
        for i in range(repeats):
            group.barrier()
            times.append(group.max(rig.time(step.run, i * inner, inner).device_s / inner))
    verdicts = group.all_objects(step.verify().ok)
    own = step.rank_facts() if hasattr(step, "rank_facts") else {}
    found = {
        "task": task,
        "step_s": statistics.median(times),
        "times_s": times,
        "work": msgspec.to_builtins(module.work(params)),
        "ok": all(verdicts),
        "facts": step.facts(),
        "texts": step.texts(),
        "ranks": group.all_objects(own),
    }
    step.close()
    return found


def main() -> None:
    """Meet the others, work off the tasks."""
    tasks, result = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    rank = discover(os.environ)
    seat = Seat(rank.rank, rank.world_size, rank.local_rank, rank.node_rank)
    group = join(seat, "gloo", DEADLINE_S)
    rig = GroupRig(cpu.describe()[0], 1, group)
    lines = [json.dumps(work_off(task, rig, group)) for task in tasks]
    if rank.rank == 0:
        result.write_text("".join(f"{line}\n" for line in lines))
    group.barrier()
    group.close()


if __name__ == "__main__":
    main()
