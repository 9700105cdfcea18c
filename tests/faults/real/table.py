"""The table of real faults: how often each was caught and named, how often a healthy node was accused, and how."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from effbench import api
from effbench.stats.clopper_pearson import clopper_pearson
from effbench.stats.quantile import median

from .campaign import FAULTS, Journal, healthy
from .judging import EXIT_CODES, Judged, judged
from .parts import READ, STORAGE

HEAD = ("fault", "runs", *EXIT_CODES.values(), "worse", "cause named", "caught, 95 % interval")


def table(journal: Journal, names: Sequence[str], refused: Sequence[str], command: str) -> str:
    """Judge every run of `names` and write what came out, in Markdown."""
    rows, alone = [], []
    for name in names:
        found = [_judged(journal, name, place) for place in range(len(journal.of(name)))]
        if found:
            (alone if FAULTS[name].healthy else rows).append(row(name, found))
    lines = ["# Real faults on a CPU node", "", *_about(journal, command), "", "## Faults", "", *_grid(HEAD, rows), ""]
    lines += [*([f"Not injected: {'; '.join(refused)}.", ""] if refused else []), *NOTES, ""]
    last = "accused (fail or worse), 95 % interval"
    lines += ["## The same healthy node against itself", "", *_grid((*HEAD[:-2], last), alone), "", *HEALTHY_NOTES]
    return "\n".join(lines) + "\n"


NOTES = (
    "*Caught*: the verdict of `effbench grade --baseline` is not pass, or `effbench compare` with one healthy run "
    "calls something worse (`worse` counts runs); intervals by Clopper and Pearson. A date that jumps changes no "
    "figure, so there caught means named, and the verdicts are to be those of a healthy node. *Cause named*: the "
    "output says quota, affinity, foreign load, wrong results or the date; of a slow disk nothing shows why it is "
    "slow, so there it means that the disk's own rule is the one that fails.",
    "",
    "The flipped bit is any of the 32 of any element, in every product of a worker from one on that follows its first "
    "checks. Outputs are checked after every tenth timed batch and at the end: a flip in a single product that is "
    "overwritten before the next check leaves no trace, and one in the last bits of a number that was never right lies "
    "within the rounding that is allowed. No 99 % is claimed from so few runs.",
)
HEALTHY_NOTES = (
    "Each healthy run is judged against the baseline of all the others and compared with the next one; faults are "
    "judged against the baseline of all of them. Not rated and undecided accuse nobody.",
)


def _judged(journal: Journal, name: str, place: int) -> Judged:
    fault, runs = FAULTS[name], journal.of(name)
    against = journal.of(healthy(name))
    others = [r for r in against if r != runs[place]]
    base = others[place % len(others)] if not fault.healthy else against[(place + 1) % len(against)]
    folders = {r.folder: journal.work / "runs" / r.folder for r in (*against, runs[place])}
    paths = [folders[r.folder] for r in others]
    read = median([_read(path) for path in paths]) if fault.part is STORAGE else None
    return judged(
        folders[runs[place].folder], fault.part, paths, folders[base.folder], fault.sought, journal.work, read
    )


def _read(folder: Path) -> float:
    """Bytes per second that a healthy run read from the disk."""
    card: dict[str, Any] = json.loads((folder / "scorecard.json").read_bytes())
    return next(float(m["quantity"]["value"]) for m in card["metrics"] if m["key"] == READ and "device" not in m)


def row(name: str, found: Sequence[Judged]) -> list[str]:
    """The cells of a fault over its judged runs; of the healthy node, how often it was accused."""
    verdicts = Counter(one.verdict for one in found)
    worse, named = (sum(bool(x) for x in column) for column in ([o.worse for o in found], [o.named for o in found]))
    cells = [FAULTS[name].title, str(len(found)), *(str(verdicts[v]) for v in EXIT_CODES.values()), str(worse)]
    if FAULTS[name].healthy:
        return [*cells, _share(sum(one.verdict == "fail" or bool(one.worse) for one in found), len(found))]
    return [*cells, str(named), _share(named if name == "clock" else sum(one.caught for one in found), len(found))]


def _share(hits: int, n: int) -> str:
    low, high = clopper_pearson(hits, n)
    return f"{hits / n:.0%} [{low:.0%}, {high:.0%}]"


def _grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def _about(journal: Journal, command: str) -> list[str]:
    runs = [run for name in FAULTS for run in journal.of(name)]
    records = [api.record_of(journal.work / "runs" / run.folder) for run in runs]
    cpus = {a.name + (f", {a.cpu.cores_physical} cores" if a.cpu else "") for r in records for a in _cpus(r)}
    dates = sorted(r.started_at for r in records)
    versions = sorted({r.tool.version for r in records})
    return [
        f"`{command.strip()}` on {' and '.join(sorted(cpus))}; effbench {', '.join(versions)}; {len(runs)} runs of "
        f"{median([run.seconds for run in runs]):.0f} s (median), {dates[0]} to {dates[-1]}, in mixed order.",
        "",
        "Each run is `effbench run` of the trials that the fault concerns, `--only` of `node/quick` (GEMM fp32, STREAM "
        "triad) or `node/system` (sequential direct reads, 8 in flight), with the suite's own rounds and times; the "
        "whole of `node/quick` takes two minutes. The policy is ci-qualification without the rules for what was not "
        "run; the disk's rule is its share of the healthy median.",
    ]


def _cpus(record: Any) -> list[Any]:
    return [a for a in record.inventory_before.accelerators if a.kind == "cpu"]
