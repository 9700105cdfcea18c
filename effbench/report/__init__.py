"""One file, one format. Finds the reporters in this folder and those that other packages offer; renders nothing."""

import difflib
import importlib
import importlib.metadata
import pkgutil
from functools import cache
from typing import Protocol, cast

from effbench.model.error import InputError
from effbench.model.grade import Grade
from effbench.model.record import Record
from effbench.model.scorecard import Scorecard

ENTRY_POINTS = "effbench.reporters"


class Reporter(Protocol):
    """A module that writes one format. The module *is* the plugin: no base class, no registry.

    `FILENAME` is the artefact that a run leaves (`report.html`), or None when the format leaves no file.
    `render` is pure and deterministic: no clock, no environment, same bytes in every process.
    """

    MEDIA_TYPE: str
    FILENAME: str | None

    def render(self, card: Scorecard, grade: Grade | None, record: Record | None) -> bytes:
        """Write the scorecard; `grade` and `record` add the verdict and the evidence where they are known."""


@cache
def _built_in(name: str) -> Reporter | None:
    """Import one module of this folder; None when it is no reporter (format, view, charts)."""
    module = importlib.import_module(f"{__name__}.{name}")
    return cast(Reporter, module) if hasattr(module, "MEDIA_TYPE") and hasattr(module, "render") else None


def _offered() -> dict[str, importlib.metadata.EntryPoint]:
    return {point.name: point for point in importlib.metadata.entry_points(group=ENTRY_POINTS)}


def names() -> list[str]:
    """List the names of all reporters, sorted: the files of this folder, then entry points `effbench.reporters`."""
    here = {module.name for module in pkgutil.iter_modules(__path__) if _built_in(module.name) is not None}
    return sorted(here | set(_offered()))


def load(name: str) -> Reporter:
    """Import the reporter called `name`.

    Raises:
        InputError: no such format; the message lists the valid ones.
    """
    if name in {module.name for module in pkgutil.iter_modules(__path__)} and (reporter := _built_in(name)) is not None:
        return reporter
    offered = _offered()
    if name in offered:
        return cast(Reporter, offered[name].load())
    close = difflib.get_close_matches(name, names(), n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    raise InputError(f"no report format is called {name!r}.{hint} Choose one of: {', '.join(names())}.")
