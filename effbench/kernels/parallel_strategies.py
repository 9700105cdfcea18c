"""Owns how ranks train one model together, as replicas (DDP) or slices (tensor parallel). Not as shards.

Each class is one way to run a step: `differentiate` computes gradients and marks on the clock where it waits for other
ranks, `update` is AdamW. Where the clock's marks lie:
    * ddp: from the hand-over of the last bucket of gradients (the rank's own backward pass is then complete) to the
      return of the backward pass, which waits for all reductions.
    * fsdp2 on a CPU: each gathering and scattering blocks; all of it is waiting. On a GPU they run on streams of
      their own and torch has no mark where the computation waits for them: no figure is given.
    * tp: each all_reduce of activations or of their gradients; nothing overlaps with them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from effbench.kernels import parallel_model, train_state, transformer
from effbench.kernels.group import Group
from effbench.kernels.parallel_traffic import BUCKET_MIB
from effbench.kernels.transformer import Weights
from effbench.kernels.transformer_config import Config
from effbench.kernels.wait_clock import WaitClock

if TYPE_CHECKING:
    from torch import Tensor


class Masters:
    """fp32 masters and AdamW over working weights; in fp32 the working weights are the masters.

    With `share` = (rank, ranks) only that part of every tensor's first dimension is updated, as a shard's owner does.
    """

    def __init__(self, config: Config, working: list[Tensor], dtype: str, share: tuple[int, int] = (0, 1)) -> None:
        self._config, self._working, self._share = config, working, share
        parts = [self._part(tensor.detach()) for tensor in working]
        self._alias = dtype == "fp32" and share[1] == 1
        self.masters = working if self._alias else [part.float().clone().requires_grad_() for part in parts]
        self.optimizer = train_state.adamw(config, self.masters)

    def _part(self, tensor: Tensor) -> Tensor:
        rank, ranks = self._share
        rows = -(-tensor.shape[0] // ranks)
        return tensor[rank * rows : (rank + 1) * rows]

    def forget(self) -> None:
        """Drop the gradients."""
        for tensor in self._working:
            tensor.grad = None
        self.optimizer.zero_grad(set_to_none=True)

    def update(self, steps: int) -> None:
        """Widen the gradients, make one step at the rate after `steps` steps, and renew the working weights."""
        import torch

        if not self._alias:
            for tensor, master in zip(self._working, self.masters, strict=True):
                if tensor.grad is None:
                    raise RuntimeError("a weight took no part in the backward pass")
                master.grad = self._part(tensor.grad).float()
        set_rate(self.optimizer, self._config, steps)
        self.optimizer.step()
        if not self._alias:
            with torch.no_grad():
                for tensor, master in zip(self._working, self.masters, strict=True):
                    self._part(tensor).copy_(master)


def set_rate(optimizer: Any, config: Config, steps: int) -> None:
    """Set the learning rate after `steps` steps."""
    for parameters in optimizer.param_groups:
        parameters["lr"] = train_state.rate_at(config, steps)


def whole(tensors: list[Tensor]) -> list[Tensor]:
    """fp32 copies of the gradients of `tensors`.

    Raises:
        RuntimeError: a gradient is missing.
    """
    found = [tensor.grad for tensor in tensors]
    if any(gradient is None for gradient in found):
        raise RuntimeError("a gradient is missing")
    return [gradient.detach().float().clone() for gradient in found if gradient is not None]


class Replica:
    """A whole model on every rank: DDP with a group, and without one the computation of DDP or FSDP2 alone."""

    def __init__(
        self, config: Config, weights: Weights, dtype: str, clock: WaitClock, share: tuple[int, int] = (0, 1)
    ) -> None:
        self._clock = clock
        self._model = parallel_model.as_module(config, weights)
        self._call: Any = self._model
        self._working = parallel_model.in_order(self._model)
        self._masters = Masters(config, self._working, dtype, share)
        self._joined = False

    def join(self, group: Group, device: str) -> Replica:
        """Reduce gradients over the group from here on, in buckets, while the backward pass goes on."""
        from torch.nn.parallel import DistributedDataParallel

        self._call = DistributedDataParallel(
            self._model,
            device_ids=[device] if device.startswith("cuda") else None,
            process_group=group.world,
            bucket_cap_mb=BUCKET_MIB,
            gradient_as_bucket_view=True,
        )
        # A lambda: torch insists on its own annotations of a hook.
        self._call.register_comm_hook(group, lambda state, bucket: self._reduce(state, bucket))
        self._joined = True
        return self

    def _reduce(self, group: Group, bucket: Any) -> Any:
        """Mean over the ranks, started here and complete when the backward pass returns."""
        import torch.distributed as dist

        buffer = bucket.buffer()
        buffer.div_(group.size)
        future = dist.all_reduce(buffer, group=group.world, async_op=True).get_future()
        if bucket.is_last():
            self._clock.waiting()
        return future.then(lambda done: done.value()[0])

    def differentiate(self, tokens: Tensor) -> Tensor:
        """Forward and backward pass over this rank's sequences."""
        self._masters.forget()
        loss = self._call(tokens)
        loss.backward()
        if self._joined:
            self._clock.resumed()
        detached: Tensor = loss.detach()
        return detached

    def update(self, steps: int) -> None:
        """AdamW over all weights, or over this rank's share of them."""
        self._masters.update(steps)

    def trained(self) -> list[Tensor]:
        """The weights."""
        return [tensor.detach().clone() for tensor in self._working]

    def gradients(self) -> list[Tensor]:
        """Their gradients."""
        return whole(self._working)


