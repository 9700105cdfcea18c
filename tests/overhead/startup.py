"""`effbench --help` against bare Python, interleaved in one run. Target: at most 130 ms above."""

import statistics
import subprocess
import sys
import time

PAIRS = 20


def once(words: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


bare, own = [], []
for _ in range(PAIRS):
    bare.append(once(["-c", "pass"]))
    own.append(once(["-m", "effbench", "--help"]))
above = statistics.median(b - a for a, b in zip(bare, own, strict=True))
print(f"bare Python {statistics.median(bare) * 1e3:.0f} ms, effbench --help {statistics.median(own) * 1e3:.0f} ms")
print(f"effbench --help takes {above * 1e3:.0f} ms above bare Python (median of {PAIRS} pairs; target 130 ms)")
