"""The finished document of one run: what was planned and what was measured, and nothing that was judged."""

from typing import Literal

import msgspec

from effbench.model.energy import Energy, Idle, Sensor
from effbench.model.event import Tool, Verify
from effbench.model.finding import Finding
from effbench.model.inventory import Inventory
from effbench.model.plan import Plan
from effbench.model.quantity import Interval, Quantity

Status = Literal["valid", "suspect", "invalid", "failed", "skipped"]
# Evidence that may be shown as a figure and graded; `suspect` can never be the ground for a fail.
USABLE: tuple[Status, ...] = ("valid", "suspect")


class ClockSpread(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The clock held while a trial was timed, Hz: its 5 % quantile and its median."""

    p5: float
    p50: float


class PowerSpread(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Telemetry watts while a trial was timed: mean and 99 % quantile. Not an energy measurement."""

    mean: float
    p99: float


class Round(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What one fresh process measured of one trial. `step_s` is the median time of one repetition."""

    round: int
    status: str
    detail: str = ""
    step_s: float | None = None
    n_accepted: int = 0
    n_rejected: int = 0
    clock_hz: float | None = None
    facts: dict[str, float] = {}


class Soak(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How one long unbroken window went, batches under a thermal or hardware slowdown included.

    `step_s`, `interval`: one repetition in the last third, s. `movement` with its 95 % ends: how far the step time
    moved from start to end, relative, positive when it got slower. `variation`: standard deviation of the batches over
    their mean. `p5_over_p50`: speed of the slowest twentieth of the batches over the median speed. `throttle_share`:
    share of the telemetry readings under such a slowdown; absent where the device gives no reasons. `window_s`: time
    inside its batches. Of several rounds, each figure but the first two is the worst.
    """

    step_s: Quantity
    interval: Interval
    window_s: float
    movement: float
    movement_low: float
    movement_high: float
    variation: float
    p5_over_p50: float
    throttle_share: float | None = None


class Measurement(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One trial over all its rounds.

    `quantiles_s` maps percentiles ("0", "1", "5", "25", "50", "75", "95", "99", "100") to step times in seconds.
    `status`: `valid`; `suspect` (disturbed by foreign load: shown, compared, never the ground for a fail);
    `invalid` (too little evidence); `failed` (wrong result, crash, hang); `skipped` (not applicable).
    """

    trial: str
    device: str
    status: Status
    detail: str = ""
    step_s: Quantity | None = None
    interval: Interval | None = None
    quantiles_s: dict[str, float] = {}
    rounds: list[Round] = []
    n_accepted: int = 0
    n_rejected: int = 0
    drift: float | None = None
    soak: Soak | None = None
    energy: Energy | None = None
    power_w: PowerSpread | None = None
    temperature_max_degc: float | None = None
    clock_hz: ClockSpread | None = None
    throttle_reasons: list[str] = []
    verify: Verify | None = None
    facts: dict[str, float] = {}
    texts: dict[str, str] = {}
    findings: list[Finding] = []


class TimelinePoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Telemetry thinned for display: seconds since the start of the run, per device."""

    t_s: float
    device: str
    clock_hz: float | None = None
    power_w: float | None = None
    temperature_degc: float | None = None
    trial: str = ""


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One run. `digest` is over all other fields; `journal_digest` over the journal's bytes.

    `outcome` as in `Ended`, or `truncated` when the journal has no end. `simulated` is True when any device was a
    fake or a replay: such a record is never rated.
    """

    schema: Literal["effbench.record/1"]
    digest: str
    plan: Plan
    inventory_before: Inventory
    measurements: list[Measurement]
    started_at: str
    tool: Tool
    journal_digest: str
    outcome: str
    rounds_done: int
    inventory_after: Inventory | None = None
    ended_at: str = ""
    wall_s: float = 0.0
    measured_s: float = 0.0
    overhead_s: float = 0.0
    simulated: bool = False
    health: dict[str, dict[str, float]] = {}
    sensors: list[Sensor] = []
    idle: list[Idle] = []
    timeline: list[TimelinePoint] = []
    findings: list[Finding] = []
