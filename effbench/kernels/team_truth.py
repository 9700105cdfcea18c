"""A team kernel whose true times are known: ranks wait a known time each, then meet. Engine and faults are tried on it.

A repetition waits `mean_s` (on rank `slow_rank` times `stretch`) and then, unless `bytes` is 0, all ranks add up a
buffer of that many bytes: computation of a known length followed by a collective, without any computation.

OVERHEAD: a busy-wait ends 0.2 us late, a sleep up to 0.1 ms. FIELDS: `Params`. Faults for tests: `fault_rank` dies
(`crash`), raises (`error`) or stops for ever (`hang`) at repetition `fault_after`, gives a wrong result (`wrong`), or
cannot be built (`refuse`).
"""

import os
import signal
import time
from typing import Annotated, Any, Literal

import msgspec

from effbench.kernels.contract import Rig, Support
from effbench.kernels.group import Group, group_of
from effbench.model.event import Verify
from effbench.model.inventory import Accelerator
from effbench.model.plan import Output, Work
from effbench.model.quantity import finite

__all__ = ["TEAM", "VERSION", "Params", "build", "fit", "label", "outputs", "support", "work"]

VERSION = 1
TEAM = True


class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The truth.

    Attributes:
        ranks: size of the team. mean_s: wait of one repetition, seconds.
        bytes: of the all_reduce behind the wait; 0 for a barrier.
        stretch: factor of the wait on `slow_rank`. busy: burn the core while waiting, rather than sleep.
        fault, fault_rank, fault_after: see above.
    """

    ranks: Annotated[int, msgspec.Meta(ge=1)] = 1
    mean_s: float = 0.001
    bytes: Annotated[int, msgspec.Meta(ge=0)] = 0
    stretch: float = 1.0
    slow_rank: int = 0
    busy: bool = False
    fault: Literal["none", "crash", "error", "hang", "wrong", "refuse"] = "none"
    fault_rank: int = 0
    fault_after: int = 0

    def __post_init__(self) -> None:
        """Refuse a truth that cannot be."""
        finite("team_truth", mean_s=self.mean_s, stretch=self.stretch)
        if self.mean_s <= 0 or self.stretch <= 0:
            raise ValueError("mean_s and stretch must be above zero")
        if self.bytes % 4:
            raise ValueError("bytes is a multiple of 4 (fp32)")


def fit(params: Params, accelerator: Accelerator) -> Params:
    """Nothing is open."""
    return params


def work(params: Params) -> Work:
    """Count one item per rank and repetition, and the bytes of the all_reduce as nccl-tests does: 2 (n-1)/n times S."""
    moved = 2 * (params.ranks - 1) / params.ranks * params.bytes
    return Work(items=float(params.ranks), payload_bytes=float(params.bytes), link_bytes=moved)


def support(params: Params, accelerator: Accelerator) -> Support:
    """Any device can wait."""
    return Support()


def outputs(params: Params) -> list[Output]:
    """The time, to be held against the slowest rank's wait."""
    return [Output(f"quality.team_truth.n{params.ranks}.time", "time")]


def label(params: Params) -> str:
    """Name the wait in microseconds, the bytes and what is wrong on purpose."""
    stretched = f"-x{params.stretch:g}" if params.stretch != 1.0 else ""
    fault = f"-{params.fault}" if params.fault != "none" else ""
    return f"n{params.ranks}-{params.mean_s * 1e6:g}us-s{params.bytes}{stretched}{fault}"


def build(params: Params, rig: Rig) -> "TeamTruth":
    """Allocate the buffer. Raises SiteError without a team, RuntimeError when the fault asks for it."""
    group = group_of(rig)
    if params.fault == "refuse" and group.rank == params.fault_rank:
        raise RuntimeError("a refusal that was asked for")
    buffer: Any = None
    if params.bytes:
        import torch

        buffer = torch.ones(params.bytes // 4, device=rig.device)
    return TeamTruth(params, group, rig, buffer)


class TeamTruth:
    """Waits, then meets. Knows how long this rank waited by itself (`busy_s`) and for the others (`wait_s`)."""

    def __init__(self, params: Params, group: Group, rig: Rig, buffer: Any) -> None:
        self._params, self._group, self._rig, self._buffer = params, group, rig, buffer
        slow = params.stretch if group.rank == params.slow_rank else 1.0
        self._own_s = params.mean_s * slow
        self._faulty = group.rank == params.fault_rank
        self._steps, self._busy_s, self._wait_s = 0, 0.0, 0.0

    def run(self, i: int) -> None:
        """Wait this rank's time, then meet the others."""
        self._misbehave()
        start = time.perf_counter()
        self._wait()
        middle = time.perf_counter()
        self._meet()
        self._steps += 1
        self._busy_s += middle - start
        self._wait_s += time.perf_counter() - middle

    def _wait(self) -> None:
        end = time.perf_counter() + self._own_s
        if not self._params.busy:
            time.sleep(self._own_s)
        while time.perf_counter() < end:
            pass

    def _meet(self) -> None:
        if self._buffer is None:
            self._group.barrier()
            return
        import torch.distributed as dist

        dist.all_reduce(self._buffer, group=self._group.world)
        self._buffer.fill_(1.0)
        self._rig.synchronize()

    def _misbehave(self) -> None:
        if not self._faulty or self._steps < self._params.fault_after:
            return
        if self._params.fault == "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        if self._params.fault == "hang":
            os.kill(os.getpid(), signal.SIGSTOP)
        if self._params.fault == "error":
            raise RuntimeError("a fault that was asked for")

    def verify(self) -> Verify:
        """Add up ones: every element must be the number of ranks."""
        wrong = self._faulty and self._params.fault == "wrong"
        value = self._group.size + (1 if wrong else 0)
        error = 0.0
        if self._buffer is not None:
            import torch.distributed as dist

            dist.all_reduce(self._buffer, group=self._group.world)
            error = float((self._buffer - self._group.size).abs().max())
            self._buffer.fill_(1.0)
        error = max(error, abs(value - self._group.size))
        return Verify(ok=error == 0.0, error=error, tolerance=0.0, detail="" if error == 0.0 else "the sum is wrong")

    def fingerprint(self) -> int | None:
        """There is no fixed output."""
        return None

    def facts(self) -> dict[str, float]:
        """The truth: the slowest rank's own wait."""
        stretch = self._params.stretch if self._params.slow_rank < self._group.size else 1.0
        others = self._group.size > 1
        return {"true_mean_s": self._params.mean_s * (max(1.0, stretch) if others else stretch)}

    def rank_facts(self) -> dict[str, float]:
        """Seconds per repetition that this rank was busy by itself and waited for the others."""
        steps = max(1, self._steps)
        return {"busy_s": self._busy_s / steps, "wait_s": self._wait_s / steps}

    def texts(self) -> dict[str, str]:
        """Say which clock was used."""
        return {"clock": "host, busy-waiting" if self._params.busy else "host, sleeping"}

    def close(self) -> None:
        """Let go of the buffer."""
        self._buffer = None
