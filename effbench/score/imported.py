"""Imported records side by side: who stands out, what is missing, and how the fleet stands to its rated peak.

Figures are kept by name in plain arrays, so that 10,000 nodes of 200 figures take some tens of megabytes; nothing here
rates a node: one value without an interval meets no threshold and misses none.
"""

import math
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from effbench.catalog.metrics import lookup
from effbench.catalog.parts import catalog
from effbench.catalog.references import assumed_tau, practical_margin, reference
from effbench.model.digest import digest
from effbench.model.finding import Finding
from effbench.model.imported import Anchor, BadRecord, ImportedNode, ImportedRecord, ImportSummary, Outlier
from effbench.model.inventory import Accelerator, Part
from effbench.model.quantity import Quantity
from effbench.model.record import Status
from effbench.model.scorecard import DeviceCard, Metric, Scorecard
from effbench.stats.outlying import FAR, NODES_MIN, robust_sigma, split

__all__ = ["Fleet", "outlier", "reach", "scorecard"]

# A healthy part keeps at least a C on the ladder of node-2026 (INTERFACES section 8) of what such parts reach.
KEPT = 0.75
COMMON = 0.5
KINDS_MAX = 50


class _Pool:
    """All values of one figure: of one name, or of one of our keys over all devices. Lives as long as the fleet."""

    def __init__(self) -> None:
        self.values = array("d")
        self.rows = array("L")
        self.names: list[str] = []


class Fleet:
    """The nodes of one import, taken in one after the other; lives for one import."""

    def __init__(self) -> None:
        self._nodes: list[ImportedNode] = []
        self._pools: dict[str, _Pool] = {}
        self._pool_of: dict[str, _Pool] = {}
        self._shapes: dict[tuple[str, ...], list[int]] = {}
        self._parts: dict[str, list[int]] = {}

    def __len__(self) -> int:
        return len(self._nodes)

    def add(self, record: ImportedRecord) -> None:
        """Take in one node."""
        row = len(self._nodes)
        for name, value in record.figures.items():
            pool = self._pool_of.get(name) or self._pool(name)
            pool.values.append(value)
            pool.rows.append(row)
            pool.names.append(name)
        self._shapes.setdefault((*record.figures, *record.not_finite), []).append(row)
        if record.part is not None:
            self._parts.setdefault(record.part, []).append(row)
        failed = [
            f"{c.name}{f' on {c.device}' if c.device else ''}: {c.text or c.outcome}"
            for c in record.checks
            if c.outcome == "fail"
        ]
        self._nodes.append(
            ImportedNode(
                node=record.node,
                verdict="not_rated",
                reason=_reason(record),
                not_finite=record.not_finite,
                not_numbers=record.not_numbers,
                failed=failed,
            )
        )

    def _pool(self, name: str) -> _Pool:
        shared = name.partition("@")[0] if not name.startswith("imported.") else name
        pool = self._pool_of[name] = self._pools.setdefault(shared, _Pool())
        return pool

    def figures(self) -> Iterator[tuple[str, int, np.ndarray[Any, Any]]]:
        """Yield every figure by name: how many nodes have it, and all its values, of a key of ours on every device."""
        for key, pool in sorted(self._pools.items()):
            yield key, len(set(pool.rows)), np.asarray(pool.values)

    def summary(self, format_name: str, files: Sequence[str], bad: Sequence[BadRecord]) -> ImportSummary:
        """Compare what was taken in. Pure of side effects, so it may be asked for more than once."""
        outliers: dict[int, list[Outlier]] = {}
        findings: list[Finding] = []
        for key in sorted(self._pools):
            found, kinds = _compare(key, self._pools[key])
            for row, outlier in found:
                outliers.setdefault(row, []).append(outlier)
            findings += kinds
        missing = self._missing()
        anchors, told = self.against_peak()
        nodes = [
            self._told(row, node, outliers.get(row, []), missing.get(row, [])) for row, node in enumerate(self._nodes)
        ]
        return ImportSummary(
            schema="effbench.import-summary/1",
            imported=format_name,
            files=list(files),
            nodes=sorted(nodes, key=lambda node: node.node),
            bad=list(bad),
            anchors=anchors,
            findings=[*told, *findings[:KINDS_MAX]],
        )

    def against_peak(self) -> tuple[list[Anchor], list[Finding]]:
        """Hold the whole fleet to the rated peak of its parts, and say where it is slow as a whole or has no anchor."""
        anchors = self._anchors()
        return anchors, _fleet_findings(anchors, self._parts, len(self._nodes))

    def _told(self, row: int, node: ImportedNode, outliers: list[Outlier], missing: list[str]) -> ImportedNode:
        if not outliers and not missing:
            return node
        worst = sorted(outliers, key=lambda o: (o.worse is False, -abs(o.score), o.figure))
        return ImportedNode(
            node.node, node.verdict, node.reason, worst, missing, node.not_finite, node.not_numbers, node.failed
        )

    def _missing(self) -> dict[int, list[str]]:
        """What most of the nodes have and a node lacks altogether, not even as NaN."""
        if len(self._nodes) < NODES_MIN:
            return {}
        counts: Counter[str] = Counter()
        for names, rows in self._shapes.items():
            for name in set(names):
                counts[name] += len(rows)
        common = {name for name, count in counts.items() if count > COMMON * len(self._nodes)}
        lacking = {names: sorted(common.difference(names)) for names in self._shapes}
        return {row: lacking[names] for names, rows in self._shapes.items() if lacking[names] for row in rows}

    def _anchors(self) -> list[Anchor]:
        """The median of each figure with a rated peak, for the nodes of each part."""
        found = []
        for part_id, rows in sorted(self._parts.items()):
            part = catalog().part(part_id)
            of_part = np.zeros(len(self._nodes), dtype=bool)
            of_part[rows] = True
            for key in sorted(self._pools):
                pool = self._pools[key]
                values = np.asarray(pool.values)[of_part[np.asarray(pool.rows, dtype=np.int64)]]
                anchor = _anchor(key, part, values) if values.size else None
                if anchor is not None:
                    found.append(anchor)
        return found


