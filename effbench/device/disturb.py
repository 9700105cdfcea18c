"""Was a measurement disturbed from outside, and was the device held down? Pure rules over telemetry of its windows.

Two questions, kept apart. Foreign load (strangers on the cores or the GPU, stolen time, pressure, quota throttling)
makes a trial *suspect*: shown and compared, but never the ground for a fail. A device that is slowed by heat, by its
board or by its power cap is as it is: named in findings and reasons, rated all the same.
"""

import itertools
import statistics
from collections.abc import Callable, Iterator, Sequence

import msgspec

from effbench.device.nvml_reasons import GPU_IDLE, HARDWARE, POWER, THERMAL, clock_reasons
from effbench.model.event import Telemetry
from effbench.model.finding import Finding

# Where the limits come from (November 2026, a 2-core Zen 4 guest, windows of half a second unless said otherwise).
# Idle, 1200 windows: steal 0 in 95 of 100, 1 % (one tick) at the 99 % quantile, 2 % at most; pressure 1.4 % and 2.7 %
# at the 95 % and 99 % quantiles. Overloaded, windows of 0.3 s: steal 1.7 % at the 99 % quantile. The estimate of
# foreign load, held against the times of all other processes under overload, was off by 8 % of the cores at its 95 %
# quantile and by 2 % in the median, since busy time is counted in ticks. One competing busy loop on the two cores gave
# foreign 48-50 %, several gave 75 % and a pressure of 100 %: the limits are well apart from both sides.
FOREIGN_LIMIT = 0.10
STEAL_LIMIT = 0.03
PRESSURE_LIMIT = 0.20
THROTTLED_LIMIT = 0.01
# Processor time is counted in ticks of 10 ms; below three half-ticks per core of evidence a share is only rounding.
EVIDENCE_S = 0.015
LONGEST_STEP_S = 1.0
# Share of readings. A hardware slowdown may flash by at a change of performance state (nvml.h).
SLOWDOWN_LIMIT = 0.01
CAPPED_LIMIT = 0.10
DISTURBING = frozenset({"foreign-load", "steal", "psi-pressure", "cgroup-throttled", "other-processes"})


class Judgement(msgspec.Struct, frozen=True):
    """What telemetry says of a measurement. `reasons` are the clock-event names seen, idling left out."""

    findings: list[Finding]
    suspect: bool
    reasons: list[str]


def judge(kind: str, points: Sequence[Telemetry]) -> Judgement:
    """Judge the readings of one device (`kind` is `cpu` or `gpu`) that fall into a measurement's windows.

    Shares are means over the readings that have them; windows may lie apart. Without readings nothing is said: that
    telemetry was lost is for the one who lost it to report.
    """
    points = sorted(points, key=lambda point: point.t_ns)
    rules = _gpu if kind == "gpu" else _cpu
    findings = [*rules(points), *_held_down(points)]
    mask = 0
    for point in points:
        mask |= point.reasons or 0
    suspect = any(finding.code in DISTURBING for finding in findings)
    return Judgement(findings, suspect, clock_reasons(mask & ~GPU_IDLE))


def step_s(points: Sequence[Telemetry]) -> float:
    """Give the usual time between readings in time order, s; 0 with fewer than two. Windows may lie apart."""
    gaps = [later.t_ns - earlier.t_ns for earlier, later in itertools.pairwise(points)]
    return min(statistics.median_low(gaps) * 1e-9, LONGEST_STEP_S) if gaps else 0.0


def _cpu(points: Sequence[Telemetry]) -> Iterator[Finding]:
    rows: tuple[tuple[str, float, Callable[[Telemetry], float | None], str], ...] = (
        ("foreign-load", FOREIGN_LIMIT, lambda p: p.foreign, "other programs used {share:.0%} of our cores"),
        ("steal", STEAL_LIMIT, lambda p: p.steal, "the hypervisor took away {share:.1%} of our cores' time"),
        ("psi-pressure", PRESSURE_LIMIT, lambda p: p.psi_some, "some task waited for a core {share:.0%} of the time"),
    )
    every_s = step_s(points)
    for code, limit, of, words in rows:
        shares = [share for share in map(of, points) if share is not None]
        share = statistics.fmean(shares) if shares else 0.0
        if share > limit and share * len(shares) * every_s >= EVIDENCE_S:
            yield _finding(code, words.format(share=share), share, limit)
    held_s = [point.throttled_s for point in points if point.throttled_s is not None]
    share = sum(held_s) / (len(held_s) * every_s) if held_s and every_s > 0 else 0.0
    if share > THROTTLED_LIMIT:
        text = f"the control group's quota held us back {sum(held_s):.2f} s of {len(held_s) * every_s:.1f} s"
        yield _finding("cgroup-throttled", text, share, THROTTLED_LIMIT)
    throttles = sum(point.counters.get("thermal_throttle_new", 0.0) for point in points)
    if throttles > 0:
        yield _finding(
            "throttled-thermal", f"the processor throttled {throttles:.0f} times because of heat", throttles, 0
        )


def _gpu(points: Sequence[Telemetry]) -> Iterator[Finding]:
    """See strangers on the device: NVML's `foreign` is 1 while another process holds a context there."""
    shares = [point.foreign for point in points if point.foreign is not None]
    if shares and max(shares) > 0:
        share = statistics.fmean(shares)
        yield _finding("other-processes", f"another process held the GPU in {share:.0%} of the readings", share, 0)


def _held_down(points: Sequence[Telemetry]) -> Iterator[Finding]:
    """Name the clock-event reasons by class; a mask may hold several."""
    masks = [point.reasons for point in points if point.reasons is not None]
    if not masks:
        return
    for code, bits, limit, words in (
        ("throttled-thermal", THERMAL, SLOWDOWN_LIMIT, "heat held the clocks down"),
        ("throttled-hardware", HARDWARE, SLOWDOWN_LIMIT, "the board slowed the chip down"),
    ):
        share = sum(bool(mask & bits) for mask in masks) / len(masks)
        if share > limit:
            seen = ", ".join(sorted({name for mask in masks for name in clock_reasons(mask & bits)}))
            yield _finding(code, f"{words} in {share:.0%} of the readings ({seen})", share, limit)
    share = sum(bool(mask & POWER) for mask in masks) / len(masks)
    if share > CAPPED_LIMIT:
        text = f"the power cap held the clocks down in {share:.0%} of the readings"
        yield Finding("throttled-power", "info", text, evidence={"share": round(share, 4), "limit": CAPPED_LIMIT})


def _finding(code: str, text: str, share: float, limit: float) -> Finding:
    return Finding(code, "warning", text, evidence={"share": round(share, 4), "limit": limit})
