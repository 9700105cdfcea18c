"""What somebody says a node has, how each part of that was judged, and the document for the one who decides."""

from typing import Annotated, Literal

import msgspec

from effbench.model.grade import Grade, Verdict
from effbench.model.scorecard import DeviceCard

# `met` and `warn` accept; `reject` was measured and falls short; `review` and `unknown` leave no ground for a rating.
Outcome = Literal["met", "warn", "undecided", "unknown", "review", "reject"]
Subject = Literal["count", "part", "units", "memory", "link_width", "speed", "above_peak"]

# How each outcome enters the verdict; precedence is that of verdicts (fail, not rated, undecided, pass).
VERDICTS: dict[Outcome, Verdict] = {
    "met": "pass",
    "warn": "pass",
    "undecided": "undecided",
    "unknown": "not_rated",
    "review": "not_rated",
    "reject": "fail",
}


class Claim(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A claimed node: so many accelerators of one part.

    `part` is a row of the accelerator catalogue, its exact driver name, or its title. `units` (SM, CU), `memory` of one
    device ("141 GB") and `link_width` (PCIe lanes) are the catalogue's where the claim does not say them.
    """

    schema: Literal["effbench.claim/1"]
    count: Annotated[int, msgspec.Meta(ge=1, le=100_000)]
    part: str
    units: Annotated[int, msgspec.Meta(ge=1)] | None = None
    memory: str | None = None
    link_width: Annotated[int, msgspec.Meta(ge=1, le=64)] | None = None


class ClaimCheck(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One part of the claim as it came out.

    `actual` and `required` are in `unit`; `named` and `demanded` stand for them where they are names. `share_low` and
    `share_high` are the ends of delivered over expected. `reason` is a key of the message catalogue: why so.
    """

    subject: Subject
    outcome: Outcome
    reason: str
    device: str | None = None
    metric: str | None = None
    actual: float | None = None
    required: float | None = None
    named: str = ""
    demanded: str = ""
    unit: str = "1"
    share: float | None = None
    share_low: float | None = None
    share_high: float | None = None
    provisional: bool = False
    source: str = ""


class ClaimVerdict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The claim, every check of it, and what they come to together."""

    claim: Claim
    title: str
    verdict: Verdict
    checks: list[ClaimCheck]


class Enrolment(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The decision document. `verdict` joins the policy's and the claim's; its exit code is INTERFACES section 1's.

    `evidence_level` is `self-reported`: whoever runs the node made the record, and nobody else has repeated it.
    """

    schema: Literal["effbench.enrolment/1"]
    verdict: Verdict
    node: str
    devices: list[DeviceCard]
    evidence_level: Literal["self-reported"]
    grade: Grade
    simulated: bool
    suite: str
    measured_at: str
    record_digests: list[str]
    claim: ClaimVerdict | None = None
    rated_until: str | None = None
