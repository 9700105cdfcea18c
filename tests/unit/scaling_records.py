"""Records of scaling runs for tests: steps and sweeps whose true costs are known, without any process or link."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from effbench.model.inventory import Accelerator
from effbench.model.plan import Placement, Trial, Work
from effbench.model.quantity import Interval, Quantity
from effbench.model.record import ClockSpread, Measurement, Record, Round
from effbench.model.suite import Procedure
from effbench.model.unit import Unit
from effbench.stats.collective_cost import bus_factor, ring_steps
from tests.factory import cpu_node, gpu_node

GRADIENTS = 4e6  # bytes of the facts' all_reduce
# Measured on shaped links of 200 Mbit/s: 0.5 s of work, then an all_reduce of 4 MB (shaped-links, medians of 9 steps).
FACTS = {
    1: 0.5005,
    2: 0.6587,
    3: 0.7147,
    4: 0.7435,
    6: 0.7709,
    8: 0.7843,
    10: 0.7932,
    12: 0.7989,
    14: 0.8034,
    16: 0.8062,
}


def node_of(cores: float) -> Record:
    """A record of a CPU with so many cores, without trials."""
    record = cpu_node().record
    assert record is not None
    cpu = record.inventory_before.accelerators[0]
    assert cpu.cpu is not None
    wider = msgspec.structs.replace(cpu, cpu=msgspec.structs.replace(cpu.cpu, cores_usable=cores))
    return _empty(record, [wider])


def gpus() -> Record:
    """A record of two GPUs, without trials."""
    record = gpu_node(simulated=False).record
    assert record is not None
    return _empty(record, record.inventory_before.accelerators)


def _empty(record: Record, accelerators: list[Accelerator]) -> Record:
    inventory = msgspec.structs.replace(record.inventory_before, accelerators=accelerators)
    plan = msgspec.structs.replace(record.plan, trials=[], devices=[accelerators[0].key])
    return msgspec.structs.replace(record, inventory_before=inventory, plan=plan, measurements=[], findings=[])


def with_trials(record: Record, pairs: Sequence[tuple[Trial, Measurement]]) -> Record:
    """The record with these trials and measurements added."""
    plan = msgspec.structs.replace(record.plan, trials=[*record.plan.trials, *(t for t, _ in pairs)])
    return msgspec.structs.replace(record, plan=plan, measurements=[*record.measurements, *(m for _, m in pairs)])


def team(
    kernel: str,
    ranks: int,
    params: Mapping[str, Any],
    times: Sequence[float],
    half: float = 0.01,
    *,
    nodes: int = 1,
    work: Work | None = None,
    facts: Mapping[str, float] | None = None,
    by_round: Sequence[Mapping[str, float]] = (),
    device: str = "cpu",
    clock_hz: float | None = None,
    cores: int = 1,
    status: Any = "valid",
) -> tuple[Trial, Measurement]:
    """A team's trial and its measurement: one time per round, an interval of `half` relative width on each side."""
    name = f"{kernel}:{'-'.join(str(v) for v in params.values())}-n{ranks}x{nodes}@{device}"
    own = [list(range(r * cores, (r + 1) * cores)) for r in range(ranks)] if device == "cpu" else []
    trial = Trial(
        id=name,
        workload=kernel,
        kernel=kernel,
        kernel_version=1,
        params={**params, "ranks": ranks},
        placement=Placement([device], ranks, nodes, own),
        procedure=Procedure(),
        work=work or Work(),
        outputs=[],
        trial_key=name,
        deadline_s=60,
        expected_s=1,
        scope="node" if nodes == 1 else "cluster",
    )
    ordered = sorted(times)
    center = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
    rounds = [
        Round(i, "done", step_s=t, n_accepted=9, facts={**(facts or {}), **(by_round[i] if by_round else {})})
        for i, t in enumerate(times)
    ]
    measured = Measurement(
        trial=name,
        device=device,
        status=status,
        step_s=Quantity(center, Unit.SECOND),
        interval=Interval(center * (1 - half), center * (1 + half), n_processes=len(times)),
        rounds=rounds,
        facts={**(facts or {}), **(by_round[0] if by_round else {})},
        clock_hz=ClockSpread(clock_hz, clock_hz) if clock_hz else None,
    )
    return trial, measured


def step(
    ranks: int,
    times: Sequence[float],
    part: str = "both",
    scaling: str = "weak",
    strategy: str = "ddp",
    *,
    sent: Mapping[str, tuple[float, float]] | None = None,
    **more: Any,
) -> tuple[Trial, Measurement]:
    """One count of `parallel_step`; `sent` has (calls, bytes) of every collective of a step."""
    params = {"strategy": strategy, "scaling": scaling, "part": part, "config": "tiny", "batch": 4, "dtype": "fp32"}
    sent = {"all_reduce": (1.0, GRADIENTS)} if sent is None else sent
    facts: dict[str, float] = dict(more.pop("facts", {}))
    if ranks > 1 and part != "compute":
        facts |= {f"collective_count.{op}": calls for op, (calls, _) in sent.items()}
        facts |= {f"collective_bytes.{op}": size for op, (_, size) in sent.items()}
    return team("parallel_step", ranks, params, times, facts=facts, **more)


def cost_s(op: str, ranks: int, size: float, latency_s: float, bandwidth: float, call_s: float = 0.0) -> float:
    """The true time of one collective, s."""
    return call_s + latency_s * ring_steps(op, ranks) + size * bus_factor(op, ranks) / bandwidth


def sweep(
    op: str,
    counts: Sequence[int],
    latency_s: float,
    bandwidth: float,
    *,
    nodes: Mapping[int, int] | None = None,
    noise: float = 0.0,
    seed: int = 0,
    half: float = 0.01,
) -> list[tuple[Trial, Measurement]]:
    """Sizes from 8 B to 16 MB of one collective with a known latency per ring step and bus bandwidth."""
    rng = random.Random(seed)
    found = []
    for n in counts:
        for size in (8, 65_536, 1 << 20, 4 << 20, 16 << 20):
            time = cost_s(op, n, size, latency_s, bandwidth) * (1 + noise * rng.gauss(0, 1))
            work = Work(payload_bytes=float(size), link_bytes=size * bus_factor(op, n))
            params = {"op": op, "bytes": size, "role": "size", "group": "all"}
            found.append(team("collective", n, params, [time] * 3, half, nodes=(nodes or {}).get(n, 1), work=work))
    return found
