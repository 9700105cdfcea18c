"""One kernel measured through the whole engine for a test of the user's: `effbench_kernel("gemm", dtype="bf16")`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import msgspec.inspect
import pytest

from effbench import api, kernels
from effbench.catalog.shape import choices, mistakes
from effbench.kernels.contract import is_team
from effbench.model.error import EffbenchError, InputError
from effbench.model.plan import Plan, Trial
from effbench.model.record import USABLE, Measurement
from effbench.model.scorecard import Metric
from effbench.model.suite import DeviceClass, Procedure, Rounds, Suite, Workload
from effbench.pytest_plugin.recipe_run import Lines
from effbench.run.engine import REPORT_RESERVE_S, Options, environment_for_children
from effbench.run.site import Site

# A kernel is measured to its end: a budget stops only what hangs beyond every trial's own deadline.
START_DEADLINE_S = 120.0
_SITE: pytest.StashKey[Site] = pytest.StashKey()


class KernelResult(msgspec.Struct, frozen=True):
    """What one kernel gave: its metrics by key, in stored units, and the folder with its journal."""

    trial: Trial
    measurement: Measurement
    metrics: dict[str, Metric]
    folder: Path

    def value(self, key: str) -> float:
        """Return the value of one metric in its stored unit (flop/s, byte/s, s, fractions 0 to 1).

        Raises:
            KeyError: there is no such figure; the message lists the ones there are.
        """
        if key not in self.metrics:
            raise KeyError(f"no metric {key!r} came of {self.trial.id}; there are: {', '.join(sorted(self.metrics))}")
        return self.metrics[key].quantity.value


class KernelMeter:
    """Measures kernels on this node, one at a time. Called by tests through the fixture `effbench_kernel`."""

    def __init__(self, site: Site, environment: Mapping[str, str], folders: pytest.TempPathFactory) -> None:
        self._site, self._environment, self._folders = site, environment, folders

    def __call__(
        self, kernel: str, /, *, device: str | None = None, rounds: int = 2, duration_s: float = 0.5, **params: Any
    ) -> KernelResult:
        """Measure `kernel` with `params`, in `rounds` fresh processes of `duration_s` s each.

        Without `device` it runs on the first accelerator, on the CPU where there is none. The test is failed with one
        line when the parameters are wrong or no usable evidence came of it, and skipped when the device cannot run it.
        """
        todo = self._plan(kernel, params, device, rounds, duration_s)
        if isinstance(todo, InputError):
            pytest.fail(f"effbench_kernel: {todo}", pytrace=False)
        trial = todo.trials[0]
        if trial.skipped is not None:
            pytest.skip(f"effbench_kernel: {trial.id} does not apply: {trial.skipped}")
        result = self._measured(todo, trial)
        found = result.measurement
        if found.status not in USABLE:
            pytest.fail(f"effbench_kernel: {trial.id} is {found.status}: {found.detail}", pytrace=False)
        return result

    def _plan(
        self, kernel: str, params: Mapping[str, Any], device: str | None, rounds: Any, duration_s: Any
    ) -> Plan | InputError:
        """The plan of one trial, or what is wrong with what was asked for."""
        try:
            checked(kernel, params)
            if not isinstance(rounds, int) or rounds < 1:
                return InputError(f"rounds is {rounds!r}; it must be a whole number from 1 up")
            if not isinstance(duration_s, int | float):
                return InputError(f"duration_s is {duration_s!r}; it must be a number of seconds")
            chosen = device or api.plan(_suite("known_truth", {}, 1, Procedure()), self._site).devices[0]
            return api.plan(_suite(kernel, params, rounds, Procedure(duration_s=duration_s)), self._site, chosen)
        except InputError as error:
            return error
        except ValueError as error:
            return InputError(str(error))

    def _measured(self, todo: Plan, trial: Trial) -> KernelResult:
        folder = self._folders.mktemp(f"effbench-{trial.kernel}-")
        children = environment_for_children(self._environment)
        rounds = todo.rounds_max
        budget_s = REPORT_RESERVE_S + rounds * (START_DEADLINE_S + trial.deadline_s)
        options = Options(children, budget_s, api.tool())
        record, outcome = api.run(todo, self._site.inventory, folder, Lines(None), options)
        if outcome == "interrupted":
            raise KeyboardInterrupt
        card = api.score(record)
        metrics = {m.key: m for m in card.metrics if m.device == trial.placement.devices[0]}
        return KernelResult(trial, record.measurements[0], metrics, folder)


def checked(kernel: str, params: Mapping[str, Any]) -> None:
    """Refuse a kernel or a parameter that does not exist, and a value of the wrong kind, before anything is started.

    Raises:
        InputError: naming what is wrong and what there is.
    """
    found = kernels.load(kernel)
    if is_team(found):
        raise InputError(f"{kernel} works in a team of ranks; a suite with a wider scope measures it")
    known = msgspec.inspect.type_info(found.Params)
    assert isinstance(known, msgspec.inspect.StructType)
    fields = {field.encode_name: field.type for field in known.fields}
    for name, value in params.items():
        if name not in fields:
            raise InputError(f"{kernel} has no parameter {name!r}{choices(name, sorted(fields))}")
        for mistake in mistakes(fields[name], value, (name,)):
            raise InputError(f"{kernel}, {name}: {mistake.text}")


def _suite(kernel: str, params: Mapping[str, Any], rounds: int, procedure: Procedure) -> Suite:
    """A suite of one workload; its budget is not used."""
    classes: tuple[DeviceClass, ...] = ("gpu", "cpu")
    return Suite(
        schema="effbench.suite/1",
        name=f"pytest/{kernel}",
        purpose="one kernel for one test",
        rounds={kind: Rounds(rounds, rounds) for kind in classes},
        budget_s=dict.fromkeys(classes, 1.0),
        workloads=[Workload(kernel.replace("_", "-"), kernel, dict(params))],
        procedure=procedure,
    )


def looked_at(config: pytest.Config, environment: Mapping[str, str]) -> Site:
    """Look at this node once for all tests. The test that asks is failed with one line when that cannot be done."""
    said = ""
    if hasattr(config, "workerinput"):
        pytest.fail("effbench measures one thing at a time on a node: leave out -n and --dist", pytrace=False)
    if _SITE not in config.stash:
        try:
            fake, devices = config.getoption("effbench_fake"), config.getoption("effbench_device")
            config.stash[_SITE] = api.look(environment, fake, devices)
        except EffbenchError as error:
            said = str(error)
    if said:
        pytest.fail(f"effbench_node: {said}", pytrace=False)
    return config.stash[_SITE]
