"""Suite and inventory to plan: which trials, on which devices, in which order. Nothing is measured here."""

import fnmatch
import itertools
import random
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from effbench import kernels
from effbench.kernels.contract import Kernel, is_team
from effbench.model.digest import digest
from effbench.model.error import CatalogError, InputError, SiteError
from effbench.model.finding import Finding
from effbench.model.inventory import Accelerator, Inventory
from effbench.model.plan import Placement, Plan, Trial
from effbench.model.suite import DeviceClass, Procedure, Suite, Workload
from effbench.run import placement
from effbench.run.duration import SETUP_S, START_S, alone, idle_s, span_s

DEADLINE_FACTOR = 5.0
DEADLINE_FLOOR_S = {"cpu": 45.0, "gpu": 25.0}


def make(
    suite: Suite,
    inventory: Inventory,
    accelerators: Sequence[Accelerator],
    catalog_digest: str,
    only: str | None = None,
    findings: Sequence[Finding] = (),
    nodes: int = 1,
) -> Plan:
    """Expand `suite` over `accelerators`.

    Args:
        suite: validated suite.
        inventory: the whole node.
        accelerators: the devices to measure, of one kind, with their catalogue parts filled in.
        catalog_digest: digest of the catalogue that filled them.
        only: glob over trial ids and workload ids; others are left out.
        findings: what was noticed about the node while looking at it; travels with the plan.
        nodes: over how many such nodes a team may lie.

    Raises:
        CatalogError: a workload's parameters do not fit its kernel; every such mistake is listed.
        InputError: nothing is left to run, or the node has fewer accelerators than the suite requires.
    """
    if len(accelerators) < suite.requires.accelerators_min:
        raise InputError(
            f"suite {suite.name} needs {suite.requires.accelerators_min} accelerators, this run has {len(accelerators)}"
        )
    problems: list[str] = []
    trials = [
        trial
        for accelerator in accelerators
        for workload in suite.workloads
        if workload.scope == "device" and (workload.on is None or accelerator.kind in workload.on)
        for trial in _expand(suite, workload, accelerator, problems, together=len(accelerators))
    ]
    for workload in suite.workloads:
        if workload.scope != "device" and (workload.on is None or accelerators[0].kind in workload.on):
            trials += _teams(suite, workload, accelerators, nodes, problems)
    if problems:
        raise CatalogError(problems)
    if only is not None:
        trials = [trial for trial in trials if fnmatch.fnmatch(trial.id, only) or fnmatch.fnmatch(trial.workload, only)]
    if not trials:
        raise InputError(f"nothing to run: suite {suite.name} has no trial for this device" + _asked(only))
    if (reason := _too_many(trials)) is not None:
        raise InputError(f"nothing to run: {reason}")
    return _assemble(suite, inventory, accelerators[0].kind, catalog_digest, trials, list(findings))


def _asked(only: str | None) -> str:
    return f" that matches --only {only!r}; `effbench plan` lists the ids" if only else ""


def _too_many(trials: Sequence[Trial]) -> str | None:
    """Say why nothing can run when every trial wants more ranks than there are devices."""
    reasons = [trial.skipped for trial in trials]
    if all(reason is not None and placement.TOO_MANY in reason for reason in reasons):
        return reasons[0]
    return None


def _assemble(
    suite: Suite,
    inventory: Inventory,
    kind: DeviceClass,
    catalog_digest: str,
    trials: list[Trial],
    findings: list[Finding],
) -> Plan:
    rounds = suite.rounds[kind]
    devices = list(dict.fromkeys(device for trial in trials for device in trial.placement.devices))
    takes = {trial.id: trial.expected_s * min(trial.rounds or rounds.min, rounds.min) for trial in trials}
    starting_s = START_S[kind] * rounds.min
    plan = Plan(
        schema="effbench.plan/1",
        digest="",
        suite=suite.name,
        suite_digest=digest(suite),
        catalog_digest=catalog_digest,
        kernel_digests={name: kernels.digest(name) for name in sorted({trial.kernel for trial in trials})},
        inventory_digest=digest(inventory),
        seed=suite.seed,
        rounds_min=rounds.min,
        rounds_max=rounds.max,
        budget_s=suite.budget_s[kind] * (1 if suite.at_once else max(1, alone(trials))),
        expected_s=span_s(trials, suite.at_once, takes, starting_s) + idle_s(suite, alone(trials)),
        trials=trials,
        devices=devices,
        at_once=suite.at_once and alone(trials) > 1,
        idle=suite.idle,
        findings=findings,
    )
    return msgspec.structs.replace(plan, digest=digest(plan))


