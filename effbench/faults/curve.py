"""What a pass mark and a baseline can tell: detection over the size of a fault, by the fleet and by own history."""

from collections import Counter
from collections.abc import Iterator

import msgspec

from effbench.faults.cells import CELLS, TIMED, Cell
from effbench.faults.draw import drawn, record, truth
from effbench.faults.inject import slowed
from effbench.faults.judge import Rules, graded, rules, ruling
from effbench.faults.table import Fleet, Row, cases, counted, fleet, row, seeded
from effbench.model.grade import PRECEDENCE, Verdict
from effbench.model.policy import Policy
from effbench.score.baseline import baseline, seen
from effbench.stats.center import RUNS_FOR_SPREAD

__all__ = ["MARKS", "curve", "marks"]

# Spreads at which no single look at a node can find a fault of 10 % without condemning healthy nodes.
WIDE = (0.04, 0.08)
SIZES_FLEET, SIZES_OWN = (0.05, 0.10, 0.20, 0.30), (0.0, 0.05, 0.10, 0.20)
MARKS = ("0.90", "0.92", "0.94", "0.95", "0.96")
MARKED = ("one-5", "one-10", "one-10-devices", "healthy", "healthy-devices")


def curve(count: int, seed: int) -> Iterator[Row]:
    """Give detection over the size of the fault at wide spreads, against the fleet and against the node's own past."""
    known = rules()
    for spread in WIDE:
        of = fleet(seed, "node/standard", spread, "nodes", "healthy")
        for size in SIZES_FLEET:
            yield row(_slow(size, "fleet"), spread, cases(_slow(size, "fleet"), of, count, seed, known))
        yield from _by_own_history(of, count, seed, known)


def _slow(size: float, against: str) -> Cell:
    """One GPU of 8 that is slow by `size`; of size zero a healthy node."""
    like = next(cell for cell in CELLS if cell.key == ("one-10" if size else "healthy"))
    title = f"one GPU of 8 is {size * 100:g} % slow" if size else "a healthy node"
    slow = slowed(size, *TIMED) if size else None
    return msgspec.structs.replace(
        like, key=f"{against}-{size * 100:g}", title=f"{title}, against {against}", size=size or None, slow=slow
    )


def _by_own_history(of: Fleet, count: int, seed: int, known: Rules) -> Iterator[Row]:
    """Hold each node against nine earlier runs of itself, with the same devices by their UUIDs."""
    rng = seeded(seed, "own", of.spread)
    cells = [_slow(size, "own history") for size in SIZES_OWN]
    hits, verdicts = Counter[str](), {cell.key: Counter[Verdict]() for cell in cells}
    for i in range(count):
        step_s, node = truth(of.bench, rng, of.spread, of.between), f"node-{i}"
        past = [
            seen(record(of.bench, drawn(of.bench, rng, step_s, of.pool, f"{node}-{run}", node)))
            for run in range(RUNS_FOR_SPREAD)
        ]
        own = baseline(past)
        for cell in cells:
            now = cell.slow(of.bench, step_s) if cell.slow is not None else step_s
            again = record(of.bench, drawn(of.bench, rng, now, of.pool, f"{node}-{cell.key}", node))
            found = ruling(cell, again, own, known)
            verdicts[cell.key][found.verdict] += 1
            hits[cell.key] += found.verdict == "fail" if cell.healthy else found.verdict != "pass" and found.named
    for cell in cells:
        made = counted(cell.key, cell.title, "own history", of.spread, hits[cell.key], count, cell.healthy)
        counts = {v: verdicts[cell.key][v] for v in PRECEDENCE if verdicts[cell.key][v]}
        yield msgspec.structs.replace(made, verdicts=counts)


def marks(count: int, seed: int) -> Iterator[tuple[str, Row]]:
    """Give the same cases under other pass marks than the shipped one: (mark, row), at a spread of 2 %."""
    known = rules()
    policies = {mark: _marked(known.policies["baseline"], mark) for mark in MARKS}
    for cell in CELLS:
        if cell.key in MARKED:
            of = fleet(seed, "node/standard", 0.02, cell.between, cell.peers)
            found = [(one.card, cell) for one in cases(cell, of, count, seed, known)]
            for mark, policy in policies.items():
                yield mark, row(cell, 0.02, (graded(cell, card, policy) for card, cell in found))


def _marked(policy: Policy, mark: str) -> Policy:
    """The policy with another share to pass at. Grades enter no verdict: those above are moved out of its way."""
    names = list(policy.ladder)
    above = {name: f"{1 - (place + 1) / 1000:.3f}" for place, name in enumerate(names)}
    free = msgspec.structs.replace(policy.gpu, pass_grade=None)
    return msgspec.structs.replace(policy, gpu=free, ladder={**above, policy.pass_grade: mark})
