"""A whole journal of a node of two made-up H200 with power sensors: plan, cards, idles, windows, telemetry, counters.

Every figure is invented: each kind of work has a speed and a power, from which all that is measured follows by hand.
Nothing ran, and the devices are not marked as simulated, so that everything is made of the journal that a real run's
journal is made into.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from effbench import api
from effbench.catalog.accelerators import match
from effbench.device.fake import accelerators
from effbench.model.energy import Sensor
from effbench.model.event import Closed, Ended, Event, Opened, Sample, Sensed, Started, Telemetry, Tool, Verify, Window
from effbench.model.inventory import Accelerator, Inventory
from effbench.model.plan import Plan, Trial
from effbench.model.suite import Idles, Procedure, Rounds, Suite, Workload
from effbench.run.health import FULL_READING
from effbench.run.journal import SCHEMA, Journal
from effbench.run.site import Site
from tests.power_bench import NVIDIA, S, Scripted, Truth, steps_of

BARE_W, CONTEXT_W = 78.0, 115.0
IDLE_S, RAMP_S, WINDOW_S, REST_S = 12.0, 2.0, 12.0, 0.5
# By kernel: power, W, and how fast the work is done: flop/s, byte/s or, of decoding, steps/s.
WATTS = {"gemm": 690.0, "stream": 500.0, "train_step": 640.0, "prefill_step": 600.0, "decode_step": 400.0}
SPEED = {"gemm": 7e14, "stream": 4e12, "train_step": 3.5e14, "prefill_step": 4.5e14, "decode_step": 60.0}
ENERGY = Procedure(warmup_s=1.5, duration_s=WINDOW_S, energy=True)
WORKLOADS = [
    Workload("gemm", "gemm", {"dtype": "bf16"}, procedure=ENERGY),
    Workload("copy", "stream", {"op": "copy"}, procedure=ENERGY),
    Workload("train", "train_step", procedure=ENERGY),
    Workload("prefill", "prefill_step", {"batch": 1}, procedure=ENERGY),
    Workload("decode", "decode_step", {"batch": 8}, procedure=ENERGY),
]
UTC_NS = 1_795_000_000 * S


def plan(count: int = 1, rounds: int = 1, **more: Any) -> tuple[Plan, Inventory]:
    """The plan of all workloads on `count` devices; `more` changes the devices."""
    made = [
        msgspec.structs.replace(a, **({"simulated": False, "torch_device": f"cuda:{i}"} | more))
        for i, a in enumerate(accelerators(f"nvidia-h200-sxm*{count}"))
    ]
    named: list[Accelerator] = [msgspec.structs.replace(a, part=match(a)[0]) for a in made]
    inventory = Inventory("made-up", named)
    suite = Suite(
        schema="effbench.suite/1",
        name="made-up/power",
        purpose="energy windows",
        rounds={"gpu": Rounds(rounds, rounds)},
        budget_s={"gpu": 600},
        workloads=WORKLOADS,
        idle=Idles(IDLE_S, IDLE_S),
    )
    return api.plan(suite, Site(inventory, [])), inventory


def step_s(trial: Trial) -> float:
    """Time of one repetition, s."""
    speed = SPEED[trial.kernel]
    if trial.kernel == "decode_step":
        return 1 / speed
    return (trial.work.memory_bytes if trial.kernel == "stream" else trial.work.flop) / speed


class Recorded:
    """Writes the journal while it walks through the run's time; faults by name, see `journal`."""

    def __init__(self, todo: Plan, inventory: Inventory) -> None:
        self.todo, self.inventory = todo, inventory
        self.now_s = 1.0
        self.levels: dict[str, list[tuple[float, float]]] = {key: [(0.0, BARE_W)] for key in todo.devices}
        self.events: list[Event] = []
        self.windows: list[Window] = []

    def idle(self, devices: Sequence[str], name: str, watts: float) -> None:
        """Let devices rest."""
        for key in devices:
            self.levels[key].append((self.now_s, watts))
            self._window(key, f"idle.{name}", self.now_s + RAMP_S, IDLE_S, settled_s=RAMP_S)
        self.now_s += RAMP_S + IDLE_S

    def worker(self, key: str, number: int) -> None:
        """Do all of a device's trials in one process, which holds a context open as long as it lives."""
        self.levels[key].append((self.now_s, CONTEXT_W))
        if number == 0:
            self.idle([key], "context", CONTEXT_W)
        for trial in self.todo.trials:
            if trial.placement.devices == [key]:
                self.trial(trial, number)
        self.levels[key].append((self.now_s, BARE_W))
        self.now_s += REST_S

    def trial(self, trial: Trial, number: int) -> None:
        """Do a trial: ramp, window, a batch every tenth of a second."""
        key, one_s = trial.placement.devices[0], step_s(trial)
        self.levels[key].append((self.now_s, WATTS[trial.kernel]))
        self.events.append(Opened(self._ns(self.now_s), trial.id, number, number, key))
        start_s = self.now_s + RAMP_S
        batch = max(1, round(0.1 / one_s))
        count = int(WINDOW_S / (batch * one_s))
        for i in range(count):
            seconds = batch * one_s
            self.events.append(Sample(self._ns(start_s + (i + 1) * seconds), seconds, seconds, batch))
        length_s = count * batch * one_s
        self._window(key, "trial", start_s, length_s, trial=trial.id, round=number, steps=float(count * batch))
        self.now_s = start_s + length_s
        verify = Verify(ok=True, error=0.0, tolerance=1e-3)
        self.events.append(Closed(self._ns(self.now_s), trial.id, number, "done", verify=verify))
        self.levels[key].append((self.now_s, CONTEXT_W))
        self.now_s += REST_S

    def _window(self, key: str, name: str, start_s: float, seconds: float, **more: Any) -> None:
        known = {"settled_s": RAMP_S} | more
        window = Window(self._ns(start_s + seconds), self._ns(start_s), key, name, **known)
        self.windows.append(window)
        self.events.append(window)

    @staticmethod
    def _ns(t_s: float) -> int:
        return round(t_s * S)


