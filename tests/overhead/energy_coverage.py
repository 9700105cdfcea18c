"""How often the 95 % intervals of energy hold the truth: known loads through simulated sensors, and how wide they are.

`energy_coverage.py [SEEDS]`. Each cell: the share of figures whose interval holds the true energy, the mean half-width
(so that nobody wins by width), and how many of the seeds gave no figure. Behind it the scripted faults, one line each.
"""

import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # `tests` is not an installed package

from effbench.model.energy import Energy
from tests.power_bench import COUNTER, INSTANT, NVIDIA, Scripted, Truth, ask, gpu, window
from tests.power_traces import CLASS, SENSORS, TRACES, cases

SEEDS = int(sys.argv[1]) if len(sys.argv) > 1 else 100
LEAST = 93


def coverage() -> bool:
    """Print the table; True when every cell with figures holds the truth often enough."""
    print(f"share of 95 % intervals that hold the true energy, {SEEDS} seeds a cell, window 10 s;")
    print(f"gain error drawn with 95 % within {CLASS:.0%}; in brackets the mean half-width and what gave no figure")
    print(f"{'load':<10}" + "".join(f"{name:<27}" for name in SENSORS))
    good = True
    for trace in TRACES:
        found: dict[str, list[bool]] = {name: [] for name in SENSORS}
        halves: dict[str, list[float]] = {name: [] for name in SENSORS}
        for name, case in cases(trace, SEEDS):
            if case.energy.energy is not None:
                found[name].append(case.inside)
                halves[name].append(case.half)
        cells = []
        for name in SENSORS:
            held, none = found[name], SEEDS - len(found[name])
            share = 100 * statistics.fmean(held) if held else 0.0
            good = good and share >= LEAST
            width = f"{statistics.fmean(halves[name]):.1%}" if held else "-"
            cells.append(f"{share:5.1f} % ({width}, none {none})".ljust(27))
        print(f"{trace:<10}" + "".join(cells), flush=True)
    return good


def bench() -> None:
    """Print what each scripted fault comes to."""
    truth = Truth(lambda t: 600.0 + 5 * ((t * 7.3) % 1), 20)
    faults = {
        "nothing wrong": Scripted(),
        "counter stuck from 3 s": Scripted(stuck_s=3),
        "counter wraps uncounted": Scripted(wrap_j=5000.0),
        "driver reload at 9 s": Scripted(reset_s=9),
        "0 mW at each 7th poll": Scripted(zero_every=7),
        "NotSupported from 9 s": Scripted(vanish_s=9),
        "counter NotSupported from 9 s": Scripted(counter_vanish_s=9),
        "counter 20 % above watts": Scripted(counter_gain=1.2),
        "constant bias -4 %": Scripted(gain=0.96),
    }
    print(f"\nscripted faults, {truth.joules(5, 15):.0f} J in truth")
    for name, scripted in faults.items():
        print(f"{name:<32}{told(ask(scripted.lines(truth), [window(5, 15)]))}")
    rests, works = Truth(lambda t: 80.0 + (t * 7.3) % 1, 20), Truth(lambda t: 80.0 if t < 4 else 600.0, 20)
    other = Scripted("gpu1").lines(works)
    print(f"{'two devices swapped':<32}{told(ask(Scripted().lines(rests), [window(5, 15)], others=[other]))}")
    print(f"{'25/100 sensor alone':<32}{told(ask(Scripted().lines(truth), [window(5, 15)], [INSTANT]))}")
    print(f"{'stuck counter alone':<32}{told(ask(Scripted(stuck_s=3).lines(truth), [window(5, 15)], [COUNTER]))}")
    print(f"{'window of 2 s':<32}{told(ask(Scripted().lines(truth), [window(5, 7)], NVIDIA, gpu()))}")


def told(energy: Energy) -> str:
    """One line on a figure or its absence."""
    if energy.energy is None or energy.energy_interval is None:
        return f"{energy.status}: {energy.reason}"
    half = energy.energy_interval.half_width / energy.energy.value
    return f"{energy.status} {energy.energy.value:.0f} J +- {half:.1%} by {energy.sensor}, trust {energy.trust}"


if __name__ == "__main__":
    good = coverage()
    bench()
    sys.exit(0 if good else 1)
