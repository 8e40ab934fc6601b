"""Pairs of answers as rows to train and to measure on, with the log-probabilities of the answers
under the model that a run starts from: computed once and cached, so that no second model is in
memory while training.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from config import DPOConfig, UserError
from data_process.running.step import progress
from model.directory.storage import DamagedDirectory, new_directory, verify
from model.tokenizer import EtudeTokenizer
from model.transformer import Etude
from train.data.batches import PackedRows
from train.data.documents import Documents
from train.data.packing import PackingReport, pack, packed_rows, trainable
from train.data.pairs import FirstAnswers, PairRows, sums_of
from train.distributed import World
from train.evaluation import ROWS_AT_ONCE, ValidationGroup
from train.objective import SummedLoss

BLOCK_ROWS = 16 * ROWS_AT_ONCE
"""Rows whose log-probabilities are one entry of the cache: no more is lost by an interruption."""
FILE = "log_probs.npy"


@dataclass(frozen=True)
class Reference:
    """The model that a run starts from, and where its log-probabilities are kept."""

    model: Etude
    cache_dir: Path
    key: str
    """Names the data and the weights."""
    world: World

    def log_probs(self, name: str, packed: PackedRows) -> NDArray[np.float32]:
        """(pieces, 2) the log-probability of both answers of each pair, with products in float32.

        Processes share the blocks of rows among them; a block is written whole or not at all, and
        one that is there is not computed again.

        Args:
            name: of the rows, among those of the data.
            packed: rows of pairs.
        """
        content = hashlib.sha256(f"{self.key} {name} {packed.max_length}".encode())
        content.update(packed.numbers.tobytes())
        place = self.cache_dir / f"reference-{content.hexdigest()[:16]}"
        rows = with_facts(packed, np.zeros((len(packed.numbers), 2), np.float32))
        blocks, world = range(0, len(rows), BLOCK_ROWS), self.world
        self.model.to(world.device)
        with progress(None, f"reference, {name}", total=len(blocks)) as bar:
            for first in blocks[world.rank :: world.size]:
                self.block(rows, first, place)
                bar.update(world.size)
        world.barrier()
        # Those of other processes are there by now, unless they keep their files elsewhere.
        found = np.concatenate([self.block(rows, first, place) for first in blocks])
        if world.shards:
            self.model.to("cpu")
        return found

    def block(self, rows: PairRows, first: int, place: Path) -> NDArray[np.float32]:
        """The log-probabilities of some rows: from the cache, else computed and put there."""
        directory = place / f"rows-{first:08d}"
        try:
            verify(directory)
        except DamagedDirectory:
            with new_directory(directory) as aside:
                np.save(aside / FILE, self.computed(rows, first))
        found: NDArray[np.float32] = np.load(directory / FILE)
        return found

    @torch.no_grad()
    def computed(self, rows: PairRows, first: int) -> NDArray[np.float32]:
        """(pieces, 2) for the rows from first to BLOCK_ROWS further."""
        loss, starts, found = SummedLoss(self.model), rows.packed.first_pieces, []
        last = min(first + BLOCK_ROWS, len(rows))
        for begin in range(first, last, ROWS_AT_ONCE):
            numbers = range(begin, min(begin + ROWS_AT_ONCE, last))
            batch = rows.batch(numbers).to(self.world.device)
            log_probs = -loss(*batch.inputs, exact=True, per_token=True)
            sums = sums_of(log_probs, batch).cpu().numpy()  # (rows, documents)
            for number, row in zip(numbers, sums, strict=True):
                pairs = starts[number + 1] - starts[number]
                found.append(row[: 2 * pairs].reshape(-1, 2))
        return np.concatenate(found)


def with_facts(
    packed: PackedRows, reference: NDArray[np.float32], documents: Documents | None = None
) -> PairRows:
    """Rows of pairs with the labels of their documents (without documents: all wanted)."""
    wanted = np.ones(len(packed.numbers), np.bool_)
    if documents is not None:
        wanted = documents.table["num_bytes"][packed.numbers] > 0
    return PairRows(packed, wanted, reference)


def pack_pairs(
    documents: Documents, config: DPOConfig, tokenizer: EtudeTokenizer, reference: Reference
) -> tuple[PairRows, PackingReport]:
    """Rows to train on.

    Raises:
        UserError: no pair fits in a row, or all answers have the same label.
    """
    if config.loss == "kto":
        refuse_one_label(documents)
    packed, report = pack(documents, config.max_length, tokenizer.end_of_text_id, pairs=True)
    known = np.full((len(packed.numbers), 2), np.nan, np.float32)
    if config.loss not in ("orpo", "simpo") and not config.dry_run:
        known = reference.log_probs("train", packed)
    return with_facts(packed, known, documents), report


def refuse_one_label(documents: Documents) -> None:
    """Raises UserError when all labelled answers are good, or all are bad."""
    wanted = int((documents.table["num_bytes"] > 0).sum())
    if wanted in (0, len(documents)):
        label = str(wanted > 0).lower()
        raise UserError(
            f"all {len(documents):,} answers of the training data have the label {label}: kto "
            "learns from the difference; add answers with the other label"
        )


def held_out_pairs(
    validation: Mapping[str, Documents],
    config: DPOConfig,
    tokenizer: EtudeTokenizer,
    reference: Reference,
) -> tuple[dict[str, ValidationGroup], list[PairRows]]:
    """What is measured: bits per byte of the good answers of each script, and all pairs. Of more
    than about validation_bytes, evenly spread pairs are taken.

    Raises:
        UserError: no held-out pair fits in a row, or none has a good answer.
    """
    groups, held_out = {}, []
    border, control = tokenizer.end_of_text_id, tuple(tokenizer.control_ids)
    total = sum(int(found.table["num_bytes"].sum(dtype=np.int64)) for found in validation.values())
    share = min(1.0, config.validation_bytes / max(1, total))
    for name, documents in sorted(validation.items()):
        kept = trainable(documents, config.max_length, whole=True)
        kept = kept[np.unique((np.arange(len(kept) * share) / share).astype(np.int64))]
        if not len(kept):
            continue
        packed = packed_rows(documents, kept, config.max_length, border, False)
        known = np.zeros((len(kept), 2), np.float32)
        if not config.dry_run:
            known = reference.log_probs(f"validation-{name}", packed)
        held_out.append(with_facts(packed, known, documents))
        num_bytes = documents.table["num_bytes"][kept]
        good = kept[num_bytes > 0]
        if len(good):
            packed = packed_rows(documents, good, config.max_length, border, False, control)
            unknown = np.zeros((len(good), 2), np.float32)
            rows = FirstAnswers(packed, np.ones(len(good), np.bool_), unknown)
            groups[name] = ValidationGroup(rows, int(num_bytes.sum(dtype=np.int64)))
    if validation and not groups:
        raise UserError(
            f"no held-out pair with a good answer fits in a row of {config.max_length} tokens: "
            "raise --max_length, or choose other records with --validation_every or "
            "--validation_files (--validation_every 0: none)"
        )
    return groups, held_out