def order(plan: Plan, round_number: int, device: str) -> list[Trial]:
    """Return the trials of one device in the shuffled order of one round. The same plan gives the same order."""
    alone = [trial for trial in plan.trials if trial.scope == "device" and trial.skipped is None]
    trials = [trial for trial in alone if device in trial.placement.devices]
    random.Random(f"{plan.seed}:{round_number}:{device}").shuffle(trials)
    return trials


def team_order(plan: Plan, round_number: int) -> list[list[Trial]]:
    """Return the teams of one round, each with its trials, sizes and trials shuffled. The same plan gives the same."""
    teams: dict[int, list[Trial]] = {}
    for trial in plan.trials:
        if trial.scope != "device" and trial.skipped is None:
            teams.setdefault(trial.placement.ranks, []).append(trial)
    dice = random.Random(f"{plan.seed}:{round_number}:teams")
    ordered = [teams[ranks] for ranks in sorted(teams)]
    for trials in ordered:
        dice.shuffle(trials)
    dice.shuffle(ordered)
    return ordered


def _teams(
    suite: Suite, workload: Workload, accelerators: Sequence[Accelerator], nodes: int, problems: list[str]
) -> Iterator[Trial]:
    """Expand a workload of teams: every number of ranks, each on its devices and cores."""
    for team in placement.teams(workload.counts, accelerators, nodes):
        for trial in _expand(suite, workload, team.accelerator, problems, team.placement):
            yield msgspec.structs.replace(trial, skipped=team.skip, expected_s=0.0) if team.skip else trial


def _expand(
    suite: Suite,
    workload: Workload,
    accelerator: Accelerator,
    problems: list[str],
    team: Placement | None = None,
    together: int = 1,
) -> Iterator[Trial]:
    kernel = kernels.load(workload.kernel)
    if is_team(kernel) != (team is not None):
        needed = "a scope wider than device (pair, node ...)" if is_team(kernel) else "the scope device"
        problems.append(f"suite {suite.name}, workload {workload.id}: kernel {workload.kernel} needs {needed}")
        return
    procedure = workload.procedure or suite.procedure
    names = list(workload.axes)
    for values in itertools.product(*workload.axes.values()):
        asked = {**workload.params, **dict(zip(names, values, strict=True))}
        if team is not None:
            asked |= {n: v for n, v in _shape(team).items() if n in kernel.Params.__struct_fields__}
        try:
            params = kernel.fit(msgspec.convert(asked, kernel.Params), accelerator)
        except (msgspec.ValidationError, ValueError) as error:
            problems.append(f"suite {suite.name}, workload {workload.id}: {error}")
            continue
        trial = _trial(workload, kernel, params, procedure, accelerator, team)
        if suite.at_once and together > 1:
            trial = msgspec.structs.replace(trial, trial_key=digest([trial.trial_key, "at once", together]))
        yield trial


def _shape(team: Placement) -> dict[str, int]:
    """What a team kernel is told of its team, as far as its parameters ask for it."""
    return {"ranks": team.ranks, "nodes": team.nodes}


