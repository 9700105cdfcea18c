"""CPU fp32 GEMM through the whole engine against a plain timed torch loop of the same shape. Target: within 3 %.

Engine runs and plain loops alternate, each plain loop in a fresh process, so that both see the same machine.
"""

import os
import statistics
import subprocess
import sys

from _runs import plan_of, run

from effbench import api

PAIRS = int(sys.argv[1]) if len(sys.argv) > 1 else 6
WORKLOADS = """
workloads:
  - id: gemm
    kernel: gemm
    params: {dtype: fp32, m: 2048, n: 2048, k: 2048}
    procedure: {warmup_s: 0.5, duration_s: 3.0}
"""
PLAIN = """
import time, torch
torch.set_num_threads(%d)
g = torch.Generator().manual_seed(1)
a, b = torch.randn(2048, 2048, generator=g), torch.randn(2048, 2048, generator=g)
c = torch.empty(2048, 2048)
end = time.perf_counter() + 1.0
while time.perf_counter() < end:
    torch.mm(a, b, out=c)
times = []
end = time.perf_counter() + 3.0
while time.perf_counter() < end:
    t = time.perf_counter(); torch.mm(a, b, out=c); times.append(time.perf_counter() - t)
times.sort()
print(times[len(times) // 2])
"""

site = api.look(dict(os.environ))
cpu = next(a for a in site.inventory.accelerators if a.kind == "cpu")
threads = int(cpu.cpu.cores_usable) if cpu.cpu else 1
todo = plan_of(site, "gemm", WORKLOADS)
flop = 2 * 2048**3
ratios = []
for _ in range(PAIRS):
    measured = run(todo, site).measurements[0]
    assert measured.step_s is not None, measured.detail
    plain = subprocess.run([sys.executable, "-c", PLAIN % threads], capture_output=True, text=True, check=True)
    plain_s = float(plain.stdout)
    ratios.append(plain_s / measured.step_s.value)
    print(
        f"  effbench {flop / measured.step_s.value / 1e9:7.1f} GFLOP/s   plain loop {flop / plain_s / 1e9:7.1f} GFLOP/s"
    )
print(f"effbench over the plain loop: {statistics.median(ratios):.3f} (median of {PAIRS} pairs; target 0.97 to 1.03)")
