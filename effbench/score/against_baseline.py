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
from effbench.model.quantity import Ceiling, Interval, Quantity
from effbench.model.record import Record
from effbench.model.scorecard import Metric, Scorecard
from effbench.model.suite import DeviceClass
from effbench.model.unit import Unit
from effbench.score.baseline import node_digest, trial_keys
from effbench.stats.center import RUNS_FOR_SPREAD, Center, share_of
from effbench.stats.compare import Side
from effbench.stats.outlying import SIGMA_PER_MAD

__all__ = ["ANCHOR_MIN", "against_baseline", "untrusted"]

# Runs below this share of the reference are no picture of a healthy node. A GPU's is the least grade that passes (C of
# INTERFACES section 8); a CPU's is lower, because neighbours share its memory and references are typical shares.
ANCHOR_MIN: dict[DeviceClass, float] = {"gpu": 0.75, "cpu": 0.60}
# Of the figures that share a stem, and with it one share of the reference, the one that the share is of.
PRIMARY = ("flops", "bandwidth", "busbw", "tokens_per_s")
KEYS_NAMED = 5


def against_baseline(card: Scorecard, record: Record, baseline: Baseline) -> Scorecard:
    """Return `card` with `<stem>.fraction_of_baseline` for what the baseline has by the same trials, and findings.

    Raises:
        InputError: the run is one of the baseline's own, or of another device class, or only one of both is simulated.
    """
    _check(card, record, baseline)
    rows: dict[str, list[BaselineRow]] = {}
    for row in baseline.rows:
        rows.setdefault(row.key, []).append(row)
    trials = {t.id: t for t in record.plan.trials}
    own = baseline.node_digest == node_digest(record.inventory_before, record.plan.devices)
    made, other, doubts = [], [], dict[str, list[str]]()
    for metric in card.metrics:
        if not _wanted(metric) or metric.key not in rows:
            continue
        keys = list(trial_keys(metric, trials))
        fitting = [row for row in rows[metric.key] if keys and row.trial_keys == keys]
        if not fitting:
            other.append(metric.key)
            continue
        made.append(_share(metric, fitting[0], baseline, record.rounds_done, own))
        if why := untrusted(fitting[0], baseline.device_class):
            doubts.setdefault(why, []).append(metric.key)
    findings = [*card.findings, *_findings(other, doubts)]
    metrics = sorted([*card.metrics, *made], key=lambda m: (m.key, m.device or ""))
    return msgspec.structs.replace(card, metrics=metrics, findings=findings)


def untrusted(row: BaselineRow, kind: DeviceClass) -> str:
    """Say why a share of this row of a baseline of GPUs or CPUs is shown and not graded; empty when it may be."""
    if row.anchor is None:
        return "no absolute measure says whether these runs were good"
    if row.anchor.confidence == "low":
        return "the reference that anchors it is of low confidence"
    if row.anchor.share < ANCHOR_MIN[kind]:
        return f"the runs themselves lie below {ANCHOR_MIN[kind]:g} of the reference"
    return "the runs are of two kinds" if row.kinds is not None else ""


def _check(card: Scorecard, record: Record, baseline: Baseline) -> None:
    if record.digest in baseline.runs:
        raise InputError("this run is one of those that the baseline was made of; a run says nothing about itself")
    if card.device_class != baseline.device_class:
        raise InputError(f"the run is of a {card.device_class}, the baseline of {baseline.device_class} runs")
    if record.simulated != baseline.simulated:
        sorts = {True: "simulated", False: "measured"}
        raise InputError(f"the run is {sorts[record.simulated]}, the baseline's are {sorts[baseline.simulated]}")


def _wanted(metric: Metric) -> bool:
    """Whether this is the figure of its stem that a share is taken of."""
    stem, _, last = metric.key.rpartition(".")
    return metric.device is None and last in PRIMARY and lookup(stem + REFERENCE_SUFFIX) is not None


def _share(metric: Metric, row: BaselineRow, baseline: Baseline, rounds: int, own: bool) -> Metric:
    at = Center(row.median, row.mad, row.n)
    value, interval = metric.quantity.value, None
    share = row.median / value if row.better == "lower" and value > 0 else value / row.median
    if metric.interval is not None and metric.interval.low > 0:
        side = Side(value, metric.interval.low, metric.interval.high, rounds)
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
        ceiling=_ceiling(row, baseline),
        better="higher",
        params=params,
    )


def _ceiling(row: BaselineRow, baseline: Baseline) -> Ceiling:
    nodes = "1 node" if baseline.nodes == 1 else f"{baseline.nodes} nodes"
    source = f"median of {row.n} runs of {nodes}, baseline {short(baseline.digest)}"
    return Ceiling(
        value=row.median,
        unit=row.unit,
        source=source,
        as_of=baseline.last_at[:10],
        confidence="low" if untrusted(row, baseline.device_class) else "high",
        provisional=row.anchor is not None and row.anchor.provisional,
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
