"""From the pages of a dump to records of clean text."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tqdm import tqdm

from config import UserError, positive
from data_process.running.tasks import PartOutput
from data_process.wiki.dump.parts import DumpSpan
from data_process.wiki.dump.reader import DumpReader, Problem, Skipped
from data_process.wiki.dump.xml_pages import Page, SiteInfo
from data_process.wiki.text.wikitext import (
    CleaningSettings,
    WikitextCleaner,
    is_disambiguation,
    is_redirect,
)

PROBLEMS, REJECTED = "problems", "rejected"
"""Streams beside main: what is wrong with the dump, and the pages that are not taken."""
LONGEST_TEXT = 4_000_000
"""Characters of wikitext that are cleaned: MediaWiki allows 2 MiB, and what is longer was made to
take time and memory."""
CHECKSUM, XML_BYTES = "text not as its SHA-1 says", "bytes of XML"
"""What is counted beside pages in, out and dropped."""


@dataclass(frozen=True)
class ExtractionSettings:
    """Which pages are taken, and what becomes of their text."""

    lang: str | None = None
    """The dump's language, such as zh; None: what its head says (which in excerpts may be
    wrong)."""
    namespaces: tuple[int, ...] = (0,)
    """Namespaces to take: 0 articles, 4 the project's own pages, 12 help, 14 categories, 100
    portals ..."""
    min_length: int = 50
    """Shortest text that is kept, in characters."""
    max_articles: int | None = None
    """Stop after this many articles, the first of the dump; one process then reads them."""
    cleaning: CleaningSettings = field(default_factory=CleaningSettings)
    """What is kept of the markup."""

    def problems(self) -> list[str]:
        """Everything wrong with the values, a sentence each."""
        found = positive(self, "min_length")
        if self.max_articles is not None:
            found += positive(self, "max_articles")
        return found if self.namespaces else [*found, "namespaces is empty: name at least one"]


class DumpExtraction:
    """The extraction of one part of a dump."""

    def __init__(self, dump: DumpSpan, settings: ExtractionSettings, output: PartOutput) -> None:
        self.dump, self.settings, self.output = dump, settings, output
        self.language = settings.lang or ""
        self.position = dump.span.begin
        if dump.site:
            self.begin(dump.site)

    def begin(self, site: SiteInfo) -> None:
        """Takes in what the head of the dump says."""
        self.site = site.in_language(self.settings.lang) if self.settings.lang else site
        self.language = self.site.language
        if not self.language:
            raise UserError(
                f"{self.dump.span.path}: its head does not say its language; name it with --lang"
            )
        names = dict(self.site.namespaces)
        self.cleaner = WikitextCleaner(self.settings.cleaning, names, self.language)

    def run(self, bar: tqdm[Any] | None = None) -> None:
        """Writes what the part has."""
        reader = DumpReader(self.dump.span, self.dump.site)
        for found in reader:
            if self.output.counts["out"] == self.settings.max_articles:
                break
            if isinstance(found, Page):
                self.add(found)
            elif isinstance(found, Skipped):
                self.output.count("in")
                self.drop(found.title, found.reason)
            elif isinstance(found, Problem):
                self.tell(found)
            else:
                self.begin(found)
            if bar is not None:
                self.move(bar, reader.position)
        self.output.count(XML_BYTES, reader.xml_bytes)

    def move(self, bar: tqdm[Any], position: int) -> None:
        """Moves a progress bar to a byte of the file."""
        if position > self.position:
            bar.update(position - self.position)
            speed = self.output.counts["in"] / (bar.format_dict["elapsed"] or 1)
            bar.set_postfix_str(f"{speed:,.0f} pages/s", refresh=False)
            self.position = position

    def add(self, page: Page) -> None:
        """Writes a page's record, or why there is none."""
        self.output.count("in")
        if page.checksum_differs:
            self.output.count(CHECKSUM)
            self.tell_checksum(page)
        if reason := self.reason_to_drop(page):
            self.drop(page.title, reason, page.id)
            return
        text = self.clean(page)
        if text is None:
            return
        if len(text) < self.settings.min_length:
            reason = f"shorter than {self.settings.min_length} characters"
            self.drop(page.title, reason, page.id, text)
            return
        self.output.count("out")
        self.output.write(
            {
                "text": text,
                "id": page.id,
                "title": page.title,
                "url": self.site.url(page.title),
                "lang": self.language,
                "revision": page.revision,
            }
        )

    def reason_to_drop(self, page: Page) -> str | None:
        """Why a page is no article."""
        if page.namespace not in self.settings.namespaces:
            return "other namespace"
        if page.is_redirect or (page.text and is_redirect(page.text)):
            return f"redirect ({self.language})"
        if page.text is None:
            return "without text in the dump"
        if page.model != "wikitext":
            return f"not wikitext but {page.model[:40]}"
        if len(page.text) > LONGEST_TEXT:
            return f"wikitext longer than {LONGEST_TEXT:,} characters"
        if is_disambiguation(page.text, self.language):
            return f"disambiguation ({self.language})"
        return None

    def clean(self, page: Page) -> str | None:
        """A page's text without its markup. A fault of the cleaner costs this page alone, and is
        told."""
        try:
            return self.cleaner.clean(page.text or "", page.title)
        except (
            ArithmeticError,
            AttributeError,
            LookupError,
            RuntimeError,
            TypeError,
            ValueError,
        ) as e:
            self.tell(
                Problem(
                    f"the cleaner failed on the page {page.title!r} ({type(e).__name__}: {e}); "
                    "please report it"
                )
            )
            self.drop(page.title, "the cleaner failed", page.id)
            return None

    def drop(self, title: str, reason: str, page_id: str = "", text: str = "") -> None:
        """Counts a page that is not taken, and notes why."""
        self.output.count(f"dropped: {reason}")
        record = {"text": text, "id": page_id, "title": title, "lang": self.language}
        self.output.write({**record, "reason": reason}, REJECTED)

    def tell(self, problem: Problem) -> None:
        """Notes what is wrong with the dump."""
        path = str(self.dump.span.path)
        self.output.write({"dump": path, "what": problem.what, "note": problem.is_note}, PROBLEMS)

    def tell_checksum(self, page: Page) -> None:
        """Notes the first page of a part whose text is not as its SHA-1 says."""
        if self.output.counts[CHECKSUM] == 1:
            self.tell(
                Problem(
                    f"the text of the page {page.title!r} is not the one that its SHA-1 was made "
                    "of: it was changed, or damaged",
                    is_note=True,
                )
            )
