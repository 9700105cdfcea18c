"""Owns the kernel `parallel_step`: one step of training the reference transformer on several ranks.

OVERHEAD. Building draws the whole model on every rank; verifying computes the gradients of all ranks' tokens once more
on each rank alone, and gathers the weights, so each device must hold the whole model, sharded or not.

FIELDS. `strategy`: `ddp` (a replica on every rank), `fsdp2` (shards, gathered layer by layer), `tp` (slices of every
layer). `scaling`: `weak` fixes the work of one rank (`batch` sequences each), `strong` the work of all (`batch`
sequences together). `part`: `both` is the whole step, `compute` the same work without any communication,
`communication` the same collectives alone. `ranks` is the size of the group; one rank is the base of a curve.
`config`, `seq`, `dtype`: the model, tokens per sequence, bf16 or fp32. `stretch` makes the last rank compute that many
times as much (a test of what names a straggler); it is 1 in every rating.

COUNTS. `flop` is what one rank computes in a step; `items` are the tokens of all ranks. Under `tp` each rank computes
on all sequences; embedding, norms and head are computed on every rank, as no collective is spent on them.

In bf16 the weights have fp32 masters (see `train_step`), and gradients travel in bf16.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from effbench.kernels import dtypes, parallel_fit, parallel_traffic
from effbench.kernels.contract import Rig, Support
from effbench.kernels.parallel_shape import calls_of, shape_of, step_flop
from effbench.kernels.parallel_traffic import Strategy, Traffic
from effbench.kernels.transformer_config import ConfigName, DtypeName
from effbench.model.inventory import Accelerator
from effbench.model.plan import Output, Work

if TYPE_CHECKING:
    from effbench.kernels.parallel_run import ParallelStep

__all__ = ["TEAM", "VERSION", "Params", "build", "collectives", "fit", "label", "outputs", "support", "work"]

VERSION = 1
TEAM = True

Count = Annotated[int, msgspec.Meta(ge=1)]
Stretch = Annotated[float, msgspec.Meta(ge=1.0, le=10.0)]


class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the ranks share the work, which part of a step is timed, and the model; open fields come from a ladder."""

    strategy: Strategy = "ddp"
    scaling: Literal["weak", "strong"] = "weak"
    part: Literal["both", "compute", "communication"] = "both"
    ranks: Count = 1
    config: ConfigName | None = None
    batch: Count | None = None
    seq: Count | None = None
    dtype: DtypeName | None = None
    stretch: Stretch = 1.0


def fit(params: Params, accelerator: Accelerator) -> Params:
    """Fill what is open from the device's class, memory and cores. Pure."""
    rung = parallel_fit.rung(params.config, params.scaling, accelerator)
    return msgspec.structs.replace(
        params,
        config=params.config or rung.config,
        batch=params.batch or rung.batch,
        seq=params.seq or rung.tokens,
        dtype=params.dtype or dtypes.half_or_single(accelerator),
    )


def work(params: Params) -> Work:
    """Count one step: `flop` of one rank, `items` = tokens of all ranks. Communication alone computes nothing."""
    shape = shape_of(params)
    flop = 0.0 if params.part == "communication" else step_flop(params)
    return Work(flop=flop, items=float(shape.together * shape.seq))


def collectives(params: Params) -> list[Traffic]:
    """The collectives of one step as (op, bytes, count): S in byte of each, and how many. Empty for one rank. Pure."""
    return parallel_traffic.counted(calls_of(params))


def support(params: Params, accelerator: Accelerator) -> Support:
    """Skip what does not divide over the ranks, does not fit into memory, or has nothing to do."""
    shape = shape_of(params)
    reason = None
    if params.part == "communication" and params.ranks == 1:
        reason = "not applicable: one rank has nobody to talk to"
    elif params.scaling == "strong" and params.strategy != "tp" and shape.together % params.ranks:
        reason = f"not applicable: {shape.together} sequences do not divide over {params.ranks} ranks; set batch"
    elif params.strategy == "tp" and (shape.config.kv_heads % params.ranks or shape.config.ffn % params.ranks):
        reason = f"not applicable: {shape.config.kv_heads} key heads do not divide over {params.ranks} ranks"
    elif params.part != "communication":
        reason = parallel_fit.too_large(shape.config, shape.local, shape.seq, shape.dtype, accelerator)
    return Support(skip=reason) if reason else dtypes.support(shape.dtype, accelerator)


def outputs(params: Params) -> list[Output]:
    """Throughput and time of the whole step; of a part alone, its time."""
    key = f"scale.{params.scaling}.train_step.{params.strategy}.n{params.ranks}"
    if params.part != "both":
        return [Output(key=f"{key}.{params.part}_time", of="time")]
    return [Output(key=f"{key}.tokens_per_s", of="items"), Output(key=f"{key}.time", of="time")]


def label(params: Params) -> str:
    """For example `ddp-weak-both-n2-cpu-20m-b2-s64-fp32`."""
    shape = shape_of(params)
    stretched = f"-stretch{params.stretch:g}" if params.stretch != 1.0 else ""
    how = f"{params.strategy}-{params.scaling}-{params.part}-n{params.ranks}"
    return f"{how}-{shape.config.name}-b{params.batch}-s{shape.seq}-{shape.dtype}{stretched}"


def build(params: Params, rig: Rig) -> ParallelStep:
    """Draw the model and the data, the same on every rank, and give this rank its part. All ranks build together.

    Raises:
        SiteError: the rig has no group.
        ValueError: the group has another size than the parameters say.
    """
    from effbench.kernels.parallel_run import ParallelStep

    return ParallelStep(params, rig)
