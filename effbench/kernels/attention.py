"""Causal scaled-dot-product attention, forward alone or forward and backward, by torch's own choice of backend.

Flop convention: two matrix products of 2 b h s^2 d flop each in the forward pass, halved because the causal mask makes
half of the scores unnecessary: 2 b h s^2 d. The backward pass has five such products (it recomputes the scores), so
forward and backward together count 3.5 times the forward (the convention of the FlashAttention papers: Dao,
arXiv 2307.08691, section 4.1). Figures that do not discount causality are twice as high for the same speed.

OVERHEAD: one torch call per repetition, two with the backward pass. FIELDS: `Params`. EXAMPLE: `{kernel: attention,
params: {direction: fwd, head_dim: 128}}` yields `compute.attention.fwd.d128.flops`.
"""

from typing import TYPE_CHECKING, Literal

import msgspec

from effbench.kernels import dtypes, inputs, verify
from effbench.kernels.buffers import sets_needed
from effbench.kernels.contract import Rig, Step, Support
from effbench.model.error import SiteError
from effbench.model.event import Verify
from effbench.model.inventory import Accelerator
from effbench.model.plan import Output, Work

if TYPE_CHECKING:
    import torch

VERSION = 1

# The fixed ladder. GPU: hidden size 2048 and 16 Ki tokens as in the FlashAttention papers' benchmarks.
TOKENS = {"gpu": (4, 4096), "cpu": (1, 1024)}
HIDDEN = {"gpu": 2048, "cpu": 1024}
BACKWARD_FACTOR = 2.5
# Arrays of batch x heads x seq x head_dim that must move: forward reads q, k, v and writes o; the backward pass reads
# those four and do, and writes dq, dk, dv.
ARRAYS_FORWARD, ARRAYS_BACKWARD = 4, 8

# Largest deviation of an element over (its own size + the array's root mean square), in unit roundoffs of the format.
# Probabilities and the backward's intermediate products are rounded to the format once each. For fp32 four bits are
# given away, since the plain computation it is held against rounds as often.
ROUNDOFFS = {"fwd": 16.0, "fwd_bwd": 64.0}
UNIT = {"bf16": 2.0**-8, "fp16": 2.0**-11, "fp32": 2.0**-20}
HEADS_CHECKED = 2


