"""The watch over a command: readings from a second before it to two updates after it, cards and health counters."""

import time
from collections.abc import Callable, Mapping, Sequence

from effbench.launch.foreground import descendants
from effbench.model.energy import Sensor
from effbench.model.event import Telemetry
from effbench.model.finding import Finding
from effbench.model.inventory import Accelerator
from effbench.run.watch import Watch

__all__ = ["Vigil"]

# A driver without persistence mode wakes its GPUs first, which takes seconds each.
FIRST_READING_S = 30.0
BEFORE_S = 1.0
UPDATES_AFTER, AFTER_LEAST_S, AFTER_MOST_S = 2, 0.3, 5.0
# Readings kept per device: 11 h at ten a second. Beyond it a longer command would fill the memory.
READINGS_MAX = 400_000


class Vigil:
    """The telemetry of one command. Every step of it may fail; then there are fewer readings, and a finding."""

    def __init__(
        self,
        devices: Sequence[Accelerator],
        environment: Mapping[str, str],
        calibrate: Callable[[list[Sensor]], list[Sensor]] | None = None,
    ) -> None:
        """Start the telemetry child over `devices`. `calibrate` puts the user's gains into the sensors' cards."""
        self.readings: dict[str, list[Telemetry]] = {}
        self.sensors: list[Sensor] = []
        self.findings: list[Finding] = []
        self._calibrate = calibrate
        self._gpus = any(a.kind == "gpu" for a in devices)
        self._known: set[int] = set()
        self._watch: Watch | None = None
        try:
            self._watch = Watch(devices, environment) if devices else None
        except OSError as error:
            text = f"the telemetry child could not be started: {error.strerror or error}"
            self.findings.append(Finding("telemetry-lost", "error", text))

    def begin(self) -> None:
        """Wait for the first reading, then read for a second; ask for the sensors' cards and the health counters."""
        if self._watch is None:
            return
        end = time.monotonic() + FIRST_READING_S
        while self._watch.latest() is None and self._watch.fileno() is not None and time.monotonic() < end:
            self._watch.pump()
            time.sleep(0.02)
        cards = self._watch.sensors()
        self.sensors = self._calibrate(cards) if self._calibrate else cards
        self._keep(self._watch.counters())
        self.wait(BEFORE_S)

    def fileno(self) -> int | None:
        """Descriptor of the telemetry; None when there is none."""
        return self._watch.fileno() if self._watch is not None else None

    def pump(self) -> None:
        """Take in what has arrived. Never waits."""
        if self._watch is not None:
            self._watch.pump()

    def wait(self, seconds: float) -> None:
        """Go on reading for a while."""
        end = time.monotonic() + seconds
        while self._watch is not None and self.fileno() is not None and (left := end - time.monotonic()) > 0:
            self.pump()
            time.sleep(min(0.05, left))

    def ours(self, pid: int) -> None:
        """Tell the devices which processes are the command's, so that they are no strangers."""
        new = {pid, *(descendants(pid) if self._gpus else ())} - self._known
        self._known |= new
        for one in sorted(new):
            if self._watch is not None:
                self._watch.ours(one)

    def collect(self) -> None:
        """Take over the readings so far."""
        if self._watch is not None:
            self._keep(self._watch.collect())

    def end(self) -> None:
        """Read on for two updates of the slowest sensor, and ask for the health counters once more."""
        if self._watch is None:
            return
        updates = [card.update_s for card in self.sensors if not card.absent and card.update_s is not None]
        self.wait(min(AFTER_MOST_S, max(AFTER_LEAST_S, UPDATES_AFTER * max(updates, default=0.0))))
        self.collect()
        self._keep(self._watch.counters())

    def stop(self) -> None:
        """End the telemetry child."""
        if self._watch is not None:
            self._watch.stop()
            self.findings += self._watch.complaints()

    def _keep(self, arrived: Sequence[Telemetry]) -> None:
        for reading in arrived:
            kept = self.readings.setdefault(reading.device, [])
            if len(kept) < READINGS_MAX:
                kept.append(reading)
            elif len(kept) == READINGS_MAX:
                kept.append(reading)
                text = f"readings stop after {READINGS_MAX} of them: the command took too long for its whole energy"
                self.findings.append(Finding("telemetry-lost", "warning", text, device=reading.device))
