"""The verdict on a scorecard under a policy, with every reason spelled out."""

from typing import Literal

import msgspec

Verdict = Literal["pass", "fail", "not_rated", "undecided"]

# INTERFACES section 1: a scheduler drains on 1, retries elsewhere on 3, extends the budget on 4.
EXIT_CODES: dict[Verdict, int] = {"pass": 0, "fail": 1, "not_rated": 3, "undecided": 4}
PRECEDENCE: tuple[Verdict, ...] = ("fail", "not_rated", "undecided", "pass")


class Reason(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Why one rule came out as it did. Numbers in the metric's unit; `margin` is relative, positive when met.

    `bound` is the end of the interval that decided. `text` says it in one sentence, `next_step` what to do.
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


class DomainGrade(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One domain. `share`, `share_low`, `share_high`: of the reference, geometric means over its metrics."""

    name: str
    outcome: Verdict
    reasons: list[Reason]
    required: bool
    critical: bool
    grade: str | None = None
    share: float | None = None
    share_low: float | None = None
    share_high: float | None = None
    capped: bool = False


class PolicyRef(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which policy decided."""

    name: str
    version: int
    digest: str


class Grade(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The verdict. `grade` is absent when the node is not rated. `decided_at` is the end of the run, UTC."""

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
    reasons: list[str] = []
