"""A share to its score: drawn towards what is assumed of a node before it is measured, the more the less was. Pure."""

import math

from effbench.catalog.quantities import parse
from effbench.model.policy import Prior
from effbench.model.scorecard import Metric
from effbench.model.suite import DeviceClass
from effbench.stats.quantile import normal_quantile

__all__ = ["LEAST", "score"]

# How widely devices of a class differ before anything is measured, ours. GPUs of one node commonly differ by 5 % and
# more (stas00, machine learning engineering, the table of achieved matrix speeds): the range of eight, which is 2.85
# standard deviations, so 0.02 and more. Shared CPUs as widely as the runs of one are assumed to.
SPREAD: dict[DeviceClass, str] = {"gpu": "0.03", "cpu": "0.05"}
# The chance that the node is worse than its score says.
BELOW = 0.05
# What stands in for a share of zero and less, which has no logarithm.
LEAST = 1e-9


def score(metric: Metric, prior: Prior, kind: DeviceClass) -> float:
    """Return what the share `metric` counts for a grade, above 0 and at most 1; never more than its interval's low end.

    On the logarithmic scale the share is taken as normal, its standard deviation from its interval. With the policy's
    prior it gives the posterior of the normal model with known variance, whose 5 % lower bound is the score (Gelman et
    al., Bayesian Data Analysis, 3rd ed. 2013, section 2.5): a long measurement keeps its figure, a short one is
    drawn towards the prior. Below the prior that would lift a share, so the interval's own low end bounds the score:
    shrinking can cost a grade and never buys one.

    A GPU exactly at its reference scores 0.965 with the two rounds of node/quick (2 tau / sqrt(2) = 2.1 %), where its
    low end of 0.979 would have been an S; with six rounds it scores 0.983.
    """
    share, interval = metric.quantity.value, metric.interval
    if interval is None or interval.low <= LEAST or share <= LEAST:
        return LEAST
    variance = (math.log(interval.high / interval.low) / (2 * normal_quantile(interval.level))) ** 2
    spread = parse(prior.spread or SPREAD[kind]).value ** 2
    weight = spread / (spread + variance)
    middle = weight * math.log(share) + (1 - weight) * math.log(parse(prior.share).value)
    bound = middle - normal_quantile(1 - 2 * BELOW) * math.sqrt(weight * variance)
    return min(1.0, interval.low, math.exp(bound))
