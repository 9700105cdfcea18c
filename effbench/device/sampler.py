"""The telemetry child: `python -m effbench.device.sampler`. Reads devices while other processes work on them.

It speaks JSON lines. In: first a `Config`, then `{"watch": [pids]}` (more of our own processes), `{"counters": true}`,
`{"sensors": true}`, `{"hz": 50}` (another rate; 0 is the configured one again), `{"flush": true}`, `{"stop": true}`.
Out: `Telemetry` lines, about once a second in one batch so that the parent wakes up rarely, and answers: `{"counters":
{device: {...}}, "absent": {device: {quantity: reason}}}`, `{"sensors": [card...]}`, `{"flushed": true}`. A device that
did not open is missing from `counters`, with its reason under `absent[device]["device"]`. stdin's end is its end too.
"""

import ctypes
import os
import selectors
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from effbench.device import cards
from effbench.device.contract import Observer
from effbench.device.fake import FakeFaults, FakeObserver, accelerators
from effbench.model.energy import Sensor
from effbench.model.error import EffbenchError
from effbench.model.event import Telemetry
from effbench.model.inventory import Accelerator

BATCH_S = 1.0
HZ_MIN, HZ_MAX = 0.1, 100.0
_PR_SET_PDEATHSIG = 1
_ENCODER = msgspec.json.Encoder()


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to watch. `devices` are inventory keys; `cpu` is read from this machine unless all is fake or replayed.

    `spec` makes the devices of source `fake` (`nvidia-h200-sxm*2`), with `faults` per key. `recording` is a file of
    Telemetry lines for source `replay`; `accelerators` and `sensors` describe its devices. `watch`: processes of ours.
    """

    devices: list[str]
    source: Literal["nvml", "cpu", "fake", "replay"] = "cpu"
    hz: float = 10.0
    spec: str = ""
    faults: dict[str, FakeFaults] = {}
    recording: str = ""
    accelerators: list[Accelerator] = []
    sensors: list[Sensor] = []
    watch: list[int] = []

    def __post_init__(self) -> None:
        if not HZ_MIN <= self.hz <= HZ_MAX:
            raise ValueError(f"hz is {self.hz}; telemetry is read {HZ_MIN:g} to {HZ_MAX:g} times a second")


class Control(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line from the parent."""

    watch: list[int] | None = None
    hz: float | None = None
    counters: bool = False
    sensors: bool = False
    flush: bool = False
    stop: bool = False


class Sampler:
    """The open devices, what they said since the last batch, and how often each failed to answer."""

    def __init__(
        self, observers: dict[str, Observer], unopened: dict[str, str], write: Callable[[bytes], None]
    ) -> None:
        self.observers = observers
        self.unopened = unopened
        self._write = write
        self._batch: list[bytes] = []
        self._bad: dict[str, int] = dict.fromkeys(observers, 0)
        self._error: dict[str, str] = {}
        self._ours: list[int] = []
        self.hz: float | None = None

    def read(self) -> None:
        """Take one reading of each device; a device that fails costs this reading and is counted."""
        for key, observer in self.observers.items():
            try:
                line = _ENCODER.encode(observer.read(time.monotonic_ns()))
            except Exception as error:  # one bad sensor must not end the others
                self._bad[key] += 1
                self._error[key] = f"{type(error).__name__}: {error}"
            else:
                self._batch.append(line)

    def flush(self) -> None:
        """Send what was read since the last time, as one write."""
        if self._batch:
            self._write(b"\n".join(self._batch) + b"\n")
            self._batch.clear()

    def watch(self, pids: list[int]) -> None:
        """Tell every device that can use it which processes are ours; earlier ones stay ours."""
        self._ours += [pid for pid in pids if pid not in self._ours]
        for key, observer in self.observers.items():
            tell = getattr(observer, "watch", None)
            if tell is None:
                continue
            try:
                tell(list(self._ours))
            except Exception as error:  # as above
                self._error[key] = f"{type(error).__name__}: {error}"

    def obey(self, control: Control) -> bool:
        """Do what the parent says; False when it says stop."""
        if control.watch is not None:
            self.watch(control.watch)
        if control.hz is not None:
            self.hz = min(max(control.hz, HZ_MIN), HZ_MAX) if control.hz > 0 else None
        if control.counters or control.sensors or control.flush:
            self.flush()
        if control.counters:
            self._write(_ENCODER.encode(self._count()) + b"\n")
        if control.sensors:
            self._write(_ENCODER.encode({"sensors": self._cards()}) + b"\n")
        if control.flush:
            self._write(b'{"flushed":true}\n')
        return not control.stop

    def close(self) -> None:
        """Send the rest and let go of the devices."""
        self.flush()
        for key, observer in self.observers.items():
            try:
                observer.close()
            except Exception as error:  # as above; nobody is left to be told
                self._error[key] = f"{type(error).__name__}: {error}"

    def _cards(self) -> list[Sensor]:
        """The cards of all devices: one that did not open or cannot list its sensors has one absent card."""
        found = [cards.unopened(key, why) for key, why in self.unopened.items()]
        for key, observer in self.observers.items():
            try:
                found += observer.sensors()
            except Exception as error:  # as above
                found.append(cards.unopened(key, f"its sensors cannot be listed: {type(error).__name__}: {error}"))
        return found

    def _count(self) -> dict[str, dict[str, dict[str, float]] | dict[str, dict[str, str]]]:
        counted: dict[str, dict[str, float]] = {}
        absent: dict[str, dict[str, str]] = {key: {"device": why} for key, why in self.unopened.items()}
        for key, observer in self.observers.items():
            try:
                counted[key], absent[key] = dict(observer.counters()), dict(observer.absent())
            except Exception as error:  # as above
                self._error[key] = f"{type(error).__name__}: {error}"
                counted.setdefault(key, {})
                absent.setdefault(key, {})
            counted[key]["bad_readings"] = float(self._bad[key])
            if key in self._error:
                absent[key]["reading"] = f"{self._bad[key]} readings failed, the last error is {self._error[key]}"
        return {"counters": counted, "absent": absent}


