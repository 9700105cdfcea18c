"""Synthetic nodes for tests: a record, the scorecard and the grade that belong together, without any hardware.

Every figure here is invented from a table below and shaped like the real thing; nothing was measured. The dates are
fixed. The samples do not go through `score` or `grade`: they pin the documents that the report layer must show.
"""

import math
import random
from typing import Any, NamedTuple

import msgspec

from effbench.model.event import Tool, Verify
from effbench.model.finding import Finding
from effbench.model.grade import DomainGrade, Grade, PolicyRef, Reason, Verdict
from effbench.model.inventory import Accelerator, CpuFacts, Inventory, Part, Pcie
from effbench.model.plan import Output, Placement, Plan, Trial, Work
from effbench.model.quantity import Ceiling, Interval, Quantity
from effbench.model.record import ClockSpread, Measurement, PowerSpread, Record, Round, Status, TimelinePoint
from effbench.model.scorecard import DeviceCard, Metric, Scorecard, Stage, Waterfall
from effbench.model.suite import Procedure
from effbench.model.unit import Unit
from tests.factory_tables import CPU_ROWS, ENDED, GPU_ROWS, H200, H200_SOURCE, STARTED, UNITS, ZEN4, Row


class Case(NamedTuple):
    """One synthetic node: what the three documents say of it."""

    card: Scorecard
    grade: Grade | None
    record: Record | None


def _id(row: Row, device: str) -> str:
    shown = ",".join(f"{name}={value}" for name, value in sorted(row.params.items()) if name not in ("m", "n", "k"))
    return f"{row.workload}[{shown}]@{device}" if shown else f"{row.workload}@{device}"


def _trial(row: Row, device: str) -> Trial:
    outputs = [Output(key=key, of="flop", peak=row.peak, fractions=row.share is not None) for key in row.outputs]
    return Trial(
        id=_id(row, device),
        workload=row.workload,
        kernel=row.kernel,
        kernel_version=1,
        params=row.params,
        placement=Placement(devices=[device]),
        procedure=Procedure(mode=row.mode, duration_s=0.6),
        work=Work(flop=row.flop, hardware_flop=row.flop, memory_bytes=row.memory_bytes, items=row.items),
        outputs=outputs,
        trial_key=f"{abs(hash_of(row.workload + str(sorted(row.params.items())))):012x}"[:12],
        deadline_s=60,
        expected_s=2,
        emulated=row.emulated,
        skipped=row.skipped,
    )


def hash_of(text: str) -> int:
    """A stable hash, the same in every process."""
    value = 14695981039346656037
    for byte in text.encode():
        value = ((value ^ byte) * 1099511628211) % 2**48
    return value


def _measurement(row: Row, device: str, slow: float, rounds: int, spread: float, cpu: bool) -> Measurement:
    """What the engine would have stored of one trial, with invented noise."""
    if row.skipped:
        return Measurement(trial=_id(row, device), device=device, status="skipped", detail=row.skipped)
    rng = random.Random(hash_of(_id(row, device)))
    step = row.step_s * slow
    medians = [step * (1 + rng.gauss(0, spread / 3)) for _ in range(rounds)]
    ladder = {"0": -2.2, "1": -1.7, "5": -1.2, "25": -0.5, "50": 0.0, "75": 0.6, "95": 1.9, "99": 3.4, "100": 7.0}
    n = 1 if row.mode == "once" else 60 * rounds
    return Measurement(
        trial=_id(row, device),
        device=device,
        status="valid",
        step_s=Quantity(step, Unit.SECOND),
        interval=Interval(step * (1 - spread), step * (1 + spread), n_processes=rounds, n_samples=n),
        quantiles_s={name: step * (1 + where * spread * 0.6) for name, where in ladder.items()},
        rounds=[
            Round(
                round=i, status="done", step_s=median, n_accepted=n // rounds, clock_hz=1.755e9 if not cpu else 3.66e9
            )
            for i, median in enumerate(medians)
        ],
        n_accepted=n,
        n_rejected=2 if row.kernel == "gemm" and not cpu else 0,
        power_w=None if cpu else PowerSpread(mean=612 if row.kernel == "gemm" else 488, p99=694),
        temperature_max_degc=None if cpu else 67,
        clock_hz=ClockSpread(p5=3.61e9, p50=3.66e9) if cpu else ClockSpread(p5=1.62e9, p50=1.755e9),
        throttle_reasons=["sw_power_cap"] if row.kernel == "gemm" and not cpu else [],
        verify=Verify(ok=True, error=3.1e-4, tolerance=7.8e-3, fingerprint="9d3f1a20", bit_identical=True),
        facts={"loss_first": 10.82, "loss_last": 9.41} if row.kernel == "train_step" else {},
        texts={"inputs": "normal, seed 20261121", "library": "cuBLASLt" if not cpu else "oneDNN avx512_core_bf16"},
    )