class Slices:
    """Tensor parallel: every rank has a part of every layer and computes on all sequences.

    With `communicate` False nothing is summed: the same work, of which the results mean nothing.
    """

    def __init__(
        self, config: Config, weights: Weights, dtype: str, clock: WaitClock, group: Group, communicate: bool
    ) -> None:
        self._config, self._group, self._clock = config, group, clock
        self._part = parallel_model.slice_config(config, group.size)
        self._weights = parallel_model.sliced(config, weights, group.rank, group.size)
        self._working = transformer.trainable(self._weights)
        for tensor in self._working:
            tensor.requires_grad_()
        self._masters = Masters(config, self._working, dtype)
        self._doors = parallel_model.doors(self._sum if communicate else _nothing)

    def _sum(self, tensor: Tensor) -> None:
        import torch.distributed as dist

        self._clock.waiting()
        dist.all_reduce(tensor, group=self._group.world)
        self._clock.resumed()

    def differentiate(self, tokens: Tensor) -> Tensor:
        """Forward and backward pass of this rank's slices over all sequences."""
        self._masters.forget()
        loss = parallel_model.sliced_loss(self._part, self._weights, tokens, *self._doors)
        backward: Any = loss.backward
        backward()
        return loss.detach()

    def update(self, steps: int) -> None:
        """AdamW over this rank's slices."""
        self._masters.update(steps)

    def trained(self) -> list[Tensor]:
        """The weights, put together."""
        return self._together([tensor.detach() for tensor in self._working])

    def gradients(self) -> list[Tensor]:
        """Their gradients, put together."""
        return self._together(whole(self._working))

    def _together(self, mine: list[Tensor]) -> list[Tensor]:
        """Whole tensors out of every rank's slices; the ones that every rank has whole are taken from this rank."""
        import torch
        import torch.distributed as dist

        slices = [parallel_model.layer_slices(self._config, rank, self._group.size) for rank in range(self._group.size)]
        result = list(mine)
        for index in range(self._config.layers):
            for place, dim in enumerate(parallel_model.SLICED_DIM):
                if dim is None:
                    continue
                at = 1 + index * len(parallel_model.SLICED_DIM) + place
                part = mine[at].contiguous()
                parts = [torch.empty_like(part) for _ in slices]
                dist.all_gather(parts, part, group=self._group.world)
                shape = list(part.shape)
                shape[dim] *= len(slices)
                joined = part.new_empty(shape)
                for rows, piece in zip(slices, parts, strict=True):
                    joined.index_copy_(dim, rows[place].to(part.device), piece)
                result[at] = joined
        return result


def _nothing(tensor: Tensor) -> None:
    """Stand where a sum over the ranks would be."""