def open_observers(config: Config) -> tuple[dict[str, Observer], dict[str, str]]:
    """Open what the configuration names: observers by key, and the reason for each device that did not open."""
    found: dict[str, Observer] = {}
    failed: dict[str, str] = {}
    for source in _SOURCES[config.source]:
        try:
            opened = source(config)
        except (EffbenchError, OSError, ValueError, msgspec.MsgspecError) as error:
            failed |= {key: str(error) for key in config.devices if key not in found and _serves(source, key)}
            continue
        for observer in opened:
            key = observer.accelerator().key
            if key in config.devices:
                found[key] = observer
            else:
                observer.close()
    failed |= {key: "no such device here" for key in config.devices if key not in found and key not in failed}
    return found, failed


def _serves(source: Callable[[Config], list[Observer]], key: str) -> bool:
    """Would this source have had the device? The CPU's has one alone, NVML's all others."""
    return (key == "cpu") if source is _cpu else source is not _nvml or key != "cpu"


def _nvml(config: Config) -> list[Observer]:
    if not any(key != "cpu" for key in config.devices):
        return []
    from effbench.device import nvml

    return [*nvml.observe()]


def _cpu(config: Config) -> list[Observer]:
    if "cpu" not in config.devices:
        return []
    from effbench.device.cpu_telemetry import CpuObserver

    return [CpuObserver(config.watch)]


def _fakes(config: Config) -> list[Observer]:
    return [FakeObserver(one, config.faults.get(one.key, FakeFaults())) for one in accelerators(config.spec)]


def _replayed(config: Config) -> list[Observer]:
    from effbench.device.replay import ReplayObserver

    lines = [line for line in Path(config.recording).read_bytes().splitlines() if line.strip()]
    telemetry = [msgspec.json.decode(line, type=Telemetry) for line in lines]
    wanted = [one for one in config.accelerators if one.key in config.devices]
    return [ReplayObserver(one, telemetry, loop=True, sensors=config.sensors) for one in wanted]


_SOURCES: dict[str, tuple[Callable[[Config], list[Observer]], ...]] = {
    "fake": (_fakes,),
    "replay": (_replayed,),
    "nvml": (_nvml, _cpu),
    "cpu": (_cpu,),
}


def serve(config: Config, sampler: Sampler, descriptor: int, pending: bytes = b"") -> None:
    """Read at `config.hz` and obey the lines that come in on `descriptor`, until told to stop or its end."""
    parent = os.getppid()
    sampler.watch([os.getpid(), *([parent] if parent > 1 else []), *config.watch])
    due = batch_due = time.monotonic()
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while True:
            *lines, pending = pending.split(b"\n")
            if not all(sampler.obey(_control(line)) for line in lines if line.strip()):
                return
            now = time.monotonic()
            if now >= due:
                sampler.read()
                now = time.monotonic()
                period = 1 / (sampler.hz or config.hz)
                due += period * (1 + max(0, int((now - due) / period)))  # a missed turn is not made up for
            if now >= batch_due:
                sampler.flush()
                batch_due = now + BATCH_S
            if selector.select(max(0.0, due - time.monotonic())):
                data = os.read(descriptor, 1 << 16)
                if not data:
                    return
                pending += data


def _control(line: bytes) -> Control:
    """Decode one line; one that cannot be read is ignored, for a watcher must not die of a typing mistake."""
    try:
        return msgspec.json.decode(line, type=Control)
    except msgspec.MsgspecError:
        return Control()


def _first_line(descriptor: int) -> tuple[bytes, bytes]:
    data = b""
    while b"\n" not in data:
        piece = os.read(descriptor, 1 << 16)
        if not piece:
            break
        data += piece
    line, _, rest = data.partition(b"\n")
    return line, rest


def _write_all(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


def main() -> int:
    """Serve one parent. 0 at its end, 2 when its first line cannot be used."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    line, rest = _first_line(0)
    try:
        config = msgspec.json.decode(line, type=Config)
    except (msgspec.MsgspecError, ValueError) as error:
        sys.stderr.write(f"the sampler's first line must be its configuration: {error}\n")
        return 2
    observers, failed = open_observers(config)
    sampler = Sampler(observers, failed, _write_all)
    try:
        serve(config, sampler, 0, rest)
        sampler.close()
    except BrokenPipeError:
        return 0  # the parent stopped listening
    return 0


if __name__ == "__main__":
    sys.exit(main())
