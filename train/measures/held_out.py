"""What each record of a run's held-out data gives under a model: its bits, and which answer of a
pair it prefers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from model.tokenizer import EtudeTokenizer
from train.data.batches import IGNORED, Batch, TokenRows
from train.data.pairs import PairRows
from train.evaluation import ROWS_AT_ONCE, ValidationGroup, bytes_of
from train.measures.files import BITS
from train.measures.likelihood import Outcome
from train.measures.scores import HELD_OUT_DATA, Score
from train.objective import SummedLoss
from train.objectives.preference import STILL, Preference, answers, existing


@torch.no_grad()
def record_bits(
    loss: SummedLoss, groups: Mapping[str, ValidationGroup], tokenizer: EtudeTokenizer
) -> list[Score]:
    """Bits per byte of each validation record (of a text, of each part in a row), with products in
    float32."""
    device = next(loss.parameters()).device
    sizes = torch.tensor([bytes_of(tokenizer, [n]) for n in range(len(tokenizer))], device=device)
    outcomes = []
    for script, group in groups.items():
        for numbers, batch in batches_of(group.rows, device):
            inputs = batch.input_ids, batch.labels, batch.document_ids
            nats = loss(*inputs, exact=True, per_token=True)
            trained = batch.labels != IGNORED
            length = torch.where(trained, sizes[batch.labels.clamp(min=0)], 0)
            places = documents_of(group.rows, numbers).to(device)
            bits = sums(nats / math.log(2), places)
            found = torch.stack([bits, sums(length, places)], dim=-1).flatten(0, 1)
            outcomes += [Outcome(script, value, size) for value, size in found.tolist() if size]
    return [Score(HELD_OUT_DATA, BITS, "lower", outcomes)] if outcomes else []


def batches_of(rows: TokenRows, device: torch.device) -> Iterator[tuple[range, Batch]]:
    """All rows, some at a time, with their numbers."""
    for first in range(0, len(rows), ROWS_AT_ONCE):
        numbers = range(first, min(first + ROWS_AT_ONCE, len(rows)))
        yield numbers, rows.batch(numbers).to(device)


def documents_of(rows: TokenRows, numbers: Sequence[int]) -> Tensor:
    """(rows, max_length) the number of each label's document in its row, also where attention
    crosses documents."""
    read = [rows.row(number) for number in numbers]
    tokens, marks = (
        torch.from_numpy(np.stack(part).astype(np.int64)) for part in zip(*read, strict=True)
    )
    return rows.borders(tokens[:, :-1], marks[:, :-1]).cumsum(dim=1)


def sums(values: Tensor, places: Tensor) -> Tensor:
    """(rows, documents) float64, the sums of values (rows, max_length) over documents."""
    empty = torch.zeros(len(values), int(places.max()) + 1, dtype=torch.float64)
    return empty.to(values.device).scatter_add(1, places, values.double())


@torch.no_grad()
def pair_scores(
    loss: SummedLoss,
    objective: Preference,
    held_out: Sequence[PairRows],
    tokenizer: EtudeTokenizer,
) -> list[Score]:
    """Which answer of each pair is likelier, a token, and which has the higher reward; a difference
    of less than STILL is a tie, and counts half. In place of what guessing gives, the second has
    the share in which the longer answer is the chosen one."""
    likelier: list[Outcome] = []
    right: list[Outcome] = []
    longer: list[float] = []
    for rows in held_out:
        for numbers, batch in batches_of(rows, next(loss.parameters()).device):
            log_probs = -loss(*batch.inputs, exact=True, per_token=True)
            first, second = answers(batch, log_probs)
            gap = objective.reward(first) - objective.reward(second)
            parts = [
                share(first.average - second.average),
                share(gap / objective.config.strength),
                share(first.tokens - second.tokens),
            ]
            values = torch.stack(parts, dim=-1)  # (rows, pairs, 3)
            for number, row, exists in zip(numbers, values, existing(batch), strict=True):
                for pair, found in enumerate(row[exists].tolist()):
                    asked, *said = pair_texts(rows, number, pair, tokenizer)
                    told = said[found[0] < 0.5]
                    likelier.append(Outcome("", found[0], asked=asked, said=told))
                    right.append(Outcome("", found[1]))
                    longer.append(found[2])
    if not likelier:
        return []
    scores = [Score(HELD_OUT_DATA, "chosen likelier", "higher", likelier)]
    if not objective.by_token:  # else that is its reward
        chance = sum(longer) / len(longer)
        scores.append(Score(HELD_OUT_DATA, "pairs right", "higher", right, chance))
    return scores


def share(difference: Tensor) -> Tensor:
    """1 where a difference is above 0, 0 below, a half near it."""
    return torch.where(difference.abs() < STILL, 0.5, (difference > 0).double())


def pair_texts(
    rows: PairRows, number: int, pair: int, tokenizer: EtudeTokenizer
) -> tuple[str, str, str]:
    """The prompt of a pair of a row, and both answers, as text."""
    batch = rows.batch([number])
    assert batch.document_ids is not None
    texts = []
    for document in (2 * pair, 2 * pair + 1):
        there = batch.document_ids[0] == document
        ids, labels = batch.input_ids[0][there], batch.labels[0][there]
        prompt = ids[: int((labels != IGNORED).int().argmax()) + 1]
        texts.append((prompt, labels[labels != IGNORED]))
    (prompt, first), (_, second) = texts
    asked, *said = (tokenizer.decode(part.tolist()) for part in (prompt, first, second))
    return asked, said[0], said[1]
