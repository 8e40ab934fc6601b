"""The key/value cache as the engine sees it: slots, and forward passes that read and extend them.

The cache is one tensor, (layers, slots, kv_heads, max_length, head_dim). A slot is a row of it and
holds the keys and values of one sequence. What lies behind a slot's `cached` tokens is garbage that
no token attends to and the next one overwrites, so nothing is ever cleared. (vLLM cuts the cache
into pages instead, PagedAttention, arXiv 2309.06180: worth it for long contexts of many users.)

A token takes 2 (key and value) * layers * kv_heads * head_dim numbers: with 12 layers, 4 kv_heads
of 64 and float32 2 * 12 * 4 * 64 * 4 bytes = 24 KiB, and a slot of 1,024 tokens 24 MiB. That there
are fewer kv_heads than heads (GQA, arXiv 2305.13245) makes it a third of what 12 would take.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from config import SamplingConfig
from inference.engine.answers import GenerationOutput
from inference.engine.constraint import Constraint
from model.kv_cache import KVCache
from model.transformer import Etude


class Slot:
    """A row of the cache, and the output that is being generated in it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.cached: list[int] = []
        """Tokens whose keys and values the cache holds; they stay when the output ends."""
        self.adapter: str | None = None
        """The adapter that these keys and values were made with."""
        self.output: GenerationOutput | None = None
        self.used = 0
        """When it was last assigned, to evict the least recently used."""
        self.pending: list[int] = []
        """Tokens that are not in the cache yet: the rest of the prompt, or the newest token."""
        self.limit = 0
        """Most tokens of the output."""
        self.generator = torch.Generator()
        self.settings = SamplingConfig()
        """Those of the output that slots may share: they are sampled together."""
        self.seen: Tensor | None = None
        """(vocab,) of bool: tokens of prompt and output, for the repetition penalty."""
        self.counts: Tensor | None = None
        """(vocab,): how often each token is in the output, for presence and frequency penalties."""
        self.constraint: Constraint | None = None
        """What the output may go on with, where a grammar says so."""


def common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    """How many ids two lists have in common at their beginnings."""
    for place, (a, b) in enumerate(zip(first, second, strict=False)):
        if a != b:
            return place
    return min(len(first), len(second))


@dataclass(frozen=True)
class Work:
    """Tokens to be appended to a slot by one forward pass."""

    slot: int
    start: int
    """Position of the first token: the number of tokens in the slot before it."""
    ids: list[int]
    outputs: int
    """How many of the last tokens need logits: 0 in the middle of a prompt, 1 at its end."""


Forward = Callable[[Sequence[Work]], Tensor]
"""Runs works, all of one adapter, in one pass: appends their tokens to the cache and returns the
logits, (all outputs, vocab), in the works' order."""


class TorchForward:
    """The forward pass on torch, on any device."""

    def __init__(self, model: Etude, cache: KVCache) -> None:
        self.model, self.cache = model, cache
        self.device = model.lm_head.weight.device

    def __call__(self, works: Sequence[Work]) -> Tensor:
        """See Forward. Works of one token run as a batch, longer ones each by itself."""
        single = [work for work in works if len(work.ids) == 1]
        hidden = dict(zip((w.slot for w in single), self.decode(single), strict=True))
        needed = []
        for work in works:
            states = hidden[work.slot] if len(work.ids) == 1 else self.prefill(work)
            needed.append(states[len(states) - work.outputs :])  # (outputs, hidden)
        # The output layer is the largest matrix: it sees only the positions that need logits.
        return self.model.lm_head(torch.cat(needed))  # (all outputs, vocab)

    def decode(self, works: Sequence[Work]) -> Tensor:
        """Hidden states (works, 1, hidden) of one more token in each of several slots."""
        if not works:
            return torch.empty(0)
        first, end = min(w.slot for w in works), max(w.slot for w in works) + 1
        view = self.cache.rows(first, end)
        # A batch is a range of rows, not a selection, which would copy the cache. Slots between
        # that have no work compute a token 0, whose place is overwritten before it is attended to.
        ids = [0] * (end - first)
        for work in works:
            ids[work.slot - first] = work.ids[0]
            view.lengths[work.slot - first] = work.start
        input_ids = torch.tensor(ids, device=self.device)[:, None]  # (slots, 1)
        hidden = self.model.model(input_ids, view)  # (slots, 1, hidden)
        return hidden[[work.slot - first for work in works]]  # (works, 1, hidden)

    def prefill(self, work: Work) -> Tensor:
        """Hidden states (ids, hidden) of several more tokens in one slot."""
        view = self.cache.rows(work.slot, work.slot + 1)
        view.lengths[0] = work.start
        input_ids = torch.tensor([work.ids], device=self.device)  # (1, ids)
        return self.model.model(input_ids, view)[0]  # (ids, hidden)
