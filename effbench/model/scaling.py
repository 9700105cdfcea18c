"""How work scales over devices: curves, what models predict of them, who holds the others up, projections."""

from typing import Literal

import msgspec

from effbench.model.quantity import Interval, finite
from effbench.model.record import Status

Scaling = Literal["weak", "strong"]
# `node`: points within one node; `cluster`: points over several nodes, with the largest of one node as their base.
Span = Literal["node", "cluster"]
# `mechanistic` is predicted from links measured by themselves; `fitted` has its form with parameters fitted to the
# curve; the others are columns to compare with.
ModelName = Literal["mechanistic", "fitted", "fitted_latency", "amdahl", "usl"]
Health = Literal["fits", "contradicted", "untested"]


class Ratio(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A dimensionless figure, or seconds where its field says so, with its interval at 95 % where there is one."""

    value: float
    interval: Interval | None = None

    def __post_init__(self) -> None:
        finite("Ratio", value=self.value)


class Prediction(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the mechanistic model says of a count that was measured too: a test of the model, not a fit to it.

    Seconds: `time_s` = `compute_s` + `latency_s` + `transfer_s` - `overlapped_s`, between `low_s` and `high_s` at 95 %.
    `residual` is (measured - predicted) / measured; `noise` the relative half-width that both intervals explain
    together; `beyond_noise` says that the residual is larger than that.
    """

    time_s: float
    low_s: float
    high_s: float
    compute_s: float
    latency_s: float
    transfer_s: float
    overlapped_s: float
    efficiency: float
    residual: float
    noise: float
    beyond_noise: bool


class CurvePoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One count of ranks. Absent is what was not measured, or does not apply (the base against itself has no interval).

    Attributes:
        time: of one step, s, the slowest rank's. trial: what measured it.
        efficiency: T_base / T (weak), T_base base / (T ranks) (strong); speed_up: that times ranks / base.
        equal_clock: the efficiency with every step counted in cycles of its own clock instead of seconds.
        karp_flatt: serial share by Karp and Flatt; None at the base. Constant over counts: a serial part; rising: a
            growing overhead.
        slowest_rank: busy time of the slowest rank over the median of all ranks' (1: they are alike).
        of_peak: FLOP/s of all ranks over as many peaks; peak says which (`rated`, or `held` clock of a CPU).
        compute_s, communication_s: steps of only that, measured apart. exposed_s: time - compute.
        overlap: (compute + communication - time) / min(compute, communication): 1 is all hidden, below 0 is contention.
        busy_s, wait_s: by rank, medians over rounds.
    """

    ranks: int
    time: Ratio
    status: Status
    trial: str
    nodes: int = 1
    efficiency: Ratio | None = None
    speed_up: Ratio | None = None
    equal_clock: Ratio | None = None
    karp_flatt: Ratio | None = None
    slowest_rank: Ratio | None = None
    of_peak: Ratio | None = None
    peak: Literal["", "rated", "held"] = ""
    compute_s: Ratio | None = None
    communication_s: Ratio | None = None
    exposed_s: Ratio | None = None
    overlap: float | None = None
    busy_s: list[float] = []
    wait_s: list[float] = []
    predicted: Prediction | None = None
    predicted_absent: str = ""


class ModelFit(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One model of a curve. `efficiency` is what it gives at each measured count, by the count's number as text.

    Attributes:
        health: `contradicted` when a measured point lies further from it than noise explains; `untested` when there
            are no more points than parameters.
        parameters: seconds, or shares where the name says so (`serial_share`, `sigma`, `kappa`).
        left_out: largest relative error of step times predicted with that count left out of the fit; None where that
            leaves too few.
    """

    name: ModelName
    title: str
    health: Health
    parameters: dict[str, float]
    efficiency: dict[str, float]
    worst_residual: float | None = None
    left_out: float | None = None
    note: str = ""


class LinkCost(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A collective in one class of links, by its own sweep: call + steps(n) latency + bus bytes / bandwidth.

    Attributes:
        op: `all_reduce` and so on. span: `node` within one node, `cluster` over several.
        call_s: fixed part of one call. latency_s: of one step of the ring (2(n-1) of them for all_reduce, n-1 for
            others). bandwidth: byte/s by nccl-tests' bus definition; absent where time does not grow with size.
        counts, sizes: numbers of ranks and sizes in byte that were measured. worst_residual: relative, of the fit.
    """

    op: str
    span: Span
    call_s: Ratio
    latency_s: Ratio
    bandwidth: Ratio | None
    counts: list[int]
    sizes: list[float]
    worst_residual: float
    trials: list[str] = []


class Curve(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One strategy, weak or strong, within a node or over nodes. `base` says in words what efficiency 1 is.

    `capacity` is how many ranks one node can hold. `doubts` are sentences on a curve that cannot be true as it is: such
    a curve is a suspect measurement first.
    """

    strategy: str
    scaling: Scaling
    span: Span
    base_ranks: int
    base: str
    points: list[CurvePoint]
    models: list[ModelFit] = []
    capacity: int = 1
    overlap_rule: str = ""
    doubts: list[str] = []
    params: dict[str, str] = {}


class Straggler(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Who holds the others up. `compute`: the rank that is busy longest and waits least; `network`: links or an end.

    `ranks` has one rank, or the two ends of a slow pair. `factor` is its busy time over the median of the others, or
    its bandwidth over that of the healthy pairs. It was seen in `seen` of `rounds` rounds.
    """

    kind: Literal["compute", "network"]
    ranks: list[int]
    of_ranks: int
    factor: float
    text: str
    trial: str
    seen: int = 1
    rounds: int = 1
    device: str = ""


class Together(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One single-device kernel on all devices at once: `loss` = 1 - rate together (slowest) over rate alone.

    `spread` is the slowest device's step time over the fastest's, minus 1. `alone` names the trial alone;
    without one on the same share of the node there is no loss. `key` is the stem of its metrics.
    """

    kernel: str
    ranks: int
    trial: str
    step_s: list[float]
    spread: float
    slowest: int
    loss: Ratio | None = None
    alone: str = ""
    key: str = ""
    status: Status = "valid"


class ScalingView(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Everything a run says of scaling."""

    curves: list[Curve] = []
    links: list[LinkCost] = []
    stragglers: list[Straggler] = []
    together: list[Together] = []


class ModelProjection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One model's efficiency at the asked count; `included` says whether it counts towards the interval."""

    name: ModelName
    title: str
    efficiency: Ratio
    time_s: float
    included: bool
    note: str = ""


class Projection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A statement about models at a count that was not measured. Never a measurement, and marked so.

    Attributes:
        efficiency: of the first model that the measured points do not contradict; its interval spans the intervals of
            all such models. spread: lowest and highest efficiency over all models, contradicted ones too.
        refused: why there is none; then nothing else is filled. measured: the counts it rests on.
        forced: what was overridden, for the stamp.
    """

    strategy: str
    scaling: Scaling
    span: Span
    ranks: int
    base: str
    measured: list[int]
    kind: Literal["projection"] = "projection"
    refused: str = ""
    primary: str = ""
    efficiency: Ratio | None = None
    spread: list[float] = []
    models: list[ModelProjection] = []
    forced: list[str] = []
    notes: list[str] = []
    simulated: bool = False
