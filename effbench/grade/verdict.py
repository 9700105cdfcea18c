"""Scorecard and policy to the verdict: gates first, then domains, then the overall grade. Pure; fails closed."""

import math
from collections.abc import Sequence
from datetime import date, datetime, timedelta

from effbench.catalog.quantities import parse
from effbench.grade.cluster import grade_cluster
from effbench.grade.domain import domain
from effbench.grade.gates import gate
from effbench.grade.ladder import Ladder
from effbench.grade.shrink import LEAST
from effbench.model.digest import digest
from effbench.model.grade import PRECEDENCE, DomainGrade, Grade, PolicyRef, Reason, Verdict
from effbench.model.policy import Policy
from effbench.model.scorecard import Scorecard


def grade(card: Scorecard, policy: Policy) -> Grade:
    """Decide. Precedence: fail, not rated, undecided, pass (INTERFACES section 1)."""
    if card.cluster is not None:
        return grade_cluster(card, card.cluster, policy)
    section = policy.gpu if card.device_class == "gpu" else policy.cpu
    ladder = Ladder(policy, card.device_class)
    gates = [reason for rule in section.gates if (reason := gate(rule, card)) is not None]
    domains = [domain(rule, card.metrics, ladder, policy, card.planned or ()) for rule in section.domains]
    doubts, decided = _doubts(card, policy), _decided(card)
    outcomes: list[Verdict] = [r.outcome for r in gates]
    outcomes += [d.outcome for d in domains if d.required]
    if doubts:
        outcomes.append("not_rated")
    verdict: Verdict = next((v for v in PRECEDENCE if v in outcomes), PRECEDENCE[1])
    letter, scored = None, None
    if verdict == "pass":
        letter, scored = _overall(domains, section_weights(policy, card), ladder, policy)
    elif verdict == "fail":
        letter = policy.fail_grade
    return Grade(
        schema="effbench.grade/1",
        verdict=verdict,
        policy=PolicyRef(policy.name, policy.version, digest(policy)),
        scorecard_digest=digest(card),
        gates=gates,
        domains=domains,
        summary=_summary(verdict, letter, gates, domains, doubts),
        decided_at=decided,
        grade=letter,
        score=scored,
        rated_until=_until(decided, policy) if verdict == "pass" else None,
        rerate_on=policy.rerate_on if verdict == "pass" else [],
        rated_for=card.identity if verdict == "pass" else {},
        reasons=doubts,
    )


def section_weights(policy: Policy, card: Scorecard) -> dict[str, float]:
    """Return the weight of each domain in the policy's section for the card's device class."""
    section = policy.gpu if card.device_class == "gpu" else policy.cpu
    return {rule.name: rule.weight for rule in section.domains}


def _doubts(card: Scorecard, policy: Policy) -> list[str]:
    """What makes the whole card unfit for a rating, whatever its figures say."""
    doubts = []
    if card.simulated and not policy.accepts_simulated:
        doubts.append("the figures are simulated or replayed through a fake device; only measured ones are rated")
    if card.subject != policy.subject:
        doubts.append(
            f"the scorecard is of a {card.subject}, the policy rates a {policy.subject}: measure every device listed"
        )
    if card.outcome in ("interrupted", "truncated", "abandoned"):
        doubts.append(f"the run was {card.outcome}, so its evidence is incomplete")
    if card.imported:
        doubts.append(f"the figures were imported from {card.imported}, and effbench measured none of them")
    elif card.coverage < parse(policy.coverage_min).value:
        doubts.append(f"only {card.coverage:.0%} of the planned trials gave a figure, required {policy.coverage_min}")
    return doubts


def _overall(
    domains: Sequence[DomainGrade], weights: dict[str, float], ladder: Ladder, policy: Policy
) -> tuple[str | None, float | None]:
    """The grade of the domains' weighted geometric mean, at most so many above the worst critical one; its score."""
    graded = [d for d in domains if d.grade is not None and d.share_low is not None]
    total = sum(weights[d.name] for d in graded)
    if not graded or total <= 0:
        return None, None
    low, scored = (
        math.exp(sum(weights[name] * math.log(share or LEAST) for name, share in ends) / total)
        for ends in ([(d.name, d.share_low) for d in graded], [(d.name, d.score) for d in graded])
    )
    letter = ladder.earned(low, scored)
    if any(d.capped or any(r.provisional for r in d.reasons) for d in graded):
        letter = ladder.capped(letter, policy.provisional_cap)
    critical = [d.grade for d in graded if d.critical and d.grade is not None]
    if critical:
        letter = ladder.capped(letter, ladder.above(ladder.worst(critical), policy.above_worst_critical))
    return letter, scored


def _summary(
    verdict: Verdict,
    letter: str | None,
    gates: Sequence[Reason],
    domains: Sequence[DomainGrade],
    doubts: Sequence[str],
) -> str:
    """One sentence that a person can act on."""
    if verdict == "pass":
        unrated = [d.name for d in domains if d.outcome == "not_rated"]
        tail = f"; not rated: {', '.join(unrated)}" if unrated else ""
        below = [r.metric for d in domains if d.required for r in d.reasons if r.outcome != "pass"]
        what = f"domain meets the policy at its pessimistic end, but not by itself {', '.join(below)}"
        what = what if below else "figure meets the policy at its pessimistic end"
        return f"Every required {what}; grade {letter}{tail}."
    culprits = [*gates, *(r for d in domains if d.required for r in d.reasons)]
    named = [r.text for r in culprits if r.outcome == verdict]
    broken = [d for d in domains if d.required and d.outcome == verdict]
    if verdict == "not_rated" and doubts:
        named = [*doubts, *named]
    if not named:
        named = [_reach(d) for d in broken]
    more = f" (and {len(named) - 1} more)" if len(named) > 1 else ""
    words = {"fail": "Failed", "not_rated": "Not rated", "undecided": "Undecided", "pass": ""}[verdict]
    return f"{words}: {named[0] if named else 'no evidence'}{more}."


def _reach(domain: DomainGrade) -> str:
    """What a whole domain came to; one whose metrics are all optional may have no figure at all."""
    if domain.share_low is None or domain.share_high is None:
        return f"domain {domain.name} has not one figure that it could be rated by"
    return f"domain {domain.name} reaches {domain.share_low:.3f} to {domain.share_high:.3f} of the reference"


def _decided(card: Scorecard) -> str:
    """The end of the run. Where the date went back during it, the date after that: no rating is newer than it is."""
    ended = card.ended_at or card.started_at
    try:
        back_s = sum(min(0.0, float(f.evidence.get("jump_s", 0))) for f in card.findings if f.code == "clock-jumped")
        if back_s == 0:
            return ended
        return (datetime.fromisoformat(ended) + timedelta(seconds=back_s)).isoformat(timespec="seconds")
    except (ValueError, OverflowError):  # nobody can say when, and without a date no rating holds
        return ""


def _until(decided: str, policy: Policy) -> str | None:
    try:
        return (date.fromisoformat(decided[:10]) + timedelta(days=policy.rated_for_days)).isoformat()
    except (ValueError, OverflowError):  # no date, or one near the last of all: without an end no rating holds
        return None
