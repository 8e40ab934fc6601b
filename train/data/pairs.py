"""Rows of pairs of answers, and what is known of each answer.

A pair is one piece of a row: a border stands between its two documents, so attention stays in each,
and documents 2n and 2n + 1 of a row are its pair n.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from train.data.batches import IGNORED, Batch, ChosenRows, PackedRows

REFERENCE, WANTED = range(2)
"""The fields of `Batch.sequences`: the log-probability of an answer under the reference (NaN where
it is not known), and 1, or 0 for an answer that is labelled as bad."""


class PairRows(ChosenRows):
    """Rows of pairs."""

    def __init__(
        self, packed: PackedRows, wanted: NDArray[np.bool_], reference: NDArray[np.float32]
    ) -> None:
        """The pieces of `packed` are pairs; wanted is (pieces,), reference (pieces, 2)."""
        super().__init__(packed, range(len(packed)))
        self.packed = packed
        labels = np.repeat(wanted[:, None], 2, axis=1)  # (pieces, 2)
        self.facts = np.stack([reference, labels], axis=2).astype(np.float32)  # (pieces, 2, fields)

    def batch(self, rows: Sequence[int]) -> Batch:
        """The named rows, with what is known of their answers."""
        starts = self.packed.first_pieces
        facts = [self.facts[starts[n] : starts[n + 1]].reshape(-1, 2) for n in rows]
        sequences = torch.zeros(len(rows), max(map(len, facts)), 2)
        for row, known in enumerate(facts):
            sequences[row, : len(known)] = torch.from_numpy(known)
        return dataclasses.replace(super().batch(rows), sequences=sequences)


class FirstAnswers(PairRows):
    """The same rows, of whose pairs only the first answer is trained or measured."""

    def batch(self, rows: Sequence[int]) -> Batch:
        """See TokenRows."""
        batch = super().batch(rows)
        assert batch.document_ids is not None
        second = batch.document_ids % 2 == 1
        return Batch(batch.input_ids, batch.labels.masked_fill(second, IGNORED), batch.document_ids)


def sums_of(values: Tensor, batch: Batch) -> Tensor:
    """Sums over the trained tokens of each document.

    Args:
        values: (rows, max_length), one each token.
        batch: with `sequences`.

    Returns:
        (rows, documents).
    """
    assert batch.document_ids is not None
    assert batch.sequences is not None
    trained = batch.labels != IGNORED
    # Documents beyond the last one are the row's padding, where nothing is trained.
    places = torch.where(trained, batch.document_ids, 0)
    empty = torch.zeros(batch.sequences.shape[:2], dtype=values.dtype, device=values.device)
    return empty.scatter_add(1, places, torch.where(trained, values, 0.0))
