"""The parent's side of the telemetry child: start it, collect its lines, ask for counters, notice when it is gone."""

import selectors
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from effbench.launch import inline
from effbench.model.energy import Sensor
from effbench.model.event import Telemetry
from effbench.model.finding import Finding
from effbench.model.inventory import Accelerator
from effbench.run.recording import Recording

HZ = 10.0
# NVML renews its power every 100 ms: read at twice that rate, so that no value is missed and repeats show its period.
GPU_HZ = 20.0
ANSWER_DEADLINE_S = 5.0
_DECODER = msgspec.json.Decoder(Telemetry)


class Counted(msgspec.Struct, frozen=True):
    """The child's answer to a question for counters."""

    counters: dict[str, dict[str, float]] = {}
    absent: dict[str, dict[str, str]] = {}


class Listed(msgspec.Struct, frozen=True):
    """The child's answer to a question for the cards of its sensors."""

    sensors: list[Sensor]


class Watch:
    """A running telemetry child over some devices. It may die or hang: that costs telemetry, never the run."""

    def __init__(
        self,
        accelerators: Sequence[Accelerator],
        environment: Mapping[str, str],
        recording: Recording | None = None,
    ) -> None:
        self._spool = recording.spool() if recording is not None else None
        self._handle = inline.start(inline.command(inline.Job("effbench.device.sampler")), environment)
        self._handle.send(_config(accelerators, self._spool, recording) + b"\n")
        self._pending: list[Telemetry] = []
        self._answers: list[bytes] = []
        self._latest: dict[str, Telemetry] = {}
        self._complaints: list[Finding] = []
        self._alive = True

    def fileno(self) -> int | None:
        """Descriptor to wait on beside the worker's; None once the child is gone."""
        return self._handle.fileno() if self._alive else None

    def ours(self, pid: int) -> None:
        """Name one of our processes, so that its load is not taken for a stranger's."""
        self._handle.send(msgspec.json.encode({"watch": [pid]}) + b"\n")

    def rate(self, hz: float | None) -> None:
        """Read `hz` times a second from now on (0.1 to 100); None is the ordinary rate again."""
        self._handle.send(msgspec.json.encode({"hz": hz or 0.0}) + b"\n")

    def pump(self) -> None:
        """Take in what has arrived. Never waits."""
        if not self._alive:
            return
        for line in self._handle.lines():
            if line.startswith((b'{"counters"', b'{"sensors"', b'{"flushed"')):
                self._answers.append(line)
                continue
            try:
                reading = _DECODER.decode(line)
            except (msgspec.DecodeError, ValueError):
                continue
            self._latest[reading.device] = reading
            self._pending.append(reading)
        if self._handle.ended:
            self._alive = False
            text = f"the telemetry child ended early: {self._handle.stderr_tail() or 'it said nothing'}"
            self._complaints.append(Finding("telemetry-lost", "warning", text))

    def latest(self, devices: Sequence[str] = ()) -> Telemetry | None:
        """The newest reading of any device, or of one of `devices`, for the display."""
        known = [self._latest[key] for key in devices or self._latest if key in self._latest]
        return max(known, key=lambda reading: reading.t_ns, default=None)

    def collect(self) -> list[Telemetry]:
        """Flush the child, and return all readings since the last call."""
        self._ask(b'{"flush":true}', b'{"flushed"')
        pending, self._pending = self._pending, []
        return pending

    def complaints(self) -> list[Finding]:
        """Return what went wrong with the telemetry itself since the last call."""
        complaints, self._complaints = self._complaints, []
        return complaints

    def count(self) -> Counted:
        """Ask for the health counters and for what cannot be read; empty when the child does not answer."""
        line = self._ask(b'{"counters":true}', b'{"counters"')
        if line is None:
            return Counted()
        try:
            return msgspec.json.decode(line, type=Counted)
        except msgspec.DecodeError:
            return Counted()

    def sensors(self) -> list[Sensor]:
        """Return the cards of all power and energy sensors, absent ones included; none, and a complaint, without it.

        Without cards no energy figure can be made of what was read.
        """
        line = self._ask(b'{"sensors":true}', b'{"sensors"')
        try:
            if line is not None:
                return msgspec.json.decode(line, type=Listed).sensors
            why = "the telemetry child does not answer"
        except (msgspec.DecodeError, ValueError) as error:
            why = f"the telemetry child's answer cannot be read ({error})"
        text = f"which power sensors there are is unknown, and so is every energy figure: {why}"
        self._complaints.append(Finding("telemetry-lost", "warning", text))
        return []

    def counters(self) -> list[Telemetry]:
        """Return one reading per device that holds its counters."""
        now = time.monotonic_ns()
        return [Telemetry(now, key, counters=values) for key, values in self.count().counters.items() if values]

    def stop(self) -> None:
        """End the child; one that does not end is killed, one that cannot be killed is left behind."""
        self._handle.send(b'{"stop":true}\n')
        self._handle.leave(2.0)
        self._alive = False
        if self._spool is not None:
            self._spool.unlink(missing_ok=True)

    def _ask(self, question: bytes, answer: bytes) -> bytes | None:
        """Send a control line and wait for its answer, but not for ever: a sensor may hang in its driver."""
        if not self._alive or not self._handle.send(question + b"\n"):
            return None
        end = time.monotonic() + ANSWER_DEADLINE_S
        with selectors.DefaultSelector() as selector:
            selector.register(self._handle.fileno(), selectors.EVENT_READ)
            while self._alive and time.monotonic() < end:
                self.pump()
                found = next((line for line in self._answers if line.startswith(answer)), None)
                if found is not None:
                    self._answers.clear()
                    return found
                selector.select(0.1)
        if self._alive:
            self._alive = False
            killed = self._handle.kill()
            fate = "and was killed" if killed else "and survives SIGKILL"
            text = f"the telemetry child did not answer for {ANSWER_DEADLINE_S:.0f} s {fate}: a driver call hangs"
            self._complaints.append(Finding("telemetry-lost", "error", text))
        return None


