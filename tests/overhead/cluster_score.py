"""Prints how long the scorecard of 1,000 nodes takes: `python tests/overhead/cluster_score.py [NODES]`.

The nodes are copies of one synthetic run, each with figures and digests of its own; the time is from folders on disk to
`cluster.json` in memory, in this process, files in the page cache.
"""

import random
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from effbench import api
from effbench.model.digest import digest
from effbench.model.quantity import Interval, Quantity
from effbench.model.record import Record
from effbench.model.scorecard import Metric, Scorecard
from effbench.store import documents
from effbench.store.nodes import cluster_card
from tests.factory import gpu_node

SEED = 20261121


def scaled(metric: Metric, factor: float) -> Metric:
    """Return `metric` with its value and interval times `factor`."""
    value = Quantity(metric.quantity.value * factor, metric.quantity.unit)
    held = metric.interval
    if held is not None:
        held = Interval(held.low * factor, held.high * factor, held.level, held.method)
    return msgspec.structs.replace(metric, quantity=value, interval=held)


def node(card: Scorecard, record: Record, name: str, rng: random.Random, slow: float = 1.0) -> tuple[Scorecard, Record]:
    """Make a node of its own: 0.5 % of spread, and `slow` times the speed in everything."""
    own = msgspec.structs.replace(record, journal_digest=f"sha256:{name}", digest="")
    own = msgspec.structs.replace(own, digest=digest(own))
    metrics = [scaled(m, rng.gauss(1, 0.005) * (slow if m.better == "higher" else 1 / slow)) for m in card.metrics]
    return msgspec.structs.replace(card, node=name, metrics=metrics, record_digests=[own.digest], simulated=False), own


def fleet(root: Path, count: int, slow: int) -> None:
    """Write `count` nodes below `root`; number `slow` runs at 0.8 of the speed."""
    case = gpu_node(simulated=False)
    assert case.record is not None
    rng = random.Random(SEED)
    for i in range(count):
        card, record = node(case.card, case.record, f"n{i:04d}", rng, 0.8 if i == slow else 1.0)
        folder = root / card.node
        folder.mkdir(parents=True)
        documents.write(folder / documents.RECORD, documents.encode(record))
        documents.write(folder / documents.SCORECARD, documents.encode(card))


def main() -> None:
    """Print the time, what was read, and whether the slow node came first."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "fleet"
        fleet(root, count, slow=count // 3)
        policy = api.load_policy("node-2026")
        began, cpu = time.perf_counter(), time.process_time()
        card = cluster_card(root, policy)
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
        encoded = documents.encode(card)
        size = sum(f.stat().st_size for f in root.rglob("*.json"))
    assert card.cluster is not None
    slow = f"n{count // 3:04d}"
    first = card.cluster.nodes[0].name
    print(f"{count} nodes, {len(card.metrics)} figures, {size / 1e6:.0f} MB in files")
    print(f"{took:.2f} s, of which {cpu:.2f} s of CPU (at most 5 s for 1,000 nodes)")
    print(f"cluster.json: {len(encoded) / 1e6:.1f} MB; the slow node {slow} comes first: {first == slow}")


if __name__ == "__main__":
    main()
