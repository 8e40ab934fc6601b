"""How far a model in training is from the one it started from: the Kullback-Leibler divergence."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from train.data.batches import IGNORED, TokenRows
from train.distributed import World, whole
from train.evaluation import ROWS_AT_ONCE
from train.objective import SummedLoss, chunk_size

MOST_POSITIONS = 16_384
"""Positions of the rows that are measured; what the start had before its output layer is kept for
each of them that is trained: 50 MB with a width of 768."""


class Divergence:
    """KL(model || start), in nats a token, at the trained positions of held-out rows: the sum over
    the whole vocabulary of p log(p / q), no estimate. Of more rows, evenly spread ones are taken.

    It is made while the model still has the weights of the start. No second model is kept: what the
    start says follows from its last hidden states and its output layer.
    """

    def __init__(self, loss: SummedLoss, held_out: Sequence[TokenRows], world: World) -> None:
        self.loss, self.world = loss, world
        every = [(rows, number) for rows in held_out for number in range(len(rows))]
        most = max(1, MOST_POSITIONS // held_out[0].max_length)
        count = min(len(every), most)
        self.chosen = [every[n * len(every) // count] for n in range(count)]
        with whole(loss):
            parts = [self.outputs(first) for first in range(0, count, ROWS_AT_ONCE)]
        self.hidden = [hidden for hidden, _ in parts]
        """(trained positions, hidden) of some rows each."""
        self.head = parts[0][1].clone()
        """(vocab, hidden)."""

    @torch.no_grad()
    def outputs(self, first: int) -> tuple[Tensor, Tensor]:
        """What gives the logits of the trained positions of ROWS_AT_ONCE rows: their last hidden
        states, and the output layer."""
        batches = [rows.batch([n]) for rows, n in self.chosen[first : first + ROWS_AT_ONCE]]
        flat = []
        for batch in (batch.to(self.world.device) for batch in batches):
            hidden, head = self.loss.outputs(batch.input_ids, batch.document_ids, torch.float32)
            flat.append(hidden[batch.labels.flatten() != IGNORED])
        return torch.cat(flat), head

    @torch.no_grad()
    def __call__(self) -> float:
        """The divergence under the present weights."""
        total, count = torch.zeros((), dtype=torch.float64, device=self.world.device), 0
        with whole(self.loss):
            for number, start in enumerate(self.hidden):
                hidden, head = self.outputs(number * ROWS_AT_ONCE)
                size = chunk_size(hidden, head)
                for first in range(0, len(hidden), size):
                    part = slice(first, first + size)
                    now = (hidden[part] @ head.mT).log_softmax(dim=-1)  # (size, vocab)
                    then = (start[part] @ self.head.mT).log_softmax(dim=-1)
                    total += (now.exp() * (now - then)).sum(dtype=torch.float64)
                count += len(hidden)
        return float(total / max(1, count))
