"""The wikitext cleaner against wikiextractor and mwparserfromhell: speed, markup left, prose kept.

wikiextractor (AGPL) is only ever run, as a command of its own; mwparserfromhell is imported where
it is installed.
"""

from __future__ import annotations

import bz2
import dataclasses
import gzip
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from config import UserError
from data_process.wiki.dump.reader import DumpPart, DumpReader
from data_process.wiki.dump.xml_pages import Page, SiteInfo
from data_process.wiki.text.kinds import is_redirect
from data_process.wiki.text.wikitext import WikitextCleaner, WikitextSettings
from model.directory.storage import jsonl_text
from tool.benchmarks.measuring import aligned, processor_name, take_turns
from tool.settings import CleaningBenchmarkConfig

ETUDE, EXTRACTOR, STRIP_CODE = "etude", "wikiextractor", "mwparserfromhell"
NOTE = re.compile(r"<ref\b[^<>]*/>|<ref\b[^<>]*>.*?</ref\s*>", re.DOTALL | re.IGNORECASE)
FILE_LANGUAGE = re.compile(r"(simple|[a-z]{2,3})wiki")
MARKUP = {
    "[[": r"\[\[|\]\]",
    "{{": r"\{\{|\}\}",
    "{|": r"\{\||\|\}",
    "<ref": r"</?ref\b",
    "'''": r"'{2,}",
    "&nbsp;": r"&(?:#\d+|#x[0-9a-f]+|nbsp|lt|gt|amp|quot|[nm]dash|minus|times);",
    "-{": r"-\{|\}-",
    "<tag>": r"</?(?:br|div|span|small|sub|sup|nowiki|table|t[rdh]|p|math|gallery|center)\b[^>]*>",
    "__X__": r"__[A-Z]{4,}__",
    "File:": r"^(?:File|Image|Category|Файл|ファイル|文件):|\bthumb\|",
}
"""Markup that must not be left, by the name of its column in the table."""
DANGLING = (
    r"\(\s*[,;，；]|[,;，；]\s*\)|（\s*[，；、]|[，；、]\s*）|\(\s*\)|（\s*）|,\s*,|，\s*，|[a-z] ,"
)
"""Signs of something dropped: empty brackets, a comma beside a bracket or another comma."""
PER = 1_000_000
MIN_WORDS = 6
"""A Chinese or Japanese character is half a word."""
KEPT_SHARE = 2 / 3
"""Share of a sentence's groups of words that the other text must have: templates that only one of
them shows stand in the middle of sentences."""
GROUP = 3
"""Words in a group."""
HAN = "\u3040-\u30ff\u3400-\u9fff"
BOUNDARY = re.compile(
    r"(?<=[.!?][\s\"”’)])\s*(?=[^\W\d_a-z])|(?<=[.!?])\s+(?=[\"“‘(])|(?<=[。！？])"
)
ENDING = re.compile(r"[.!?。！？][\"'”’»」』)）]*$")
WORD = re.compile(rf"[{HAN}]|[^\W_{HAN}]+")
NO_PROSE = re.compile(
    r"[|={}\[\]<>\\\t_•·]|https?:|''|&[a-z]+;|\bISBN\b|\bpp?\. ?\d|\d{4}\)?\.\s*$"
    r"|^\W*(?:File|Image):"
)
"""Signs of tables, infoboxes, links, formulas and references."""
FORMULA = re.compile(
    r"\$(?!\d)[^$\n]*?[\\^_={}][^$\n]*\$|\b(?:formula|codice|math)_\d+", re.IGNORECASE
)
MIN_LETTERS = 0.7
MAX_CAPITALS = 0.4


@dataclass(frozen=True)
class Cleaned:
    """What a contender made of a dump."""

    texts: dict[str, str]
    """By the number of the page and its title."""
    seconds: float
    """Time of the processor in all processes: the time of one core."""

    def __str__(self) -> str:
        return f"{self.seconds:.2f} s"


