"""One qualification inside one pytest session: asked for, planned, measured once; the items only report it."""

import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from effbench import api, qualification
from effbench.model.error import EffbenchError, InputError
from effbench.model.event import Sample, Telemetry
from effbench.model.finding import Finding
from effbench.model.grade import EXIT_CODES
from effbench.model.inventory import Inventory
from effbench.model.plan import Plan, Trial
from effbench.model.policy import Section
from effbench.model.recipe import Qualification
from effbench.pytest_plugin.replay import samples_of
from effbench.qualification import Result
from effbench.run.site import Site
from effbench.run.wire import Progress


class RecipeRun:
    """The qualification that `--effbench` asks for.

    `plan` is there once `prepare` was called and found nothing `unfit`, `result` once `measure` was called and went
    well; else `error` says why there is no result.

    Raises:
        pytest.UsageError: no such recipe, mistakes in it, or a run folder that cannot be used.
    """

    def __init__(self, config: pytest.Config, environment: Mapping[str, str]) -> None:
        self.result: Result | None = None
        self.error = "nothing was measured"
        self.unfit = ""
        self.samples: dict[str, list[Sample]] = {}
        self._config, self._environment = config, environment
        self._began = time.monotonic()
        self._told: Qualification | None = None
        given = config.getoption("effbench_dir")
        self.folder: Path | None = Path(given).absolute() if given else None
        try:
            self._asked = qualification.asked(config.getoption("effbench"), search_path(environment))
            if self.folder is not None and not config.option.collectonly:
                api.checked_folder(self.folder)
        except InputError as error:
            text = str(error).replace("another with -o", "another with --effbench-dir")
            raise pytest.UsageError(f"effbench: {text}") from error
        if self._asked.recipe.launcher == "slurm":
            raise pytest.UsageError("effbench: a recipe over Slurm's ranks is for `effbench qualify` in an allocation")

    @property
    def name(self) -> str:
        """The recipe's name, which the ids of its items begin with."""
        return self._asked.recipe.name

    @property
    def path(self) -> Path:
        """The recipe's file."""
        return self._asked.path

    @property
    def section(self) -> Section:
        """The policy's rules for the devices of the plan."""
        gpu = any(key.startswith("gpu") for key in self.plan.devices)
        return self._asked.rules.gpu if gpu else self._asked.rules.cpu

    def prepare(self) -> None:
        """Look at the node and make the plan; `unfit` says why the node cannot be measured. Nothing is measured yet.

        Raises:
            pytest.UsageError: the recipe does not fit this node's devices, or what was said of them is wrong.
        """
        asked, devices = self._asked, self._config.getoption("effbench_device")
        try:
            self._site: Site = api.look(self._environment, self._config.getoption("effbench_fake"), devices)
            todo = api.plan(asked.suite, self._site, devices)
        except InputError as error:
            raise pytest.UsageError(f"effbench: {error}") from error
        except EffbenchError as error:
            self.unfit = str(error)
            return
        self.plan: Plan = qualification.budgeted(asked.recipe, asked.suite, todo)

    def measure(self) -> None:
        """Measure the plan, and again while it is undecided, within the recipe's budget; then keep the samples.

        What goes wrong is kept in `error`: every item reports it.

        Raises:
            KeyboardInterrupt: a person stopped it; what was measured is kept in the run folder.
        """
        try:
            self._measure()
        except Exception as error:  # whatever happened, no item may pass by it
            self.result = None
            bug = (
                "" if isinstance(error, EffbenchError) else f"an unexpected {type(error).__name__}, a bug of effbench: "
            )
            self.error = f"{bug}{error}"
        if self.result is not None and self.result.outcome == "interrupted":
            raise KeyboardInterrupt

    def _measure(self) -> None:
        launcher = self._asked.recipe.launcher or "torchrun"
        allowed_s = api.budget(self.plan, None)
        work = qualification.job(
            self.plan,
            self._site,
            self.folder,
            allowed_s,
            launcher,
            self._asked.rules,
            self._environment,
            baseline=self._asked.baseline,
        )
        self.folder = work.folder
        verbosity = self._config.get_verbosity()
        reporter = self._config.pluginmanager.get_plugin("terminalreporter") if verbosity >= 0 else None
        lines = Lines(reporter, verbosity > 0)
        result, looks, stopped = qualification.looked(
            self._asked.recipe,
            work,
            self._began,
            allowed_s,
            lambda one: qualification.measured(one, lines),
            lines.say,
        )
        spent_s = time.monotonic() - self._began
        if self._asked.recipe.report is not None:
            qualification.enrolled(work.folder, result)
        self._told = qualification.told(work.folder, self._asked.recipe, looks, stopped, allowed_s, spent_s)
        self.samples = samples_of(work.folder)
        self.result = result

    def closing(self) -> list[str]:
        """Return the lines of the terminal summary: the verdict, how it came about, and the run folder."""
        lines = []
        if self.result is not None:
            verdict = self.result.verdict
            if self.result.card.simulated:
                lines.append("SIMULATED: none of these figures is a measurement")
            lines.append(f"Verdict: {verdict.verdict} (exit code {EXIT_CODES[verdict.verdict]} of `effbench qualify`)")
            lines.append(verdict.summary)
        if self._told is not None:
            lines += qualification.notes(self._told)
        if self.folder is not None and self.folder.is_dir():
            lines.append(f"Run:    {self.folder}")
        return lines


def search_path(environment: Mapping[str, str]) -> list[Path]:
    """Return the folders of $EFFBENCH_PATH, searched before the built-in recipes, suites and policies."""
    return [Path(folder) for folder in environment.get("EFFBENCH_PATH", "").split(":") if folder]


class Lines:
    """Says in pytest's own output what is being measured: a line at the start, and all of it when `verbose`.

    Without a `reporter` it says nothing.
    """

    def __init__(self, reporter: pytest.TerminalReporter | None, verbose: bool = False) -> None:
        self._reporter = reporter
        self._verbose = verbose
        self._where = ""

    def say(self, text: str) -> None:
        """Write one line."""
        if self._reporter is not None:
            self._reporter.write_line(f"effbench: {text}")

    def begin(self, plan: Plan, inventory: Inventory) -> None:
        """Say what will be measured."""
        count = sum(t.skipped is None for t in plan.trials)
        on = f"{', '.join(plan.devices)} of {inventory.node}"
        self.say(f"{plan.suite} on {on}: {count} trials, about {plan.expected_s:.0f} s, at most {plan.budget_s:.0f} s")

    def trial(self, trial: Trial, round_number: int, done: int, total: int, left_s: float) -> None:
        """Remember the trial; its line is written when it has ended."""
        self._where = f"[{done}/{total}] round {round_number + 1}"

    def progress(self, progress: Progress, telemetry: Telemetry | None) -> None:
        """Nothing: a log is not redrawn."""

    def closed(self, trial: Trial, status: str, detail: str) -> None:
        """Write the trial's line where it went wrong or `-v` asks for it."""
        if self._verbose or status != "done":
            self.say(f"{self._where}  {trial.id}  {status}{f': {detail}' if detail else ''}")

    def note(self, finding: Finding) -> None:
        """Write a finding as it is made."""
        if self._verbose or finding.severity == "error":
            self.say(f"{finding.severity}: {finding.message} [{finding.code}]")

    def end(self) -> None:
        """Nothing to put away."""
