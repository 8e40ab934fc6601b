"""The order of the rows: batch t is a pure function of (seed, t).

Rows are numbered on for ever: epoch e is the e-th seeded permutation of all rows, and step t takes
the rows at [t * batch_size, (t + 1) * batch_size). There is no state to save, and the order does
not depend on micro-batches.
"""

from __future__ import annotations

import math

import numpy as np

from config import TrainConfig


class RowOrder:
    """Which rows each step trains on."""

    def __init__(self, num_rows: int, batch_size: int, seed: int) -> None:
        self.num_rows, self.batch_size, self.seed = num_rows, batch_size, seed
        self.epoch = -1
        self.permutation = np.empty(0, dtype=np.int64)

    def rows_of(self, step: int) -> list[int]:
        """The rows of a step (from 0), batch_size of them."""
        first = step * self.batch_size
        return [self.row_at(position) for position in range(first, first + self.batch_size)]

    def row_at(self, position: int) -> int:
        """The row at a position of the endless sequence."""
        epoch, index = divmod(position, self.num_rows)
        if epoch != self.epoch:
            generator = np.random.Generator(np.random.PCG64([self.seed, epoch]))
            self.permutation = generator.permutation(self.num_rows)
            self.epoch = epoch
        return int(self.permutation[index])


def total_steps(num_rows: int, config: TrainConfig) -> int:
    """Steps of a run: enough that every row is seen num_train_epochs times, or max_steps."""
    if config.max_steps is not None:
        return config.max_steps
    return max(1, math.ceil(num_rows * config.num_train_epochs / config.batch_size))
