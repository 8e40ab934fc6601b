"""The next step's batches come from a thread, and are the same."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from config import PretrainConfig
from train.data.batches import Batch, Prefetch, RowOrder, TokenRows, step_batches
from train.distributed import World


class CountingRows(TokenRows):
    """250 rows of other tokens each."""

    def __len__(self) -> int:
        return 250

    def row(self, number: int) -> tuple[NDArray[Any], NDArray[Any]]:
        tokens = np.arange(4 * number, 4 * number + 5)
        return tokens, np.ones_like(tokens)


def ids(batches: list[Batch]) -> list[list[int]]:
    return [row for batch in batches for row in batch.input_ids.tolist()]


def test_processes_and_micro_batches_cut_the_same_rows() -> None:
    rows = CountingRows(4, border=0, cross_documents=True, untrained=())
    order = RowOrder(len(rows), 8, seed=3)
    whole = ids(step_batches(rows, order, PretrainConfig(batch_size=8), World(), 5))
    config = PretrainConfig(batch_size=8, gradient_accumulation_steps=2)
    for size in (1, 2, 4):
        worlds = [World(rank=rank, size=size) for rank in range(size)]
        parts = [step_batches(rows, order, config, world, 5) for world in worlds]
        assert all(len(part) == 2 for part in parts)
        assert [row for part in parts for row in ids(part)] == whole


def test_steps_come_in_any_order_and_the_next_one_is_loaded_ahead() -> None:
    loaded: list[tuple[int, bool]] = []

    def load(step: int) -> list[Batch]:
        loaded.append((step, threading.current_thread() is threading.main_thread()))
        return [Batch(torch.full((1, 1), step), torch.zeros(1, 1))]

    prefetch = Prefetch(load, RowOrder(10, 1, 1))
    for step in (4, 5, 9):
        assert ids(prefetch(step)) == [[step]]
    prefetch.close()
    assert {(4, True), (5, False), (9, True)} <= set(loaded)
    assert (5, True) not in loaded
