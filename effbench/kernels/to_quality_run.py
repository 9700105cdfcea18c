"""Owns one training run of `to_quality`: the model, the loop to the target, and the check of what it claims."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from effbench.kernels import to_quality_recipe, to_quality_task, train_state
from effbench.kernels.contract import Rig
from effbench.kernels.to_quality_recipe import Recipe
from effbench.kernels.to_quality_task import SEQ, VOCAB
from effbench.kernels.transformer_config import Config, parameters, train_flop
from effbench.model.event import Sample, Verify

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["BATCH", "CONFIG", "EVALUATE_EVERY", "QualityRun"]

# 0.1 M parameters: a run takes some 10 s on one CPU core.
CONFIG = Config("to-quality", layers=2, hidden=64, heads=4, kv_heads=2, head_dim=16, ffn=176, vocab=VOCAB)
BATCH = 16
EVALUATE_EVERY = 20
WARM_STEPS = 3
# On a CPU one core trains. Arrays of 65 thousand elements leave a thread some 20 us of work between two barriers: with
# two threads and other programs on the cores, the waiting took nine times the CPU time of the work itself (2-core VM).
CPU_THREADS = 1


class QualityRun:
    """A model in training towards a loss on held-out data. `samples` is the run; `run` is one step of it."""

    def __init__(self, recipe: Recipe, seed: int, target: float, steps_max: int, rig: Rig) -> None:
        from effbench.kernels import inputs

        self.recipe, self.seed, self.target, self.steps_max, self.rig = recipe, seed, target, steps_max, rig
        self.flags = inputs.fp32_products(tf32=False)
        host_corpus, host_held = to_quality_task.corpus(), to_quality_task.held_out()
        self.entropy = to_quality_task.entropy(host_held)
        self.data_digest = to_quality_task.checksum(host_corpus, host_held)
        self.corpus: Any = host_corpus.to(rig.device)
        self.held: Any = host_held.to(rig.device)
        self._begin()
        with cpu_threads(CPU_THREADS):
            for i in range(WARM_STEPS):
                self.run(i)
            self._evaluate()
        self._begin()

    def _begin(self) -> None:
        """A fresh model, optimizer and order of the data, all from the seed."""
        import torch

        from effbench.kernels import transformer

        std = train_state.EMBEDDING_STD
        self.weights: Any = transformer.init_weights(CONFIG, self.recipe.dtype, self.rig.device, self.seed, SEQ, std)
        self.working = transformer.trainable(self.weights)
        self.masters = train_state.masters_of(self.working, self.recipe.dtype)
        self.judged: Any = _with(self.weights, self.masters, self.rig.device)
        self.optimizer = to_quality_recipe.optimizer(self.recipe, self.masters)
        self._shuffle = torch.Generator().manual_seed(self.seed)
        self._order: Any = None
        self._at = 0
        self._loss: Any = None
        self.steps, self.evaluations, self.eval_s = 0, 0, 0.0
        self.pass_s: float | None = None
        self.held_loss: float | None = None
        self.train_loss: float | None = None
        self.ended = "the pass has not run"

    def _batch(self) -> Tensor:
        """The next sentences of the corpus, which is shuffled anew for every pass over it."""
        import torch

        if self._order is None or self._at + BATCH > len(self._order):
            self._order = torch.randperm(len(self.corpus), generator=self._shuffle).to(self.rig.device)
            self._at = 0
        self._at += BATCH
        batch: Tensor = self.corpus[self._order[self._at - BATCH : self._at]]
        return batch

    def run(self, i: int) -> None:
        """One training step on the next batch. Nothing waits for the device."""
        import torch

        from effbench.kernels import transformer

        self.optimizer.zero_grad(set_to_none=True)
        loss: Any = transformer.cross_entropy(CONFIG, self.weights, self._batch())
        loss.backward()
        to_quality_recipe.clip(self.recipe, self.masters)
        for group in self.optimizer.param_groups:
            group["lr"] = to_quality_recipe.rate_at(self.recipe, self.steps)
        self.optimizer.step()
        if self.recipe.dtype != "fp32":
            with torch.no_grad():
                torch._foreach_copy_(self.working, self.masters)
        self._loss = loss.detach()
        self.steps += 1

    def _evaluate(self) -> float:
        """Mean loss over all held-out sentences by the fp32 masters, nat per word; waits for the device."""
        import torch

        from effbench.kernels import transformer

        with torch.no_grad():
            return float(transformer.cross_entropy(CONFIG, self.judged, self.held))

    def samples(self, deadline_s: float) -> list[Sample]:
        """Train to the target, or until steps or seconds run out: one sample, whose repetitions are the steps."""
        with cpu_threads(CPU_THREADS):
            timing = self.rig.time(lambda _: self._train(deadline_s), 0, 1)
        self.pass_s = timing.host_s
        now, clock_hz = time.monotonic_ns(), self.rig.clock_hz()
        return [Sample(now, timing.device_s, timing.host_s, self.steps, clock_hz)]

    def _train(self, deadline_s: float) -> None:
        started = self.rig.monotonic()
        while True:
            self.run(self.steps)
            last = self.steps >= self.steps_max
            if self.steps % EVALUATE_EVERY and not last:
                continue
            self.rig.synchronize()
            before = self.rig.monotonic()
            self.held_loss = self._evaluate()
            self.evaluations += 1
            self.eval_s += self.rig.monotonic() - before
            self.train_loss = float(self._loss)
            self.ended = self._end(last, self.rig.monotonic() - started > deadline_s)
            if self.ended:
                return

    def _end(self, last: bool, late: bool) -> str:
        """Why the run ends now, in words; empty while it goes on."""
        if self.held_loss is None or not math.isfinite(self.held_loss):
            return "the held-out loss is not finite"
        if self.held_loss <= self.target:
            return "target reached"
        if last:
            return f"target not reached within {self.steps_max} steps"
        return f"target not reached: out of time after {self.steps} steps" if late else ""

    @property
    def reached(self) -> bool:
        """Whether the whole pass ran and its last held-out loss is at most the target."""
        return self.pass_s is not None and self.held_loss is not None and self.held_loss <= self.target

    def verify(self) -> Verify:
        """Draw the data anew, and recompute the held-out loss of the final weights by the definitions, in fp32.

        Wrong: data that are not what the task draws, a sentence both trained on and held out, a claimed loss that
        differs from the recomputed one, a claimed target that the recomputed loss misses, or a loss that is no number.
        """
        from effbench.kernels import transformer_reference as reference

        allowed = reference.loss_tolerance(CONFIG, "fp32")
        corpus, held = to_quality_task.corpus(), to_quality_task.held_out()
        found = self._evaluate() if self.pass_s is None or self.held_loss is None else self.held_loss
        with cpu_threads(CPU_THREADS):
            losses = [reference.reference_loss(CONFIG, self.judged, one) for one in held.to(self.rig.device)]
        expected = math.fsum(losses) / len(losses)
        if not (math.isfinite(found) and math.isfinite(expected)):
            return Verify(ok=False, error=1.0, tolerance=allowed, detail="the held-out loss is not finite")
        error = abs(found - expected) / max(1.0, abs(expected))
        problems = self._data_problems(corpus, held)
        if error > allowed:
            problems.append(f"the held-out loss {found:.6g} differs from the recomputed one, {expected:.6g}")
        if self.reached and expected > self.target + allowed * max(1.0, expected):
            problems.append(f"the recomputed loss {expected:.6g} misses the target {self.target:g}")
        return Verify(ok=not problems, error=error, tolerance=allowed, detail="; ".join(problems))

    def _data_problems(self, corpus: Tensor, held: Tensor) -> list[str]:
        import torch

        used, judged_on = self.corpus.cpu(), self.held.cpu()
        problems = []
        if not torch.equal(used, corpus) or not torch.equal(judged_on, held):
            problems.append("the data are not those that the task draws")
        if not to_quality_task.disjoint(used, judged_on):
            problems.append("held-out sentences were trained on")
        return problems

    def fingerprint(self) -> int | None:
        """None: there is no output of a repetition that would stay; the data have a checksum."""
        return None

    def facts(self) -> dict[str, float]:
        """Sizes always; after the pass how it ended; costs to quality only when quality was reached.

        Seconds, flop, counts; losses in nat per word. `flop` is of training steps, `eval_flop` of evaluations.
        """
        facts = {
            "parameters": float(parameters(CONFIG)),
            "target_loss": self.target,
            "entropy": self.entropy,
            "evaluate_every": float(EVALUATE_EVERY),
        }
        if self.pass_s is None:
            return facts
        step_flop, held_flop = train_flop(CONFIG, BATCH, SEQ), train_flop(CONFIG, len(self.held), SEQ) // 3
        facts |= {
            "reached": float(self.reached),
            "steps": float(self.steps),
            "tokens": float(self.steps * BATCH * SEQ),
            "flop": float(self.steps * step_flop),
            "evaluations": float(self.evaluations),
            "eval_flop": float(self.evaluations * held_flop),
            "pass_s": self.pass_s,
            "eval_s": self.eval_s,
            "train_s": self.pass_s - self.eval_s,
        }
        losses = {"heldout_loss": self.held_loss, "train_loss": self.train_loss}
        facts |= {name: value for name, value in losses.items() if value is not None and math.isfinite(value)}
        if self.reached:
            names = {"time_to_quality_s": "pass_s", "flop_to_quality": "flop", "steps_to_quality": "steps"}
            facts |= {name: facts[of] for name, of in names.items()}
        return facts

    def texts(self) -> dict[str, str]:
        """The recipe in full, how the run ended, the task, and the conventions."""
        formats = (
            "bf16 weights and activations, fp32 masters and moments" if self.recipe.dtype == "bf16" else "all fp32"
        )
        return {
            "ended": self.ended,
            "recipe": to_quality_recipe.words(self.recipe),
            "precision": f"{formats}; held-out loss by the fp32 masters; {self.flags}",
            "model": f"{CONFIG.layers} layers, width {CONFIG.hidden}, batches of {BATCH} sentences of {SEQ} words",
            "held_out": f"{len(self.held)} sentences that begin with words no trained sentence begins with",
            "data": self.data_digest,
            "resolution": f"the target is looked for every {EVALUATE_EVERY} steps; time includes that, flop does not",
            "threads": f"{CPU_THREADS} on a CPU: the model is too small to be shared",
            "fingerprint": "none: training is not bit-stable over devices and libraries",
        }

    def close(self) -> None:
        """Let go of model, optimizer and data."""
        self.working, self.masters = [], []
        self.optimizer = self.weights = self.judged = self.corpus = self.held = self._order = self._loss = None


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Let torch's CPU work use `count` threads, and restore what was set before."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _with(weights: Any, trained: list[Tensor], device: str) -> Any:
    """The model with `trained` (the fp32 masters, which stay shared) in place of its own weights."""
    from effbench.kernels import transformer

    left = iter(trained)
    embedding = next(left)
    layers = tuple(transformer.Layer(*(next(left) for _ in layer)) for layer in weights.layers)
    cosine, sine = transformer.rotation_tables(CONFIG.head_dim, SEQ, device)
    return transformer.Weights(embedding, layers, next(left), next(left), cosine.float(), sine.float())
