"""Cutting the XML of a dump into pages, each a piece of XML by itself.

MediaWiki writes `<` inside a text as `&lt;`, so the tags `<page>` and `</page>` are borders that
can be found without parsing what lies between them. A damage then costs the page it is in, memory
is that of one page, and a dump can be read from the middle. A page's own XML is parsed strictly
afterwards (dump_reader.py), so that nothing which only looks like a border goes unseen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from data_process.wiki.dump.stream import Gap, PartEnds, Piece

HEAD_BYTES = 1 << 20
"""Longest head of a dump (real ones have 10,000)."""
PAGE_BYTES = 16 << 20
"""Longest page, with its newest revision alone (MediaWiki allows texts of 2 MiB)."""
NAME_BYTES = 4096
"""So much of a page that is lost is kept, to name it."""

PAGE_START = re.compile(rb"<page[\s>]")
LONGEST_START = len(b"<page>")
PAGE_END, DUMP_END = b"</page>", b"</mediawiki>"


@dataclass(frozen=True)
class Head:
    """What comes before a dump's first page, or before that of another dump appended to it."""

    xml: bytes


@dataclass(frozen=True)
class RawPage:
    """A page from `<page>` to `</page>`."""

    xml: bytes


@dataclass(frozen=True)
class LongPage:
    """A page that is too long, by its beginning; the rest is passed over."""

    beginning: bytes


@dataclass(frozen=True)
class Lost:
    """Something that is no page and should not be there."""

    reason: str
    beginning: bytes = b""
    """Of the page that it ended, if it did."""


@dataclass(frozen=True)
class DumpEnds:
    """The end of the file, or of what can be read of it."""

    complete: bool
    """Whether `</mediawiki>` was seen."""
    beginning: bytes = b""
    """Of the page in which it ends."""
    junk: int = 0
    """Bytes behind `</mediawiki>`, white space apart."""


Event = Head | RawPage | LongPage | Lost | DumpEnds
Place = Literal["head", "seek", "between", "lost", "page"]
"""Where the splitter stands: in the head, before a part's first page, between two pages, in what is
passed over up to the next page, in a page."""


