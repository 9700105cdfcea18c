"""What is asked for: a suite of workloads, each a kernel with parameters and a way to measure it."""

from typing import Annotated, Any, Literal

import msgspec

from effbench.model.quantity import finite

DeviceClass = Literal["gpu", "cpu"]
Scope = Literal["device", "pair", "node", "rack", "cluster"]


# Shorter windows end before a heat sink has settled: five minutes is half of node/full's soak.
SOAK_LEAST_S = 300.0


class Procedure(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How one trial is sampled within one round. Times in seconds.

    Modes: `sustained` keeps the device busy and rotates buffers; `burst` flushes the last-level cache before
    every repetition and leaves gaps, as published maxima (MAMF) do; `latency` times repetitions one by one;
    `once` runs the kernel's own pass to its end (memory_fill).
    `energy` makes the sampling time one unbroken window for a figure of energy: the ramp is discarded, nothing is done
    between the batches, and their length is varied so that it never locks to the sensor's period.
    `telemetry_hz` asks for telemetry at another rate while the trial runs (0.1 to 100 a second).
    Throttle (samples taken under a hardware-slowdown or thermal reason): `discard`, `keep` or `fail` the trial.
    """

    mode: Literal["sustained", "burst", "latency", "once"] = "sustained"
    warmup_s: float = 0.2
    duration_s: float = 1.0
    batch_min_s: float = 0.010
    samples_min: int = 5
    samples_max: int = 20_000
    target_relative_half_width: float = 0.02
    throttle: Literal["discard", "keep", "fail"] = "discard"
    fingerprint_every: int = 10
    energy: bool = False
    telemetry_hz: float | None = None

    def __post_init__(self) -> None:
        finite("Procedure", warmup_s=self.warmup_s, duration_s=self.duration_s, batch_min_s=self.batch_min_s)
        for name in ("duration_s", "batch_min_s", "samples_min", "samples_max", "target_relative_half_width"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above zero")
        if self.warmup_s < 0:
            raise ValueError("warmup_s must not be negative")
        if self.telemetry_hz is not None and not 0.1 <= self.telemetry_hz <= 100:
            raise ValueError("telemetry_hz lies between 0.1 and 100")

    @property
    def soaks(self) -> bool:
        """Whether this is a soak: one unbroken window of at least five minutes under load."""
        return self.mode == "sustained" and self.duration_s >= SOAK_LEAST_S


class Workload(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One kernel with parameters. `axes` multiplies: every combination of values becomes a trial.

    `on` limits a workload to device classes; absent, it is planned on all of them.
    `procedure` replaces the suite's procedure for this workload. `rounds` bounds how many rounds it takes part in: a
    soak of ten minutes is one unbroken window, not three. `counts` are the numbers of ranks of a workload whose scope
    is wider than a device; absent, they are 1, 2, 4 ... up to all there are.
    """

    id: str
    kernel: str
    params: dict[str, Any] = {}
    axes: dict[str, list[Any]] = {}
    scope: Scope = "device"
    on: list[DeviceClass] | None = None
    procedure: Procedure | None = None
    counts: list[Annotated[int, msgspec.Meta(ge=1)]] | None = None
    rounds: Annotated[int, msgspec.Meta(ge=1)] | None = None


class Requires(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a node must have before the suite makes sense on it."""

    accelerators_min: int = 0
    links: bool = False


class Rounds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many rounds: at least `min`; the stop rule then looks after each further round up to `max`."""

    min: int
    max: int

    def __post_init__(self) -> None:
        if not 1 <= self.min <= self.max:
            raise ValueError(f"rounds need 1 <= min <= max, not min {self.min}, max {self.max}")


class Idles(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Watch devices doing nothing at the start: bare, and with a context open. `settle_s` comes before the bare one."""

    bare_s: float
    context_s: float
    settle_s: float = 0.0

    def __post_init__(self) -> None:
        finite("Idles", bare_s=self.bare_s, context_s=self.context_s, settle_s=self.settle_s)
        if min(self.bare_s, self.context_s, self.settle_s) < 0:
            raise ValueError("idle times must not be negative")


class Suite(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A named set of workloads with its budget. `rounds` and `budget_s` (start to report) are per device class.

    `at_once` runs all GPUs of the node together, each through its own trials: they share power, heat, host memory and
    PCIe as at work, and the budget is one device's for all. Such figures are compared with their like only.
    """

    schema: Literal["effbench.suite/1"]
    name: str
    purpose: str
    rounds: dict[DeviceClass, Rounds]
    budget_s: dict[DeviceClass, float]
    workloads: list[Workload]
    requires: Requires = Requires()
    procedure: Procedure = Procedure()
    idle: Idles | None = None
    seed: int = 20261121
    at_once: bool = False

    def __post_init__(self) -> None:
        procedures = [self.procedure, *(w.procedure for w in self.workloads if w.procedure is not None)]
        if self.at_once and (self.idle is not None or any(p.energy or p.telemetry_hz for p in procedures)):
            raise ValueError(
                "at_once: an idle, an energy window and telemetry at another rate are of one device alone; "
                "take them out, or run the devices one after another"
            )
