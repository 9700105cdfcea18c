"""all_reduce measured by effbench against a plain timed torch.distributed loop of the same size. Target: within 3 %.

Both run in the same two gloo ranks, pinned to a core each, and take turns, so that they see the same machine. The plain
loop is what one writes by hand: warm up, wait for each other, time some repetitions, take the slowest rank's time.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

RANKS = 2
SIZES = (64 << 10, 4 << 20, 64 << 20)
SECONDS = 1.0


class Samples:
    """An outbox that keeps the times of the accepted samples."""

    def __init__(self) -> None:
        self.step_s: list[float] = []

    def event(self, event: Any) -> None:
        from effbench.model.event import Closed, Sample

        if isinstance(event, Sample) and event.accepted:
            self.step_s.append(event.device_s / event.inner_steps)
        if isinstance(event, Closed) and event.status != "done":
            raise SystemExit(f"the trial failed: {event.detail}")

    def progress(self, progress: Any) -> None:
        """Nobody watches."""


def plain_s(group: Any, size: int) -> float:
    """Seconds of one all_reduce by hand: the median over batches of the slowest rank's."""
    import torch
    import torch.distributed as dist

    data = torch.ones(size // 4)
    for _ in range(3):
        dist.all_reduce(data)
    start = time.perf_counter()
    for _ in range(3):
        dist.all_reduce(data)
    n = max(1, int(group.max(0.010 / ((time.perf_counter() - start) / 3))))
    times, turns = [], max(5, int(group.max(SECONDS / ((time.perf_counter() - start) / 3 * n))))
    for _ in range(turns):
        data.fill_(1.0)
        dist.barrier()
        begin = time.perf_counter()
        for _ in range(n):
            dist.all_reduce(data)
        times.append(group.max((time.perf_counter() - begin) / n))
    return statistics.median(times)


def ours_s(rig: Any, size: int) -> float:
    """Seconds of one all_reduce by effbench: the same trial as a suite would plan, through `measure_group`."""
    import msgspec

    from effbench.kernels import collective
    from effbench.model.plan import Placement, Trial
    from effbench.model.suite import Procedure
    from effbench.run.measure_group import measure_group

    params = collective.fit(collective.Params(bytes=size, role="size", ranks=RANKS), rig.accelerator)
    trial = Trial(
        id="all_reduce",
        workload="all_reduce",
        kernel="collective",
        kernel_version=collective.VERSION,
        params=msgspec.to_builtins(params),
        placement=Placement(["cpu"], RANKS),
        procedure=Procedure(duration_s=SECONDS),
        work=collective.work(params),
        outputs=collective.outputs(params),
        trial_key="",
        deadline_s=120.0,
        expected_s=2.0,
        scope="node",
    )
    outbox, step = Samples(), collective.build(params, rig)
    measure_group(step, trial, rig, 0, outbox)
    step.close()
    return statistics.median(outbox.step_s)


def be_rank(rank: int, folder: Path, turns: int) -> None:
    """Take turns on this rank; rank 0 prints."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[rank % len(cores)]})
    from effbench.kernels.group import GroupRig, Seat, join
    from effbench.model.inventory import Accelerator, CpuFacts

    facts = CpuFacts("", 0, 0, "", [], 1.0, 1, 1, [cores[rank % len(cores)]])
    group = join(Seat(rank, RANKS, rank), "gloo", 120.0, f"file://{folder}/store")
    rig = GroupRig(Accelerator("cpu", "cpu", "", "", "cpu", 4 << 30, 32 << 20, cpu=facts), 1, group)
    for size in SIZES:
        ratios = []
        for _ in range(turns):
            by_hand, by_us = plain_s(group, size), ours_s(rig, size)
            ratios.append(by_us / by_hand)
        if rank == 0:
            low, high = min(ratios), max(ratios)
            middle = statistics.median(ratios)
            spread = f"median of {turns}, {low:.3f}-{high:.3f}"
            print(f"  {size:>9} bytes: effbench over the plain loop {middle:.3f} ({spread})")
            sys.stdout.flush()
    group.barrier()
    group.close()


def main() -> int:
    """Start the ranks; return the first status that is not 0."""
    turns = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    with tempfile.TemporaryDirectory() as folder:
        children = [
            subprocess.Popen(
                [sys.executable, __file__, "--rank", str(rank), folder, str(turns)],
                env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
            )
            for rank in range(RANKS)
        ]
        try:
            codes = [child.wait(600) for child in children]
        finally:
            for child in children:
                child.kill()
                child.wait()
    print("target: 0.97 to 1.03")
    return next((code for code in codes if code), 0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--rank"]:
        be_rank(int(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
    else:
        sys.exit(main())
