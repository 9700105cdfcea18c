"""From a stored record: score, grade and render, each in a fresh process. Targets: text formats 1 s, every format 4 s.

Uses the newest run in reports/runs, or a simulated one made here.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from effbench import api
from effbench.store import documents

TIMES = 5
SCRIPT = """
import sys
from pathlib import Path
from effbench import api, report
record = api.record_of(Path(sys.argv[1]))
card = api.score(record)
verdict = api.grade(card, api.load_policy("node-2026"))
names = sys.argv[2].split(",") if sys.argv[2] != "all" else report.names()
for name in names:
    api.render(name, card, verdict, record)
"""


def seconds(folder: Path, formats: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", SCRIPT, str(folder), formats], check=True, env=os.environ)
    return time.perf_counter() - start


with tempfile.TemporaryDirectory() as made:
    stored = documents.runs(Path("reports/runs"))
    if stored:
        folder = stored[-1]
    else:
        folder = Path(made) / "run"
        words = [sys.executable, "-m", "effbench", "run", "--fake", "nvidia-h200-sxm", "-o", str(folder)]
        subprocess.run(words, check=False, capture_output=True)
    record = api.record_of(folder)
    print(f"{record.plan.suite}, {len(record.measurements)} trials, {record.rounds_done} rounds")
    for formats, target in (("terminal,json,markdown", 1.0), ("all", 4.0)):
        found = statistics.median(seconds(folder, formats) for _ in range(TIMES))
        print(f"score, grade and {formats}: {found:.2f} s with start-up (median of {TIMES}; target {target:.0f} s)")
children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
print(f"largest process: {children:.0f} MB")
