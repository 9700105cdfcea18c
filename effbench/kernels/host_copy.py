"""Owns the kernel `host_copy`: copies between host and GPU memory over the link that joins them.

OVERHEAD. Four buffers of `bytes` (host and device, two sets); verifying compares the whole copy once.

FIELDS. `direction`: h2d, d2h, or duplex (both at once on two streams). `memory`: pinned host memory, which the GPU's
copy engine reads by itself, or pageable, which the driver stages through pinned buffers and which blocks the host.
`bytes` per direction, a multiple of 8; absent: 256 MiB for bandwidth, 8 for latency. `measure`: bandwidth or latency.

Duplex counts the bytes of both directions. A CPU has no such link; a memcpy is not an H2D copy and is not shown as one.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Annotated, Any, Literal

import msgspec

from effbench.kernels.contract import Rig, Support
from effbench.model.event import Verify
from effbench.model.inventory import Accelerator
from effbench.model.plan import Output, Work

__all__ = ["VERSION", "Params", "build", "fit", "label", "outputs", "support", "work"]

VERSION = 1

WORD = 8  # buffers are int64, so that a pattern is made and compared in whole words
SETS = 2
BANDWIDTH_BYTES = 256 << 20  # 5 ms at 55 GB/s: a thousand times the latency
LATENCY_BYTES = WORD
# Odd 64-bit multiplier of splitmix64 (Steele, Lea and Flood, OOPSLA 2014), as a signed number.
SPREAD = -7046029254386353131


class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to copy. None is filled by `fit`."""

    direction: Literal["h2d", "d2h", "duplex"] = "h2d"
    memory: Literal["pinned", "pageable"] = "pinned"
    bytes: Annotated[int, msgspec.Meta(ge=WORD, multiple_of=WORD)] | None = None
    measure: Literal["bandwidth", "latency"] = "bandwidth"


def fit(params: Params, accelerator: Accelerator) -> Params:
    """Fill the size: the same on every device. Pure."""
    size = BANDWIDTH_BYTES if params.measure == "bandwidth" else LATENCY_BYTES
    return msgspec.structs.replace(params, bytes=params.bytes or size)


def _bytes(params: Params) -> int:
    if params.bytes is None:
        raise ValueError("host_copy parameters must be fitted to a device first: call fit(params, accelerator)")
    return params.bytes


def work(params: Params) -> Work:
    """Count the bytes that cross the link in one repetition."""
    return Work(link_bytes=float(_bytes(params) * (2 if params.direction == "duplex" else 1)))


def support(params: Params, accelerator: Accelerator) -> Support:
    """GPUs only; and pageable copies block the host, so that two cannot run at once."""
    if accelerator.kind != "gpu":
        return Support(skip="not applicable: a CPU has no host link; a memcpy is not H2D")
    if params.direction == "duplex" and params.memory == "pageable":
        return Support(skip="not applicable: a pageable copy blocks the host, so both directions never run at once")
    return Support()


def outputs(params: Params) -> list[Output]:
    """The link's bandwidth, or the time of one small copy."""
    stem = f"host.copy.{params.direction}.{params.memory}"
    if params.measure == "latency":
        return [Output(key=f"{stem}.latency", of="time")]
    return [Output(key=f"{stem}.bandwidth", of="link_bytes", fractions=True)]


def label(params: Params) -> str:
    """For example `h2d-pinned-268435456`."""
    return f"{params.direction}-{params.memory}-{_bytes(params)}"


def build(params: Params, rig: Rig) -> HostCopy:
    """Allocate and fill the buffers on both sides."""
    return HostCopy(params, rig)


def pattern(words: int, device: str, salt: int) -> Any:
    """Fixed int64 words that host and device make independently: place times an odd number, wrapping, plus a salt."""
    import torch

    return torch.arange(1, words + 1, dtype=torch.int64, device=device).mul_(SPREAD).add_(salt)


def host_buffer(words: int, pinned: bool) -> Any:
    """An int64 buffer in host memory, pinned where asked; touched, so that its pages exist."""
    import torch

    return torch.empty(words, dtype=torch.int64, pin_memory=pinned).zero_()


