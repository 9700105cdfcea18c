"""A claim against what was measured: exact parts first, then delivered speed. Pure; what is not known accepts nothing.

The limits are those of the enrolment contract: device count, part, units, memory and link width are exact; delivered
over expected speed below 80 % rejects and below 90 % warns, where the reference is no provisional one; a figure above
103 % of the rated peak at the part's maximum clock is looked at by a person.
"""

import msgspec

from effbench.catalog.claim import lanes_of
from effbench.catalog.parts import Row, catalog
from effbench.catalog.quantities import parse
from effbench.grade.claim_speed import speeds
from effbench.model.claim import VERDICTS, Claim, ClaimCheck, ClaimVerdict, Enrolment, Outcome
from effbench.model.grade import PRECEDENCE, Grade, Verdict
from effbench.model.inventory import Accelerator
from effbench.model.record import Record
from effbench.model.scorecard import Scorecard

__all__ = ["enrolment", "judge"]

# A driver reports the total minus what ECC and itself keep: down to 10 % below the marketed size (see catalog).
MEMORY_LEAST = 0.90


def enrolment(card: Scorecard, grade: Grade, record: Record | None, claim: Claim | None) -> Enrolment:
    """Join the policy's verdict and the claim's: fail, not rated, undecided, pass, the first that either says."""
    judged = judge(claim, card, record) if claim is not None else None
    said = [grade.verdict, *([judged.verdict] if judged is not None else [])]
    verdict = next(v for v in PRECEDENCE if v in said)
    return Enrolment(
        schema="effbench.enrolment/1",
        verdict=verdict,
        node=card.node,
        devices=card.devices,
        evidence_level="self-reported",
        grade=grade,
        simulated=card.simulated,
        suite=card.suite,
        measured_at=card.ended_at or card.started_at,
        record_digests=card.record_digests,
        claim=judged,
        rated_until=grade.rated_until if verdict == "pass" else None,
    )


def judge(claim: Claim, card: Scorecard, record: Record | None) -> ClaimVerdict:
    """Hold a claim against a run. Simulated devices prove nothing: every check is then unknown, whatever it shows."""
    row = catalog().row(claim.part)
    if record is None or card.cluster is not None:
        checks = [ClaimCheck("count", "unknown", "no_record", required=float(claim.count))]
    else:
        gpus = [a for a in record.inventory_before.accelerators if a.kind == "gpu"]
        checks = [_count(claim, gpus, record)]
        for gpu in gpus:
            checks += _device(claim, row, gpu)
        checks += speeds(claim, card, record, gpus)
    if card.simulated:
        checks = [msgspec.structs.replace(check, outcome="unknown", reason="simulated") for check in checks]
    verdicts = {VERDICTS[check.outcome] for check in checks}
    verdict: Verdict = next(v for v in PRECEDENCE if v in verdicts)
    return ClaimVerdict(claim, row.title, verdict, checks)


def _count(claim: Claim, gpus: list[Accelerator], record: Record) -> ClaimCheck:
    """Devices that the driver listed before and still listed after the run; one listed twice is one."""
    after = record.inventory_after
    kept = {a.key for a in after.accelerators} if after is not None else {a.key for a in gpus}
    present = len({gpu.uuid or gpu.key for gpu in gpus if gpu.key in kept})
    outcome: Outcome = "met" if present >= claim.count else "reject"
    reason = "met" if outcome == "met" else "lost" if len(gpus) >= claim.count else "count"
    return ClaimCheck("count", outcome, reason, actual=float(present), required=float(claim.count))


def _device(claim: Claim, row: Row, gpu: Accelerator) -> list[ClaimCheck]:
    checks = [_part(row, gpu)]
    units = claim.units or row.units
    if units is not None:
        checks.append(_exact("units", gpu, gpu.sm_count, units))
    memory = claim.memory or row.memory.size
    if memory is not None:
        size = parse(memory).value
        seen = float(gpu.memory_bytes) if gpu.memory_bytes > 0 else None
        checks.append(_exact("memory", gpu, seen, size * MEMORY_LEAST, "byte"))
    lanes = claim.link_width or lanes_of(row)
    if lanes is not None:
        checks.append(_exact("link_width", gpu, gpu.pcie.width if gpu.pcie else None, lanes))
    return checks


def _part(row: Row, gpu: Accelerator) -> ClaimCheck:
    """The exact part. A name that fits while no row does is unknown here; the exact facts beside it decide."""
    found = gpu.part.id if gpu.part else None
    named = " ".join(gpu.name.split())
    if found == row.id:
        outcome, reason = "met", "met"
    elif found is not None or gpu.mig or named not in row.names:
        outcome, reason = "reject", "slice" if gpu.mig else "part"
    else:
        outcome, reason = "unknown", "part_unknown"
    title = gpu.part.title if gpu.part else gpu.name
    return msgspec.convert(
        {"subject": "part", "outcome": outcome, "reason": reason, "device": gpu.key, "named": title}
        | {"demanded": row.title},
        ClaimCheck,
    )


def _exact(subject: str, gpu: Accelerator, actual: float | None, required: float, unit: str = "1") -> ClaimCheck:
    """A fact that may not fall short. Without the fact it is unknown, never met."""
    outcome = "unknown" if actual is None else "met" if actual >= required else "reject"
    reason = {"unknown": "not_told", "met": "met", "reject": subject}[outcome]
    facts = {"subject": subject, "outcome": outcome, "reason": reason, "device": gpu.key, "unit": unit}
    return msgspec.convert(facts | {"actual": actual, "required": float(required)}, ClaimCheck)
