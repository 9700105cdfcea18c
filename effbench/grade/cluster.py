"""The verdict on a cluster's scorecard: that of its nodes, by the precedence of verdicts. Pure; fails closed."""

from effbench.model.cluster import Cluster, NodeRow
from effbench.model.digest import digest
from effbench.model.grade import Grade, PolicyRef
from effbench.model.policy import Policy
from effbench.model.scorecard import Scorecard

__all__ = ["grade_cluster", "policy_name"]

REASONS_MAX = 20


def policy_name(policy: Policy) -> str:
    """Write the policy as a cluster's scorecard names it: name, version and the start of its digest."""
    return f"{policy.name}@{policy.version} {digest(policy)[7:15]}"


def grade_cluster(card: Scorecard, cluster: Cluster, policy: Policy) -> Grade:
    """Return the verdict over the nodes: fail, not rated, undecided, pass. A missing node is not rated.

    The nodes were graded when the campaign was scored. Under another policy than that one there is no verdict.
    """
    other = cluster.policy != policy_name(policy)
    doubts = []
    if other:
        was = cluster.policy or "no policy"
        doubts.append(f"the nodes were graded under {was}; score the campaign again with this policy")
    if card.simulated and not policy.accepts_simulated:
        doubts.append("some nodes' figures are simulated or replayed; only measured ones are rated")
    verdict = "not_rated" if doubts else cluster.verdict
    rest = [f"{row.name}: {row.reason}" for row in cluster.nodes if row.verdict != "pass"]
    more = [f"and {len(rest) - REASONS_MAX} more nodes"] if len(rest) > REASONS_MAX else []
    return Grade(
        schema="effbench.grade/1",
        verdict=verdict,
        policy=PolicyRef(policy.name, policy.version, digest(policy)),
        scorecard_digest=digest(card),
        gates=[],
        domains=[],
        summary=doubts[0][0].upper() + doubts[0][1:] + "." if doubts else _summary(cluster),
        decided_at=card.ended_at or card.started_at,
        reasons=[*doubts, *cluster.slow, *rest[:REASONS_MAX], *more],
    )


def _summary(cluster: Cluster) -> str:
    """One sentence: how many nodes have which verdict, and which to look at first."""
    words = {"pass": "passed", "fail": "failed", "not_rated": "not rated", "undecided": "undecided"}
    counts = ", ".join(f"{cluster.counts[v]} {words[v]}" for v in words if v in cluster.counts)
    first = cluster.first()
    look = f" Look at {first.name} first: {_why(first)}." if first is not None else " None stands out."
    return f"{len(cluster.nodes)} nodes: {counts}.{look}"


def _why(row: NodeRow) -> str:
    text = row.slowest.text.partition(", ")[2] if row.slowest is not None else row.detail or row.reason
    return text.rstrip(".")
