"""Owns the collectives of a training step on their own, without its computation: what communication alone takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from effbench.kernels.group import Group
from effbench.kernels.parallel_traffic import Call

if TYPE_CHECKING:
    from torch import Tensor


class Exchange:
    """The collectives of a step without its computation: those of DDP all started at once, the others one by one."""

    def __init__(self, sequence: list[Call], dtype: str, device: str, group: Group, at_once: bool) -> None:
        import torch

        from effbench.kernels.inputs import torch_dtype

        self._sequence, self._group, self._at_once = sequence, group, at_once
        kind = torch_dtype(dtype)
        size = kind.itemsize
        self._buffers: dict[Call, tuple[Tensor, Tensor]] = {}
        for call in sequence:
            length = call.bytes // size
            parted = 0 if call.op == "all_reduce" else length // group.size
            self._buffers[call] = (
                torch.zeros(length, dtype=kind, device=device),
                torch.zeros(parted, dtype=kind, device=device),
            )

    def run(self) -> None:
        """All collectives of one step; on a GPU the stream waits for them, on a CPU the host does."""
        started = [self._start(call) for call in self._sequence] if self._at_once else []
        for work in started:
            work.wait()
        if not self._at_once:
            for call in self._sequence:
                self._start(call).wait()

    def _start(self, call: Call) -> Any:
        import torch.distributed as dist

        array, part = self._buffers[call]
        options: dict[str, Any] = {"group": self._group.world, "async_op": True}
        if call.op == "all_reduce":
            return dist.all_reduce(array, **options)
        if call.op == "all_gather":
            gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
            return gather(array, part, **options)
        scatter = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor
        return scatter(part, array, **options)

    def wrong(self) -> str:
        """Run every kind of call on known values and say what came out wrong; empty when nothing did.

        Odd ranks give 2, even ones 1: sums of up to 170 ranks are exact in bf16, beyond that to one rounding.
        """
        import torch

        values = [rank % 2 + 1.0 for rank in range(self._group.size)]
        total = sum(values)
        exact = 0.0 if total <= 256 else 2.0**-8
        problems = []
        for call, (array, part) in self._buffers.items():
            array.fill_(values[self._group.rank])
            part.fill_(values[self._group.rank])
            self._start(call).wait()
            found = part if call.op == "reduce_scatter" else array
            expected = torch.full_like(found, total)
            if call.op == "all_gather":
                expected = torch.tensor(values, device=array.device, dtype=array.dtype).repeat_interleave(len(part))
            if not torch.allclose(found, expected, rtol=exact, atol=0.0):
                problems.append(f"{call.op} of {call.bytes} byte gave wrong values")
            array.zero_()
            part.zero_()
        return "; ".join(problems)
