"""The pytest plugin: `pytest --effbench=RECIPE` qualifies this node, and two fixtures for tests of your own.

Costs a run that asks for none of it nothing: everything of weight is imported where it is used.
"""

import os
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from effbench.model.inventory import Inventory
    from effbench.pytest_plugin.kernel import KernelMeter
    from effbench.pytest_plugin.recipe_run import RecipeRun

__all__ = ["effbench_kernel", "effbench_node"]

_RUN: "pytest.StashKey[RecipeRun]" = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add effbench's four options."""
    group = parser.getgroup("effbench", "qualify this node (effbench)")
    group.addoption(
        "--effbench",
        metavar="RECIPE",
        help="Qualify this node by a recipe (a name such as node-quick, or a file): its trials, gates and domains "
        "become tests. Other tests run too only where paths are given.",
    )
    group.addoption(
        "--effbench-device",
        metavar="NAME",
        default="all",
        help="The devices to measure: all, cpu, or names such as gpu0,gpu1. Default: all.",
    )
    group.addoption("--effbench-dir", metavar="DIR", help="The run folder; must be empty. Default: in reports/runs.")
    group.addoption("--effbench-fake", metavar="PART", help="Simulate devices of the catalogue; never rated.")


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Check everything that was asked for, before anything is collected. Raises pytest.UsageError with one message."""
    if config.getoption("effbench") is None or hasattr(config, "workerinput"):
        return
    if config.getoption("dist", "no") != "no":
        raise pytest.UsageError("--effbench measures one node, one trial at a time: leave out -n and --dist")
    from effbench.pytest_plugin.recipe_run import RecipeRun

    config.stash[_RUN] = RecipeRun(config, dict(os.environ))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave other tests alone unless paths were given: `pytest --effbench=RECIPE` is about the node."""
    named = config.args_source is pytest.Config.ArgsSource.ARGS
    return None if _RUN not in config.stash or named else True


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, items: list[pytest.Item]) -> None:
    """Add the recipe's items before any selection (`-k`, `--lf`) is made."""
    run = session.config.stash.get(_RUN, None)
    if run is not None:
        from effbench.pytest_plugin.items import collected

        items[:0] = collected(session, run)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Measure before the first item runs, when no output is captured and no test is going on."""
    run = session.config.stash.get(_RUN, None)
    refused = session.testsfailed and not session.config.option.continue_on_collection_errors
    if run is None or refused or session.config.option.collectonly:
        return
    from effbench.pytest_plugin.items import wanted

    if wanted(session.items):
        run.measure()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name the verdict and the run folder."""
    run = config.stash.get(_RUN, None)
    lines = run.closing() if run is not None else []
    if lines:
        terminalreporter.section("effbench")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def effbench_node(request: pytest.FixtureRequest) -> "Inventory":
    """What this node is made of: its accelerators, driver, torch (effbench.model.inventory.Inventory)."""
    from effbench.pytest_plugin.kernel import looked_at

    return looked_at(request.config, dict(os.environ)).inventory


@pytest.fixture(scope="session")
def effbench_kernel(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> "Generator[KernelMeter, None, None]":
    """Measure one kernel: `effbench_kernel("gemm", dtype="bf16")` returns its measurement and its metrics."""
    from effbench.pytest_plugin.kernel import KernelMeter, looked_at

    environment = dict(os.environ)
    yield KernelMeter(looked_at(request.config, environment), environment, tmp_path_factory)
