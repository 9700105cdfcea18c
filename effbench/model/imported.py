"""What another tool measured, read into effbench's words: one record per node, and what a fleet of them tells."""

import math
from typing import Literal

import msgspec

from effbench.model.baseline import Kinds
from effbench.model.finding import Finding
from effbench.model.grade import Verdict
from effbench.model.quantity import finite

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


class Apart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One node beside a baseline: what is far from it, the worst first, and what it lacks that most had there."""

    far: list[Outlier]
    missing: list[str]


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


class ImportedRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One figure over `n` values of `nodes` imported nodes: their robust centre. No rounds stand behind any of them.

    `figure` is a key of the metrics catalogue, over all devices of a node, or a foreign name of its own. `mad` (the
    median absolute deviation, not scaled) is absent below three values; `kinds` is there when they are of two kinds.
    """

    figure: str
    nodes: int
    n: int
    median: float
    lowest: float
    highest: float
    mad: float | None = None
    kinds: Kinds | None = None

    def __post_init__(self) -> None:
        finite(self.figure, median=self.median, lowest=self.lowest, highest=self.highest, mad=self.mad)
        if not (1 <= self.nodes <= self.n and self.lowest <= self.median <= self.highest and (self.mad or 0.0) >= 0):
            raise ValueError(f"{self.figure}: {self.n} values with the median {self.median} are none")


class ImportedBaseline(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What imported nodes had in common. `digest` is over all other fields; `anchors` hold it to the rated peak.

    Other imports of the same format are held against it, to say who is far off. It rates nothing.
    """

    schema: Literal["effbench.importedbaseline/1"]
    digest: str
    imported: str
    nodes: int
    rows: list[ImportedRow]
    anchors: list[Anchor] = []
    findings: list[Finding] = []


class ImportSummary(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """All files of one import: the nodes by name, the records that were lost, and what only the fleet can tell."""

    schema: Literal["effbench.import-summary/1"]
    imported: str
    files: list[str]
    nodes: list[ImportedNode]
    bad: list[BadRecord]
    anchors: list[Anchor]
    findings: list[Finding]
