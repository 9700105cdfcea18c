"""Owns the kernel `train_step`: one step of training the reference transformer, forward, backward and AdamW.

OVERHEAD. Building draws the model on the device; verifying recomputes one batch in plain fp32.

FIELDS. `config`, `batch`, `seq`: the model and the tokens of a step; absent ones come from the ladder in
`transformer_fit`. `dtype`: bf16 or fp32. `compile`: hand forward and loss to `torch.compile`
(the layers are unrolled: expect minutes for the large models).

Master weights. In bf16 the model computes with a bf16 copy of its weights (activations and residual stream are bf16
too), while AdamW keeps fp32 masters and moments; each gradient is widened to fp32 as soon as it is complete and
its bf16 original dropped, and after the step the copy is renewed. This is what large trainers do (Micikevicius
et al., arXiv 1710.03740; Megatron-LM counts the same 18 byte per parameter). The alternative, fp32 weights under
autocast, casts every weight in every pass and keeps the residual stream in fp32: more traffic for the same flop.
The price is 18 byte of memory and 46 byte of traffic per parameter and step; the counts are in
`transformer_config`. In fp32 the weights are the masters.

Conventions for flop, MFU and HFU are stated in `transformer_config`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from effbench.kernels import dtypes, train_state, transformer_fit
from effbench.kernels.contract import Rig, Support
from effbench.kernels.train_state import (
    ALPHABET,
    BATCHES,
    EMBEDDING_STD,
    NOISE,
    RATE_HALF_STEPS,
    RATE_TIMES_WIDTH,
    STEPS_TO_JUDGE,
)
from effbench.kernels.transformer_config import (
    CONFIGS,
    Config,
    ConfigName,
    DtypeName,
    parameters,
    state_bytes_per_parameter,
    train_bytes,
    train_flop,
    train_hardware_flop,
)
from effbench.model.error import SiteError
from effbench.model.event import Verify
from effbench.model.inventory import Accelerator
from effbench.model.plan import Output, Work

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["VERSION", "Params", "build", "fit", "label", "outputs", "support", "work"]

VERSION = 1

Count = Annotated[int, msgspec.Meta(ge=1)]


class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to train. None is filled by `fit`. `batch` counts sequences, `seq` tokens per sequence."""

    config: ConfigName | None = None
    batch: Count | None = None
    seq: Count | None = None
    dtype: DtypeName | None = None
    compile: bool = False


def fit(params: Params, accelerator: Accelerator) -> Params:
    """Fill what is open from the device's class and memory. Pure."""
    rung = transformer_fit.train_rung(params.config, accelerator)
    return msgspec.structs.replace(
        params,
        config=params.config or rung.config,
        batch=params.batch or rung.batch,
        seq=params.seq or rung.tokens,
        dtype=params.dtype or dtypes.half_or_single(accelerator),
    )


def _fitted(params: Params) -> tuple[Config, int, int, DtypeName]:
    if params.config is None or params.batch is None or params.seq is None or params.dtype is None:
        raise ValueError("train_step parameters must be fitted to a device first: call fit(params, accelerator)")
    return CONFIGS[params.config], params.batch, params.seq, params.dtype


def work(params: Params) -> Work:
    """Count one step: `flop` for MFU, `hardware_flop` for HFU, least traffic in byte, `items` = tokens."""
    config, batch, seq, dtype = _fitted(params)
    return Work(
        flop=float(train_flop(config, batch, seq)),
        hardware_flop=train_hardware_flop(config, batch, seq),
        memory_bytes=train_bytes(config, batch, seq, dtype),
        items=float(batch * seq),
    )


def support(params: Params, accelerator: Accelerator) -> Support:
    """Skip what does not fit into memory or has no such dtype; say when the dtype is emulated."""
    config, batch, seq, dtype = _fitted(params)
    reason = transformer_fit.train_too_large(config, batch, seq, dtype, accelerator)
    return Support(skip=reason) if reason else dtypes.support(dtype, accelerator)


def outputs(params: Params) -> list[Output]:
    """MFU and HFU against the peak of the dtype, tokens/s, step time, peak memory."""
    dtype = _fitted(params)[3]
    return [
        Output(key="train.step.mfu", of="fraction", peak=dtype),
        Output(key="train.step.hfu", of="hardware_fraction", peak=dtype),
        Output(key="train.step.tokens_per_s", of="items"),
        Output(key="train.step.time", of="time"),
        Output(key="train.step.peak_memory_bytes", of="fact:peak_memory_bytes"),
    ]


def label(params: Params) -> str:
    """For example `cpu-20m-b2-s128-bf16`."""
    config, batch, seq, dtype = _fitted(params)
    return f"{config.name}-b{batch}-s{seq}-{dtype}{'-compile' if params.compile else ''}"


def build(params: Params, rig: Rig) -> TrainStep:
    """Draw the model, its masters and the data on the device, and compile where asked.

    Raises:
        SiteError: `torch.compile` does not work here.
    """
    return TrainStep(params, rig)


