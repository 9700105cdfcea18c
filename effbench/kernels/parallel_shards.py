"""Owns the strategy FSDP2: every rank keeps a part of each weight and gathers a layer before using it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from effbench.kernels import parallel_model, train_state, transformer
from effbench.kernels.group import Group
from effbench.kernels.parallel_strategies import set_rate
from effbench.kernels.transformer import Weights
from effbench.kernels.transformer_config import Config
from effbench.kernels.wait_clock import WaitClock

if TYPE_CHECKING:
    from torch import Tensor


class Shards:
    """FSDP2: every rank owns a part of each tensor in fp32; layers are gathered before use and dropped after it."""

    def __init__(self, config: Config, weights: Weights, dtype: str, clock: WaitClock, group: Group) -> None:
        from torch.distributed.device_mesh import DeviceMesh
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

        from effbench.kernels.inputs import torch_dtype

        self._config, self._dtype = config, torch_dtype(dtype)
        masters = [tensor.float() for tensor in transformer.trainable(weights)]
        wide = parallel_model.with_trained(config, (weights.cosine, weights.sine), masters)
        self._model = parallel_model.as_module(config, wide)
        mesh = DeviceMesh.from_group(group.world, weights.embedding.device.type)
        precision = MixedPrecisionPolicy(param_dtype=self._dtype, reduce_dtype=self._dtype)
        options: dict[str, Any] = {"mesh": mesh, "mp_policy": precision, "reshard_after_forward": True}
        for block in self._model.blocks:
            fully_shard(block, **options)
        fully_shard(self._model, **options)
        self.separable = not weights.embedding.is_cuda and _time_waits(self._model, clock)
        self.optimizer = train_state.adamw(config, parallel_model.in_order(self._model))

    def differentiate(self, tokens: Tensor) -> Tensor:
        """Forward and backward pass over this rank's sequences."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._model(tokens)
        loss.backward()
        detached: Tensor = loss.detach()
        return detached

    def update(self, steps: int) -> None:
        """AdamW over this rank's shards."""
        set_rate(self.optimizer, self._config, steps)
        self.optimizer.step()

    def trained(self) -> list[Tensor]:
        """The weights, gathered."""
        return [tensor.detach().full_tensor().to(self._dtype) for tensor in parallel_model.in_order(self._model)]

    def gradients(self) -> list[Tensor]:
        """Their gradients, gathered."""
        return [tensor.grad.full_tensor().float() for tensor in parallel_model.in_order(self._model)]


def _time_waits(model: Any, clock: WaitClock) -> bool:
    """Put marks around every collective of a sharded model; False where this torch offers no place for them."""
    try:
        from torch.distributed.fsdp._fully_shard import _fsdp_collectives as collectives
    except ImportError:
        return False
    kinds = getattr(collectives, "DefaultAllGather", None), getattr(collectives, "DefaultReduceScatter", None)
    if None in kinds or not hasattr(model, "set_custom_all_gather"):
        return False

    def timed(kind: Any) -> Any:
        class Timed(kind):  # type: ignore[misc]
            def __call__(self, *tensors: Any, **options: Any) -> Any:
                clock.waiting()
                work = super().__call__(*tensors, **options)
                clock.resumed()
                return work

        return Timed()

    for part in (model, *model.blocks):
        part.set_custom_all_gather(timed(kinds[0]))
        part.set_custom_reduce_scatter(timed(kinds[1]))
    return True
