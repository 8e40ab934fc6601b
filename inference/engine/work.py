"""What the engine asks of a forward pass, and the one that runs on torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.kv_cache import KVCache
from model.transformer import Etude


@dataclass(frozen=True)
class Work:
    """Tokens that continue what a slot of the cache holds."""

    slot: int
    start: int
    """Position of the first token: what the slot holds before it."""
    ids: Sequence[int]
    outputs: int
    """How many of the last tokens' logits are wanted."""


Forward = Callable[[Sequence[Work]], Tensor]
"""Runs all works in one pass: adds their tokens to the cache and returns the logits that are
wanted, (all outputs, vocab), in the works' order."""


class TorchForward:
    """The forward pass on torch, wherever the model is."""

    def __init__(self, model: Etude, cache: KVCache) -> None:
        self.model, self.cache = model, cache
        self.device = model.lm_head.weight.device

    def __call__(self, works: Sequence[Work]) -> Tensor:
        """See Forward. Works of one token run side by side, others each for itself."""
        singles = [work for work in works if len(work.ids) == 1]
        hidden = dict(zip((w.slot for w in singles), self.side_by_side(singles), strict=True))
        wanted = []
        for work in works:
            rows = hidden[work.slot] if len(work.ids) == 1 else self.alone(work)
            wanted.append(rows[len(rows) - work.outputs :])
        return self.model.lm_head(torch.cat(wanted))

    def side_by_side(self, works: Sequence[Work]) -> Tensor:
        """Hidden states (works, 1, hidden) of one more token in several slots."""
        if not works:
            return torch.empty(0)
        first, end = min(w.slot for w in works), max(w.slot for w in works) + 1
        view = self.cache.rows(first, end)
        ids = [0] * (end - first)  # slots in between compute what is overwritten before it is seen
        for work in works:
            ids[work.slot - first] = work.ids[0]
            view.lengths[work.slot - first] = work.start
        hidden = self.model.model(torch.tensor(ids, device=self.device)[:, None], view)
        return hidden[[work.slot - first for work in works]]

    def alone(self, work: Work) -> Tensor:
        """Hidden states (ids, hidden) of several more tokens in a slot."""
        view = self.cache.rows(work.slot, work.slot + 1)
        view.lengths[0] = work.start
        return self.model.model(torch.tensor([list(work.ids)], device=self.device), view)[0]
