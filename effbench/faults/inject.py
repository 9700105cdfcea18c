"""The faults themselves: what each changes in a simulated node's step times, devices, readings or evidence."""

import math
from collections.abc import Callable, Mapping, Sequence

import msgspec
import numpy as np

from effbench.device.disturb import judge
from effbench.device.nvml_reasons import SW_POWER_CAP
from effbench.faults.draw import Parts, Steps, clean_readings
from effbench.faults.evidence import energy, healthy_energy, healthy_soak, lengthened, scaled, soaked
from effbench.faults.site import Bench
from effbench.model.event import Closed, Sample, Telemetry
from effbench.model.inventory import Accelerator, Pcie
from effbench.model.record import Measurement
from effbench.run.measurement import Take, measurement
from effbench.run.windows import Readings

__all__ = ["SICK", "Change", "Slow"]

# The device that a fault of one device befalls.
SICK = "gpu3"
# The long window under load in either suite: with energy in the one, the soak in the other.
LOADED = "gemm-bf16:"
Slow = Callable[[Bench, Steps], Steps]
Change = Callable[[Parts, np.random.Generator], Parts]


def slowed(share: float, *starts: str, device: str | None = SICK) -> Slow:
    """Return the loss of `share` of the speed in the trials that one of `starts` begins, on `device` or on all."""

    def change(bench: Bench, step_s: Steps) -> Steps:
        hit = step_s.copy()
        for place in bench.trials(*starts):
            if device in (None, bench.plan.trials[place].placement.devices[0]):
                hit[place] /= 1 - share
        return hit

    return change


def without_a_device(made: Parts, rng: np.random.Generator) -> Parts:
    """Take one device away before the run: no driver lists it and nothing is planned on it."""
    del rng
    plan, kept = made.plan, [m.device != SICK for m in made.measurements]
    plan = msgspec.structs.replace(
        plan,
        trials=[t for t, keep in zip(plan.trials, kept, strict=True) if keep],
        devices=[key for key in plan.devices if key != SICK],
    )
    return msgspec.structs.replace(
        made,
        plan=plan,
        before=[a for a in made.before if a.key != SICK],
        after=[a for a in made.after if a.key != SICK],
        measurements=[m for m, keep in zip(made.measurements, kept, strict=True) if keep],
        readings={key: readings for key, readings in made.readings.items() if key != SICK},
    )


