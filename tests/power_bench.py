"""The scripted sensor bench: a known load seen through simulated sensors, read by a poller, handed to `figure()`.

The load is a function of time in W; its true energy is summed on a fine grid. Nothing here knows how effbench works.
"""

import random
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import msgspec

from effbench.energy.figure import figure
from effbench.model.energy import Energy, Sensor
from effbench.model.event import Telemetry, Window
from effbench.model.inventory import Accelerator

S = 1_000_000_000
GRID_S = 0.001
Load = Callable[[float], float]

COUNTER = Sensor(
    "gpu0.counter", "gpu0", "counter", "gpu", "J", "energy_j", "nvmlDeviceGetTotalEnergyConsumption",
    update_s=0.1, uncertainty=0.05, uncertainty_source="SC24, this part unverified: assumed",
)  # fmt: skip
INSTANT = Sensor(
    "gpu0.instant", "gpu0", "instant", "gpu", "W", "power_w", "field 186",
    window_s=0.025, update_s=0.1, coverage=0.25, uncertainty=0.05, uncertainty_source="assumed",
)  # fmt: skip
AVERAGE = Sensor(
    "gpu0.average", "gpu0", "average", "gpu", "W", "power_average_w", "field 185",
    window_s=1.0, update_s=0.1, coverage=1.0, uncertainty=0.05, uncertainty_source="assumed",
)  # fmt: skip
RAPL = Sensor(
    "cpu.package", "cpu", "counter", "package", "J", "energy_j", "intel-rapl:0/energy_uj",
    window_s=0.001, update_s=0.001, coverage=1.0, uncertainty=0.05, uncertainty_source="assumed",
)  # fmt: skip
METER = Sensor(
    "node.meter", "node", "meter", "node", "W", "node_power_w", "meter.csv",
    window_s=1.0, update_s=1.0, coverage=1.0, uncertainty=0.01, uncertainty_source="the meter's data sheet",
)  # fmt: skip
NVIDIA = [COUNTER, INSTANT, AVERAGE]


def gpu(key: str = "gpu0", **more: Any) -> Accelerator:
    """A 700 W data-centre GPU at its default limit."""
    known = {"power_limit_w": 700.0, "power_limit_default_w": 700.0} | more
    return Accelerator(key, "gpu", "nvidia", "H200", "cuda:0", 141 << 30, 50 << 20, **known)


def cpu(**more: Any) -> Accelerator:
    """A CPU without any limit that a driver tells."""
    return Accelerator("cpu", "cpu", "intel", "CPU", "cpu", 64 << 30, 32 << 20, **more)


class Truth:
    """The load on a fine grid: its energy between any two moments, J."""

    def __init__(self, load: Load, end_s: float) -> None:
        self.end_s = end_s
        steps = int(end_s / GRID_S) + 1
        self._sums = [0.0, *accumulate(load((n + 0.5) * GRID_S) * GRID_S for n in range(steps))]

    def joules(self, start_s: float, end_s: float) -> float:
        """Energy from `start_s` to `end_s`."""
        return self._at(end_s) - self._at(start_s)

    def mean(self, start_s: float, end_s: float) -> float:
        """Mean power from `start_s` to `end_s`, W; before the beginning the load is as at the beginning."""
        start_s = max(0.0, start_s)
        return self.joules(start_s, end_s) / (end_s - start_s)

    def _at(self, t_s: float) -> float:
        place = min(max(t_s / GRID_S, 0.0), len(self._sums) - 1.001)
        whole = int(place)
        return self._sums[whole] + (place - whole) * (self._sums[whole + 1] - self._sums[whole])


