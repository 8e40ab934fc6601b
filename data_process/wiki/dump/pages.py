"""Cutting the XML of a dump into pages, each a piece of XML by itself.

MediaWiki writes `<` inside a text as `&lt;`, so the tags `<page>` and `</page>` are borders that
can be found without parsing what lies between them. A damaged page then costs only itself, memory
is that of one page, and a dump can be read from the middle. Each page's own XML is parsed strictly
afterwards (xml_pages.py), so that what only looks like a border does not pass unnoticed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from data_process.wiki.dump.unpacking import PART_END, DamagedDump, Piece

HEAD_BYTES = 1 << 20
"""Longest head of a dump (real ones have 10,000)."""
PAGE_BYTES = 16 << 20
"""Longest page, with its newest revision alone (MediaWiki allows texts of 2 MiB)."""
NAME_BYTES = 4096
"""Bytes kept of a page that is lost, to find its title."""

PAGE_START = re.compile(rb"<page[\s>]")
LONGEST_START = len(b"<page>")
PAGE_END, DUMP_END = b"</page>", b"</mediawiki>"
BLANK = b" \t\r\n\0"


@dataclass(frozen=True)
class Section:
    """A piece of a dump's XML."""

    kind: Literal["head", "page", "long page", "unexpected"]
    """What comes before the first page; a page from `<page>` to `</page>`; one that is too long, of
    which only the beginning is kept; something between pages that should not be there."""
    xml: bytes


@dataclass(frozen=True)
class DumpEnd:
    """The end of the file, or of what can be read of it."""

    complete: bool
    """Whether `</mediawiki>` was seen."""
    beginning: bytes
    """Of the page in which it ends."""
    damage: str
    """Why nothing more can be read; empty: it is the end of the file."""
    has_more: bool
    """Whether something other than white space follows `</mediawiki>`."""


Event = Section | DumpEnd
Place = Literal["head", "seek", "between", "skip", "page"]
"""Where the splitter is: in the head, before a part's first page, between two pages, in what is
skipped up to the next page, in a page."""


class PageSplitter:
    """Cuts a stream of bytes into pages."""

    def __init__(self, at_start: bool) -> None:
        """at_start: whether the stream begins with the head of the dump; else with the first page
        that begins in it."""
        self.place: Place = "head" if at_start else "seek"
        self.buffer = bytearray()
        self.base = 0  # position of the buffer's first byte in the stream
        self.scanned = 0  # bytes of the buffer that hold no border
        self.between = bytearray()  # what was read since the last page
        self.ended = False
        self.limit: int | None = None  # where the part ends
        self.done = False

    def events(self, pieces: Iterator[Piece]) -> Iterator[Event]:
        """The pages that begin in the part, and whatever else is found on the way; the end of the
        dump only by the part whose last page is the dump's last."""
        damage = ""
        try:
            for piece in pieces:
                if piece is PART_END:
                    self.limit = self.base + len(self.buffer)
                else:
                    self.buffer += piece
                yield from self.cut()
                if self.done:
                    return
        except DamagedDump as error:
            damage = str(error)
        yield from self.close(damage)

    def cut(self) -> Iterator[Event]:
        """All that is complete in the buffer."""
        while not self.done:
            if self.place == "page":
                end = self.page_end()
                if end < 0:
                    yield from self.shorten()
                    return
                page = newest_revision(self.take(end))
                self.place = "between"
                yield Section("page", page) if len(page) <= PAGE_BYTES else long_page(page)
            elif found := PAGE_START.search(self.buffer):
                self.pass_over(found.start())
                yield from self.begin_page()
            else:
                self.pass_over(max(0, len(self.buffer) - LONGEST_START + 1))
                self.done = self.place == "seek" and self.is_past_part()
                if self.place == "head" and len(self.between) > HEAD_BYTES:
                    yield Section("head", bytes(self.between))
                    self.done = True  # something that has no page in its first MiB
                return

    def page_end(self) -> int:
        """Bytes of the buffer up to the end of its page, or -1; ends inside CDATA and comments do
        not count."""
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
        """Removes the buffer's first bytes and returns them."""
        taken = bytes(self.buffer[:size])
        del self.buffer[:size]
        self.base, self.scanned = self.base + size, 0
        return taken

    def pass_over(self, size: int) -> None:
        """Keeps what lies between pages, shortened; notices the end of the dump."""
        self.between += self.take(size)
        self.ended = self.ended or DUMP_END in self.between
        if len(self.between) > HEAD_BYTES and self.place != "head":
            del self.between[NAME_BYTES : -len(DUMP_END)]

    def is_past_part(self) -> bool:
        """Whether what comes next belongs to the next part."""
        return self.limit is not None and self.base >= self.limit

    def begin_page(self) -> Iterator[Event]:
        """Checks what lies before a page; the page may be the next part's."""
        if self.place == "head":
            yield Section("head", bytes(self.between))
        elif self.place == "between" and (found := bytes(self.between).strip()):
            yield Section("unexpected", found)
        self.between.clear()
        self.ended, self.place, self.done = False, "page", self.is_past_part()

    def shorten(self) -> Iterator[Event]:
        """Drops all revisions of a long page but the last, then the page if it is still too
        long."""
        if len(self.buffer) <= PAGE_BYTES:
            return
        shorter = newest_revision(bytes(self.buffer))
        if saved := len(self.buffer) - len(shorter):
            self.buffer = bytearray(shorter)
            self.base += saved
            self.scanned = max(0, self.scanned - saved)
        if len(self.buffer) > PAGE_BYTES:
            yield long_page(shorter)
            self.take(len(self.buffer) - LONGEST_START)
            self.place = "skip"

    def close(self, damage: str) -> Iterator[Event]:
        """The end of what can be read."""
        beginning = bytes(self.buffer[:NAME_BYTES]) if self.place == "page" else b""
        if self.place != "page":
            self.pass_over(len(self.buffer))
        if self.place == "head" and not damage:
            yield Section("head", bytes(self.between))
        before, _, after = bytes(self.between).partition(DUMP_END)
        found = before.strip(BLANK)
        if self.place == "between" and found and not DUMP_END.startswith(found):
            yield Section("unexpected", found)
        if self.place != "seek" or damage:
            yield DumpEnd(self.ended, beginning, damage, bool(after.strip(BLANK)))


def long_page(page: bytes) -> Section:
    """A page that is left out, by its beginning."""
    return Section("long page", page[:NAME_BYTES])


def newest_revision(page: bytes) -> bytes:
    """A page; if it is too long, without its revisions before the last."""
    if len(page) <= PAGE_BYTES:
        return page
    first, last = page.find(b"<revision"), page.rfind(b"<revision")
    return page[:first] + page[last:] if last > first else page
