"""Prints what importing a fleet costs: `python tests/overhead/import_fleet.py [NODES [FIGURES]]`.

Writes SuperBench's kind of file, then runs `effbench import` and `effbench grade` on it as real children, files in the
page cache. The children's own CPU time and the largest memory of any of them are printed beside the wall time.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

SEED = 20261121
GPUS = 8


def write(path: Path, nodes: int, figures: int) -> None:
    """Write `nodes` lines of `figures` figures each, 1 % of spread; every hundredth node has a NaN."""
    rng = random.Random(SEED)
    with path.open("w") as file:
        for number in range(nodes):
            line = {"node": f"n{number:05d}"}
            line |= {f"gemm-flops/bf16_tc_flops:{gpu}": 700_000 * rng.gauss(1, 0.01) for gpu in range(GPUS)}
            line |= {f"bench{i % 20}/metric{i}": 100 * rng.gauss(1, 0.01) for i in range(figures - GPUS)}
            if number % 100 == 0:
                line["bench0/metric0"] = float("nan")
            file.write(json.dumps(line) + "\n")


class Done(NamedTuple):
    """What one child took; `memory_bytes` is the most that was resident."""

    wall_s: float
    cpu_s: float
    memory_bytes: int
    code: int


def timed(*words: str) -> Done:
    """Run one command of effbench, its output thrown away."""
    began = time.perf_counter()
    child = subprocess.Popen([sys.executable, "-m", "effbench", *words], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    took = time.perf_counter() - began
    return Done(took, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024, child.returncode)


def main() -> None:
    """Print size, time and memory of both commands, and their exit codes (0 and 3: nothing imported is rated)."""
    nodes, figures = ([int(word) for word in sys.argv[1:]] + [10_000, 200][len(sys.argv) - 1 :])[:2]
    with tempfile.TemporaryDirectory() as scratch:
        path, out = Path(scratch) / "results-summary.jsonl", Path(scratch) / "out"
        write(path, nodes, figures)
        size = path.stat().st_size / 1e6
        print(f"{nodes} nodes, {figures} figures, {size:.0f} MB")
        done = timed("import", "superbench", str(path), "-o", str(out), "--accelerator", "nvidia-h200-sxm")
        judged = timed("grade", str(out))
        for name, one in (("import", done), ("grade ", judged)):
            print(f"{name}: {one.wall_s:.2f} s, of which {one.cpu_s:.2f} s of CPU, exit {one.code}", end=", ")
            print(f"{size / one.wall_s:.0f} MB/s, {one.memory_bytes / 1e6:.0f} MB of memory")
        print(f"both:   {done.wall_s + judged.wall_s:.2f} s (at most 5 s and 300 MB)")


if __name__ == "__main__":
    main()
