"""The self-test of faults in Markdown, which reads as plain text too: the command, what was assumed, every row."""

from collections.abc import Iterable, Sequence

from effbench.faults.cells import CELLS
from effbench.faults.result import Result
from effbench.faults.site import DEVICES, PART
from effbench.faults.table import BASELINES, CAUGHT_LEAST, FAILED_MOST, MEASURED, NODES, SPREAD_MOST, Row
from effbench.model.grade import PRECEDENCE

__all__ = ["markdown", "verdict"]


def markdown(result: Result) -> str:
    """Write the whole result. The same seed and version give the same text."""
    parts = [
        "# Faults in simulated nodes: what is caught, and what is condemned wrongly",
        f"`effbench selftest faults --cases {result.cases} --seed {result.seed}`, effbench {result.version}. "
        f"Nothing here was measured on hardware: figures are drawn, evidence is folded and judged by the real code.",
        _assumed(),
        f"## {verdict(result)}",
        *(["\n".join(f"- {line}" for line in [*result.missed, *result.broken])] if not result.ok else []),
        _table(result.rows),
        "## What the cluster's scorecard says",
        f"Fleets of {NODES} nodes. It points at nodes and fleets and gives no verdict of its own. Of healthy fleets "
        "the rate is of single nodes that are called slower than the rest in any of their figures.",
        _table(result.page, verdicts=False),
        "## Wide spreads, and what a node's own history gives back",
        "One GPU of 8 is slow. Against the fleet, and against nine earlier runs of the same node (the same UUIDs). "
        "The absolute gate of ci-qualification stands beside both: a node that lies below 0.75 of the reference fails, "
        "however like its own past it is.",
        _table(result.curve),
        "## Other pass marks",
        "The same cases at a spread of 2 % under ci-qualification with another share to pass at. A fault of 10 % lies "
        "on a mark of 0.90 itself, and above it where the worst of eight GPUs is held against the worst of eight.",
        _marks(result),
    ]
    return "\n\n".join(parts) + "\n"


def verdict(result: Result) -> str:
    """Say in one line whether the targets are met; a missed one is never left out."""
    if result.ok:
        return "Every target is met, and no missing evidence passed"
    said = [f"targets MISSED: {len(result.missed)}"] if result.missed else []
    said += [f"missing evidence PASSED: {len(result.broken)}"] if result.broken else []
    return "; ".join(said)


def _assumed() -> str:
    faults = [
        f"Node: {DEVICES} x {PART}, trials of node/standard, after a soak of node/full. A fault of one GPU is of gpu3.",
        "Natural spread: the standard deviation of healthy speed between nodes, whose GPUs are then alike; or, where a "
        "row says so, between devices.",
        "Noise: a run's figure scatters by the spread assumed of GPUs (tau), through three rounds and the run as a "
        "whole; the intervals are the real estimator's.",
        f"Judged by the shipped policies, which refuse what is simulated, with that one field changed: baseline and "
        f"energy are ci-qualification against a baseline of {NODES} nodes of the same fleet, whose anchor is the "
        "catalogue's references of the part (energy: with a gate that any energy figure of a matrix product meets); "
        "claim is `8x` the part; burn-in is burn-in.",
        "Caught: the verdict is not pass, and what stands against the node names the fault. 95 % intervals after "
        f"Clopper and Pearson; cases share {BASELINES} baselines of {MEASURED} nodes, so they are a bit too narrow.",
        f"Targets, at a spread of up to {SPREAD_MOST:.0%}: at least {CAUGHT_LEAST:.0%} of faults of 10 % and more are "
        f"caught; at most {FAILED_MOST:.0%} of healthy nodes fail (undecided ones are counted apart).",
    ]
    return "\n".join(f"- {line}" for line in faults)


def _table(rows: Iterable[Row], verdicts: bool = True) -> str:
    head = ["fault", "judged by", "spread", "n", *(PRECEDENCE if verdicts else ()), "counted", "rate", "95 %", "target"]
    return _lines(head, [_cells(row, verdicts) for row in rows])


def _cells(row: Row, verdicts: bool) -> list[str]:
    counts = [str(row.verdicts.get(name, 0)) for name in PRECEDENCE] if verdicts else []
    what = "failed" if row.healthy and verdicts else "named" if not verdicts else "caught"
    range_ = f"{row.low:.1%} to {row.high:.1%}"
    target = row.target + (", missing evidence PASSED" if row.broken else "")
    return [row.title, row.judged, f"{row.spread:.0%}", str(row.n), *counts, what, f"{row.rate:.1%}", range_, target]


def _marks(result: Result) -> str:
    known = {cell.key: cell for cell in CELLS}
    rows = [
        [
            one.mark,
            known[one.row.cell].title,
            *(str(one.row.verdicts.get(v, 0)) for v in PRECEDENCE),
            f"{one.row.rate:.1%}",
        ]
        for one in result.marks
    ]
    return _lines(["pass mark", "node", *PRECEDENCE, "caught, or failed"], rows)


def _lines(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    wide = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    padded = [[cell.ljust(width) for cell, width in zip(row, wide, strict=True)] for row in [head, *rows]]
    rule = ["-" * width for width in wide]
    return "\n".join("| " + " | ".join(row) + " |" for row in [padded[0], rule, *padded[1:]])
