"""A scorecard held against a baseline: shares of what earlier runs reached, each only as good as its anchor. Pure.

A share of a baseline never stands alone. Where the runs have no absolute measure, lie low on it, or are of two kinds,
the share is shown with low confidence, which no policy grades.
"""

from collections.abc import Sequence

import msgspec

from effbench.catalog.metrics import BASELINE_SUFFIX, REFERENCE_SUFFIX, lookup
from effbench.catalog.references import assumed_tau
from effbench.model.baseline import Baseline, BaselineRow
from effbench.model.digest import short
from effbench.model.error import InputError
from effbench.model.finding import Finding
from effbench.model.inventory import Accelerator
from effbench.model.plan import Plan
from effbench.model.quantity import Ceiling, Interval, Quantity
from effbench.model.record import Record
from effbench.model.scorecard import Metric, Scorecard
from effbench.model.suite import DeviceClass
from effbench.model.unit import Unit
from effbench.score.baseline import PRIMARY, node_digest, trial_keys
from effbench.stats.center import RUNS_FOR_SPREAD, Center, share_of
from effbench.stats.compare import Side
from effbench.stats.outlying import SIGMA_PER_MAD

__all__ = ["ANCHOR_MIN", "against_baseline", "check_plan", "shared", "untrusted"]

# Runs below this share of the reference are no picture of a healthy node. A GPU's is the least grade that passes (C of
# INTERFACES section 8); a CPU's is lower, because neighbours share its memory and references are typical shares.
ANCHOR_MIN: dict[DeviceClass, float] = {"gpu": 0.75, "cpu": 0.60}
# Whose references stand in for those of the other domains.
LENDING = ("compute", "memory")
KEYS_NAMED = 5


def against_baseline(card: Scorecard, record: Record, baseline: Baseline) -> Scorecard:
    """Return `card` with `<stem>.fraction_of_baseline` for what the baseline has by the same trials, and findings.

    Raises:
        InputError: the run is one of the baseline's own, or of another device class, or only one of both is simulated.
    """
    _check(card, record, baseline)
    rows: dict[str, list[tuple[BaselineRow, str]]] = {}
    other_node = _other_number(len(record.plan.devices), baseline)
    for row, why in zip(baseline.rows, untrusted(baseline), strict=True):
        rows.setdefault(row.key, []).append((row, other_node or why))
    trials = {t.id: t for t in record.plan.trials}
    own = baseline.node_digest == node_digest(record.inventory_before, record.plan.devices)
    made, other, doubts = [], [], dict[str, list[str]]()
    for metric in card.metrics:
        if metric.device is not None or not shared(metric.key) or metric.key not in rows:
            continue
        keys = list(trial_keys(metric, trials))
        fitting = [pair for pair in rows[metric.key] if keys and pair[0].trial_keys == keys]
        if not fitting:
            other.append(metric.key)
            continue
        row, why = fitting[0]
        share = _share(metric, row, baseline, record.rounds_done, own)
        made.append(msgspec.structs.replace(share, ceiling=_ceiling(row, why, baseline)))
        if why:
            doubts.setdefault(why, []).append(metric.key)
    findings = [*card.findings, *_findings(other, doubts)]
    metrics = sorted([*card.metrics, *made], key=lambda m: (m.key, m.device or ""))
    return msgspec.structs.replace(card, metrics=metrics, findings=findings)


def untrusted(baseline: Baseline) -> list[str]:
    """Say for each row why a share of it is shown and not graded; empty where it may be.

    A figure that has no reference of its own is anchored by its runs' compute and memory: there a node shows that is
    slow as a whole. What is slow in one other figure alone, in all of the runs, is not seen; that caps at provisional.
    """
    kind = baseline.device_class
    lent = _lent(baseline)
    return [
        "the runs are of two kinds" if row.kinds else _low(row, kind) if _own(row) else lent for row in baseline.rows
    ]


def _other_number(devices: int, baseline: Baseline) -> str:
    """Why a node of so many devices is no peer of the baseline's: one that lost a device is not as good as before."""
    if devices in baseline.devices:
        return ""
    if not baseline.devices:
        return "the baseline does not say of how many devices its runs are; make it again"
    of = " or ".join(str(number) for number in baseline.devices)
    return f"the runs of the baseline are of {of} devices and this one is of {devices}"


def _own(row: BaselineRow) -> bool:
    """Whether the row has a reference of its own that may carry a grade."""
    return row.anchor is not None and row.anchor.confidence != "low"


def _low(row: BaselineRow, kind: DeviceClass) -> str:
    low = row.anchor is not None and row.anchor.share < ANCHOR_MIN[kind]
    return f"the runs themselves lie below {ANCHOR_MIN[kind]:g} of the reference" if low else ""


