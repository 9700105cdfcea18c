"""Runs the table of faults: so many seeded cases a cell, each judged by the real path, counted with exact intervals."""

import functools
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import msgspec
import numpy as np

from effbench.faults.cells import CELLS, Cell, Peers
from effbench.faults.draw import Drawn, Fault, Steps, drawn, record, truth
from effbench.faults.judge import Rules, Ruling, rules, ruling
from effbench.faults.noise import Shape, shapes
from effbench.faults.site import Bench, bench
from effbench.model.baseline import Baseline
from effbench.model.grade import PRECEDENCE, Verdict
from effbench.model.record import Record
from effbench.score.baseline import baseline, seen
from effbench.stats.clopper_pearson import clopper_pearson

__all__ = [
    "BASELINES",
    "CASES",
    "CAUGHT_LEAST",
    "FAILED_MOST",
    "KINDS",
    "MEASURED",
    "NODES",
    "SEED",
    "SPREAD_MOST",
    "Fleet",
    "Row",
    "cases",
    "counted",
    "fleet",
    "pool",
    "row",
    "seeded",
    "table",
]

CASES, SEED = 300, 20261121
# A baseline of a fleet is of so many nodes; so many baselines are drawn from so many measured nodes, one for a case.
# They share nodes, so the intervals of rates are a bit too narrow.
NODES, BASELINES, MEASURED = 24, 60, 96
# Targets: detection of a fault of 10 % and more, and healthy nodes that fail, at a natural spread of up to 2 %.
CAUGHT_LEAST, FAILED_MOST, SPREAD_MOST = 0.99, 0.01, 0.02
KINDS = 0.93


class Row(msgspec.Struct, frozen=True, omit_defaults=True):
    """One cell at one spread. `hits` of `n` is what `rate` is of: caught, or of healthy nodes failed.

    `low` and `high` hold the true rate with 95 % (Clopper-Pearson). `target` is empty where none is set.
    """

    cell: str
    title: str
    judged: str
    spread: float
    n: int
    verdicts: dict[Verdict, int]
    hits: int
    rate: float
    low: float
    high: float
    target: str = ""
    healthy: bool = False
    missing: bool = False

    @property
    def broken(self) -> bool:
        """Whether a node passed although evidence was missing."""
        return self.missing and self.verdicts.get("pass", 0) > 0


class Fleet(msgspec.Struct, frozen=True):
    """What the cases of one spread share: the node, rounds to draw from, and baselines of the fleet."""

    bench: Bench
    pool: list[Shape]
    spread: float
    between: str
    baselines: list[Baseline]


def seeded(seed: int, *words: object) -> np.random.Generator:
    """Return the random numbers of one part of the table: the same for the same seed and words, on any machine."""
    return np.random.default_rng([seed, *(zlib.crc32(str(word).encode()) for word in words)])


@functools.lru_cache(maxsize=4)
def pool(seed: int) -> list[Shape]:
    """Return the rounds that all parts draw from: folding them is most of the work."""
    return shapes(seeded(seed, "rounds"))


@functools.lru_cache(maxsize=16)
def fleet(seed: int, suite: str, spread: float, between: str, peers: Peers) -> Fleet:
    """Measure a fleet and make baselines of it; without a baseline for node/full, whose policy asks for none."""
    rng = seeded(seed, "fleet", suite, spread, between, peers)
    site, rounds = bench(suite), pool(seed)
    made: list[Baseline] = []
    if suite == "node/standard":
        known = []
        for i in range(MEASURED):
            step_s = _peer(site, truth(site, rng, spread, between), peers, i)
            known.append(seen(record(site, drawn(site, rng, step_s, rounds, f"peer-{peers}-{i}"))))
        if peers == "two":  # as many of either kind in each
            halves = [known[0::2], known[1::2]]
            picks = [[h[j] for h in halves for j in rng.choice(len(h), NODES // 2, False)] for _ in range(BASELINES)]
        else:
            picks = [[known[j] for j in rng.choice(MEASURED, NODES, False)] for _ in range(BASELINES)]
        made = [baseline(chosen) for chosen in picks]
    return Fleet(site, rounds, spread, between, made)


def _peer(site: Bench, step_s: Steps, peers: Peers, number: int) -> Steps:
    if peers == "half":
        return step_s * 2
    return step_s / KINDS if peers == "two" and number % 2 else step_s


def cases(cell: Cell, of: Fleet, count: int, seed: int, known: Rules) -> Iterator[Ruling]:
    """Judge `count` nodes of the fleet, each with the cell's fault."""
    rng = seeded(seed, "cases", of.spread, of.between, of.bench.plan.suite)  # the same nodes in every cell
    own = seeded(seed, "fault", cell.key, of.spread)
    for i in range(count):
        step_s = truth(of.bench, rng, of.spread, of.between)
        sick = cell.slow(of.bench, step_s) if cell.slow is not None else step_s
        run = drawn(of.bench, rng, sick, of.pool, f"{cell.key}-{i}")
        base = of.baselines[i % len(of.baselines)] if of.baselines else None
        yield ruling(cell, _record(of.bench, run, cell, own), base, known)


def _record(site: Bench, run: Drawn, cell: Cell, rng: np.random.Generator) -> Record:
    change = cell.change
    fault: Fault | None = None if change is None else lambda parts: change(parts, rng)
    return record(site, run, fault)


def row(cell: Cell, spread: float, rulings: Iterable[Ruling]) -> Row:
    """Count the rulings of one cell at one spread."""
    counts: Counter[Verdict] = Counter()
    caught = 0
    for one in rulings:  # none is kept: scorecards are large
        counts[one.verdict] += 1
        caught += one.verdict != "pass" and one.named
    hits = counts["fail"] if cell.healthy else caught
    said = counted(cell.key, cell.title, cell.judged, spread, hits, counts.total(), cell.healthy, cell.target)
    verdicts = {v: counts[v] for v in PRECEDENCE if counts[v]}
    return msgspec.structs.replace(said, verdicts=verdicts, missing=cell.missing)


def counted(
    cell: str, title: str, judged: str, spread: float, hits: int, n: int, healthy: bool, target: bool = True
) -> Row:
    """Make the row of `hits` in `n` cases, with its exact interval and whether it meets the target."""
    low, high = clopper_pearson(hits, n)
    word = ""
    if target and spread <= SPREAD_MOST:
        word = "met" if (hits / n <= FAILED_MOST if healthy else hits / n >= CAUGHT_LEAST) else "MISSED"
    return Row(cell, title, judged, spread, n, {}, hits, hits / n, low, high, word, healthy)


def table(count: int = CASES, seed: int = SEED, only: Sequence[str] = ()) -> Iterator[Row]:
    """Give the rows of every cell at every spread that it is asked for; of the cells `only`, if any are named."""
    known = rules()
    for cell in CELLS:
        for spread in cell.spreads if not only or cell.key in only else ():
            suite = "node/full" if cell.judged == "burn-in" else "node/standard"
            of = fleet(seed, suite, spread, cell.between, cell.peers)
            yield row(cell, spread, cases(cell, of, count, seed, known))
