"""What nodes side by side give reason to say: findings, sentences on a slow fleet, what cannot be told. Pure."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from effbench.model.cluster import Cluster, NodeRow
from effbench.model.finding import Finding
from effbench.score.cluster_figures import judged
from effbench.stats.outlying import NODES_MIN

__all__ = ["findings", "limits", "slow"]

NAMES_MAX, OUTLIERS_MAX = 8, 20


def names(listed: Sequence[str]) -> str:
    """Write names with an end: `n1, n2 and 14 more`."""
    more = len(listed) - NAMES_MAX
    return ", ".join(listed[:NAMES_MAX]) + (f" and {more} more" if more > 0 else "")


def slow(cluster: Cluster) -> list[str]:
    """Say where the fleet as a whole keeps less than a healthy part does: a comparison among its nodes hides that."""
    return [
        f"{d.key}: the median of {d.n} nodes keeps {d.anchor.share:.3g} of its reference, a healthy part "
        f"{d.anchor.bar:g} ({len(d.anchor.below)} of {d.n} nodes are below for certain)"
        for d in cluster.distributions
        if d.anchor is not None and d.anchor.slow and d.anchor.bar is not None
    ]


def limits(cluster: Cluster) -> list[str]:
    """Say what the comparison could not tell."""
    found = []
    for group in cluster.groups:
        if len(group.nodes) < NODES_MIN:
            found.append(
                f"{group.name}: {len(group.nodes)} of the {NODES_MIN} nodes that are needed to say who stands out"
            )
    anchored = {d.group for d in cluster.distributions if d.anchor is not None and d.anchor.bar is not None}
    bare = sorted({d.group for d in cluster.distributions if judged(d.key)} - anchored)
    for name in bare:
        of = f" of {name}" if name else ""
        found.append(f"no reference for these devices{of}: whether all nodes are slow together cannot be told")
    return found


def findings(cluster: Cluster, hosts: Mapping[str, str]) -> list[Finding]:
    """Return everything that a person should know, the gravest first."""
    return [
        *_by_row(cluster.nodes),
        *_outliers(cluster.nodes),
        *[Finding("cluster-slow", "error", text) for text in cluster.slow],
        *_kinds(cluster),
        *_mixed(cluster),
        *_same_host(hosts),
        *[Finding("cluster-limit", "info", text) for text in cluster.limits],
    ]


_CODES = {
    "missing": "cluster-node-missing",
    "unreadable": "cluster-node-unreadable",
    "duplicate": "cluster-node-duplicate",
}


def _by_row(rows: Sequence[NodeRow]) -> list[Finding]:
    found = []
    for row in rows:
        if row.state in _CODES:
            found.append(Finding(_CODES[row.state], "error", f"{row.name}: {row.detail}", evidence={"node": row.name}))
            continue
        if row.detail:
            found.append(
                Finding("cluster-node-incomplete", "error", f"{row.name}: {row.detail}", evidence={"node": row.name})
            )
        if row.absent:
            message = f"{row.name} gave no usable figure where others did: {names(row.absent)}"
            figures = len(row.absent)
            evidence: dict[str, str | int | float | bool] = {"node": row.name, "figures": figures}
            found.append(Finding("cluster-metric-missing", "warning", message, evidence=evidence))
    return found


def _outliers(rows: Sequence[NodeRow]) -> list[Finding]:
    """One finding per node that stands out, by its furthest figure; the rest is in the table."""
    out = [row for row in rows if row.slowest is not None]
    found = []
    for row in out[:OUTLIERS_MAX]:
        assert row.slowest is not None
        more = f" (and {row.n_outliers - 1} more of its figures)" if row.n_outliers > 1 else ""
        evidence: dict[str, str | int | float | bool] = {"node": row.name, "ratio": row.slowest.ratio}
        found.append(Finding("cluster-outlier", "warning", row.slowest.text + more, evidence=evidence))
    if len(out) > OUTLIERS_MAX:
        rest = [row.name for row in out[OUTLIERS_MAX:]]
        found.append(Finding("cluster-outlier", "warning", f"{len(rest)} more nodes stand out: {names(rest)}"))
    return found


def _kinds(cluster: Cluster) -> list[Finding]:
    by_nodes: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for d in cluster.distributions:
        if d.halves is not None:
            text = f"{d.key} ({d.halves.low:.4g} and {d.halves.high:.4g} {d.unit.value})"
            by_nodes[tuple(d.halves.nodes_low)].append(text)
    return [
        Finding("cluster-two-kinds", "warning", f"two kinds of nodes in {names(keys)}: lower on {names(low)}")
        for low, keys in by_nodes.items()
    ]


def _mixed(cluster: Cluster) -> list[Finding]:
    found = []
    for group in cluster.groups[1:]:
        message = f"compared apart from the others: {names(group.nodes)} ({group.name}; most: {cluster.groups[0].name})"
        found.append(Finding("cluster-mixed", "warning", message))
    for version in cluster.versions:
        parts = "; ".join(f"{what}: {names(nodes)}" for what, nodes in version.nodes.items())
        found.append(Finding("cluster-versions", "warning", f"{version.what} is not the same on all nodes: {parts}"))
    return found


def _same_host(hosts: Mapping[str, str]) -> list[Finding]:
    by_host: dict[str, list[str]] = defaultdict(list)
    for name, host in sorted(hosts.items()):
        by_host[host].append(name)
    return [
        Finding("cluster-same-host", "warning", f"{names(listed)} call themselves {host}: one machine, or one image?")
        for host, listed in by_host.items()
        if len(listed) > 1
    ]
