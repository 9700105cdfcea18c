"""What the cluster's scorecard says of simulated fleets: slow as a whole, of two kinds, one node that stands out."""

from collections.abc import Iterator

import msgspec
import numpy as np

from effbench.faults.cells import TIMED
from effbench.faults.draw import drawn, record, truth
from effbench.faults.inject import slowed
from effbench.faults.noise import Shape
from effbench.faults.site import Bench, bench
from effbench.faults.table import KINDS, NODES, Row, counted, pool, seeded
from effbench.model.cluster import Cluster
from effbench.model.scorecard import Scorecard
from effbench.score.cluster import Node, score_cluster
from effbench.score.node import score

__all__ = ["page"]

# Fleets are drawn from so many measured nodes of each sort. They share nodes, so the intervals are a bit too narrow.
MEASURED = 72
SPREADS = (0.01, 0.02)
JUDGED = "fleet page"


def page(count: int, seed: int) -> Iterator[Row]:
    """Give what is said of `count` fleets of each sort: healthy ones, and those with a fault of the fleet."""
    site = bench()
    for spread in SPREADS:
        rng = seeded(seed, "page", spread)
        rounds = pool(seed)
        healthy, half, slow, sick = (
            _cards(site, rng, rounds, spread, loss, device)
            for loss, device in ((0.0, None), (0.5, None), (1 - KINDS, None), (0.1, "gpu3"))
        )
        named = sum(_named(_fleet(rng, healthy, NODES)) for _ in range(count))
        title = "a node of a healthy fleet stands out"
        yield counted("page-healthy", title, JUDGED, spread, named, count * NODES, True, target=False)
        said = sum(_first_out(_fleet(rng, healthy, NODES - 1, sick, 1)) for _ in range(count))
        title = "a node with one GPU of 8 that is 10 % slow stands out"
        yield counted("page-one", title, JUDGED, spread, said, count, False, target=False)
        said = sum(_two_kinds(_fleet(rng, healthy, NODES // 2, slow, NODES // 2)) for _ in range(count))
        title = "a fleet of two kinds, 100 and 93, is called so"
        yield counted("page-two-kinds", title, JUDGED, spread, said, count, False, target=False)
        said = sum(bool(_fleet(rng, half, NODES).slow) for _ in range(count))
        yield counted("page-half", "a fleet at half speed is called slow", JUDGED, spread, said, count, False)


def _cards(
    site: Bench, rng: np.random.Generator, rounds: list[Shape], spread: float, loss: float, device: str | None
) -> list[Scorecard]:
    """Score as many nodes; the page compares nodes by their own figures, so those of devices are left out."""
    made = []
    for i in range(MEASURED):
        step_s = slowed(loss, *TIMED, device=device)(site, truth(site, rng, spread, "nodes"))
        card = score(record(site, drawn(site, rng, step_s, rounds, f"page-{loss}-{device}-{i}")))
        made.append(msgspec.structs.replace(card, metrics=[m for m in card.metrics if m.device is None]))
    return made


def _fleet(
    rng: np.random.Generator, first: list[Scorecard], n: int, second: list[Scorecard] | None = None, m: int = 0
) -> Cluster:
    """Put `n` nodes of one sort and `m` of another side by side; those of the second have the last names."""
    chosen = [first[i] for i in rng.choice(len(first), n, False)]
    chosen += [second[i] for i in rng.choice(len(second), m, False)] if second else []
    found = score_cluster("simulated", [Node(f"node-{i:02d}", card) for i, card in enumerate(chosen)]).cluster
    assert found is not None
    return found


def _named(found: Cluster) -> int:
    return sum(row.n_outliers > 0 for row in found.nodes)


def _two_kinds(found: Cluster) -> bool:
    """Whether some figure is said to be of two kinds, the slow nodes among the lower."""
    slow = {f"node-{i:02d}" for i in range(NODES // 2, NODES)}
    return any(d.halves is not None and set(d.halves.nodes_low) <= slow for d in found.distributions)


def _first_out(found: Cluster) -> bool:
    """Whether the sick node, which has the last name, stands out."""
    return any(row.n_outliers > 0 for row in found.nodes if row.name == f"node-{NODES - 1:02d}")