class PageSplitter:
    """Cuts a stream of bytes into pages."""

    def __init__(self, at_start: bool) -> None:
        """at_start: whether the stream begins with the head of the dump; else with the first page
        that begins in it."""
        self.place: Place = "head" if at_start else "seek"
        self.page_bytes = PAGE_BYTES
        self.buffer = bytearray()
        self.base = 0  # position of the buffer's first byte in the stream
        self.scanned = 0  # bytes of the buffer that hold no border
        self.between = bytearray()  # what was read since the last page
        self.junk = 0
        self.ended = False
        self.limit: int | None = None  # where the part ends
        self.done = False

    def events(self, pieces: Iterator[Piece]) -> Iterator[Event]:
        """The pages that begin in the part, and whatever else is found on the way; the end of the
        dump only by the part whose last page is the dump's last."""
        for piece in pieces:
            if isinstance(piece, PartEnds):
                self.limit = self.base + len(self.buffer)
            elif isinstance(piece, Gap):
                yield from self.gap(piece)
            else:
                self.buffer += piece
            yield from self.cut()
            if self.done:
                return
        yield from self.close()

    def cut(self) -> Iterator[Event]:
        """All that the buffer holds whole."""
        while not self.done:
            if self.place == "page":
                end = self.page_end()
                if end < 0:
                    yield from self.shorten()
                    return
                page = newest_revision(self.take(end), self.page_bytes)
                self.place = "between"
                yield RawPage(page) if len(page) <= self.page_bytes else LongPage(page[:NAME_BYTES])
            elif found := PAGE_START.search(self.buffer):
                self.pass_over(found.start())
                yield from self.begin_page()
            else:
                self.pass_over(max(0, len(self.buffer) - LONGEST_START + 1))
                self.done = self.place == "seek" and self.is_past_part()
                yield from self.refuse_long_head()
                return

    def page_end(self) -> int:
        """Bytes of the buffer up to the end of its page, or -1; ends that are quoted do not
        count."""
        while True:
            end = self.buffer.find(PAGE_END, self.scanned)
            quote = self.buffer.find(b"<!", self.scanned, end if end >= 0 else len(self.buffer))
            if quote < 0:
                self.scanned = max(self.scanned, len(self.buffer) - len(PAGE_END))
                return end + len(PAGE_END) if end >= 0 else -1
            mark = b"-->" if self.buffer[quote + 2 : quote + 3] == b"-" else b"]]>"
            closed = self.buffer.find(mark, quote)
            if closed < 0:
                self.scanned = quote
                return -1
            self.scanned = closed + len(mark)

    def take(self, size: int) -> bytes:
        """The buffer's first bytes, which leave it."""
        taken = bytes(self.buffer[:size])
        del self.buffer[:size]
        self.base, self.scanned = self.base + size, 0
        return taken

    def pass_over(self, size: int) -> None:
        """Keeps what lies between pages, shortened; sees whether the dump ends here."""
        self.between += self.take(size)
        self.ended = self.ended or DUMP_END in self.between
        if len(self.between) > HEAD_BYTES and self.place != "head":
            self.junk += len(self.between.strip())
            del self.between[NAME_BYTES : -len(DUMP_END)]

    def is_past_part(self) -> bool:
        """Whether what comes next belongs to the next part."""
        return self.limit is not None and self.base >= self.limit

    def begin_page(self) -> Iterator[Event]:
        """Judges what lies before a page; the page may be the next part's."""
        if self.place == "head":
            yield Head(bytes(self.between))
        elif self.place == "between" and (found := bytes(self.between).strip()):
            appended = found.removeprefix(DUMP_END).lstrip()
            if found.startswith(DUMP_END) and b"<mediawiki" in appended:
                yield Head(appended)
            else:
                yield Lost(f"what should be a page begins with {shown(found)}")
        self.between.clear()
        self.junk, self.ended, self.place, self.done = 0, False, "page", self.is_past_part()

    def shorten(self) -> Iterator[Event]:
        """Drops all revisions of a long page but the last, then the page if it is still too
        long."""
        if len(self.buffer) <= self.page_bytes:
            return
        shorter = newest_revision(bytes(self.buffer), self.page_bytes)
        if saved := len(self.buffer) - len(shorter):
            self.buffer = bytearray(shorter)
            self.base += saved
            self.scanned = max(0, self.scanned - saved)
        if len(self.buffer) > self.page_bytes:
            yield LongPage(bytes(self.buffer[:NAME_BYTES]))
            self.take(len(self.buffer) - LONGEST_START)
            self.place = "lost"

    def refuse_long_head(self) -> Iterator[Event]:
        """Ends the reading of something that has no page in its first MiB."""
        if self.place == "head" and len(self.between) > HEAD_BYTES:
            yield Head(bytes(self.between))
            self.done = True

    def gap(self, gap: Gap) -> Iterator[Event]:
        """Bytes are missing: an unfinished page is lost."""
        beginning = self.beginning()
        if self.place != "page":
            self.pass_over(len(self.buffer))
        self.take(len(self.buffer))
        if self.ended:
            self.junk += 1
        elif self.place != "seek":
            yield Lost(gap.reason, beginning)
            self.place = "lost"

    def close(self) -> Iterator[Event]:
        """The end of the file."""
        beginning = self.beginning()
        if self.place != "page":
            self.pass_over(len(self.buffer))
        if self.place == "head":
            yield Head(bytes(self.between))
        before, end, after = bytes(self.between).partition(DUMP_END)
        found = before.strip(b" \t\r\n\0")
        if self.place == "between" and found and not DUMP_END.startswith(found):
            yield Lost(f"what should be a page begins with {shown(found)}")
        if self.place != "seek":
            junk = self.junk + len(after.strip(b" \t\r\n\0")) if end else self.junk
            yield DumpEnds(self.ended, beginning, junk if self.ended else 0)

    def beginning(self) -> bytes:
        """The beginning of the page that is being read, if one is."""
        return bytes(self.buffer[:NAME_BYTES]) if self.place == "page" else b""


def newest_revision(page: bytes, page_bytes: int) -> bytes:
    """A page; if it is longer than `page_bytes`, without its revisions before the last."""
    if len(page) <= page_bytes:
        return page
    first, last = page.find(b"<revision"), page.rfind(b"<revision")
    return page[:first] + page[last:] if last > first else page


def shown(found: bytes) -> str:
    """The beginning of something unexpected, for a message."""
    return repr(found[:40].decode("utf-8", "replace"))