@dataclass(frozen=True)
class CleaningJob:
    """One run of a contender."""

    dump: Path
    """Unpacked."""
    language: str
    command: str
    """wikiextractor's."""


@dataclass(frozen=True)
class Quality:
    """What a contender's texts of a dump are like."""

    pages: int
    characters: int
    markup: dict[str, float]
    """Of each kind, for a million characters."""
    dangling: float
    """For a million characters."""
    sentences: int
    """Sentences of prose in pages that Etude has too."""
    lost: list[str]
    """Those that Etude's texts do not have."""

    @property
    def kept_share(self) -> float | None:
        """Share of the sentences that Etude keeps; None where there are none."""
        return 1 - len(self.lost) / self.sentences if self.sentences else None


def compare(config: CleaningBenchmarkConfig) -> int:
    """Measures, prints tables and, last, all of it as one line of JSON.

    Returns:
        0, or 1 when a contender failed.

    Raises:
        UserError: a dump cannot be read.
    """
    print(f"{processor_name()}; Python {platform.python_version()}", flush=True)
    missing = missing_contenders(config.wikiextractor)
    for name, remedy in missing.items():
        print(f"{name} is left out: {remedy}")
    names = [name for name in CONTENDERS if name not in missing]
    with TemporaryDirectory() as folder:
        jobs = [job_of(path, Path(folder), config) for path in config.dumps]
        largest = max(jobs, key=lambda job: job.dump.stat().st_size)
        speed: dict[str, Any] = {}
        quality: dict[str, dict[str, Quality]] = {}
        failed = False
        for job in jobs:
            rounds = config.rounds if job is largest else 1
            runs = {name: partial(CONTENDERS[name], job) for name in names}
            results, failures = take_turns(runs, rounds)
            if job is largest:
                speed = compare_speed(job, results, failures)
            quality[job.dump.name] = measure_quality(results)
            print(quality_table(job, quality[job.dump.name], failures), flush=True)
            failed = failed or bool(failures)
    if config.differences:
        write_differences(config.differences, quality)
    figures = {
        dump: {name: quality_json(found) for name, found in by_name.items()}
        for dump, by_name in quality.items()
    }
    report = {"benchmark": "data", "missing": missing, "speed": speed, "quality": figures}
    print(json.dumps(report))
    return int(failed)


def missing_contenders(command: str) -> dict[str, str]:
    """Contenders that are not installed, and how to get them."""
    missing = {}
    if not shutil.which(command):
        missing[EXTRACTOR] = f"there is no command {command}: pip install wikiextractor"
    if importlib.util.find_spec(STRIP_CODE) is None:
        missing[STRIP_CODE] = "pip install mwparserfromhell"
    return missing


def job_of(path: Path, folder: Path, config: CleaningBenchmarkConfig) -> CleaningJob:
    """A dump, unpacked into a folder, since not all contenders read others.

    Raises:
        UserError: it cannot be read.
    """
    try:
        content = path.read_bytes()
        if content.startswith(b"BZh"):
            content = bz2.decompress(content)
        elif content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
    except (OSError, EOFError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); name a dump") from error
    plain = folder / path.name.removesuffix(".bz2").removesuffix(".gz")
    plain.write_bytes(content)
    return CleaningJob(plain, language_of(path, articles_of(plain)[0]), config.wikiextractor)


def language_of(path: Path, site: SiteInfo) -> str:
    """A dump's language, by its file's name where that says it: the heads of excerpts may be those
    of other wikis."""
    match = FILE_LANGUAGE.match(path.name)
    return match[1] if match else site.language


def articles_of(path: Path) -> tuple[SiteInfo, list[Page]]:
    """A dump's head and its articles, without redirects."""
    site = SiteInfo("", "", ())
    pages = []
    for found in DumpReader(DumpPart(path)):
        if isinstance(found, SiteInfo):
            site = found
        elif isinstance(found, Page) and found.namespace == 0 and has_text(found):
            pages.append(found)
    return site, pages


def has_text(page: Page) -> bool:
    """Whether a page has a text and is no redirect."""
    return not (page.is_redirect or not page.text or is_redirect(page.text))


