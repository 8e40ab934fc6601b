"""Rows, read from disk when they are asked for, and batches of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from train.data.stored_array import Sliceable

IGNORED = -100
"""The label of a token that is not trained (torch's ignore_index)."""


@dataclass(frozen=True)
class Batch:
    """Rows on their way to the model."""

    input_ids: Tensor
    """(rows, max_length) int64."""
    labels: Tensor
    """(rows, max_length) int64, the next token or IGNORED."""
    document_ids: Tensor | None = None
    """(rows, max_length) int64, which document of its row a position belongs to; None: attention
    may cross documents."""

    def to(self, device: torch.device) -> Batch:
        """The batch on a device. To a GPU the copy runs beside what the GPU is doing."""
        ids = None if self.document_ids is None else moved(self.document_ids, device)
        return Batch(moved(self.input_ids, device), moved(self.labels, device), ids)


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on a device; only from pinned memory can a copy to a GPU run in the background."""
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


class TokenRows(ABC):
    """Rows of max_length + 1 tokens, by number."""

    def __init__(
        self, max_length: int, border: int, cross_documents: bool, untrained: Sequence[int]
    ) -> None:
        """Unless documents may be crossed, each border token ends one that attention does not look
        back into. Tokens in `untrained` are never labels."""
        self.max_length, self.border = max_length, border
        self.cross_documents, self.untrained = cross_documents, untrained

    @abstractmethod
    def __len__(self) -> int:
        """Number of rows."""

    @abstractmethod
    def row(self, number: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """(max_length + 1,) tokens of a row, and 1 where one is trained."""

    def batch(self, rows: Sequence[int]) -> Batch:
        """The named rows."""
        read = [self.row(row) for row in rows]
        tokens = torch.from_numpy(np.stack([tokens for tokens, _ in read]).astype(np.int64))
        mask = np.stack([mask for _, mask in read]) != 0
        if self.untrained:
            mask &= ~np.isin(tokens.numpy(), self.untrained)
        labels = tokens[:, 1:].clone()
        labels[torch.from_numpy(~mask[:, 1:])] = IGNORED
        inputs = tokens[:, :-1]
        if self.cross_documents:
            return Batch(inputs, labels)
        return Batch(inputs, labels, document_ids=(inputs == self.border).cumsum(dim=1))


class StreamRows(TokenRows):
    """Rows cut from a stream: each begins with the last token of the one before, so that every
    token is a label once."""

    def __init__(
        self,
        tokens: Sliceable,
        max_length: int,
        count: int,
        border: int,
        cross_documents: bool,
        untrained: Sequence[int] = (),
    ) -> None:
        """The first `count` rows; a last one that the stream does not fill is padded."""
        super().__init__(max_length, border, cross_documents, untrained)
        self.tokens, self.count = tokens, count

    def __len__(self) -> int:
        """Number of rows."""
        return self.count

    def row(self, number: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """See TokenRows."""
        begin, width = number * self.max_length, self.max_length + 1
        tokens = self.tokens[begin : begin + width]
        mask = np.ones(width, dtype=np.uint8)
        if len(tokens) < width:
            mask[len(tokens) :] = 0
            tokens = np.pad(tokens, (0, width - len(tokens)), constant_values=self.border)
        return tokens, mask


class PackedRows(TokenRows):
    """Rows of several pieces of a stream, a border after each, padded at the end."""

    def __init__(
        self,
        tokens: Sliceable,
        mask: Sliceable,
        begins: NDArray[np.int64],
        lengths: NDArray[np.int64],
        first_pieces: NDArray[np.int64],
        max_length: int,
        border: int,
        cross_documents: bool,
        untrained: Sequence[int] = (),
    ) -> None:
        """Row r holds the pieces from first_pieces[r] to first_pieces[r + 1]; piece p has
        lengths[p] tokens from begins[p] on."""
        super().__init__(max_length, border, cross_documents, untrained)
        self.tokens, self.mask = tokens, mask
        self.begins, self.lengths, self.first_pieces = begins, lengths, first_pieces

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.first_pieces) - 1

    def row(self, number: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """See TokenRows."""
        tokens = np.full(self.max_length + 1, self.border, dtype=np.int64)
        mask = np.zeros(self.max_length + 1, dtype=np.uint8)
        position = 0
        for piece in range(self.first_pieces[number], self.first_pieces[number + 1]):
            begin, length = int(self.begins[piece]), int(self.lengths[piece])
            tokens[position : position + length] = self.tokens[begin : begin + length]
            mask[position : position + length] = self.mask[begin : begin + length]
            position += length + 1
        return tokens, mask

    def room_left(self) -> NDArray[np.int64]:
        """(rows,) positions after a row's last piece, its border included."""
        sums = np.add.reduceat(self.lengths + 1, self.first_pieces[:-1])
        return self.max_length + 1 - (sums - 1)


class ChosenRows(TokenRows):
    """Some of other rows."""

    def __init__(self, rows: TokenRows, chosen: Sequence[int]) -> None:
        """Row n is the row chosen[n] of the others."""
        super().__init__(rows.max_length, rows.border, rows.cross_documents, rows.untrained)
        self.rows, self.chosen = rows, chosen

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.chosen)

    def row(self, number: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """See TokenRows."""
        return self.rows.row(self.chosen[number])
