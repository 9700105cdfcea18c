"""Fleets for the benchmarks: files as SuperBench writes them, scorecards as JSON lines, and what judging them takes."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import msgspec

from effbench import api
from effbench.model.scorecard import Metric, Scorecard

RECORDING = sorted((Path(__file__).parents[1] / "recordings").glob("*/journal.jsonl.gz"))[0]
SEED = 20261121
GPUS = 8
KINDS = 50


class Done(NamedTuple):
    """What one child took; `memory_bytes` is the most that was resident."""

    wall_s: float
    cpu_s: float
    memory_bytes: int
    code: int


def timed(*words: str | Path) -> Done:
    """Run one command of effbench as a child, what it says thrown away."""
    began, nowhere = time.perf_counter(), subprocess.DEVNULL
    child = subprocess.Popen([sys.executable, "-m", "effbench", *map(str, words)], stdout=nowhere, stderr=nowhere)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    took = time.perf_counter() - began
    return Done(took, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024, child.returncode)


def write_summary(path: Path, nodes: int, figures: int) -> None:
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


def write_cards(path: Path, nodes: int, metrics: int) -> None:
    """Write `nodes` scorecards of `metrics` metrics, one a line; a tenth of the nodes at 0.6 of the speed.

    All are the recording's scorecard, its figures of the device repeated as further devices' until there are enough,
    under the node's own name. The figures change by some per cent from node to node and repeat after `KINDS`.
    """
    rng, card = random.Random(SEED), _card(metrics)
    texts = []
    for kind in range(min(KINDS, nodes)):
        factor = rng.gauss(1, 0.05) * (0.6 if kind % 10 == 0 else 1)
        made = msgspec.structs.replace(card, node="@NODE@", metrics=[scaled(m, factor) for m in card.metrics])
        texts.append(msgspec.json.encode(made).split(b"@NODE@"))
    with path.open("wb") as file:
        for number in range(nodes):
            file.write(f"n{number:05d}".encode().join(texts[number % KINDS]) + b"\n")


def _card(metrics: int) -> Scorecard:
    card = api.score(api.record_of(RECORDING))
    own = [metric for metric in card.metrics if metric.device is not None]
    more = max(metrics - len(card.metrics), 0)
    further = [msgspec.structs.replace(own[i % len(own)], device=f"cpu{1 + i // len(own)}") for i in range(more)]
    return msgspec.structs.replace(card, metrics=[*card.metrics, *further][:metrics])


def scaled(metric: Metric, factor: float) -> Metric:
    """Return one figure with its interval, `factor` times as large."""
    ends = metric.interval
    if ends is not None:
        ends = msgspec.structs.replace(ends, low=ends.low * factor, high=ends.high * factor)
    quantity = msgspec.structs.replace(metric.quantity, value=metric.quantity.value * factor)
    return msgspec.structs.replace(metric, quantity=quantity, interval=ends)