def page_key(page: Page) -> str:
    """A page's number and title; the made-up numbers of excerpts may occur twice."""
    return f"{page.id} {page.title}"


def clean_with_etude(job: CleaningJob) -> Cleaned:
    """Reads and cleans a dump as extract_wiki.py does."""
    start = time.process_time()
    site, pages = articles_of(job.dump)
    names = dict(site.namespaces)
    cleaner = WikitextCleaner(WikitextSettings(), names, job.language)
    for page in pages:
        cleaner.clean(page.text or "", page.title)
    seconds = time.process_time() - start
    # Formulas are shown as they were typed: their braces are no markup that was left.
    cleaner = WikitextCleaner(WikitextSettings(math="drop"), names, job.language)
    return Cleaned({page_key(p): cleaner.clean(p.text or "", p.title) for p in pages}, seconds)


def clean_with_strip_code(job: CleaningJob) -> Cleaned:
    """Reads a dump in the same way, and cleans it as mwparserfromhell's users do."""
    import mwparserfromhell

    start = time.process_time()
    _, pages = articles_of(job.dump)
    for page in pages:
        mwparserfromhell.parse(page.text).strip_code()
    seconds = time.process_time() - start
    # It prints footnotes in the middle of sentences, which would then look lost in our text.
    texts = {page: mwparserfromhell.parse(NOTE.sub("", page.text or "")) for page in pages}
    return Cleaned({page_key(p): str(text.strip_code()) for p, text in texts.items()}, seconds)


def clean_with_extractor(job: CleaningJob) -> Cleaned:
    """Runs wikiextractor without its templates, which it would need a whole dump for.

    Raises:
        RuntimeError: it failed.
    """
    options = ["--no-templates", "--quiet", "--json", "--processes", "1", "-o", "-"]
    before = os.times()
    result = subprocess.run(
        [job.command, *options, str(job.dump)], capture_output=True, text=True, encoding="utf-8"
    )
    after = os.times()
    if result.returncode:
        raise RuntimeError((result.stderr.strip().splitlines() or ["no message"])[-1])
    records = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    seconds = sum(after[2:4]) - sum(before[2:4])  # user and system time of child processes
    return Cleaned({f"{r['id']} {r['title']}": r["text"] for r in records}, seconds)


CONTENDERS: dict[str, Callable[[CleaningJob], Cleaned]] = {
    ETUDE: clean_with_etude,
    EXTRACTOR: clean_with_extractor,
    STRIP_CODE: clean_with_strip_code,
}


def compare_speed(
    job: CleaningJob, results: Mapping[str, Sequence[Cleaned]], failures: Mapping[str, str]
) -> dict[str, Any]:
    """Prints and returns the speed from XML to text.

    What a process needs to begin counts for wikiextractor alone, which is run as a command, and is
    a small part of its time.
    """
    megabytes = job.dump.stat().st_size / 1e6
    figures: dict[str, Any] = {name: {"error": reason} for name, reason in failures.items()}
    rows = []
    for name in [name for name in results if name not in failures]:
        seconds = [cleaned.seconds for cleaned in results[name]]
        speed = megabytes / min(seconds)
        figures[name] = {"mb_per_second": speed, "seconds": seconds}
        rows.append((name, f"{speed:.1f}"))
    print(f"\n{job.dump.name}, {megabytes:.1f} MB of XML, on one core, best of the rounds")
    print(aligned(("", "MB/s"), rows, failures), flush=True)
    return {"dump": job.dump.name, "megabytes": megabytes, "contenders": figures}


def measure_quality(results: Mapping[str, Sequence[Cleaned]]) -> dict[str, Quality]:
    """The quality of all contenders on a dump."""
    texts = {name: rounds[0].texts for name, rounds in results.items() if rounds}
    own = texts.get(ETUDE, {})
    return {
        name: quality_of(by_page, {} if name == ETUDE else own) for name, by_page in texts.items()
    }


