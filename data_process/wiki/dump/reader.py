"""Reading MediaWiki XML dumps page by page, in parts that can be read at the same time: any version
of the export schema, strictly parsed, with everything missing or damaged reported.

A part is a range of bytes of the packed file; where its first page begins is found when it is read.
So the parts follow from the file alone, and cutting takes no time: a multistream bz2 file is cut
at streams, XML at pages. A bz2 file of one stream, a gzip file, a pipe, and text that is not UTF-8
are one part.
"""

from __future__ import annotations

import codecs
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from config import UserError
from data_process.records.opening import is_pipe
from data_process.wiki.dump.pages import NAME_BYTES, PAGE_BYTES, DumpEnd, PageSplitter, Section
from data_process.wiki.dump.unpacking import (
    DECLARATION_BYTES,
    Packing,
    Piece,
    RawFile,
    encoding_of,
    packing_of,
    unpacked,
)
from data_process.wiki.dump.xml_pages import (
    DamagedPage,
    Page,
    SiteInfo,
    parse_page,
    read_site,
    title_in,
)

STATED_NAMESPACE = re.compile(rb"<ns>(-?[0-9]+)</ns>")
MAX_PROBLEMS = 1_000
"""More damages in one part (of some 30 MB) than this, and it is not read further."""
PART_BYTES = {"bz2": 8 << 20, "none": 32 << 20}
"""Size of a part by packing: some 30 MB of XML, seconds of work."""


@dataclass(frozen=True)
class Skipped:
    """A page that cannot be used."""

    title: str
    reason: str


@dataclass(frozen=True)
class Problem:
    """A damage report; the caller prefixes the file."""

    what: str
    is_note: bool = False
    """Nothing of the dump is missing."""


@dataclass(frozen=True)
class DumpPart:
    """A range of a dump that is read on its own."""

    path: Path
    site: SiteInfo | None = None
    """Of the dump's head; None: the head is read, at the beginning of the part."""
    begin: int = 0
    """Byte of the packed file at which it begins; its pages are those that begin from there on (in
    a bz2 file: from the beginning of the next stream on)."""
    end: int | None = None
    """Byte at which the next part begins; None: this is the last."""
    packing: Packing | None = None
    """None: detected at the beginning of the file."""
    size: int = 0
    """Bytes of the packed file; 0: unknown."""

    def __str__(self) -> str:
        """Where it begins."""
        return f"{self.path.name} at byte {self.begin}"


Found = SiteInfo | Page | Skipped | Problem


