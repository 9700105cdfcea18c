"""Owns the kernel `launch_latency`: what it costs the host to start work on a GPU.

OVERHEAD. One 8-byte counter on the device.

FIELDS. `how`: async (launches follow one another without waiting: the launch cost itself), sync (launch, then wait
until the device is done: the round trip), graph (replay of a CUDA graph that holds one launch).

The launch adds one to a counter on the device, about the least that a kernel can do; the counter proves afterwards
that every launch ran exactly once.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from effbench.kernels.contract import Rig, Support
from effbench.model.error import SiteError
from effbench.model.event import Verify
from effbench.model.inventory import Accelerator
from effbench.model.plan import Output, Work

__all__ = ["VERSION", "Params", "build", "fit", "label", "outputs", "support", "work"]

VERSION = 1

CHECKED_LAUNCHES = 100


class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which way to launch."""

    how: Literal["async", "sync", "graph"] = "async"


def fit(params: Params, accelerator: Accelerator) -> Params:
    """Nothing is open. Pure."""
    return params


def work(params: Params) -> Work:
    """Count one launch."""
    return Work(items=1.0)


def support(params: Params, accelerator: Accelerator) -> Support:
    """GPUs only: on a CPU torch's call *is* the work."""
    if accelerator.kind != "gpu":
        return Support(skip="not applicable: nothing is launched on a CPU; torch's call is the work itself")
    return Support()


def outputs(params: Params) -> list[Output]:
    """The time per launch."""
    return [Output(key=f"host.launch.{params.how}.latency", of="time")]


def label(params: Params) -> str:
    """For example `sync`."""
    return params.how


def build(params: Params, rig: Rig) -> LaunchLatency:
    """Allocate the counter, and capture the graph where asked.

    Raises:
        SiteError: CUDA graphs were asked for and cannot be captured here.
    """
    return LaunchLatency(params, rig)


class LaunchLatency:
    """A counter on the device and a way to add one to it."""

    def __init__(self, params: Params, rig: Rig) -> None:
        import torch

        self.rig, self.how = rig, params.how
        self.counter: Any = torch.zeros(1, dtype=torch.int64, device=rig.device)
        self.graph: Any = None
        if self.how == "graph":
            self.graph = self._captured()
        rig.synchronize()

    def _captured(self) -> Any:
        from effbench.kernels.cuda_graph import capture

        try:
            return capture(self._launch)
        except RuntimeError as error:
            first = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise SiteError(f"CUDA graphs unavailable: {first}") from error

    def _launch(self) -> None:
        self.counter.add_(1)

    def run(self, i: int) -> None:
        """Launch once; `sync` waits for the device, the others do not."""
        if self.graph is not None:
            self.graph.replay()
            return
        self._launch()
        if self.how == "sync":
            self.rig.synchronize()

    def _counted(self, launches: int) -> int:
        """Set the counter to zero, launch, wait, and read it."""
        self.counter.zero_()
        self.rig.synchronize()
        for i in range(launches):
            self.run(i)
        self.rig.synchronize()
        return int(self.counter)

    def verify(self) -> Verify:
        """Every launch must have run exactly once; the error is the share that did not, or ran twice."""
        found = self._counted(CHECKED_LAUNCHES)
        error = abs(found - CHECKED_LAUNCHES) / CHECKED_LAUNCHES
        detail = "" if not error else f"{CHECKED_LAUNCHES} launches counted as {found}"
        return Verify(ok=not error, error=error, tolerance=0.0, detail=detail)

    def fingerprint(self) -> int | None:
        """The counter after ten launches."""
        return self._counted(10)

    def facts(self) -> dict[str, float]:
        """None beside the time."""
        return {}

    def texts(self) -> dict[str, str]:
        """What one repetition is."""
        meaning = {
            "async": "launches follow one another without waiting",
            "sync": "launch, then wait for the device",
            "graph": "replay of a CUDA graph of one launch",
        }
        return {
            "repetition": meaning[self.how],
            "launch": "add one to an int64 counter: torch's dispatch and CUDA's launch together",
        }

    def close(self) -> None:
        """Let go of the counter and the graph."""
        self.counter = self.graph = None