class Scripted(msgspec.Struct, frozen=True):
    """A device as its sensors show it: `gain` and `bias_w` of the whole chip, `phase_s` of its 10 Hz ticks.

    `counter_gain` is of the counter against the watts. Faults: `zero_every` n-th poll answers 0 W, `vanish_s` nothing
    but temperature from then on, `counter_vanish_s` only the counter, `stuck_s`, `reset_s` of the counter. With
    `counts_views` the counter adds up the part-time views instead of all energy.
    """

    device: str = "gpu0"
    gain: float = 1.0
    bias_w: float = 0.0
    counter_gain: float = 1.0
    update_s: float = 0.1
    view_s: float = 0.025
    phase_s: float = 0.013
    poll_s: float = 0.05
    jitter_s: float = 0.004
    zero_every: int = 0
    vanish_s: float = 1e9
    counter_vanish_s: float = 1e9
    stuck_s: float = 1e9
    reset_s: float = 1e9
    wrap_j: float = 0.0
    counts_views: bool = False
    hide: tuple[str, ...] = ()
    reasons: int = 0
    degc_per_s: float = 0.0
    seed: int = 0

    def lines(self, truth: Truth) -> list[Telemetry]:
        """Poll the device from 0 to the end of `truth`."""
        draw, found, t, number = random.Random(self.seed), [], 0.02, 0
        views = self._views(truth) if self.counts_views else []
        while t < truth.end_s:
            number += 1
            found.append(self._line(truth, t, number, views))
            t += max(0.001, self.poll_s + draw.uniform(-self.jitter_s, self.jitter_s))
        return found

    def _line(self, truth: Truth, t: float, number: int, views: Sequence[float]) -> Telemetry:
        tick = int((t - self.phase_s) / self.update_s) * self.update_s + self.phase_s if t > self.phase_s else 0.0
        tick = max(tick, 0.002)
        power = self.gain * truth.mean(tick - self.view_s, tick) + self.bias_w
        average = self.gain * truth.mean(tick - 1.0, tick) + self.bias_w
        gone, zero = t >= self.vanish_s, self.zero_every and number % self.zero_every == 0
        values: dict[str, Any] = {
            "power_w": 0.0 if zero else power,
            "power_average_w": 0.0 if zero else average,
            "energy_j": self._counter(truth, tick, views) if t < self.counter_vanish_s else None,
        }
        shown = {} if gone else {name: value for name, value in values.items() if name not in self.hide}
        return Telemetry(
            int(t * S), self.device, reasons=self.reasons, temperature_degc=50 + self.degc_per_s * t, **shown
        )

    def _counter(self, truth: Truth, tick: float, views: Sequence[float]) -> float:
        tick = min(tick, self.stuck_s)
        start = self.reset_s if tick >= self.reset_s else 0.0
        seen = views[round((tick - self.phase_s) / self.update_s)] if views else truth.joules(start, tick)
        joules = self.counter_gain * (self.gain * seen + self.bias_w * (tick - start))
        joules += 0.0 if start else 1000.0
        return round(joules % self.wrap_j if self.wrap_j else joules, 3)

    def _views(self, truth: Truth) -> list[float]:
        """What a counter has added up after each tick if it counts the part-time views only."""
        ends = (self.phase_s + n * self.update_s for n in range(1, int(truth.end_s / self.update_s) + 1))
        return [0.0, *accumulate(truth.mean(end - self.view_s, end) * self.update_s for end in ends)]


def meter(truth: Truth, gain: float = 1.0, extra_w: float = 0.0) -> list[Telemetry]:
    """A wall meter that gives the mean of each second, with `extra_w` of whatever else the node feeds."""
    return [
        Telemetry(int(n * S), "node", sensors={"node_power_w": gain * truth.mean(n - 1, n) + extra_w})
        for n in range(1, int(truth.end_s) + 1)
    ]


def window(start_s: float, end_s: float, device: str = "gpu0", **more: Any) -> Window:
    """A window of a trial, settled for 2 s unless told otherwise."""
    known = {"name": "trial", "trial": "gemm", "steps": 100.0, "settled_s": 2.0} | more
    return Window(int(end_s * S), int(start_s * S), device, **known)


def ask(
    lines: Sequence[Telemetry],
    windows: Sequence[Window],
    cards: Sequence[Sensor] = NVIDIA,
    device: Accelerator | None = None,
    others: Sequence[Sequence[Telemetry]] = (),
    **more: Any,
) -> Energy:
    """Hand it all to the real code."""
    readings = {group[0].device: list(group) for group in [lines, *others] if group}
    return figure(device or gpu(), cards, readings, windows, started_ns=0, **more)


def steps_of(levels: Sequence[tuple[float, float]]) -> Load:
    """A load of levels: (from s, W) pairs in order."""
    starts = [start for start, _ in levels]
    return lambda t: levels[max(0, bisect_right(starts, t) - 1)][1]
