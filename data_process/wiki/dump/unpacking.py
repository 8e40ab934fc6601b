"""The bytes of a dump, from a file or a pipe, read forwards and decompressed.

A part begins at a byte of the packed file: in a multistream bz2 file at the first stream that
begins there or later. Reading goes on past the end of the part, since its last page may; the mark
`PART_END` shows where the next part begins.
"""

from __future__ import annotations

import bz2
import codecs
import os
import re
import sys
import zlib
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

from config import UserError
from data_process.running.work_dir import PIPE
from data_process.text.encoding import is_encoding

Packing = Literal["none", "bz2", "gzip"]

READ_BYTES = 1 << 16
"""Packed bytes that are read at a time."""
CHUNK_BYTES = 1 << 18
"""Unpacked bytes that are passed on at a time."""
HELD_BYTES = 1_000_000
"""Unpacked bytes of a bz2 stream that are held back: the decompressor gives out the beginning of a
block (900,000 bytes) before it has checked the block's checksum."""
BOMB_BYTES = 64 << 20
BOMB_RATIO = 250
"""When this many unpacked bytes come from fewer than a 250th of packed ones, it is not a dump: XML
shrinks to a 4th to a 20th."""
GZIP_HEAD = b"\x1f\x8b"
STREAM_HEAD = re.compile(rb"BZh[1-9]")
STREAM_START = re.compile(rb"BZh[1-9]1AY&SY")
"""The head of a bz2 stream and of its first block (0x314159265359)."""
DECLARATION_BYTES = 512
DECLARED_ENCODING = re.compile(
    rb"""(?:\xef\xbb\xbf)?\s*<\?xml[^>]*?\sencoding\s*=\s*["']([\w.-]+)"""
)

PART_END: Final = None
Piece = bytes | None
"""Unpacked bytes, or PART_END."""


class DamagedDump(Exception):
    """What is damaged, and where; nothing after it can be read."""


class RawFile:
    """A packed file or pipe, read forwards with a look-ahead."""

    def __init__(self, path: Path, position: int = 0) -> None:
        """
        Args:
            path: the file; "-" is standard input.
            position: byte to begin at.

        Raises:
            UserError: the file is missing or cannot be read.
        """
        self.path, self.position, self.window = path, position, b""
        try:
            self.file = os.fdopen(0, "rb", closefd=False) if path == PIPE else path.open("rb")
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}); name a dump") from error
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
        """Some bytes, at most `limit`; empty at the end of the file."""
        data = self.peek(limit)
        self.skip(len(data))
        return data

    def skip(self, size: int) -> None:
        """Moves forwards inside what was peeked at."""
        self.window, self.position = self.window[size:], self.position + size

    def give_back(self, data: bytes) -> None:
        """Moves back by the bytes that were read last."""
        self.window, self.position = data + self.window, self.position - len(data)

    def find_stream(self, end: int | None) -> bool:
        """Moves to the next bz2 stream; returns whether one begins before byte `end`.

        Its ten bytes occur by chance once in 2^77 places, and that would be reported as damage.
        """
        while (end is None or self.position < end) and (data := self.peek(READ_BYTES)):
            if found := STREAM_START.search(data):
                self.skip(found.start())
                return end is None or self.position < end
            self.skip(max(1, len(data) - 9))  # the next may begin in the last nine bytes
        return False


def packing_of(raw: RawFile) -> Packing:
    """How a file is packed, by its first bytes.

    Raises:
        UserError: it is empty, or packed in a way that is not supported.
    """
    head = raw.peek(6)
    if not head:
        raise UserError(f"{raw.path}: the file is empty; it must be a MediaWiki XML dump")
    if STREAM_HEAD.match(head):
        return "bz2"
    if head.startswith(GZIP_HEAD):
        return "gzip"
    for name, mark, command in (
        ("xz", b"\xfd7zXZ", "xz -dc"),
        ("zstd", b"\x28\xb5\x2f\xfd", "zstd -dc"),
        ("7z", b"7z\xbc\xaf", "7z x -so"),
        ("zip", b"PK\x03\x04", "unzip -p"),
    ):
        if head.startswith(mark):
            raise UserError(
                f"{raw.path}: packed with {name}, which is not supported; unpack it into a pipe: "
                f"{command} FILE | python data_process/extract_wiki.py -"
            )
    return "none"


