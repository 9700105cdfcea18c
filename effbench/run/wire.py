"""The messages between the parent and its worker: JSON lines, one struct per line, over pipes."""

from typing import Any

import msgspec

from effbench.model.event import Closed, Noted, Opened, Sample, Window
from effbench.model.inventory import Accelerator
from effbench.model.plan import Trial


class Hello(msgspec.Struct, frozen=True, tag="hello", omit_defaults=True):
    """Parent to worker, first: the device it has, the seed of the run, which round and process this is.

    `faults` make a simulated device fail on purpose, per kernel name; a real device ignores them.
    """

    accelerator: Accelerator
    seed: int
    round: int
    process: int
    faults: dict[str, dict[str, Any]] = {}
    replayed: bool = False


class Recorded(msgspec.Struct, frozen=True):
    """What a recording holds of one trial in one round."""

    samples: list[Sample]
    closed: Closed


class Do(msgspec.Struct, frozen=True, tag="do", omit_defaults=True):
    """Parent to worker: measure this trial. With `ack`, wait for `Go` after each `Progress` (a CPU device).

    On a replayed device `recorded` is what the recording holds of the trial; absent, the trial is not in it.
    """

    trial: Trial
    soak_s: float = 0.0
    ack: bool = False
    recorded: Recorded | None = None


class Go(msgspec.Struct, frozen=True, tag="go"):
    """Parent to worker: the display is drawn, go on timing."""


class Bye(msgspec.Struct, frozen=True, tag="bye"):
    """Parent to worker: no more trials, leave."""


class Ready(msgspec.Struct, frozen=True, tag="ready", omit_defaults=True):
    """Worker to parent: the device is open. `import_s` and `context_s` are what that took, seconds."""

    pid: int
    import_s: float
    context_s: float
    texts: dict[str, str] = {}


class Progress(msgspec.Struct, frozen=True, tag="progress", omit_defaults=True):
    """Worker to parent, at most once a second and never inside a timed block: the running state of a trial."""

    trial: str
    elapsed_s: float
    n: int = 0
    step_s: float | None = None
    low_s: float | None = None
    high_s: float | None = None
    clock_hz: float | None = None
    phase: str = "measuring"


Command = Hello | Do | Go | Bye
Message = Ready | Progress | Opened | Sample | Window | Noted | Closed

_ENCODER = msgspec.json.Encoder()
_COMMANDS: msgspec.json.Decoder[Command] = msgspec.json.Decoder(Command)
_MESSAGES: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)


def encode(message: msgspec.Struct) -> bytes:
    """Return the message as one JSON line."""
    return _ENCODER.encode(message) + b"\n"


def command(line: bytes) -> Command:
    """Decode one line that the parent sent. Raises msgspec.DecodeError on nonsense."""
    return _COMMANDS.decode(line)


def message(line: bytes) -> Message:
    """Decode one line that the worker sent. Raises msgspec.DecodeError on nonsense."""
    return _MESSAGES.decode(line)
