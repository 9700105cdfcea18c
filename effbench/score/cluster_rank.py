"""Orders the nodes of a cluster: the one to look at first comes first. Pure.

Order: a failed hard gate (wrong results, lost device, uncorrectable errors), then nodes that stand out as worse by how
much over all their figures, then failed, without a whole run, not rated, undecided, passed.
"""

import math
from collections.abc import Mapping, Sequence

import msgspec

from effbench.model.cluster import Distribution, NodeRow, Outlier
from effbench.model.grade import Grade
from effbench.score.cluster_figures import judged, ratio_of
from effbench.stats.quantile import median

__all__ = ["ranked"]

_BY_VERDICT = {"fail": 2, "not_rated": 4, "undecided": 5, "pass": 6}
GATE, OUT, ABSENT = 0, 1, 3


def ranked(
    rows: Sequence[NodeRow],
    drawn: Sequence[tuple[Distribution, dict[str, float]]],
    grades: Mapping[str, Grade | None],
) -> list[NodeRow]:
    """Return the rows with what their figures say of them, worst first."""
    worse: dict[str, list[Outlier]] = {}
    ratios: dict[str, list[float]] = {}
    absent: dict[str, list[str]] = {}
    for shown, values in drawn:
        for outlier in shown.outliers:
            if outlier.side == "worse":
                worse.setdefault(outlier.node, []).append(outlier)
        for name in shown.missing:
            absent.setdefault(name, []).append(shown.key)
        if judged(shown.key) and shown.median > 0:
            for name, value in values.items():
                if value > 0:
                    ratios.setdefault(name, []).append(_turned(ratio_of(value, shown.median), shown.better))
    better_of = {shown.key: shown.better for shown, _ in drawn}
    filled = []
    for row in rows:
        out = sorted(worse.get(row.name, []), key=lambda o: -_loss(o, better_of[o.key]))
        filled.append(
            msgspec.structs.replace(
                row,
                slowest=out[0] if out else None,
                n_outliers=len(out),
                typical=median(ratios[row.name]) if row.name in ratios else None,
                absent=sorted(absent.get(row.name, [])),
            )
        )
    losses = {name: sum(_loss(o, better_of[o.key]) for o in out) for name, out in worse.items()}
    return sorted(filled, key=lambda row: _place(row, losses.get(row.name, 0.0), grades.get(row.name)))


def _turned(ratio: float, better: str) -> float:
    return ratio if better == "higher" else 1.0 / ratio


def _loss(outlier: Outlier, better: str) -> float:
    """How much is lost in one figure: minus the log of its share of the median; a tiny bit when by the anchor alone."""
    turned = _turned(outlier.ratio, better) if outlier.ratio > 0 else 1e-9
    return max(-math.log(turned), 1e-3)


def _place(row: NodeRow, loss: float, grade: Grade | None) -> tuple[int, float, float, str]:
    gate = grade is not None and any(reason.outcome == "fail" for reason in grade.gates)
    if gate:
        tier = GATE
    elif loss > 0:
        tier = OUT
    elif (row.state != "reported" or row.detail) and row.verdict != "fail":
        tier = ABSENT
    else:
        tier = _BY_VERDICT[row.verdict]
    return tier, -loss, row.typical if row.typical is not None else 1.0, row.name