def _trial(
    workload: Workload,
    kernel: Kernel,
    params: Any,
    procedure: Procedure,
    accelerator: Accelerator,
    team: Placement | None,
) -> Trial:
    support = kernel.support(params, accelerator)
    work = kernel.work(params)
    plain: dict[str, Any] = msgspec.to_builtins(params)
    expected = 0.0 if support.skip else SETUP_S[accelerator.kind] + procedure.warmup_s + procedure.duration_s
    return Trial(
        id=f"{workload.id}:{kernel.label(params)}@{accelerator.key if team is None else f'n{team.ranks}'}",
        workload=workload.id,
        kernel=workload.kernel,
        kernel_version=kernel.VERSION,
        params=plain,
        placement=team or Placement([accelerator.key]),
        procedure=procedure,
        work=work,
        outputs=kernel.outputs(params),
        trial_key=trial_key(workload.kernel, kernel.VERSION, plain, procedure, work, accelerator, team),
        deadline_s=max(DEADLINE_FLOOR_S[accelerator.kind], DEADLINE_FACTOR * expected),
        expected_s=expected,
        emulated=support.emulated,
        skipped=support.skip,
        rounds=workload.rounds,
        scope=workload.scope,
    )


def trial_key(
    name: str,
    version: int,
    params: dict[str, Any],
    procedure: Procedure,
    work: Any,
    accelerator: Accelerator,
    team: Placement | None = None,
) -> str:
    """Digest of everything that decides whether two measurements may be compared (INTERFACES section 5)."""
    row = accelerator.part.row_digest if accelerator.part else ""
    shape = [] if team is None else [[team.ranks, team.nodes, *(len(cores) for cores in team.cores[:1])]]
    return digest([name, version, params, procedure, work, row, *shape])


def devices_of(inventory: Inventory, wanted: str) -> Sequence[Accelerator]:
    """Choose accelerators by `--device`: `all`, or inventory keys and torch names (`cpu`, `gpu0`, `cuda:1`).

    `all` means every GPU, or the CPU on a machine without one. `cuda:N` is the N-th GPU in PCI bus order.

    Raises:
        InputError: a name that this node does not have, with the ones that it has.
        SiteError: `all` was asked of a node whose GPU driver cannot be asked: never a silent fall-back to the CPU.
    """
    gpus = [a for a in inventory.accelerators if a.kind == "gpu"]
    if wanted == "all":
        sick = next((text for text in inventory.findings if text.startswith("the node has an NVIDIA driver")), None)
        if sick is not None and not gpus:
            raise SiteError(f"{sick}; mend that, or measure the CPU on purpose with --device cpu")
        return gpus or [a for a in inventory.accelerators if a.kind == "cpu"]
    by_name = {a.key: a for a in inventory.accelerators}
    by_name |= {f"cuda:{i}": a for i, a in enumerate(gpus)}
    chosen = []
    for name in wanted.split(","):
        if name not in by_name:
            raise InputError(f"no device {name!r} on this node; it has: {', '.join(by_name)}")
        if by_name[name] not in chosen:
            chosen.append(by_name[name])
    if len({a.kind for a in chosen}) > 1:
        raise InputError("a run rates GPUs or the CPU, not both at once; run them one after the other")
    return chosen


def joined(earlier: Plan, later: Plan) -> Plan:
    """Join two plans of the same devices: the trials of both, each once, under the later plan's budget.

    Raises:
        InputError: they were made for different devices, so that one record could not hold both.
    """
    if earlier.devices != later.devices:
        raise InputError(
            f"cannot continue: that run measured {', '.join(earlier.devices)}, "
            f"this one would measure {', '.join(later.devices)}"
        )
    known = {trial.id: trial.trial_key for trial in earlier.trials}
    changed = [trial.id for trial in later.trials if known.get(trial.id, trial.trial_key) != trial.trial_key]
    if changed:
        raise InputError(
            f"cannot continue: {', '.join(changed)} would now be measured differently (another kernel version, "
            "procedure or catalogue row); start a new run"
        )
    trials = [*earlier.trials, *(trial for trial in later.trials if trial.id not in known)]
    plan = msgspec.structs.replace(
        later, digest="", trials=trials, kernel_digests={**earlier.kernel_digests, **later.kernel_digests}
    )
    return msgspec.structs.replace(plan, digest=digest(plan))
