"""What a teacher says of the rows of a run: computed once and cached, so that no teacher is in
memory while training.

An entry of the cache is a directory of blocks of rows. A block holds, for the trained positions of
its rows one after another, the ids of the teacher's k likeliest tokens and, in float16, their
log-probabilities and that of all other tokens together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from config import UserError
from data_process.running.step import progress
from model.directory.storage import MANIFEST, DamagedDirectory, new_directory, verify
from train.data.batches import IGNORED, Batch, ChosenRows, SoftTargets, TokenRows
from train.evaluation import ROWS_AT_ONCE
from train.machine import refuse_full_disk
from train.objectives.teacher import Teacher

BLOCK_ROWS = 16 * ROWS_AT_ONCE
"""Rows of a block: no more is lost by an interruption."""
SAMPLED_ROWS = 64
"""Rows whose tokens are part of the name of an entry."""
IDS, LOG_PROBS, FIRSTS = "ids.bin", "log_probs.bin", "firsts.npy"


def taught_rows(rows: TokenRows, data: str, teacher: Teacher, cache_dir: Path) -> TokenRows:
    """Rows with soft targets, from the cache, else computed and put there (not in a dry run).

    Processes share the blocks among them; one is written whole or not at all, and one that is there
    is not computed again.

    Args:
        rows: what the student trains on.
        data: fingerprint of what they are rows of.
        teacher: who is asked.
        cache_dir: where the cache is.
    """
    if teacher.config.dry_run:
        return rows
    found, world = (
        TaughtRows(rows, place_of(rows, data, teacher, cache_dir), teacher),
        teacher.world,
    )
    blocks = range(0, len(rows), BLOCK_ROWS)
    if world.is_main and not found.place.exists():
        size = len(rows) * rows.max_length * found.bytes_per_position
        way = "lower --top_k, or name a --cache_dir on another disk"
        refuse_full_disk(cache_dir, size, "the teacher's probabilities", way)
    with progress(None, "teacher", total=len(blocks)) as bar:
        for first in blocks[world.rank :: world.size]:
            found.prepare(first, teacher)
            bar.update(world.size)
    world.barrier()
    for first in blocks:  # those of other processes are there, unless they keep files elsewhere
        if not (found.block(first) / MANIFEST).is_file():
            found.prepare(first, teacher)
    return found


def place_of(rows: TokenRows, data: str, teacher: Teacher, cache_dir: Path) -> Path:
    """The directory of an entry, named after all that decides what is in it."""
    config = teacher.config
    facts = f"{data} {teacher.sha256} {len(rows)} {rows.max_length} {rows.cross_documents} "
    digest = hashlib.sha256(f"{facts}{config.top_k} {config.temperature}".encode())
    for number in range(0, len(rows), max(1, len(rows) // SAMPLED_ROWS)):
        for part in rows.row(number):
            digest.update(part.astype(np.int64).tobytes())
    return cache_dir / f"teacher-{digest.hexdigest()[:16]}"


class TaughtRows(ChosenRows):
    """Rows with what a teacher says of them."""

    def __init__(self, rows: TokenRows, place: Path, teacher: Teacher) -> None:
        super().__init__(rows, range(len(rows)))
        self.place, self.k = place, teacher.config.top_k
        self.id_dtype = np.dtype(np.uint16 if teacher.vocabulary <= 1 << 16 else np.uint32)
        self.bytes_per_position = self.k * self.id_dtype.itemsize + (self.k + 1) * 2

    def block(self, first: int) -> Path:
        """Where the block that begins with a row is."""
        return self.place / f"rows-{first:08d}"

    def prepare(self, first: int, teacher: Teacher) -> None:
        """Sees that a block is there and undamaged."""
        try:
            verify(self.block(first))
        except DamagedDirectory:
            with new_directory(self.block(first)) as aside:
                self.write(first, teacher, aside)

    def write(self, first: int, teacher: Teacher, directory: Path) -> None:
        """Asks about the rows from first to BLOCK_ROWS further."""
        counts, last = list[int](), min(first + BLOCK_ROWS, len(self))
        with (directory / IDS).open("wb") as ids, (directory / LOG_PROBS).open("wb") as log_probs:
            for begin in range(first, last, ROWS_AT_ONCE):
                batch = super().batch(range(begin, min(begin + ROWS_AT_ONCE, last)))
                counts += (batch.labels != IGNORED).sum(dim=1).tolist()
                found = teacher.targets(batch.to(teacher.world.device))
                ids.write(found[0].cpu().numpy().astype(self.id_dtype).tobytes())
                log_probs.write(found[1].cpu().numpy().astype(np.float16).tobytes())
        np.save(directory / FIRSTS, np.cumsum([0, *counts]))

    def batch(self, rows: Sequence[int]) -> Batch:
        """See TokenRows.

        Raises:
            UserError: the cache was removed or changed meanwhile.
        """
        batch, k = super().batch(rows), self.k
        # Where nothing is trained, anything finite will do.
        ids = torch.zeros(*batch.labels.shape, k, dtype=torch.int64)
        log_probs = torch.zeros(*batch.labels.shape, k + 1)
        for place, number in enumerate(rows):
            trained = batch.labels[place] != IGNORED
            ids[place, trained] = self.read(number, IDS, self.id_dtype, k).long()
            found = self.read(number, LOG_PROBS, np.dtype(np.float16), k + 1)
            log_probs[place, trained] = found.float()
        return replace(batch, soft_targets=SoftTargets(ids, log_probs))

    def read(self, row: int, name: str, dtype: np.dtype[Any], width: int) -> Tensor:
        """(trained, width) what a file of a block holds of a row."""
        first = row // BLOCK_ROWS * BLOCK_ROWS
        directory = self.block(first)
        try:
            begin, end = np.load(directory / FIRSTS)[row - first : row - first + 2].tolist()
            size = (end - begin) * width
            offset = begin * width * dtype.itemsize
            found = np.fromfile(directory / name, dtype, size, offset=offset)
            array = found.reshape(-1, width)
            return torch.from_numpy(array.astype(np.int64) if name == IDS else array)
        except (OSError, ValueError) as error:
            raise UserError(
                f"{directory}: what the teacher said was removed or changed while in use; run the "
                "same command again"
            ) from error
