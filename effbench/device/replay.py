"""A recorded run played back: its telemetry as a watched device, its samples by trial and round for a rig."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence

import msgspec

from effbench.catalog.sensors import as_class, sensor_class
from effbench.device import cards
from effbench.model.energy import Sensor
from effbench.model.event import Closed, Event, Noted, Opened, Sample, Telemetry
from effbench.model.finding import Finding
from effbench.model.inventory import Accelerator


class RecordedTrial(msgspec.Struct):
    """What a journal holds of one trial in one round, in the order of its lines."""

    opened: Opened
    samples: list[Sample]
    findings: list[Finding]
    closed: Closed | None = None


class ReplayObserver:
    """Plays recorded readings of one device at the pace at which they were taken, beginning with the first reading.

    Played back, a device is marked `simulated`: what it shows was measured, but not now.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        telemetry: Sequence[Telemetry],
        loop: bool = False,
        sensors: Sequence[Sensor] = (),
    ) -> None:
        """Take the readings of this device out of `telemetry` and its cards out of the recorded `sensors`.

        `loop` starts over at the end of the readings. A recording without cards gets those that its readings show.

        Raises:
            ValueError: there are none.
        """
        self._accelerator = msgspec.structs.replace(accelerator, simulated=True, torch_device="fake")
        self._points = sorted((t for t in telemetry if t.device == accelerator.key), key=lambda t: t.t_ns)
        if not self._points:
            raise ValueError(f"the recording has no telemetry of {accelerator.key}")
        self._times = [point.t_ns - self._points[0].t_ns for point in self._points]
        self._cards = [card for card in sensors if card.device == accelerator.key]
        self._loop = loop
        self._start_ns: int | None = None
        self._counters: dict[str, float] = {}

    def accelerator(self) -> Accelerator:
        """Return the recorded device, marked as simulated."""
        return self._accelerator

    def read(self, t_ns: int) -> Telemetry:
        """Give the reading that was the newest at this time of the recording, stamped anew.

        Raises:
            EOFError: the recording has ended and does not loop.
        """
        if self._start_ns is None:
            self._start_ns = t_ns
        elapsed = t_ns - self._start_ns
        length = self._times[-1] + self._usual_step()
        if elapsed >= length:
            if not self._loop:
                raise EOFError(f"the recording of {self._accelerator.key} ended after {length * 1e-9:.1f} s")
            elapsed %= length
        point = self._points[bisect_right(self._times, elapsed) - 1]
        self._counters |= point.counters
        return msgspec.structs.replace(point, t_ns=t_ns)

    def counters(self) -> dict[str, float]:
        """Return the counters as the readings played so far had them; those of the inventory before the first."""
        return self._accelerator.health | self._counters

    def absent(self) -> dict[str, str]:
        """Name the quantities that no recorded reading has."""
        reason = "the recording has no such reading"
        names = (name for name in Telemetry.__struct_fields__ if name not in ("t_ns", "device", "counters", "sensors"))
        return {name: reason for name in names if all(getattr(point, name) is None for point in self._points)}

    def sensors(self) -> list[Sensor]:
        """Return the recorded cards; without them, one for each reading that the recording has."""
        return self._cards or [self._card(card) for card in cards.blank(self._accelerator.key, "recorded")]

    def close(self) -> None:
        """There is nothing to let go of."""

    def _card(self, card: Sensor) -> Sensor:
        if not cards.readable(self._points, card.reading):
            return cards.missing(card, "the recording has no such reading", "record it anew on the device")
        if card.scope in ("hbm", "module"):
            return as_class(card, None)
        if self._accelerator.kind == "gpu":
            return as_class(card, sensor_class("nvidia", card.kind, self._accelerator.compute_capability))
        return as_class(card, sensor_class("rapl", "counter") if card.unit == "J" else sensor_class("acpi", "average"))

    def _usual_step(self) -> int:
        """How long the last reading is shown, ns: the mean distance of the readings."""
        return self._times[-1] // (len(self._times) - 1) if len(self._times) > 1 else 1_000_000_000


def by_trial_and_round(events: Iterable[Event]) -> dict[tuple[str, int], RecordedTrial]:
    """Group a journal's lines by (trial, round): a sample belongs to the trial that was opened last.

    A trial that was opened again in the same round (after a lost worker) replaces what was there.
    """
    trials: dict[tuple[str, int], RecordedTrial] = {}
    current: RecordedTrial | None = None
    for event in events:
        if isinstance(event, Opened):
            current = trials[event.trial, event.round] = RecordedTrial(event, [], [])
        elif isinstance(event, Closed):
            closing = trials.get((event.trial, event.round))
            if closing is not None:
                closing.closed = event
            current = None
        elif isinstance(event, Sample) and current is not None:
            current.samples.append(event)
        elif isinstance(event, Noted) and current is not None and event.finding.trial == current.opened.trial:
            current.findings.append(event.finding)
    return trials
