"""Cutting dumps into parts that can be read at the same time.

A part is a range of bytes of the file as it lies on the disk; where its first page begins is found
when it is read. So the parts follow from the file alone, and cutting takes no time: a multistream
bz2 file is cut at streams (those of its index, if it lies beside it), XML at pages. A bz2 file of
one stream, a gzip file, a pipe, and text that is not UTF-8 are one part.
"""

from __future__ import annotations

import bz2
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from config import UserError
from data_process.running.byte_bar import byte_bar
from data_process.wiki.dump.file import Packing, RawFile, is_pipe, packing_of
from data_process.wiki.dump.pages import Head, Lost, PageSplitter
from data_process.wiki.dump.reader import Span, refuse_lost_head
from data_process.wiki.dump.stream import (
    DECLARATION_BYTES,
    STREAM_START,
    encoding_of,
    in_utf8,
    unpacked,
)
from data_process.wiki.dump.xml_pages import SiteInfo, read_site

PLAIN_PART_BYTES = 32 << 20
BZ2_PART_BYTES = 8 << 20
"""Sizes of a part: some 30 MB of XML, seconds of work."""
INDEX_LINE_BYTES = 65_536


@dataclass(frozen=True)
class DumpSpan:
    """A part of a dump, and what it needs from the dump's head."""

    span: Span
    site: SiteInfo | None
    """None: a pipe, whose head is read on the way."""
    size: int
    """Bytes of the packed file; 0 when it is not known."""
    name: str
    """For messages."""


def cut_dump(
    path: Path, index: Path | None = None, part_bytes: int | None = None
) -> list[DumpSpan]:
    """The parts of a dump, in its order.

    Args:
        path: the dump; "-" is standard input.
        index: of a multistream dump; None: that beside it, if there is one.
        part_bytes: packed bytes in a part; None: as many as suit the packing.

    Raises:
        UserError: it is no dump, or the index is not its index.
    """
    if is_pipe(path):
        return [DumpSpan(Span(path), None, 0, str(path))]
    site, packing, is_utf8 = read_start(path)
    size = path.stat().st_size
    borders = [0]
    pages: list[int | None] = [None]
    if packing == "bz2":
        part_bytes = part_bytes or BZ2_PART_BYTES
        if index := index or index_beside(path):
            borders, pages = cut_by_index(path, index, part_bytes)
        elif has_streams(path, part_bytes):
            borders = list(range(0, size, part_bytes))
    elif packing == "none" and is_utf8:
        borders = list(range(0, size, part_bytes or PLAIN_PART_BYTES))
    pages += [None] * (len(borders) - len(pages))
    spans = []
    for number, (begin, end) in enumerate(itertools.pairwise([*borders, size])):
        last = number == len(borders) - 1
        span = Span(path, begin, None if last else end, packing, pages[number])
        spans.append(DumpSpan(span, site, max(0, end - begin), f"{path.name} part {number + 1}"))
    return spans


def read_start(path: Path) -> tuple[SiteInfo, Packing, bool]:
    """The head of a dump, its packing, and whether it is in UTF-8."""
    raw = RawFile(path)
    try:
        packing = packing_of(raw)
        pieces = unpacked(raw, packing, None)
        first = next(pieces, b"")
        pieces = itertools.chain([first], pieces)
        start = first[:DECLARATION_BYTES] if isinstance(first, bytes) else b""
        is_utf8 = encoding_of(path, start) == "utf-8"
        for event in PageSplitter(at_start=True).events(in_utf8(path, pieces)):
            if isinstance(event, Head):
                return read_site(path, event.xml), packing, is_utf8
            if isinstance(event, Lost):
                refuse_lost_head(path, event.reason)
        raise AssertionError("a splitter begins with the head")
    finally:
        raw.close()


def has_streams(path: Path, part_bytes: int) -> bool:
    """Whether a second bz2 stream begins in the first part: it is a multistream file."""
    raw = RawFile(path, 1)
    try:
        return raw.find(STREAM_START, 10, part_bytes)
    finally:
        raw.close()


def index_beside(path: Path) -> Path | None:
    """The index of a multistream dump, under the name that Wikimedia gives it."""
    name = path.name.replace("multistream", "multistream-index", 1).replace(".xml", ".txt", 1)
    for candidate in (name, name.removesuffix(".bz2")):
        if candidate != path.name and (found := path.with_name(candidate)).is_file():
            return found
    return None


def cut_by_index(path: Path, index: Path, part_bytes: int) -> tuple[list[int], list[int | None]]:
    """Where the parts begin, each at a stream of the index, and how many pages they have."""
    borders, pages = [0], [0]
    for offset, count in read_index(index):
        if offset < borders[-1]:
            raise UserError(f"{index}: its streams are not in order; it is no multistream index")
        if offset // part_bytes > borders[-1] // part_bytes:
            refuse_other_index(path, index, offset)
            borders.append(offset)
            pages.append(0)
        pages[-1] += count
    return borders, list(pages)


def refuse_other_index(path: Path, index: Path, offset: int) -> None:
    """Raises UserError unless a stream begins where the index says; one behind the end of a dump
    that was cut is told when its pages are missing."""
    if offset >= path.stat().st_size:
        return
    raw = RawFile(path, offset)
    found = STREAM_START.match(raw.peek(10))
    raw.close()
    if not found:
        raise UserError(
            f"{index}: it is not the index of {path.name}, where no stream begins at byte "
            f"{offset}; give the right one with --index, or move this one away"
        )


def read_index(index: Path) -> Iterator[tuple[int, int]]:
    """The streams of an index, `byte:page id:title` a line: where each begins, and how many pages
    it has."""
    offset, count = -1, 0
    for number, line in enumerate(index_lines(index), 1):
        found = re.match(rb"(\d{1,18}):\d+:.", line)
        if not found:
            raise UserError(
                f"{index}:{number}: not a line of a multistream index (byte:page id:title)"
            )
        if (here := int(found.group(1))) != offset:
            if count:
                yield offset, count
            offset, count = here, 0
        count += 1
    if count:
        yield offset, count


def index_lines(index: Path) -> Iterator[bytes]:
    """The lines of an index, with a progress bar."""
    try:
        size = index.stat().st_size
        with (
            index.open("rb") as packed,
            bz2.open(packed, "rb") if index.suffix == ".bz2" else index.open("rb") as lines,
            byte_bar("index", size) as bar,
        ):
            for number in itertools.count(1):
                if not (line := lines.readline(INDEX_LINE_BYTES)):
                    return
                if number % 100_000 == 0:
                    bar.update(packed.tell() - bar.n)
                yield line
    except (OSError, EOFError) as error:
        raise UserError(
            f"{index}: cannot be read ({error}); download it again, or move it away"
        ) from error
