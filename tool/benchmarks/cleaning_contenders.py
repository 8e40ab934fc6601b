"""The contenders of the data benchmark: each turns a dump into texts by page.

wikiextractor (AGPL) is only ever run, as a command of its own; mwparserfromhell is imported where
it is installed.
"""

from __future__ import annotations

import importlib.util
import json
import re
import resource
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from data_process.wiki.dump.reader import DumpPart, DumpReader
from data_process.wiki.dump.xml_pages import Page, SiteInfo
from data_process.wiki.text.wikitext import CleaningSettings, WikitextCleaner, is_redirect

ETUDE, EXTRACTOR, STRIP_CODE = "etude", "wikiextractor", "mwparserfromhell"
NOTE = re.compile(r"<ref\b[^<>]*/>|<ref\b[^<>]*>.*?</ref\s*>", re.DOTALL | re.IGNORECASE)
FILE_LANGUAGE = re.compile(r"(simple|[a-z]{2,3})wiki")


@dataclass(frozen=True)
class Cleaned:
    """What a contender made of a dump."""

    texts: dict[str, str]
    """By the number of the page and its revision."""
    seconds: float
    """Time of the processor in all processes: the time of one core."""


@dataclass(frozen=True)
class CleaningJob:
    """One run of a contender."""

    dump: Path
    """Unpacked, in UTF-8."""
    language: str
    command: str
    """wikiextractor's."""
    drop_notes: bool = False
    """Whether mwparserfromhell gets pages without footnotes, which it prints in the middle of
    sentences: sentences could not be told apart."""


def missing_contenders(command: str) -> dict[str, str]:
    """Contenders that are not here, and how to get them."""
    missing = {}
    if not shutil.which(command):
        missing[EXTRACTOR] = f"there is no command {command}: pip install wikiextractor"
    if importlib.util.find_spec(STRIP_CODE) is None:
        missing[STRIP_CODE] = "pip install mwparserfromhell"
    return missing


def language_of(path: Path, site: SiteInfo) -> str:
    """A dump's language, by its name where that says it: the heads of excerpts may be those of
    other wikis."""
    match = FILE_LANGUAGE.match(path.name)
    return match[1] if match else site.language


def articles_of(path: Path) -> tuple[SiteInfo, list[Page]]:
    """A dump's head and its articles, without redirects."""
    site = SiteInfo("", "", ())
    pages = []
    for found in DumpReader(DumpPart(path)):
        if isinstance(found, SiteInfo):
            site = found
        elif isinstance(found, Page) and found.namespace == 0 and not leads_on(found):
            pages.append(found)
    return site, pages


def leads_on(page: Page) -> bool:
    """Whether a page is a redirect, or has no text."""
    return page.is_redirect or not page.text or is_redirect(page.text)


def page_key(page: Page) -> str:
    """A page's number; the made-up ones of excerpts may occur twice."""
    return f"{page.id} {page.title}"


def clean_with_etude(job: CleaningJob) -> Cleaned:
    """Reads and cleans a dump as extract_wiki.py does."""
    start = time.process_time()
    site, pages = articles_of(job.dump)
    cleaner = WikitextCleaner(CleaningSettings(), dict(site.namespaces), job.language)
    texts = {page_key(page): cleaner.clean(page.text or "", page.title) for page in pages}
    return Cleaned(texts, time.process_time() - start)


def clean_with_strip_code(job: CleaningJob) -> Cleaned:
    """Reads a dump in the same way, and cleans it as mwparserfromhell's users do."""
    import mwparserfromhell

    start = time.process_time()
    _, pages = articles_of(job.dump)
    texts = {}
    for page in pages:
        text = NOTE.sub("", page.text or "") if job.drop_notes else page.text
        texts[page_key(page)] = str(mwparserfromhell.parse(text).strip_code())
    return Cleaned(texts, time.process_time() - start)


def clean_with_extractor(job: CleaningJob) -> Cleaned:
    """Runs wikiextractor without its templates, which it would need a whole dump for.

    Raises:
        RuntimeError: it failed.
    """
    options = ["--no-templates", "--quiet", "--json", "--processes", "1", "-o", "-"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = subprocess.run(
        [job.command, *options, str(job.dump)], capture_output=True, text=True, encoding="utf-8"
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if result.returncode:
        raise RuntimeError((result.stderr.strip().splitlines() or ["no message"])[-1])
    records = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cleaned({f"{r['id']} {r['title']}": r["text"] for r in records}, seconds)


CONTENDERS = {
    ETUDE: clean_with_etude,
    EXTRACTOR: clean_with_extractor,
    STRIP_CODE: clean_with_strip_code,
}