def _value(key: str, row: Row, step: float, peaks: dict[str, float]) -> float:
    last = key.rsplit(".", 1)[-1]
    if last in ("mfu", "fraction_of_bandwidth"):
        top = peaks.get(row.peak or "")
        work = row.memory_bytes if row.peak == "bandwidth" else row.flop
        return work / step / top if top else 0.31
    if last == "verified_bytes":
        return row.memory_bytes
    if last == "peak_memory_bytes":
        return 71.3e9
    if last in ("flops", "bandwidth", "tokens_per_s"):
        return {"flops": row.flop, "bandwidth": row.memory_bytes, "tokens_per_s": row.items}[last] / step
    return step * (1.9 if last.endswith("p99") else 1.0)


def _metric(key: str, value: float, spread: float, m: Measurement, device: str | None, **more: Any) -> Metric:
    unit, better = UNITS.get(key.rsplit(".", 1)[-1], (Unit.ONE, "higher"))
    interval = (
        None if spread == 0 else Interval(value * (1 - spread), value * (1 + spread), n_processes=3, n_samples=180)
    )
    status: Status = m.status
    return Metric(key, Quantity(value, unit), better, status, [m.trial], device, interval, **more)


def _metrics(row: Row, m: Measurement, device: str, spread: float, part: Part, cpu: bool) -> list[Metric]:
    """The metrics of one trial on one device, fractions included."""
    if m.step_s is None or m.status not in ("valid", "suspect"):
        return []
    held = {name: per * 2 * 3.66e9 for name, per in part.flops_per_clock.items()}
    peaks = (held if cpu else part.peak_flops) | ({"bandwidth": part.memory_bandwidth} if part.memory_bandwidth else {})
    exact = ("verified_bytes", "peak_memory_bytes")
    noise = {key: 0.0 if key.endswith(exact) else spread for key in row.outputs}
    shape = {"m": row.params["m"], "n": row.params["n"], "k": row.params["k"]} if "m" in row.params else {}
    values = {key: _value(key, row, m.step_s.value, peaks) for key in row.outputs}
    found = [_metric(key, value, noise[key], m, device, params=shape) for key, value in values.items()]
    first = row.outputs[0]
    stem, last = first.rsplit(".", 1)
    top = peaks.get(row.peak or "")
    unit = UNITS.get(last, (Unit.ONE, "higher"))[0]
    if top and last in ("flops", "bandwidth"):
        rated = Ceiling(top, unit, part.source, part.as_of, part.confidence)
        name = "fraction_at_held_clock" if cpu else "fraction_of_rated_peak"
        found.append(_metric(f"{stem}.{name}", values[first] / top, spread, m, device, ceiling=rated))
        if not cpu and last == "flops":
            clock = Ceiling(top * 0.959, unit, "1.755 GHz held, NVML", STARTED[:10], "high")
            share = values[first] / top / 0.959
            found.append(_metric(f"{stem}.fraction_at_held_clock", share, spread, m, device, ceiling=clock))
    if row.share is not None:
        share = row.share * row.step_s / m.step_s.value
        source = "stas00/ml-engineering @744d01e" if not cpu else "repeated runs on a 2-core VM"
        held_against = Ceiling(values[first] / share, unit, source, "2026-08-20", "medium", provisional=cpu)
        found.append(_metric(f"{stem}.fraction_of_reference", share, spread, m, device, ceiling=held_against))
    return found


