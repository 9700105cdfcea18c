"""Owns the reference transformer in the two forms that training on several ranks needs: as torch modules, and sliced.

The modules (for DDP and FSDP2) call the same functions as the single-device kernels. The sliced form (tensor parallel)
gives every rank whole heads and a part of the feed-forward's columns; embedding, norms and head are on every rank.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from effbench.kernels import transformer
from effbench.kernels.transformer import EPSILON, Layer, Weights
from effbench.kernels.transformer_config import Config

if TYPE_CHECKING:
    from torch import Tensor

Reduce = Callable[["Tensor"], None]  # sum over all ranks in place


def as_module(config: Config, weights: Weights) -> Any:
    """Wrap weights as a module whose call on tokens (batch, seq + 1) is the mean loss; each layer is a submodule.

    The parameters *are* the given tensors. The rotation tables are plain attributes: nothing broadcasts them.
    """
    from torch import nn
    from torch.nn import functional

    class Block(nn.Module):
        def __init__(self, layer: Layer) -> None:
            super().__init__()
            for name, tensor in layer._asdict().items():
                self.register_parameter(name, nn.Parameter(tensor))

        def forward(self, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
            layer = Layer(*(getattr(self, name) for name in Layer._fields))
            return transformer.block(config, layer, x, (cosine, sine), None, 0)

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Parameter(weights.embedding)
            self.blocks = nn.ModuleList(Block(layer) for layer in weights.layers)
            self.norm = nn.Parameter(weights.norm)
            self.head = nn.Parameter(weights.head)
            self.turn: tuple[Tensor, Tensor] = (weights.cosine, weights.sine)

        def forward(self, tokens: Tensor) -> Tensor:
            seq = tokens.shape[1] - 1
            x = functional.embedding(tokens[:, :-1], self.embedding)
            for block in self.blocks:
                x = block(x, self.turn[0][:seq], self.turn[1][:seq])
            x = functional.rms_norm(x, (config.hidden,), self.norm, EPSILON)
            logits = functional.linear(x, self.head)
            return functional.cross_entropy(logits.float().flatten(0, 1), tokens[:, 1:].flatten())

    return Model()


def in_order(module: Any) -> list[Any]:
    """The module's parameters in the order of `transformer.trainable`."""
    layers = [getattr(block, name) for block in module.blocks for name in Layer._fields]
    return [module.embedding, *layers, module.norm, module.head]


def with_trained(config: Config, turn: tuple[Tensor, Tensor], trained: list[Tensor]) -> Weights:
    """The model of these trained tensors, in the order of `transformer.trainable`, and of these rotation tables."""
    size = len(Layer._fields)
    layers = tuple(Layer(*trained[1 + size * index : 1 + size * (index + 1)]) for index in range(config.layers))
    return Weights(trained[0], layers, trained[-2], trained[-1], *turn)


def slice_config(config: Config, ranks: int) -> Config:
    """What one of `ranks` ranks computes in a sliced layer."""
    return msgspec.structs.replace(
        config, heads=config.heads // ranks, kv_heads=config.kv_heads // ranks, ffn=config.ffn // ranks
    )


def layer_slices(config: Config, rank: int, ranks: int) -> Layer:
    """Which rows (qkv, gate_up) or columns (attention_out, down) of each matrix are the rank's: index tensors.

    Norms have None: they are whole on every rank.
    """
    import torch

    part = slice_config(config, ranks)
    size, keys_at = config.head_dim, config.heads * config.head_dim
    values_at = keys_at + config.kv_heads * size
    queries, heads = part.heads * size, part.kv_heads * size

    def run(start: int, length: int) -> Tensor:
        return torch.arange(start + rank * length, start + (rank + 1) * length)

    qkv = torch.cat((run(0, queries), run(keys_at, heads), run(values_at, heads)))
    columns = run(0, part.ffn)
    none: Any = None
    return Layer(none, qkv, run(0, queries), none, torch.cat((columns, columns + config.ffn)), columns)


# The dimension that each tensor of a `Layer` is sliced along; norms are not.
SLICED_DIM: tuple[int | None, ...] = (None, 0, 1, None, 0, 1)


def sliced(config: Config, weights: Weights, rank: int, ranks: int) -> Weights:
    """The rank's part of a whole model, as copies."""
    slices = layer_slices(config, rank, ranks)

    def cut(tensor: Tensor, rows: Tensor | None, dim: int | None) -> Tensor:
        return tensor.clone() if rows is None or dim is None else tensor.index_select(dim, rows.to(tensor.device))

    layers = tuple(
        Layer(*(cut(tensor, rows, dim) for tensor, rows, dim in zip(layer, slices, SLICED_DIM, strict=True)))
        for layer in weights.layers
    )
    return weights._replace(
        layers=layers, embedding=weights.embedding.clone(), norm=weights.norm.clone(), head=weights.head.clone()
    )


def sliced_loss(part: Config, weights: Weights, tokens: Tensor, enter: Any, leave: Any) -> Tensor:
    """Mean loss of tokens (batch, seq + 1) on one rank's slices; `part` is its `slice_config`.

    `enter` and `leave` stand where a layer's sliced products begin and end: `enter` sums gradients over the ranks in
    the backward pass, `leave` sums results in the forward pass (f and g of arXiv 1909.08053).
    """
    import torch
    from torch.nn import functional

    seq = tokens.shape[1] - 1
    turn = weights.cosine[:seq], weights.sine[:seq]
    x = functional.embedding(tokens[:, :-1], weights.embedding)
    for layer in weights.layers:
        normed = enter(functional.rms_norm(x, (part.hidden,), layer.norm_attention, EPSILON))
        qkv = functional.linear(normed, layer.qkv).view(*normed.shape[:2], -1, part.head_dim)
        turned = transformer.rotate(qkv[:, :, : part.heads + part.kv_heads], *turn)
        queries, keys = turned.tensor_split((part.heads,), dim=2)
        values = qkv[:, :, part.heads + part.kv_heads :].transpose(1, 2)
        mixed = transformer.attend(queries, keys.transpose(1, 2), values)
        x = x + leave(functional.linear(mixed, layer.attention_out))
        normed = enter(functional.rms_norm(x, (part.hidden,), layer.norm_ffn, EPSILON))
        gate, up = functional.linear(normed, layer.gate_up).chunk(2, dim=-1)
        x = x + leave(functional.linear(torch.mul(functional.silu(gate), up), layer.down))
    x = functional.rms_norm(x, (part.hidden,), weights.norm, EPSILON)
    logits = functional.linear(x, weights.head)
    return functional.cross_entropy(logits.float().flatten(0, 1), tokens[:, 1:].flatten())


def doors(reduce: Reduce) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """Return `enter` and `leave` for `sliced_loss`, which sum through `reduce`."""
    import torch

    class Enter(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.view_as(x)

        @staticmethod
        def backward(ctx: Any, *gradients: Tensor) -> Tensor:
            total = gradients[0].clone(memory_format=torch.contiguous_format)
            reduce(total)
            return total

    class Leave(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            total = x.clone(memory_format=torch.contiguous_format)
            reduce(total)
            return total

        @staticmethod
        def backward(ctx: Any, *gradients: Tensor) -> Tensor:
            return gradients[0]

    def enter(x: Tensor) -> Tensor:
        apply: Any = Enter.apply
        entered: Tensor = apply(x)
        return entered

    def leave(x: Tensor) -> Tensor:
        apply: Any = Leave.apply
        left: Tensor = apply(x)
        return left

    return enter, leave
