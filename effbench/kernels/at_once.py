"""Owns the kernel `at_once`: a kernel for one device, run on all devices of the team at the same time.

Devices share power, cooling, host memory and PCIe, so each may be slower than alone, and not all alike. Every rank
builds the kernel on its own device; they start together and work without waiting for each other (a rank that waited
would rest its device). The figure is that of the slowest device, per device, so that it stands beside the one measured
alone; the text `alone` names that one.

OVERHEAD. That of the wrapped kernel, on every device. Mode `once`: one own pass of a third of what it may take.

FIELDS. `kernel` and its `params`, checked against that kernel's own; `ranks`. Facts: `step_s.r<i>`, `clock_hz.r<i>`
where a clock can be read, `spread` ((slowest - fastest) / median of step times), and the wrapped kernel's own per rank.
"""

from __future__ import annotations

import math
import statistics
import time
from typing import Annotated, Any

import msgspec

from effbench import kernels
from effbench.kernels.collective import team_of
from effbench.kernels.contract import Kernel, Rig, Step, Support
from effbench.model.error import InputError, SiteError
from effbench.model.event import Sample, Verify
from effbench.model.inventory import Accelerator
from effbench.model.plan import Output, Work

__all__ = ["TEAM", "VERSION", "Params", "build", "fit", "label", "outputs", "support", "work"]

VERSION = 1
TEAM = True

# Shares of a peak are left to the scorecard, facts of the kernel's own go per rank: these alone are figures of a step,
# and these quantities have rows in metrics.yaml under `scale.at_once`.
RATES = ("flop", "hardware_flop", "memory_bytes", "link_bytes", "items", "time", "p50", "p99")
QUANTITIES = (
    "flops",
    "bandwidth",
    "tokens_per_s",
    "latency",
    "time",
    "inter_token_p50",
    "inter_token_p99",
    "time_to_first_token",
)
BATCH_S = 0.02
WARMUP_SHARE = 0.2
# The engine gives a kernel's own pass three times the sampling time that was asked for.
SHARE_OF_DEADLINE = 1 / 3
SAMPLES_MAX = 400


class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which kernel, how, on how many devices. None is filled by `fit`: the kernel's own defaults, fitted.

    `version` is the wrapped kernel's, so that figures of two versions are never compared.
    """

    kernel: str = "gemm"
    params: dict[str, Any] | None = None
    version: int | None = None
    ranks: Annotated[int, msgspec.Meta(ge=1)] = 2

    def __post_init__(self) -> None:
        """Refuse a kernel that does not exist or is itself a team's, and parameters that it does not have."""
        try:
            module = kernels.load(self.kernel)
        except InputError as error:
            raise ValueError(str(error)) from error
        if getattr(module, "TEAM", False):
            raise ValueError(f"{self.kernel} is run by a team itself; at_once wraps kernels for one device")
        if self.version not in (None, module.VERSION):
            raise ValueError(f"{self.kernel} has version {module.VERSION} here, not {self.version}")
        _inner(self)


def _inner(params: Params) -> Any:
    """The wrapped kernel's own parameters.

    Raises:
        ValueError: they do not fit its `Params`.
    """
    try:
        return msgspec.convert(params.params or {}, kernels.load(params.kernel).Params)
    except msgspec.ValidationError as error:
        raise ValueError(f"params of {params.kernel}: {error}") from error


def fit(params: Params, accelerator: Accelerator) -> Params:
    """Fit the wrapped kernel to the device. Pure."""
    kernel = kernels.load(params.kernel)
    fitted = kernel.fit(_inner(params), accelerator)
    return msgspec.structs.replace(params, params=msgspec.to_builtins(fitted), version=kernel.VERSION)


def work(params: Params) -> Work:
    """Count what one device does in one repetition."""
    return kernels.load(params.kernel).work(_inner(params))


def support(params: Params, accelerator: Accelerator) -> Support:
    """Where the wrapped kernel runs and yields a rate; a CPU's ranks share one memory and must not all fill it."""
    kernel = kernels.load(params.kernel)
    found = kernel.support(_inner(params), accelerator)
    if found.skip:
        return found
    if accelerator.kind == "cpu" and params.kernel == "memory_fill":
        return Support(skip="not applicable: the ranks on a CPU share one memory, and would fill it several times")
    if not _rates(params):
        return Support(skip=f"not applicable: {params.kernel} yields no rate or time that devices could differ in")
    return found


def _rates(params: Params) -> list[Output]:
    made = kernels.load(params.kernel).outputs(_inner(params))
    return [o for o in made if o.of in RATES and o.key.rsplit(".", 1)[1] in QUANTITIES]


def _stem(params: Params, key: str) -> str:
    """`compute.gemm.bf16.flops` on two devices is `scale.at_once.gemm.bf16.n2`."""
    return ".".join(["scale.at_once", params.kernel, *key.split(".")[2:-1], f"n{params.ranks}"])


def outputs(params: Params) -> list[Output]:
    """The wrapped kernel's rates, of the slowest device, and the spread over devices."""
    rates = _rates(params)
    made = [Output(f"{_stem(params, o.key)}.{o.key.rsplit('.', 1)[1]}", o.of) for o in rates]
    stems = dict.fromkeys(_stem(params, o.key) for o in rates)
    if params.ranks == 1:  # the base of the loss; one device has no spread
        return made
    return made + [Output(f"{stem}.spread", "fact:spread") for stem in list(stems)[:1]]