def half_the_memory(made: Parts, rng: np.random.Generator) -> Parts:
    """Halve the memory of one device: what its driver tells, and what a fill of it verified."""
    del rng
    measured = [
        msgspec.structs.replace(m, facts={**m.facts, "verified_bytes": m.facts["verified_bytes"] / 2})
        if m.device == SICK and "verified_bytes" in m.facts
        else m
        for m in made.measurements
    ]
    small = _devices(made, lambda a: msgspec.structs.replace(a, memory_bytes=a.memory_bytes // 2))
    return msgspec.structs.replace(small, measurements=measured)


def half_the_lanes(made: Parts, rng: np.random.Generator) -> Parts:
    """Let one device's link run at half of its lanes."""
    del rng
    return _devices(made, lambda a: msgspec.structs.replace(a, pcie=Pcie(5, 8, 5, 16)))


def capped(made: Parts, rng: np.random.Generator) -> Parts:
    """Say in one device's readings that its power cap holds the clocks down."""
    del rng
    points = [Telemetry(i * 100_000_000, SICK, reasons=SW_POWER_CAP) for i in range(20)]
    said = judge("gpu", points)
    measured = [
        msgspec.structs.replace(
            m,
            throttle_reasons=said.reasons,
            findings=[msgspec.structs.replace(f, device=SICK, trial=m.trial) for f in said.findings],
        )
        if m.device == SICK
        else m
        for m in made.measurements
    ]
    return msgspec.structs.replace(made, measurements=measured)


def not_a_number(made: Parts, rng: np.random.Generator) -> Parts:
    """Let one required trial on one device give NaN for its times: samples refuse them, and the fold goes on.

    Left out is fp32, which no policy asks for where there is tf32.
    """
    timed = [i for i, m in enumerate(made.measurements) if m.device == SICK and m.interval is not None]
    places = [i for i in timed if not made.measurements[i].trial.startswith("gemm:fp32")]
    place = places[int(rng.integers(len(places)))]
    trial = made.plan.trials[place]
    takes = []
    for number in range(made.plan.rounds_min):
        try:
            samples, detail = [Sample(0, math.nan, math.nan)], ""
        except ValueError as error:
            samples, detail = [], str(error)
        closed = Closed(0, trial.id, number, "failed" if detail else "done", detail)
        takes.append(Take(number, samples, closed, []))
    found = measurement(trial, "gpu", takes, Readings([]))
    return msgspec.structs.replace(made, measurements=_at(made.measurements, place, found))


def corrected_errors(made: Parts, rng: np.random.Generator) -> Parts:
    """Let one device repair memory errors ever faster: 0.2 to 10 in a second over the run."""
    rate = float(np.exp(rng.uniform(np.log(0.2), np.log(10.0))))
    return _readings(made, {"ecc_corrected": float(rng.poisson(rate * 300.0))})


def uncorrected_errors(made: Parts, rng: np.random.Generator) -> Parts:
    """Let one device count memory errors that it could not repair: one and more."""
    return _readings(made, {"ecc_uncorrected": 1.0 + float(rng.poisson(1.0))})


def without_error_counters(made: Parts, rng: np.random.Generator) -> Parts:
    """Let one device's driver give no count of memory errors."""
    del rng
    silent = [
        msgspec.structs.replace(r, counters={n: v for n, v in r.counters.items() if not n.startswith("ecc_")})
        for r in made.readings[SICK]
    ]
    return msgspec.structs.replace(made, readings={**made.readings, SICK: silent})


def power_sensors(how: str) -> Change:
    """Return the failure of one device's power sensors: `stuck`, `zero` or `absent`; none with an empty word."""

    def change(made: Parts, rng: np.random.Generator) -> Parts:
        devices = {a.key: a for a in made.before}

        def fold(m: Measurement, step_s: float) -> Measurement:
            sick = how and m.device == SICK
            found = energy(rng, devices[m.device], how) if sick else healthy_energy(devices[m.device].key, rng)
            return msgspec.structs.replace(m, energy=scaled(found, step_s), findings=[*m.findings, *found.findings])

        return _loaded(made, fold)

    return change


def soak_of(slow: float = 0.0, reasons: bool | None = True) -> Change:
    """Return a soak on every device, that of one slowed by heat in its last third; `reasons` as its driver gives."""

    def change(made: Parts, rng: np.random.Generator) -> Parts:
        trials = {t.id: t for t in made.plan.trials}

        def fold(m: Measurement, step_s: float) -> Measurement:
            sick = m.device == SICK and (slow or not reasons)
            window_s = trials[m.trial].procedure.duration_s
            found = soaked(rng, window_s, slow, reasons) if sick else healthy_soak(window_s, rng)
            return msgspec.structs.replace(m, soak=lengthened(found, step_s) if found is not None else None)

        return _loaded(made, fold)

    return change


def joined(*changes: Change) -> Change:
    """Return the changes one after another."""

    def change(made: Parts, rng: np.random.Generator) -> Parts:
        for one in changes:
            made = one(made, rng)
        return made

    return change


def _loaded(made: Parts, fold: Callable[[Measurement, float], Measurement]) -> Parts:
    """Change the measurement of every device's long bf16 window."""
    trials = {t.id: t for t in made.plan.trials}
    measured = []
    for m in made.measurements:
        trial, step = trials[m.trial], m.step_s
        measured.append(fold(m, step.value) if trial.id.startswith(LOADED) and step is not None else m)
    return msgspec.structs.replace(made, measurements=measured)


def _readings(made: Parts, last: Mapping[str, float]) -> Parts:
    return msgspec.structs.replace(made, readings={**made.readings, SICK: clean_readings(SICK, last)})


def _devices(made: Parts, change: Callable[[Accelerator], Accelerator]) -> Parts:
    before, after = ([change(a) if a.key == SICK else a for a in some] for some in (made.before, made.after))
    return msgspec.structs.replace(made, before=before, after=after)


def _at(measured: Sequence[Measurement], place: int, found: Measurement) -> list[Measurement]:
    return [found if i == place else m for i, m in enumerate(measured)]