class Lane:
    """One direction of the link: sources and targets, and the stream that carries the copies (None: the current)."""

    def __init__(self, upward: bool, words: int, pinned: bool, device: str, stream: Any) -> None:
        import torch

        self.upward, self.device, self.pinned, self.stream = upward, device, pinned, stream
        host: list[Any] = [host_buffer(words, pinned) for _ in range(SETS)]
        far: list[Any] = [torch.zeros(words, dtype=torch.int64, device=device) for _ in range(SETS)]
        self.sources, self.targets = (host, far) if upward else (far, host)
        for number, source in enumerate(self.sources):
            source.copy_(pattern(words, str(source.device), number))

    def copy(self, i: int) -> None:
        """Launch one copy. A pageable one blocks the host by the driver's own rules."""
        self.targets[i % SETS].copy_(self.sources[i % SETS], non_blocking=self.pinned)

    def wrong_words(self) -> int:
        """Words of target 0 that differ from the pattern, which is made anew on the target's own side."""
        target = self.targets[0]
        return int((target != pattern(target.numel(), str(target.device), 0)).sum())


class HostCopy:
    """Buffers on both sides of the link and the lanes between them."""

    def __init__(self, params: Params, rig: Rig) -> None:
        import torch

        self.rig, self.params = rig, params
        words, pinned = _bytes(params) // WORD, params.memory == "pinned"
        self.duplex = params.direction == "duplex"
        ways = (True, False) if self.duplex else (params.direction == "h2d",)
        cuda: Any = torch.cuda
        self.cuda = cuda
        self.lanes = [
            Lane(upward, words, pinned, rig.device, cuda.Stream(rig.device) if self.duplex else None) for upward in ways
        ]
        rig.synchronize()

    def run(self, i: int) -> None:
        """Launch one copy, or one on each of two streams that start after and end before the current stream's work.

        So the events around a batch, which are on the current stream, enclose the copies of both.
        """
        current = self.cuda.current_stream() if self.duplex else None
        for lane in self.lanes:
            if lane.stream is not None and current is not None:
                lane.stream.wait_stream(current)
            with nullcontext() if lane.stream is None else self.cuda.stream(lane.stream):
                lane.copy(i)
        if current is not None:
            for lane in self.lanes:
                current.wait_stream(lane.stream)

    def _fresh(self) -> None:
        """Overwrite target 0 of every lane with what no copy contains, copy once, and wait."""
        for lane in self.lanes:
            lane.targets[0].copy_(pattern(lane.targets[0].numel(), str(lane.targets[0].device), 1).bitwise_not_())
        self.rig.synchronize()
        self.run(0)
        self.rig.synchronize()

    def verify(self) -> Verify:
        """Compare every word of a fresh copy with the pattern; the error is the share of wrong words."""
        self._fresh()
        wrong = [lane.wrong_words() for lane in self.lanes]
        total = sum(lane.targets[0].numel() for lane in self.lanes)
        detail = "" if not any(wrong) else f"{sum(wrong)} of {total} words arrived wrong"
        return Verify(ok=not any(wrong), error=sum(wrong) / total, tolerance=0.0, detail=detail)

    def fingerprint(self) -> int | None:
        """Checksum of what arrived, over all lanes."""
        from effbench.kernels.transformer import joined_fingerprint

        self._fresh()
        return joined_fingerprint([lane.targets[0] for lane in self.lanes])

    def facts(self) -> dict[str, float]:
        """Bytes per direction."""
        return {"bytes": float(_bytes(self.params))}

    def texts(self) -> dict[str, str]:
        """How it copied."""
        streams = "two streams, joined with the timed one at each repetition" if self.duplex else "the timed stream"
        return {
            "memory": self.params.memory,
            "streams": streams,
            "bytes_convention": "bytes of both directions over the time of both"
            if self.duplex
            else "bytes copied once",
            "data": f"{SETS} sets of a fixed pattern in rotation",
        }

    def close(self) -> None:
        """Let go of every buffer and stream."""
        self.lanes = []
