"""Owns the kernel `to_quality`: train a small transformer to a stated loss on held-out data, and count what it took.

The same device with the same model, data and target needs very different amounts of work under different recipes:
this is the efficiency of the algorithm, beside that of the hardware. One trial is one training run of one recipe from
one seed, unbroken (procedure mode `once`); every EVALUATE_EVERY steps the mean loss over all held-out sentences is
taken with the fp32 masters, and the run ends when it is at most `target`. Time to quality includes the evaluations
and says how long they took (`eval_s`); FLOP to quality is that of the training steps alone, evaluations are told apart.
The end is known to within EVALUATE_EVERY steps, a part of every interval made of it.

A run that does not get there (within `steps_max` steps or the trial's time) is a measured fact, `reached` 0, and has no
time, no FLOP and no joules to quality: what it spent is not what quality costs.

On a CPU one core trains, whatever there is: the model is too small to be shared. Joules are the whole package's all the
same, and say so by their scope.

On a CPU bf16 may be slower than fp32, most of all without bf16 units: the recipe that needs fewer steps can then need
more time. Both are reported; FLOP and steps to quality do not depend on the hardware but for rounding.

OVERHEAD. Building draws 16384 sentences and trains WARM_STEPS steps of a model that is thrown away, so that what a
library does the first time is not timed. FIELDS: `Params`. EXAMPLE: `{kernel: to_quality, params: {recipe:
fp32-adamw-constant, seed: 0}, procedure: {mode: once, duration_s: 30}}`. Task: `to_quality_task`. Recipes:
`to_quality_recipe`. Conventions for flop: `transformer_config`.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from effbench.kernels import dtypes, to_quality_recipe
from effbench.kernels.contract import Rig, Support
from effbench.kernels.to_quality_recipe import RecipeName
from effbench.kernels.to_quality_run import BATCH, CONFIG, QualityRun
from effbench.kernels.to_quality_task import ENTROPY_MIN, SEQ
from effbench.kernels.transformer_config import train_bytes, train_flop, train_hardware_flop
from effbench.model.inventory import Accelerator
from effbench.model.plan import Output, Work
from effbench.model.quantity import finite

__all__ = ["VERSION", "Params", "build", "fit", "label", "outputs", "support", "work"]

VERSION = 1

# Mean held-out loss, nat per word, that a run must come down to. A perfect model would score 1.77 on these sentences
# (`to_quality_task.entropy`), an untrained one ln 64 = 4.16: at 1.95 both the table and the look back have been learnt,
# and the loss still falls fast enough that seeds differ little in when they get there.
TARGET = 1.95
# Some three times what the slower recipe needs.
STEPS_MAX = 1800


class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to train and how far. None is filled by `fit`.

    Attributes:
        recipe: a row of `to_quality_recipe.RECIPES`.
        seed: moves initial weights and the order of the data; task and held-out data stay.
        target: held-out loss to reach, nat per word. steps_max: where a run gives up.
    """

    recipe: RecipeName = "fp32-adamw-constant"
    seed: Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)] = 0
    target: float | None = None
    steps_max: Annotated[int, msgspec.Meta(ge=1)] | None = None

    def __post_init__(self) -> None:
        """Refuse a target that no model can reach."""
        finite("to_quality", target=self.target)
        if self.target is not None and self.target < ENTROPY_MIN:
            raise ValueError(
                f"target is {self.target}; the task's own entropy is above {ENTROPY_MIN}, so no model can reach it"
            )


def fit(params: Params, accelerator: Accelerator) -> Params:
    """The task's own target and limit where they are open; the same on every device."""
    return msgspec.structs.replace(
        params,
        target=TARGET if params.target is None else params.target,
        steps_max=STEPS_MAX if params.steps_max is None else params.steps_max,
    )


def _fitted(params: Params) -> tuple[float, int]:
    if params.target is None or params.steps_max is None:
        raise ValueError("to_quality parameters must be fitted to a device first: call fit(params, accelerator)")
    return params.target, params.steps_max


def work(params: Params) -> Work:
    """Count one training step (how many there will be is what is measured); `items` are predicted words."""
    dtype = to_quality_recipe.recipe(params.recipe).dtype
    return Work(
        flop=float(train_flop(CONFIG, BATCH, SEQ)),
        hardware_flop=train_hardware_flop(CONFIG, BATCH, SEQ),
        memory_bytes=train_bytes(CONFIG, BATCH, SEQ, dtype),
        items=float(BATCH * SEQ),
    )


def support(params: Params, accelerator: Accelerator) -> Support:
    """Skip what has no such dtype; say when it is emulated."""
    return dtypes.support(to_quality_recipe.recipe(params.recipe).dtype, accelerator)


def outputs(params: Params) -> list[Output]:
    """Whether this seed got there, and its last held-out loss. What quality costs is joined over seeds by scoring."""
    stem = f"quality.to_quality.{params.recipe.replace('-', '_')}.s{params.seed}"
    return [Output(f"{stem}.reached", "fact:reached"), Output(f"{stem}.heldout_loss", "fact:heldout_loss")]


def label(params: Params) -> str:
    """For example `fp32-adamw-constant-s0`; a target or limit other than the task's own is named."""
    target, steps_max = _fitted(params)
    own = (f"-t{target:g}" if target != TARGET else "") + (f"-n{steps_max}" if steps_max != STEPS_MAX else "")
    return f"{params.recipe}-s{params.seed}{own}"


def build(params: Params, rig: Rig) -> QualityRun:
    """Draw data and model on the device, and warm the libraries up with a model that is thrown away."""
    target, steps_max = _fitted(params)
    return QualityRun(to_quality_recipe.recipe(params.recipe), params.seed, target, steps_max, rig)
