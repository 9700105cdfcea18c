"""One worker process on one device, from its first word to its end: starting it, asking it, and ending it."""

import selectors
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from effbench.launch import inline
from effbench.model.event import Closed, Noted, Opened, Sample, Window
from effbench.model.finding import Finding, Severity
from effbench.model.inventory import Accelerator
from effbench.run.wire import Bye, Do, Go, Hello, Message, Progress, Ready, encode, message

Fate = Literal["closed", "crashed", "hung", "nonsense"]
TICK_S = 0.25
END = object()


class Answer(msgspec.Struct, frozen=True):
    """What became of a trial: the worker's events in order, and whether it closed it."""

    fate: Fate
    events: list[Sample | Window | Noted | Closed | Opened]
    detail: str = ""
    signal: int | None = None


class Stage:
    """A running worker. What waits for it yields while it has nothing to say; `drive` goes on with it when it has."""

    def __init__(self, hello: Hello, environment: Mapping[str, str]) -> None:
        self.accelerator: Accelerator = hello.accelerator
        words = inline.command(inline.Job("effbench.run.worker"))
        self._handle = inline.start(words, {**environment, **shown(hello.accelerator)})
        self._handle.send(encode(hello))
        self.alive = True
        self.abandoned = False
        self.ready: Ready | None = None

    @property
    def pid(self) -> int:
        """Process id of the worker, so that its own load is not taken for a stranger's."""
        return self._handle.pid

    def fileno(self) -> int:
        """File descriptor that becomes readable when the worker says something."""
        return self._handle.fileno()

    def wait_ready(self, deadline_s: float) -> Generator[None, None, Answer | None]:
        """Wait until the device is open. Returns None when it is; otherwise what went wrong."""
        answer = yield from self._listen(deadline_s, until=Ready, draw=None)
        return None if self.ready else answer

    def measure(self, do: Do, deadline_s: float, draw: Callable[[Progress], None]) -> Generator[None, None, Answer]:
        """Have one trial measured. `draw` is called between timed blocks; a CPU worker waits for it."""
        self._handle.send(encode(msgspec.structs.replace(do, ack=self.accelerator.kind == "cpu")))
        return (yield from self._listen(deadline_s, until=Closed, draw=draw))

    def _listen(
        self, deadline_s: float, until: type[Ready] | type[Closed], draw: Callable[[Progress], None] | None
    ) -> Generator[None, None, Answer]:
        events: list[Sample | Window | Noted | Closed | Opened] = []
        end = time.monotonic() + deadline_s
        while time.monotonic() < end:
            yield
            for line in self._handle.lines():
                try:
                    said: Message = message(line)
                except msgspec.DecodeError as error:
                    return self._lost("nonsense", events, f"the worker said something unreadable: {error}")
                if isinstance(said, Ready):
                    self.ready = said
                elif isinstance(said, Progress):
                    self._draw(said, draw)
                else:
                    events.append(said)
                if isinstance(said, until):
                    return Answer("closed", events)
            if self._handle.ended:
                return self._crashed(events)
        return self._lost("hung", events, f"no end after {deadline_s:.0f} s; the worker was killed")

    def _draw(self, progress: Progress, draw: Callable[[Progress], None] | None) -> None:
        if draw is not None:
            draw(progress)
        if self.accelerator.kind == "cpu":
            self._handle.send(encode(Go()))

    def _crashed(self, events: list[Sample | Window | Noted | Closed | Opened]) -> Answer:
        code = self._handle.returncode(5.0)
        tail = self._handle.stderr_tail()
        lines = tail.splitlines()
        last = lines[-1] if lines else ""
        killed = -code if code is not None and code < 0 else None
        how = f"was killed by signal {killed}" if killed else f"ended with status {code}"
        return self._lost("crashed", events, f"the worker {how}" + (f": {last}" if last else ""), killed)

    def _lost(
        self,
        fate: Fate,
        events: list[Sample | Window | Noted | Closed | Opened],
        detail: str,
        killed: int | None = None,
    ) -> Answer:
        self.alive = False
        if not self._handle.kill():
            self.abandoned = True
            detail += "; it survives SIGKILL, so the driver is stuck in the kernel and it was abandoned"
        return Answer(fate, events, detail, killed)

    def unopened(self, failure: Answer, cut_short: bool) -> Finding:
        """Say why the device did not open. `cut_short`: our budget ended the waiting, so no driver is blamed."""
        hung = failure.fate == "hung"
        code = "driver-unresponsive" if self.abandoned or hung else "worker-crashed"
        if hung and cut_short and not self.abandoned:
            code = "budget-exhausted"
        severity: Severity = "warning" if code == "budget-exhausted" else "error"
        return Finding(code, severity, f"the device did not open: {failure.detail}", device=self.accelerator.key)

    def end(self) -> None:
        """Say goodbye, then make sure."""
        if not self.alive:
            return
        self.alive = False
        self._handle.send(encode(Bye()))
        self.abandoned = not self._handle.leave(5.0)

    def kill(self) -> None:
        """End it at once (Ctrl-C)."""
        if self.alive:
            self._lost("crashed", [], "interrupted")


def drive(turns: Sequence[Generator[None]], listening: Callable[[], list[int]], idle: Callable[[], None]) -> None:
    """Go on with every turn until all have ended; wait in between until one of the descriptors has something to say.

    `idle` is called after each wait, so that the parent can look after its other children.
    """
    waiting = [turn for turn in turns if next(turn, END) is not END]
    while waiting:
        with selectors.DefaultSelector() as selector:
            for descriptor in listening():
                selector.register(descriptor, selectors.EVENT_READ)
            selector.select(TICK_S)
        idle()
        waiting = [turn for turn in waiting if next(turn, END) is not END]


def shown(accelerator: Accelerator) -> dict[str, str]:
    """Return the environment that shows a worker its own device alone, by UUID, so that no index can be confused."""
    if accelerator.kind != "gpu" or accelerator.simulated:
        return {}
    return {"CUDA_VISIBLE_DEVICES": accelerator.uuid, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


def oom_kills() -> int:
    """How many processes the kernel's out-of-memory killer has ended since boot; 0 where it does not say."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
