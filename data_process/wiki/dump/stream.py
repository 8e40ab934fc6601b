"""The unpacked bytes of a dump or of a part of it, with every gap told.

A part begins at a byte of the file as it lies on the disk: of a multistream bz2 file at the first
stream that begins there or later. What is read does not end with the part, since its last page may
not: the mark `PART_ENDS` tells where the next part begins.
"""

from __future__ import annotations

import bz2
import codecs
import itertools
import re
import sys
import zlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from config import UserError
from data_process.wiki.dump.file import READ_BYTES, STREAM_HEAD, Packing, RawFile

CHUNK_BYTES = 1 << 18
"""Unpacked bytes that are handed on at a time."""
HELD_BYTES = 1_000_000
"""Unpacked bytes of a bz2 stream that wait for what follows: a block (of 900,000) is given out
before its checksum is read."""
RESYNC_BYTES = 4 << 20
"""Packed bytes that are looked through for the next stream after a damage: more than a damaged
block can swallow."""
BOMB_BYTES = 64 << 20
BOMB_RATIO = 250
"""So many unpacked bytes from fewer than a 250th of packed ones are no dump: XML shrinks to a 4th
to a 20th."""

STREAM_START = re.compile(rb"BZh[1-9]1AY&SY")
"""The head of a bz2 stream and of its first block (0x314159265359)."""
DECLARATION_BYTES = 512
DECLARED_ENCODING = re.compile(
    rb"""(?:\xef\xbb\xbf)?\s*<\?xml[^>]*?\sencoding\s*=\s*["']([\w.-]+)"""
)


@dataclass(frozen=True)
class Gap:
    """Bytes that cannot be read."""

    reason: str


class PartEnds:
    """The place where the next part begins."""


PART_ENDS: Final = PartEnds()
Piece = bytes | Gap | PartEnds


def unpacked(raw: RawFile, packing: Packing, end: int | None) -> Iterator[Piece]:
    """The bytes of a file from its position on.

    Args:
        raw: the file.
        packing: of the file.
        end: byte of the packed file at which the next part begins; None: there is none.

    Raises:
        UserError: the file cannot be read, or is a decompression bomb.
    """
    if packing == "bz2":
        return unpack_bz2(raw, end)
    return unpack_gzip(raw) if packing == "gzip" else read_plain(raw, end)


def read_plain(raw: RawFile, end: int | None) -> Iterator[Piece]:
    """The bytes of a file that is not packed."""
    while end is None or raw.position < end:
        if not (data := raw.read(min(CHUNK_BYTES, (end or sys.maxsize) - raw.position))):
            return
        yield data
    yield PART_ENDS
    while data := raw.read(CHUNK_BYTES):
        yield data


class BombGuard:
    """Refuses a file that grows too much when it is unpacked."""

    def __init__(self, raw: RawFile) -> None:
        self.raw, self.packed, self.unpacked = raw, raw.position, 0

    def add(self, size: int) -> None:
        """Counts unpacked bytes; UserError when they are too many for the packed ones."""
        self.unpacked += size
        if self.unpacked < BOMB_BYTES:
            return
        if (self.raw.position - self.packed) * BOMB_RATIO < self.unpacked:
            raise UserError(
                f"{self.raw.path}: near byte {self.raw.position} it grows more than "
                f"{BOMB_RATIO}-fold when it is unpacked, as a decompression bomb does and a dump "
                "does not; if you trust it, unpack it yourself"
            )
        self.packed, self.unpacked = self.raw.position, 0


def unpack_bz2(raw: RawFile, end: int | None) -> Iterator[Piece]:
    """The bytes of all bz2 streams of a file, from its position on."""
    guard = BombGuard(raw)
    marked = end is None
    while head := raw.peek(len("BZh9")):
        if not STREAM_HEAD.fullmatch(head):
            begin = raw.position
            found = raw.find(STREAM_START, 10, None)
            yield Gap(f"{raw.position - begin:,} bytes from byte {begin} on are no bz2 data")
            if not found:
                return
        if not marked and raw.position >= (end or 0):
            marked = True
            yield PART_ENDS
        yield from unpack_stream(raw, guard)


