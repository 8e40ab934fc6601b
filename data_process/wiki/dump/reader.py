"""Reading MediaWiki XML dumps page by page: any version of the export schema, strictly parsed, with
everything that is missing or damaged told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from config import UserError
from data_process.wiki.dump.file import Packing, RawFile, packing_of
from data_process.wiki.dump.pages import (
    PAGE_BYTES,
    DumpEnds,
    Head,
    LongPage,
    Lost,
    PageSplitter,
    RawPage,
)
from data_process.wiki.dump.stream import find_stream, in_utf8, unpacked
from data_process.wiki.dump.xml_pages import (
    DamagedPage,
    Page,
    PageParser,
    SiteInfo,
    read_site,
    title_in,
)

MAX_PROBLEMS = 1_000
"""More damages in one part (of some 30 MB) than this, and it is not read further."""


@dataclass(frozen=True)
class Skipped:
    """A page that cannot be used."""

    title: str
    reason: str


@dataclass(frozen=True)
class Problem:
    """Something is missing or damaged, in a sentence without a subject."""

    what: str
    is_note: bool = False
    """Nothing of the dump is missing."""


@dataclass(frozen=True)
class Span:
    """The part of a dump that is read at a time."""

    path: Path
    begin: int = 0
    """Byte of the packed file at which it begins; its pages are those that begin from there on (in
    a bz2 file: from the next stream's beginning on)."""
    end: int | None = None
    """Byte at which the next part begins; None: this is the last."""
    packing: Packing | None = None
    """None: to be found out, at the beginning of the file."""
    pages: int | None = None
    """How many pages it must have by the dump's index; None: there is no index."""


Found = SiteInfo | Page | Skipped | Problem


class DumpReader:
    """Reads one part of a dump."""

    def __init__(self, span: Span, site: SiteInfo | None) -> None:
        """site: what the head says; None: it is read, and is the first that is found."""
        self.span, self.site = span, site
        self.raw = RawFile(span.path, span.begin)
        self.parser = PageParser()
        self.splitter: PageSplitter | None = None
        self.last_title = ""
        self.pages = 0
        self.problems = 0

    @property
    def position(self) -> int:
        """Bytes of the packed file that were read, counted from its beginning."""
        return self.raw.position

    @property
    def xml_bytes(self) -> int:
        """Bytes of XML that were read of the part."""
        return self.splitter.base if self.splitter else 0

    def __iter__(self) -> Iterator[Found]:
        """The pages in the dump's order, and what is wrong.

        Raises:
            UserError: this is no dump, or one that must not be read.
        """
        try:
            yield from self.read()
        finally:
            self.raw.close()

    def read(self) -> Iterator[Found]:
        """All that is found."""
        packing = self.span.packing or packing_of(self.raw)
        at_start = self.span.begin == 0
        if not at_start and packing == "bz2" and not find_stream(self.raw, self.span.end):
            yield from self.compare_with_index()
            return
        pieces = unpacked(self.raw, packing, self.span.end)
        if at_start:
            pieces = in_utf8(self.span.path, pieces)
        self.splitter = PageSplitter(at_start)
        for event in self.splitter.events(pieces):
            match event:
                case RawPage(xml):
                    yield from self.read_page(xml)
                case Head(xml):
                    yield from self.read_head(xml)
                case LongPage(beginning):
                    yield from self.pass_over(beginning)
                case Lost(reason, beginning):
                    yield from self.lose(reason, beginning)
                case DumpEnds():
                    yield from self.end(event)
        yield from self.compare_with_index()

    def read_page(self, xml: bytes) -> Iterator[Found]:
        """A page, or what is wrong with it."""
        try:
            page = self.parser.parse(xml, self.site)
        except DamagedPage as error:
            yield from self.read_damaged_page(xml, error)
            return
        self.pages += 1
        self.last_title = page.title
        yield page

    def read_damaged_page(self, xml: bytes, error: DamagedPage) -> Iterator[Found]:
        """What is wrong; if its end is what is missing, the pages that follow are in here too."""
        tag = b"<page>"
        first, *others = (tag + piece for piece in xml.removeprefix(tag).split(tag))
        before = self.after()
        self.last_title = title_in(first)
        yield self.problem(f"its page {self.last_title!r}{before} is damaged ({error})")
        yield self.skip("damaged")
        for page in others:
            yield from self.read_page(page)

    def pass_over(self, beginning: bytes) -> Iterator[Found]:
        """A page that is too long. No wiki of Wikimedia has one: its end may be damaged."""
        before = self.after()
        self.last_title = title_in(beginning)
        reason = f"longer than {PAGE_BYTES >> 20} MiB"
        yield self.problem(
            f"its page {self.last_title!r}{before} is {reason}; it is left out, with all that may "
            "be in it"
        )
        yield self.skip(reason)

    def read_head(self, xml: bytes) -> Iterator[Found]:
        """What the head says; that of an appended dump must say the same."""
        site = read_site(self.span.path, xml)
        if self.site is None:
            self.site = site
            yield site
        elif self.site != site:
            yield self.problem(
                f"the dump of another wiki ({site.language} {site.base}) is "
                f"appended{self.after()}; "
                "give each wiki's dump as a file of its own"
            )

    def lose(self, reason: str, beginning: bytes) -> Iterator[Found]:
        """A damage, and the page that it ended."""
        if self.site is None:
            refuse_lost_head(self.span.path, reason)
        before = self.after()
        if beginning:
            self.last_title = title_in(beginning)
            yield self.skip("damaged")
            before += f", and page {self.last_title!r} is lost with it"
        yield self.problem(f"{reason}{before}")

    def end(self, found: DumpEnds) -> Iterator[Found]:
        """The end of the file, and whether it is that of the dump."""
        if not found.complete:
            before = self.after()
            if found.beginning:
                self.last_title = title_in(found.beginning)
                before = f", inside the page {self.last_title!r}{before}"
                yield self.skip("incomplete")
            yield self.problem(
                f"the dump is incomplete: it ends{before} without </mediawiki>; download it again"
            )
        elif found.junk:
            yield Problem("there is something behind its end (</mediawiki>), ignored", True)

    def compare_with_index(self) -> Iterator[Found]:
        """Whether the part has the pages that the index lists for it."""
        expected = self.span.pages
        if expected is not None and expected != self.pages and not self.problems:
            yield self.problem(
                f"its index lists {expected:,} pages for the bytes {self.span.begin} to "
                f"{self.span.end or 'the last'}, and {self.pages:,} are there"
            )

    def skip(self, reason: str) -> Skipped:
        """A page that is not used."""
        self.pages += 1
        return Skipped(self.last_title, reason)

    def problem(self, what: str) -> Problem:
        """A problem, noted."""
        self.problems += 1
        if self.problems > MAX_PROBLEMS:
            raise UserError(
                f"{self.span.path}: more than {MAX_PROBLEMS:,} damages near byte "
                f"{self.raw.position}; this is no dump any more: download it again"
            )
        return Problem(what)

    def after(self) -> str:
        """Where the reader stands, for a message."""
        return after(self.last_title)


def after(title: str) -> str:
    """Where something is, for a message."""
    return f" after the page {title!r}" if title else " before the first page read"


def refuse_lost_head(path: Path, reason: str) -> NoReturn:
    """Raises UserError: without its head, nothing of a dump can be understood."""
    raise UserError(f"{path}: {reason}, before its first page; download it again")
