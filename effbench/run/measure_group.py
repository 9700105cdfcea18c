"""Measure one trial on every rank of a team at once: the same batches on all, timed as the slowest rank's.

Every decision (how many repetitions, whether to go on) is made by each rank from the same figures, which all ranks
have exchanged, by rank 0's clock; so no rank can go on alone.
"""

import math
import time
from typing import Any

import msgspec

from effbench.kernels.contract import Step
from effbench.kernels.group import GroupRig
from effbench.model.event import Closed, Noted, Sample, Verify
from effbench.model.finding import Finding
from effbench.model.plan import Trial
from effbench.run.measure import (
    OWN_PASS_FACTOR,
    PROGRESS_EVERY_S,
    SOAK_BLOCK_S,
    STEADY_BLOCKS,
    STEADY_SPREAD,
    Fingerprints,
    Outbox,
    batch_of,
)
from effbench.run.wire import Progress
from effbench.stats.quantile import median

__all__ = ["measure_group"]

# The sampling loop ends itself at this share of the trial's deadline; the rest is for verifying (as on one device).
SAMPLING_SHARE = 0.6


class Block(msgspec.Struct, frozen=True):
    """One timed batch of every rank, seconds per batch; `now_s` is rank 0's monotonic clock after it."""

    device_s: list[float]
    host_s: list[float]
    clock_hz: list[float | None]
    now_s: float

    @property
    def slowest(self) -> int:
        """The rank that took longest."""
        return max(range(len(self.device_s)), key=self.device_s.__getitem__)


def measure_group(step: Step, trial: Trial, rig: GroupRig, round_number: int, outbox: Outbox) -> None:
    """Run `trial` once with all ranks, and close it. Rank 0's outbox goes to the journal, the others' nowhere.

    The worst rank's verification counts. Figures of single ranks go into the facts as `name.r<rank>`.

    Raises:
        ValueError: a rank measured a time that is not finite.
        RuntimeError: a rank went away, or a collective passed its deadline.
    """
    guard = _agreed(Fingerprints(step, trial, outbox), rig, trial, outbox)
    facts: dict[str, float] = {}
    if trial.procedure.mode == "once":
        _own_pass(step, trial, rig, outbox)
    else:
        batch, soaked_s, steady = _soak(step, trial, rig, outbox)
        facts = _sample(step, trial, rig, batch, outbox, guard)
        facts["soak_s"] = soaked_s
        if steady is not None:
            facts["steady"] = float(steady)
    facts |= _of_ranks(step, rig)
    outbox.progress(Progress(trial.id, 0.0, phase="verifying"))
    if guard is not None:
        guard.check()
    verdict = _verified(step, guard, rig)
    status, detail = ("done", "") if verdict.ok else ("failed", f"wrong result: {verdict.detail}")
    facts = {**step.facts(), **facts}
    texts = {**step.texts(), **rig.context_texts()}
    outbox.event(Closed(time.monotonic_ns(), trial.id, round_number, status, detail, verdict, facts, texts))


def _agreed(guard: Fingerprints, rig: GroupRig, trial: Trial, outbox: Outbox) -> Fingerprints | None:
    """Take the first fingerprints. They are used when they repeat on every rank, for all ranks must take as many."""
    guard.learn()
    states = rig.group.all_objects(guard.identical)
    if all(state is True for state in states):
        return guard
    doubtful = [str(rank) for rank, state in enumerate(states) if state is not True]
    if rig.group.rank == 0 and guard.identical is True:
        message = f"the first untimed repeats differ on rank {', '.join(doubtful)}: the bit check does not apply"
        outbox.event(Noted(time.monotonic_ns(), Finding("not-bit-reproducible", "info", message, trial=trial.id)))
    return None


def _timed(step: Step, rig: GroupRig, first: int, n: int) -> Block:
    """Meet, time one batch on every rank, and exchange what it took."""
    rig.group.barrier()
    timing = rig.time(step.run, first, n)
    clock = rig.clock_hz()
    mine = [timing.device_s, timing.host_s, math.nan if clock is None else clock, rig.monotonic()]
    rows = rig.group.all_floats(mine)
    wrong = [str(rank) for rank, row in enumerate(rows) if not (math.isfinite(row[0]) and math.isfinite(row[1]))]
    if wrong:
        raise ValueError(f"rank {', '.join(wrong)} measured a time that is not finite")
    clocks = [row[2] if math.isfinite(row[2]) else None for row in rows]
    return Block([row[0] for row in rows], [row[1] for row in rows], clocks, rows[0][3])