def label(params: Params) -> str:
    """For example `gemm-bf16-m8192n8192k8192-n8`."""
    return f"{params.kernel}-{kernels.load(params.kernel).label(_inner(params))}-n{params.ranks}"


def build(params: Params, rig: Rig) -> AtOnce:
    """Build the wrapped kernel on every rank.

    Raises:
        SiteError: the rig has no team, or a rank could not build the kernel; every rank then says which and why.
    """
    return AtOnce(params, rig)


class AtOnce:
    """The wrapped kernel's step on this rank, and what all ranks took."""

    def __init__(self, params: Params, rig: Rig) -> None:
        self.rig, self.params, self.group = rig, params, team_of(rig, params.ranks)
        kernel, problem = kernels.load(params.kernel), ""
        step: Step | None = None
        try:
            step = kernel.build(_inner(params), rig)
        except (SiteError, RuntimeError, MemoryError) as error:
            problem = next(iter(str(error).strip().splitlines()), type(error).__name__)
        told = [f"rank {rank}: {text}" for rank, text in enumerate(self.group.all_objects(problem)) if text]
        if told or step is None:
            if step is not None:
                step.close()
            raise SiteError("; ".join(told))
        self.kernel: Kernel = kernel
        self.step: Step = step
        self.steps_s: list[float] = []
        self.clocks_hz: list[float | None] = []
        self.own: list[dict[str, float]] = []

    def run(self, i: int) -> None:
        """Launch one repetition of the wrapped kernel on this rank's device."""
        self.step.run(i)

    def samples(self, deadline_s: float) -> list[Sample]:
        """Have all ranks work at once; the slowest rank's samples are returned, on every rank.

        Raises:
            SiteError: a rank took no sample.
        """
        own_pass = getattr(self.step, "samples", None)
        warm = 1 if own_pass else self._warmed(WARMUP_SHARE * SHARE_OF_DEADLINE * deadline_s)
        self.rig.synchronize()
        self.group.barrier()
        start = time.monotonic_ns()
        mine: list[Sample] = list(own_pass(deadline_s)) if own_pass else self._sustained(warm, deadline_s)
        times = [sample.device_s / sample.inner_steps for sample in mine if sample.accepted]
        clocks = [sample.clock_hz for sample in mine if sample.clock_hz is not None]
        mean = [statistics.median(times) if times else None, statistics.median(clocks) if clocks else None]
        told = self.group.all_objects([*mean, self.step.facts()])
        if any(step_s is None for step_s, _, _ in told):
            raise SiteError("a rank took no sample while all worked at once; give the workload longer")
        self.steps_s, self.clocks_hz = [one[0] for one in told], [one[1] for one in told]
        self.own = [one[2] for one in told]
        slowest = max(range(len(told)), key=lambda rank: self.steps_s[rank])
        rows = [[s.t_ns - start, s.device_s, s.host_s, s.inner_steps, s.clock_hz] for s in mine[:SAMPLES_MAX]]
        theirs = self.group.all_objects(rows if self.group.rank == slowest else None)[slowest]
        return [Sample(start + later, *figures) for later, *figures in theirs]

    def _warmed(self, seconds: float) -> int:
        """Warm up and return how many repetitions make a batch that is long against its own timing."""
        end, batch, last = self.rig.monotonic() + seconds, 1, math.inf
        while self.rig.monotonic() < end or last is math.inf:
            last = self.rig.time(self.step.run, 0, batch).device_s / batch
            batch = max(1, math.ceil(BATCH_S / max(last, 1e-7)))
        return batch

    def _sustained(self, batch: int, deadline_s: float) -> list[Sample]:
        end, first, taken = self.rig.monotonic() + SHARE_OF_DEADLINE * deadline_s, 0, list[Sample]()
        while not taken or self.rig.monotonic() < end:
            timing = self.rig.time(self.step.run, first, batch)
            first += batch
            now, clock_hz = time.monotonic_ns(), self.rig.clock_hz()
            taken.append(Sample(now, timing.device_s, timing.host_s, batch, clock_hz))
        return taken

    def verify(self) -> Verify:
        """The wrapped kernel's verification on this rank; the team takes the worst of all."""
        return self.step.verify()

    def fingerprint(self) -> int | None:
        """The wrapped kernel's checksum on this rank."""
        return self.step.fingerprint()

    def facts(self) -> dict[str, float]:
        """Step time and clock of every rank, the spread, and the wrapped kernel's facts of every rank."""
        found = {f"step_s.r{rank}": step_s for rank, step_s in enumerate(self.steps_s)}
        found |= {f"clock_hz.r{rank}": hz for rank, hz in enumerate(self.clocks_hz) if hz is not None}
        found |= {f"{name}.r{rank}": value for rank, own in enumerate(self.own) for name, value in own.items()}
        if len(self.steps_s) > 1:
            found["spread"] = (max(self.steps_s) - min(self.steps_s)) / statistics.median(self.steps_s)
        return found

    def texts(self) -> dict[str, str]:
        """The wrapped kernel's words, what it is compared with, and the slowest rank."""
        words = {**self.step.texts(), "at_once": "all ranks started together and none waited for another"}
        words["alone"] = ", ".join(output.key for output in _rates(self.params))
        if self.steps_s:
            words["slowest"] = f"r{max(range(len(self.steps_s)), key=lambda rank: self.steps_s[rank])}"
        return words

    def close(self) -> None:
        """Let go of the wrapped kernel's buffers."""
        self.step.close()
