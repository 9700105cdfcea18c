"""The verdict on a scorecard under a policy, with every reason spelled out."""

from typing import Literal

import msgspec

from effbench.model.policy import Change

Verdict = Literal["pass", "fail", "not_rated", "undecided"]

# INTERFACES section 1: a scheduler drains on 1, retries elsewhere on 3, extends the budget on 4.
EXIT_CODES: dict[Verdict, int] = {"pass": 0, "fail": 1, "not_rated": 3, "undecided": 4}
PRECEDENCE: tuple[Verdict, ...] = ("fail", "not_rated", "undecided", "pass")


YardstickKind = Literal["peak", "reference", "baseline"]


class Yardstick(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What one figure is of one thing it is held against: `share` with its ends, 1 is all of it; source and date.

    `peak` is absolute (rated, or of a CPU at the clock held), `reference` what a healthy part reaches, `baseline` what
    peers or its own history reached. Without a `share`, `absent` says why there is none.
    """

    kind: YardstickKind
    metric: str
    share: float | None = None
    low: float | None = None
    high: float | None = None
    source: str = ""
    as_of: str = ""
    provisional: bool = False
    absent: str = ""


class Reason(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Why one rule came out as it did. Numbers in the metric's unit; `margin` is relative, positive when met.

    `bound` is the end of the interval that decided. `yardsticks` are all that the figure can be held against, whichever
    of them the rule asks for. `text` says it in one sentence, `next_step` what to do.
    """

    metric: str
    outcome: Verdict
    text: str
    next_step: str = ""
    device: str | None = None
    observed: float | None = None
    bound: float | None = None
    threshold: float | None = None
    margin: float | None = None
    unit: str = "1"
    provisional: bool = False
    suspect: bool = False
    yardsticks: list[Yardstick] = []


class DomainGrade(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One domain. `share`, `share_low`, `share_high`: of the reference, geometric means over its metrics.

    The two ends decide the verdict; `score`, at most `share_low`, the grade: it is lower the less was measured.
    """

    name: str
    outcome: Verdict
    reasons: list[Reason]
    required: bool
    critical: bool
    grade: str | None = None
    share: float | None = None
    share_low: float | None = None
    share_high: float | None = None
    score: float | None = None
    capped: bool = False


class PolicyRef(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which policy decided."""

    name: str
    version: int
    digest: str


class Grade(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The verdict. `grade` is absent when the node is not rated. `decided_at` is the end of the run, UTC.

    A rating ends at `rated_until`, and before that with any change of what `rerate_on` names; `rated_for` holds what
    that was when the node was measured. `score` is the geometric mean of the domains' scores, which earned the grade.
    """

    schema: Literal["effbench.grade/1"]
    verdict: Verdict
    policy: PolicyRef
    scorecard_digest: str
    gates: list[Reason]
    domains: list[DomainGrade]
    summary: str
    decided_at: str
    grade: str | None = None
    rated_until: str | None = None
    rerate_on: list[Change] = []
    score: float | None = None
    rated_for: dict[str, str] = {}
    reasons: list[str] = []
