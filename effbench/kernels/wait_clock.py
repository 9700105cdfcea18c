"""Owns how a rank tells its own work from waiting for others, step by step: a host clock on a CPU, events on a GPU.

`wait_s` of a step is the time that the rank's own stream of computation stood still for a collective, the transfer
included; `busy_s` is the rest of the step, up to its last operation. As ranks meet in every step, a slow one makes all
steps equally long: the straggler is the rank that waits *least*. What a collective does while the rank computes is
in neither figure (hidden), only that it may slow the computation down.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections import deque
from typing import Any

# Medians over the latest steps: those of the warm-up fall out or stay a minority.
STEPS_KEPT = 256


class WaitClock:
    """The marks of the latest steps of one rank. `on` is False while steps are not to be counted (verification)."""

    def __init__(self, cuda: bool) -> None:
        self.on = True
        self._cuda = cuda
        self._marks: list[Any] = []
        self._steps: deque[list[Any]] = deque(maxlen=STEPS_KEPT)

    def _mark(self) -> None:
        if not self.on:
            return
        if not self._cuda:
            self._marks.append(time.perf_counter())
            return
        import torch

        made: Any = torch.cuda.Event
        event = made(enable_timing=True)
        event.record()
        self._marks.append(event)

    def begin(self) -> None:
        """A step begins."""
        self._marks = []
        self._mark()

    def waiting(self) -> None:
        """From here the computation stands still; always followed by `resumed`."""
        self._mark()

    def resumed(self) -> None:
        """The collective is complete, the computation goes on."""
        self._mark()

    def end(self) -> None:
        """The step's last operation has been done (CPU) or launched (GPU)."""
        self._mark()
        if self.on and len(self._marks) % 2 == 0:
            self._steps.append(self._marks)
        self._marks = []

    def shares(self) -> dict[str, float]:
        """Median `busy_s` and `wait_s` per step, seconds; empty before the first step. Waits for a GPU."""
        if not self._steps:
            return {}
        if self._cuda:
            import torch

            torch.cuda.synchronize()
        split = [self._split(marks) for marks in self._steps]
        busy, wait = (statistics.median(part) for part in zip(*split, strict=True))
        return {"busy_s": busy, "wait_s": wait}

    def _split(self, marks: list[Any]) -> tuple[float, float]:
        """Seconds of work and of waiting: marks alternate between the two, and a step begins and ends with work."""
        spans = [self._between(a, b) for a, b in itertools.pairwise(marks)]
        return sum(spans[0::2]), sum(spans[1::2])

    def _between(self, first: Any, last: Any) -> float:
        return float(first.elapsed_time(last)) * 1e-3 if self._cuda else float(last - first)