def cards(devices: Sequence[str]) -> list[Sensor]:
    """Counter, instant and average of each device."""
    return [
        msgspec.structs.replace(card, key=card.key.replace("gpu0", key), device=key)
        for key in devices
        for card in NVIDIA
    ]


def journal(
    count: int = 1,
    rounds: int = 1,
    *,
    sensors: Sequence[Sensor] | None = None,
    scripted: Scripted | None = None,
    reasons: int = 0,
    swapped: bool = False,
    last: dict[str, float] | None = None,
    devices: dict[str, Any] | None = None,
) -> Journal:
    """Make the journal of a run.

    `sensors` replaces the cards, `scripted` the devices as their sensors show them, `reasons` is the clock-event mask
    of every reading, `swapped` gives each of two devices the other's readings, `last` adds to the counters at the end,
    `devices` changes the inventory.
    """
    todo, inventory = plan(count, rounds, **(devices or {}))
    made = Recorded(todo, inventory)
    made.idle(todo.devices, "bare", BARE_W)
    for number in range(rounds):
        for key in todo.devices:
            made.worker(key, number)
    first = Started(SCHEMA, 0, "2026-11-21T12:00:00+00:00", Tool("0", "sha256:0"), todo, inventory, UTC_NS)
    sensed = Sensed(1, list(cards(todo.devices) if sensors is None else sensors))
    lines = _telemetry(made, scripted or Scripted(), reasons, swapped, last or {})
    ended = Ended(round((made.now_s + 1) * S), "2026-11-21T12:10:00+00:00", "complete", inventory)
    return Journal([first, sensed, *made.events, *lines, ended], "sha256:made-up", [])


def _telemetry(
    made: Recorded, scripted: Scripted, reasons: int, swapped: bool, last: dict[str, float]
) -> list[Telemetry]:
    keys = list(made.levels)
    clean = {"ecc_uncorrected": 0.0, "row_remap_pending": 0.0, "device_lost": 0.0, "xid_watch": 1.0, FULL_READING: 0.0}
    lines = []
    for key in keys:
        of = keys[(keys.index(key) + 1) % len(keys)] if swapped else key
        truth = Truth(steps_of(made.levels[of]), made.now_s + 1)
        seen = msgspec.structs.replace(scripted, device=key, reasons=reasons, seed=keys.index(key))
        lines += [Telemetry(1, key, counters=clean), *seen.lines(truth)]
        lines.append(Telemetry(round((made.now_s + 1) * S), key, counters=clean | last))
    return lines