def quality_of(texts: Mapping[str, str], own: Mapping[str, str]) -> Quality:
    """Counts what is left of the markup, and a peer's sentences that are not in Etude's texts."""
    text = "\n".join(texts.values())
    scale = PER / max(1, len(text))
    markup = {
        name: scale * len(re.findall(pattern, text, re.IGNORECASE | re.MULTILINE))
        for name, pattern in MARKUP.items()
    }
    dangling = scale * len(re.findall(DANGLING, text))
    found = [lost_sentences(own[key], texts[key]) for key in texts if key in own]
    lost = [sentence for _, missing in found for sentence in missing]
    sentences = sum(count for count, _ in found)
    return Quality(len(texts), len(text), markup, dangling, sentences, lost)


def sentences_in(text: str) -> Iterator[str]:
    """The sentences of prose of a text.

    A sentence is what stands in one line between the ends of sentences. It is prose if it ends like
    one, has six words, most of them in small letters, is made of letters for the most part, and
    shows no sign of a table, link, formula or reference.
    """
    for line in text.split("\n"):
        for piece in BOUNDARY.split(line):
            if is_prose(piece := piece.strip(" *#:;-")):
                yield piece


def is_prose(sentence: str) -> bool:
    """Whether a piece of a line is a sentence of prose."""
    if not ENDING.search(sentence) or NO_PROSE.search(sentence):
        return False
    words = WORD.findall(sentence)
    han = sum(len(word) == 1 and word > "\u3000" for word in words)
    if len(words) - han / 2 < MIN_WORDS:
        return False
    capitals = sum(word[0].isupper() or word[0].isdigit() for word in words)
    letters = sum(map(str.isalpha, sentence))
    spaces = sentence.count(" ")
    return capitals <= MAX_CAPITALS * len(words) and letters >= MIN_LETTERS * (
        len(sentence) - spaces
    )


def words_of(text: str) -> list[str]:
    """The words of a text for comparison: raised digits are digits, formulas are left out."""
    return WORD.findall(unicodedata.normalize("NFKC", FORMULA.sub(" ", text)).casefold())


def groups_of(words: Sequence[str]) -> set[tuple[str, ...]]:
    """All groups of words that stand side by side."""
    return set(zip(*(words[n:] for n in range(GROUP)), strict=False))


def lost_sentences(text: str, peer: str) -> tuple[int, list[str]]:
    """How many sentences of prose a peer's text has, and those of them that a text has not."""
    known = groups_of(words_of(text))
    count, lost = 0, []
    for sentence in sentences_in(peer):
        groups = groups_of(words_of(sentence))
        if not groups:
            continue
        count += 1
        if len(groups & known) < KEPT_SHARE * len(groups):
            lost.append(sentence)
    return count, lost


def quality_json(quality: Quality) -> dict[str, object]:
    """The figures, without the sentences."""
    lost, kept_share = len(quality.lost), quality.kept_share
    return {**dataclasses.asdict(quality), "lost": lost, "kept_share": kept_share}


def quality_table(
    job: CleaningJob, found: Mapping[str, Quality], failures: Mapping[str, str]
) -> str:
    """A dump's figures as a table."""
    rows = []
    for contender, quality in found.items():
        share = quality.kept_share
        kept = "" if share is None else f"{share:.2%} of {quality.sentences:,}"
        counts = [f"{count:,.0f}" for count in (*quality.markup.values(), quality.dangling)]
        rows.append((contender, f"{quality.characters:,}", *counts, kept))
    title = f"\n{job.dump.name} ({job.language}): markup left in a million characters; kept by us\n"
    return title + aligned(("", "characters", *MARKUP, "dangling", "kept"), rows, failures)


def write_differences(path: Path, quality: Mapping[str, Mapping[str, Quality]]) -> None:
    """Writes the sentences of others that Etude does not have, to be read."""
    records = [
        {"dump": dump, "contender": name, "sentence": sentence}
        for dump, by_name in quality.items()
        for name, found in by_name.items()
        for sentence in found.lost
    ]
    path.write_text(jsonl_text(records), encoding="utf-8")
