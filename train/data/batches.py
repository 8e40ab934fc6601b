"""Rows read from disk, batches of them, and their order: batch t is a pure function of (seed, t).

Rows are numbered without end: epoch e is the e-th seeded permutation of all rows (or a mix of
files, see mixing.py), and step t takes the rows at [t * batch_size, (t + 1) * batch_size). There is
no state to save, and the order does not depend on micro-batches, processes or prefetching.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from config import TrainConfig
from train.data.documents import StoredArray
from train.data.mixing import Mix
from train.distributed import World
from train.measures.scores import Score

IGNORED = -100
"""The label of a token that is not trained (torch's ignore_index)."""


TRAINED, BORDER = 1, 2
"""In the mask of a row: a token that is trained, and one that ends a document."""


class SoftTargets(NamedTuple):
    """A distribution over the next token, as far as its k likeliest tokens; all other tokens
    together are one class, its tail."""

    ids: Tensor
    """(rows, max_length, k) int64, all different at a trained position."""
    log_probs: Tensor
    """(rows, max_length, k + 1) float32, that of the tail last."""


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
    weights: Tensor | None = None
    """(rows, max_length) float32, a factor of each token's loss, without gradient; None: ones."""
    soft_targets: SoftTargets | None = None
    """What a teacher predicts where labels are not IGNORED; None: nothing."""
    sequences: Tensor | None = None
    """(rows, documents, fields) float32, what an objective must know of each document of a row;
    None: nothing."""
    step_sums: Tensor | None = None
    """What `Objective.step_sums` found, summed over the whole step."""
    per_token: Tensor | None = None
    """(rows, max_length, fields) float32, what an objective must know of each label; None:
    nothing."""
    log_probs: Tensor | None = None
    """(rows, max_length) float32, what the first pass of an objective would give, where that is
    known already; None: it is not."""

    @property
    def inputs(self) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None, SoftTargets | None]:
        """What the loss module is called with."""
        return self.input_ids, self.labels, self.document_ids, self.weights, self.soft_targets

    def to(self, device: torch.device) -> Batch:
        """The batch on a device. To a GPU the copy runs beside what the GPU is doing."""

        def there(part: Any) -> Any:
            if part is None:
                return None
            if isinstance(part, SoftTargets):
                return SoftTargets(*(moved(tensor, device) for tensor in part))
            return moved(part, device)

        return Batch(**{name: there(part) for name, part in vars(self).items()})


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on a device; only from pinned memory can a copy to a GPU run in the background."""
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


@dataclass(eq=False)
class TokenRows(ABC):
    """Rows of max_length + 1 tokens, by number."""

    max_length: int
    border: int
    """Ends a document; attention does not look back across it, unless documents may be crossed."""
    cross_documents: bool
    untrained: Sequence[int] = field(default=(), kw_only=True)
    """Tokens that are never labels."""
    mix: Mix | None = field(default=None, kw_only=True)
    """Where the rows of each file end, and how these are mixed; None: they are not."""

    @property
    def epoch_rows(self) -> int:
        """Rows of an epoch: all, unless files are mixed."""
        return self.mix.epoch_rows if self.mix else len(self)

    @abstractmethod
    def __len__(self) -> int:
        """Number of rows."""

    @abstractmethod
    def row(self, number: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """(max_length + 1,) tokens of a row, and its mask: TRAINED, BORDER, or 0."""

    def batch(self, rows: Sequence[int]) -> Batch:
        """The named rows."""
        read = [self.row(row) for row in rows]
        tokens = torch.from_numpy(np.stack([tokens for tokens, _ in read]).astype(np.int64))
        marks = np.stack([mask for _, mask in read])
        mask = marks == TRAINED
        if self.untrained:
            mask &= ~np.isin(tokens.numpy(), self.untrained)
        labels = tokens[:, 1:].clone()
        labels[torch.from_numpy(~mask[:, 1:])] = IGNORED
        inputs = tokens[:, :-1]
        if self.cross_documents:
            return Batch(inputs, labels)
        borders = self.borders(inputs, torch.from_numpy(marks[:, :-1]))
        return Batch(inputs, labels, document_ids=borders.cumsum(dim=1))

    def borders(self, inputs: Tensor, marks: Tensor) -> Tensor:
        """(rows, max_length) whether a position ends a document, by its token or its mark."""
        return inputs == self.border


@dataclass(eq=False)
class StreamRows(TokenRows):
    """Rows cut from a stream: each begins with the last token of the one before, so that every
    token is a label once."""

    tokens: StoredArray | NDArray[Any]
    count: int
    """Number of rows; a last one that the stream does not fill is padded."""

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


@dataclass(eq=False)
class PackedRows(TokenRows):
    """Rows of several pieces of a stream, a border after each, padded at the end."""

    tokens: StoredArray | NDArray[Any]
    mask: StoredArray | NDArray[Any]
    begins: NDArray[np.int64]
    """(pieces,) where each begins in the stream."""
    lengths: NDArray[np.int64]
    """(pieces,)."""
    first_pieces: NDArray[np.int64]
    """(rows + 1,) row r holds the pieces from first_pieces[r] to first_pieces[r + 1]."""
    numbers: NDArray[np.int64]
    """(pieces,) the number of each among the documents."""

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.first_pieces) - 1

    def row(self, number: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """See TokenRows."""
        tokens = np.full(self.max_length + 1, self.border, dtype=np.int64)
        mask = np.full(self.max_length + 1, BORDER, dtype=np.uint8)
        position = 0
        for piece in range(self.first_pieces[number], self.first_pieces[number + 1]):
            begin, length = int(self.begins[piece]), int(self.lengths[piece])
            tokens[position : position + length] = self.tokens[begin : begin + length]
            mask[position : position + length] = self.mask[begin : begin + length]
            position += length + 1
        return tokens, mask

    def borders(self, inputs: Tensor, marks: Tensor) -> Tensor:
        """See TokenRows. By the mark: a chat template may use the token inside a conversation."""
        return marks == BORDER

    def room_left(self) -> NDArray[np.int64]:
        """(rows,) positions after a row's last piece, its border included."""
        sums = np.add.reduceat(self.lengths + 1, self.first_pieces[:-1])
        return self.max_length + 1 - (sums - 1)