class DumpReader:
    """Reads one part of a dump."""

    def __init__(self, part: DumpPart, namespace: int | None = None) -> None:
        """
        Args:
            part: what is read.
            namespace: pages that state another one are passed over unread; None: all are read.
        """
        self.part, self.site, self.packing = part, part.site, part.packing
        self.namespace = None if namespace is None else b"%d" % namespace
        self.encoding = "utf-8"
        self.raw = RawFile(part.path, part.begin)
        self.splitter = PageSplitter(at_start=part.begin == 0)
        self.last_title = ""
        self.problems = 0

    def __iter__(self) -> Iterator[Found]:
        """The pages in the dump's order, and damage reports; first the head, if it is not known.

        Raises:
            UserError: this is not a dump, or one that must not be read.
        """
        with self.raw.file:
            self.packing = self.packing or packing_of(self.raw)
            for event in self.splitter.events(self.xml(self.packing)):
                yield from self.end(event) if isinstance(event, DumpEnd) else self.read(event)

    def xml(self, packing: Packing) -> Iterator[Piece]:
        """The XML of the part and of what follows it, in UTF-8. What cannot be decoded becomes
        U+FFFD, which the checksum of the page reveals."""
        if self.part.begin and packing == "bz2" and not self.raw.find_stream(self.part.end):
            return
        pieces = unpacked(self.raw, packing, self.part.end)
        if self.part.begin:
            yield from pieces
            return
        start, head = list[Piece](), b""
        for piece in pieces:
            start.append(piece)
            head += piece or b""
            if len(head) >= DECLARATION_BYTES:
                break
        self.encoding = encoding_of(self.part.path, head[:DECLARATION_BYTES])
        is_utf8 = self.encoding == "utf-8"
        decoder = codecs.getincrementaldecoder(self.encoding)("replace")
        for piece in itertools.chain(start, pieces):
            yield piece and (piece if is_utf8 else decoder.decode(piece).encode())

    def read(self, section: Section) -> Iterator[Found]:
        """What a section of the dump is."""
        match section.kind:
            case "page":
                if not self.is_other(section.xml):
                    yield from self.read_page(section.xml)
            case "head" if self.site is None:
                self.site = read_site(self.part.path, section.xml)
                yield self.site
            case "long page":  # no wiki of Wikimedia has one: its end may be damaged
                reason = f"longer than {PAGE_BYTES >> 20} MiB"
                what = f"{reason}; it is left out, with all that may be in it"
                yield from self.skip(section.xml, what, reason)
            case "unexpected":
                start = section.xml[:40].decode("utf-8", "replace")
                yield self.problem(f"what should be a page begins with {start!r}{self.after()}")

    def is_other(self, xml: bytes) -> bool:
        """Whether a page states a namespace that is not read."""
        if self.namespace is None:
            return False
        found = STATED_NAMESPACE.search(xml, 0, NAME_BYTES)
        return found is not None and found[1] != self.namespace

    def read_page(self, xml: bytes) -> Iterator[Found]:
        """A page, or what is wrong with it; if its end is what is missing, the pages that follow
        are in here too."""
        try:
            page = parse_page(xml, self.site)
        except DamagedPage as error:
            tag = b"<page>"
            first, *others = (tag + piece for piece in xml.removeprefix(tag).split(tag))
            yield from self.skip(first, f"damaged ({error})", "damaged")
            for other in others:
                yield from self.read_page(other)
            return
        self.last_title = page.title
        yield page

    def skip(self, xml: bytes, what: str, reason: str) -> Iterator[Found]:
        """Reports a page that cannot be used."""
        before, self.last_title = self.after(), title_in(xml)
        yield self.problem(f"its page {self.last_title!r}{before} is {what}")
        yield Skipped(self.last_title, reason)

    def end(self, found: DumpEnd) -> Iterator[Found]:
        """The end of what can be read, and whether it is that of the dump."""
        if found.complete:
            more = "after its end (</mediawiki>)"
            if found.damage and self.packing == "bz2" and self.raw.find_stream(None):
                yield self.problem(f"{found.damage}, and {more} there are bz2 streams")
            elif found.has_more or found.damage:
                yield Problem(f"there is something {more}, ignored", is_note=True)
            return
        if self.site is None:
            raise UserError(
                f"{self.part.path}: {found.damage}, before its first page; download it again"
            )
        where = self.after()
        if found.beginning:
            self.last_title = title_in(found.beginning)
            where = f", inside the page {self.last_title!r}{where}"
            yield Skipped(self.last_title, "damaged" if found.damage else "incomplete")
        if found.damage:
            end = f" up to byte {self.part.end}" if self.part.end else ""
            reason = f"{found.damage}{where}; what follows{end} is lost"
        else:
            reason = f"it ends{where} without </mediawiki>"
        yield self.problem(f"the dump is incomplete: {reason}; download it again")

    def problem(self, what: str) -> Problem:
        """Counts a damage and returns its report."""
        self.problems += 1
        if self.problems > MAX_PROBLEMS:
            raise UserError(
                f"{self.part.path}: more than {MAX_PROBLEMS:,} damages near byte "
                f"{self.raw.position}; this is no longer a dump: download it again"
            )
        return Problem(what)

    def after(self) -> str:
        """Where the reader is, for a message."""
        title = self.last_title
        return f" after the page {title!r}" if title else " before the first page read"


def cut_dump(path: Path, part_bytes: int | None = None) -> list[DumpPart]:
    """The parts of a dump, in its order.

    Args:
        path: the dump; "-" is standard input.
        part_bytes: packed bytes in a part; None: as many as suit the packing.

    Raises:
        UserError: it is not a dump.
    """
    if is_pipe(path):
        return [DumpPart(path)]
    reader = DumpReader(DumpPart(path))
    site = next(iter(reader))  # the head comes first
    reader.raw.file.close()
    assert isinstance(site, SiteInfo)
    assert reader.packing
    size = path.stat().st_size
    part_bytes = part_bytes or PART_BYTES.get(reader.packing, size)
    can_be_cut = part_bytes < size and reader.encoding == "utf-8" and reader.packing != "gzip"
    if can_be_cut and reader.packing == "bz2":
        raw = RawFile(path, 1)
        with raw.file:  # a second stream begins in the first part of a multistream file
            can_be_cut = raw.find_stream(part_bytes)
    borders = [*range(0, size, part_bytes if can_be_cut else size), size]
    return [
        DumpPart(path, site, begin, None if end == size else end, reader.packing, end - begin)
        for begin, end in itertools.pairwise(borders)
    ]
