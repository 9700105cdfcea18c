"""Owns the kernel `decode_step`: one more token for each sequence of a batch, from a cache that holds the context.

OVERHEAD. Building prefills the context once; verifying recomputes up to four sequences in plain fp32.

FIELDS. `config`: the model, absent by the ladder in `transformer_fit`. `batch` sequences with `context` tokens in
the cache. `dtype`: bf16 or fp32. `graph`: replay each position's launches as a CUDA graph, as servers do (absent:
yes on a GPU); without it a small model measures the host's launch rate.

One repetition takes the token at one of WINDOW positions after the context, writes its key and value, attends to all
positions up to it, and chooses the next token. The positions cycle, so memory stays fixed; the tokens are given, so
every position always sees the same input. Bytes counted: every weight once (of the untied embedding, one row per
sequence), every cached position read, the new one written, at the mean position of the window. Where weights and cache
are smaller than twice the last-level cache, several copies rotate, so that memory and not a cache is measured.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, NamedTuple

import msgspec

from effbench.kernels import dtypes, transformer_fit
from effbench.kernels.buffers import LLC_ASSUMED_BYTES, sets_needed
from effbench.kernels.contract import Rig, Support
from effbench.kernels.transformer_config import (
    CONFIGS,
    Config,
    ConfigName,
    DtypeName,
    decode_bytes,
    decode_flop,
    parameters,
)
from effbench.model.error import SiteError
from effbench.model.event import Verify
from effbench.model.inventory import Accelerator
from effbench.model.plan import Output, Work

__all__ = ["VERSION", "Params", "build", "fit", "label", "outputs", "support", "work"]

VERSION = 1

Count = Annotated[int, msgspec.Meta(ge=1)]

WINDOW = 8  # positions after the context that take turns; each is a graph to capture on a GPU


class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to decode. None is filled by `fit`. `context` counts the tokens that the cache holds already."""

    config: ConfigName | None = None
    batch: Count = 1
    context: Count | None = None
    dtype: DtypeName | None = None
    graph: bool | None = None


def fit(params: Params, accelerator: Accelerator) -> Params:
    """Fill what is open from the device's class and memory. Pure."""
    rung = transformer_fit.infer_rung(params.config, accelerator)
    return msgspec.structs.replace(
        params,
        config=params.config or rung.config,
        context=params.context or rung.tokens,
        dtype=params.dtype or dtypes.half_or_single(accelerator),
        graph=accelerator.kind == "gpu" if params.graph is None else params.graph,
    )


def _fitted(params: Params) -> tuple[Config, int, int, DtypeName]:
    if params.config is None or params.context is None or params.dtype is None or params.graph is None:
        raise ValueError("decode_step parameters must be fitted to a device first: call fit(params, accelerator)")
    return CONFIGS[params.config], params.batch, params.context, params.dtype


def work(params: Params) -> Work:
    """Count one repetition at the mean position of the window; `items` are the new tokens, one per sequence."""
    config, batch, context, dtype = _fitted(params)
    keys = context + (WINDOW + 1) / 2
    flop = decode_flop(config, batch, keys)
    return Work(
        flop=flop, hardware_flop=flop, memory_bytes=decode_bytes(config, batch, keys, dtype), items=float(batch)
    )


def support(params: Params, accelerator: Accelerator) -> Support:
    """Skip what does not fit into memory, has no such dtype or no graphs; say when the dtype is emulated."""
    config, batch, context, dtype = _fitted(params)
    if params.graph and accelerator.kind == "cpu":
        return Support(skip="not applicable: a CPU has no CUDA graphs")
    reason = transformer_fit.infer_too_large(config, batch, context + WINDOW, dtype, accelerator)
    return Support(skip=reason) if reason else dtypes.support(dtype, accelerator)


def outputs(params: Params) -> list[Output]:
    """Tokens/s, fraction of memory bandwidth, and the median and 99 % quantile of the time between tokens."""
    stem = f"infer.decode.b{params.batch}"
    return [
        Output(key=f"{stem}.tokens_per_s", of="items"),
        Output(key=f"{stem}.fraction_of_bandwidth", of="memory_fraction", peak="bandwidth"),
        Output(key=f"{stem}.inter_token_p50", of="p50"),
        Output(key=f"{stem}.inter_token_p99", of="p99"),
    ]


def label(params: Params) -> str:
    """For example `cpu-20m-b1-c256-bf16`, with `-graph` where launches are replayed."""
    config, batch, context, dtype = _fitted(params)
    return f"{config.name}-b{batch}-c{context}-{dtype}{'-graph' if params.graph else ''}"


def build(params: Params, rig: Rig) -> DecodeStep:
    """Draw the model, prefill the context, copy both as often as the caches ask, and capture graphs where asked.

    Raises:
        SiteError: CUDA graphs were asked for and cannot be captured here.
    """
    return DecodeStep(params, rig)


