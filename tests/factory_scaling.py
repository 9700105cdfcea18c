"""Synthetic runs with scaling and synthetic campaigns of many nodes, for the report layer. All invented."""

import random
import statistics
from typing import Any

import msgspec

from effbench.model.cluster import Anchor, Cluster, Distribution, Group, Halves, NodeRow, Outlier, Version
from effbench.model.event import Verify
from effbench.model.grade import Verdict
from effbench.model.quantity import Interval, Quantity
from effbench.model.record import Measurement, Record
from effbench.model.scaling import (
    Curve,
    CurvePoint,
    LinkCost,
    ModelFit,
    Prediction,
    Ratio,
    ScalingView,
    Straggler,
    Together,
)
from effbench.model.scorecard import Metric, Scorecard
from effbench.model.unit import Unit
from tests.factory import HOSTILE, Case, cpu_node, gpu_node
from tests.factory_tables import ENDED, STARTED


def ratio(value: float, spread: float = 0.004) -> Ratio:
    return Ratio(value, Interval(value * (1 - spread), value * (1 + spread), n_processes=3, n_samples=90))


def _prediction(time_s: float, measured: float, compute: float) -> Prediction:
    residual = (measured - time_s) / measured
    return Prediction(
        time_s=time_s,
        low_s=time_s * 0.985,
        high_s=time_s * 1.015,
        compute_s=compute,
        latency_s=(time_s - compute) * 0.15,
        transfer_s=(time_s - compute) * 0.85,
        overlapped_s=0.0,
        efficiency=compute / time_s,
        residual=residual,
        noise=0.016,
        beyond_noise=abs(residual) > 0.016,
    )


def point(n: int, time_s: float, base_s: float, scaling: str, base: int = 1, **more: Any) -> CurvePoint:
    """One point whose ratios follow from its time."""
    efficiency = base_s / time_s if scaling == "weak" else base_s * base / (time_s * n)
    speed = efficiency * n / base
    karp = None if n == base else ratio((1 / speed - base / n) / (1 - base / n), 0.02)
    fields: dict[str, Any] = {
        "ranks": n,
        "time": ratio(time_s),
        "status": "valid",
        "trial": f"train-step:{scaling}-n{n}@gpu0",
        "efficiency": None if n == base else ratio(efficiency, 0.005),
        "speed_up": None if n == base else ratio(speed, 0.005),
        "karp_flatt": karp if karp and karp.value > 0 else None,
        "of_peak": ratio(0.41 * efficiency),
        "peak": "rated",
    }
    return CurvePoint(**fields | more)


def _models(counts: list[int], good: dict[int, float]) -> list[ModelFit]:
    last = max(counts)
    return [
        ModelFit(
            "mechanistic",
            "Mechanistic, from the links",
            "fits",
            {"compute_s": 0.148, "latency_s": 2.1e-5},
            {str(n): good[n] * 0.998 for n in counts},
            0.006,
            0.011,
        ),
        ModelFit(
            "amdahl",
            "Amdahl",
            "contradicted",
            {"serial_share": 0.021},
            {str(n): 1 / (1 + 0.021 * (n - 1)) for n in counts},
            0.071,
            0.12,
            "a serial share cannot saturate",
        ),
        ModelFit(
            "usl",
            "Universal Scalability Law",
            "untested" if last < 4 else "fits",
            {"sigma": 0.012, "kappa": 0.0},
            {str(n): 1 / (1 + 0.012 * (n - 1)) for n in counts},
            0.024,
        ),
    ]


