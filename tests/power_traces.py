"""Known loads seen through simulated sensors under fresh seeds: how often a 95 % interval holds the true energy.

The chip's gain error is drawn from its sensor class, normal with 95 % within the class's figure, one draw from each of
as many equal strata as there are seeds (Latin hypercube): so that of 100 seeds 95 have a gain within the class, and the
count tells what the rest of the interval does. The counter's own gain against the watts, the phase of the ticks, the
poller's jitter and the load's details are drawn freely.
"""

import math
import random
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from statistics import NormalDist
from typing import NamedTuple

import msgspec

from effbench.model.energy import Energy, Sensor
from tests.power_bench import AVERAGE, COUNTER, INSTANT, NVIDIA, RAPL, Load, Scripted, Truth, ask, cpu, window

# A window of 10 s after 4 s of the same load, and 2 s of rest behind it.
START_S, END_S, REST_S = 4.0, 14.0, 16.0
CLASS = 0.05


def steady(draw: random.Random) -> Load:
    """One level."""
    level = draw.uniform(200, 650)
    return lambda _: level


def noisy(draw: random.Random) -> Load:
    """White noise of 15 % every 5 ms, as of many small kernels."""
    level = draw.uniform(200, 600)
    values = [level * max(0.1, draw.gauss(1, 0.15)) for _ in range(4001)]
    return lambda t: values[min(int(t / 0.005), 4000)]


def ramp(draw: random.Random) -> Load:
    """From one level to another over the whole window."""
    low, high = draw.uniform(250, 400), draw.uniform(400, 650)
    return lambda t: low + (high - low) * min(max((t - START_S) / (END_S - START_S), 0), 1)


def duty(draw: random.Random) -> Load:
    """On and off at a period of 30 ms to 1.5 s, a fifth to four fifths of it on."""
    high, low = draw.uniform(400, 680), draw.uniform(80, 250)
    period, share = math.exp(draw.uniform(math.log(0.03), math.log(1.5))), draw.uniform(0.2, 0.8)
    return lambda t: high if (t / period) % 1 < share else low


def drifting(draw: random.Random) -> Load:
    """A walk of the level, 1 % each tenth of a second, with a trend of up to 8 %."""
    level, walk, trend = draw.uniform(250, 600), [0.0], draw.uniform(-0.008, 0.008)
    for _ in range(200):
        walk.append(walk[-1] + draw.gauss(0, 0.01))
    return lambda t: level * max(0.2, 1 + walk[int(t / 0.1)] + trend * t)


def bursts(draw: random.Random) -> Load:
    """Steps of random length (exponential, 0.2 s) between random levels."""
    edges, levels, t = [], [], 0.0
    while t < REST_S:
        t += draw.expovariate(1 / 0.2)
        edges.append(t)
        levels.append(draw.uniform(150, 650))
    return lambda at: levels[min(bisect_right(edges, at), len(levels) - 1)]


TRACES: dict[str, Callable[[random.Random], Load]] = {
    "steady": steady, "noisy": noisy, "ramp": ramp, "duty": duty, "drifting": drifting, "bursts": bursts,
}  # fmt: skip


class Seen(NamedTuple):
    """Which sensors see the load, and how the counter counts."""

    cards: Sequence[Sensor]
    scripted: Callable[[random.Random], Scripted]


def _chip(draw: random.Random, **more: object) -> Scripted:
    values = {
        "counter_gain": draw.gauss(1, 0.004),
        "phase_s": draw.uniform(0.005, 0.1),
        "seed": draw.randrange(1 << 30),
    }
    return msgspec.convert(values | more, Scripted)


def _package(draw: random.Random) -> Scripted:
    return _chip(
        draw,
        device="cpu",
        update_s=0.001,
        poll_s=0.1,
        jitter_s=0.02,
        hide=("power_w", "power_average_w"),
        counter_gain=1.0,
    )


SENSORS: dict[str, Seen] = {
    "counter, all of it": Seen(NVIDIA, _chip),
    "counter of 25/100 views": Seen(NVIDIA, lambda draw: _chip(draw, counts_views=True)),
    "25/100 instant alone": Seen([INSTANT], lambda draw: _chip(draw, hide=("energy_j", "power_average_w"))),
    "1 s average alone": Seen([AVERAGE], lambda draw: _chip(draw, hide=("energy_j", "power_w"))),
    "counter alone": Seen([COUNTER], lambda draw: _chip(draw, hide=("power_w", "power_average_w"), counter_gain=1.0)),
    "RAPL": Seen([RAPL], _package),
}


class Case(NamedTuple):
    """One seeded figure and the truth behind it, J."""

    energy: Energy
    joules: float

    @property
    def inside(self) -> bool:
        """Whether the interval holds the truth."""
        found = self.energy.energy_interval
        return found is not None and found.low <= self.joules <= found.high

    @property
    def half(self) -> float:
        """Relative half-width of the interval."""
        assert self.energy.energy_interval is not None and self.energy.energy is not None
        return self.energy.energy_interval.half_width / self.energy.energy.value


def cases(trace: str, seeds: int, sensors: Sequence[str] = tuple(SENSORS)) -> Iterator[tuple[str, Case]]:
    """Every seeded case of one trace, for each set of sensors, the same load for all of them."""
    strata = {name: random.Random(f"{trace}/{name}").sample(range(seeds), seeds) for name in sensors}
    for seed in range(seeds):
        truth = Truth(TRACES[trace](random.Random(f"{trace}/{seed}")), REST_S)
        for name in sensors:
            seen, draw = SENSORS[name], random.Random(f"{trace}/{name}/{seed}")
            share = (strata[name][seed] + draw.random()) / seeds
            gain = NormalDist(1, CLASS / 1.96).inv_cdf(min(max(share, 1e-6), 1 - 1e-6))
            lines = msgspec.structs.replace(seen.scripted(draw), gain=gain).lines(truth)
            device = cpu() if seen.cards[0] is RAPL else None
            span = window(START_S, END_S, lines[0].device, settled_s=START_S)
            yield name, Case(ask(lines, [span], seen.cards, device), truth.joules(START_S, END_S))
