"""The lines of a journal: everything that happened in a run, in the order in which it was known."""

import msgspec

from effbench.model.energy import Sensor
from effbench.model.finding import Finding
from effbench.model.inventory import Inventory
from effbench.model.plan import Plan
from effbench.model.quantity import finite


class Tool(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which effbench wrote this: its version and the digest of its own source."""

    version: str
    source_digest: str


class Started(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="started", omit_defaults=True):
    """The first line: what was planned, on what. `started_at` is UTC, ISO 8601; all other times are monotonic ns.

    `utc_ns` is UTC in ns since 1970 at `t_ns`, which joins logs of other instruments; 0 where it was not noted.
    """

    schema: str
    t_ns: int
    started_at: str
    tool: Tool
    plan: Plan
    inventory: Inventory
    utc_ns: int = 0


class Opened(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="opened", omit_defaults=True):
    """A worker begins a trial. `process` numbers worker processes through the run; `round` counts from 0."""

    t_ns: int
    trial: str
    round: int
    process: int
    device: str


class Sample(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="sample", omit_defaults=True):
    """One timed batch of `inner_steps` repetitions. `device_s` and `host_s` are for the whole batch.

    `clock_hz` is the clock held in the batch where a probe could read it. `kind` tells searched from measured samples.
    """

    t_ns: int
    device_s: float
    host_s: float
    inner_steps: int = 1
    clock_hz: float | None = None
    accepted: bool = True
    reason: str = ""

    def __post_init__(self) -> None:
        finite("Sample", device_s=self.device_s, host_s=self.host_s, clock_hz=self.clock_hz)


class Telemetry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="telemetry", omit_defaults=True):
    """One reading of one device (`gpu0`, `cpu`). What could not be read is absent. Units in the field names.

    `reasons` is the device's clock-event bit mask. `steal` and `psi_some` are fractions of the time since the last
    reading; `energy_j` is the device's cumulative counter. `sensors` holds further power and energy readings under the
    names that the `Sensor` cards give (`dram_energy_j`, `hbm_power_w`, `module_power_w`).
    """

    t_ns: int
    device: str
    power_w: float | None = None
    power_average_w: float | None = None
    clock_hz: float | None = None
    memory_clock_hz: float | None = None
    temperature_degc: float | None = None
    memory_temperature_degc: float | None = None
    reasons: int | None = None
    utilisation: float | None = None
    energy_j: float | None = None
    steal: float | None = None
    psi_some: float | None = None
    throttled_s: float | None = None
    foreign: float | None = None
    counters: dict[str, float] = {}
    sensors: dict[str, float] = {}

    def __post_init__(self) -> None:
        finite("Telemetry.sensors", **self.sensors)
        finite(
            "Telemetry",
            power_w=self.power_w,
            clock_hz=self.clock_hz,
            temperature_degc=self.temperature_degc,
            energy_j=self.energy_j,
        )


class Sensed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="sensors"):
    """The cards of all power and energy sensors of the watched devices, absent ones included; the last one counts."""

    t_ns: int
    sensors: list[Sensor]


class Window(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="window", omit_defaults=True):
    """A span in which a device did one thing only, synchronised at both ends: what an energy figure is taken over.

    From `start_ns` to `t_ns`, monotonic. `name`: `trial` (then `trial`, `round` and the `steps` repetitions done),
    `idle.bare`, `idle.context`, or `command`. `settled_s` is for how long the same had gone on before (ramp discarded).
    `step_s` is the length of one repetition, against locking to the sensor's period.
    """

    t_ns: int
    start_ns: int
    device: str
    name: str
    trial: str = ""
    round: int = 0
    steps: float = 0.0
    settled_s: float = 0.0
    step_s: float | None = None


class Noted(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="finding"):
    """A finding, at the moment it was made."""

    t_ns: int
    finding: Finding


class Verify(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Was the result right? `error` against `tolerance`, both relative; fingerprints are of the output's raw bits.

    `bit_identical` is absent when the first untimed repeats already differed (not applicable, a finding).
    """

    ok: bool
    error: float
    tolerance: float
    detail: str = ""
    fingerprint: str = ""
    bit_identical: bool | None = None

    def __post_init__(self) -> None:
        finite("Verify", error=self.error, tolerance=self.tolerance)


class Closed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="closed", omit_defaults=True):
    """A trial ended in one round. `status`: `done`, `failed` (wrong result or error), `lost` (worker died or hung).

    `facts` are figures that the step itself reports (loss, verified bytes), SI base units.
    `texts` are words it reports (the instruction set that ran, the flags).
    """

    t_ns: int
    trial: str
    round: int
    status: str
    detail: str = ""
    verify: Verify | None = None
    facts: dict[str, float] = {}
    texts: dict[str, str] = {}

    def __post_init__(self) -> None:
        finite("Closed", **self.facts)


class Ended(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="ended", omit_defaults=True):
    """The last line. A journal without it was cut off; what is whole is kept and the record says so.

    `outcome`: `complete`, `interrupted`, `budget` or `abandoned` (a driver that does not come back). `utc_ns` is the
    machine's date at the end, ns since 1970: beside `Started.utc_ns` it tells whether the date was set during the run.
    """

    t_ns: int
    ended_at: str
    outcome: str
    inventory: Inventory | None = None
    overhead_s: float = 0.0
    utc_ns: int = 0


Event = Started | Opened | Sample | Telemetry | Sensed | Window | Noted | Closed | Ended