def weak_curve(slow: int | None = 5) -> Curve:
    """DDP on 1, 2, 4 and 8 GPUs of one node; one rank of eight computes longer."""
    times = {1: 0.150, 2: 0.1552, 4: 0.1598, 8: 0.1648}
    points = []
    for n, time_s in times.items():
        busy = [time_s * (0.93 + 0.003 * (r % 3)) for r in range(n)]
        if slow is not None and slow < n:
            busy[slow] = time_s * 0.995
        more: dict[str, Any] = {"compute_s": ratio(0.150), "communication_s": ratio(0.03 * (n - 1) / n + 1e-4)}
        if n > 1:
            more |= {
                "busy_s": busy,
                "wait_s": [time_s - b for b in busy],
                "exposed_s": ratio(time_s - 0.150, 0.03),
                "overlap": 0.62,
                "slowest_rank": ratio(max(busy) / statistics.median(busy), 0.002),
                "equal_clock": ratio(0.150 / time_s * 1.012),
                "predicted": _prediction(time_s * (1.004 if n < 8 else 0.955), time_s, 0.150),
            }
        points.append(point(n, time_s, 0.150, "weak", **more))
    models = _models(list(times), {n: 0.150 / t for n, t in times.items()})
    base = "one rank is one device of this node"
    return Curve("ddp", "weak", "node", 1, base, points, models, 8, "communication may hide behind 80 % of backward")


def strong_curve() -> Curve:
    times = {1: 1.2, 2: 0.618, 4: 0.331, 8: 0.192}
    points = [point(n, t, 1.2, "strong") for n, t in times.items()]
    points[2] = msgspec.structs.replace(points[2], status="suspect")
    return Curve("ddp", "strong", "node", 1, "one rank is one device of this node", points, [], 8)


