"""What a kernel module must offer, and what the rig offers to it. Checked by type and by the contract tests.

A kernel is a module `effbench/kernels/x.py` (or an entry point in the group `effbench.kernels`). The module *is* the
plugin: no base class, no registry. Everything but `build` is pure and runs without torch.

A *team kernel* declares `TEAM = True` and has a parameter `ranks`: its `build` and its step run on every rank of a
process group at once, each getting an `effbench.kernels.group.GroupRig`; `group_of(rig)` refuses any other. All ranks
call `run`, `verify`, `fingerprint` the same number of times in the same order, so collectives inside them are safe.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec

from effbench.model.event import Sample, Verify
from effbench.model.inventory import Accelerator
from effbench.model.plan import Output, Work


class Support(msgspec.Struct, frozen=True):
    """Can this device run the kernel with these parameters?

    `skip` says why not ("not applicable: a CPU has no tf32"); `emulated` is True when torch runs it without a
    hardware unit, so that no peak applies.
    """

    skip: str | None = None
    emulated: bool = False


class Step(Protocol):
    """A kernel built on a device: buffers allocated, ready to be repeated."""

    def run(self, i: int) -> None:
        """Launch repetition `i` (asynchronously on a GPU), on buffer set `i` modulo the number of sets."""

    def verify(self) -> Verify:
        """Check the whole result of a fresh repetition on buffer set 0. Not timed; may synchronise."""

    def fingerprint(self) -> int | None:
        """Checksum of the raw bits of the output of a fresh repetition on set 0; None when it has no fixed output."""

    def facts(self) -> dict[str, float]:
        """Figures that the step itself knows (loss, verified bytes), SI base units, finite."""

    def texts(self) -> dict[str, str]:
        """Words about how it ran: instruction set, flags, input distribution, library."""

    def close(self) -> None:
        """Let go of every buffer."""


class Timing(msgspec.Struct, frozen=True):
    """The time of one batch, seconds, by the device's own clock and by the host's."""

    device_s: float
    host_s: float


class Rig(Protocol):
    """A device as a kernel and the sampler see it. `TorchRig` is real; `VirtualRig` simulates time.

    Attributes:
        accelerator: the device's inventory entry.
        device: torch's name for it (`cuda:0`, `cpu`).
        seed: fixes every random input.
    """

    accelerator: Accelerator
    device: str
    seed: int

    def synchronize(self) -> None:
        """Wait for the device."""

    def time(self, run: Callable[[int], None], first: int, n: int) -> Timing:
        """Time `run(first) ... run(first + n - 1)` as one batch: event pair on a GPU, host clock on a CPU."""

    def flush(self) -> None:
        """Overwrite the last-level cache (burst mode). Not timed."""

    def clock_hz(self) -> float | None:
        """The clock held by the core that just worked, by the probe; None where no probe runs (GPUs: telemetry)."""

    def monotonic(self) -> float:
        """Seconds on the clock by which sampling time is budgeted (virtual on a simulated device)."""

    def free_bytes(self) -> int:
        """Free memory of the device."""

    def peak_bytes(self) -> int | None:
        """Most memory allocated since `reset_peak`, where the allocator counts it."""

    def reset_peak(self) -> None:
        """Begin to count the most memory allocated anew, before a trial is built."""


class OwnPass(Protocol):
    """A step in procedure mode `once` runs its own pass and yields the samples itself (memory_fill, achievable)."""

    def samples(self, deadline_s: float) -> Sequence[Sample]:
        """Do the whole pass within `deadline_s` seconds; samples in time order with `t_ns` from time.monotonic_ns."""


def is_team(kernel: object) -> bool:
    """Say whether a kernel module works in a team of ranks rather than on one device."""
    return getattr(kernel, "TEAM", False) is True


class Kernel(Protocol):
    """A kernel module. `Params` is a frozen msgspec struct that forbids unknown fields and has defaults."""

    VERSION: int
    Params: Any

    def fit(self, params: Any, accelerator: Accelerator) -> Any:
        """Fill the fields that are None from a fixed ladder by device class and hardware facts. Pure.

        Never from a timing: the same device always gets the same shapes, else its runs could not be compared. The
        other functions below take fitted parameters.
        """

    def work(self, params: Any) -> Work:
        """Count one repetition. Pure."""

    def support(self, params: Any, accelerator: Accelerator) -> Support:
        """Say whether the device can run it. Pure."""

    def outputs(self, params: Any) -> list[Output]:
        """List the metrics that a trial with these parameters yields. Pure."""

    def label(self, params: Any) -> str:
        """Name the parameters in a short id without spaces: `bf16-m2048n2048k2048`. Pure."""

    def build(self, params: Any, rig: Rig) -> Step:
        """Allocate and prepare on the rig's device. Imports torch."""
