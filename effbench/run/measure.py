"""Measure one trial in a worker: verify, soak, sample, verify again. Events go out through a callback."""

import time
from typing import Protocol, cast

import msgspec

from effbench.kernels.contract import OwnPass, Rig, Step
from effbench.kernels.recorded import RecordedStep
from effbench.model.event import Closed, Noted, Sample, Verify, Window
from effbench.model.finding import Finding
from effbench.model.plan import Trial
from effbench.model.suite import Procedure
from effbench.run import pacing
from effbench.run.pacing import RAMP_S
from effbench.run.wire import Progress

PROGRESS_EVERY_S = 1.0
# A soak ends when four consecutive blocks agree within this; clocks settle in steps of about 1 %.
STEADY_SPREAD, STEADY_BLOCKS = 0.01, 4
SOAK_BLOCK_S = 0.1
PILOT_REPEATS = 3
BATCH_MAX = 200_000
# A kernel with its own pass (mode `once`) gets this many times its `duration_s` before it must stop where it is.
OWN_PASS_FACTOR = 3.0


class Outbox(Protocol):
    """Where a trial's events go. `progress` may block until the parent has drawn; it is never called while timing."""

    def event(self, event: Sample | Noted | Closed | Window) -> None:
        """Send one journal line."""

    def progress(self, progress: Progress) -> None:
        """Tell the parent how it goes."""


def measure(step: Step, trial: Trial, rig: Rig, round_number: int, soak_s: float, outbox: Outbox) -> None:
    """Run `trial` once and close it. A wrong result closes it as `failed`: its samples are then worth nothing.

    The whole result is verified once, after the timed region, when the device is as warm as it gets; fingerprints
    of the same inputs tie every earlier output to that verified one.
    """
    guard = Fingerprints(step, trial, outbox)
    guard.learn()
    procedure = trial.procedure
    if procedure.mode == "once" or isinstance(step, RecordedStep):
        _own_pass(step, trial, rig, round_number, outbox)
        facts = {}
    else:
        soak = _soak(step, rig, procedure, soak_s, outbox, trial.id)
        span = _sample(step, rig, trial, soak, outbox, guard)
        if procedure.energy:
            outbox.event(msgspec.structs.replace(span, round=round_number))
        facts = {"soak_s": soak.seconds}
        if soak.steady is not None:
            facts["steady"] = float(soak.steady)
    outbox.progress(Progress(trial.id, 0.0, phase="verifying"))
    guard.check()
    verdict = guard.attach(step.verify())
    status, detail = ("done", "") if verdict.ok else ("failed", f"wrong result: {verdict.detail}")
    _close(outbox, trial, round_number, step, verdict, status, detail, facts)


def _own_pass(step: Step, trial: Trial, rig: Rig, round_number: int, outbox: Outbox) -> None:
    """Let a step do its own pass. Played-back samples span no time of their own, so they make no energy window."""
    rig.synchronize()
    start = time.monotonic_ns()
    samples = cast(OwnPass, step).samples(OWN_PASS_FACTOR * trial.procedure.duration_s)
    rig.synchronize()
    end = time.monotonic_ns()
    for sample in samples:
        outbox.event(sample)
    if trial.procedure.energy and not isinstance(step, RecordedStep):
        steps = sum(sample.inner_steps for sample in samples)
        device = trial.placement.devices[0]
        outbox.event(Window(end, start, device, "trial", trial.id, round_number, float(steps)))


class Fingerprints:
    """Compares checksums of the output's raw bits: same inputs on the same device must give the same bits.

    When the first untimed repeats already differ, the check is not applicable, which is a finding.
    """

    def __init__(self, step: Step, trial: Trial, outbox: Outbox) -> None:
        self._step, self._trial, self._outbox = step, trial, outbox
        self._expected: int | None = None
        self.identical: bool | None = None
        self.checks = 0

    def learn(self) -> None:
        """Take the first fingerprints, before anything is timed."""
        first = [self._step.fingerprint() for _ in range(PILOT_REPEATS)]
        if first[0] is None:
            return
        if len(set(first)) > 1:
            message = "the first untimed repeats differ in their bits, so the bit check does not apply to this trial"
            finding = Finding("not-bit-reproducible", "info", message, trial=self._trial.id)
            self._outbox.event(Noted(time.monotonic_ns(), finding))
            return
        self._expected, self.identical = first[0], True

    def check(self) -> None:
        """Compare once more; a difference stays for good."""
        if self._expected is None:
            return
        self.checks += 1
        if self._step.fingerprint() != self._expected:
            self.identical = False

    def attach(self, verify: Verify) -> Verify:
        """Return `verify` with what the fingerprints say."""
        if self.identical is False:
            detail = "output bits changed between repetitions of the same inputs"
            verify = msgspec.structs.replace(verify, ok=False, detail=detail)
        name = "" if self._expected is None else f"{self._expected & (1 << 64) - 1:016x}"
        return msgspec.structs.replace(verify, fingerprint=name, bit_identical=self.identical)


