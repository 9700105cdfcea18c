"""The worker child: `python -m effbench.run.worker`. Opens one device, measures the trials it is told, one by one.

It talks JSON lines over its original stdout; everything that libraries print goes to stderr instead.
"""

import ctypes
import os
import signal
import sys
import time
from typing import BinaryIO

import msgspec

from effbench import kernels
from effbench.kernels.contract import Rig, Step
from effbench.kernels.recorded import RecordedStep
from effbench.kernels.virtual import VirtualRig, fake_step
from effbench.model.error import EffbenchError, SiteError
from effbench.model.event import Closed, Noted, Opened, Sample, Window
from effbench.model.plan import Trial
from effbench.run.measure import measure
from effbench.run.wire import Bye, Do, Go, Hello, Progress, Ready, command, encode

PR_SET_PDEATHSIG = 1  # prctl(2): the kernel kills this process when its parent dies


class Pipe:
    """The worker's side of the wire."""

    def __init__(self, source: BinaryIO, sink: BinaryIO) -> None:
        self._source, self._sink = source, sink
        self.ack = False

    def event(self, event: Sample | Noted | Closed | Opened | Window | Ready) -> None:
        """Send one message. Samples are buffered; anything else flushes."""
        self._sink.write(encode(event))
        if not isinstance(event, Sample):
            self._sink.flush()

    def progress(self, progress: Progress) -> None:
        """Send the state of the trial; on a CPU device wait until the parent has drawn it."""
        self._sink.write(encode(progress))
        self._sink.flush()
        if self.ack and not isinstance(self.read(), Go):
            raise SystemExit(0)

    def read(self) -> Hello | Do | Go | Bye:
        """Wait for the next command; the end of the stream is `Bye`."""
        line = self._source.readline()
        return command(line) if line else Bye()


def main() -> None:
    """Serve one parent until it says goodbye."""
    _die_with_parent()
    sink = os.fdopen(os.dup(1), "wb", buffering=1 << 16)
    os.dup2(2, 1)
    pipe = Pipe(sys.stdin.buffer, sink)
    hello = pipe.read()
    if not isinstance(hello, Hello):
        return
    started = time.monotonic()
    rig, texts = _open(hello)
    pipe.event(Ready(os.getpid(), 0.0, time.monotonic() - started, texts))
    while isinstance(do := pipe.read(), Do):
        pipe.ack = do.ack
        run_trial(do, hello, rig, pipe)


def run_trial(do: Do, hello: Hello, rig: Rig, pipe: Pipe) -> None:
    """Build, measure and close one trial. An error of the kernel closes it as `failed` with one sentence."""
    trial = do.trial
    pipe.event(Opened(time.monotonic_ns(), trial.id, hello.round, hello.process, hello.accelerator.key))
    step: Step | None = None
    try:
        step = _replayed(do) if hello.replayed else _build(trial, hello, rig)
        measure(step, trial, rig, hello.round, do.soak_s, pipe)
    except (EffbenchError, MemoryError, RuntimeError, ValueError, TypeError, OSError) as error:
        detail = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else 'no message'}"
        pipe.event(Closed(time.monotonic_ns(), trial.id, hello.round, "failed", detail[:500]))
    finally:
        if step is not None:
            step.close()


def _build(trial: Trial, hello: Hello, rig: Rig) -> Step:
    module = kernels.load(trial.kernel)
    params = msgspec.convert(trial.params, module.Params)
    if isinstance(rig, VirtualRig):
        return fake_step(module, params, trial, rig, hello.round, hello.faults.get(trial.kernel, {}))
    rig.reset_peak()
    return module.build(params, rig)


def _replayed(do: Do) -> Step:
    if do.recorded is None:
        raise SiteError("the recording does not hold this trial")
    return RecordedStep(do.recorded.samples, do.recorded.closed)


def _open(hello: Hello) -> tuple[Rig, dict[str, str]]:
    """Open the device: a virtual rig for a simulated one, torch for a real one."""
    if hello.accelerator.simulated:
        return VirtualRig(hello.accelerator, hello.seed, hello.round), {"rig": "virtual"}
    from effbench.kernels.rig import TorchRig

    rig = TorchRig(hello.accelerator, hello.seed)
    return rig, rig.context_texts()


def _die_with_parent() -> None:
    """Ask the kernel to kill this worker when the parent dies, so that nothing keeps a device busy unseen."""
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    except (OSError, AttributeError):
        return


if __name__ == "__main__":
    main()
