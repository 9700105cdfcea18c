"""How often the 95 % intervals hold the truth: `known_truth` through the whole engine, stop rule included.

Each cell is many runs of simulated time (a worker process per round, an engine, a journal, a record per run) under
fresh seeds. The device's true spread between rounds is half, equal to, or one and a half times what is assumed.
"""

import os
import sys

from _runs import plan_of, run

from effbench import api
from effbench.catalog.references import assumed_tau

RUNS = int(sys.argv[1]) if len(sys.argv) > 1 else 16
TRUTHS = 5  # independent trials per run
WORKLOADS = """
workloads:
  - id: truth
    kernel: known_truth
    params: {{spread: 0.02, rho: 0.5, round_spread: {tau}}}
    axes: {{mean_s: [0.0011, 0.0012, 0.0013, 0.0014, 0.0015]}}
    procedure: {{warmup_s: 0.01, duration_s: 0.3, target_relative_half_width: 0.02}}
"""

site = api.look(dict(os.environ), "nvidia-h200-sxm")
assumed, _, _ = assumed_tau("gpu")
print(f"share of 95 % intervals that hold the truth, {RUNS * TRUTHS} intervals a cell; assumed tau {assumed:.1%}")
print(f"{'rounds':<28}" + "".join(f"true tau {factor:.1f}x  " for factor in (0.5, 1.0, 1.5)))
for label, least, most in (("1", 1, 1), ("2", 2, 2), ("3", 3, 3), ("6", 6, 6), ("2 to 6, by the stop rule", 2, 6)):
    cells = []
    for factor in (0.5, 1.0, 1.5):
        inside = total = rounds = 0
        for seed in range(RUNS):
            text = WORKLOADS.format(tau=assumed * factor)
            todo = plan_of(site, "coverage", text, least, most, seed=1000 * least + most + 7919 * seed)
            record = run(todo, site, telemetry=False)
            truths = {t.id: float(t.params["mean_s"]) for t in todo.trials}
            for measurement in record.measurements:
                assert measurement.interval is not None, measurement.detail
                total += 1
                rounds += record.rounds_done
                inside += measurement.interval.low <= truths[measurement.trial] <= measurement.interval.high
        cells.append(f"{inside / total:6.1%} ({rounds / total:.1f} r)  ")
    print(f"{label:<28}" + "".join(cells), flush=True)