def _soak(step: Step, trial: Trial, rig: GroupRig, outbox: Outbox) -> tuple[int, float, bool | None]:
    """Warm up until the slowest rank's times agree or time is up: repetitions per batch, seconds, steady or not."""
    procedure = trial.procedure
    alone = procedure.mode in ("latency", "burst")
    start = told = rig.group.all_floats([rig.monotonic()])[0][0]
    n, times = 1, list[float]()
    while True:
        block = _timed(step, rig, 0, n)
        per_step = max(max(block.device_s) / n, 1e-9)
        times.append(per_step)
        n = 1 if alone else batch_of(max(procedure.batch_min_s, SOAK_BLOCK_S), per_step)
        last = times[-STEADY_BLOCKS:]
        steady = len(last) == STEADY_BLOCKS and max(last) - min(last) <= STEADY_SPREAD * min(last)
        if block.now_s - start >= procedure.warmup_s:
            break
        if block.now_s - told >= PROGRESS_EVERY_S:
            told = block.now_s
            outbox.progress(Progress(trial.id, block.now_s - start, len(times), per_step, phase="soaking"))
    batch = 1 if alone else batch_of(procedure.batch_min_s, median(times))
    return batch, block.now_s - start, steady if len(times) >= STEADY_BLOCKS else None


def _sample(
    step: Step, trial: Trial, rig: GroupRig, batch: int, outbox: Outbox, guard: Fingerprints | None
) -> dict[str, float]:
    """Time batches until the procedure has what it asks for; return each rank's own median time and clock."""
    procedure = trial.procedure
    start = told = rig.group.all_floats([rig.monotonic()])[0][0]
    blocks: list[Block] = []
    while True:
        if procedure.mode == "burst":
            rig.flush()
            rig.synchronize()
        block = _timed(step, rig, len(blocks) * batch, batch)
        blocks.append(block)
        slowest = block.slowest
        known = [clock for clock in block.clock_hz if clock is not None]
        clock = sum(known) / len(known) if known else None
        t_ns = time.monotonic_ns()
        outbox.event(Sample(t_ns, block.device_s[slowest], block.host_s[slowest], batch, clock))
        elapsed = block.now_s - start
        if len(blocks) >= procedure.samples_max or elapsed >= SAMPLING_SHARE * trial.deadline_s:
            break
        if len(blocks) >= procedure.samples_min and elapsed >= procedure.duration_s:
            break
        if guard is not None and len(blocks) % procedure.fingerprint_every == 0 and procedure.mode == "sustained":
            guard.check()
        if block.now_s - told >= PROGRESS_EVERY_S:
            told = block.now_s
            outbox.progress(Progress(trial.id, elapsed, len(blocks), median([max(b.device_s) / batch for b in blocks])))
    return _own(blocks, batch)


def _own(blocks: list[Block], batch: int) -> dict[str, float]:
    """Return the median time of a repetition and the median clock of each rank by its own clock."""
    facts = {}
    for rank in range(len(blocks[0].device_s)):
        facts[f"step_s.r{rank}"] = median([block.device_s[rank] / batch for block in blocks])
        clocks = [clock for block in blocks if (clock := block.clock_hz[rank]) is not None]
        if clocks:
            facts[f"clock_hz.r{rank}"] = median(clocks)
    return facts


def _own_pass(step: Any, trial: Trial, rig: GroupRig, outbox: Outbox) -> None:
    """Let a step do its own pass on every rank. A sample that all ranks have took as long as on the slowest."""
    rig.group.barrier()
    samples = list(step.samples(OWN_PASS_FACTOR * trial.procedure.duration_s))
    theirs = rig.group.all_objects([[sample.device_s, sample.host_s] for sample in samples])
    lengths = {len(one) for one in theirs}
    for number, sample in enumerate(samples):
        if len(lengths) == 1:
            device_s, host_s = max((one[number] for one in theirs), key=lambda pair: pair[0])
            sample = msgspec.structs.replace(sample, device_s=device_s, host_s=host_s)
        outbox.event(sample)


def _of_ranks(step: Step, rig: GroupRig) -> dict[str, float]:
    """Collect the figures that a step knows of each rank alone. What is not finite is left out."""
    ask = getattr(step, "rank_facts", None)
    mine = ask() if ask is not None else {}
    facts = {}
    for rank, theirs in enumerate(rig.group.all_objects(mine)):
        for name, value in theirs.items():
            if value is not None:
                facts[f"{name}.r{rank}"] = float(value)
    return facts


def _verified(step: Step, guard: Fingerprints | None, rig: GroupRig) -> Verify:
    """Return the worst verification of all ranks, with the rank that it is of."""
    mine = step.verify()
    if guard is not None:
        mine = guard.attach(mine)
    theirs = [msgspec.convert(one, Verify) for one in rig.group.all_objects(mine)]

    def badness(rank: int) -> tuple[bool, float]:
        one = theirs[rank]
        return not one.ok, one.error / one.tolerance if one.tolerance else one.error

    worst = max(range(len(theirs)), key=badness)
    found = theirs[worst]
    if not found.ok:
        found = msgspec.structs.replace(found, detail=f"rank {worst}: {found.detail}")
    return found