def _config(accelerators: Sequence[Accelerator], spool: Path | None, recording: Recording | None) -> bytes:
    """What the child shall watch: NVML for GPUs, the CPU's own files, made-up or recorded readings otherwise."""
    devices = [a.key for a in accelerators]
    simulated = [a for a in accelerators if a.simulated]
    hz = GPU_HZ if any(a.kind == "gpu" for a in accelerators) else HZ
    config: dict[str, Any]
    if spool is not None and recording is not None:
        plain = [msgspec.structs.replace(a, part=None) for a in accelerators]
        config = {"devices": devices, "source": "replay", "recording": str(spool), "accelerators": plain, "hz": hz}
        config["sensors"] = recording.sensors
    elif simulated:
        parts = [a.part.id for a in simulated if a.part is not None]
        spec = f"{parts[0]}*{len(simulated)}" if parts else ""
        config = {"devices": devices, "source": "fake", "spec": spec, "hz": 100.0}
    else:
        config = {"devices": devices, "source": "nvml", "hz": hz}
    return msgspec.json.encode(config)


class Watched(msgspec.Struct, frozen=True):
    """What a while of watching gave: readings, per device what could not be read and why, the power sensors' cards."""

    telemetry: list[Telemetry]
    absent: dict[str, dict[str, str]]
    sensors: list[Sensor]


def watch_for(accelerators: Sequence[Accelerator], environment: Mapping[str, str], seconds: float) -> Watched:
    """Watch devices for a while."""
    watch = Watch(accelerators, environment)
    try:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            watch.pump()
            time.sleep(0.05)
        return Watched(watch.collect(), watch.count().absent, watch.sensors())
    finally:
        watch.stop()
