"""Owns one rank's part of the kernel `parallel_step`: building it, its steps, its verification, and what it reports."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Any

from effbench.kernels import parallel_traffic, train_state
from effbench.kernels.contract import Rig
from effbench.kernels.parallel_shape import calls_of, shape_of, step_flop
from effbench.kernels.train_state import BATCHES, EMBEDDING_STD, STEPS_TO_JUDGE
from effbench.kernels.transformer_config import parameters, train_flop
from effbench.model.event import Verify

if TYPE_CHECKING:
    from effbench.kernels.parallel_step import Params
    from effbench.kernels.transformer import Weights


class ParallelStep:
    """One rank's part of a training step. Its state moves with every step, so nothing of it is fingerprinted."""

    def __init__(self, params: Params, rig: Rig) -> None:
        from effbench.kernels import inputs, parallel_exchange
        from effbench.kernels.group import group_of
        from effbench.kernels.wait_clock import WaitClock

        self.params, self.shape, self.group = params, shape_of(params), group_of(rig)
        if self.group.size != params.ranks:
            raise ValueError(f"planned for {params.ranks} ranks, the group has {self.group.size}")
        self.clock = WaitClock(rig.device.startswith("cuda"))
        self.flags = inputs.fp32_products(tf32=False)
        self.steps = 0
        self.trainee: Any = None
        self.exchange: Any = None
        self._first: list[Any] = []
        self._latest: deque[Any] = deque(maxlen=BATCHES)
        self._load: Any = None
        self.separable = True
        if params.part == "communication":
            at_once = params.strategy == "ddp"
            sequence = calls_of(params)
            self.exchange = parallel_exchange.Exchange(sequence, self.shape.dtype, rig.device, self.group, at_once)
        else:
            self._draw(rig)

    def _draw(self, rig: Rig) -> None:
        """Weights and data; the share of the data is this rank's sequences, or all of them under tensor parallelism."""
        from effbench.kernels import transformer

        shape = self.shape
        weights = transformer.init_weights(shape.config, shape.dtype, rig.device, rig.seed, shape.seq, EMBEDDING_STD)
        self.turn: Any = (weights.cosine, weights.sine)
        self.data: Any = train_state.learnable_tokens(shape.config, shape.together, shape.seq, rig.device, rig.seed + 1)
        first = 0 if self.params.strategy == "tp" else self.group.rank * shape.local
        self.mine = slice(first, first + shape.local)
        if self.params.stretch > 1.0 and self.group.rank == self.group.size - 1:
            self._load = transformer.init_weights(shape.config, shape.dtype, rig.device, rig.seed, shape.seq)
        self.trainee = self._trainee(rig, weights)

    def _trainee(self, rig: Rig, weights: Weights) -> Any:
        """The strategy's way to train, or of FSDP2's and DDP's computation alone: a replica that talks to nobody."""
        from effbench.kernels.parallel_shards import Shards
        from effbench.kernels.parallel_strategies import Replica, Slices

        config, dtype, both = self.shape.config, self.shape.dtype, self.params.part == "both"
        if self.params.strategy == "tp":
            return Slices(config, weights, dtype, self.clock, self.group, both)
        if self.params.strategy == "ddp":
            replica = Replica(config, weights, dtype, self.clock)
            return replica.join(self.group, rig.device) if both else replica
        if not both:
            return Replica(config, weights, dtype, self.clock, (self.group.rank, self.group.size))
        shards = Shards(config, weights, dtype, self.clock, self.group)
        self.separable = shards.separable
        return shards

    def run(self, i: int) -> None:
        """One step on batch `i` modulo the number of batches; all ranks run it together."""
        if self.exchange is not None:
            self.exchange.run()
            return
        self.clock.begin()
        self._stretch()
        loss = self.trainee.differentiate(self.data[i % BATCHES, self.mine])
        self.trainee.update(self.steps)
        self.clock.end()
        if self.steps < BATCHES:
            self._first.append(loss)
        self._latest.append(loss)
        self.steps += 1

    def _stretch(self) -> None:
        """On the last rank, where asked: forward passes of single sequences, until it did `stretch` times the flop.

        A forward pass over one sequence is a third of `train_flop`; the last one is rounded up.
        """
        if self._load is None:
            return
        import torch

        from effbench.kernels import transformer

        one = train_flop(self.shape.config, 1, self.shape.seq) / 3
        more = math.ceil((self.params.stretch - 1.0) * step_flop(self.params) / one)
        with torch.no_grad():
            for index in range(more):
                at = self.mine.start + index % self.shape.local
                transformer.cross_entropy(self.shape.config, self._load, self.data[0, at : at + 1])

    def verify(self) -> Verify:
        """Compare with what one rank computes alone; see `parallel_verify`. All ranks verify together."""
        from effbench.kernels import parallel_verify

        self.clock.on = False
        try:
            if self.exchange is not None:
                return parallel_verify.exchanged(self.exchange)
            for i in range(self.steps, max(self.steps, STEPS_TO_JUDGE)):
                self.run(i)
            return parallel_verify.trained(self)
        finally:
            self.clock.on = True

    def fingerprint(self) -> int | None:
        """None: every step starts from other weights."""
        return None

    def losses(self) -> tuple[float, float]:
        """Mean loss of this rank's first and latest rotation of batches; NaN before there are two."""
        if self.steps < 2 * BATCHES:
            return math.nan, math.nan
        first, last = (math.fsum(map(float, losses)) / BATCHES for losses in (self._first, self._latest))
        return first, last

    def facts(self) -> dict[str, float]:
        """Per step: calls and bytes (sum of S) of each kind of collective; parameters, steps, losses of this rank."""
        facts = {"parameters": float(parameters(self.shape.config)), "steps": float(self.steps)}
        for op, size, count in parallel_traffic.counted(calls_of(self.params)) if self.params.part != "compute" else []:
            facts[f"collective_count.{op}"] = facts.get(f"collective_count.{op}", 0.0) + count
            facts[f"collective_bytes.{op}"] = facts.get(f"collective_bytes.{op}", 0.0) + float(size * count)
        first, last = self.losses()
        return facts | {"loss_first": first, "loss_last": last} if math.isfinite(first + last) else facts

    def rank_facts(self) -> dict[str, float]:
        """Median `busy_s` and `wait_s` of this rank's steps, s (see `wait_clock`); of computation alone, `busy_s`."""
        shares = self.clock.shares() if self.separable else {}
        return {"busy_s": shares["busy_s"]} if self.params.part == "compute" and shares else shares

    def texts(self) -> dict[str, str]:
        """How it trained, and what the figures of busy and waiting time hold."""
        separable = "by the waits for collectives, transfer included"
        words = {
            "backend": self.group.backend,
            "precision": f"{self.shape.dtype}, gradients travel in {self.shape.dtype}; {self.flags}",
            "data": f"{BATCHES} fixed batches of {self.shape.together} sequences, {self.shape.local} on this rank",
            "busy_wait": separable if self.separable else "not told apart: fsdp2 waits on streams; ddp shows it",
        }
        if self.group.backend == "gloo" and self.params.strategy == "fsdp2":
            words["collectives"] = "gloo may run a reduce_scatter as an all_reduce, and its bytes on the wire with it"
        return words

    def close(self) -> None:
        """Let go of weights, moments, gradients, data and buffers."""
        self.trainee = self.exchange = self.turn = self.data = self._load = None
        self._first.clear()
        self._latest.clear()
