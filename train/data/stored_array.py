"""Arrays that stay on disk and are read piece by piece.

A memory map would do the same in fewer lines, but every page it touches counts as this process's
memory until the system wants it back, so a long run looks as if it leaked.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from config import UserError


class Sliceable(Protocol):
    """What rows are cut from: an array in memory or on disk."""

    def __len__(self) -> int:
        """Number of elements."""
        ...

    def __getitem__(self, span: slice, /) -> NDArray[Any]:
        """A copy or view of consecutive elements."""
        ...


class StoredArray:
    """A one-dimensional array in a file that holds nothing else. It stays readable when the file's
    name is removed."""

    def __init__(self, path: Path, dtype: np.dtype[Any]) -> None:
        self.path, self.dtype = path, dtype
        self.file = path.open("rb", buffering=0)
        self.length = path.stat().st_size // dtype.itemsize
        self.lock = threading.Lock()

    def __len__(self) -> int:
        """Number of elements."""
        return self.length

    def __getitem__(self, span: slice, /) -> NDArray[Any]:
        """Consecutive elements, read now.

        Raises:
            UserError: the file cannot be read, or has become shorter.
        """
        begin, end, step = span.indices(self.length)
        assert step == 1
        size = max(0, end - begin) * self.dtype.itemsize
        content = b""
        try:
            while len(content) < size and (more := self.read(begin, content, size)):
                content += more
        except OSError as error:
            raise UserError(
                f"{self.path}: cannot be read ({error.strerror}); see to its disk"
            ) from error
        if len(content) < size:
            raise UserError(f"{self.path}: it became shorter while in use; start again")
        return np.frombuffer(content, dtype=self.dtype)

    def read(self, begin: int, content: bytes, size: int) -> bytes:
        """Some of the bytes that follow those that are there already."""
        at, count = begin * self.dtype.itemsize + len(content), size - len(content)
        if hasattr(os, "pread"):
            return os.pread(self.file.fileno(), count, at)
        with self.lock:
            self.file.seek(at)
            return self.file.read(count)
