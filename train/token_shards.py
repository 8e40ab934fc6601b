"""Tokenising once: JSONL files become memory-mapped token files, cached by fingerprint.

A cache entry holds, for training and for validation, the documents one after another: `tokens`
(uint16 or uint32), `offsets` (where each document begins, and the end), for conversations also
`mask` (1 where a token is trained), and of each document its script and its number of bytes. The
entry's name is the fingerprint of the data, the tokenizer and the settings that shape it, so a
stale entry can never be read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from config import UserError
from data_process.jsonl import read_conversations, read_texts
from data_process.script import script_of
from model.chat import render_batch
from model.storage import DamagedDirectory, new_directory, sha256_of, verify
from model.tokenizer import EtudeTokenizer

FORMAT = 1
"""Raised whenever the files' content changes meaning."""
RECORDS_PER_CHUNK = 1_000


@dataclass(frozen=True)
class Document:
    """One tokenised record."""

    ids: list[int]
    mask: list[bool] | None
    """Which tokens are trained; None: all."""
    script: str
    """han, latin or other."""
    num_bytes: int
    """UTF-8 bytes of what is trained."""


@dataclass(frozen=True)
class Documents:
    """Tokenised documents, memory-mapped."""

    tokens: NDArray[Any]
    """(tokens,) uint16 or uint32."""
    mask: NDArray[np.uint8] | None
    """(tokens,) 1 where a token is trained; None: all are."""
    offsets: NDArray[np.int64]
    """(documents + 1,) where each document begins."""
    scripts: list[str]
    """The script of each document."""
    num_bytes: NDArray[np.int64]
    """(documents,) UTF-8 bytes of each document's trained text."""

    def __len__(self) -> int:
        """Number of documents."""
        return len(self.offsets) - 1


@dataclass(frozen=True)
class TokenisedData:
    """Training and validation documents of some files under some tokenizer."""

    train: Documents
    validation: Documents
    fingerprint: str
    """Names the content of the data, the tokenizer and the split."""


Tokenise = Callable[[Sequence[Any]], list[Document]]
"""Turns a chunk of records into documents."""


def tokenise_texts(
    files: Sequence[Path], tokenizer: EtudeTokenizer, validation_every: int, cache_dir: Path
) -> TokenisedData:
    """Tokenises pretraining files, or finds them in the cache.

    Raises:
        UserError: a file is missing or malformed (file:line), or the disk is full.
    """

    def tokenise(texts: Sequence[str]) -> list[Document]:
        return [
            Document(ids, None, script_of(text), len(text.encode("utf-8")))
            for ids, text in zip(tokenizer.encode_batch(texts), texts, strict=True)
        ]

    return cached("pretrain", files, read_texts, tokenise, tokenizer, validation_every, cache_dir)


def tokenise_conversations(
    files: Sequence[Path], tokenizer: EtudeTokenizer, validation_every: int, cache_dir: Path
) -> TokenisedData:
    """Tokenises SFT files, or finds them in the cache; raises as `tokenise_texts` does."""

    def tokenise(conversations: Sequence[Any]) -> list[Document]:
        documents = []
        rendered = render_batch(tokenizer, conversations)
        for (ids, mask), messages in zip(rendered, conversations, strict=True):
            answers = "".join(m["content"].strip() for m in messages if m["role"] == "assistant")
            num_bytes = len(answers.encode("utf-8"))
            documents.append(Document(ids, mask, script_of(answers), num_bytes))
        return documents

    return cached(
        "sft", files, read_conversations, tokenise, tokenizer, validation_every, cache_dir
    )


def cached(
    kind: str,
    files: Sequence[Path],
    read: Callable[[Path], Iterator[tuple[int, Any]]],
    tokenise: Tokenise,
    tokenizer: EtudeTokenizer,
    validation_every: int,
    cache_dir: Path,
) -> TokenisedData:
    """The tokenised data of files: from the cache, else read, tokenised and put there."""
    fingerprint = fingerprint_of(kind, files, read, tokenizer, validation_every)
    directory = cache_dir / f"{kind}-{fingerprint[:16]}"
    if directory.exists():
        try:
            verify(directory)
        except DamagedDirectory as damage:
            print(f"{damage}; tokenising again")
        else:
            return load(directory, fingerprint)
    print(f"tokenising {', '.join(file.name for file in files)} into {directory}")
    with new_directory(directory) as aside:
        write_documents(aside, files, read, tokenise, tokenizer, validation_every)
    return load(directory, fingerprint)


