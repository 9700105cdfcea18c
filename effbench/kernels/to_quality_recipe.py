"""Owns the recipes of `to_quality`: how a model is trained. A recipe is one row of RECIPES; nothing else knows them.

Both are what a person could pick in good faith. `fp32-adamw-constant` is the optimizer as torch ships it, nothing
chosen. `bf16-adamw-warmup-decay` is the common practice of large language models: betas (0.9, 0.95), decay 0.1 on
matrices only, gradients clipped at 1, a linear warm-up, then a cosine down to a tenth of the rate (Touvron et al.,
arXiv 2302.13971, section 2.3), in bf16 with fp32 masters; its rate (high, because the model is small) and its length
were tuned on this task with the seeds 10 to 12, and the suite runs others. What separates the two in steps is rate and
schedule; bf16 against fp32 changes what a step costs, in time and in joules.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from effbench.kernels.transformer_config import DtypeName

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["RECIPES", "Recipe", "RecipeName", "clip", "optimizer", "rate_at", "recipe", "words"]

RecipeName = Literal["fp32-adamw-constant", "bf16-adamw-warmup-decay"]


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One way to train.

    Attributes:
        dtype: format of the matrix products; masters and moments are fp32 always.
        rate: learning rate, the highest of the schedule.
        warmup_steps: steps over which the rate rises linearly.
        decay_steps: step at which the cosine has come down to `rate_last` x rate and stays; None: constant rate.
        decay: AdamW's decoupled weight decay. decay_norms: whether it acts on the norms' weights too.
        clip: largest norm of all gradients together, None: unlimited.
    """

    name: RecipeName
    dtype: DtypeName
    rate: float
    warmup_steps: int = 0
    decay_steps: int | None = None
    rate_last: float = 0.1
    betas: tuple[float, float] = (0.9, 0.999)
    decay: float = 0.01
    decay_norms: bool = True
    clip: float | None = None


RECIPES = (
    Recipe("fp32-adamw-constant", "fp32", rate=1e-3),
    Recipe(
        "bf16-adamw-warmup-decay",
        "bf16",
        rate=2e-2,
        warmup_steps=50,
        decay_steps=300,
        betas=(0.9, 0.95),
        decay=0.1,
        decay_norms=False,
        clip=1.0,
    ),
)


def recipe(name: str) -> Recipe:
    """Return the recipe of that name.

    Raises:
        ValueError: there is none.
    """
    for row in RECIPES:
        if row.name == name:
            return row
    raise ValueError(f"no recipe {name!r}; there are: {', '.join(row.name for row in RECIPES)}")


def rate_at(row: Recipe, step: int) -> float:
    """The learning rate of step `step`, counted from 0."""
    if step < row.warmup_steps:
        return row.rate * (step + 1) / row.warmup_steps
    if row.decay_steps is None:
        return row.rate
    done = min(1.0, (step - row.warmup_steps) / (row.decay_steps - row.warmup_steps))
    return row.rate * (row.rate_last + (1 - row.rate_last) * 0.5 * (1 + math.cos(math.pi * done)))


def optimizer(row: Recipe, masters: list[Tensor]) -> Any:
    """AdamW (Loshchilov and Hutter, arXiv 1711.05101) over the fp32 masters, one fused kernel."""
    import torch

    groups: list[dict[str, Any]] = [
        {"params": [master for master in masters if master.dim() > 1], "weight_decay": row.decay},
        {
            "params": [master for master in masters if master.dim() == 1],
            "weight_decay": row.decay if row.decay_norms else 0.0,
        },
    ]
    return torch.optim.AdamW(groups, lr=rate_at(row, 0), betas=row.betas, fused=True)


def clip(row: Recipe, masters: list[Tensor]) -> None:
    """Scale all gradients down together where their norm exceeds the recipe's limit. Does not wait for the device."""
    import torch

    if row.clip is not None:
        torch.nn.utils.clip_grad_norm_(masters, row.clip)


def words(row: Recipe) -> str:
    """Every setting of a recipe in one line, for a record."""
    schedule = f"constant rate {row.rate:g}"
    if row.decay_steps is not None:
        schedule = (
            f"rate up to {row.rate:g} over {row.warmup_steps} steps, cosine to {row.rate_last * row.rate:g} at step "
            f"{row.decay_steps}, then constant"
        )
    on = "all weights" if row.decay_norms else "matrices only"
    limit = f"gradient norm at most {row.clip:g}" if row.clip is not None else "gradients not clipped"
    return f"AdamW fused, {schedule}, betas {row.betas}, decay {row.decay:g} on {on}, {limit}"
