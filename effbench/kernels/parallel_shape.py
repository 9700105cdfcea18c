"""Owns what fitted parameters of `parallel_step` come to: sequences per rank, and the collectives of a step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from effbench.kernels import parallel_traffic
from effbench.kernels.transformer_config import CONFIGS, Config, DtypeName, train_flop

if TYPE_CHECKING:
    from effbench.kernels.parallel_step import Params


class Shape(msgspec.Struct, frozen=True):
    """Fitted parameters: the model, tokens per sequence, and how many sequences one rank and all ranks compute on."""

    config: Config
    seq: int
    dtype: DtypeName
    local: int
    together: int


def shape_of(params: Params) -> Shape:
    """Read fitted parameters. A strong batch that the ranks do not divide is rounded down; `support` skips it.

    Raises:
        ValueError: they are not fitted.
    """
    if params.config is None or params.batch is None or params.seq is None or params.dtype is None:
        raise ValueError("parallel_step parameters must be fitted to a device first: call fit(params, accelerator)")
    together = params.batch * params.ranks if params.scaling == "weak" else params.batch
    local = together if params.strategy == "tp" else max(1, together // params.ranks)
    return Shape(CONFIGS[params.config], params.seq, params.dtype, local, together)


def step_flop(params: Params) -> float:
    """Flop that one rank computes in a step. Slices share the layers; the head is computed by every rank."""
    shape = shape_of(params)
    flop = float(train_flop(shape.config, shape.local, shape.seq))
    if params.strategy != "tp":
        return flop
    head = 6.0 * shape.local * shape.seq * shape.config.vocab * shape.config.hidden
    return (flop - head) / params.ranks + head


def calls_of(params: Params) -> list[parallel_traffic.Call]:
    """Every collective of one step in order, of fitted parameters; empty for one rank."""
    shape = shape_of(params)
    return parallel_traffic.calls(params.strategy, shape.config, shape.dtype, params.ranks, shape.local, shape.seq)