def _aggregate(metrics: list[Metric]) -> list[Metric]:
    """The node's figure for each key: its worst device, with the spread over devices."""
    nodes = []
    for key in dict.fromkeys(metric.key for metric in metrics):
        mine = [metric for metric in metrics if metric.key == key]
        best = max if mine[0].better == "lower" else min
        worst = best(mine, key=lambda metric: metric.quantity.value)
        values = [metric.quantity.value for metric in mine]
        spread = (max(values) - min(values)) / max(values)
        params = worst.params | {"worst_device": worst.device} | ({"spread": spread} if len(mine) > 1 else {})
        nodes.append(msgspec.structs.replace(worst, device=None, params=params))
    return nodes


def _stages(gemm: Metric, mfu: float, cpu: bool) -> list[Stage]:
    """The waterfall of one device."""
    value = gemm.quantity.value
    rated = 989.4e12
    held = 64 * 2 * 3.66e9 if cpu else rated * 0.959
    top = held if cpu else rated
    first = (
        Stage("rated_peak", "Rated peak", "No vendor rates this CPU's peak; the clock it held is the only denominator.")
        if cpu
        else Stage("rated_peak", "Rated peak", f"Dense, from the {H200_SOURCE}.", rated, 1.0)
    )
    clock = "3.66 GHz measured by the probe after each block." if cpu else "The 700 W limit held 1.755 of 1.830 GHz."
    kernel = f"The library reaches {value / held:.0%} of what the held clock allows; shape 8192 x 8192 x 8192."
    train = "Attention, normalisation and the optimiser are memory-bound, and launches leave gaps."
    return [
        first,
        Stage("held_clock", "Peak at the held clock", clock, held, held / top),
        Stage("best_gemm", "Best GEMM", kernel, value, value / top, gemm.key),
        Stage("train_step", "Training step", train, mfu * top, mfu, "train.step.mfu"),
        Stage("wall_power", "At the wall", "Not measured: no wall-power source is configured."),
    ]


def _gpu(i: int, simulated: bool) -> Accelerator:
    return Accelerator(
        key=f"gpu{i}",
        kind="gpu",
        vendor="nvidia",
        name="NVIDIA H200",
        torch_device="fake" if simulated else "cuda:0",
        memory_bytes=150_754_820_096,
        llc_bytes=52_428_800,
        simulated=simulated,
        uuid=f"GPU-0000000{i}-0000-4000-8000-000000000000",
        pci_bus_id=f"0000:{0x18 + 0x35 * i:02X}:00.0",
        compute_capability="9.0",
        sm_count=132,
        clock_max_hz=1.98e9,
        memory_clock_max_hz=3.201e9,
        power_limit_w=700,
        power_limit_default_w=700,
        ecc=True,
        mig=False,
        persistence=i == 0,
        pcie=Pcie(5, 16, 5, 16),
        numa=i,
        part=H200,
    )


def _cpu() -> Accelerator:
    facts = CpuFacts(
        vendor="AuthenticAMD",
        family=25,
        model=17,
        model_name="AMD EPYC",
        flags=["avx2", "avx512f", "avx512_bf16"],
        cores_usable=2,
        cores_physical=2,
        threads_logical=2,
        affinity=[0, 1],
        virtual=True,
        nominal_hz=2.6e9,
    )
    return Accelerator("cpu", "cpu", "AuthenticAMD", "AMD EPYC", "cpu", 8_336_000_000, 33_554_432, cpu=facts, part=ZEN4)


