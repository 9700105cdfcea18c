"""Judges a simulated node by the real path, and says what the verdict was and whether it names the fault."""

from collections.abc import Iterator

import msgspec

from effbench import resources
from effbench.catalog.claim import read_claim
from effbench.catalog.policies import load_policy
from effbench.faults.cells import Cell, Judged
from effbench.faults.inject import SICK
from effbench.faults.site import DEVICES, PART
from effbench.grade.claim import judge
from effbench.grade.verdict import grade
from effbench.model.baseline import Baseline
from effbench.model.claim import VERDICTS, Claim
from effbench.model.grade import Grade, Reason, Verdict
from effbench.model.policy import GateRule, Policy
from effbench.model.record import Record
from effbench.model.scorecard import Scorecard
from effbench.score.against_baseline import against_baseline
from effbench.score.node import score

__all__ = ["Rules", "Ruling", "graded", "named", "rules", "ruling"]

# The shipped policy behind each way of judging. A power figure is asked for by no shipped policy, so a gate is added
# that a site could write: any figure at all will do.
POLICIES: dict[Judged, str] = {
    "baseline": "ci-qualification",
    "claim": "ci-qualification",
    "burn-in": "burn-in",
    "energy": "ci-qualification",
}
ENERGY_GATE = GateRule("power.gemm.bf16.flops_per_joule", "1 flop/J")


class Rules(msgspec.Struct, frozen=True):
    """The policies by the way of judging, each the shipped one but for taking simulated figures, and the claim."""

    policies: dict[Judged, Policy]
    claim: Claim


class Ruling(msgspec.Struct, frozen=True):
    """How one case came out. `said` is what stands against the node; `card` is what the verdict is of."""

    verdict: Verdict
    named: bool
    said: str
    card: Scorecard


def rules() -> Rules:
    """Load the shipped policies, let them take simulated figures, and change nothing else of them."""
    found: dict[Judged, Policy] = {}
    for judged, name in POLICIES.items():
        policy = load_policy(resources.find("policies", name))
        found[judged] = msgspec.structs.replace(policy, accepts_simulated=True)
    gpu = found["energy"].gpu
    asked = msgspec.structs.replace(gpu, gates=[*gpu.gates, ENERGY_GATE])
    found["energy"] = msgspec.structs.replace(found["energy"], gpu=asked)
    return Rules(found, read_claim(f"{DEVICES}x {PART}"))


def ruling(cell: Cell, record: Record, baseline: Baseline | None, known: Rules) -> Ruling:
    """Score and judge one record as `cell` says."""
    card = score(record)
    if cell.judged == "claim":
        found = judge(known.claim, msgspec.structs.replace(card, simulated=False), record)
        bad = [c for c in found.checks if VERDICTS[c.outcome] != "pass"]
        hit = any(c.subject in cell.names and c.device in (None, SICK) for c in bad)
        return Ruling(found.verdict, hit, "; ".join(f"{c.subject} {c.reason} {c.device or ''}" for c in bad), card)
    if baseline is not None and cell.judged != "burn-in":
        card = against_baseline(card, record, baseline)
    return graded(cell, card, known.policies[cell.judged])


def graded(cell: Cell, card: Scorecard, policy: Policy) -> Ruling:
    """Grade a card under `policy` and look for the fault in what is said."""
    found = grade(card, policy)
    said = "; ".join([*found.reasons, *(r.text for r in against(found))])
    return Ruling(found.verdict, named(cell, card, found), said, card)


def against(found: Grade) -> Iterator[Reason]:
    """Give every rule that was not met, those of domains that need not be met left out."""
    for reason in [*found.gates, *(r for d in found.domains if d.required for r in d.reasons)]:
        if reason.outcome != "pass":
            yield reason


def named(cell: Cell, card: Scorecard, found: Grade) -> bool:
    """Whether what stands against the node says what is wrong with it, and where."""
    bad = list(against(found))
    where = (None, SICK) if cell.size is None or cell.peers == "healthy" else None
    rule = any(r.metric.startswith(cell.names) and (where is None or r.device in where) for r in bad)
    if not cell.says:
        return rule
    words = [*found.reasons, *(r.text for r in bad), *(f"{f.message}" for f in card.findings)]
    said = any(cell.says in text for text in words)
    return said and (rule or not cell.names)
