"""Delivered against claimed speed: the sum over the devices over count times the claimed part's reference."""

import math

from effbench.catalog.parts import catalog
from effbench.catalog.quantities import parse
from effbench.catalog.references import reference
from effbench.model.claim import Claim, ClaimCheck, Outcome
from effbench.model.inventory import Accelerator, Part, Pcie
from effbench.model.quantity import Ceiling
from effbench.model.record import USABLE, Record
from effbench.model.scorecard import Metric, Scorecard

__all__ = ["DEMANDED", "REJECT_BELOW", "REVIEW_ABOVE", "WARN_BELOW", "speeds"]

REJECT_BELOW = 0.80
WARN_BELOW = 0.90
REVIEW_ABOVE = 1.03
# Without these two nothing says how fast the node is; other speeds count where they were measured.
DEMANDED = ("compute.gemm.bf16.flops", "memory.stream.triad.bandwidth")
_RATES = ("flops", "bandwidth")


def speeds(claim: Claim, card: Scorecard, record: Record, gpus: list[Accelerator]) -> list[ClaimCheck]:
    """Return one check for each speed with a reference for the claimed part, and those that ask for a person's look.

    Of a figure that a listed device lacks, that is disturbed, or that has no interval, the speed is unknown: it
    neither meets a claim nor rejects one.
    """
    part = catalog().part(claim.part)
    mine = [m for m in card.metrics if m.device is not None and m.key.rsplit(".", 1)[-1] in _RATES]
    keys = list(dict.fromkeys([*DEMANDED, *(m.key for m in mine)]))
    checks = []
    for key in keys:
        figures = [m for m in mine if m.key == key]
        found = _reference(part, key, figures, record)
        if found is None or found.confidence == "low":
            if key in DEMANDED:
                checks.append(ClaimCheck("speed", "unknown", "no_reference", metric=key))
            continue
        checks.append(_speed(claim, key, figures, found, gpus))
    return [*checks, *(c for m in mine if (c := _above_peak(part, m, gpus)) is not None)]


def _reference(part: Part, key: str, figures: list[Metric], record: Record) -> Ceiling | None:
    """The reference of the claimed part by the protocol that the figures were measured with."""
    trials = {t.id: t for t in record.plan.trials}
    modes = {trials[name].procedure.mode for m in figures for name in m.evidence if name in trials}
    protocol = "burst" if "burst" in modes or ".achievable." in key else "sustained"
    found = reference(part, _whole(part), key, protocol)
    return found if found is None or all(m.quantity.unit == found.unit for m in figures) else None


def _whole(part: Part) -> Accelerator:
    """The claimed part as it should be: with the link of its catalogue row, not the one that a device was found on."""
    row = catalog().row(part.id)
    generation, _, lanes = row.pcie.partition(".0 x")
    told = generation.isdigit() and lanes.isdigit()
    pcie = Pcie(generation_max=int(generation), width_max=int(lanes)) if told else None
    return Accelerator("claimed", "gpu", row.vendor, part.title, "", int(part.memory_bytes or 0), 0, pcie=pcie)


def _speed(claim: Claim, key: str, figures: list[Metric], found: Ceiling, gpus: list[Accelerator]) -> ClaimCheck:
    expected = claim.count * found.value
    usable = [m for m in figures if m.status in USABLE]
    reason = "met"
    if {m.device for m in usable} < {gpu.key for gpu in gpus} or not usable:
        reason = "not_measured"
    elif any(m.interval is None for m in usable):
        reason = "no_interval"
    elif any(m.status == "suspect" for m in usable):
        reason = "disturbed"
    # Devices beyond the claimed number must not make up for slow ones.
    factor = min(1.0, claim.count / len(gpus)) / expected if gpus else 0.0
    value, low, high = (
        (factor * math.fsum(end) for end in zip(*map(_ends, usable), strict=True)) if usable else (0, 0, 0)
    )
    outcome, why = _outcome(low, high, found.provisional) if reason == "met" else ("unknown", reason)
    return ClaimCheck(
        subject="speed",
        outcome=outcome,
        reason=why,
        metric=key,
        actual=value * expected if usable else None,
        required=expected,
        unit=found.unit,
        share=value if usable else None,
        share_low=low if usable else None,
        share_high=high if usable else None,
        provisional=found.provisional,
        source=f"{found.source}, {found.as_of}",
    )


def _ends(metric: Metric) -> tuple[float, float, float]:
    interval = metric.interval
    value = metric.quantity.value
    return (value, interval.low, interval.high) if interval is not None else (value, value, value)


def _outcome(low: float, high: float, provisional: bool) -> tuple[Outcome, str]:
    """Met at the pessimistic end, rejected at the optimistic one, warned of between. Provisional never rejects."""
    if low >= WARN_BELOW:
        return "met", "met"
    if low >= REJECT_BELOW:
        return "warn", "reclass"
    if provisional:
        return "warn", "slow_provisional"
    return ("reject", "slow") if high < REJECT_BELOW else ("undecided", "straddles")


def _above_peak(part: Part, metric: Metric, gpus: list[Accelerator]) -> ClaimCheck | None:
    """A figure that the claimed part cannot reach even at its maximum clock: another part, or a wrong measurement."""
    gpu = next((g for g in gpus if g.key == metric.device), None)
    most = _most(part, metric.key, gpu) if gpu is not None and metric.status in USABLE else None
    if most is None or metric.quantity.value <= REVIEW_ABOVE * most:
        return None
    return ClaimCheck(
        subject="above_peak",
        outcome="review",
        reason="above_peak",
        device=metric.device,
        metric=metric.key,
        actual=metric.quantity.value,
        required=REVIEW_ABOVE * most,
        unit=metric.quantity.unit,
        share=metric.quantity.value / most,
    )


def _most(part: Part, key: str, gpu: Accelerator) -> float | None:
    """The rated peak at the maximum clock of the part (else the one its driver reports); of memory the rated one."""
    segments = key.split(".")
    if segments[:2] == ["memory", "stream"]:
        return part.memory_bandwidth
    if segments[:2] != ["compute", "gemm"]:
        return None
    name = "fp64_tensor" if segments[2] == "fp64" and "fp64_tensor" in part.peak_flops else segments[2]
    peak = part.peak_flops.get(name)
    if peak is None or part.clock_hz is None:
        return peak
    clock = catalog().row(part.id).clock
    fastest = parse(clock.driver_max).value if clock and clock.driver_max else gpu.clock_max_hz or part.clock_hz
    return peak * max(1.0, fastest / part.clock_hz)