def fingerprint_of(
    kind: str,
    files: Sequence[Path],
    read: Callable[[Path], Iterator[tuple[int, Any]]],
    tokenizer: EtudeTokenizer,
    validation_every: int,
) -> str:
    """sha256 over everything that decides what the cache holds."""
    digest = hashlib.sha256(f"{FORMAT} {kind} {validation_every}".encode())
    for file in files:
        if not file.is_file():
            next(read(file))  # the reader's own sentence about a file that is not there
        digest.update(sha256_of(file).encode())
    digest.update(tokenizer.fingerprint.encode())
    return digest.hexdigest()


def write_documents(
    directory: Path,
    files: Sequence[Path],
    read: Callable[[Path], Iterator[tuple[int, Any]]],
    tokenise: Tokenise,
    tokenizer: EtudeTokenizer,
    validation_every: int,
) -> None:
    """Reads, tokenises and writes all records; every n-th goes to validation."""
    dtype = np.dtype(np.uint16 if len(tokenizer) <= 1 << 16 else np.uint32)
    parts = [DocumentWriter(directory, name, dtype) for name in ("train", "validation")]
    records = (record for file in files for _, record in read(file))
    count = 0
    with tqdm(desc="tokenise", unit=" records", leave=False, disable=None) as progress:
        while chunk := list(islice(records, RECORDS_PER_CHUNK)):
            for document in tokenise(chunk):
                count += 1
                parts[count % validation_every == 0].add(document)
            progress.update(len(chunk))
    for part in parts:
        part.close()
    if count < validation_every:
        raise UserError(
            f"{files[0]}: {count} records are too few to keep every {validation_every}th for "
            "validation; add data or lower --validation_every"
        )


class DocumentWriter:
    """Writes one part, train or validation, of a cache entry."""

    def __init__(self, directory: Path, name: str, dtype: np.dtype[Any]) -> None:
        self.directory, self.name, self.dtype = directory, name, dtype
        self.tokens: IO[bytes] = (directory / f"{name}.tokens.bin").open("wb")
        self.mask: IO[bytes] | None = None
        self.offsets, self.scripts, self.num_bytes = [0], list[str](), list[int]()

    def add(self, document: Document) -> None:
        """Appends a document."""
        self.tokens.write(np.asarray(document.ids, dtype=self.dtype).tobytes())
        if document.mask is not None:
            if self.mask is None:
                self.mask = (self.directory / f"{self.name}.mask.bin").open("wb")
            self.mask.write(np.asarray(document.mask, dtype=np.uint8).tobytes())
        self.offsets.append(self.offsets[-1] + len(document.ids))
        self.scripts.append(document.script)
        self.num_bytes.append(document.num_bytes)

    def close(self) -> None:
        """Writes what is known at the end."""
        self.tokens.close()
        if self.mask is not None:
            self.mask.close()
        np.save(self.directory / f"{self.name}.offsets.npy", np.asarray(self.offsets, np.int64))
        np.save(self.directory / f"{self.name}.bytes.npy", np.asarray(self.num_bytes, np.int64))
        facts = {"dtype": self.dtype.name, "scripts": run_lengths(self.scripts)}
        path = self.directory / f"{self.name}.json"
        path.write_text(json.dumps(facts), encoding="utf-8", newline="\n")


def load(directory: Path, fingerprint: str) -> TokenisedData:
    """Maps a verified cache entry into memory."""
    train, validation = (load_documents(directory, name) for name in ("train", "validation"))
    return TokenisedData(train, validation, fingerprint)


def load_documents(directory: Path, name: str) -> Documents:
    """Maps one part of a cache entry into memory."""
    facts = json.loads((directory / f"{name}.json").read_text(encoding="utf-8"))
    mask_path = directory / f"{name}.mask.bin"
    return Documents(
        tokens=np.memmap(directory / f"{name}.tokens.bin", dtype=facts["dtype"], mode="r"),
        mask=np.memmap(mask_path, dtype=np.uint8, mode="r") if mask_path.exists() else None,
        offsets=np.load(directory / f"{name}.offsets.npy"),
        scripts=[script for script, count in facts["scripts"] for _ in range(count)],
        num_bytes=np.load(directory / f"{name}.bytes.npy"),
    )


def run_lengths(values: Iterable[str]) -> list[tuple[str, int]]:
    """Equal neighbours counted: a a b -> [(a, 2), (b, 1)]."""
    runs: list[tuple[str, int]] = []
    for value in values:
        if runs and runs[-1][0] == value:
            runs[-1] = (value, runs[-1][1] + 1)
        else:
            runs.append((value, 1))
    return runs
