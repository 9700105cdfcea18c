"""Power and energy with what a reader needs to believe them: sensor, window, ledger, parts of the interval."""

from typing import Literal

import msgspec

from effbench.model.finding import Finding
from effbench.model.quantity import Interval, Quantity, finite

Scope = Literal["gpu", "module", "hbm", "package", "dram", "node"]
# `counter` accumulates J; `instant` and `average` are W of the chip's own sensor; `meter` is an external W reading.
SensorKind = Literal["counter", "instant", "average", "meter"]
# A wall-metered and reconciled, B reconciled counter, C single sensor, D estimated (never made by effbench itself).
Trust = Literal["A", "B", "C", "D"]
EnergyStatus = Literal["valid", "suspect", "invalid", "absent"]
Basis = Literal["measured", "published", "assumed", "given"]


class Sensor(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One way to read the power or energy of one device, and how far it can be believed. Absent ones say why.

    Attributes:
        key: unique in a record: `<device>.<name>`, for example `gpu0.counter`, `cpu.package`, `node.meter`.
        device: inventory key, or `node` for a meter of the whole node.
        reading: where a `Telemetry` line holds it: a field (`energy_j`, `power_w`, `power_average_w`) or a name in
            its `sensors`.
        source: the call or file that is read.
        window_s: time over which one reading averages, s. update_s: time between new values, s.
        coverage: share of wall time that the readings see (0.25 for 25 ms in every 100 ms).
        lag_s: how far the reading is behind the load, s. granularity_j: least step of a counter, J.
        basis: where window, update and coverage come from. basis_source names it.
        uncertainty: relative half-width at 95 % of the sensor's gain against a meter; uncertainty_source names it.
        gain, offset_w: the user's calibration, true = gain * read + offset; then `uncertainty` is the calibration's.
        absent: why there is no reading; empty when there is one. remedy: what a person can do about it.
    """

    key: str
    device: str
    kind: SensorKind
    scope: Scope
    unit: Literal["J", "W"]
    reading: str
    source: str
    window_s: float | None = None
    update_s: float | None = None
    coverage: float | None = None
    lag_s: float | None = None
    granularity_j: float | None = None
    basis: Basis = "assumed"
    basis_source: str = ""
    uncertainty: float | None = None
    uncertainty_source: str = ""
    calibrated: bool = False
    gain: float = 1.0
    offset_w: float = 0.0
    absent: str = ""
    remedy: str = ""

    def __post_init__(self) -> None:
        finite("Sensor", window_s=self.window_s, update_s=self.update_s, uncertainty=self.uncertainty, gain=self.gain)


class LedgerRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What one sensor says of the same window. `difference` is relative to the primary sensor's joules.

    `ends` is the relative half-width that the windows' ends and a part-time view leave to these joules. Not `resolved`:
    one of the windows is shorter than this sensor needs, so that its joules are compared and never a figure.
    """

    sensor: str
    kind: SensorKind
    scope: Scope
    joules: float | None = None
    readings: int = 0
    difference: float | None = None
    tolerance: float | None = None
    primary: bool = False
    note: str = ""
    ends: float | None = None
    resolved: bool = True


class Held(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Time and energy of a window that were spent under one clock-event reason."""

    reason: str
    seconds: float
    joules: float | None = None


class Slice(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A window or sub-window: `start_s` since the start of the run, its length, its joules, the repetitions in it."""

    start_s: float
    seconds: float
    joules: float
    steps: float = 0.0


class Energy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The energy of one trial (or idle, or command) on one device, by its primary sensor. Gross; net is an extra.

    `absent` has no figure, only `reason` and `remedy`; `invalid` keeps its ledger but no figure; `suspect` has both.
    `components` are relative half-widths at 95 %: sensor, window, granularity, spread, calibration.
    `energy` is of all windows together, J, over `window_s` s in which `steps` repetitions ran.
    """

    device: str
    status: EnergyStatus
    reason: str = ""
    remedy: str = ""
    sensor: str = ""
    scope: Scope = "gpu"
    trust: Trust | None = None
    window_s: float = 0.0
    windows: int = 0
    steps: float = 0.0
    energy: Quantity | None = None
    energy_interval: Interval | None = None
    power: Quantity | None = None
    power_interval: Interval | None = None
    components: dict[str, float] = {}
    ledger: list[LedgerRow] = []
    slices: list[Slice] = []
    held: list[Held] = []
    capped: bool = False
    temperature_degc: list[float] = []
    idle_w: float | None = None
    idle_name: str = ""
    net: Quantity | None = None
    findings: list[Finding] = []


class Idle(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Power with nothing to do. `bare`: no context is open on the device; `context`: a worker holds one open.

    `settled_s` is how long before it the last context is known to have been closed (bare) or opened (context).
    """

    name: Literal["bare", "context"]
    device: str
    energy: Energy
    settled_s: float | None = None
