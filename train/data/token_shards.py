"""Tokenising once: JSONL files become token files, cached by fingerprint.

A cache entry holds a stream of documents for training, and one for each script of the validation
records: `tokens` (uint16 or uint32; a border, then each document with a border after it), for
conversations also `mask` (1 where a token is trained), and a table of the documents. Rows are read
from these files; nothing of them is held in memory. The entry's name is the fingerprint of the
data, the tokenizer and the settings that shape it, so a stale entry can never be read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_process.records.known_files import KnownFiles, signature_of
from data_process.records.survey import Survey, survey
from model.directory.storage import DamagedDirectory, verify
from model.tokenizer import EtudeTokenizer
from train.data.stored_array import Sliceable, StoredArray
from train.data.token_build import FACTS, build

FORMAT = 2
"""Raised whenever the files' content changes meaning."""
PART_BYTES = 8_000_000
"""A data file is tokenised in parts of about this size."""


@dataclass(frozen=True)
class Documents:
    """A stream of tokenised documents, on disk."""

    tokens: Sliceable
    """(tokens,) uint16 or uint32: border, document, border, ..., document, border."""
    mask: Sliceable | None
    """(tokens,) uint8, 1 where a token is trained; None: all are."""
    table: NDArray[Any]
    """(documents,) of `token_parts.DOCUMENT`."""

    def __len__(self) -> int:
        """Number of documents."""
        return len(self.table)


@dataclass(frozen=True)
class TokenisedData:
    """Training and validation documents of some files under some tokenizer."""

    train: Documents
    validation: Mapping[str, Documents]
    """By script: han, latin, other; only those that there are."""
    fingerprint: str
    """Names the content of the data, the tokenizer and the split."""


def tokenise_texts(
    files: Sequence[Path], tokenizer: EtudeTokenizer, validation_every: int, cache_dir: Path
) -> TokenisedData:
    """Tokenises pretraining files, or finds them in the cache.

    Raises:
        UserError: a file is missing or malformed (file:line), or the disk is full.
    """
    return cached("pretrain", files, tokenizer, validation_every, cache_dir)


def tokenise_conversations(
    files: Sequence[Path], tokenizer: EtudeTokenizer, validation_every: int, cache_dir: Path
) -> TokenisedData:
    """Tokenises SFT files, or finds them in the cache; raises as `tokenise_texts` does."""
    return cached("sft", files, tokenizer, validation_every, cache_dir)


def cached(
    kind: str,
    files: Sequence[Path],
    tokenizer: EtudeTokenizer,
    validation_every: int,
    cache_dir: Path,
) -> TokenisedData:
    """The tokenised data of files: from the cache, else read, tokenised and put there."""
    known = KnownFiles(cache_dir / "known_files.json")
    surveys = [survey(file, PART_BYTES, known) for file in files]
    fingerprint = fingerprint_of(kind, surveys, tokenizer, validation_every)
    directory = cache_dir / f"{kind}-{fingerprint[:16]}"
    if not is_whole(directory, known):
        print(f"tokenising {', '.join(file.name for file in files)} into {directory}")
        build(directory, kind, surveys, tokenizer, validation_every)
        known.remember(directory, "cache entry", signature_of(directory), "whole")
    return load(directory, fingerprint)


def fingerprint_of(
    kind: str, surveys: Sequence[Survey], tokenizer: EtudeTokenizer, validation_every: int
) -> str:
    """sha256 over everything that decides what the cache holds."""
    digest = hashlib.sha256(f"{FORMAT} {kind} {validation_every}".encode())
    for found in surveys:
        digest.update(found.sha256.encode())
    digest.update(tokenizer.fingerprint.encode())
    return digest.hexdigest()


def is_whole(directory: Path, known: KnownFiles) -> bool:
    """Whether an entry is there and undamaged. One that nobody wrote to since it was last checked
    is not read again."""
    if not directory.exists():
        return False
    if known.recall(directory, "cache entry"):
        return True
    signature = signature_of(directory)
    try:
        verify(directory)
    except DamagedDirectory as damage:
        print(f"{damage}; tokenising again")
        return False
    known.remember(directory, "cache entry", signature, "whole")
    return True


def load(directory: Path, fingerprint: str) -> TokenisedData:
    """Opens a verified cache entry."""
    facts = json.loads((directory / FACTS).read_text(encoding="utf-8"))
    dtype = np.dtype(facts["dtype"])
    streams = {name: load_documents(directory, name, dtype) for name in facts["streams"]}
    train = streams.pop("train")
    validation = {name.removeprefix("validation-"): stream for name, stream in streams.items()}
    return TokenisedData(train, validation, fingerprint)


def load_documents(directory: Path, name: str, dtype: np.dtype[Any]) -> Documents:
    """Opens one stream of a cache entry."""
    mask = directory / f"{name}.mask.bin"
    return Documents(
        tokens=StoredArray(directory / f"{name}.tokens.bin", dtype),
        mask=StoredArray(mask, np.dtype(np.uint8)) if mask.exists() else None,
        table=np.load(directory / f"{name}.documents.npy", mmap_mode="r"),
    )
