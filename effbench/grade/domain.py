"""One domain of the scorecard: its share of the reference at the pessimistic end, and the grade its score earns."""

import math
from collections.abc import Collection, Sequence

from effbench.catalog.metrics import lookup
from effbench.grade.gates import compare, ends
from effbench.grade.ladder import Ladder
from effbench.grade.shrink import LEAST
from effbench.grade.yardsticks import untrusted, yardsticks
from effbench.model.grade import PRECEDENCE, DomainGrade, Reason, Verdict
from effbench.model.policy import DomainRule, MetricRule, Policy
from effbench.model.record import USABLE
from effbench.model.scorecard import Metric

NO_REFERENCE = "the catalogue has no reference for this part"


def domain(
    rule: DomainRule, metrics: Sequence[Metric], ladder: Ladder, policy: Policy, planned: Collection[str] = ()
) -> DomainGrade:
    """Grade one domain. Missing required evidence makes it not rated; suspect evidence can never make it fail.

    `planned` are the stems of the figures that the run set out to take: of alternatives, one that was asked for and
    gave nothing is missing evidence, and the next one is no substitute.

    The share of a domain is the weighted geometric mean over its metrics, each counted at most as 1, so that a
    figure above its reference cannot buy out one below. Nor can a mean buy out a required figure that was measured
    and misses even the pass grade at its optimistic end (INTERFACES section 1).
    """
    reasons: list[Reason] = []
    failed: list[Reason] = []
    shares: list[tuple[float, ...]] = []
    for wanted in rule.metrics:
        metric = _chosen(wanted, metrics, planned)
        if metric is None:
            if wanted.required:
                reasons.append(_missing(wanted, metrics, planned))
            continue
        reasons.append(_reason(metric, ladder, metrics))
        if wanted.required and reasons[-1].outcome in ("fail", "not_rated"):
            failed.append(reasons[-1])
        low, high = ends(metric)
        own = (low, metric.quantity.value, high, ladder.score(metric))
        shares.append((wanted.weight, *map(_clamped, own)))
    missing = any(r.outcome == "not_rated" and r.observed is None for r in reasons)
    if missing or not shares:
        return DomainGrade(rule.name, "not_rated", reasons, rule.required, rule.critical)
    means = [_mean([(row[0], row[end]) for row in shares]) for end in (1, 2, 3, 4)]
    mean: Verdict = compare(means[0], means[2], ladder.pass_share, lower_is_better=False)
    if mean == "fail" and any(r.suspect for r in reasons):
        mean = "not_rated"
    outcomes = {mean, *(r.outcome for r in failed)}
    return _graded(rule, reasons, means, next(v for v in PRECEDENCE if v in outcomes), ladder, policy)


def _graded(
    rule: DomainRule,
    reasons: list[Reason],
    means: Sequence[float],
    outcome: Verdict,
    ladder: Ladder,
    policy: Policy,
) -> DomainGrade:
    low, share, high, scored = means
    earned = ladder.earned(low, scored) if outcome != "fail" else policy.fail_grade
    capped = any(r.provisional for r in reasons)
    grade = ladder.capped(earned, policy.provisional_cap) if capped else earned
    return DomainGrade(
        name=rule.name,
        outcome=outcome,
        reasons=reasons,
        required=rule.required,
        critical=rule.critical,
        grade=grade if outcome in ("pass", "fail") else None,
        share=share,
        share_low=low,
        share_high=high,
        score=scored,
        capped=capped and grade != earned,
    )


def _clamped(share: float) -> float:
    return min(1.0, max(share, LEAST))


def _mean(weighted: Sequence[tuple[float, float]]) -> float:
    """Weighted geometric mean."""
    total = sum(weight for weight, _ in weighted)
    return math.exp(sum(weight * math.log(x) for weight, x in weighted) / total)


def _chosen(rule: MetricRule, metrics: Sequence[Metric], planned: Collection[str]) -> Metric | None:
    """The first alternative that may be graded: usable, with an interval, against a trusted ceiling."""
    for key in rule.any_of:
        if _lost(key, metrics, planned):
            return None
        for metric in metrics:
            if metric.key != key or metric.device is not None or metric.status not in USABLE:
                continue
            if metric.interval is not None and metric.ceiling is not None and metric.ceiling.confidence != "low":
                return metric
    return None


def _lost(key: str, metrics: Sequence[Metric], planned: Collection[str]) -> bool:
    """Whether the run set out to take the figure behind `key`, and some device has none that can be used."""
    stem = key.rpartition(".")[0]
    if stem not in planned:
        return False
    return not any(m.device is None and m.key.rpartition(".")[0] == stem and m.status in USABLE for m in metrics)


def _missing(rule: MetricRule, metrics: Sequence[Metric], planned: Collection[str]) -> Reason:
    key = next((name for name in rule.any_of if _lost(name, metrics, planned)), rule.any_of[0])
    row = lookup(key)
    of = key.rsplit(".", 1)[0] + "."
    found = [m for m in metrics if m.device is None and m.key in rule.any_of]
    if found and found[0].status not in USABLE:
        why = f"it is {found[0].status}"
    elif _lost(key, metrics, planned):
        why = "it was asked for, and not every device gave a figure"
    elif found:
        why = untrusted(found[0]) or "it has no interval or nothing that it is a share of"
    elif any(m.key.startswith(of) for m in metrics):
        none = "no baseline was given that has it by the same trials"
        why = f"the figure was measured, but {none if _of_baseline(key) else NO_REFERENCE}"
    else:
        why = "it was not measured"
    others = [name for name in rule.any_of if name != key]
    alternatives = " (or " + ", ".join(others) + ")" if others and not _lost(key, metrics, planned) else ""
    text = f"{key}{alternatives} is absent: {why}"
    return Reason(
        key,
        "not_rated",
        text,
        row.when_low if row else "",
        yardsticks=yardsticks(found[0].key if found else key, metrics),
    )


def _of_baseline(key: str) -> bool:
    return key.endswith(".fraction_of_baseline")


def _reason(metric: Metric, ladder: Ladder, metrics: Sequence[Metric]) -> Reason:
    low, high = ends(metric)
    outcome = compare(low, high, ladder.pass_share, lower_is_better=False)
    suspect = metric.status == "suspect"
    if outcome == "fail" and suspect:
        outcome = "not_rated"
    row = lookup(metric.key)
    ceiling = metric.ceiling
    assert ceiling is not None
    kind = "baseline" if _of_baseline(metric.key) else "reference"
    if ceiling.provisional:
        kind = f"provisional {kind}" if kind == "reference" else "baseline, whose anchor is provisional"
    text = (
        f"{metric.key} is {metric.quantity.value:.3f} of the {kind}, at least {low:.3f}; required {ladder.pass_share}"
    )
    if suspect:
        text += "; measured under foreign load"
    return Reason(
        metric=metric.key,
        outcome=outcome,
        text=text,
        next_step=row.when_low if row and outcome != "pass" else "",
        device=str(metric.params.get("worst_device", "")) or None,
        observed=metric.quantity.value,
        bound=low,
        threshold=ladder.pass_share,
        margin=low / ladder.pass_share - 1,
        provisional=ceiling.provisional,
        suspect=suspect,
        yardsticks=yardsticks(metric.key, metrics),
    )