def unpacked(raw: RawFile, packing: Packing, end: int | None) -> Iterator[Piece]:
    """The bytes of a file from its position on.

    Args:
        raw: the file.
        packing: of the file.
        end: byte of the packed file at which the next part begins; None: this is the last part.

    Raises:
        DamagedDump: while iterating; what came before is sound.
        UserError: the file cannot be read, or is a decompression bomb.
    """
    if packing == "none":
        return read_plain(raw, end)
    return refuse_bomb(raw, unpack_bz2(raw, end) if packing == "bz2" else unpack_gzip(raw))


def read_plain(raw: RawFile, end: int | None) -> Iterator[Piece]:
    """The bytes of a file that is not packed."""
    while end is None or raw.position < end:
        if not (data := raw.read(min(CHUNK_BYTES, (end or sys.maxsize) - raw.position))):
            return
        yield data
    yield PART_END
    while data := raw.read(CHUNK_BYTES):
        yield data


def refuse_bomb(raw: RawFile, pieces: Iterator[Piece]) -> Iterator[Piece]:
    """The unpacked pieces of a file; UserError when they are too many for the packed bytes."""
    packed, size = raw.position, 0
    for piece in pieces:
        size += len(piece or b"")
        if size >= BOMB_BYTES:
            if (raw.position - packed) * BOMB_RATIO < size:
                raise UserError(
                    f"{raw.path}: near byte {raw.position} it grows more than {BOMB_RATIO}-fold "
                    "when it is unpacked, as a decompression bomb does and a dump does not; if you "
                    "trust it, unpack it yourself"
                )
            packed, size = raw.position, 0
        yield piece


def unpack_bz2(raw: RawFile, end: int | None) -> Iterator[Piece]:
    """The bytes of all bz2 streams of a file, from its position on."""
    while head := raw.peek(len("BZh9")):
        if end is not None and raw.position >= end:
            end = None
            yield PART_END
        if not STREAM_HEAD.fullmatch(head):
            raise DamagedDump(f"from byte {raw.position} on it is not bz2 data")
        yield from unpack_stream(raw)


def unpack_stream(raw: RawFile) -> Iterator[bytes]:
    """The bytes of one bz2 stream."""
    begin = raw.position
    decoder = bz2.BZ2Decompressor()
    held, held_bytes = deque[bytes](), 0
    while not decoder.eof:
        data = raw.read() if decoder.needs_input else b""
        if decoder.needs_input and not data:
            yield from held
            raise DamagedDump(f"it ends inside the bz2 stream that begins at byte {begin}")
        try:
            chunk = decoder.decompress(data, CHUNK_BYTES)
        except OSError as error:
            raise DamagedDump(f"the bz2 stream that begins at byte {begin} is damaged") from error
        held.append(chunk)
        held_bytes += len(chunk)
        while held_bytes - len(held[0]) > HELD_BYTES:
            held_bytes -= len(held[0])
            yield held.popleft()
    raw.give_back(decoder.unused_data)
    yield from held


def unpack_gzip(raw: RawFile) -> Iterator[Piece]:
    """The bytes of all members of a gzip file."""
    while head := raw.peek(len(GZIP_HEAD)):
        begin = raw.position
        if head != GZIP_HEAD:
            while data := raw.read():
                if data.strip(b"\0"):  # zeros are padding
                    raise DamagedDump(f"from byte {begin} on it is not gzip data")
            return
        decoder = zlib.decompressobj(wbits=31)
        while not decoder.eof:
            if not (data := decoder.unconsumed_tail or raw.read()):
                yield decoder.flush()
                raise DamagedDump(f"it ends inside the gzip data that begins at byte {begin}")
            try:
                chunk = decoder.decompress(data, CHUNK_BYTES)
            except zlib.error as error:
                reason = str(error).rpartition(": ")[2]
                what = f"the gzip data near byte {raw.position} is damaged ({reason})"
                raise DamagedDump(what) from error
            yield chunk
        raw.give_back(decoder.unused_data)


def encoding_of(path: Path, head: bytes) -> str:
    """The encoding of an XML file, by its byte-order mark or its declaration.

    Raises:
        UserError: the declared encoding is unknown.
    """
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if head.startswith((b"<\0", b"\0<")):
        return "utf-16-le" if head[0] else "utf-16-be"
    declared = DECLARED_ENCODING.match(head)
    name = declared.group(1).decode("ascii") if declared else "utf-8"
    if name.lower().startswith("utf-16"):  # its declaration could not have been read
        return "utf-8"
    if not is_encoding(name):
        raise UserError(f"{path}: its encoding is {name}, which is unknown; convert it to UTF-8")
    return codecs.lookup(name).name
