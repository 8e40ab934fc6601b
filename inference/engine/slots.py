"""The rows of the key/value cache, and what each is used for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from inference.engine.answers import Answer


class Slot:
    """A row of the cache, and the answer that is being made in it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.held: list[int] = []
        """Tokens whose keys and values the cache has."""
        self.answer: Answer | None = None
        self.used = 0
        """When it was last taken, for the choice of what to forget."""
        self.todo: list[int] = []
        """Tokens that are still to be read: the rest of the prompt, or the newest token."""
        self.limit = 0
        """Most tokens of the answer."""
        self.generator = torch.Generator()
        self.seen: Tensor | None = None
        """(vocab,) of bool: tokens of prompt and answer, for the repetition penalty."""
        self.counts: Tensor | None = None
        """(vocab,): how often each token is in the answer, for presence and frequency penalties."""


def common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    """How many ids two lists have in common at their beginnings."""
    for place, (a, b) in enumerate(zip(first, second, strict=False)):
        if a != b:
            return place
    return min(len(first), len(second))


def stack(rows: Sequence[Tensor | None]) -> Tensor | None:
    """Rows of memory as one tensor; None where there is none."""
    present = [row for row in rows if row is not None]
    return torch.stack(present) if present else None