def cluster_curve() -> Curve:
    """Over nodes, a full node as base, with a point that cannot be."""
    times = {8: 0.165, 16: 0.181, 32: 0.171, 64: 0.198}
    points = [point(n, t, 0.165, "weak", 8, nodes=n // 8) for n, t in times.items()]
    points[3] = msgspec.structs.replace(points[3], predicted_absent="no sweep of links was measured at 64 ranks")
    doubt = "16 ranks are slower than 32: no model of links does that; measure 16 again before believing the curve"
    return Curve("fsdp2", "weak", "cluster", 8, "a full node of 8 ranks", points, [], 8, doubts=[doubt])


def _metric(key: str, value: float, unit: Unit, better: Any = "higher", spread: float = 0.01, **more: Any) -> Metric:
    interval = Interval(value * (1 - spread), value * (1 + spread), n_processes=3, n_samples=60)
    return Metric(key, Quantity(value, unit), better, "valid", ["links@gpu0"], None, interval, **more)


def link_metrics(n: int, top: float, ops: tuple[str, ...] = ("all_reduce", "all_gather", "broadcast")) -> list[Metric]:
    """A sweep from 64 KiB to 1 GiB for each op: time is latency plus bytes over bandwidth."""
    found = []
    for i, op in enumerate(ops):
        best, latency = top * (1 - 0.12 * i), 2.2e-5 * (1 + 0.3 * i)
        for power in range(16, 31, 2):
            size = 2.0**power
            rate = size / (latency + size / best)
            found.append(_metric(f"link.{op}.n{n}.s{int(size)}.busbw", rate, Unit.BYTE_PER_S))
        found.append(_metric(f"link.{op}.n{n}.busbw", best * 0.99, Unit.BYTE_PER_S))
        found.append(_metric(f"link.{op}.n{n}.latency", latency, Unit.SECOND, "lower"))
    return found


def pair_measurement(n: int, bad: int | None = 3, **more: Any) -> Measurement:
    """A sweep of all pairs; every pair with the rank `bad` has a quarter of the bandwidth."""
    rng = random.Random(n)
    facts = {}
    for i in range(n):
        for j in range(i + 1, n):
            slow = 0.25 if bad in (i, j) else 1.0
            facts[f"pair_bandwidth.r{i}.r{j}"] = 118e6 * slow * (1 + rng.gauss(0, 0.012))
    texts = {}
    if bad is not None:
        named = [name for name, value in facts.items() if value < 60e6]
        texts["slow_pairs"] = ", ".join(f"{x.split('.')[1]}-{x.split('.')[2]} {facts[x] / 1e9:.3g} GB/s" for x in named)
        texts["suspect"] = f"r{bad}"
    fields: dict[str, Any] = {
        "trial": f"pairs:16777216-x5-n{n}@gpu0",
        "device": "gpu0",
        "status": "valid",
        "verify": Verify(ok=True, error=0.0, tolerance=0.0),
        "facts": facts,
        "texts": texts,
    }
    return Measurement(**fields | more)


def with_pairs(record: Record | None, *measurements: Measurement) -> Record:
    assert record is not None
    return msgspec.structs.replace(record, measurements=[*record.measurements, *measurements])


def scaling_node() -> Case:
    """Eight ranks in a node, a straggler, a bad link, collectives, everything at once."""
    case = gpu_node(simulated=False)
    view = ScalingView(
        curves=[weak_curve(), strong_curve(), cluster_curve()],
        links=[
            LinkCost("all_reduce", "node", ratio(1.1e-5), ratio(2.1e-6, 0.1), ratio(440e9), [2, 4, 8], [8.0, 1e6], 0.02)
        ],
        stragglers=[
            Straggler(
                "compute",
                [5],
                8,
                1.064,
                "rank 5 is busy 6.4 % longer than the others and waits least",
                "train-step:weak-n8@gpu0",
                3,
                3,
            ),
            Straggler(
                "network",
                [3],
                6,
                0.25,
                "every pair with rank 3 has a quarter of the bandwidth of the others",
                "pairs:16777216-x5-n6@gpu0",
                3,
                3,
            ),
        ],
        together=[
            Together("gemm bf16", 8, "at-once@gpu0", [0.1] * 8, 0.021, 3, ratio(0.054, 0.1), "gemm@gpu0"),
            Together("stream triad", 8, "at-once-s@gpu0", [0.1] * 8, 0.008, 6),
        ],
    )
    metrics = [*case.card.metrics, *link_metrics(8, 452e9), *link_metrics(2, 391e9, ("all_reduce",))]
    card = msgspec.structs.replace(case.card, scaling=view, metrics=metrics)
    return Case(card, case.grade, with_pairs(case.record, pair_measurement(6)))


def scaling_cpu() -> Case:
    """Two counts on a two-core machine: no projection, no exposed communication, no pair but one."""
    case = cpu_node()
    weak = [
        point(1, 0.212, 0.212, "weak", of_peak=None, peak=""),
        point(2, 0.247, 0.212, "weak", of_peak=None, peak="", busy_s=[0.21, 0.211], wait_s=[0.037, 0.036]),
    ]
    strong = [
        point(1, 0.424, 0.424, "strong", of_peak=None, peak=""),
        point(2, 0.249, 0.424, "strong", of_peak=None, peak=""),
    ]
    base = "one rank has one core at every count"
    curves = [
        Curve("ddp", "weak", "node", 1, base, weak, _models([1, 2], {1: 1.0, 2: 0.86}), 2),
        Curve("ddp", "strong", "node", 1, base, strong, [], 2),
    ]
    metrics = [*case.card.metrics, *link_metrics(2, 1.4e9, ("all_reduce",))]
    card = msgspec.structs.replace(case.card, scaling=ScalingView(curves), metrics=metrics)
    return Case(card, case.grade, with_pairs(case.record, pair_measurement(2, None)))


def scaling_broken() -> Case:
    """Nothing usable: failed points, an incomplete sweep, hostile words."""
    case = cpu_node()
    failed = [msgspec.structs.replace(point(n, 9.99, 9.99, "weak"), status="failed") for n in (1, 2)]
    curve = Curve(HOSTILE, "weak", "node", 1, HOSTILE, failed, [], 2, doubts=[HOSTILE], params={"config": HOSTILE})
    straggler = Straggler("compute", [1], 2, 1.5, HOSTILE, HOSTILE, 1, 3, HOSTILE)
    card = msgspec.structs.replace(case.card, scaling=ScalingView([curve], stragglers=[straggler]))
    cut = pair_measurement(4, 3)
    cut = msgspec.structs.replace(cut, texts=cut.texts | {"incomplete": "2 of 6 pairs when the time was up"})
    lost = msgspec.structs.replace(pair_measurement(5, 1), status="failed", trial="lost@cpu")
    return Case(card, case.grade, with_pairs(case.record, cut, lost))


FIGURES: list[tuple[str, Unit, Any, float, float, float | None]] = [
    ("compute.gemm.bf16.flops", Unit.FLOP_PER_S, "higher", 742e12, 0.006, 0.93),
    ("memory.stream.triad.bandwidth", Unit.BYTE_PER_S, "higher", 4.31e12, 0.003, 0.95),
    ("train.step.tokens_per_s", Unit.TOKEN_PER_S, "higher", 21400, 0.008, None),
    ("infer.decode.b8.tokens_per_s", Unit.TOKEN_PER_S, "higher", 940, 0.007, None),
    ("host.copy.h2d.pinned.bandwidth", Unit.BYTE_PER_S, "higher", 55.1e9, 0.004, None),
    ("host.launch.sync.latency", Unit.SECOND, "lower", 6.4e-6, 0.03, None),
]


def _names(n: int) -> list[str]:
    return [f"node-{i + 1}" for i in range(n)]


def cluster_of(n: int, slow: dict[int, float], missing: tuple[int, ...] = (), **more: Any) -> Case:
    """A campaign of `n` nodes: `slow` maps a node's position to its factor, `missing` never reported."""
    rng = random.Random(n)
    names = _names(n)
    order = sorted(range(n), key=lambda i: (i not in missing, slow.get(i, 1.0), i))
    outliers: list[Outlier] = []
    found: list[Distribution] = []
    for key, unit, better, median, spread, anchor in FIGURES:
        worse = 1 if better == "higher" else -1
        value: dict[int, float] = {
            i: median * (1 + rng.gauss(0, spread)) * slow.get(i, 1.0) ** worse for i in range(n) if i not in missing
        }
        middle = statistics.median(value.values())
        mad = statistics.median(abs(v - middle) for v in value.values())
        sigma = max(1.4826 * mad, 0.002 * middle)
        mine = [
            Outlier(
                node=names[i],
                key=key,
                value=value[i],
                unit=unit,
                ratio=value[i] / middle,
                grounds=["spread", "anchor"] if anchor and slow[i] < 0.9 else ["spread"],
                text=f"{key} is {abs(value[i] / middle - 1):.0%} off the median of the nodes",
                deviation=abs(value[i] - middle) / sigma,
                share=anchor * value[i] / middle if anchor else None,
            )
            for i in sorted(slow, key=lambda i: slow[i])
        ]
        outliers += mine
        bar = Anchor(
            key.rpartition(".")[0] + ".fraction_of_reference",
            anchor,
            0.85,
            [names[i] for i in slow if slow[i] < 0.9],
            False,
            "stas00/ml-engineering",
        )
        ordered = sorted(value, key=lambda i: value[i] * worse)
        found.append(
            Distribution(
                key=key,
                unit=unit,
                better=better,
                n=len(value),
                median=middle,
                mad=mad,
                floor=0.002 * middle,
                margin=0.03,
                low=min(value.values()),
                high=max(value.values()),
                values=[value.get(i) for i in order],
                worst=[names[i] for i in ordered[:5]],
                sigma=sigma,
                outliers=mine,
                anchor=bar if anchor else None,
            )
        )
    outliers.sort(key=lambda o: -(o.deviation or 0))
    rows = []
    for i in order:
        mine = [o for o in outliers if o.node == names[i]]
        verdict: Verdict = "not_rated" if i in missing else "fail" if slow.get(i, 1.0) < 0.9 else "pass"
        rows.append(
            NodeRow(
                name=names[i],
                state="missing" if i in missing else "reported",
                verdict=verdict,
                detail="asked, and nothing came back: the job ended as NODE_FAIL" if i in missing else "",
                letter="" if i in missing else "C" if mine else "A",
                reason="compute reaches 78 % of the reference" if verdict == "fail" else "",
                typical=None if i in missing else slow.get(i, 1.0),
                slowest=mine[0] if mine else None,
                n_outliers=len(mine),
            )
        )
    verdicts = [row.verdict for row in rows]
    fields: dict[str, Any] = {
        "verdict": next(v for v in ("fail", "not_rated", "undecided", "pass") if v in verdicts),
        "counts": {v: verdicts.count(v) for v in dict.fromkeys(verdicts)},
        "nodes": rows,
        "groups": [Group("A", "node/quick", "8 x H200", names)],
        "distributions": found,
        "outliers": outliers,
        "headlines": [key for key, *_ in FIGURES],
        "policy": "node-2026, version 1",
    }
    metrics = [_metric(key, median, unit, better) for key, unit, better, median, _, _ in FIGURES]
    card = Scorecard(
        schema="effbench.scorecard/1",
        subject="cluster",
        node="spring-campaign",
        device_class="gpu",
        devices=gpu_node(simulated=False).card.devices[:1],
        metrics=metrics,
        coverage=(n - len(missing)) / n,
        findings=[],
        record_digests=[f"{i:016x}" for i in range(min(n, 3))],
        suite="node/quick",
        started_at=STARTED,
        ended_at=ENDED,
        cluster=Cluster(**fields | more),
    )
    return Case(card, None, None)


def cluster_mixed() -> Case:
    """A fleet that is slow as a whole, in two halves, of two drivers, with words that try to be markup."""
    case = cluster_of(12, {4: 0.97}, (7,))
    cluster = case.card.cluster
    assert cluster is not None
    first = cluster.distributions[0]
    anchor = Anchor("compute.gemm.bf16.fraction_of_reference", 0.71, 0.85, _names(12), True, HOSTILE)
    halves = Halves(6.1e14, 7.4e14, 6.2, ["node-1", "node-2", "node-5"], 8)
    changed = msgspec.structs.replace(first, anchor=anchor, halves=halves, missing=["node-9"])
    rows = [msgspec.structs.replace(cluster.nodes[-1], name=HOSTILE, host=HOSTILE, incidents=[HOSTILE])]
    cluster = msgspec.structs.replace(
        cluster,
        nodes=[*cluster.nodes[:-1], *rows],
        distributions=[changed, *cluster.distributions[1:]],
        slow=["the median node reaches 71 % of the reference for bf16 GEMM, where a healthy part keeps 85 %"],
        limits=["no absolute anchor for decode: a fleet slow as a whole would not show there", HOSTILE],
        versions=[Version("driver", {"595.45.04": ["node-1", "node-2"], HOSTILE: ["node-3"]})],
        groups=[
            Group("A", "node/quick", "8 x H200", _names(8)),
            Group("B", "node/quick", "4 x H200", [HOSTILE, "node-9"]),
        ],
    )
    return Case(msgspec.structs.replace(case.card, cluster=cluster), None, None)


def scaling_cases() -> dict[str, Case]:
    """Every synthetic document of scaling and of clusters, by name."""
    return {
        "scaling-8": scaling_node(),
        "scaling-2": scaling_cpu(),
        "scaling-broken": scaling_broken(),
        "cluster-4": cluster_of(4, {2: 0.74}),
        "cluster-1000": cluster_of(1000, {17: 0.78, 411: 0.93, 412: 0.95, 902: 0.88}, (40, 41, 700)),
        "cluster-well": cluster_of(6, {}),
        "cluster-mixed": cluster_mixed(),
    }