def _lent(baseline: Baseline) -> str:
    """Why the anchors of compute and memory cannot stand in for a missing one; empty when they can."""
    anchored = [row for row in baseline.rows if row.key.split(".")[0] in LENDING and _own(row)]
    if {row.key.split(".")[0] for row in anchored} != set(LENDING):
        return "no absolute measure says whether these runs were good"
    slow = next((row.key for row in anchored if _low(row, baseline.device_class)), "")
    return f"the same runs lie below {ANCHOR_MIN[baseline.device_class]:g} of the reference in {slow}" if slow else ""


def _check(card: Scorecard, record: Record, baseline: Baseline) -> None:
    if record.digest in baseline.runs:
        raise InputError("this run is one of those that the baseline was made of; a run says nothing about itself")
    _same_sort(card.device_class, record.simulated, baseline)


def check_plan(plan: Plan, accelerators: Sequence[Accelerator], baseline: Baseline) -> None:
    """Refuse before anything is measured a baseline that a run of `plan` could not be held against.

    Raises:
        InputError: it is of another device class, only one of both is simulated, or no figure of it comes from a trial
            of the plan.
    """
    mine = [a for a in accelerators if a.key in plan.devices]
    for kind in {a.kind for a in mine}:
        _same_sort(kind, any(a.simulated for a in mine), baseline)
    planned = {trial.trial_key for trial in plan.trials if trial.skipped is None}
    if not any(planned.issuperset(row.trial_keys) for row in baseline.rows):
        raise InputError("no figure of the baseline comes from a trial of this plan; make it of runs of the same suite")


def _same_sort(kind: DeviceClass, simulated: bool, baseline: Baseline) -> None:
    if kind != baseline.device_class:
        raise InputError(f"the run is of a {kind}, the baseline of {baseline.device_class} runs")
    if simulated != baseline.simulated:
        sorts = {True: "simulated", False: "measured"}
        raise InputError(f"the run is {sorts[simulated]}, the baseline's are {sorts[baseline.simulated]}")


def shared(key: str) -> bool:
    """Whether this is the figure of its stem that a share is taken of."""
    stem, _, last = key.rpartition(".")
    return last in PRIMARY and lookup(stem + REFERENCE_SUFFIX) is not None


def _share(metric: Metric, row: BaselineRow, baseline: Baseline, rounds: int, own: bool) -> Metric:
    at = Center(row.median, row.mad, row.n)
    value, interval = metric.quantity.value, None
    share = row.median / value if row.better == "lower" and value > 0 else value / row.median
    if metric.interval is not None and metric.interval.low > 0:
        side = Side(value, metric.interval.low, metric.interval.high, max(1, rounds))
        share, low, high = share_of(side, at, row.better, assumed_tau(baseline.device_class)[0], own)
        method = "block+runs" if own and row.n >= RUNS_FOR_SPREAD else "block+runs(assumed)"
        interval = Interval(low, high, metric.interval.level, method, rounds, metric.interval.n_samples)
    params = {**metric.params, "baseline_runs": row.n}
    if row.mad and row.n >= RUNS_FOR_SPREAD:
        params["baseline_sigmas"] = (value - row.median) / (SIGMA_PER_MAD * row.mad)
    return msgspec.structs.replace(
        metric,
        key=metric.key.rpartition(".")[0] + BASELINE_SUFFIX,
        quantity=Quantity(share, Unit.ONE),
        interval=interval,
        better="higher",
        params=params,
    )


def _ceiling(row: BaselineRow, doubt: str, baseline: Baseline) -> Ceiling:
    nodes = "1 node" if baseline.nodes == 1 else f"{baseline.nodes} nodes"
    runs = "1 run" if row.n == 1 else f"{row.n} runs"
    source = f"median of {runs} of {nodes}, baseline {short(baseline.digest)}"
    return Ceiling(
        value=row.median,
        unit=row.unit,
        source=source,
        as_of=baseline.last_at[:10],
        confidence="low" if doubt else "high",
        provisional=row.anchor is None or not _own(row) or row.anchor.provisional,
    )


def _findings(other: Sequence[str], doubts: dict[str, list[str]]) -> list[Finding]:
    found = []
    if other:
        message = f"{_named(other)}: the baseline has them by other trials, so there is no share of it"
        found.append(Finding("baseline-other-trials", "warning", message))
    for why, keys in doubts.items():
        message = f"{_named(keys)}: {why}, so the share of the baseline is shown and not graded"
        found.append(Finding("baseline-untrusted", "warning", message))
    return found


def _named(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - KEYS_NAMED} more" if len(keys) > KEYS_NAMED else ""
    return ", ".join(keys[:KEYS_NAMED]) + more