class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Direction and shape; what is None is filled from the ladder by `fit`."""

    direction: Literal["fwd", "fwd_bwd"] = "fwd"
    head_dim: Literal[64, 128] = 128
    dtype: Literal["bf16", "fp16", "fp32"] | None = None
    batch: int | None = None
    heads: int | None = None
    seq: int | None = None

    def __post_init__(self) -> None:
        """Refuse empty shapes."""
        for name in ("batch", "heads", "seq"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1")


def fit(params: Params, accelerator: Accelerator) -> Params:
    """Fill the shape from the ladder; bf16 where the device has a unit for it, else fp16 (GPU) or fp32 (CPU)."""
    batch, seq = TOKENS[accelerator.kind]
    single: Literal["bf16", "fp16", "fp32"] = dtypes.half_or_single(accelerator)
    if single == "fp32" and accelerator.kind == "gpu":
        single = "fp16"
    return msgspec.structs.replace(
        params,
        dtype=params.dtype or single,
        batch=params.batch or batch,
        heads=params.heads or HIDDEN[accelerator.kind] // params.head_dim,
        seq=params.seq or seq,
    )


def work(params: Params) -> Work:
    """Count by the causal convention above; bytes are the arrays that must move once."""
    _, batch, heads, seq = _fitted(params)
    both = params.direction == "fwd_bwd"
    forward = 2.0 * batch * heads * seq**2 * params.head_dim
    arrays = ARRAYS_FORWARD + (ARRAYS_BACKWARD if both else 0)
    flop = forward * (1.0 + BACKWARD_FACTOR) if both else forward
    return Work(flop=flop, hardware_flop=flop, memory_bytes=float(arrays * _array_bytes(params)))


def support(params: Params, accelerator: Accelerator) -> Support:
    """Ask for a unit of the format, and memory."""
    found = dtypes.support(_fitted(params)[0], accelerator)
    if not found.skip and 2 * (ARRAYS_FORWARD + ARRAYS_BACKWARD) * _array_bytes(params) > accelerator.memory_bytes // 2:
        return Support(skip=f"not applicable: {label(params)} needs over half of the memory", emulated=found.emulated)
    return found


def outputs(params: Params) -> list[Output]:
    """The rate, by direction and head size."""
    key = f"compute.attention.{params.direction}.d{params.head_dim}.flops"
    return [Output(key, "flop", _fitted(params)[0], fractions=True)]


def label(params: Params) -> str:
    """Name direction, format and shape."""
    dtype, batch, heads, seq = _fitted(params)
    return f"{params.direction}-{dtype}-b{batch}h{heads}s{seq}d{params.head_dim}"


def _fitted(params: Params) -> tuple[Literal["bf16", "fp16", "fp32"], int, int, int]:
    if params.dtype is None or params.batch is None or params.heads is None or params.seq is None:
        raise ValueError("attention parameters are not fitted: dtype, batch, heads or seq is open")
    return params.dtype, params.batch, params.heads, params.seq


def _array_bytes(params: Params) -> int:
    dtype, batch, heads, seq = _fitted(params)
    return dtypes.BYTES[dtype] * batch * heads * seq * params.head_dim


def build(params: Params, rig: Rig) -> Step:
    """Draw q, k, v (and the gradient of the output), rotate sets of them, and try one repetition.

    Raises:
        SiteError: too little memory is free, or this torch has no attention for the format here.
    """
    arrays = ARRAYS_FORWARD + ARRAYS_BACKWARD
    needed, free = 2 * arrays * _array_bytes(params), rig.free_bytes()
    if needed > free:
        raise SiteError(f"attention {label(params)} needs {needed} bytes, {free} are free")
    inputs.fp32_products(tf32=False)
    step = AttentionStep(params, rig, sets_needed(4 * _array_bytes(params), rig.accelerator.llc_bytes, free // 2))
    try:
        step.run(0)
        rig.synchronize()
    except (RuntimeError, NotImplementedError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise SiteError(f"this torch has no attention for {label(params)} on {rig.device}: {reason}") from error
    return step


class AttentionStep:
    """Sets of q, k, v and the output's gradient, and the last results."""

    def __init__(self, params: Params, rig: Rig, sets: int) -> None:
        dtype, batch, heads, seq = _fitted(params)
        self._params, self._rig, self._dtype = params, rig, dtype
        self._both = params.direction == "fwd_bwd"
        shape = (batch, heads, seq, params.head_dim)
        drawn = [inputs.tensor(shape, dtype, rig.device, rig.seed + i) for i in range(4 if self._both else 3)]
        self._sets = [[array if j == 0 else array.clone() for array in drawn] for j in range(sets)]
        if self._both:
            for arrays in self._sets:
                for array in arrays[:3]:
                    array.requires_grad_()
        self._results: list[torch.Tensor] = []

    def run(self, i: int) -> None:
        """Attend once, and go back where the direction says so."""
        import torch

        q, k, v, *gradient = self._sets[i % len(self._sets)]
        output = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        self._results = [output]
        if self._both:
            self._results += torch.autograd.grad(output, (q, k, v), gradient[0])

    def _fresh(self) -> "list[torch.Tensor]":
        self.run(0)
        self._rig.synchronize()
        return [result.detach() for result in self._results]

    def verify(self) -> Verify:
        """Compare the first and last heads with a plain fp32 computation; the whole must be finite and not zero."""
        results = self._fresh()
        allowed = ROUNDOFFS[self._params.direction] * UNIT[self._dtype]
        for result in results:
            wrong = verify.broken(result)
            if wrong:
                return Verify(ok=False, error=1.0, tolerance=allowed, detail=wrong)
        worst = max(self._head_error(results, *head) for head in self._heads())
        detail = "" if worst <= allowed else f"an element differs from plain fp32 attention by {worst:.3g}"
        return Verify(ok=worst <= allowed, error=worst, tolerance=allowed, detail=detail)

    def _heads(self) -> list[tuple[int, int]]:
        """The first head of the first sequence and the last of the last."""
        _, batch, heads, _ = _fitted(self._params)
        return list(dict.fromkeys([(0, 0), (batch - 1, heads - 1)]))[:HEADS_CHECKED]

    def _head_error(self, results: "list[torch.Tensor]", batch: int, head: int) -> float:
        """Largest deviation in one head of the output and of the gradients."""
        import torch

        arrays = [array[batch, head].detach().to(torch.float32) for array in self._sets[0]]
        expected = plain(*arrays)
        worst = 0.0
        for result, right in zip(results, expected, strict=False):
            difference = (result[batch, head].to(torch.float32) - right).abs_()
            size = right.abs() + right.square().mean().sqrt()
            worst = max(worst, float((difference / size.clamp_min_(1e-30)).amax()))
        return worst

    def fingerprint(self) -> int | None:
        """Checksum of the output; gradients are left out, since atomic additions may order them differently."""
        return verify.fingerprint(self._fresh()[0])

    def facts(self) -> dict[str, float]:
        """How many sets were rotated."""
        return {"buffer_sets": float(len(self._sets))}

    def texts(self) -> dict[str, str]:
        """Convention, inputs and backend."""
        return {
            "flop_convention": "causal, half of the scores counted" + (", 3.5 x forward" if self._both else ""),
            "inputs": inputs.distribution(self._dtype, self._rig.seed),
            "backend": self._backend(),
        }

    def _backend(self) -> str:
        """Name the backend that torch chooses for these arrays, where this torch says so."""
        import torch

        choose = getattr(torch, "_fused_sdp_choice", None)
        if choose is None:
            return "unknown"
        names = {0: "math", 1: "flash", 2: "memory-efficient", 3: "cudnn", 4: "overrideable"}
        q, k, v = self._sets[0][:3]
        return names.get(int(choose(q, k, v, is_causal=True)), "unknown")

    def close(self) -> None:
        """Let go of every array."""
        self._sets.clear()
        self._results.clear()


def plain(
    q: "torch.Tensor", k: "torch.Tensor", v: "torch.Tensor", gradient: "torch.Tensor | None" = None
) -> "list[torch.Tensor]":
    """Causal attention of one head (seq x head_dim) from its definition, with gradients when asked, in q's type."""
    import torch

    if gradient is not None:
        q, k, v = (array.clone().requires_grad_() for array in (q, k, v))
    scores = (q @ k.t()) * q.shape[1] ** -0.5
    hidden = torch.ones(scores.shape, dtype=torch.bool, device=q.device).triu_(1)
    output = scores.masked_fill(hidden, float("-inf")).softmax(dim=1) @ v
    if gradient is None:
        return [output]
    return [output.detach(), *torch.autograd.grad(output, (q, k, v), gradient)]
