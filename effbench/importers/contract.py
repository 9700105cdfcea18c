"""What every importer gives: readings of nodes and the records that were lost, one after the other."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import msgspec

from effbench.model.imported import BadRecord, Check

__all__ = ["Importer", "Reading"]


class Reading(msgspec.Struct, frozen=True):
    """One node in the other tool's own words.

    `values` holds `name` or `name:rank` as the file has them, numbers or not; `ranks` is how many ranks took part,
    for the keys that say it; `devices` the accelerators by the driver's names, where the file tells them.
    """

    node: str
    where: str
    values: dict[str, Any]
    checks: list[Check] = []
    devices: list[str] = []
    ranks: int | None = None
    tool: str = ""


class Importer(Protocol):
    """A module of this folder: `effbench.importers.<format>`, dashes as underscores."""

    def read(self, path: Path, node: str | None) -> Iterator[Reading | BadRecord]:
        """Yield what the file holds; `node` names the node of a file that does not say whose it is.

        Raises:
            OSError: the file cannot be read.
        """
        ...