def _reason(record: ImportedRecord) -> str:
    if record.part is None:
        return "nothing says which accelerator this is, so no figure has an anchor; name it with --accelerator"
    return f"figures of {record.imported} have no rounds and no interval: measure the node with `effbench run`"


def _compare(key: str, pool: _Pool) -> tuple[list[tuple[int, Outlier]], list[Finding]]:
    """Who is far from the median of all nodes, by robust deviations and by more than the practical margin."""
    values = np.asarray(pool.values)
    if values.size < NODES_MIN:
        return [], []
    middle = float(np.median(values))
    margin = practical_margin("gpu")
    floor = abs(middle) * assumed_tau("gpu")[0]
    sigma = robust_sigma(values, floor) or 0.0
    far = np.flatnonzero(np.abs(values - middle) > reach(middle, sigma))
    found = [(pool.rows[at], outlier(key, pool.names[at], float(values[at]), middle, sigma)) for at in far]
    two = split(values, floor, margin)
    if two is None:
        return found, []
    text = f"{key}: {two.n_low} values about {two.low:.4g} and {two.n_high} about {two.high:.4g}; neither is the norm"
    return found, [Finding("import-two-kinds", "warning", text)]


def reach(middle: float, sigma: float) -> float:
    """Return how far from the median, in its unit, a value is no ordinary one: by deviations and by what matters."""
    return max(FAR * sigma, practical_margin("gpu") * abs(middle))


def outlier(key: str, name: str, value: float, middle: float, sigma: float) -> Outlier:
    """Return a value that is far off as a report tells it; `key` is its figure's, `name` says of which device it is."""
    off = value - middle
    score = off / sigma if sigma > 0 else math.copysign(1e6, off)
    row = lookup(key) if not key.startswith("imported.") else None
    worse = None if row is None else (off < 0) == (row.better == "higher")
    return Outlier(name, value, middle, max(min(score, 1e6), -1e6), worse)


