"""What a person sees while a run goes on: a live panel on a terminal, plain lines elsewhere. Drawn on stderr.

The engine calls in between timed blocks only, at most once a second, so that drawing never sits inside a block
that is timed on a CPU device.
"""

import time
from typing import Any

from effbench.cli import options
from effbench.model.event import Telemetry
from effbench.model.finding import Finding
from effbench.model.inventory import Inventory
from effbench.model.plan import Plan, Trial
from effbench.report import format as fmt
from effbench.run.wire import Progress

MARKS = {"done": "ok", "failed": "FAILED", "lost": "LOST"}


class PlainDisplay:
    """One line per trial and round. Used where stderr is not a terminal."""

    def __init__(self) -> None:
        self._begun: dict[str, tuple[float, str]] = {}

    def begin(self, plan: Plan, inventory: Inventory) -> None:
        """Say what will run."""
        for line in opening(plan, inventory):
            options.say(line)

    def trial(self, trial: Trial, round_number: int, done: int, total: int, left_s: float) -> None:
        """Remember the trial; the line is printed when it has ended."""
        self._begun[trial.id] = (time.monotonic(), f"[{done}/{total}] round {round_number + 1}")

    def progress(self, progress: Progress, telemetry: Telemetry | None) -> None:
        """Nothing: a log is not redrawn."""

    def closed(self, trial: Trial, status: str, detail: str) -> None:
        """Print the line of one trial."""
        began, where = self._begun.pop(trial.id)
        took = time.monotonic() - began
        tail = f": {detail}" if detail else ""
        options.say(f"{where}  {trial.id}  {MARKS.get(status, status)}  {took:.1f} s{tail}")

    def note(self, finding: Finding) -> None:
        """Print a finding as it is made."""
        options.say(f"{finding.severity}: {finding.message} [{finding.code}]")

    def end(self) -> None:
        """Nothing to tidy up."""


class LiveDisplay:
    """A panel that is redrawn at most once a second: 5 ms of CPU each time (measured), never inside a timed block."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(stderr=True)
        self._live: Live | None = Live(console=self._console, auto_refresh=False, transient=True)
        self._drawn = 0.0
        self._facts: dict[str, dict[str, str]] = {}  # by trial: several, where devices work at once
        self._recent: list[str] = []
        self._done, self._total, self._ends = 0, 1, 0.0

    def begin(self, plan: Plan, inventory: Inventory) -> None:
        """Say what will run, then open the panel."""
        for line in opening(plan, inventory):
            self._console.print(line, highlight=False)
        if self._live is not None:
            self._live.start()

    def trial(self, trial: Trial, round_number: int, done: int, total: int, left_s: float) -> None:
        """Show the new trial."""
        self._facts[trial.id] = {"measuring": trial.id, "round": str(round_number + 1)}
        self._done, self._total, self._ends = done, total, time.monotonic() + left_s
        self._draw()

    def progress(self, progress: Progress, telemetry: Telemetry | None) -> None:
        """Show the running estimate, the clock and the watts."""
        facts = self._facts.setdefault(progress.trial, {"measuring": progress.trial})
        facts["phase"] = f"{progress.phase}, {progress.elapsed_s:.1f} s"
        if progress.step_s is not None:
            spread = ""
            if progress.low_s is not None and progress.high_s is not None:
                spread = f"  (middle half {fmt.duration(progress.low_s)} to {fmt.duration(progress.high_s)})"
            facts["step"] = f"{fmt.duration(progress.step_s)}{spread}"
        clock = progress.clock_hz or (telemetry.clock_hz if telemetry else None)
        if clock is not None:
            facts["clock"] = f"{clock / 1e9:.2f} GHz"
        if telemetry is not None and telemetry.power_w is not None:
            facts["power"] = f"{telemetry.power_w:.0f} W"
        self._draw()

    def closed(self, trial: Trial, status: str, detail: str) -> None:
        """Move the trial to the list of what has been done."""
        mark = "[green]ok[/]" if status == "done" else f"[red]{MARKS.get(status, status)}[/]"
        step = self._facts.pop(trial.id, {}).get("step", "").split("  ")[0]
        self._recent = [*self._recent[-5:], f"{mark}  {_escape(trial.id)}  [dim]{step}[/]"]
        if status != "done":
            self._console.print(f"[red]{MARKS.get(status, status)}[/]  {_escape(trial.id)}: {_escape(detail)}")

    def note(self, finding: Finding) -> None:
        """Print a finding above the panel."""
        colour = {"error": "red", "warning": "yellow"}.get(finding.severity, "dim")
        self._console.print(f"[{colour}]{finding.severity}[/]: {_escape(finding.message)} [dim]\\[{finding.code}][/]")

    def end(self) -> None:
        """Close the panel, whatever happened."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _draw(self) -> None:
        if self._live is None or time.monotonic() - self._drawn < 1.0:
            return
        self._live.update(self._panel(), refresh=True)
        self._drawn = time.monotonic()

    def _panel(self) -> Any:
        from rich.console import Group
        from rich.panel import Panel
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        for facts in self._facts.values():
            for name, value in facts.items():
                table.add_row(Text(name, style="dim"), Text(value))
        left = max(0.0, self._ends - time.monotonic())
        done = [Text.from_markup(line) for line in self._recent]
        bar = ProgressBar(self._total, min(self._done, self._total))
        foot = Text(f"{self._done} of {self._total} measurements, about {left:.0f} s left", style="dim")
        return Panel(Group(*done, table, bar, foot), title="effbench", border_style="cyan")


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def opening(plan: Plan, inventory: Inventory) -> list[str]:
    """Return the lines that say what will be measured on what."""
    wanted = [a for a in inventory.accelerators if a.key in plan.devices]
    names = ", ".join(f"{a.key}: {a.part.title if a.part else a.name}" for a in wanted)
    count = sum(t.skipped is None for t in plan.trials)
    lines = [
        f"effbench {plan.suite} on {inventory.node} ({names})",
        f"{count} trials, {plan.rounds_min} rounds, about {plan.expected_s:.0f} s of a budget of {plan.budget_s:.0f} s",
    ]
    if all(a.kind == "cpu" for a in wanted):
        listed = any(a.kind == "gpu" for a in inventory.accelerators)
        lines.append("measuring the CPU" + (", as asked" if listed else ": the driver lists no accelerator here"))
    if any(a.simulated for a in wanted):
        lines.append("SIMULATED: this device does not exist, none of its figures is a measurement")
    return lines
