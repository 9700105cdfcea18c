"""What another tool measured, read into effbench's words: one record per node, and what a fleet of them tells."""

import math
from typing import Literal

import msgspec

from effbench.model.finding import Finding
from effbench.model.grade import Verdict

PartFrom = Literal["", "file", "person"]
CheckOutcome = Literal["pass", "fail", "warn", "skip", "unknown"]


class Check(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One yes-or-no answer of another tool, kept as it was given; `device` is an inventory key (`gpu0`)."""

    name: str
    outcome: CheckOutcome
    device: str | None = None
    text: str = ""


class BadRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of a file that gave no node: where it is (`file:line`) and what is wrong with it."""

    where: str
    problem: str


class ImportedRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One node as another tool saw it. Never a measurement of effbench: no rounds, no intervals, no journal.

    `figures` maps `KEY` or `KEY@gpu0` to a value. A key of the metrics catalogue is in its SI base unit; one that
    begins with `imported.` is the other tool's own name, without unit or direction. `not_finite` (NaN, infinite, or
    beyond 1e100) and `not_numbers` name what was there and is no figure. `devices` are the accelerators that the file
    names, `part` the catalogue's row for them, from the file or from the person who imported it (`part_from`).
    """

    schema: Literal["effbench.imported/1"]
    imported: str
    node: str
    where: str
    figures: dict[str, float]
    not_finite: list[str] = []
    not_numbers: list[str] = []
    checks: list[Check] = []
    devices: list[str] = []
    part: str | None = None
    part_from: PartFrom = ""
    tool: str = ""

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, self.figures.values())):
            raise ValueError(f"{self.node}: a figure that is not finite belongs into not_finite, by its name")


class Outlier(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One figure far from the other nodes'. `score` in robust standard deviations; `worse` None: no direction known."""

    figure: str
    value: float
    median: float
    score: float
    worse: bool | None


class ImportedNode(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is to be known of one node. `failed` names checks the other tool itself failed."""

    node: str
    verdict: Verdict
    reason: str
    outliers: list[Outlier] = []
    missing: list[str] = []
    not_finite: list[str] = []
    not_numbers: list[str] = []
    failed: list[str] = []


class Anchor(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One figure of the whole fleet against the rated peak of its part; `slow` when below what healthy parts keep.

    `expected_share` is the catalogue's provisional share for such parts, absent where nobody has said.
    """

    figure: str
    part: str
    nodes: int
    median: float
    peak: float
    share: float
    source: str
    expected_share: float | None = None
    slow: bool = False


class ImportSummary(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """All files of one import: the nodes by name, the records that were lost, and what only the fleet can tell."""

    schema: Literal["effbench.import-summary/1"]
    imported: str
    files: list[str]
    nodes: list[ImportedNode]
    bad: list[BadRecord]
    anchors: list[Anchor]
    findings: list[Finding]
