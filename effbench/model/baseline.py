"""A baseline: what a set of runs reached, figure by figure, robustly, with the absolute measure that anchors each."""

import math
from typing import Literal

import msgspec

from effbench.model.scorecard import Better
from effbench.model.suite import DeviceClass
from effbench.model.unit import Unit

# No figure of a machine is larger, and none above zero as small; quotients and squares stay numbers.
FIGURE_MAX = 1e100


class Anchor(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where the runs lie on an absolute scale: the median share of the catalogue's reference, 0 to 1 and above."""

    metric: str
    share: float
    source: str
    as_of: str
    confidence: str = "high"
    provisional: bool = False

    def __post_init__(self) -> None:
        _positive(f"the anchor {self.metric}", self.share)


class Kinds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Two groups among the runs: their medians in the row's unit, and how many runs each holds."""

    low: float
    high: float
    n_low: int
    n_high: int


class BaselineRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One figure of the node (its worst device) over `n` runs that measured it by the same trials.

    `trial_keys` decide which runs may be held against it. `median` and `mad` (the median absolute deviation, not
    scaled) are in `unit`; `mad` is absent below three runs. `kinds` is there when the runs are of two kinds.
    """

    key: str
    unit: Unit
    better: Better
    trial_keys: list[str]
    n: int
    median: float
    lowest: float
    highest: float
    mad: float | None = None
    anchor: Anchor | None = None
    kinds: Kinds | None = None

    def __post_init__(self) -> None:
        for name in ("median", "lowest", "highest"):
            _positive(f"{name} of {self.key}", getattr(self, name))
        if self.mad is not None and not (math.isfinite(self.mad) and self.mad >= 0):
            raise ValueError(f"mad of {self.key} is {self.mad}; it is finite and not negative")
        if not self.lowest <= self.median <= self.highest:
            raise ValueError(f"{self.key}: the median {self.median} lies outside {self.lowest} to {self.highest}")
        if self.mad is not None and self.mad > (1 + 1e-9) * max(self.highest - self.median, self.median - self.lowest):
            raise ValueError(f"{self.key}: no run is as far from the median as the mad of {self.mad} says")
        if self.n < 1 or not self.trial_keys:
            raise ValueError(f"{self.key}: a row rests on at least one run and names its trials")
        if (self.n >= 3) != (self.mad is not None):
            raise ValueError(f"{self.key}: a MAD is there from three runs on and not below, here are {self.n}")


class Omitted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A figure that `runs` runs could not give to the baseline, and why."""

    key: str
    runs: int
    why: str


class Baseline(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The runs' common centre. `digest` is over all other fields; `runs` names the records by their digests.

    `nodes` counts the different nodes; of a single one `node_digest` says which, so that its own later runs are known
    as such. `devices` are the numbers of devices that the runs are of, each once; empty where that was not kept, and
    then no share of it is graded.
    """

    schema: Literal["effbench.baseline/1"]
    digest: str
    device_class: DeviceClass
    nodes: int
    runs: list[str]
    first_at: str
    last_at: str
    rows: list[BaselineRow]
    simulated: bool = False
    node_digest: str = ""
    omitted: list[Omitted] = []
    devices: list[int] = []


def _positive(what: str, value: float) -> None:
    """Refuse what no share can be taken of: zero, a negative number, NaN, infinity, and what is near them."""
    if not 1 / FIGURE_MAX < value < FIGURE_MAX:
        raise ValueError(f"{what} is {value}; a baseline needs figures above zero, such as a machine has")
