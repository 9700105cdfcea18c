"""Prints what importing a fleet costs: `python tests/overhead/import_fleet.py [NODES [FIGURES]]`.

Writes SuperBench's kind of file, then runs `effbench import` and `effbench grade` on it as real children, files in the
page cache. The children's own CPU time and the largest memory of any of them are printed beside the wall time.
"""

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

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


def timed(*words: str) -> tuple[float, float, int]:
    """Run one command; return wall and CPU seconds and its exit code."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "effbench", *words], stdout=subprocess.DEVNULL, check=False)
    took, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.returncode


def main() -> None:
    """Print size, time and memory of both commands, and their exit codes (0 and 3: nothing imported is rated)."""
    nodes, figures = ([int(word) for word in sys.argv[1:]] + [10_000, 200][len(sys.argv) - 1 :])[:2]
    with tempfile.TemporaryDirectory() as scratch:
        path, out = Path(scratch) / "results-summary.jsonl", Path(scratch) / "out"
        write(path, nodes, figures)
        size = path.stat().st_size / 1e6
        print(f"{nodes} nodes, {figures} figures, {size:.0f} MB")
        took, cpu, code = timed("import", "superbench", str(path), "-o", str(out), "--accelerator", "nvidia-h200-sxm")
        print(f"import: {took:.2f} s, of which {cpu:.2f} s of CPU, {size / took:.0f} MB/s, exit {code} (at most 5 s)")
        took, cpu, code = timed("grade", str(out))
        print(f"grade:  {took:.2f} s, of which {cpu:.2f} s of CPU, exit {code}")
    print(f"most memory: {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024:.0f} MiB (at most 300 MB)")


if __name__ == "__main__":
    main()
