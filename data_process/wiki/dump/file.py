"""A dump as it lies on the disk or comes through a pipe: its bytes, read forwards, and how they are
packed."""

from __future__ import annotations

import re
import stat
import sys
from pathlib import Path
from typing import IO, Final, Literal

from config import UserError

Packing = Literal["none", "bz2", "gzip"]

STDIN: Final = Path("-")
READ_BYTES = 1 << 16
"""Packed bytes that are read at a time."""
STREAM_HEAD = re.compile(rb"BZh[1-9]")


def is_pipe(path: Path) -> bool:
    """Whether a dump can be read only once, from its beginning."""
    if path == STDIN or str(path).startswith(("/dev/", "/proc/")):
        return True
    return path.exists() and not stat.S_ISREG(path.stat().st_mode)


def open_dump(path: Path) -> IO[bytes]:
    """A dump's bytes as they lie on the disk; "-" is standard input.

    Raises:
        UserError: the file is missing or cannot be read.
    """
    if path == STDIN:
        return sys.stdin.buffer
    try:
        return path.open("rb")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); name a dump") from error


class RawFile:
    """A file read forwards, with a look ahead."""

    def __init__(self, path: Path, position: int = 0) -> None:
        """position: byte to begin at."""
        self.path, self.position, self.file = path, position, open_dump(path)
        self.window = b""
        if position:
            self.file.seek(position)

    def peek(self, size: int) -> bytes:
        """The next bytes, fewer only at the end of the file."""
        if len(self.window) < size:
            try:
                self.window += self.file.read(max(READ_BYTES, size - len(self.window)))
            except OSError as error:
                raise UserError(
                    f"{self.path}: cannot be read at byte {self.position} "
                    f"({error.strerror or error}); check its disk"
                ) from error
        return self.window[:size]

    def read(self, limit: int = READ_BYTES) -> bytes:
        """Some bytes, at most `limit`; none at the end of the file."""
        data = self.peek(limit)
        self.skip(len(data))
        return data

    def skip(self, size: int) -> None:
        """Goes forwards inside what was looked at."""
        self.window, self.position = self.window[size:], self.position + size

    def give_back(self, data: bytes) -> None:
        """Goes back by the bytes that were read last."""
        self.window, self.position = data + self.window, self.position - len(data)

    def find(self, pattern: re.Pattern[bytes], length: int, end: int | None) -> bool:
        """Goes to the next match (`length` bytes long) that begins before `end`, else to the end
        of what there is."""
        while data := self.peek(READ_BYTES):
            if found := pattern.search(data):
                self.skip(found.start())
                return end is None or self.position < end
            self.skip(len(data) if len(data) < length else len(data) - length + 1)
            if end is not None and self.position >= end:
                return False
        return False

    def close(self) -> None:
        """Closes the file; standard input stays open."""
        if self.path != STDIN:
            self.file.close()


def packing_of(raw: RawFile) -> Packing:
    """How a file is packed, by its first bytes.

    Raises:
        UserError: it is empty, or packed in a way that is not known here.
    """
    head = raw.peek(6)
    if not head:
        raise UserError(f"{raw.path}: the file is empty; it must be a MediaWiki XML dump")
    if STREAM_HEAD.match(head):
        return "bz2"
    if head.startswith(b"\x1f\x8b"):
        return "gzip"
    for name, mark, command in (
        ("xz", b"\xfd7zXZ", "xz -dc"),
        ("zstd", b"\x28\xb5\x2f\xfd", "zstd -dc"),
        ("7z", b"7z\xbc\xaf", "7z x -so"),
        ("zip", b"PK\x03\x04", "unzip -p"),
    ):
        if head.startswith(mark):
            raise UserError(
                f"{raw.path}: packed with {name}, which is not read here; unpack it into a pipe: "
                f"{command} FILE | python data_process/extract_wiki.py -"
            )
    return "none"
