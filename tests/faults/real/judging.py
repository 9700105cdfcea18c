"""What effbench says of a run: its verdict against the healthy ones, what compare calls worse, and the cause.

The commands are those that a person would type, run in this process.
"""

import contextlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from effbench.catalog.findings import explain
from effbench.cli.main import invoke

from .parts import Part, policy

EXIT_CODES = {0: "pass", 1: "fail", 3: "not_rated", 4: "undecided"}


class Sought(NamedTuple):
    """What names a fault: finding codes whose title stands in the output, or rules that fail."""

    codes: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()


class Judged(NamedTuple):
    """One run: verdict, figures that compare calls worse, and whether the output names the cause."""

    verdict: str
    worse: list[str]
    named: bool

    @property
    def caught(self) -> bool:
        """No pass, or something worse."""
        return self.verdict != "pass" or bool(self.worse)


def judged(
    run: Path, part: Part, others: Sequence[Path], base: Path, sought: Sought, work: Path, read: float | None
) -> Judged:
    """Judge `run` against a baseline of the healthy runs `others`, and compare it with one of them, `base`."""
    baseline = work / "baseline.json"
    _must(["baseline", *map(str, others), "-o", str(baseline)], (0,))
    words = ["grade", str(run), "--policy", str(policy(part, work, read)), "--baseline", str(baseline)]
    code, document = _must([*words, "--json"], tuple(EXIT_CODES))
    grade = json.loads(document)
    shown = _must(words, (code,))[1]
    compared, lines = _must(["compare", str(base), str(run)], (0, 1, 2))
    worse = [line.partition("  ")[2].split()[0] for line in lines.splitlines() if line.startswith("worse")]
    said = " ".join(f"{shown} {lines}".split())
    failed = {rule["metric"] for rule in grade["gates"] if rule["outcome"] == "fail"}
    named = any(explain(code).title in said for code in sought.codes) or bool(failed & set(sought.rules))
    if grade["verdict"] != EXIT_CODES[code] or (compared == 1) != bool(worse):
        raise RuntimeError(f"{run}: exit codes and words differ: {grade['verdict']} {code}, {worse} {compared}")
    return Judged(grade["verdict"], worse, named)


def _must(words: list[str], codes: Sequence[int]) -> tuple[int, str]:
    """Run a command; its exit code, one of `codes`, and what it wrote on stdout."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in "oe")
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = invoke(words)
    said, complaint = (one.buffer.getvalue().decode() for one in (out, err))
    if code not in codes:
        raise RuntimeError(f"effbench {' '.join(words)} ended with {code}: {complaint.strip()}")
    return code, said
