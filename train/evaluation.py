"""Bits per byte on the validation records.

The loss in bits over the number of UTF-8 bytes it pays for. It does not depend on the tokenizer, so
runs with different vocabularies can be compared. Control tokens count neither as bits nor as bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from model.tokenizer import EtudeTokenizer
from model.transformer import Etude
from train.objective import summed_loss
from train.packing import TokenRows, with_borders
from train.token_shards import Documents


@dataclass(frozen=True)
class ValidationGroup:
    """The validation documents of one script (han, latin, other)."""

    rows: TokenRows
    num_bytes: int
    """UTF-8 bytes of the trained text in the rows."""


def validation_groups(
    documents: Documents, max_length: int, tokenizer: EtudeTokenizer, cross_documents: bool
) -> dict[str, ValidationGroup]:
    """Packs validation documents by script. Every token of a text counts once; conversations count
    their answers."""
    groups = {}
    for script in sorted(set(documents.scripts)):
        chosen = [n for n, s in enumerate(documents.scripts) if s == script]
        num_bytes = int(documents.num_bytes[chosen].sum())
        if num_bytes:
            groups[script] = ValidationGroup(
                stream_rows(documents, chosen, max_length, tokenizer, cross_documents), num_bytes
            )
    return groups


def stream_rows(
    documents: Documents,
    chosen: list[int],
    max_length: int,
    tokenizer: EtudeTokenizer,
    cross_documents: bool,
) -> TokenRows:
    """The chosen documents end to end, cut into rows; the last row is padded."""
    border = tokenizer.end_of_text_id
    tokens = with_borders(documents.tokens, documents.offsets, chosen, border)
    if documents.mask is None:
        mask = np.ones(len(tokens), dtype=np.uint8)
    else:
        mask = with_borders(documents.mask, documents.offsets, chosen, 0)
    mask[np.isin(tokens, (border, tokenizer.im_start_id, tokenizer.im_end_id))] = 0
    padding = -(len(tokens) - 1) % max_length
    return TokenRows(
        np.concatenate([tokens, np.full(padding, border, tokens.dtype)]),
        np.concatenate([mask, np.zeros(padding, np.uint8)]),
        max_length,
        stride=max_length,
        border=None if cross_documents else border,
    )


@torch.no_grad()
def bits_per_byte(
    model: Etude, groups: Mapping[str, ValidationGroup], rows_at_once: int = 16
) -> dict[str, float]:
    """Bits per byte over all validation records ("all") and of each script."""
    device = next(model.parameters()).device
    nats = {}
    for script, group in groups.items():
        total = 0.0
        for first in range(0, len(group.rows), rows_at_once):
            chosen = range(first, min(first + rows_at_once, len(group.rows)))
            batch = group.rows.batch(chosen).to(device)
            loss = summed_loss(model, batch.input_ids, batch.labels, batch.document_ids)
            total += loss.item()
        nats[script] = total
    num_bytes = sum(group.num_bytes for group in groups.values())
    result = {"all": sum(nats.values()) / math.log(2) / num_bytes}
    for script, group in groups.items():
        result[script] = nats[script] / math.log(2) / group.num_bytes
    return result
