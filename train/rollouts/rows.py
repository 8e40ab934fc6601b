"""Answers packed into rows, with what the objective must know of each of their tokens.

A row holds prompts, each with one answer, as documents that do not see one another. Micro-batches
all have the same shape, so that what is compiled stays compiled: the last one is filled up with
rows of nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from train.data.batches import IGNORED, Batch, StreamRows
from train.data.packing import PackingReport
from train.objectives.policy import FIELDS, OLD

TOKENS_AT_ONCE = {"cpu": 1 << 11, "cuda": 1 << 15}
"""Positions of a micro-batch."""


@dataclass(frozen=True)
class Piece:
    """A prompt with an answer."""

    prompt: Sequence[int]
    answer: Tensor
    """(tokens,)."""
    facts: Tensor
    """(tokens, fields), of each token of the answer."""

    @property
    def length(self) -> int:
        """Positions that it takes in a row: the last token is only a label."""
        return len(self.prompt) + len(self.answer) - 1


@dataclass
class MicroBatches:
    """The micro-batches of some steps; they lie in checkpoints."""

    input_ids: Tensor
    """(micro-batches, rows, max_length)."""
    labels: Tensor
    """As input_ids."""
    document_ids: Tensor
    """As input_ids."""
    per_token: Tensor
    """(micro-batches, rows, max_length, fields) float32."""
    counts: Tensor
    """(steps,) micro-batches of each step."""

    def of(self, step: int, is_first: bool, rank: int, size: int) -> list[Batch]:
        """What a process trains in a step: every size-th micro-batch; all processes as many.

        Args:
            step: counted from the beginning of these.
            is_first: the weights are those that gave OLD, which spares a first pass.
            rank: the process's number.
            size: how many there are.
        """
        begin, count = int(self.counts[:step].sum()), int(self.counts[step])
        found = []
        for number in range(rank, -(-count // size) * size, size):
            batch = self.at(begin + min(number, count - 1))
            if number >= count:
                batch.labels.fill_(IGNORED)
            if is_first:
                assert batch.per_token is not None
                batch = Batch(
                    batch.input_ids,
                    batch.labels,
                    batch.document_ids,
                    per_token=batch.per_token,
                    log_probs=batch.per_token[..., OLD],
                )
            found.append(batch)
        return found

    def at(self, number: int) -> Batch:
        """A copy of a micro-batch."""
        parts = (self.input_ids, self.labels, self.document_ids, self.per_token)
        ids, labels, documents, facts = (part[number].clone() for part in parts)
        return Batch(ids, labels, documents, per_token=facts)

    def tensors(self) -> dict[str, Tensor]:
        """All of it, by name."""
        return dict(vars(self))

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> MicroBatches:
        """The reverse of `tensors`."""
        return cls(**tensors)


def packed(
    steps: Sequence[Sequence[Piece]], max_length: int, rows: int, fields: int = len(FIELDS)
) -> MicroBatches:
    """The pieces of each step in micro-batches of so many rows; a step without pieces is one of
    nothing."""
    made = [
        [placed(part, max_length, rows, fields) for part in chunks(step, max_length, rows)]
        for step in steps
    ]
    flat = [batch for batches in made for batch in batches]
    parts = [torch.stack(part) for part in zip(*flat, strict=True)]
    ids, labels, documents, facts = parts
    return MicroBatches(
        ids, labels, documents, facts, torch.tensor([len(batches) for batches in made])
    )


def chunks(pieces: Sequence[Piece], max_length: int, rows: int) -> list[list[list[Piece]]]:
    """Pieces in rows, and these in micro-batches: first fit, the longest first."""
    filled: list[list[Piece]] = []
    room: list[int] = []
    for piece in sorted(pieces, key=lambda piece: -piece.length):
        place = next((n for n, left in enumerate(room) if left >= piece.length), len(room))
        if place == len(room):
            filled.append([])
            room.append(max_length)
        filled[place].append(piece)
        room[place] -= piece.length
    return [filled[first : first + rows] for first in range(0, len(filled), rows)] or [[]]


def placed(
    filled: Sequence[Sequence[Piece]], max_length: int, rows: int, fields: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A micro-batch: inputs, labels, document numbers and facts of each position."""
    inputs = torch.zeros(rows, max_length, dtype=torch.int64)
    labels = torch.full_like(inputs, IGNORED)
    documents = torch.zeros_like(inputs)
    facts = torch.zeros(rows, max_length, fields)
    for row, pieces in enumerate(filled):
        at = 0
        for number, piece in enumerate(pieces):
            end = at + piece.length
            ids = torch.cat([torch.tensor(piece.prompt), piece.answer])
            inputs[row, at:end], documents[row, at:] = ids[:-1], number
            first = end - len(piece.answer)  # the prompt's last position predicts the first token
            labels[row, first:end], facts[row, first:end] = piece.answer, piece.facts
            documents[row, end:] = number + 1
            at = end
    return inputs, labels, documents, facts


def no_rows(max_length: int) -> tuple[StreamRows, PackingReport]:
    """What a stage has for rows when all of them come from rollouts."""
    return StreamRows(max_length, 0, False, np.zeros(0, np.int64), 0), PackingReport(0, 0, 1, 0)
