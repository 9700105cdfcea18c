"""Teams on links of known speed and delay: the tables behind tests/system, with 20 runs of each fault. Root; minutes.

python tests/overhead/shaped_links.py [busbw|weak|latency|faults ...]
"""

import os
import shutil
import signal
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FOLDER = tempfile.mkdtemp(prefix="effbench-shaped-")
os.environ.setdefault("EFFBENCH_SYSTEM", FOLDER)

from tests.system import truth  # noqa: E402
from tests.system.sandboxes import PROGRAMS, Sandbox  # noqa: E402

RUNS = 20


@contextmanager
def links(*words: object) -> Iterator[Sandbox]:
    """Shaped links, ended on every way out."""
    sandbox = Sandbox("links", "bench")
    sandbox.must("up", *words)
    try:
        yield sandbox
    finally:
        sandbox.must("down")


def busbw(folder: Path) -> None:
    """All_reduce at 1 Gbit/s: busbw over the rate. The ceiling of payload in frames is 0.956."""
    sizes = (4 << 20, 16 << 20, 64 << 20)
    print("\nall_reduce at 1 Gbit/s, busbw over the rate (expected 0.90 to 0.98)")
    print("ranks " + "".join(f"{size >> 20:>7} MiB" for size in sizes))
    for ranks in (2, 3, 4):
        with links(ranks, "--rate", "1gbit") as sandbox:
            tasks = [truth.collective("all_reduce", size, 7, max(1, (32 << 20) // size)) for size in sizes]
            results = truth.run_team(sandbox, ranks, tasks, folder)
        print(f"{ranks:>5} " + "".join(f"{truth.busbw(one) / 1e9:>11.3f}" for one in results), flush=True)


def weak(folder: Path) -> None:
    """The weak-scaling curve, by medians and by the fastest step."""
    print(f"\nweak scaling: {truth.WEAK_STEP_S} s of waiting, {truth.WEAK_BYTES / 1e6:g} MB over {truth.WEAK_RATE}")
    print("ranks  median s  efficiency  fastest s  efficiency  expected  deviation")
    base: tuple[float, float] | None = None
    for ranks in (1, *truth.WEAK_EFFICIENCY):
        with links(ranks, "--rate", truth.WEAK_RATE) as sandbox:
            step = [truth.waiting_step(truth.WEAK_STEP_S, truth.WEAK_BYTES, 9)]
            (result,) = truth.run_team(sandbox, ranks, step, folder)
        middle, best = float(result["step_s"]), min(float(t) for t in result["times_s"])
        base = base or (middle, best)
        expected = truth.WEAK_EFFICIENCY.get(ranks, 1.0)
        line = f"{ranks:>5}{middle:>10.4f}{base[0] / middle:>12.3f}{best:>11.4f}{base[1] / best:>12.3f}"
        print(f"{line}{expected:>10.3f}{base[1] / best / expected - 1:>+11.1%}", flush=True)


def latency(folder: Path) -> None:
    """One-way delays against the latency of a ring step that the tool fits to its sweep."""
    delays_s = (1e-3, 2e-3, 4e-3, 8e-3)
    print("\nadded one-way delay, and what the fitted latency says of it (two crossings per ring step)")
    print("delay ms  fitted ms per step  added ms  recovered ms  deviation")
    first = 0.0
    for delay_s in delays_s:
        with links(4, "--rate", "1gbit", "--delay", f"{delay_s * 1e3:g}ms") as sandbox:
            sweeps = {n: truth.run_team(sandbox, n, truth.latency_tasks(), folder) for n in (2, 3, 4)}
        fitted = truth.fitted_latency_s(sweeps)
        line = f"{delay_s * 1e3:>8g}{fitted * 1e3:>20.2f}"
        if delay_s == delays_s[0]:
            first = fitted
        else:
            added, back = delay_s - delays_s[0], (fitted - first) / truth.CROSSINGS_PER_STEP
            line += f"{added * 1e3:>10g}{back * 1e3:>14.2f}{back / added - 1:>+11.1%}"
        print(line, flush=True)


def faults(folder: Path) -> None:
    """Twenty runs with a bad link, with a slow rank, and with neither: how often the right one was named."""
    print(f"\nfaults among 4 ranks at 1 Gbit/s, {RUNS} runs each")
    with links(4, "--rate", "1gbit") as sandbox:
        healthy = truth.run_team(sandbox, 4, [truth.pair_sweep()] * RUNS, folder)
        tasks = [truth.waiting_step(0.1, truth.WEAK_BYTES, 3, 1.5, i % 4) for i in range(RUNS)]
        slow = truth.run_team(sandbox, 4, tasks, folder)
        right = 0
        for node in range(1, 5):
            sandbox.must("shape", node, truth.QUARTER)
            swept = truth.run_team(sandbox, 4, [truth.pair_sweep()] * (RUNS // 4), folder)
            right += sum(truth.named_by_pairs(one) == f"r{node - 1}" for one in swept)
            sandbox.must("shape", node, "1gbit")
    print(f"  one link at a quarter speed, named by the pair sweep: {right} of {RUNS}")
    print(f"  healthy links, nobody blamed: {[truth.named_by_pairs(one) for one in healthy].count('')} of {RUNS}")
    waits = sum(truth.named_by_waiting(one) == i % 4 for i, one in enumerate(slow))
    print(f"  a rank with 1.5 times the work, named by busy and wait: {waits} of {RUNS}")
    spread = [one["facts"]["slowest_to_median"] for one in healthy]
    print(f"  slowest over median pair on healthy links: {min(spread):.2f} to {statistics.median(spread):.2f} (median)")


def main() -> None:
    """Print the tables that were asked for, all without a word."""
    missing = [name for name in ("ip", "tc", "nsenter", "unshare") if shutil.which(name, path=PROGRAMS) is None]
    if missing or os.geteuid() != 0:
        print(f"skipped: needs root{''.join(f', {name}' for name in missing)}")
        return
    tables = {table.__name__: table for table in (busbw, weak, latency, faults)}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        for name in sys.argv[1:] or tables:
            tables[name](Path(FOLDER))
    finally:
        shutil.rmtree(FOLDER)


if __name__ == "__main__":
    main()
