"""Draws a simulated node and its runs: its own speed, its devices' spread, the noise of a run; then the record."""

from collections.abc import Callable, Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from effbench.faults.noise import ROUNDS, Shape, run_sigma
from effbench.faults.site import Bench
from effbench.model.digest import digest
from effbench.model.event import Telemetry, Tool, Verify
from effbench.model.inventory import Accelerator, Inventory
from effbench.model.plan import Plan, Trial
from effbench.model.quantity import Quantity
from effbench.model.record import Measurement, Record
from effbench.model.unit import Unit
from effbench.run.health import FULL_READING, health

__all__ = ["Drawn", "Parts", "clean_readings", "drawn", "record", "truth"]

STARTED, ENDED, WALL_S = "2026-11-21T12:00:00Z", "2026-11-21T12:05:00Z", 300.0
# Counters of a device with no error, as the telemetry child answers a question for them.
CLEAN = dict.fromkeys(("ecc_uncorrected", "ecc_corrected", "row_remap_pending", "row_remap_failed", "pcie_replay"), 0.0)
CLEAN |= {"xid_watch": 1.0, FULL_READING: 0.0}
Steps = NDArray[np.float64]


class Drawn(msgspec.Struct, frozen=True):
    """One run of one node: the true step times of this run, s, by place in the plan, and each trial's rounds."""

    name: str
    node: str
    step_s: Steps
    shape: list[Shape]


class Parts(msgspec.Struct, frozen=True):
    """What a record is made of, for a fault to change before it is made."""

    plan: Plan
    before: list[Accelerator]
    after: list[Accelerator]
    measurements: list[Measurement]
    readings: Mapping[str, Sequence[Telemetry]]


Fault = Callable[[Parts], Parts]


def truth(bench: Bench, rng: np.random.Generator, spread: float, between: str) -> Steps:
    """Draw how fast each device of a node really is: step times, s, by place in the plan.

    `spread` is the relative standard deviation of healthy speed `between` nodes (whose devices are then alike) or
    between `devices` (whichever node they are in).
    """
    keys = bench.plan.devices
    own = rng.standard_normal(1 if between == "nodes" else len(keys))
    speed = dict(zip(keys, np.exp(spread * np.broadcast_to(own, len(keys))), strict=True))
    slower = np.array([1 / speed[t.placement.devices[0]] for t in bench.plan.trials])
    found: Steps = np.asarray(bench.step_s) * slower
    return found


def drawn(
    bench: Bench, rng: np.random.Generator, true_s: Steps, pool: Sequence[Shape], name: str, node: str = ""
) -> Drawn:
    """Draw one run of a node whose devices take `true_s`: what the whole run adds per device, and rounds of `pool`."""
    run = dict(zip(bench.plan.devices, np.exp(run_sigma() * rng.standard_normal(len(bench.plan.devices))), strict=True))
    slower = np.array([run[t.placement.devices[0]] for t in bench.plan.trials])
    chosen = [pool[i] for i in rng.integers(0, len(pool), true_s.size)]
    return Drawn(name, node or name, true_s * slower, chosen)


def record(bench: Bench, run: Drawn, fault: Fault | None = None) -> Record:
    """Make the record that the run would have left, with `fault` in what it is made of."""
    devices = [_own(a, run.node) for a in bench.inventory.accelerators]
    size = devices[0].memory_bytes
    each = zip(bench.plan.trials, run.step_s, run.shape, strict=True)
    measured = [_measured(trial, float(step), shape, size) for trial, step, shape in each]
    made = Parts(bench.plan, devices, devices, measured, {a.key: clean_readings(a.key) for a in devices})
    if fault is not None:
        made = fault(made)
    found = {key: health(readings, WALL_S, False, []) for key, readings in made.readings.items()}
    return Record(
        schema="effbench.record/1",
        digest=digest([run.name, "record"]),
        plan=made.plan,
        inventory_before=Inventory(run.node, made.before),
        measurements=made.measurements,
        started_at=STARTED,
        tool=Tool("0", "simulated"),
        journal_digest=digest([run.name, "journal"]),
        outcome="complete",
        rounds_done=ROUNDS,
        inventory_after=Inventory(run.node, made.after),
        ended_at=ENDED,
        wall_s=WALL_S,
        simulated=True,
        health={key: figures for key, figures in found.items() if figures},
    )


def clean_readings(device: str, last: Mapping[str, float] = {}) -> list[Telemetry]:
    """Return a device's error counters at the start and the end of a run; `last` is what the end has otherwise."""
    return [
        Telemetry(0, device, counters=dict(CLEAN)),
        Telemetry(int(WALL_S * 1e9), device, counters={**CLEAN, **last}),
    ]


def _own(accelerator: Accelerator, node: str) -> Accelerator:
    return msgspec.structs.replace(accelerator, uuid=f"GPU-{node}-{accelerator.key}")


def _measured(trial: Trial, step_s: float, shape: Shape, memory_bytes: int) -> Measurement:
    """What the fold makes of rounds that went well; a trial that is done once has no rounds to scatter."""
    device = trial.placement.devices[0]
    filled = memory_bytes * float(trial.params.get("share", 0.0))
    facts = {"verified_bytes": filled, "memory_errors": 0.0} if trial.kernel == "memory_fill" else {}
    return Measurement(
        trial=trial.id,
        device=device,
        status="valid",
        step_s=Quantity(step_s, Unit.SECOND) if trial.procedure.mode == "once" else shape.step_s(step_s),
        interval=None if trial.procedure.mode == "once" else shape.interval(step_s),
        rounds=shape.rounds(step_s),
        n_accepted=shape.found.n_samples,
        verify=Verify(True, 1e-4, 1e-2, bit_identical=True),
        facts=facts,
    )
