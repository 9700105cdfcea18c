"""The items of a qualification: one for each trial, gate and domain, and one for the verdict. They only report."""

import abc
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from effbench.model.plan import Trial
from effbench.pytest_plugin import judged, replay
from effbench.pytest_plugin.judged import Outcome
from effbench.pytest_plugin.recipe_run import RecipeRun
from effbench.qualification import Result


class NotMetError(Exception):
    """An item that did not pass; its text is the whole message."""


class NothingMeasuredError(Exception):
    """There is no result to report, because effbench or this machine failed; its text is the whole message."""


class RecipeItem(pytest.Item):
    """What every item of a qualification has in common."""

    def __init__(self, *, run: RecipeRun, **more: Any) -> None:
        super().__init__(**more)
        self.run = run

    def setup(self) -> None:
        """Refuse to report without a result: that is an error of the tool, never a verdict on the node."""
        if self.run.result is None:
            raise NothingMeasuredError(f"effbench: {self.run.error}")

    def runtest(self) -> None:
        """Pass, skip or fail by what was measured."""
        assert self.run.result is not None
        found = self.outcome(self.run.result)
        self.user_properties.append(("effbench", found.word))
        if found.kind == "skipped":
            pytest.skip(found.text)
        if found.kind == "failed":
            raise NotMetError(found.text)
        self.passed(self.run.result)

    @abc.abstractmethod
    def outcome(self, result: Result) -> Outcome:
        """Return what came of this item."""

    def passed(self, result: Result) -> None:
        """Do what is to be done for an item that passed."""

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Show the message alone: our own stack tells nobody anything of the node."""
        if isinstance(excinfo.value, NotMetError | NothingMeasuredError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        """Return where pytest says that the item is: in the recipe, whose lines mean nothing here; and its headline."""
        return self.run.path, 0, f"effbench {self.name}"


class TrialItem(RecipeItem):
    """One trial: it fails without a usable measurement, and its samples enter pytest-benchmark's results."""

    def __init__(self, *, trial: Trial, **more: Any) -> None:
        super().__init__(**more)
        self.trial = trial
        # pytest-benchmark knows by these two what `--benchmark-only` leaves out and what belongs to a report.
        self.fixturenames = ["benchmark"] if replay.active(self.config) else []
        self.funcargs: dict[str, Any] = {}

    def outcome(self, result: Result) -> Outcome:
        """Return whether the trial was measured, and why not."""
        return judged.trial(result, self.trial)

    def passed(self, result: Result) -> None:
        """Hand the trial's own samples to pytest-benchmark, where that is at work."""
        replay.replay(self, self.run.samples.get(self.trial.id, []), replay.extra_info(result, self.trial))


class GateItem(RecipeItem):
    """One hard gate of the policy."""

    def outcome(self, result: Result) -> Outcome:
        """Return what the policy made of the gate."""
        return judged.gate(result.verdict, self.run.section, self.name.removeprefix("gate "))


class DomainItem(RecipeItem):
    """One domain of the policy."""

    def outcome(self, result: Result) -> Outcome:
        """Return what the policy made of the domain."""
        return judged.domain(result.verdict, self.name.removeprefix("domain "))


class VerdictItem(RecipeItem):
    """The verdict: nothing that no other item shows, a simulated device for one, can get by it."""

    def outcome(self, result: Result) -> Outcome:
        """Return the verdict."""
        return judged.verdict(result.verdict)


class RecipeCollector(pytest.Collector):
    """Collects the items of one recipe on this node."""

    def __init__(self, *, run: RecipeRun, **more: Any) -> None:
        super().__init__(**more)
        self.run = run

    def collect(self) -> Iterator[RecipeItem]:
        """Yield the items of the plan. Raises CollectError when this node cannot be measured."""
        if self.run.unfit:
            raise self.CollectError(f"effbench: {self.run.unfit}")
        for trial in self.run.plan.trials:
            yield TrialItem.from_parent(self, name=item_name(trial.id), run=self.run, trial=trial)
        for metric in dict.fromkeys(rule.metric for rule in self.run.section.gates):
            yield GateItem.from_parent(self, name=f"gate {metric}", run=self.run)
        for name in dict.fromkeys(rule.name for rule in self.run.section.domains):
            yield DomainItem.from_parent(self, name=f"domain {name}", run=self.run)
        yield VerdictItem.from_parent(self, name="verdict", run=self.run)


def item_name(trial_id: str) -> str:
    """Write `gemm:bf16-m2048n2048k2048@gpu0` as pytest writes parameters: `gemm:bf16-m2048n2048k2048[gpu0]`."""
    work, _, device = trial_id.rpartition("@")
    return f"{work}[{device}]"


def collected(session: pytest.Session, run: RecipeRun) -> Sequence[pytest.Item]:
    """Collect the recipe's items the way pytest collects a file: reported, counted, an error where it fails.

    Raises:
        pytest.UsageError: the recipe does not fit this node, or what was said of its devices is wrong.
    """
    run.prepare()
    collector = RecipeCollector.from_parent(session, name=run.name, nodeid=f"effbench::{run.name}", run=run)
    hook = session.ihook
    hook.pytest_collectstart(collector=collector)
    report: pytest.CollectReport = hook.pytest_make_collect_report(collector=collector)
    items = [item for item in report.result if isinstance(item, pytest.Item)] if report.passed else []
    for item in items:
        hook.pytest_itemcollected(item=item)
    hook.pytest_collectreport(report=report)
    return items


def wanted(items: Iterable[pytest.Item]) -> bool:
    """Say whether any item needs the measurement, after whatever selection."""
    return any(isinstance(item, RecipeItem) for item in items)
