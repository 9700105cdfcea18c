"""node/quick on this machine, start to report, as a user types it: wall time against its budget, the parent's memory,
and the share of wall time inside measured or soaking windows. Pass `node/standard` to time that level instead.
"""

import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from subprocess import DEVNULL, Popen

from effbench import api

SUITE = sys.argv[1] if len(sys.argv) > 1 else "node/quick"


def watch(pid: int, found: list[int]) -> None:
    """Note the parent's resident memory until it ends, bytes."""
    path = Path(f"/proc/{pid}/status")
    while True:
        try:
            line = next(line for line in path.read_text().splitlines() if line.startswith("VmRSS"))
        except (OSError, StopIteration):
            return
        found.append(int(line.split()[1]) * 1024)
        time.sleep(0.2)


with tempfile.TemporaryDirectory() as folder:
    run = Path(folder) / "run"
    start = time.perf_counter()
    child = Popen([sys.executable, "-m", "effbench", "run", SUITE, "-o", str(run)], stdout=DEVNULL, stderr=DEVNULL)
    resident: list[int] = []
    watcher = threading.Thread(target=watch, args=(child.pid, resident))
    watcher.start()
    code = child.wait()
    wall = time.perf_counter() - start
    watcher.join()
    record = api.record_of(run)
    size = sum(path.stat().st_size for path in run.iterdir())
measuring = resident[: int(len(resident) * 0.9)]
print(f"{SUITE} on {os.cpu_count()} cores: {wall:.0f} s of a budget of {record.plan.budget_s:.0f} s, exit code {code}")
share, most = record.measured_s / wall, max(measuring, default=0) / 1e6
print(f"outcome {record.outcome}, {record.rounds_done} rounds, {share:.0%} of the time measured or soaked")
print(f"parent: {most:.0f} MB at most while measuring (target 150 MB); {size / 1e6:.1f} MB on disk")
