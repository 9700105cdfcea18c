"""The scorecard: every metric of a node with its interval, its ceiling and its evidence. A vector, not a number."""

from typing import Any, Literal

import msgspec

from effbench.model.chain import Chain, Economics
from effbench.model.cluster import Cluster
from effbench.model.finding import Finding
from effbench.model.quantity import Ceiling, Interval, Quantity
from effbench.model.record import Status
from effbench.model.scaling import ScalingView

Better = Literal["higher", "lower"]


class Metric(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One figure. Without `device` it is the node's aggregate: its worst device, named in `params["worst_device"]`."""

    key: str
    quantity: Quantity
    better: Better
    status: Status
    evidence: list[str]
    device: str | None = None
    interval: Interval | None = None
    ceiling: Ceiling | None = None
    params: dict[str, Any] = {}


class Stage(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One bar of the efficiency waterfall.

    `share` is the stage's value over the first stage's; `explanation` names the loss (or gain) against the stage
    before it in one sentence. A stage without a value says in `explanation` why.
    """

    name: str
    title: str
    explanation: str
    value: float | None = None
    share: float | None = None
    metric: str | None = None


class Waterfall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the flops of one device went, from its rated peak to a training step. Values in flop/s of `dtype`."""

    device: str
    dtype: str
    stages: list[Stage]


class DeviceCard(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a reader must know of a device to read its figures."""

    key: str
    kind: Literal["gpu", "cpu"]
    name: str
    part: str | None = None
    part_title: str = ""
    part_confidence: str = ""
    simulated: bool = False


class Scorecard(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The whole vector. `subject` is `device` when the run covered fewer devices than the driver lists.

    Of a cluster, `node` is the campaign's name, every metric is the median over the nodes, and `cluster` says the rest.
    `imported` names the format when another tool measured: such a scorecard never passes. `identity` is what a rating
    is made for: driver, firmware, VBIOS and topology of the node at the start of the run.
    `planned` are the stems of all figures that the run set out to take (`compute.gemm.bf16.soak`), so that one which is
    absent is told from one which nobody asked for; None when that is not known.
    """

    schema: Literal["effbench.scorecard/1"]
    subject: Literal["node", "device", "cluster"]
    node: str
    device_class: Literal["gpu", "cpu"]
    devices: list[DeviceCard]
    metrics: list[Metric]
    coverage: float
    findings: list[Finding]
    record_digests: list[str]
    suite: str
    started_at: str
    waterfalls: list[Waterfall] = []
    chains: list[Chain] = []
    economics: Economics | None = None
    outcome: str = "complete"
    simulated: bool = False
    ended_at: str = ""
    scaling: ScalingView | None = None
    cluster: Cluster | None = None
    imported: str = ""
    identity: dict[str, str] = {}
    planned: list[str] | None = None
