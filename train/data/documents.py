"""Documents as streams of tokens on disk: read where they are needed, never held in memory."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from config import UserError
from train.data.mixing import Mix


class StoredArray:
    """A one-dimensional array in a file that holds nothing else. It stays readable when the file's
    name is removed."""

    def __init__(self, path: Path, dtype: np.dtype[Any]) -> None:
        self.path, self.dtype = path, dtype
        self.file = path.open("rb")
        self.length = path.stat().st_size // dtype.itemsize
        self.lock = threading.Lock()  # of the file's position

    def __len__(self) -> int:
        """Number of elements."""
        return self.length

    def __getitem__(self, span: slice, /) -> NDArray[Any]:
        """Consecutive elements, read now. (A memory map would end the process with a signal where
        this raises.)

        Raises:
            UserError: the file cannot be read, or has become shorter.
        """
        begin, end, step = span.indices(self.length)
        assert step == 1
        size = max(0, end - begin) * self.dtype.itemsize
        try:
            with self.lock:
                self.file.seek(begin * self.dtype.itemsize)
                content = self.file.read(size)
        except OSError as error:
            raise UserError(
                f"{self.path}: cannot be read ({error.strerror}); see to its disk"
            ) from error
        if len(content) < size:
            raise UserError(f"{self.path}: it became shorter while in use; start again")
        return np.frombuffer(content, dtype=self.dtype)


@dataclass(frozen=True)
class Documents:
    """A stream of tokenised documents, on disk."""

    tokens: StoredArray | NDArray[Any]
    """(tokens,) uint16 or uint32: border, document, border, ..., document, border."""
    mask: StoredArray | NDArray[Any] | None
    """(tokens,) uint8, 1 where a token is trained; None: all are."""
    table: NDArray[Any]
    """(documents,) of `token_parts.DOCUMENT`."""
    mix: Mix | None = None
    """Where the documents of each file end, and how these are mixed; None: they are not."""

    def __len__(self) -> int:
        """Number of documents."""
        return len(self.table)


def load_documents(directory: Path, name: str, dtype: np.dtype[Any]) -> Documents:
    """Opens one stream of a cache entry."""
    mask = directory / f"{name}.mask.bin"
    return Documents(
        tokens=StoredArray(directory / f"{name}.tokens.bin", dtype),
        mask=StoredArray(mask, np.dtype(np.uint8)) if mask.exists() else None,
        table=np.load(directory / f"{name}.documents.npy", mmap_mode="r"),
    )


def count_twins(train: Documents, validation: Mapping[str, Documents]) -> int:
    """Validation documents whose very tokens are trained on as well: they flatter the measure.

    Only training documents of a length that a validation document has are read.
    """
    held = [digest for group in validation.values() for digest in digests(group)]
    lengths = [group.table["length"] for group in validation.values()]
    alike = np.flatnonzero(np.isin(train.table["length"], np.concatenate([[0], *lengths])))
    found = set(held).intersection(digests(train, alike))
    return sum(digest in found for digest in held)


def digests(documents: Documents, chosen: NDArray[Any] | None = None) -> Iterator[bytes]:
    """A digest of the tokens of each document, or of the chosen ones."""
    table = documents.table if chosen is None else documents.table[chosen]
    for begin, length in zip(table["begin"].tolist(), table["length"].tolist(), strict=True):
        tokens = documents.tokens[begin : begin + length]
        yield hashlib.blake2b(tokens.tobytes(), digest_size=16).digest()