def unpack_stream(raw: RawFile, guard: BombGuard) -> Iterator[Piece]:
    """The bytes of one bz2 stream; after a damage the file is at the next stream."""
    begin = raw.position
    decoder = bz2.BZ2Decompressor()
    held: deque[bytes] = deque()
    held_bytes = 0
    recent: deque[bytes] = deque(maxlen=RESYNC_BYTES // READ_BYTES)
    while not decoder.eof:
        data = raw.read() if decoder.needs_input else b""
        if decoder.needs_input and not data:
            yield from held
            yield Gap(f"the file ends inside the bz2 stream that begins at byte {begin}")
            return
        if data:
            recent.append(data)
        try:
            chunk = decoder.decompress(data, CHUNK_BYTES)
        except OSError:
            raw.give_back(b"".join(recent))
            raw.skip(1 if raw.position <= begin else 0)
            raw.find(STREAM_START, 10, None)
            yield Gap(f"the bz2 stream that begins at byte {begin} is damaged")
            return
        guard.add(len(chunk))
        held.append(chunk)
        held_bytes += len(chunk)
        while held_bytes - len(held[0]) > HELD_BYTES:
            held_bytes -= len(held[0])
            yield held.popleft()
    raw.give_back(decoder.unused_data)
    yield from held


def unpack_gzip(raw: RawFile) -> Iterator[Piece]:
    """The bytes of all members of a gzip file."""
    guard = BombGuard(raw)
    while head := raw.peek(2):
        begin = raw.position
        if head != b"\x1f\x8b":
            while data := raw.read():
                if data.strip(b"\0"):  # zeros are padding
                    yield Gap(f"the bytes from byte {begin} on are no gzip data")
                    return
            return
        decoder = zlib.decompressobj(wbits=31)
        data = b""
        while not decoder.eof:
            data = decoder.unconsumed_tail or raw.read()
            if not data:
                yield decoder.flush()
                yield Gap(f"the file ends inside the gzip data that begins at byte {begin}")
                return
            try:
                unpacked = decoder.decompress(data, CHUNK_BYTES)
            except zlib.error as error:
                reason = str(error).rpartition(": ")[2]
                yield Gap(f"the gzip data near byte {raw.position} is damaged ({reason})")
                return
            guard.add(len(unpacked))
            yield unpacked
        raw.give_back(decoder.unused_data)


def find_stream(raw: RawFile, end: int | None) -> bool:
    """Goes to the first bz2 stream that begins before `end` and whose first block is sound."""
    while raw.find(STREAM_START, 10, end):
        decoder = bz2.BZ2Decompressor()
        sample = raw.peek(1 << 20)  # a block of 900,000 bytes is never longer
        try:
            decoder.decompress(sample, 1)
            return True
        except OSError:
            raw.skip(1)
    return False


def in_utf8(path: Path, pieces: Iterator[Piece]) -> Iterator[Piece]:
    """A dump's text from its beginning on, in UTF-8 whatever it is in. What is no text becomes
    U+FFFD; the checksum of the page tells of it.

    Raises:
        UserError: the encoding that the dump names is not known.
    """
    start: list[Piece] = []
    head = b""
    for piece in pieces:
        start.append(piece)
        head += piece if isinstance(piece, bytes) else b""
        if len(head) >= DECLARATION_BYTES:
            break
    encoding = encoding_of(path, head[:DECLARATION_BYTES])
    rest = itertools.chain(start, pieces)
    if encoding == "utf-8":
        return rest
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    return (decoder.decode(p).encode() if isinstance(p, bytes) else p for p in rest)


def encoding_of(path: Path, head: bytes) -> str:
    """The encoding of an XML file, by its byte-order mark or its declaration."""
    for encoding, mark in (
        ("utf-32", b"\xff\xfe\0\0"),
        ("utf-32", b"\0\0\xfe\xff"),
        ("utf-16", b"\xff\xfe"),
        ("utf-16", b"\xfe\xff"),
        ("utf-16-le", b"<\0"),
        ("utf-16-be", b"\0<"),
    ):
        if head.startswith(mark):
            return encoding
    declared = DECLARED_ENCODING.match(head)
    name = declared.group(1).decode("ascii") if declared else "utf-8"
    if name.lower().startswith(("utf-16", "utf-32")):  # its declaration could not have been read
        return "utf-8"
    try:
        "<".encode(name)  # refuses codecs that are not of text, too
    except (LookupError, ValueError) as error:
        raise UserError(
            f"{path}: its encoding is {name}, which is not known; convert it to UTF-8"
        ) from error
    return codecs.lookup(name).name
