"""Owns the built-in task of `to_quality`: a small artificial language whose best possible loss is known exactly.

The law. A sentence is SEQ + 1 words out of VOCAB. Each word after the first is drawn from a mixture: with probability
FOLLOW it follows the word before it (two successors per word, shares SUCCESSORS, from fixed permutations), with REPEAT
it repeats the word BACK places earlier (the first word, where there is none), else it is any word. The draws are
independent, so the probability of every word given all earlier ones is known, and with it the entropy: no model can
have a lower expected loss. A model must learn a table and a look back; both come gradually, so seeds differ little.

Held out, by construction. The first word is never predicted. Held-out sentences begin with a word divisible by SPLIT,
sentences to train on never do: no held-out sentence can have been trained on, whatever is drawn.

The corpus and the held-out sentences are the same for every recipe, seed and device (drawn on the host by torch's
Mersenne Twister); a recipe's seed moves the initial weights and the order of the corpus only.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ENTROPY_MIN", "SEQ", "VOCAB", "checksum", "corpus", "disjoint", "entropy", "held_out"]

VOCAB, SEQ = 64, 64
FOLLOW, REPEAT, BACK = 0.5, 0.35, 8
SUCCESSORS = (0.7, 0.3)
SPLIT = 4
CORPUS_SENTENCES, HELD_OUT_SENTENCES = 16_384, 128
_LAW_SEED, _CORPUS_SEED, _HELD_OUT_SEED = 20261121, 20261122, 20261123
# nat per word. By the law 1.78 over the whole corpus, 1.77 over the held-out sentences; a target below this is none.
ENTROPY_MIN = 1.70


def corpus(sentences: int = CORPUS_SENTENCES) -> Tensor:
    """Sentences to train on, int64 (sentences, SEQ + 1) on the host. The same on every call."""
    return _drawn(sentences, _CORPUS_SEED, held=False)


def held_out(sentences: int = HELD_OUT_SENTENCES) -> Tensor:
    """Sentences that are never trained on, int64 (sentences, SEQ + 1) on the host. The same on every call."""
    return _drawn(sentences, _HELD_OUT_SEED, held=True)


def entropy(sentences: Tensor) -> float:
    """Mean of -ln p of the words actually drawn, by the law itself, nat per word: what a perfect model would score."""
    import torch

    successors = _successors()
    total = torch.zeros(len(sentences), dtype=torch.float64)
    for place in range(1, SEQ + 1):
        word = sentences[:, place]
        after = successors[sentences[:, place - 1]] == word[:, None]
        likely = torch.full_like(total, (1 - FOLLOW - REPEAT) / VOCAB)
        likely += FOLLOW * (after.double() @ torch.tensor(SUCCESSORS, dtype=torch.float64))
        likely += REPEAT * (sentences[:, max(place - BACK, 0)] == word).double()
        total -= likely.log()
    return float(total.mean()) / SEQ


def disjoint(trained: Tensor, held: Tensor) -> bool:
    """True when the split's rule holds for every sentence and, independently of it, no sentence occurs in both."""
    rule = bool((trained[:, 0] % SPLIT != 0).all()) and bool((held[:, 0] % SPLIT == 0).all())
    return rule and not set(map(tuple, held.tolist())) & set(map(tuple, trained.tolist()))


def checksum(*parts: Tensor) -> str:
    """sha256 over the words of the parts, one byte each: names the data in a record."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(bytes(part.flatten().tolist()))
    return f"sha256:{digest.hexdigest()}"


def _successors() -> Tensor:
    """The two successors of every word, (VOCAB, 2): two fixed permutations, so that all words stay equally frequent."""
    import torch

    generator = torch.Generator().manual_seed(_LAW_SEED)
    return torch.stack([torch.randperm(VOCAB, generator=generator) for _ in SUCCESSORS], dim=1)


def _drawn(sentences: int, seed: int, held: bool) -> Tensor:
    import torch

    generator = torch.Generator().manual_seed(seed)
    successors = _successors()
    words = torch.empty(sentences, SEQ + 1, dtype=torch.int64)
    words[:, 0] = SPLIT * torch.randint(0, VOCAB // SPLIT, (sentences,), generator=generator)
    if not held:
        words[:, 0] += torch.randint(1, SPLIT, (sentences,), generator=generator)
    for place in range(1, SEQ + 1):
        how, which = torch.rand(2, sentences, generator=generator)
        any_word = torch.randint(0, VOCAB, (sentences,), generator=generator)
        after = successors[words[:, place - 1], (which >= SUCCESSORS[0]).long()]
        before = words[:, max(place - BACK, 0)]
        words[:, place] = torch.where(how < FOLLOW, after, torch.where(how < FOLLOW + REPEAT, before, any_word))
    return words
