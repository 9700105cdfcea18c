"""Telemetry by device and time: which readings fall into which timed window. Pure."""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence

import msgspec

from effbench.model.event import Sample, Telemetry

# A reading describes the time around it: at 10-20 Hz the nearest one is at most this far from a sample's edge.
EDGE_NS = 60_000_000


class Window(msgspec.Struct, frozen=True):
    """A span of monotonic time on one device, nanoseconds."""

    device: str
    start_ns: int
    end_ns: int


class Readings:
    """All telemetry of a run, sorted, to be asked for windows."""

    def __init__(self, events: Iterable[Telemetry]) -> None:
        by_device: dict[str, list[Telemetry]] = defaultdict(list)
        for event in events:
            by_device[event.device].append(event)
        self._points = {device: sorted(points, key=lambda p: p.t_ns) for device, points in by_device.items()}
        self._times = {device: [p.t_ns for p in points] for device, points in self._points.items()}

    def devices(self) -> list[str]:
        """Names of the devices that were read at all."""
        return sorted(self._points)

    def of(self, device: str) -> Sequence[Telemetry]:
        """Every reading of one device in time order."""
        return self._points.get(device, [])

    def within(self, window: Window, edge_ns: int = 0) -> Sequence[Telemetry]:
        """Readings of the window's device inside it, widened by `edge_ns` on both sides."""
        times = self._times.get(window.device, [])
        low = bisect_left(times, window.start_ns - edge_ns)
        high = bisect_right(times, window.end_ns + edge_ns)
        return self._points.get(window.device, [])[low:high]


def around(device: str, samples: Sequence[Sample]) -> Window | None:
    """The window from the start of the first sample to the end of the last; None without samples."""
    if not samples:
        return None
    start = min(s.t_ns - int(s.host_s * 1e9) for s in samples)
    return Window(device, start, max(s.t_ns for s in samples))


def of_sample(device: str, sample: Sample) -> Window:
    """The window in which one batch was timed."""
    return Window(device, sample.t_ns - int(sample.host_s * 1e9), sample.t_ns)
