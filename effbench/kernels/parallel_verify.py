"""Owns the check of a training step on several ranks: the same gradients as one process on the same tokens computes.

The reference of `both` is the plain loss of the gathered weights over *all* ranks' sequences, differentiated by this
rank alone in the same dtype, its sums in fp32; so a reduction that is missing, doubled or over the wrong ranks is an
error of the order of one. Computation alone is compared in the same way over its own sequences.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from effbench.kernels import parallel_model, transformer
from effbench.kernels import transformer_reference as reference
from effbench.model.event import Verify

if TYPE_CHECKING:
    from torch import Tensor

    from effbench.kernels.parallel_exchange import Exchange
    from effbench.kernels.parallel_run import ParallelStep


def exchanged(exchange: Exchange) -> Verify:
    """Judge the collectives of a step by known values."""
    wrong = exchange.wrong()
    return Verify(ok=not wrong, error=1.0 if wrong else 0.0, tolerance=0.0, detail=wrong)


def plain_gradients(step: ParallelStep, trained: list[Tensor], tokens: Tensor) -> list[Tensor]:
    """fp32 gradients of the mean loss over `tokens` by this rank alone, as many sequences at once as in a step."""
    import torch

    whole = [tensor.detach().clone().requires_grad_() for tensor in trained]
    weights = parallel_model.with_trained(step.shape.config, step.turn, whole)
    total = [torch.zeros_like(tensor, dtype=torch.float32) for tensor in whole]
    for start in range(0, len(tokens), step.shape.local):
        part = tokens[start : start + step.shape.local]
        loss = transformer.cross_entropy(step.shape.config, weights, part)
        found = torch.autograd.grad(loss, whole)
        for onto, gradient in zip(total, found, strict=True):
            onto.add_(gradient.float(), alpha=len(part) / len(tokens))
    return total


def gradient_tolerance(step: ParallelStep) -> float:
    """Largest accepted `distance`: a quarter of what any single logit may be off, as a norm averages over elements.

    Right results of slices on a CPU were 7 (bf16) and 10 times (fp32) closer, of replicas and shards 20 times and more.
    """
    return reference.tolerance(step.shape.config, step.shape.dtype) / 4


def distance(found: list[Tensor], expected: list[Tensor]) -> float:
    """Largest |found - expected| / |expected| of any tensor (Euclidean); infinite for NaN, Inf or a wrong shape."""
    worst = 0.0
    for one, other in zip(found, expected, strict=True):
        if one.shape != other.shape:
            return math.inf
        scale = float(other.norm())
        apart = float((one.float() - other).norm())
        worst = max(worst, apart / scale if scale > 0 else apart) if math.isfinite(apart + scale) else math.inf
    return worst


def trained(step: ParallelStep) -> Verify:
    """Judge gradients, the agreement of all ranks on the weights, and the fall of the loss."""
    params = step.params
    alone = params.part == "compute"
    problems = _losses(step)
    allowed = gradient_tolerance(step)
    if alone and params.strategy == "tp":
        detail = "; ".join(problems) or "slices that are not summed have no counterpart: finite, no more is known"
        return Verify(ok=not problems, error=1.0 if problems else 0.0, tolerance=allowed, detail=detail)
    weights = step.trainee.trained()
    mine = step.data[0, step.mine]
    step.trainee.differentiate(mine)
    error = distance(step.trainee.gradients(), plain_gradients(step, weights, mine if alone else step.data[0]))
    if not error <= allowed:
        problems.append("the gradients differ from those that one rank computes alone")
    if not alone and not _agreed(step, weights, allowed):
        problems.append("the ranks do not hold the same weights")
    return Verify(ok=not problems, error=min(error, 1.0), tolerance=allowed, detail="; ".join(problems))


def _agreed(step: ParallelStep, weights: list[Tensor], allowed: float) -> bool:
    """Do all ranks hold the same weights? To the bit where a collective made them equal.

    What every slice keeps whole (embedding, norms, head) is updated by each rank for itself, from equal gradients whose
    sums need not be made in the same order: there the norms agree within the tolerance.
    """
    from effbench.kernels.verify import fingerprint

    if step.params.strategy != "tp":
        return len({tuple(sums) for sums in step.group.all_objects([fingerprint(tensor) for tensor in weights])}) == 1
    norms = step.group.all_floats([float(tensor.float().norm()) for tensor in weights])
    return all(max(values) - min(values) <= allowed * max(values) for values in zip(*norms, strict=True))


def _losses(step: ParallelStep) -> list[str]:
    """What is wrong with this rank's losses; those of slices that are not summed need not fall."""
    first, last = step.losses()
    if not (math.isfinite(first) and math.isfinite(last)):
        return ["the loss is not finite"]
    meaningless = step.params.part == "compute" and step.params.strategy == "tp"
    if not last < first and not meaningless:
        return [f"the loss did not fall: {first:.4g} at first, {last:.4g} at last"]
    return []
