"""What many nodes' scorecards say together: each figure's distribution, who stands out, who is missing."""

from typing import Literal

import msgspec

from effbench.model.grade import Verdict
from effbench.model.quantity import finite
from effbench.model.record import Status
from effbench.model.unit import Unit

State = Literal["reported", "missing", "unreadable", "duplicate"]
Ground = Literal["spread", "anchor"]


class Anchor(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The absolute measure that a figure is held against, so that a fleet that is slow as a whole shows too.

    `key` is the metric that gives the share (`compute.gemm.bf16.fraction_of_reference`), `share` its median over the
    nodes. `bar` is what a healthy part keeps at least; without one the share is shown and nobody is judged by it.
    `below` names the nodes that missed the bar even at the better end of their interval. `slow` is True when the
    median of the nodes misses the bar: the fleet as a whole is slow, and a comparison among its nodes hides it.
    """

    key: str
    share: float
    bar: float | None = None
    below: list[str] = []
    slow: bool = False
    source: str = ""

    def __post_init__(self) -> None:
        finite("Anchor", share=self.share, bar=self.bar)


class Outlier(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One figure of one node that stands out.

    Attributes:
        ratio: the value over the median of the nodes. deviation: distance from the median in robust standard
            deviations, positive when worse; absent when only the anchor speaks.
        grounds: `spread` (far from the other nodes) and `anchor` (below what a healthy part keeps): one or both.
        share: of the anchor, where there is one. text: the same in one sentence.
        side: `worse`, or `better`: a figure too good is another part or a wrong measurement, and never ranked as slow.
    """

    node: str
    key: str
    value: float
    unit: Unit
    ratio: float
    grounds: list[Ground]
    text: str
    deviation: float | None = None
    share: float | None = None
    side: Literal["worse", "better"] = "worse"
    status: Status = "valid"

    def __post_init__(self) -> None:
        finite("Outlier", value=self.value, ratio=self.ratio, deviation=self.deviation, share=self.share)


class Halves(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A hint that the nodes fall into two kinds: those with the lower values, how many have the higher ones.

    `distance` is Ashman's D of the two groups; `low` and `high` are their medians in the metric's unit.
    """

    low: float
    high: float
    distance: float
    nodes_low: list[str]
    n_high: int


class Distribution(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One metric over the nodes of one group.

    Attributes:
        median, mad: of the usable values; `mad` is the median absolute deviation, not scaled.
        sigma: the robust standard deviation that outliers are told by: 1.4826 mad, at least `floor`, absent below three
            nodes. floor: the median of the nodes' own standard uncertainties, so that noise names nobody.
        low, high: the least and the greatest. quantiles: "5", "25", "75", "95", where there are enough nodes.
        values: one per node of `Cluster.nodes`, in that order; None where the node has no usable figure.
        worst: nodes with the worst values, worst first (at most five). outliers: only of this metric, worst first.
        missing: nodes of the group that measured nothing usable here though others of it did.
        group: `Group.name`. margin: the practical difference below which nobody is an outlier, a fraction.
    """

    key: str
    unit: Unit
    better: Literal["higher", "lower"]
    n: int
    median: float
    mad: float
    floor: float
    margin: float
    low: float
    high: float
    values: list[float | None]
    worst: list[str]
    sigma: float | None = None
    quantiles: dict[str, float] = {}
    outliers: list[Outlier] = []
    missing: list[str] = []
    anchor: Anchor | None = None
    halves: Halves | None = None
    group: str = ""

    def __post_init__(self) -> None:
        finite("Distribution", median=self.median, mad=self.mad, floor=self.floor, low=self.low, high=self.high)

    @property
    def spread(self) -> float | None:
        """Robust standard deviation over the median, a fraction; None below three nodes or at a median of zero."""
        return None if self.sigma is None or self.median == 0 else self.sigma / abs(self.median)


class NodeRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One node. `Cluster.nodes` lists them worst first: the one to look at is the first.

    Attributes:
        name: the folder's name, which is the scheduler's name of the node. host: what the node calls itself.
        state: `reported`; `missing` (asked, and nothing came back); `unreadable`; `duplicate` (the same run again).
        detail: why it is missing or unreadable, or why its run is incomplete; empty when all is well.
        verdict: under the policy, `not_rated` without evidence. letter: the grade's. reason: what decided, in words.
        slowest: the outlier that is furthest out, of those that are worse. n_outliers: how many figures are worse.
        typical: median over its figures of value over the nodes' median, turned so that below 1 is slower.
        absent: keys that others of its group have and it has not.
        incidents: errors among its findings, as `code: message`, at most five.
    """

    name: str
    state: State
    verdict: Verdict
    host: str = ""
    detail: str = ""
    letter: str = ""
    reason: str = ""
    group: str = ""
    outcome: str = ""
    coverage: float | None = None
    typical: float | None = None
    slowest: Outlier | None = None
    n_outliers: int = 0
    absent: list[str] = []
    incidents: list[str] = []
    started_at: str = ""
    ended_at: str = ""
    record_digest: str = ""


class Group(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nodes whose figures may be compared: the same suite, the same devices. The largest group comes first."""

    name: str
    suite: str
    devices: str
    nodes: list[str]


class Version(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A piece of software that is not the same on all nodes: which nodes have which version."""

    what: str
    nodes: dict[str, list[str]]


class Cluster(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The nodes of one campaign, side by side.

    Attributes:
        verdict: over the nodes, by the precedence fail, not rated, undecided, pass; a missing node is not rated.
        counts: how many nodes have which verdict. nodes: worst first.
        distributions: headline metrics first, then by key. outliers: over all metrics, worst first.
        headlines: the keys that a reader sees first. slow: sentences on a fleet that is slow as a whole.
        limits: sentences on what could not be told (too few nodes, no anchor).
        policy: name and version of the rules that the verdicts are by.
    """

    verdict: Verdict
    counts: dict[str, int]
    nodes: list[NodeRow]
    groups: list[Group]
    distributions: list[Distribution]
    outliers: list[Outlier] = []
    headlines: list[str] = []
    slow: list[str] = []
    limits: list[str] = []
    versions: list[Version] = []
    policy: str = ""

    def first(self) -> NodeRow | None:
        """Return the node to look at first, None when every node is well and none stands out."""
        row = self.nodes[0] if self.nodes else None
        well = row is None or (row.state == "reported" and row.verdict == "pass" and not row.n_outliers)
        return None if well else row


class Campaign(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What was asked of the scheduler, and what became of it: `campaign.json` in the campaign's own folder.

    `jobs` are the scheduler's ids. `nodes` maps each node that was asked for to what is known of its task: `asked`,
    `running`, `done`, or a sentence on why it did not report.
    """

    schema: Literal["effbench.campaign/1"]
    suite: str
    token: str
    nodes: dict[str, str]
    jobs: list[str] = []
    started_at: str = ""
    ended_at: str = ""