class Served(NamedTuple):
    """One copy of the model with its cache."""

    weights: Any
    cache: Any


class DecodeStep:
    """Copies of a model with a full cache. Its outputs are `logits`, `chosen` and the new position of the cache."""

    def __init__(self, params: Params, rig: Rig) -> None:
        import torch

        from effbench.kernels import inputs, transformer

        self.config, batch, self.context, self.dtype = _fitted(params)
        self.flags = inputs.fp32_products(tf32=False)
        length = self.context + WINDOW
        weights = transformer.init_weights(self.config, self.dtype, rig.device, rig.seed, length)
        cache = transformer.empty_cache(self.config, self.dtype, rig.device, batch, length)
        self.tokens: Any = transformer.random_tokens(self.config, (batch, length), rig.device, rig.seed + 1)
        wanted = inputs.torch_dtype(self.dtype)
        self.logits: Any = torch.empty(batch, self.config.vocab, dtype=wanted, device=rig.device)
        self.chosen: Any = torch.empty(batch, dtype=torch.int64, device=rig.device)
        with torch.inference_mode():
            transformer.hidden_states(self.config, weights, self.tokens, cache)
        moved = int(work(params).memory_bytes)
        self.copies = [Served(weights, cache)]
        for _ in range(copies_needed(moved, rig.accelerator.llc_bytes, rig.free_bytes()) - 1):
            self.copies.append(Served(transformer.copied(weights), transformer.copied(cache)))
        self.graphs: list[Any] = self._captured() if params.graph else []

    def _captured(self) -> list[Any]:
        """One graph per copy and position, all in one memory pool, because they never run at once."""
        from effbench.kernels.cuda_graph import capture

        graphs: list[Any] = []
        try:
            for i in range(len(self.copies) * WINDOW):
                graphs.append(capture(partial(self._launch, i), graphs[0].pool() if graphs else None))
        except RuntimeError as error:
            first = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise SiteError(f"CUDA graphs unavailable: {first}; set graph: false to decode without them") from error
        return graphs

    def _launch(self, i: int) -> None:
        import torch

        from effbench.kernels import transformer

        served = self.copies[i % len(self.copies)]
        at = self.context + i // len(self.copies) % WINDOW
        with torch.inference_mode():
            token = self.tokens[:, at : at + 1]
            found = transformer.next_logits(self.config, served.weights, token, served.cache, at)
            self.logits.copy_(found)
            torch.argmax(found, dim=-1, out=self.chosen)

    def run(self, i: int) -> None:
        """Launch one token per sequence: the copies take turns, then the positions. Nothing waits for the device."""
        if self.graphs:
            self.graphs[i % len(self.graphs)].replay()
        else:
            self._launch(i)

    def verify(self) -> Verify:
        """Compare logits, chosen token and the whole cache up to the new position with a recomputation without one."""
        from effbench.kernels import transformer_reference as reference
        from effbench.kernels.verify import poison

        served, end = self.copies[0], self.context + 1
        poison(self.logits)
        for part in (*served.cache.keys, *served.cache.values):
            poison(part[:, :, self.context])
        self.run(0)
        sequences = self.tokens[:, :end]
        return reference.check_sequences(
            self.config, self.dtype, served.weights, sequences, self.logits, self.chosen, served.cache
        )

    def fingerprint(self) -> int | None:
        """Checksum of the logits at the first position after the context."""
        from effbench.kernels.verify import fingerprint

        self.run(0)
        return fingerprint(self.logits)

    def facts(self) -> dict[str, float]:
        """Parameters, copies in rotation, and the bytes of one copy's weights and cache."""
        cache = self.copies[0].cache
        return {
            "parameters": float(parameters(self.config)),
            "copies": float(len(self.copies)),
            "weight_bytes": float(parameters(self.config) * self.logits.itemsize),
            "cache_bytes": float(sum(part.nbytes for part in (*cache.keys, *cache.values))),
        }

    def texts(self) -> dict[str, str]:
        """How it ran: precision, launches, what is counted."""
        return {
            "precision": f"{self.dtype}; {self.flags}",
            "launch": f"{len(self.graphs)} CUDA graphs" if self.graphs else "eager",
            "bytes_convention": "weights once, cached positions read, the new one written; activations not counted",
            "data": f"uniform random tokens; {WINDOW} positions after the context take turns",
            "embeddings": "untied",
        }

    def close(self) -> None:
        """Let go of graphs, weights and caches."""
        self.graphs, self.copies = [], []
        self.tokens = self.logits = self.chosen = None


def copies_needed(moved_bytes: int, llc_bytes: int, free_bytes: int) -> int:
    """How many copies of model and cache rotate: one where a step moves twice the last-level cache anyway."""
    if moved_bytes >= 2 * (llc_bytes or LLC_ASSUMED_BYTES):
        return 1
    return sets_needed(moved_bytes, llc_bytes, free_bytes)
