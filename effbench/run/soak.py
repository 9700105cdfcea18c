"""One long unbroken window: what is held in its last third, and how steadily it went. Pure."""

from collections.abc import Sequence

import numpy as np

from effbench.catalog.references import assumed_tau
from effbench.device.nvml_reasons import HARDWARE, THERMAL
from effbench.model.event import Sample, Telemetry
from effbench.model.quantity import Interval, Quantity
from effbench.model.record import Soak
from effbench.model.suite import SOAK_LEAST_S, DeviceClass, Procedure
from effbench.model.unit import Unit
from effbench.stats.drift import drift
from effbench.stats.interval import estimate
from effbench.stats.quantile import quantile

__all__ = ["THROTTLED", "soak"]

# A third needs enough batches for an interval, and the whole window for a slope.
BATCHES_LEAST = 30
# Reasons that were read for fewer of the moments say nothing of the others.
KNOWN_LEAST = 0.9
# Why a sample was rejected that is part of the soak all the same: leaving it out would hide the fault looked for.
THROTTLED = "throttled"

Round = tuple[Sequence[Sample], Sequence[Telemetry]]


def soak(procedure: Procedure, kind: DeviceClass, rounds: Sequence[Round]) -> Soak | None:
    """Return how a soak went; None for what was planned or ended as less than five minutes in one piece.

    `rounds` are the samples of each whole round with the telemetry of the device meanwhile.
    """
    if not procedure.soaks or not rounds:
        return None
    timed = [sorted(_counted(samples), key=lambda s: s.t_ns) for samples, _ in rounds]
    if any(len(samples) < BATCHES_LEAST or _seconds(samples) < SOAK_LEAST_S for samples in timed):
        return None
    ends = [[_step(s) for s in _last_third(samples)] for samples in timed]
    found = estimate(ends, assumed_tau(kind)[0])
    times = [[_step(s) for s in samples] for samples in timed]
    moved = max((drift(steps) for steps in times), key=lambda d: d.movement)
    shares = [_throttled(points) for _, points in rounds]
    return Soak(
        step_s=Quantity(found.center, Unit.SECOND),
        interval=Interval(found.low, found.high, found.level, found.method, found.n_processes, found.n_samples),
        window_s=min(_seconds(samples) for samples in timed),
        movement=moved.movement,
        movement_low=moved.low,
        movement_high=moved.high,
        variation=max(float(np.std(steps) / np.mean(steps)) for steps in times),
        p5_over_p50=min(quantile(steps, 0.5) / quantile(steps, 0.95) for steps in times),
        throttle_share=None if any(s is None for s in shares) else max(s for s in shares if s is not None),
    )


def _counted(samples: Sequence[Sample]) -> list[Sample]:
    return [s for s in samples if s.accepted or s.reason == THROTTLED]


def _step(sample: Sample) -> float:
    return sample.device_s / sample.inner_steps


def _seconds(samples: Sequence[Sample]) -> float:
    """Time inside the batches: a clock probe between them is no load, and a simulated device does not wait."""
    return sum(s.host_s for s in samples)


def _last_third(samples: Sequence[Sample]) -> Sequence[Sample]:
    ends = np.cumsum([s.host_s for s in samples])
    return samples[int(np.searchsorted(ends, ends[-1] * 2 / 3, side="right")) :]


def _throttled(points: Sequence[Telemetry]) -> float | None:
    """Share of the readings under a thermal or hardware slowdown; None where the reasons are not known throughout."""
    known = [p.reasons for p in points if p.reasons is not None]
    if not known or len(known) < KNOWN_LEAST * len(points):
        return None
    return sum(bool(mask & (HARDWARE | THERMAL)) for mask in known) / len(known)