class TrainStep:
    """A model in training. Its state moves with every step, so it has no fixed output to fingerprint."""

    def __init__(self, params: Params, rig: Rig) -> None:
        from effbench.kernels import inputs, transformer

        self.config, batch, seq, self.dtype = _fitted(params)
        self.rig = rig
        self.memory_before = train_state.start_of_peak(rig)
        self.peak_bytes: int | None = None
        self.flags = inputs.fp32_products(tf32=False)
        self.weights: Any = transformer.init_weights(self.config, self.dtype, rig.device, rig.seed, seq, EMBEDDING_STD)
        self.data: Any = train_state.learnable_tokens(self.config, batch, seq, rig.device, rig.seed + 1)
        self.working = transformer.trainable(self.weights)
        self.masters = train_state.masters_of(self.working, self.dtype)
        self.optimizer = train_state.adamw(self.config, self.masters)
        self.steps = 0
        self._losses: Any = None
        self._first: Any = None
        self.loss_of: Any = transformer.cross_entropy
        self.compiled = params.compile
        if params.compile:
            self._compile()

    def _compile(self) -> None:
        """Compile forward and loss and try both passes once, without a step."""
        import torch

        try:
            self.loss_of = torch.compile(self.loss_of, dynamic=False)
            self.loss_of(self.config, self.weights, self.data[0]).backward()
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, ImportError, OSError, TypeError) as error:
            first = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise SiteError(f"compile unavailable: {first}; set compile: false to train without it") from error
        self.optimizer.zero_grad(set_to_none=True)

    def run(self, i: int) -> None:
        """Launch one whole step on batch `i` modulo the number of batches. Nothing waits for the device."""
        import torch

        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss_of(self.config, self.weights, self.data[i % BATCHES])
        loss.backward()
        for group in self.optimizer.param_groups:
            group["lr"] = train_state.rate_at(self.config, self.steps)
        self.optimizer.step()
        if self.dtype != "fp32":
            with torch.no_grad():
                torch._foreach_copy_(self.working, self.masters)
        self._note(loss.detach())

    def _note(self, loss: Tensor) -> None:
        """Keep the first and the latest losses on the device, one rotation of each."""
        import torch

        if self._losses is None:
            self._first, self._losses = torch.zeros(2, BATCHES, dtype=torch.float32, device=loss.device).unbind()
        if self.steps < BATCHES:
            self._first[self.steps].copy_(loss)
        self._losses[self.steps % BATCHES].copy_(loss)
        self.steps += 1

    def verify(self) -> Verify:
        """Compare the loss with a plain fp32 recomputation, and require a falling loss and finite gradients."""
        import torch

        from effbench.kernels import transformer_reference as reference

        for i in range(self.steps, max(self.steps + 1, STEPS_TO_JUDGE)):
            self.run(i)
        self._keep_peak()
        gradients = [master.grad for master in self.masters]
        finite = all(gradient is not None and bool(torch.isfinite(gradient).all()) for gradient in gradients)
        del gradients
        self.optimizer.zero_grad(set_to_none=True)
        with torch.set_grad_enabled(self.compiled):  # a compiled pass is traced with gradients; eager saves the memory
            found = float(self.loss_of(self.config, self.weights, self.data[0]).detach())
        losses = [reference.reference_loss(self.config, self.weights, sequence) for sequence in self.data[0]]
        expected = math.fsum(losses) / len(losses)
        first, last = self._ends()
        return train_state.judged(
            found, expected, reference.loss_tolerance(self.config, self.dtype), finite, first, last
        )

    def fingerprint(self) -> int | None:
        """None: every step starts from other weights."""
        return None

    def _ends(self) -> tuple[float, float]:
        """Mean loss of the first and of the latest rotation; waits for the device."""
        if self._losses is None:
            return math.nan, math.nan
        return float(self._first[: self.steps].mean()), float(self._losses[: self.steps].mean())

    def facts(self) -> dict[str, float]:
        """Parameters, steps, first and last loss (nat per token), peak memory in byte above what was there before."""
        facts = {"parameters": float(parameters(self.config)), "steps": float(self.steps)}
        first, last = self._ends()
        if math.isfinite(first) and math.isfinite(last):
            facts |= {"loss_first": first, "loss_last": last}
        self._keep_peak()
        return facts if self.peak_bytes is None else facts | {"peak_memory_bytes": float(self.peak_bytes)}

    def _keep_peak(self) -> None:
        """Note the peak of the steps once, before a verification needs more; less than the state alone is no peak."""
        now = self.rig.peak_bytes()
        if self.peak_bytes is not None or now is None or self.memory_before is None or not self.steps:
            return
        held = sum(state_bytes_per_parameter(self.dtype)) * parameters(self.config)
        self.peak_bytes = now - self.memory_before if now - self.memory_before > held else None

    def texts(self) -> dict[str, str]:
        """How it trained: conventions, optimizer, data."""
        masters = "bf16 weights and activations, fp32 masters and moments" if self.dtype == "bf16" else "all fp32"
        return {
            "precision": f"{masters}; {self.flags}",
            "optimizer": f"AdamW fused, rate {RATE_TIMES_WIDTH} / width, halved after {RATE_HALF_STEPS} steps, falling",
            "flop_convention": "causal attention counted half; backward twice the forward; recomputation only in HFU",
            "data": f"{BATCHES} fixed batches of a learnable sequence over {ALPHABET} tokens, {NOISE:.0%} noise",
            "compile": "torch.compile" if self.compiled else "eager",
            "embeddings": "untied",
            "fingerprint": "none: the weights change with every step",
        }

    def close(self) -> None:
        """Let go of weights, moments, gradients and data."""
        self.working, self.masters = [], []
        self.optimizer = self.weights = self.loss_of = self.data = self._losses = self._first = None