def _close(
    outbox: Outbox,
    trial: Trial,
    round_number: int,
    step: Step,
    verify: Verify,
    status: str,
    detail: str,
    facts: dict[str, float] | None = None,
) -> None:
    facts = {**step.facts(), **(facts or {})}
    outbox.event(
        Closed(time.monotonic_ns(), trial.id, round_number, status, detail, verify, facts, step.texts()),
    )


class Soak(msgspec.Struct, frozen=True):
    """How a warm-up ended: repetitions per timed batch, whether block times agreed (None: too few to tell), seconds.

    `step_s` is the usual time of one repetition, s.
    """

    batch: int
    steady: bool | None
    seconds: float
    step_s: float


def _soak(step: Step, rig: Rig, procedure: Procedure, soak_s: float, outbox: Outbox, trial: str) -> Soak:
    """Warm up until block times agree or time is up."""
    limit = max(procedure.warmup_s, soak_s)
    started = rig.monotonic()
    told = started
    least = max(procedure.warmup_s, RAMP_S if procedure.energy else 0.0)
    limit = max(limit, least)
    n, blocks = 1, list[float]()
    alone = procedure.mode in ("latency", "burst")
    while True:
        timing = rig.time(step.run, 0, n)
        per_step = max(timing.device_s / n, 1e-9)
        blocks.append(per_step)
        n = 1 if alone else batch_of(max(procedure.batch_min_s, SOAK_BLOCK_S), per_step)
        now = rig.monotonic()
        steady = _steady(blocks)
        if now - started >= least and (steady or now - started >= limit):
            break
        if now - told >= PROGRESS_EVERY_S:
            told = now
            outbox.progress(Progress(trial, now - started, len(blocks), per_step, phase="soaking"))
    typical = sorted(blocks)[len(blocks) // 2]
    batch = 1 if alone else batch_of(procedure.batch_min_s, typical)
    return Soak(batch, steady if len(blocks) >= STEADY_BLOCKS else None, rig.monotonic() - started, typical)


def batch_of(least_s: float, step_s: float) -> int:
    """Repetitions that fill `least_s` seconds, at least one; bounded, because a step of no time would never end."""
    return max(1, min(BATCH_MAX, int(-(-least_s // step_s))))


def _steady(blocks: list[float]) -> bool:
    last = blocks[-STEADY_BLOCKS:]
    return len(last) == STEADY_BLOCKS and max(last) - min(last) <= STEADY_SPREAD * min(last)


def _sample(step: Step, rig: Rig, trial: Trial, soak: Soak, outbox: Outbox, guard: Fingerprints) -> Window:
    """Time batches until the procedure has what it asks for, and return the span they filled.

    Fingerprints and progress fall between batches. An energy window has no fingerprints, batches of varying length,
    the device synchronised at both ends, and goes on when enough samples have been written down.
    """
    procedure = trial.procedure
    metered = procedure.energy
    pause_s = pacing.pause_s(soak.step_s, procedure.duration_s) if metered and rig.accelerator.kind == "gpu" else 0.0
    rig.synchronize()
    start_ns = time.monotonic_ns()
    started = told = rig.monotonic()
    times: list[float] = []
    first = 0
    while True:
        if procedure.mode == "burst":
            _flush(rig)
        n = pacing.batch(soak.batch, len(times)) if metered else soak.batch
        timing = rig.time(step.run, first, n)
        clock_hz = rig.clock_hz()
        first += n
        if len(times) < procedure.samples_max:
            outbox.event(Sample(time.monotonic_ns(), timing.device_s, timing.host_s, n, clock_hz))
        times.append(timing.device_s / n)
        now = rig.monotonic()
        if _enough(procedure, len(times), now - started, trial.deadline_s):
            break
        if pause_s and soak.batch == 1:
            time.sleep(pause_s)
        if not metered and len(times) % procedure.fingerprint_every == 0 and procedure.mode == "sustained":
            guard.check()
        if now - told >= PROGRESS_EVERY_S:
            told = now
            outbox.progress(_progress(trial.id, now - started, times, clock_hz))
    rig.synchronize()
    return Window(
        t_ns=time.monotonic_ns(),
        start_ns=start_ns,
        device=trial.placement.devices[0],
        name="trial",
        trial=trial.id,
        steps=float(first),
        settled_s=round(soak.seconds, 3),
        step_s=(soak.step_s + pause_s) if soak.batch == 1 else None,
    )


def _flush(rig: Rig) -> None:
    rig.flush()
    rig.synchronize()


def _enough(procedure: Procedure, taken: int, elapsed_s: float, deadline_s: float) -> bool:
    if elapsed_s >= 0.6 * deadline_s or (taken >= procedure.samples_max and not procedure.energy):
        return True
    return taken >= procedure.samples_min and elapsed_s >= procedure.duration_s


def _progress(trial: str, elapsed_s: float, times: list[float], clock_hz: float | None) -> Progress:
    """Running median with its middle half, for the display only; the interval of record is made later."""
    ordered = sorted(times)
    quarter, middle = len(ordered) // 4, len(ordered) // 2
    return Progress(trial, elapsed_s, len(times), ordered[middle], ordered[quarter], ordered[-1 - quarter], clock_hz)
