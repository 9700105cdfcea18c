"""All that the self-test of faults found, as one document: the table, the curves, other pass marks, the fleet page."""

from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from effbench.faults.curve import curve, marks
from effbench.faults.page import page
from effbench.faults.table import Row, table

__all__ = ["Marked", "Result", "everything"]


class Marked(msgspec.Struct, frozen=True):
    """One cell under another pass mark than the shipped policy's."""

    mark: str
    row: Row


class Result(msgspec.Struct, frozen=True):
    """What was found. `missed` names the rows whose target was missed, `broken` those where an invariant was."""

    schema: Literal["effbench.faults/1"]
    version: str
    seed: int
    cases: int
    rows: list[Row]
    curve: list[Row]
    marks: list[Marked]
    page: list[Row]
    missed: list[str]
    broken: list[str]

    @property
    def ok(self) -> bool:
        """Whether every target is met and no missing evidence passed."""
        return not self.missed and not self.broken


def everything(count: int, seed: int, version: str, tell: Callable[[str], None]) -> Result:
    """Run all parts with `count` seeded cases a cell; `tell` is told of each row as it is done."""

    def told(row: Row) -> Row:
        what = "condemned" if row.healthy else "caught"
        tell(f"{row.title}, spread {row.spread:.0%}: {row.hits} of {row.n} {what}")
        return row

    rows = [told(row) for row in table(count, seed)]
    shown = [told(row) for row in page(count, seed)]
    curves = [told(row) for row in curve(count, seed)]
    marked = [Marked(mark, row) for mark, row in marks(count, seed)]
    return Result(
        schema="effbench.faults/1",
        version=version,
        seed=seed,
        cases=count,
        rows=rows,
        curve=curves,
        marks=marked,
        page=shown,
        missed=_names([row for row in [*rows, *shown] if row.target == "MISSED"]),
        broken=_names([row for row in rows if row.broken]),
    )


def _names(rows: Sequence[Row]) -> list[str]:
    return [f"{row.title}, at a spread of {row.spread:.0%}" for row in rows]
