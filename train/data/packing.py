"""Rows of equal length out of documents of any length.

Pretraining lays the documents end to end, <|endoftext|> between them, and cuts the stream into
rows: no padding. Fine-tuning puts whole conversations into rows, best fit first, and pads what
little is left. A row has max_length + 1 tokens: all but the last are inputs, all but the first are
labels. Rows are put together when they are asked for; only where their pieces begin is in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from config import UserError
from train.data.batches import PackedRows, StreamRows
from train.data.documents import Documents


@dataclass(frozen=True)
class PackingReport:
    """What became of the documents' tokens."""

    documents: int
    rows: int
    positions: int
    """Tokens that the rows have room for."""
    dropped_tokens: int
    """Tokens of cut and dropped documents, and of the stream's last, unfilled row."""
    padding: int = 0
    """Positions at the ends of rows that nothing fills."""
    cut_documents: int = 0
    """Conversations that were longer than a row and lost their end."""
    dropped_documents: int = 0
    """Conversations whose first trained answer lies beyond a row, or that have none; pairs that are
    longer than a row."""
    what: str = "documents"

    @property
    def share_used(self) -> float:
        """Positions that hold a document's token or the border after a document."""
        return 1 - self.padding / self.positions

    def sentence(self) -> str:
        """The report in one line."""
        used = f"{int(self.share_used * 1000) / 10:.1f}% of their positions used"  # rounded down
        parts = [f"{self.documents:,} {self.what} in {self.rows:,} rows, {used}"]
        if self.cut_documents:
            parts.append(f"{self.cut_documents:,} documents cut to a row")
        if self.dropped_documents:
            why = "no trained answer in a row" if self.what == "documents" else "longer than a row"
            parts.append(f"{self.dropped_documents:,} {self.what} dropped: {why}")
        if self.dropped_tokens:
            parts.append(f"{self.dropped_tokens:,} tokens left out")
        return ", ".join(parts)


