"""A policy: what is required of a node, as data. No expressions; direction and unit live with the metric."""

from typing import Literal

import msgspec

from effbench.model.quantity import finite

Change = Literal["driver", "firmware", "vbios", "topology"]


class MetricRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One metric that counts towards a domain, by its share of the reference or of a baseline.

    `any_of` lists alternatives in order of preference (`fp32` or `tf32`); the first that was measured counts.
    One that the run set out to measure in vain is missing evidence, and a later one is no substitute for it.
    """

    any_of: list[str]
    weight: float = 1.0
    required: bool = True


class DomainRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One domain of the scorecard: its metrics, its weight, and whether it is required and critical."""

    name: str
    metrics: list[MetricRule]
    weight: float = 1.0
    required: bool = True
    critical: bool = False


class GateRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A hard gate that nothing averages away. `threshold` is a unit-bearing string: "0", "0.85", "3.0 TB/s".

    `on_missing`: `not_rated` (the default: no evidence, no rating), `unplanned` (not asked of a run whose suite holds
    no trial that could give it; planned and absent is not rated) or `ignore` (the device class lacks it).
    """

    metric: str
    threshold: str
    on_missing: Literal["not_rated", "unplanned", "ignore"] = "not_rated"


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The rules for one device class. `pass_grade` is the least grade that passes here, instead of the policy's."""

    gates: list[GateRule]
    domains: list[DomainRule]
    pass_grade: str | None = None


class Prior(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is assumed of a node before it is measured: its share of the reference, and how widely nodes vary.

    By default the share is a B, the best that anything gets here without recordings to rest on (`provisional_cap`), and
    the spread (a standard deviation of the logarithm) that of the device class, see `grade.shrink`.
    """

    share: str = "0.85"
    spread: str | None = None


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A named, versioned set of rules. `ladder` maps grades to the least share of the reference, best first.

    `pass_grade` is the least grade that passes; `provisional_cap` is the best grade a domain can reach when it rests
    on provisional references; `above_worst_critical` is how many grades the overall may exceed the worst critical
    domain by. A rating ends after `rated_for_days`, and with any change of what `rerate_on` names. `prior` is what
    grades are drawn to where little was measured.
    """

    schema: Literal["effbench.policy/1"]
    name: str
    version: int
    effective_from: str
    purpose: str
    ladder: dict[str, str]
    gpu: Section
    cpu: Section
    subject: Literal["node", "device", "cluster"] = "node"
    pass_grade: str = "C"
    fail_grade: str = "F"
    provisional_cap: str = "B"
    above_worst_critical: int = 1
    coverage_min: str = "1"
    accepts_simulated: bool = False
    rated_for_days: int = 30
    rerate_on: list[Change] = []
    prior: Prior = Prior()

    def __post_init__(self) -> None:
        finite("Policy", **{name: float(share) for name, share in self.ladder.items()})
