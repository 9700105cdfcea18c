"""What the engine tells whoever looks on while it runs; how it looks is the command line's."""

from typing import Protocol

from effbench.model.event import Telemetry
from effbench.model.finding import Finding
from effbench.model.inventory import Inventory
from effbench.model.plan import Plan, Trial
from effbench.run.wire import Progress

__all__ = ["Display"]


class Display(Protocol):
    """What the engine tells a person while it runs. Called only when no CPU block is being timed."""

    def begin(self, plan: Plan, inventory: Inventory) -> None:
        """The plan is about to run."""

    def trial(self, trial: Trial, round_number: int, done: int, total: int, left_s: float) -> None:
        """A trial begins."""

    def progress(self, progress: Progress, telemetry: Telemetry | None) -> None:
        """A trial goes on."""

    def closed(self, trial: Trial, status: str, detail: str) -> None:
        """A trial has ended."""

    def note(self, finding: Finding) -> None:
        """Something a person should know at once."""
