"""How the power of a simulated device moves: load, lag, energy, and what a sensor that looks part of the time shows."""

import math
from collections import deque

POWER_LAG_S, IDLE_SHARE = 0.5, 0.12
PART_WINDOW_NS, PART_UPDATE_NS = 25_000_000, 100_000_000
_GRID_NS = 5_000_000
_MEAN_NS = 1_000_000_000
# A gap longer than this is not simulated step by step: nobody reads a simulated device so rarely, but a test may.
_FINE_NS = 100_000_000_000


class FakeLoad:
    """True power and energy of one simulated device over time, in steps of 5 ms.

    Attributes:
        power_w: true power now. energy_j: true energy since the first reading.
        part_w: the mean of the last 25 ms before the newest 100 ms tick, as a 25/100 sensor shows it.
    """

    def __init__(self, limit_w: float, square_hz: float = 0.0) -> None:
        """`square_hz` above 0 makes the load all or nothing, half of each period, and power follow at once."""
        self._limit_w = limit_w
        self._square_hz = square_hz
        self._now_ns = 0
        self.power_w = self.part_w = IDLE_SHARE * limit_w
        self.energy_j = 0.0
        self._window_j = 0.0
        self._past: deque[tuple[int, float]] = deque([(0, 0.0)])

    def advance(self, elapsed_ns: int) -> None:
        """Live until `elapsed_ns` after the first reading; time never goes back."""
        if elapsed_ns - self._now_ns > _FINE_NS:
            self._step(elapsed_ns - _FINE_NS)
        while self._now_ns < elapsed_ns:
            self._step(min(elapsed_ns, (self._now_ns // _GRID_NS + 1) * _GRID_NS))
        self._past.append((self._now_ns, self.energy_j))
        while len(self._past) > 2 and self._past[1][0] <= self._now_ns - _MEAN_NS:
            self._past.popleft()

    def mean_w(self) -> float:
        """Mean power of about the last second, W; of the time so far at the beginning."""
        then_ns, then_j = self._past[0]
        seconds = (self._now_ns - then_ns) * 1e-9
        return (self.energy_j - then_j) / seconds if seconds > 0 else self.power_w

    def load(self, elapsed_ns: int) -> float:
        """The share of full load at a time: 0.8 to 1, swinging slowly, or a square wave of 0 and 1."""
        if self._square_hz > 0:
            return 1.0 if elapsed_ns * 1e-9 * self._square_hz % 1 < 0.5 else 0.0
        return 0.9 + 0.1 * math.sin(2 * math.pi * elapsed_ns * 1e-9 / 7.3)

    def _step(self, until_ns: int) -> None:
        """One stretch of constant load, that of its middle."""
        seconds = (until_ns - self._now_ns) * 1e-9
        share = min(1.0, IDLE_SHARE + (1 - IDLE_SHARE) * self.load((self._now_ns + until_ns) // 2))
        follow = 1.0 if self._square_hz > 0 else 1 - math.exp(-seconds / POWER_LAG_S)
        self.power_w += (share * self._limit_w - self.power_w) * follow
        self.energy_j += self.power_w * seconds
        self._now_ns = until_ns
        if (until_ns + PART_WINDOW_NS) % PART_UPDATE_NS == 0:
            self._window_j = self.energy_j
        if until_ns % PART_UPDATE_NS == 0:
            self.part_w = (self.energy_j - self._window_j) / (PART_WINDOW_NS * 1e-9)