def _timeline(devices: list[str], trials: list[str], cpu: bool) -> list[TimelinePoint]:
    """Half a second between points: clocks that sag under load, watts and heat that follow."""
    points = []
    for i in range(240):
        trial = trials[(i // 6) % len(trials)]
        for d, device in enumerate(devices):
            load = 0.55 + 0.45 * math.sin(hash_of(trial) % 7 + d) ** 2
            wiggle = math.sin(i * 1.7 + d * 2) * 0.01
            points.append(
                TimelinePoint(t_s=i * 0.5, device=device, trial=trial, clock_hz=(3.62 + wiggle * 4) * 1e9)
                if cpu
                else TimelinePoint(
                    t_s=i * 0.5,
                    device=device,
                    trial=trial,
                    clock_hz=(1.98 - 0.26 * load + wiggle) * 1e9,
                    power_w=180 + 510 * load * (1 + wiggle),
                    temperature_degc=34 + 33 * (1 - math.exp(-i / 40)) * (0.8 + 0.2 * load) + d * 2,
                )
            )
    return points


def _record(rows: list[Row], devices: list[Accelerator], slow: dict[str, float], spread: float, **more: Any) -> Record:
    cpu = devices[0].kind == "cpu"
    keys = [device.key for device in devices]
    plan = Plan(
        schema="effbench.plan/1",
        digest="a41c9f0e77d1",
        suite="node/standard",
        suite_digest="51b7d20c9e04",
        catalog_digest="c09a71ee3d55",
        kernel_digests={row.kernel: f"{hash_of(row.kernel):012x}" for row in rows},
        inventory_digest="0e9977abf412",
        seed=20261121,
        rounds_min=3,
        rounds_max=6,
        budget_s=600 if cpu else 300,
        expected_s=240,
        trials=[_trial(row, key) for key in keys for row in rows],
        devices=keys,
    )
    measured = [_measurement(row, key, slow.get(key, 1.0), 3, spread, cpu) for key in keys for row in rows]
    ran = [m.trial for m in measured if m.status != "skipped"]
    inventory = Inventory(
        node="node-17",
        accelerators=devices,
        os="Debian GNU/Linux 12",
        kernel="6.1.0-28-amd64",
        python="3.11.7",
        torch="2.13.0",
        cuda="" if cpu else "13.0",
        driver="" if cpu else "595.45.04",
        host_memory_bytes=8_336_000_000 if cpu else 2_164_000_000_000,
    )
    fields: dict[str, Any] = {
        "digest": "5d1f7be09c3a62e8",
        "plan": plan,
        "inventory_before": inventory,
        "measurements": measured,
        "started_at": STARTED,
        "ended_at": ENDED,
        "tool": Tool("0.1.0", "b1946ac92492"),
        "journal_digest": "e3b0c44298fc1c14",
        "outcome": "complete",
        "rounds_done": 3,
        "wall_s": 271.4,
        "measured_s": 183.2,
        "overhead_s": 11.9,
        "simulated": any(device.simulated for device in devices),
        "timeline": _timeline(keys, ran, cpu),
    }
    return Record(schema="effbench.record/1", **fields | more)


def _card(record: Record, rows: list[Row], spread: float, findings: list[Finding]) -> Scorecard:
    devices = record.inventory_before.accelerators
    by_id = {m.trial: m for m in record.measurements}
    metrics: list[Metric] = []
    waterfalls = []
    for device in devices:
        assert device.part is not None
        cpu = device.kind == "cpu"
        for row in rows:
            metrics += _metrics(row, by_id[_id(row, device.key)], device.key, spread, device.part, cpu)
        mine = {metric.key: metric for metric in metrics if metric.device == device.key}
        if "compute.gemm.bf16.flops" in mine and "train.step.mfu" in mine:
            stages = _stages(mine["compute.gemm.bf16.flops"], mine["train.step.mfu"].quantity.value, cpu)
            waterfalls.append(Waterfall(device.key, "bf16", stages))
    planned = [m for m in record.measurements if m.status != "skipped"]
    valid = [m for m in planned if m.status == "valid"]
    return Scorecard(
        schema="effbench.scorecard/1",
        subject="node",
        node=record.inventory_before.node,
        device_class=devices[0].kind,
        devices=[
            DeviceCard(d.key, d.kind, d.name, d.part.id, d.part.title, d.part.confidence, d.simulated)
            for d in devices
            if d.part
        ],
        metrics=_aggregate(metrics) + metrics,
        coverage=len(valid) / len(planned),
        findings=findings,
        record_digests=[record.digest],
        suite=record.plan.suite,
        started_at=record.started_at,
        waterfalls=waterfalls,
        simulated=record.simulated,
    )


LADDER = {"S": 0.97, "A": 0.92, "B": 0.85, "C": 0.75}
CRITICAL = ("compute", "memory")


def _reason(metric: Metric, threshold: float = 0.75) -> Reason:
    interval = metric.interval or Interval(metric.quantity.value, metric.quantity.value)
    value = metric.quantity.value
    outcome: Verdict = "pass" if interval.low >= threshold else "fail" if interval.high < threshold else "undecided"
    if metric.status != "valid" and outcome == "fail":
        outcome = "not_rated"
    bound = interval.high if outcome == "fail" else interval.low
    margin = bound / threshold - 1
    met = "meets" if outcome == "pass" else "misses" if outcome == "fail" else "straddles"
    return Reason(
        metric=metric.key,
        outcome=outcome,
        text=f"{value:.3f} of the reference {met} the {threshold:.2f} that passing asks for.",
        next_step="" if outcome == "pass" else "Look at the clock and power timeline, then run the suite again alone.",
        device=metric.params.get("worst_device"),
        observed=value,
        bound=bound,
        threshold=threshold,
        margin=margin,
        provisional=bool(metric.ceiling and metric.ceiling.provisional),
        suspect=metric.status == "suspect",
    )


def _domain(name: str, metrics: list[Metric], required: bool) -> DomainGrade:
    if not metrics:
        missing = Reason(
            metric={"host": "host.copy.h2d.pinned.fraction_of_reference"}.get(name, "power.gemm.bf16.flops_per_joule"),
            outcome="not_rated",
            text="Nothing was measured that this domain could be rated on.",
            next_step="Run a suite that covers it, for example node/standard.",
        )
        return DomainGrade(name, "not_rated", [missing], required, name in CRITICAL)
    reasons = [_reason(metric) for metric in metrics]
    shares = [metric.quantity.value for metric in metrics]
    lows = [metric.interval.low if metric.interval else metric.quantity.value for metric in metrics]
    highs = [metric.interval.high if metric.interval else metric.quantity.value for metric in metrics]
    low = math.prod(lows) ** (1 / len(lows))
    capped = any(reason.provisional for reason in reasons)
    letter = next((letter for letter, share in LADDER.items() if low >= share), "F")
    order: list[Verdict] = ["fail", "not_rated", "undecided", "pass"]
    outcome = min((reason.outcome for reason in reasons), key=order.index)
    return DomainGrade(
        name=name,
        outcome=outcome,
        reasons=reasons,
        required=required,
        critical=name in CRITICAL,
        grade=None if outcome not in ("pass", "fail") else "B" if capped and letter in "SA" else letter,
        share=math.prod(shares) ** (1 / len(shares)),
        share_low=low,
        share_high=math.prod(highs) ** (1 / len(highs)),
        capped=capped and letter in "SA",
    )


GATES = ("health.wrong_results", "health.device_lost", "health.ecc_uncorrected", "health.row_remap_pending")


def _grade(
    card: Scorecard, verdict: Verdict, letter: str | None, summary: str, gates: list[Reason], why: list[str]
) -> Grade:
    nodes = [m for m in card.metrics if m.device is None and m.key.endswith(".fraction_of_reference")]
    names = ["compute", "memory", "train", "infer", "host"] + ([] if card.device_class == "gpu" else ["power"])
    cpu_optional = ("host", "power")
    domains = [
        _domain(
            name,
            [m for m in nodes if m.key.startswith(f"{name}.")],
            not (card.device_class == "cpu" and name in cpu_optional),
        )
        for name in names
    ]
    return Grade(
        schema="effbench.grade/1",
        verdict=verdict,
        policy=PolicyRef("node-2026", 1, "9f86d081884c7d65"),
        scorecard_digest="2c26b46b68ffc68f",
        gates=gates,
        domains=domains,
        summary=summary,
        decided_at=ENDED,
        grade=letter,
        rated_until="2026-12-21" if verdict == "pass" else None,
        reasons=why,
    )


def _gate(
    metric: str, observed: float | None = 0.0, text: str = "None seen.", next_step: str = "", **more: Any
) -> Reason:
    outcome: Verdict = "not_rated" if observed is None else "pass" if observed == 0 else "fail"
    return Reason(metric, outcome, text, next_step, observed=observed, bound=observed, threshold=0.0, **more)


def gpu_node(simulated: bool = True) -> Case:
    """Two H200, the second three per cent slower; simulated unless told otherwise."""
    findings = [
        Finding(
            "capped",
            "info",
            "The 700 W limit held the clock at 1.755 GHz during gemm.",
            "gpu0",
            evidence={"power_w": 694.0},
        ),
        Finding("persistence-off", "warning", "Persistence mode is off on gpu1.", "gpu1"),
        Finding(
            "reference-absent",
            "info",
            "No published reference for fp64 on this part.",
            trial="gemm-fp64[dtype=fp64]@gpu0",
        ),
    ]
    if simulated:
        findings.insert(0, Finding("simulated", "warning", "gpu0 and gpu1 are simulated; nothing was measured."))
    devices = [_gpu(0, simulated), _gpu(1, simulated)]
    record = _record(GPU_ROWS, devices, {"gpu0": 1.0, "gpu1": 1.03}, 0.006)
    card = _card(record, GPU_ROWS, 0.006, findings)
    gates = [_gate(metric) for metric in GATES]
    if simulated:
        why = ["the record is simulated: no device was measured"]
        return Case(card, _grade(card, "not_rated", None, "Simulated devices are never rated.", gates, why), record)
    summary = "Every required metric reaches at least 90 % of its reference; gpu1 is 3 % behind gpu0."
    return Case(card, _grade(card, "pass", "A", summary, gates, ["train is the weakest domain"]), record)


def cpu_node() -> Case:
    """A two-core virtual machine: no rated peak, no power, no host link; provisional references."""
    findings = [
        Finding("virtual-topology", "info", "A hypervisor hides which cores are real."),
        Finding("sensor-absent", "info", "Power: no RAPL domain is readable.", "cpu"),
        Finding(
            "emulated-dtype",
            "info",
            "fp16 has no unit on this core: torch emulates it.",
            "cpu",
            "gemm-fp16[dtype=fp16]@cpu",
        ),
        Finding(
            "steal", "warning", "The hypervisor took 3.4 % of the time during decode.", "cpu", evidence={"steal": 0.034}
        ),
    ]
    record = _record(CPU_ROWS, [_cpu()], {}, 0.034)
    card = _card(record, CPU_ROWS, 0.034, findings)
    gates = [_gate("health.wrong_results")]
    summary = "A healthy Zen 4 pair; capped at B because the references are provisional."
    return Case(card, _grade(card, "pass", "B", summary, gates, ["capped at B: provisional references"]), record)


def failed_node() -> Case:
    """One H200 that computes wrongly and runs hot; a trial crashed, one was cut short."""
    case = gpu_node(simulated=False)
    assert case.record is not None
    broken = []
    for m in case.record.measurements:
        if m.device == "gpu1":
            continue
        if m.trial.startswith("gemm-bf16"):
            bad = Verify(ok=False, error=0.41, tolerance=7.8e-3, detail="1 of 67108864 elements differs")
            m = msgspec.structs.replace(m, status="failed", detail="wrong result", verify=bad)
        elif m.trial.startswith("attention"):
            m = Measurement(m.trial, m.device, "failed", "the worker died: signal 9")
        elif m.trial.startswith("prefill"):
            m = Measurement(m.trial, m.device, "invalid", "2 samples; at least 5 are needed")
        broken.append(m)
    plan = msgspec.structs.replace(
        case.record.plan,
        trials=[t for t in case.record.plan.trials if t.placement.devices == ["gpu0"]],
        devices=["gpu0"],
    )
    inventory = msgspec.structs.replace(case.record.inventory_before, accelerators=[_gpu(0, False)])
    record = msgspec.structs.replace(case.record, measurements=broken, plan=plan, inventory_before=inventory)
    findings = [
        Finding(
            "wrong-result",
            "error",
            "gemm bf16: error 0.41 against a tolerance of 0.0078.",
            "gpu0",
            "gemm-bf16[dtype=bf16]@gpu0",
        ),
        Finding(
            "worker-crashed",
            "error",
            "The worker of attention died: signal 9.",
            "gpu0",
            "attention[direction=fwd,head_dim=128]@gpu0",
        ),
        Finding("throttled-thermal", "warning", "12 % of the samples were taken under a thermal reason.", "gpu0"),
        Finding("too-few-samples", "warning", "prefill: 2 samples; at least 5 are needed.", "gpu0"),
    ]
    rows = [row for row in GPU_ROWS if row.workload not in ("attention", "prefill")]
    card = _card(record, rows, 0.006, findings)
    gates = [
        _gate(
            "health.wrong_results",
            1.0,
            "One trial computed a wrong result.",
            "Drain the node and run the vendor's diagnostics.",
            device="gpu0",
        ),
        _gate("health.device_lost"),
        _gate("health.ecc_uncorrected"),
        _gate("health.row_remap_pending", None, "The driver does not report it.", "Update the driver."),
    ]
    return Case(
        card, _grade(card, "fail", "F", "gpu0 computes wrong results.", gates, ["health.wrong_results"]), record
    )


def undecided_node() -> Case:
    """A CPU whose triad straddles the threshold: more rounds would tell."""
    rows = [row._replace(share=0.76) if row.kernel == "stream" else row for row in CPU_ROWS]
    record = _record(rows, [_cpu()], {}, 0.06)
    findings = [
        Finding("interval-wide", "warning", "stream triad: ± 6 % after 3 rounds.", "cpu", evidence={"half": 0.06})
    ]
    card = _card(record, rows, 0.06, findings)
    summary = "Memory lies within its interval of the threshold: measure more rounds."
    return Case(card, _grade(card, "undecided", None, summary, [_gate("health.wrong_results")], ["memory"]), record)


def empty_node() -> Case:
    """Nothing was measured: interrupted before the first trial ended. No grade and no record."""
    card = Scorecard(
        schema="effbench.scorecard/1",
        subject="node",
        node="node-17",
        device_class="cpu",
        devices=[],
        metrics=[],
        coverage=0.0,
        findings=[],
        record_digests=[],
        suite="node/quick",
        started_at=STARTED,
        outcome="interrupted",
    )
    return Case(card, None, None)


HOSTILE = '<script>alert(1)</script>|`x`](http://evil)[red]\x1b[31m\x00]]>"\'&\n# HELP\u202e{a="b"}\\'


def hostile_node() -> Case:
    """A node whose every name and message tries to break out of the format that shows it."""
    case = gpu_node(simulated=False)
    assert case.record is not None and case.grade is not None
    device = msgspec.structs.replace(_gpu(0, False), name=HOSTILE, vbios=HOSTILE, serial=HOSTILE)
    inventory = msgspec.structs.replace(
        case.record.inventory_before,
        node=HOSTILE,
        accelerators=[device, _gpu(1, False)],
        os=HOSTILE,
        env={"OMP": HOSTILE},
    )
    first = msgspec.structs.replace(
        case.record.measurements[0],
        status="failed",
        detail=HOSTILE,
        texts={HOSTILE: HOSTILE},
        throttle_reasons=[HOSTILE],
    )
    record = msgspec.structs.replace(
        case.record, inventory_before=inventory, measurements=[first, *case.record.measurements[1:]]
    )
    odd = Metric(f"compute.{HOSTILE}.flops", Quantity(1.0, Unit.FLOP_PER_S), "higher", "valid", [HOSTILE])
    cards = [msgspec.structs.replace(case.card.devices[0], name=HOSTILE, part_title=HOSTILE), case.card.devices[1]]
    stage = Stage(HOSTILE, HOSTILE, HOSTILE, 1e12, 1.0)
    card = msgspec.structs.replace(
        case.card,
        node=HOSTILE,
        suite=HOSTILE,
        devices=cards,
        metrics=[*case.card.metrics, odd],
        findings=[Finding(HOSTILE, "error", HOSTILE, HOSTILE, HOSTILE, {HOSTILE: HOSTILE})],
        waterfalls=[Waterfall(HOSTILE, HOSTILE, [stage, stage])],
    )
    gate = Reason(HOSTILE, "fail", HOSTILE, HOSTILE, HOSTILE, 1.0, 1.0, 0.0, -1.0)
    domain = DomainGrade(HOSTILE, "fail", [gate], True, True, HOSTILE, 0.5, 0.4, 0.6)
    grade = msgspec.structs.replace(
        case.grade,
        summary=HOSTILE,
        gates=[gate],
        domains=[domain],
        reasons=[HOSTILE],
        policy=PolicyRef(HOSTILE, 1, HOSTILE),
        grade=HOSTILE,
    )
    return Case(card, grade, record)


def cases() -> dict[str, Case]:
    """Every sample by name."""
    return {
        "gpu-simulated": gpu_node(),
        "gpu-pass": gpu_node(simulated=False),
        "cpu": cpu_node(),
        "failed": failed_node(),
        "undecided": undecided_node(),
        "empty": empty_node(),
        "hostile": hostile_node(),
    }
