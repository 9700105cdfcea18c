"""Evidence of one device made by the real folds from simulated readings: a soak, the energy of a window, its counters.

Step times scale; so a soak or an energy is folded once for a step of 1 s and scaled after.
"""

import functools
from collections.abc import Callable

import msgspec
import numpy as np

from effbench.device.fake import FakeObserver
from effbench.device.nvml_reasons import SW_THERMAL_SLOWDOWN
from effbench.energy.figure import figure
from effbench.faults.noise import ROUNDS, WITHIN
from effbench.faults.site import bench
from effbench.model.energy import Energy
from effbench.model.event import Sample, Telemetry, Window
from effbench.model.inventory import Accelerator
from effbench.model.quantity import Quantity
from effbench.model.record import Soak
from effbench.model.suite import Procedure
from effbench.run.soak import soak

__all__ = ["SENSORS", "energy", "healthy_energy", "healthy_soak", "lengthened", "scaled", "soaked"]

S = 1_000_000_000
WATTS, POLL_S, WINDOW_S, PAUSE_S = 620.0, 0.1, 10.0, 2.0
BATCHES, BANK = 200, 8
# What becomes of one reading of a device whose power sensors fail, by the word for how.
SENSORS: dict[str, Callable[[Telemetry, Telemetry], Telemetry]] = {
    "": lambda first, now: now,
    "stuck": lambda first, now: _shown(now, first.energy_j, first.power_w, first.power_average_w),
    "zero": lambda first, now: _shown(now, 0.0, 0.0, 0.0),
    "absent": lambda first, now: _shown(now, None, None, None),
}


def _shown(now: Telemetry, joules: float | None, watts: float | None, average: float | None) -> Telemetry:
    return msgspec.structs.replace(now, energy_j=joules, power_w=watts, power_average_w=average)


@functools.cache
def _energy_of(key: str, number: int) -> Energy:
    devices = {a.key: a for a in bench().inventory.accelerators}
    return energy(np.random.default_rng([number, 1]), devices[key])


@functools.cache
def _soak_of(window_s: float, number: int) -> Soak | None:
    return soaked(np.random.default_rng([number, 2]), window_s)


def healthy_energy(key: str, rng: np.random.Generator) -> Energy:
    """Return one of a few energies of the healthy device `key`; they are the same for every seed."""
    return _energy_of(key, int(rng.integers(BANK)))


def healthy_soak(window_s: float, rng: np.random.Generator) -> Soak | None:
    """Return one of a few soaks of healthy devices; they are the same for every seed."""
    return _soak_of(window_s, int(rng.integers(4 * BANK)))


def energy(rng: np.random.Generator, device: Accelerator, sensors: str = "") -> Energy:
    """Fold ten-second windows of a loaded device, one in each round; a step is taken to last a second.

    `sensors` says how its power sensors fail: a key of `SENSORS`.
    """
    start = [r * (WINDOW_S + PAUSE_S) + PAUSE_S for r in range(ROUNDS)]
    windows = [
        Window(
            *(int((at + WINDOW_S) * S), int(at * S), device.key, "trial"),
            trial="load",
            round=r,
            steps=WINDOW_S,
            settled_s=PAUSE_S,
        )
        for r, at in enumerate(start)
    ]
    watts = WATTS * (1 + 0.01 * rng.standard_normal(int((start[-1] + WINDOW_S + PAUSE_S) / POLL_S)))
    joules = 1000 + np.cumsum(watts) * POLL_S
    lines = [
        Telemetry(int(i * POLL_S * S), device.key, w, w, energy_j=j, temperature_degc=60.0, reasons=0)
        for i, (w, j) in enumerate(zip(watts.tolist(), joules.tolist(), strict=True))
    ]
    failed = [SENSORS[sensors](lines[0], line) for line in lines]
    return figure(device, FakeObserver(device).sensors(), {device.key: failed}, windows, started_ns=0)


def scaled(found: Energy, step_s: float) -> Energy:
    """Return the energy of a window in which one step took `step_s` s instead of 1 s: as many joules, other steps."""
    return msgspec.structs.replace(found, steps=found.steps / step_s)


def soaked(rng: np.random.Generator, window_s: float, slow: float = 0.0, reasons: bool | None = True) -> Soak | None:
    """Fold `window_s` s under load, a step of 1 s; `slow` is the loss of speed in the last third, under heat.

    `reasons`: whether the driver says so; None when it gives no reasons at all.
    """
    steps = 1 + WITHIN * rng.standard_normal(BATCHES)
    hot = np.arange(BATCHES) >= BATCHES * 2 // 3
    steps = np.where(hot, steps / (1 - slow), steps)
    batch_s = window_s / BATCHES
    samples = [Sample(int((i + 1) * batch_s * S), float(s), batch_s) for i, s in enumerate(steps)]
    mask = SW_THERMAL_SLOWDOWN if slow and reasons else 0
    points = [
        Telemetry(s.t_ns, "gpu", reasons=None if reasons is None else mask if late else 0)
        for s, late in zip(samples, hot, strict=True)
    ]
    return soak(Procedure(mode="sustained", duration_s=window_s), "gpu", [(samples, points)])


def lengthened(found: Soak, step_s: float) -> Soak:
    """Return the soak of a device whose steps take `step_s` s instead of 1 s."""
    at = found.interval
    return msgspec.structs.replace(
        found,
        step_s=Quantity(found.step_s.value * step_s, found.step_s.unit),
        interval=msgspec.structs.replace(at, low=at.low * step_s, high=at.high * step_s),
    )
