"""The useful work that money and carbon are counted per: products by dtype, training, answering, a run to quality."""

from collections.abc import Sequence
from typing import Literal

import msgspec

from effbench.model.energy import Energy
from effbench.model.quantity import Interval
from effbench.model.record import USABLE, Measurement, Record
from effbench.model.scorecard import Metric

QUALITY = "quality.to_quality."
# Which work stands for the device when there is room for one only: a whole step first, then products by dtype.
FIRST = ("train_step", "gemm.bf16", "gemm.fp16", "gemm.tf32", "gemm.fp32", "gemm.fp64")


class Useful(msgspec.Struct, frozen=True):
    """One kind of work on all devices of the run.

    Attributes:
        stem: the middle of its power keys: `gemm.bf16`, `train_step`, `decode.b8`.
        rate: flop/s, token/s or whole training runs to quality per s, summed over `devices`.
        watts: power of the devices in their energy windows, summed, W; absent with `why`.
        window_rate: the rate in those same windows, so that energy per work is of one measurement.
        disturbed: whether one of the figures is suspect.
        energies: the energy figures behind `watts`, one per device.
    """

    stem: str
    title: str
    item: Literal["flop", "token", "run"]
    devices: int
    rate: float
    watts: float | None = None
    watts_interval: Interval | None = None
    window_rate: float | None = None
    why: str = ""
    disturbed: bool = False
    energies: list[Energy] = []


def useful(metrics: Sequence[Metric], record: Record) -> list[Useful]:
    """Return every kind of work for which each device of the run has a usable rate, `FIRST` ones first."""
    found = []
    for key in dict.fromkeys(m.key for m in metrics if m.device is not None):
        named = _named(key)
        mine = _of_all(metrics, key, record.plan.devices)
        if named is None or mine is None:
            continue
        stem, title, item = named
        rate = sum(m.quantity.value for m in mine)
        if rate > 0:
            plain = Useful(stem, title, item, len(mine), rate, disturbed=_disturbed(mine))
            found.append(_powered(plain, mine, metrics, record))
    found += [work for key in dict.fromkeys(m.key for m in metrics) if (work := _to_quality(key, metrics, record))]
    return sorted(found, key=lambda u: (FIRST.index(u.stem) if u.stem in FIRST else len(FIRST), u.stem))


def _named(key: str) -> tuple[str, str, Literal["flop", "token"]] | None:
    parts = key.split(".")
    if len(parts) == 4 and parts[:2] == ["compute", "gemm"] and parts[3] == "flops":
        return f"gemm.{parts[2]}", f"{parts[2]} matrix products", "flop"
    if key == "train.step.tokens_per_s":
        return "train_step", "training", "token"
    if len(parts) == 4 and parts[0] == "infer" and parts[1] in ("prefill", "decode") and parts[3] == "tokens_per_s":
        words = {"prefill": "prompt processing", "decode": "answering"}[parts[1]]
        return f"{parts[1]}.{parts[2]}", f"{words}, batch {parts[2].removeprefix('b')}", "token"
    return None


def _of_all(metrics: Sequence[Metric], key: str, devices: Sequence[str]) -> list[Metric] | None:
    """The usable metric of each device, or None when one has none: half a node is no node."""
    mine = {m.device: m for m in metrics if m.key == key and m.status in USABLE}
    return [mine[device] for device in devices] if devices and all(device in mine for device in devices) else None


def _to_quality(key: str, metrics: Sequence[Metric], record: Record) -> Useful | None:
    """Whole training runs of one recipe to the stated loss: what they cost is the recipe's efficiency."""
    if not key.startswith(QUALITY) or not key.endswith(".time"):
        return None
    recipe = key.removeprefix(QUALITY).removesuffix(".time")
    times = _of_all(metrics, key, record.plan.devices)
    if times is None or any(m.quantity.value <= 0 for m in times):
        return None
    rate = sum(1 / m.quantity.value for m in times)
    work = Useful(
        f"quality.{recipe}",
        f"a training run to quality, {recipe}",
        "run",
        len(times),
        rate,
        disturbed=_disturbed(times),
    )
    joules = _of_all(metrics, f"{QUALITY}{recipe}.joules", record.plan.devices)
    if joules is None or any(m.interval is None for m in joules):
        return msgspec.structs.replace(work, why=_why(work, times, record))
    pairs = list(zip(joules, times, strict=True))
    ends = [(m.interval.low / t.quantity.value, m.interval.high / t.quantity.value) for m, t in pairs if m.interval]
    return msgspec.structs.replace(
        work,
        watts=sum(j.quantity.value / t.quantity.value for j, t in pairs),
        watts_interval=Interval(sum(low for low, _ in ends), sum(high for _, high in ends), method="sum over devices"),
        window_rate=rate,
        disturbed=_disturbed([*joules, *times]),
    )


def _powered(work: Useful, rates: Sequence[Metric], metrics: Sequence[Metric], record: Record) -> Useful:
    """Add the power of the same work, and the rate that goes with it: work per joule times watts, of one trial."""
    per_joule = f"power.{work.stem}.{'flops' if work.item == 'flop' else 'tokens'}_per_joule"
    watts = _of_all(metrics, f"power.{work.stem}.watts", record.plan.devices)
    joules = _of_all(metrics, per_joule, record.plan.devices)
    if watts is None or joules is None or any(m.interval is None for m in watts):
        return msgspec.structs.replace(work, why=_why(work, rates, record))
    if any(w.evidence != j.evidence for w, j in zip(watts, joules, strict=True)):
        return msgspec.structs.replace(work, why=f"the watts and joules of {work.stem} are of different trials")
    intervals = [m.interval for m in watts if m.interval is not None]
    by_trial = {m.trial: m.energy for m in record.measurements if m.energy is not None}
    return msgspec.structs.replace(
        work,
        watts=sum(m.quantity.value for m in watts),
        # Errors of like sensors go the same way, so the ends add up; nothing is averaged out.
        watts_interval=Interval(
            sum(i.low for i in intervals), sum(i.high for i in intervals), method="sum over the devices"
        ),
        window_rate=sum(w.quantity.value * j.quantity.value for w, j in zip(watts, joules, strict=True)),
        disturbed=work.disturbed or _disturbed([*watts, *joules]),
        energies=[by_trial[name] for metric in watts for name in metric.evidence if name in by_trial],
    )


def _disturbed(metrics: Sequence[Metric]) -> bool:
    return any(m.status == "suspect" for m in metrics)


def _why(work: Useful, rates: Sequence[Metric], record: Record) -> str:
    """Why there is no power: the trial's own reason, else the sensors', else that no window was asked for."""
    trials = {name for metric in rates for name in metric.evidence}
    told = [_reason(m) for m in record.measurements if m.trial in trials]
    reasons = [text for text in dict.fromkeys(told) if text]
    if not reasons:
        sensors = [s for s in record.sensors if s.device in record.plan.devices]
        if sensors and all(s.absent for s in sensors):
            reasons = list(dict.fromkeys(f"{s.absent} ({s.remedy})" if s.remedy else s.absent for s in sensors))[:2]
    said = "; ".join(reasons) or "this run measured no energy window for it; `effbench run node/standard` does"
    return f"the power of {work.title} is unknown: {said}"


def _reason(measurement: Measurement) -> str:
    energy = measurement.energy
    if energy is None or not energy.reason:
        return ""
    return f"{energy.reason} ({energy.remedy.rstrip('.')})" if energy.remedy else energy.reason
