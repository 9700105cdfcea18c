"""Owns known truths about teams on shaped links: what is run, and what must come of it. Used by tests and benchmark.

Rates, sizes and bounds are those of our own earlier measurements of gloo under tbf (kernel 6.18, 2 cores).
"""

import json
import statistics
from pathlib import Path
from typing import Any

from effbench.stats.collective_cost import Sized, cost_fit
from tests.system.sandboxes import PYTHON, Sandbox

PROGRAM = Path(__file__).with_name("rank_program.py")
MEGABYTE = 1_000_000

# tbf counts Ethernet frames of 1514 byte, of which 1448 are payload: 0.956 of the rate is the ceiling.
BUS_SHARE = (0.90, 0.98)
BUS_BYTES = 16 << 20

# A step of 0.5 s of waiting, then an all_reduce of 4 MB over 200 Mbit/s: weak efficiency by number of nodes.
WEAK_RATE, WEAK_STEP_S, WEAK_BYTES = "200mbit", 0.5, 4 * MEGABYTE
WEAK_EFFICIENCY = {2: 0.760, 3: 0.700, 4: 0.673, 6: 0.649, 8: 0.638, 10: 0.631, 12: 0.627, 14: 0.623, 16: 0.621}

# gloo sends a message only when its receiver has said that it is ready: each step of a ring crosses the link twice.
CROSSINGS_PER_STEP = 2
# From 4 KiB on gloo's all_reduce is a ring; up to 64 KiB all is in flight at once, so TCP's window does not count.
LATENCY_SIZES = (4096, 16384, 65536)
QUARTER = "250mbit"


def run_team(sandbox: Sandbox, ranks: int, tasks: list[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """Run tasks on the first `ranks` nodes; every result must have been verified by all ranks."""
    given, result = folder / "tasks.json", folder / "result.jsonl"
    given.write_text(json.dumps(tasks))
    result.unlink(missing_ok=True)
    words = ["run", "--ranks", ranks, "--timeout", 200, "--", PYTHON, PROGRAM, given, result]
    sandbox.must(*words, timeout_s=240)
    found = [json.loads(line) for line in result.read_text().splitlines()]
    assert len(found) == len(tasks)
    wrong = [one["task"] for one in found if not one["ok"]]
    assert not wrong, wrong
    return found


def collective(op: str, size: int, repeats: int = 5, inner: int = 1) -> dict[str, Any]:
    """One collective; `inner` of them back to back, so that the shaper's bucket is empty."""
    params = {"op": op, "bytes": size, "role": "size"}
    return {"kernel": "collective", "params": params, "repeats": repeats, "inner": inner}


def busbw(result: dict[str, Any]) -> float:
    """Bus bandwidth by nccl-tests' definition, bit/s."""
    return float(result["work"]["link_bytes"]) / float(result["step_s"]) * 8


def waiting_step(mean_s: float, size: int, repeats: int, stretch: float = 1.0, slow_rank: int = 0) -> dict[str, Any]:
    """A step of known length followed by an all_reduce."""
    params = {"mean_s": mean_s, "bytes": size, "stretch": stretch, "slow_rank": slow_rank}
    return {"kernel": "team_truth", "params": params, "repeats": repeats}


def pair_sweep(size: int = 4 << 20, repeats: int = 3) -> dict[str, Any]:
    """All pairs."""
    return {"kernel": "pair_sweep", "params": {"bytes": size, "repeats": repeats}}


def named_by_waiting(result: dict[str, Any]) -> int:
    """The straggler: the rank that waits least."""
    waits = [float(rank["wait_s"]) for rank in result["ranks"]]
    return waits.index(min(waits))


def named_by_pairs(result: dict[str, Any]) -> str:
    """Whom the sweep suspects, `r2`; empty when nobody."""
    return str(result["texts"].get("suspect", ""))


def latency_tasks(repeats: int = 25) -> list[dict[str, Any]]:
    """The small sizes that a latency is fitted to."""
    return [collective("all_reduce", size, repeats) for size in LATENCY_SIZES]


def fitted_latency_s(results: dict[int, list[dict[str, Any]]]) -> float:
    """The latency of one ring step that the tool's own fit finds in sweeps, by number of ranks, s."""
    sizes = []
    for ranks, sweep in results.items():
        for one in sweep:
            # The quickest quarter: what else this machine does only adds, and a switch in user space feels all of it.
            times = sorted(float(t) for t in one["times_s"])
            quick = times[: max(3, len(times) // 4)]
            sigma = statistics.stdev(quick) / len(quick) ** 0.5
            sizes.append(Sized(ranks, float(one["work"]["payload_bytes"]), statistics.fmean(quick), sigma))
    return float(cost_fit("all_reduce", sizes).cost.latency_s)
