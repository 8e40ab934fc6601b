"""Rows of equal length out of documents of any length.

Pretraining lays the documents end to end, <|endoftext|> between them, and cuts the stream into
rows: no padding. Fine-tuning puts whole conversations into rows, best fit first, and pads what
little is left. A row has max_length + 1 tokens: all but the last are inputs, all but the first are
labels.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from config import UserError
from train.token_shards import Documents

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
        """The batch on a device."""
        ids = None if self.document_ids is None else self.document_ids.to(device)
        return Batch(self.input_ids.to(device), self.labels.to(device), ids)


class TokenRows:
    """Rows cut from one long array of tokens."""

    def __init__(
        self,
        tokens: NDArray[Any],
        mask: NDArray[np.uint8] | None,
        max_length: int,
        stride: int,
        border: int | None = None,
    ) -> None:
        """Row i begins at i * stride and has max_length + 1 tokens.

        With a border token, each one ends a document that attention does not look back into.
        """
        self.tokens, self.mask, self.border = tokens, mask, border
        self.max_length, self.stride = max_length, stride
        self.count = (len(tokens) - (max_length + 1 - stride)) // stride

    def __len__(self) -> int:
        """Number of rows."""
        return self.count

    def batch(self, rows: Sequence[int]) -> Batch:
        """The named rows."""
        spans = [slice(r * self.stride, r * self.stride + self.max_length + 1) for r in rows]
        tokens = torch.from_numpy(np.stack([self.tokens[s] for s in spans]).astype(np.int64))
        labels = tokens[:, 1:].clone()
        if self.mask is not None:
            mask = torch.from_numpy(np.stack([self.mask[s] for s in spans]))
            labels[mask[:, 1:] == 0] = IGNORED
        inputs = tokens[:, :-1]
        if self.border is None:
            return Batch(inputs, labels)
        return Batch(inputs, labels, document_ids=(inputs == self.border).cumsum(dim=1))


@dataclass(frozen=True)
class PackingReport:
    """What became of the documents' tokens."""

    documents: int
    rows: int
    trained_tokens: int
    """Labels that are trained in one pass over the rows."""
    padding: int
    """Positions that hold no token."""
    cut_documents: int
    """Conversations that were longer than a row and lost their end."""
    dropped_documents: int
    """Conversations whose first answer lies beyond a row: not trained at all."""
    dropped_tokens: int
    """Tokens of cut and dropped documents, and of the stream's last, unfilled row."""

    def sentence(self) -> str:
        """The report in one line."""
        parts = [f"{self.documents:,} documents in {self.rows:,} rows"]
        if self.padding:
            parts.append(f"{self.padding:,} positions padded")
        if self.cut_documents:
            parts.append(f"{self.cut_documents:,} documents cut to a row")
        if self.dropped_documents:
            parts.append(f"{self.dropped_documents:,} documents dropped: no answer fits in a row")
        if self.dropped_tokens:
            parts.append(f"{self.dropped_tokens:,} tokens left out")
        return ", ".join(parts)


def concatenate(
    documents: Documents, max_length: int, border: int, cross_documents: bool = True
) -> tuple[TokenRows, PackingReport]:
    """Lays documents end to end, a border token before each and after the last, and cuts rows.

    Raises:
        UserError: all documents together do not fill one row.
    """
    stream = with_borders(documents.tokens, documents.offsets, range(len(documents)), border)
    seen = None if cross_documents else border
    rows = TokenRows(stream, None, max_length, max_length, seen)
    if len(rows) < 1:
        raise UserError(
            f"the training data has {len(stream)} tokens, fewer than one row of {max_length + 1}: "
            "add text or lower --max_length"
        )
    trained = len(rows) * max_length
    left_out = len(stream) - 1 - trained
    return rows, PackingReport(len(documents), len(rows), trained, 0, 0, 0, left_out)


def with_borders(
    values: NDArray[Any], offsets: NDArray[np.int64], chosen: Sequence[int], border: int
) -> NDArray[Any]:
    """The chosen documents' values (tokens or mask) in one array, a border before each and after
    the last."""
    lengths = [int(offsets[d + 1] - offsets[d]) for d in chosen]
    stream = np.full(sum(lengths) + len(lengths) + 1, border, dtype=values.dtype)
    position = 1
    for document, length in zip(chosen, lengths, strict=True):
        begin = offsets[document]
        stream[position : position + length] = values[begin : begin + length]
        position += length + 1
    return stream


def pack(
    documents: Documents, max_length: int, border: int, cross_documents: bool = False
) -> tuple[TokenRows, PackingReport]:
    """Packs whole conversations into rows of max_length + 1 tokens, each followed by a border token
    where there is room; best fit, longest first.

    A conversation longer than a row keeps its beginning. One whose kept part has no trained token
    is dropped.

    Raises:
        UserError: no conversation has an answer that fits in a row.
    """
    assert documents.mask is not None  # conversations always have one
    width = max_length + 1
    pieces, cut, dropped, lost = fit_documents(documents, width)
    if not pieces:
        raise UserError(
            f"no answer of the training data begins within the first {max_length} tokens of its "
            "conversation: raise --max_length"
        )
    rows = best_fit([length for _, length in pieces], width)
    tokens = np.full(len(rows) * width, border, dtype=documents.tokens.dtype)
    mask = np.zeros(len(rows) * width, dtype=np.uint8)
    used = 0
    for number, row in enumerate(rows):
        position = number * width
        for piece in row:
            document, length = pieces[piece]
            begin = documents.offsets[document]
            tokens[position : position + length] = documents.tokens[begin : begin + length]
            mask[position : position + length] = documents.mask[begin : begin + length]
            position += length + 1
            used += length
    trained = int(mask.reshape(-1, width)[:, 1:].sum())
    padding = len(rows) * width - used
    report = PackingReport(len(documents), len(rows), trained, padding, cut, dropped, lost)
    return TokenRows(tokens, mask, max_length, width, None if cross_documents else border), report


def fit_documents(documents: Documents, width: int) -> tuple[list[tuple[int, int]], int, int, int]:
    """The documents that can be trained, as (number, tokens kept), and how many were cut, dropped,
    and tokens lost."""
    assert documents.mask is not None
    pieces: list[tuple[int, int]] = []
    cut = dropped = lost = 0
    for number in range(len(documents)):
        begin, end = (int(o) for o in documents.offsets[number : number + 2])
        length = min(end - begin, width)
        lost += end - begin - length
        if not documents.mask[begin : begin + length].any():
            dropped += 1
            lost += length
            continue
        cut += length < end - begin
        pieces.append((number, length))
    return pieces, cut, dropped, lost


def best_fit(lengths: Sequence[int], width: int) -> list[list[int]]:
    """Distributes pieces over rows of a width, each piece to the fullest row that still has room
    for it and a border.

    Returns, for each row, the numbers of its pieces. Longest pieces first; equal ones in the given
    order.
    """
    rows: list[list[int]] = []
    room: list[tuple[int, int]] = []  # (free positions, row), ascending
    for piece in sorted(range(len(lengths)), key=lambda p: -lengths[p]):
        at = bisect_left(room, (lengths[piece], -1))
        if at < len(room):
            free, row = room.pop(at)
        else:
            free, row = width, len(rows)
            rows.append([])
        rows[row].append(piece)
        insort(room, (free - lengths[piece] - 1, row))
    return rows
