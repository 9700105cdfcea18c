"""Hard gates: what nothing averages away. Each compares the pessimistic end of a metric with a threshold."""

from effbench.catalog.metrics import lookup
from effbench.catalog.quantities import parse
from effbench.grade.yardsticks import untrusted, yardsticks
from effbench.model.grade import Reason, Verdict
from effbench.model.policy import GateRule
from effbench.model.record import USABLE
from effbench.model.scorecard import Metric, Scorecard


def gate(rule: GateRule, card: Scorecard) -> Reason | None:
    """Judge one gate on the node's aggregate. None when the metric is missing and the rule lets that be."""
    metrics = card.metrics
    row = lookup(rule.metric)
    threshold = parse(rule.threshold).value
    metric = next((m for m in metrics if m.key == rule.metric and m.device is None), None)
    unit = row.unit if row else "1"
    if metric is None and _waived(rule, card):
        return None
    doubt = _doubt(rule, metric)
    if metric is None or doubt:
        what = row.when_low if row else ""
        shares = yardsticks(rule.metric, metrics)
        return Reason(rule.metric, "not_rated", doubt, what, threshold=threshold, unit=unit, yardsticks=shares)
    low, high = ends(metric)
    pessimistic, optimistic = (high, low) if metric.better == "lower" else (low, high)
    outcome = compare(pessimistic, optimistic, threshold, metric.better == "lower")
    suspect = metric.status == "suspect"
    if outcome == "fail" and suspect:
        outcome = "not_rated"
    sense = "at most" if metric.better == "lower" else "at least"
    text = f"{metric.key} is {metric.quantity.value:g}, required {sense} {threshold:g}"
    if suspect:
        text += "; measured under foreign load, so it cannot fail the node"
    return Reason(
        metric=rule.metric,
        outcome=outcome,
        text=text,
        next_step=row.when_low if row and outcome != "pass" else "",
        device=str(metric.params.get("worst_device", "")) or None,
        observed=metric.quantity.value,
        bound=pessimistic,
        threshold=threshold,
        margin=margin(pessimistic, threshold, metric.better == "lower"),
        unit=metric.quantity.unit,
        suspect=suspect,
        yardsticks=yardsticks(rule.metric, metrics),
    )


def _waived(rule: GateRule, card: Scorecard) -> bool:
    """Whether the absence of the metric says nothing of the node. A plan that is not known asked for everything."""
    if rule.on_missing == "unplanned":
        return card.planned is not None and rule.metric.rpartition(".")[0] not in card.planned
    return rule.on_missing == "ignore"


def _doubt(rule: GateRule, metric: Metric | None) -> str:
    """Say why nothing can be judged by what was measured; empty when it can."""
    if metric is None or metric.status not in USABLE:
        state = "missing" if metric is None else metric.status
        return f"{rule.metric} is {state}: without this evidence there is no rating"
    why = untrusted(metric)
    return f"{rule.metric} cannot be judged: {why}" if why else ""


def ends(metric: Metric) -> tuple[float, float]:
    """Return low and high of the metric's interval, or its value twice when it is a count without one."""
    if metric.interval is None:
        return metric.quantity.value, metric.quantity.value
    return metric.interval.low, metric.interval.high


def compare(pessimistic: float, optimistic: float, threshold: float, lower_is_better: bool) -> Verdict:
    """Decide by both ends: the pessimistic end meets it, the optimistic end misses it, or it lies between."""
    sign = -1.0 if lower_is_better else 1.0
    if sign * pessimistic >= sign * threshold:
        return "pass"
    return "fail" if sign * optimistic < sign * threshold else "undecided"


def margin(bound: float, threshold: float, lower_is_better: bool) -> float | None:
    """Relative distance from the threshold, positive when met; None for a threshold of zero."""
    if threshold == 0:
        return None
    relative = bound / threshold - 1
    return -relative if lower_is_better else relative
