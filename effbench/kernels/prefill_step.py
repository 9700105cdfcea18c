"""Owns the kernel `prefill_step`: a prompt through the reference transformer, filling the cache, to its next token.

OVERHEAD. Building draws the model; verifying recomputes up to four sequences in plain fp32, one after another.

FIELDS. `config`: the model, absent by the ladder in `transformer_fit`. `batch` prompts of `prompt` tokens each.
`dtype`: bf16 or fp32.

One repetition is the whole prompt of every sequence: all layers, keys and values written to the cache, the head
on the last position only, and the choice of the likeliest next token. Its time is the time to first token of a server
without a queue. Flop conventions are stated in `transformer_config`.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from effbench.kernels import dtypes, transformer_fit
from effbench.kernels.contract import Rig, Support
from effbench.kernels.transformer_config import (
    CONFIGS,
    Config,
    ConfigName,
    DtypeName,
    parameters,
    prefill_bytes,
    prefill_flop,
)
from effbench.model.event import Verify
from effbench.model.inventory import Accelerator
from effbench.model.plan import Output, Work

__all__ = ["VERSION", "Params", "build", "fit", "label", "outputs", "support", "work"]

VERSION = 1

Count = Annotated[int, msgspec.Meta(ge=1)]

PROMPTS = 4  # sets of prompts in rotation


class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to prefill. None is filled by `fit`. `prompt` counts tokens; one of a single token is a decoding step."""

    config: ConfigName | None = None
    batch: Count = 1
    prompt: Annotated[int, msgspec.Meta(ge=2)] | None = None
    dtype: DtypeName | None = None


def fit(params: Params, accelerator: Accelerator) -> Params:
    """Fill what is open from the device's class and memory. Pure."""
    rung = transformer_fit.infer_rung(params.config, accelerator)
    return msgspec.structs.replace(
        params,
        config=params.config or rung.config,
        prompt=params.prompt or rung.tokens,
        dtype=params.dtype or dtypes.half_or_single(accelerator),
    )


def _fitted(params: Params) -> tuple[Config, int, int, DtypeName]:
    if params.config is None or params.prompt is None or params.dtype is None:
        raise ValueError("prefill_step parameters must be fitted to a device first: call fit(params, accelerator)")
    return CONFIGS[params.config], params.batch, params.prompt, params.dtype


def work(params: Params) -> Work:
    """Count one repetition; `items` are the prompts' tokens. Without a backward pass nothing is recomputed."""
    config, batch, prompt, dtype = _fitted(params)
    flop = float(prefill_flop(config, batch, prompt))
    return Work(
        flop=flop,
        hardware_flop=flop,
        memory_bytes=float(prefill_bytes(config, batch, prompt, dtype)),
        items=float(batch * prompt),
    )


def support(params: Params, accelerator: Accelerator) -> Support:
    """Skip what does not fit into memory or has no such dtype; say when the dtype is emulated."""
    config, batch, prompt, dtype = _fitted(params)
    reason = transformer_fit.infer_too_large(config, batch, prompt, dtype, accelerator)
    return Support(skip=reason) if reason else dtypes.support(dtype, accelerator)


def outputs(params: Params) -> list[Output]:
    """MFU against the peak of the dtype, tokens/s, time to first token."""
    stem, dtype = f"infer.prefill.b{params.batch}", _fitted(params)[3]
    return [
        Output(key=f"{stem}.mfu", of="fraction", peak=dtype),
        Output(key=f"{stem}.tokens_per_s", of="items"),
        Output(key=f"{stem}.time_to_first_token", of="time"),
    ]


def label(params: Params) -> str:
    """For example `cpu-20m-b1-p256-bf16`."""
    config, batch, prompt, dtype = _fitted(params)
    return f"{config.name}-b{batch}-p{prompt}-{dtype}"


def build(params: Params, rig: Rig) -> PrefillStep:
    """Draw the model and the prompts and allocate the cache on the device."""
    return PrefillStep(params, rig)


class PrefillStep:
    """A model with an empty cache and a few fixed prompts. Its outputs are `logits`, `chosen` and the cache."""

    def __init__(self, params: Params, rig: Rig) -> None:
        import torch

        from effbench.kernels import inputs, transformer

        self.config, batch, prompt, self.dtype = _fitted(params)
        self.flags = inputs.fp32_products(tf32=False)
        self.weights: Any = transformer.init_weights(self.config, self.dtype, rig.device, rig.seed, prompt)
        self.cache: Any = transformer.empty_cache(self.config, self.dtype, rig.device, batch, prompt)
        shape = (PROMPTS, batch, prompt)
        self.prompts: Any = transformer.random_tokens(self.config, shape, rig.device, rig.seed + 1)
        wanted = inputs.torch_dtype(self.dtype)
        self.logits: Any = torch.empty(batch, self.config.vocab, dtype=wanted, device=rig.device)
        self.chosen: Any = torch.empty(batch, dtype=torch.int64, device=rig.device)

    def run(self, i: int) -> None:
        """Launch the prefill of prompt set `i` modulo their number. Nothing waits for the device."""
        import torch

        from effbench.kernels import transformer

        with torch.inference_mode():
            found = transformer.next_logits(self.config, self.weights, self.prompts[i % PROMPTS], self.cache, 0)
            self.logits.copy_(found)
            torch.argmax(found, dim=-1, out=self.chosen)

    def verify(self) -> Verify:
        """Compare logits, chosen tokens and the whole cache with a plain fp32 recomputation without a cache."""
        from effbench.kernels import transformer_reference as reference
        from effbench.kernels.verify import poison

        for output in (self.logits, *self.cache.keys, *self.cache.values):
            poison(output)
        self.run(0)
        return reference.check_sequences(
            self.config, self.dtype, self.weights, self.prompts[0], self.logits, self.chosen, self.cache
        )

    def fingerprint(self) -> int | None:
        """Checksum of logits and cache after prompt set 0."""
        from effbench.kernels.transformer import joined_fingerprint

        self.run(0)
        return joined_fingerprint([self.logits, *self.cache.keys, *self.cache.values])

    def facts(self) -> dict[str, float]:
        """Parameters, and the bytes of weights and cache."""
        cache = sum(part.nbytes for part in (*self.cache.keys, *self.cache.values))
        weights = parameters(self.config) * self.logits.itemsize
        return {
            "parameters": float(parameters(self.config)),
            "weight_bytes": float(weights),
            "cache_bytes": float(cache),
        }

    def texts(self) -> dict[str, str]:
        """How it ran: precision, conventions, prompts."""
        return {
            "precision": f"{self.dtype}; {self.flags}",
            "flop_convention": "causal attention counted half; the head on the last position only",
            "data": f"{PROMPTS} sets of uniform random prompts in rotation",
            "embeddings": "untied",
        }

    def close(self) -> None:
        """Let go of weights, cache and prompts."""
        self.weights = self.cache = self.prompts = self.logits = self.chosen = None