class ChosenRows(TokenRows):
    """Some of other rows."""

    def __init__(self, rows: TokenRows, chosen: Sequence[int]) -> None:
        """Row n is the row chosen[n] of the others."""
        super().__init__(
            rows.max_length, rows.border, rows.cross_documents, untrained=rows.untrained
        )
        self.rows, self.chosen = rows, chosen
        self.mix = rows.mix if len(chosen) == len(rows) else None

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.chosen)

    def row(self, number: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """See TokenRows."""
        return self.rows.row(self.chosen[number])

    def borders(self, inputs: Tensor, marks: Tensor) -> Tensor:
        """See TokenRows."""
        return self.rows.borders(inputs, marks)


class RowOrder:
    """Which rows each step trains on."""

    def __init__(self, num_rows: int, batch_size: int, seed: int, mix: Mix | None = None) -> None:
        """mix: of the files that the rows come from; None: every epoch holds all rows."""
        self.num_rows, self.batch_size, self.seed, self.mix = num_rows, batch_size, seed, mix
        self.epoch_rows = mix.epoch_rows if mix else num_rows
        self.epoch = -1
        self.permutation = np.empty(0, dtype=np.int64)

    def rows_of(self, step: int) -> list[int]:
        """The rows of a step (from 0), batch_size of them."""
        first = step * self.batch_size
        return [self.row_at(position) for position in range(first, first + self.batch_size)]

    def row_at(self, position: int) -> int:
        """The row at a position of the endless sequence."""
        epoch, index = divmod(position, self.epoch_rows)
        if epoch != self.epoch:
            self.permutation = self.rows_of_epoch(epoch)
            self.epoch = epoch
        return int(self.permutation[index])

    def rows_of_epoch(self, epoch: int) -> NDArray[np.int64]:
        """(epoch_rows,) its rows in their order."""
        if self.mix:
            return self.mix.rows_of(self.seed, epoch)
        generator = np.random.Generator(np.random.PCG64([self.seed, epoch]))
        return generator.permutation(self.num_rows)


def total_steps(epoch_rows: int, config: TrainConfig) -> int:
    """Steps of a run: enough for num_train_epochs of so many rows, or max_steps."""
    if config.max_steps is not None:
        return config.max_steps
    return max(1, math.ceil(epoch_rows * config.num_train_epochs / config.batch_size))


def step_batches(
    rows: TokenRows, order: RowOrder, config: TrainConfig, world: World, step: int
) -> list[Batch]:
    """The micro-batches of a step (from 0) that this process trains on: its slice of the step's
    rows, cut into gradient_accumulation_steps parts."""
    chosen = order.rows_of(step)
    share = len(chosen) // world.size
    chosen = chosen[world.rank * share : (world.rank + 1) * share]
    count = share // config.gradient_accumulation_steps
    return [rows.batch(chosen[first : first + count]) for first in range(0, share, count)]


class BatchSource(ABC):
    """The micro-batches of a run, step by step."""

    @abstractmethod
    def __call__(self, step: int) -> list[Batch]:
        """Those of a step (from 0); none when a signal came before they were made."""

    @abstractmethod
    def rows_of(self, step: int) -> list[int]:
        """The numbers of the rows, or prompts, that a step comes from."""

    def facts(self) -> Mapping[str, float]:
        """What is logged with the step whose batches came last."""
        return {}

    def measure(self) -> tuple[dict[str, float], list[dict[str, str]]] | None:
        """What it measures on held-out data, and samples; None: a signal came."""
        return {}, []

    def scores(self) -> list[Score]:
        """What each held-out record gave at the last `measure`."""
        return []

    def state(self, step: int) -> dict[str, Tensor]:
        """What a checkpoint before a step must hold of it, keyed like rollout.0.labels."""
        return {}

    def restore(self, tensors: Mapping[str, Tensor], step: int) -> None:  # noqa: B027  # optional
        """The reverse of `state`; the tensors are all those of a checkpoint."""

    def close(self) -> None:  # noqa: B027  # optional
        """Ends its work."""


class Prefetch(BatchSource):
    """Loads step t + 1 in a thread while step t runs. A step is a function of its number alone, so
    there is no state to keep."""

    def __init__(self, load: Callable[[int], list[Batch]], order: RowOrder) -> None:
        self.load, self.order = load, order
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
        self.ahead: tuple[int, Future[list[Batch]]] | None = None

    def __call__(self, step: int) -> list[Batch]:
        """See BatchSource."""
        if self.ahead and self.ahead[0] == step:
            batches = self.ahead[1].result()
        else:
            batches = self.load(step)
        self.ahead = (step + 1, self.thread.submit(self.load, step + 1))
        return batches

    def rows_of(self, step: int) -> list[int]:
        """See BatchSource."""
        return self.order.rows_of(step)

    def close(self) -> None:
        """Ends the thread."""
        self.thread.shutdown(cancel_futures=True)