def concatenate(
    documents: Documents, max_length: int, border: int, cross_documents: bool = True
) -> tuple[StreamRows, PackingReport]:
    """Lays documents end to end, a border token before each and after the last, and cuts rows.

    Raises:
        UserError: all documents together do not fill one row.
    """
    total = len(documents.tokens)
    count = (total - 1) // max_length
    if count < 1:
        raise UserError(
            f"the training data has {total} tokens, less than one row of {max_length + 1}: add "
            "data or lower --max_length"
        )
    mix = documents.mix
    if mix:
        # Row r has the labels from r * max_length + 1 on; one that two files share is the first's.
        firsts = [documents.table["begin"][end] for end in mix.ends[:-1]]
        ends = [min(count, -(-(int(first) - 1) // max_length)) for first in firsts]
        mix = mix.within([*ends, count])
    rows = StreamRows(max_length, border, cross_documents, documents.tokens, count, mix=mix)
    left_out = total - 1 - count * max_length  # the first token is no label
    return rows, PackingReport(len(documents), count, count * (max_length + 1), left_out)


def pack(
    documents: Documents,
    max_length: int,
    border: int,
    cross_documents: bool = False,
    pairs: bool = False,
) -> tuple[PackedRows, PackingReport]:
    """Packs whole conversations into rows of max_length + 1 tokens, each followed by a border token
    where there is room; best fit, longest first.

    A conversation longer than a row keeps its beginning. One whose kept part has no trained token
    is dropped. Pairs of answers are never cut: one longer than a row is dropped.

    Raises:
        UserError: no conversation has an answer, or no pair, that fits in a row.
    """
    kept = trainable(documents, max_length, whole=pairs)
    if pairs and not len(kept):
        raise UserError(
            f"no pair of answers fits in a row of {max_length} tokens (the shortest has "
            f"{documents.table['length'].min():,}): raise --max_length"
        )
    if not len(kept):
        raise UserError(
            f"no trained answer of the training data begins within the first {max_length} tokens "
            "of its conversation: raise --max_length, or see to the weights of its turns"
        )
    rows = packed_rows(documents, kept, max_length, border, cross_documents)
    lengths = documents.table["length"]
    positions = len(rows) * (max_length + 1)
    used = int(rows.lengths.sum())
    # A border follows every piece, but the last one of a row only where there is room for it.
    borders = int((rows.room_left() > 0).sum()) + len(kept) - len(rows)
    report = PackingReport(
        documents=len(documents),
        rows=len(rows),
        positions=positions,
        padding=positions - used - borders,
        cut_documents=int((lengths[kept] > max_length + 1).sum()),
        dropped_documents=len(documents) - len(kept),
        dropped_tokens=int(lengths.sum(dtype=np.int64)) - used,
        what="pairs" if pairs else "documents",
    )
    return rows, report


def trainable(documents: Documents, max_length: int, whole: bool = False) -> NDArray[np.int64]:
    """The numbers of the conversations with a trained token in their first max_length + 1; or of
    those that fit there as a whole."""
    table = documents.table
    within = (table["length"] if whole else table["first_trained"] + 1) <= max_length + 1
    return np.flatnonzero(within & (table["num_trained"] > 0))


def packed_rows(
    documents: Documents,
    kept: NDArray[np.int64],
    max_length: int,
    border: int,
    cross_documents: bool,
    untrained: Sequence[int] = (),
) -> PackedRows:
    """Rows of the beginnings of conversations, best fit.

    Args:
        documents: the conversations.
        kept: the numbers of those to pack.
        max_length: tokens in a row, less one.
        border: the token between conversations.
        cross_documents: attention may look back across borders.
        untrained: tokens that are no labels, whatever the mask says.
    """
    assert documents.mask is not None  # conversations always have one
    lengths = np.minimum(documents.table["length"][kept], max_length + 1).astype(np.int64)
    mix, row_of = documents.mix, np.zeros(0, np.int64)
    # Where files are mixed, each has rows of its own.
    groups = np.searchsorted(kept, mix.ends[:-1] if mix else ())
    ends: list[int] = []
    for some in np.split(lengths, groups):
        first = ends[-1] if ends else 0
        row_of = np.concatenate([row_of, first + best_fit(some, max_length + 1)])
        ends.append(int(row_of.max(initial=first - 1)) + 1)
    order = np.argsort(row_of, kind="stable")  # the pieces of a row stand together
    return PackedRows(
        max_length,
        border,
        cross_documents,
        documents.tokens,
        documents.mask,
        begins=documents.table["begin"][kept][order],
        lengths=lengths[order],
        first_pieces=np.concatenate([[0], np.cumsum(np.bincount(row_of))]),
        numbers=kept[order],
        untrained=untrained,
        mix=mix and mix.within(ends),
    )


def best_fit(lengths: NDArray[Any], width: int) -> NDArray[np.int64]:
    """Distributes pieces over rows of a width, each piece to the fullest row that still has room
    for it, and takes room for a border after it.

    Longest pieces first; equal ones in the given order. Rows are found by their free positions, so
    the time is about the same for each piece.

    Args:
        lengths: (pieces,) each at most `width`.
        width: positions in a row.

    Returns:
        (pieces,) the number of the row of each.
    """
    row_of = np.empty(len(lengths), dtype=np.int64)
    rows_by_room: list[list[int]] = [[] for _ in range(width + 1)]
    filled = 0  # bit n is set where rows_by_room[n] is not empty
    count = 0
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    for piece, length in zip(order.tolist(), lengths[order].tolist(), strict=True):
        roomy = filled >> length  # bit n is set where a row would have n positions left
        if roomy:
            # x & -x is the lowest set bit of x: the fullest of the rows with enough room.
            room = length + (roomy & -roomy).bit_length() - 1
            row = rows_by_room[room].pop()
            if not rows_by_room[room]:
                filled ^= 1 << room
        else:
            room, row, count = width, count, count + 1
        row_of[piece] = row
        left = max(0, room - length - 1)
        rows_by_room[left].append(row)
        filled |= 1 << left
    return row_of
