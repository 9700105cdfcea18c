"""How often intervals of projections hold the truth: synthetic curves of known parameters, and how wide they are.

`scaling_coverage.py [SEEDS]`. Every cell draws step times about a known curve, each with an honest interval, fits the
form that made it to the measured counts, and asks whether the 95 % interval at four times the largest count holds the
true efficiency. Beside it the half-width, so that nobody wins by width, and how often the true form is called
contradicted. Then the same for latency and bandwidth of a swept collective.
"""

import random
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # `tests` is not an installed package

from effbench.stats.collective_cost import Sized, bus_factor, cost_fit, ring_steps
from effbench.stats.scaling_models import Form, Kind, Measured, efficiency, fit

LEAST = 0.92
COUNTS = (1, 2, 4, 8, 16)


class Cell(NamedTuple):
    """One kind of curve: its true step time by ranks, s, and the relative noise of a measured one."""

    name: str
    form: Form
    kind: Kind
    truth: Callable[[int], float]
    noise: float


CELLS = (
    Cell("weak ring 1 %", "fitted", "weak", lambda n: 0.5 + 0.16 * 2 * (n - 1) / n, 0.01),
    Cell("weak ring 3 %", "fitted", "weak", lambda n: 0.5 + 0.16 * 2 * (n - 1) / n, 0.03),
    Cell("weak ring, latency", "fitted_latency", "weak", lambda n: 0.5 + 0.16 * 2 * (n - 1) / n + 0.01 * (n - 1), 0.01),
    Cell("strong ring", "fitted", "strong", lambda n: 2.0 / n + 0.05 * 2 * (n - 1) / n, 0.01),
    Cell("weak Amdahl", "amdahl", "weak", lambda n: 1 + 0.05 * (n - 1), 0.01),
    Cell("strong Amdahl", "amdahl", "strong", lambda n: (1 + 0.05 * (n - 1)) / n, 0.01),
    Cell("weak USL", "usl", "weak", lambda n: 1 + 0.03 * (n - 1) + 0.002 * n * (n - 1), 0.01),
)


class Drawn(NamedTuple):
    """What one synthetic run gave: whether its interval held the truth, the half-width, a false contradiction."""

    held: bool
    half: float
    contradicted: bool


def draw(cell: Cell, seed: int) -> Drawn:
    """Measure the cell's curve once and project it to four times the largest count."""
    rng = random.Random(f"{cell.name}:{seed}")
    times = {n: cell.truth(n) * (1 + cell.noise * rng.gauss(0, 1)) for n in COUNTS}
    base, *others = [Measured(n, t, cell.noise * t) for n, t in times.items()]
    found, to = fit(cell.form, cell.kind, base, others, seed), 4 * COUNTS[-1]
    _, low, high = found.efficiency(to)
    true = efficiency(cell.kind, 1, cell.truth(1), to, cell.truth(to))
    return Drawn(low <= true <= high, (high - low) / 2 / true, found.contradicted)


def coverage(cell: Cell, seeds: int) -> float:
    """Share of intervals that hold the truth."""
    return statistics.fmean(draw(cell, seed).held for seed in range(seeds))


def link_coverage(seeds: int, noise: float) -> tuple[float, float]:
    """Shares of intervals that hold the true latency and the true bandwidth of a swept all_reduce."""
    latency, inverse = 1e-3, 1e-8
    held: list[tuple[bool, bool]] = []
    for seed in range(seeds):
        rng = random.Random(seed)
        sizes = []
        for n in (2, 4, 8):
            for size in (8.0, 65536.0, 1e6, 4e6, 16e6):
                true = latency * ring_steps("all_reduce", n) + size * bus_factor("all_reduce", n) * inverse
                sizes.append(Sized(n, size, true * (1 + noise * rng.gauss(0, 1)), noise * true))
        found = cost_fit("all_reduce", sizes, seed)
        (a, b), (c, d) = found.spread(1), found.spread(2)
        held.append((a <= latency <= b, c <= inverse <= d))
    return statistics.fmean(h[0] for h in held), statistics.fmean(h[1] for h in held)


def main(seeds: int) -> bool:
    """Print the tables; True when every cell holds the truth often enough."""
    print(f"95 % intervals of the efficiency at {4 * COUNTS[-1]} ranks from {COUNTS} ranks, {seeds} curves a cell")
    print(f"{'curve':<22}{'holds the truth':>16}{'half-width':>12}{'true form contradicted':>24}")
    good = True
    for cell in CELLS:
        drawn = [draw(cell, seed) for seed in range(seeds)]
        held, wide = statistics.fmean(d.held for d in drawn), statistics.fmean(d.half for d in drawn)
        wrong = statistics.fmean(d.contradicted for d in drawn)
        good = good and held >= LEAST
        print(f"{cell.name:<22}{held:>16.1%}{wide:>12.1%}{wrong:>24.1%}", flush=True)
    for noise in (0.01, 0.03, 0.1):
        latency, bandwidth = link_coverage(seeds, noise)
        good = good and min(latency, bandwidth) >= LEAST
        print(f"swept all_reduce, noise {noise:.0%}: latency held {latency:.1%}, bandwidth held {bandwidth:.1%}")
    return good


if __name__ == "__main__":
    sys.exit(0 if main(int(sys.argv[1]) if len(sys.argv) > 1 else 400) else 1)