def _anchor(key: str, part: Part, values: np.ndarray[Any, Any]) -> Anchor | None:
    segments = key.split(".")
    if segments[:2] == ["compute", "gemm"] and segments[-1] == "flops" and len(segments) == 4:
        dtype = "fp64_tensor" if segments[2] == "fp64" and "fp64_tensor" in part.peak_flops else segments[2]
        peak = part.peak_flops.get(dtype)
    else:
        peak = part.memory_bandwidth if key.startswith("memory.stream.") else None
    if not peak:
        return None
    middle = float(np.median(values))
    device = Accelerator("gpu0", "gpu", "", part.title, "", memory_bytes=0, llc_bytes=0)
    usual = reference(part, device, key, "sustained")
    expected = usual.value / peak if usual is not None and usual.confidence != "low" else None
    return Anchor(
        figure=key,
        part=part.id,
        nodes=int(values.size),
        median=middle,
        peak=peak,
        share=middle / peak,
        source=part.source,
        expected_share=expected,
        slow=expected is not None and middle / peak < KEPT * expected,
    )


def _fleet_findings(anchors: Sequence[Anchor], parts: dict[str, list[int]], nodes: int) -> list[Finding]:
    found = []
    for a in anchors:
        if a.slow:
            text = f"{a.figure}: the median of {a.nodes} values is {a.share:.2f} of the rated peak of {a.part}"
            found.append(Finding("import-slow", "error", f"{text}, healthy parts reach about {a.expected_share:.2f}"))
        if a.share > 1.03:
            text = (
                f"{a.figure}: the median is {a.share:.2f} of the rated peak of {a.part}: another part, or no such work"
            )
            found.append(Finding("import-above-peak", "warning", text))
    without = nodes - sum(len(rows) for rows in parts.values())
    if without:
        text = (
            f"nothing says which accelerator {without} of {nodes} nodes have: a fleet that is slow together looks well"
        )
        found.append(Finding("import-no-anchor", "warning", text))
    if 0 < nodes < NODES_MIN:
        text = f"{nodes} of the {NODES_MIN} nodes that are needed to say who stands out"
        found.append(Finding("import-few-nodes", "info", text))
    return found


def scorecard(record: ImportedRecord) -> Scorecard:
    """Return the scorecard of an imported record, for grading: it can fail on counted errors, and never pass.

    A figure of speed is one value without an interval, hence too little evidence (`invalid`); a count of wrong results
    is what it is. `coverage` is 0, because no trial of effbench's was planned or done.
    """
    metrics = []
    for name, value in record.figures.items():
        if name.startswith("imported."):
            continue
        key, _, device = name.partition("@")
        row = lookup(key)
        if row is not None:
            status: Status = "valid" if row.domain == "health" else "invalid"
            evidence = [f"imported:{record.where}"]
            metrics.append(Metric(key, Quantity(value, row.unit), row.better, status, evidence, device or None))
    text = f"every figure was imported from {record.imported} ({record.where}); effbench measured none of them"
    findings = [Finding("imported", "warning", text)]
    findings += [
        Finding("import-check-failed", "error", f"{c.name}: {c.text or 'failed'}", device=c.device)
        for c in record.checks
        if c.outcome == "fail"
    ]
    part = catalog().part(record.part) if record.part else None
    cards = [
        DeviceCard(f"gpu{n}", "gpu", name, part.id if part else None, part.title if part else "")
        for n, name in enumerate(record.devices)
    ]
    return Scorecard(
        schema="effbench.scorecard/1",
        subject="node",
        node=record.node,
        device_class="gpu",
        devices=cards,
        metrics=metrics,
        coverage=0.0,
        findings=findings,
        record_digests=[digest(record)],
        suite=f"imported/{record.imported}",
        started_at="",
        imported=record.imported,
    )
