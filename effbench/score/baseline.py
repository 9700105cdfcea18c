"""Runs to their baseline: the robust centre of every figure by the trials that gave it. Pure.

A baseline is what was, not what should be: each row carries its share of the catalogue's reference, so that a fleet
that is slow as a whole shows as such.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import msgspec

from effbench.catalog.metrics import REFERENCE_SUFFIX
from effbench.catalog.references import assumed_tau, practical_margin
from effbench.model.baseline import Anchor, Baseline, BaselineRow, Kinds, Omitted
from effbench.model.digest import digest
from effbench.model.error import InputError
from effbench.model.inventory import Inventory
from effbench.model.plan import Trial
from effbench.model.record import USABLE, Record
from effbench.model.scorecard import Metric
from effbench.model.suite import DeviceClass
from effbench.score.node import score
from effbench.stats.center import SPREAD_LEAST, center
from effbench.stats.outlying import split
from effbench.stats.quantile import median

__all__ = ["PRIMARY", "Seen", "baseline", "node_digest", "sealed", "seen", "trial_keys"]


# Of the figures that share a stem, and with it one share of the reference, those that the share is of.
PRIMARY = ("flops", "bandwidth", "busbw", "tokens_per_s")


class Figure(msgspec.Struct, frozen=True):
    """One usable figure of one run, and its share of the reference where there is one."""

    metric: Metric
    trial_keys: tuple[str, ...]
    reference: Metric | None


class Seen(msgspec.Struct, frozen=True):
    """What one run gives to a baseline. `absent` maps a figure's key to why the run cannot give it."""

    record_digest: str
    journal_digest: str
    started_at: str
    node: str
    device_class: DeviceClass
    simulated: bool
    figures: list[Figure]
    absent: dict[str, str]
    devices: int


def seen(record: Record) -> Seen:
    """Take from one run what a baseline may rest on: figures of the node, measured undisturbed, above zero.

    Counters of errors and shares of other figures have no baseline: the first have gates, the second follow.
    """
    card = score(record)
    nodes = {m.key: m for m in card.metrics if m.device is None}
    trials = {t.id: t for t in record.plan.trials}
    figures, absent = [], {}
    for key, metric in nodes.items():
        if key.startswith("health.") or key.rsplit(".", 1)[-1].startswith("fraction_"):
            continue
        keys = trial_keys(metric, trials)
        why = _unfit(metric, keys)
        if why:
            absent[key] = why
        else:
            stem, _, last = key.rpartition(".")
            figures.append(Figure(metric, keys, nodes.get(stem + REFERENCE_SUFFIX) if last in PRIMARY else None))
    return Seen(
        record_digest=record.digest,
        journal_digest=record.journal_digest,
        started_at=record.started_at,
        node=node_digest(record.inventory_before, record.plan.devices),
        device_class=card.device_class,
        simulated=record.simulated,
        figures=figures,
        absent=absent,
        devices=len(record.plan.devices),
    )


def trial_keys(metric: Metric, trials: dict[str, Trial]) -> tuple[str, ...]:
    """Return what decides whether two figures may be held together (INTERFACES section 5); empty when unknown."""
    if not metric.evidence or any(name not in trials for name in metric.evidence):
        return ()
    return tuple(sorted({trials[name].trial_key for name in metric.evidence}))


def node_digest(inventory: Inventory, devices: Sequence[str]) -> str:
    """Return a name for the measured devices that another run of the same ones shares and no other has."""
    uuids = sorted(a.uuid for a in inventory.accelerators if a.key in devices and a.uuid)
    return digest(uuids if uuids else [inventory.node, sorted(devices)])


def _unfit(metric: Metric, keys: Sequence[str]) -> str:
    if metric.status == "suspect":
        return "measured under foreign load"
    if metric.status not in USABLE:
        return f"it is {metric.status}"
    if metric.quantity.value <= 0:
        return "it is not above zero"
    return "" if keys else "the trial behind it is not in the plan"


