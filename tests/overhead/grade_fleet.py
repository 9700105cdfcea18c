"""Prints what grading a fleet's scorecards costs: `python tests/overhead/grade_fleet.py [NODES [METRICS]]`.

The scorecards are that of the recording, its figures of the device repeated as further devices' until there are
METRICS, changed by some per cent from node to node, and every tenth at 0.6 of the speed; a child judges them with
`effbench grade FILE.jsonl -o GRADES.jsonl`.
"""

import random
import sys
import tempfile
from pathlib import Path

import msgspec

from effbench import api
from effbench.model.scorecard import Metric, Scorecard
from tests.overhead.import_fleet import SEED, timed

RECORDING = sorted((Path(__file__).parents[1] / "recordings").glob("*/journal.jsonl.gz"))[0]
KINDS = 50


def card_of(metrics: int) -> Scorecard:
    """The recording's scorecard with as many metrics."""
    card = api.score(api.record_of(RECORDING))
    own = [metric for metric in card.metrics if metric.device is not None]
    more = max(metrics - len(card.metrics), 0)
    further = [msgspec.structs.replace(own[i % len(own)], device=f"cpu{1 + i // len(own)}") for i in range(more)]
    return msgspec.structs.replace(card, metrics=[*card.metrics, *further][:metrics])


def scaled(metric: Metric, factor: float) -> Metric:
    """One figure with its interval, `factor` times as large."""
    ends = metric.interval
    if ends is not None:
        ends = msgspec.structs.replace(ends, low=ends.low * factor, high=ends.high * factor)
    quantity = msgspec.structs.replace(metric.quantity, value=metric.quantity.value * factor)
    return msgspec.structs.replace(metric, quantity=quantity, interval=ends)


def write(path: Path, nodes: int, metrics: int) -> None:
    """Write one scorecard a line, every node by its own name; so that it is quick, figures repeat after `KINDS`."""
    rng, card = random.Random(SEED), card_of(metrics)
    texts = []
    for kind in range(min(KINDS, nodes)):
        factor = rng.gauss(1, 0.05) * (0.6 if kind % 10 == 0 else 1)
        made = msgspec.structs.replace(card, node="@NODE@", metrics=[scaled(m, factor) for m in card.metrics])
        texts.append(msgspec.json.encode(made).split(b"@NODE@"))
    with path.open("wb") as file:
        for number in range(nodes):
            file.write(f"n{number:05d}".encode().join(texts[number % KINDS]) + b"\n")


def main() -> None:
    """Print size, time and memory of the command and its exit code (1: some of the nodes are slow)."""
    nodes, metrics = ([int(word) for word in sys.argv[1:]] + [10_000, 200][len(sys.argv) - 1 :])[:2]
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "cards.jsonl"
        write(path, nodes, metrics)
        size = path.stat().st_size / 1e6
        print(f"{nodes} scorecards of {metrics} metrics, {size:.0f} MB, {size / nodes * 1e3:.0f} kB each")
        done = timed("grade", str(path), "-o", str(Path(scratch) / "grades.jsonl"))
        print(f"grade: {done.wall_s:.2f} s, of which {done.cpu_s:.2f} s of CPU, {size / done.wall_s:.0f} MB/s,")
        print(f"       {done.memory_bytes / 1e6:.0f} MB of memory, exit {done.code} (at most 15 s and 300 MB)")


if __name__ == "__main__":
    main()
