"""One rank of a gloo group that runs cases of `parallel_step` and prints what came out, for test_kernels_parallel."""

import collections
import json
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import msgspec

ROOT = Path(__file__).parents[2]
LIMIT_S = 300


def run_team(folder: Path, ranks: int, cases: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Run `cases` (name to changes of the tiny parameters) on a fresh team; return what each rank found, by name."""
    arguments = [f"file://{folder / 'meeting'}", str(ranks), json.dumps(cases)]
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.unit.parallel_team", str(rank), *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(ranks)
    ]
    found = []
    try:
        for process in started:
            out, err = process.communicate(timeout=LIMIT_S)
            assert process.returncode == 0, err[-3000:]
            found.append(json.loads(out.splitlines()[-1]))
    finally:
        for process in started:
            process.kill()
            process.wait()
    return found


def count_calls(counts: collections.Counter[str]) -> None:
    """Count every collective that torch is asked for, with its bytes as nccl-tests counts them."""
    import torch.distributed as dist

    whole = {"all_reduce": 0, "all_gather_single": 0, "reduce_scatter_single": 1}

    def counting(name: str, place: int) -> Any:
        original = getattr(dist, name)

        def counted(*tensors: Any, **options: Any) -> Any:
            array = tensors[place] if len(tensors) > place else options["input" if place else "output"]
            counts[f"{name.removesuffix('_single')}:{array.nbytes}"] += 1
            return original(*tensors, **options)

        return counted

    for name, place in whole.items():
        setattr(dist, name, counting(name, place))


def measured(case: dict[str, Any], rig: Any, counts: collections.Counter[str]) -> dict[str, Any]:
    """Build, make `steps` steps and verify, unless `verify` is False; `sabotage` says what is broken before that."""
    from effbench.kernels import parallel_step

    steps, sabotage, verify = case.pop("steps", 3), case.pop("sabotage", ""), case.pop("verify", True)
    tiny = {"config": "tiny", "batch": 2, "seq": 32, "dtype": "fp32", "ranks": rig.group.size}
    step = parallel_step.build(parallel_step.Params(**{**tiny, **case}), rig)
    if sabotage == "no optimizer":
        step.trainee.update = lambda steps: None
    step.run(0)
    counts.clear()
    step.run(1)
    seen = dict(counts)
    for i in range(2, steps):
        step.run(i)
    found = {"calls": seen, "shares": step.rank_facts(), "facts": step.facts(), "texts": step.texts()}
    if verify:
        broken(step, sabotage, rig.group.rank)
        found["verdict"] = msgspec.to_builtins(step.verify())
        found["facts"] = step.facts()
    step.close()
    return found


def broken(step: Any, sabotage: str, rank: int) -> None:
    """Break one thing that a verification must notice (the optimizer was missing from the first step on)."""
    import torch

    trainee = step.trainee
    if sabotage == "a weight of one rank" and rank == 1:
        with torch.no_grad():
            trainee._working[0].mul_(1.01)
    elif sabotage == "no reduction":
        trainee._call, trainee._joined = trainee._model, False
    elif sabotage == "no sum over slices":
        trainee._doors = (lambda x: x, lambda x: x)
    elif sabotage == "a mean over too many":
        plain = trainee.gradients
        trainee.gradients = lambda: [gradient / 2 for gradient in plain()]
    elif sabotage == "nothing is sent":
        step.exchange._start = lambda call: types.SimpleNamespace(wait=lambda: None)


def main() -> None:
    """Run as `python -m tests.unit.parallel_team RANK MEETING RANKS CASES`."""
    import torch

    from effbench.kernels.group import GroupRig, Seat, join
    from tests.unit.kernel_devices import SEED, cpu

    rank, meeting, ranks = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    torch.set_num_threads(1)
    group = join(Seat(rank, ranks, rank), "gloo", 60.0, meeting)
    rig = GroupRig(cpu("avx512_bf16"), SEED, group)
    counts: collections.Counter[str] = collections.Counter()
    count_calls(counts)
    found = {name: measured(case, rig, counts) for name, case in json.loads(sys.argv[4]).items()}
    group.close()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