def baseline(runs: Iterable[Seen]) -> Baseline:
    """Make the baseline of `runs`; their order does not matter.

    Raises:
        InputError: there are none, one is given twice, they are of different device classes, simulated runs are mixed
            with measured ones, or not one figure is fit for it.
    """
    known = sorted(runs, key=lambda run: run.record_digest)
    _check(known)
    groups: dict[tuple[str, tuple[str, ...]], list[Figure]] = defaultdict(list)
    for run in known:
        for figure in run.figures:
            groups[figure.metric.key, figure.trial_keys].append(figure)
    if not groups:
        reasons = Counter(reason for run in known for reason in run.absent.values()).most_common(1)
        often = f" (most often: {reasons[0][0]})" if reasons else ""
        raise InputError(
            f"no run has a figure that a baseline could rest on{often}; `effbench score RUN` shows what they have"
        )
    kind = known[0].device_class
    why = Counter((key, reason) for run in known for key, reason in run.absent.items())
    nodes = {run.node for run in known}
    dates = sorted(run.started_at for run in known)
    return sealed(
        Baseline(
            schema="effbench.baseline/1",
            digest="",
            device_class=kind,
            nodes=len(nodes),
            runs=[run.record_digest for run in known],
            first_at=dates[0],
            last_at=dates[-1],
            rows=[_row(key, keys, figures, kind) for (key, keys), figures in sorted(groups.items())],
            simulated=known[0].simulated,
            node_digest=nodes.pop() if len(nodes) == 1 else "",
            omitted=[Omitted(key, n, reason) for (key, reason), n in sorted(why.items())],
            devices=sorted({run.devices for run in known}),
        )
    )


def sealed(document: Baseline) -> Baseline:
    """Return `document` with the digest over all its other fields."""
    return msgspec.structs.replace(document, digest=digest(msgspec.structs.replace(document, digest="")))


def _check(runs: Sequence[Seen]) -> None:
    if not runs:
        raise InputError("a baseline needs at least one run")
    twice = [name for name, n in Counter(run.journal_digest for run in runs).items() if n > 1]
    if twice:
        started = next(run.started_at for run in runs if run.journal_digest == twice[0])
        raise InputError(f"the run of {started} is given more than once; a copy is no further measurement")
    if len({run.device_class for run in runs}) > 1:
        raise InputError("some runs are of GPUs and some of CPUs; make a baseline of each")
    if len({run.simulated for run in runs}) > 1:
        raise InputError("some runs are simulated and some measured; a baseline holds one sort")


def _row(key: str, keys: tuple[str, ...], figures: Sequence[Figure], kind: DeviceClass) -> BaselineRow:
    values = [f.metric.quantity.value for f in figures]
    at = center(values)
    floor = SPREAD_LEAST * assumed_tau(kind)[0] * at.median
    found = split(values, floor, practical_margin(kind))
    first = figures[0].metric
    return BaselineRow(
        key=key,
        unit=first.quantity.unit,
        better=first.better,
        trial_keys=list(keys),
        n=at.n,
        median=at.median,
        lowest=min(values),
        highest=max(values),
        mad=at.mad,
        anchor=_anchor(figures),
        kinds=None if found is None else Kinds(found.low, found.high, found.n_low, found.n_high),
    )


def _anchor(figures: Sequence[Figure]) -> Anchor | None:
    """Where the runs lie on the scale of the reference. Every run must say: half of them could hide the other half."""
    shares = [f.reference for f in figures if f.reference is not None and f.reference.ceiling is not None]
    fit = [m for m in shares if m.status in USABLE and m.quantity.value > 0]
    if len(fit) < len(figures):
        return None
    ceilings = [m.ceiling for m in fit if m.ceiling is not None]
    low = any(c.confidence == "low" for c in ceilings)
    return Anchor(
        metric=fit[0].key,
        share=median([m.quantity.value for m in fit]),
        source=ceilings[0].source,
        as_of=ceilings[0].as_of,
        confidence="low" if low else ceilings[0].confidence,
        provisional=any(c.provisional for c in ceilings),
    )
