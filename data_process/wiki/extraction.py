"""From the pages of dumps to records of clean text: a step in parts, and a report of every damage.

The parts write three streams: main, rejected (pages that are left out, with the reason), problems
(damage reports).
"""

from __future__ import annotations

import re
import sys
import uuid
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Gt

from config import Count, Settings, UserError
from data_process.records.opening import is_pipe
from data_process.records.parts import refuse_twice
from data_process.running.run import StepResult, first_of, run_step
from data_process.running.step import Part, PartOutput, Progress, Step, byte_bar, stream_records
from data_process.running.workers import Execution
from data_process.wiki.dump.reader import DumpPart, DumpReader, Problem, Skipped, cut_dump
from data_process.wiki.dump.xml_pages import Page, SiteInfo
from data_process.wiki.template_pages import (
    TemplateStep,
    TemplateStore,
    dump_identity,
    learn_templates,
    templates_in,
)
from data_process.wiki.text.kinds import is_disambiguation, is_redirect, table_of
from data_process.wiki.text.templates import no_templates
from data_process.wiki.text.wikitext import WikitextCleaner, WikitextSettings

PROBLEMS = "problems"
"""Stream of what is wrong with the dumps, beside main and rejected."""
LONGEST_TEXT = 4_000_000
"""Characters of wikitext that are cleaned: MediaWiki allows 2 MiB, and what is longer was made to
take time and memory."""
PROOFREAD = "proofread-page"
"""Model of the pages of books in Wikisource."""
PAGE_FRAME = re.compile("<noinclude>.*?</noinclude>", re.DOTALL)
"""Their head and foot."""
CHECKSUM, XML_BYTES = "text does not match its SHA-1", "bytes of XML"
"""What is counted beside pages in, out and dropped."""
DUMP_NAME = re.compile(r"\.xml(-p\d+p\d+)?(\.bz2|\.gz)?$")
MOST_WITHOUT_TEXT = 1_000
"""First pages of a dump after which it is refused if none of them has text."""
HOLES = "holes"
"""Stream of the templates that were dropped, inside sentences and elsewhere."""
INSIDE, ELSEWHERE = "templates dropped inside sentences", "templates dropped outside sentences"
MOST_HOLES = 50
"""Templates that the report lists of these."""
PIPED = (
    "a pipe cannot be read twice: its templates are not expanded, those of the built-in list are "
    "shown"
)
WITHOUT_TEMPLATES = (
    "the dump holds no templates (pages such as Template:Convert): those of the built-in list are "
    "shown"
)
UNREAD = (
    "with max_articles the dump is not read for its templates: those of the built-in list are shown"
)
SHOWN = 10
"""Most damages, and most notes, that are printed."""


@dataclass(frozen=True)
class ExtractionSettings(Settings):
    """Which pages are taken, and what becomes of their text."""

    lang: str | None = None
    """The dump's language, such as zh; None: that of its head (which in excerpts may be
    wrong)."""
    namespaces: tuple[int, ...] = (0,)
    """Namespaces to take: 0 articles, 4 the project's own pages, 12 help, 14 categories, 100
    portals ..."""
    min_length: Count = 50
    """Shortest text that is kept, in characters."""
    max_articles: Annotated[int | None, Gt(0)] = None
    """Stop after this many articles, the first of the dump; one process then reads them."""
    templates: Literal["dump", "list"] = "dump"
    """dump: templates are shown as their own pages in the dump say, which are read first, in a pass
    over all of it. list: those of the built-in list alone are shown."""
    cleaning: WikitextSettings = field(default_factory=WikitextSettings)
    """What is kept of the markup."""

    def conflicts(self) -> list[str]:
        """What is wrong between fields, a sentence each."""
        return [] if self.namespaces else ["namespaces is empty: name at least one"]


class DumpExtraction:
    """The extraction of one part of a dump."""

    def __init__(
        self,
        part: DumpPart,
        settings: ExtractionSettings,
        output: PartOutput,
        store: Path | None = None,
    ) -> None:
        """
        Args:
            part: what is read.
            settings: which pages are taken.
            output: where they are written.
            store: the file of the dump's templates.
        """
        self.part, self.settings, self.output, self.store = part, settings, output, store
        self.templates: TemplateStore | None = None
        self.pages_read = 0
        self.has_text = False
        if part.site:
            self.begin(part.site)

    def begin(self, site: SiteInfo) -> None:
        """Prepares the cleaner for the wiki that the head of the dump describes."""
        self.site = site.in_language(self.settings.lang) if self.settings.lang else site
        if not self.site.language:
            raise UserError(f"{self.part.path}: its head states no language; name it with --lang")
        names = dict(self.site.namespaces)
        self.templates = TemplateStore(self.store, site) if self.store else None
        library = self.templates.find if self.templates else no_templates
        language, project = self.site.language, self.site.project
        self.cleaner = WikitextCleaner(self.settings.cleaning, names, language, project, library)
        if not self.part.begin and (note := table_of("kinds")["projects"].get(project)):
            self.report(Problem(f"this is no Wikipedia: {note}", is_note=True))

    def run(self, bar: Progress | None = None) -> None:
        """Writes the records of the part, rejected pages and damage reports."""
        reader = DumpReader(self.part)
        position = self.part.begin
        for found in reader:
            if self.output.counts["out"] == self.settings.max_articles:
                break
            if isinstance(found, Page):
                self.add(found)
            elif isinstance(found, Skipped):
                self.output.count("in")
                self.reject(found.title, found.reason)
            elif isinstance(found, Problem):
                self.report(found)
            else:
                self.begin(found)
            if bar is not None and reader.raw.position > position:
                bar.update(reader.raw.position - position)
                position = reader.raw.position
        self.refuse_stub()
        self.output.count(XML_BYTES, reader.splitter.base)
        self.end()

    def end(self) -> None:
        """Writes which templates were dropped, and closes the file of templates."""
        holes = self.cleaner.holes
        for name, count in holes.counts.items():
            found = {"template": name, "count": count, "example": holes.examples[name]}
            self.output.write(found, HOLES)
        for name, count in holes.blocks.items():
            self.output.write({"template": name, "count": count}, HOLES)
        if self.templates:
            self.templates.close()

    def refuse_stub(self) -> None:
        """Raises UserError when the first pages of a dump, or all, have no text."""
        if self.pages_read and not self.has_text and not self.part.begin:
            raise UserError(
                f"{self.part.path}: none of its pages has text in it (a stub dump has no text); "
                "download the dump whose name has pages-articles"
            )

    def add(self, page: Page) -> None:
        """Writes a page's record, or why it is rejected."""
        self.output.count("in")
        self.pages_read += 1
        self.has_text = self.has_text or bool(page.text)
        if self.pages_read == MOST_WITHOUT_TEXT:
            self.refuse_stub()
        if page.checksum_differs:
            self.count_checksum(page)
        if reason := self.reason_to_reject(page):
            self.reject(page.title, reason, page.id)
            return
        text = self.clean(page)
        if text is None:
            return
        if len(text) < self.settings.min_length:
            reason = f"shorter than {self.settings.min_length} characters"
            self.reject(page.title, reason, page.id, text)
            return
        url, language = self.site.url(page.title), self.site.language
        record = {"text": text, "id": page.id, "title": page.title, "url": url, "lang": language}
        self.output.keep({**record, "revision": page.revision})

    def reason_to_reject(self, page: Page) -> str | None:
        """Why a page is not an article."""
        if page.namespace not in self.settings.namespaces:
            return "other namespace"
        if page.is_redirect or (page.text and is_redirect(page.text)):
            return f"redirect ({self.site.language})"
        if page.text is None:
            return "without text in the dump"
        if page.model not in ("wikitext", PROOFREAD):
            return f"not wikitext but {page.model[:40]}"
        if len(page.text) > LONGEST_TEXT:
            return f"wikitext longer than {LONGEST_TEXT:,} characters"
        if is_disambiguation(page.text, self.site.language):
            return f"disambiguation ({self.site.language})"
        return None

    def clean(self, page: Page) -> str | None:
        """A page's text without its markup. A fault of the cleaner costs this page alone, and is
        reported."""
        try:
            text = page.text or ""
            text = PAGE_FRAME.sub("", text) if page.model == PROOFREAD else text
            return self.cleaner.clean(text, page.title)
        except UserError:
            raise
        except Exception as error:
            fault = f"{type(error).__name__}: {error}"
            what = f"the cleaner failed on the page {page.title!r} ({fault}); please report it"
            self.report(Problem(what))
            self.reject(page.title, "the cleaner failed", page.id)
            return None

    def reject(self, title: str, reason: str, page_id: str = "", text: str = "") -> None:
        """Counts a page that is not taken, and notes why."""
        record = {"text": text, "id": page_id, "title": title, "lang": self.site.language}
        self.output.drop(record, reason)

    def report(self, problem: Problem) -> None:
        """Writes down what is wrong with the dump."""
        path = str(self.part.path)
        self.output.write({"dump": path, "what": problem.what, "note": problem.is_note}, PROBLEMS)

    def count_checksum(self, page: Page) -> None:
        """Counts pages whose text does not match its SHA-1, and reports the first of a part."""
        self.output.count(CHECKSUM)
        if self.output.counts[CHECKSUM] == 1:
            what = f"the text of the page {page.title!r} does not match its SHA-1: "
            self.report(Problem(what + "it was changed, or damaged", is_note=True))


@dataclass(frozen=True)
class ExtractionStep(Step):
    """Extracts the articles of dumps."""

    groups: tuple[tuple[DumpPart, ...], ...]
    """What each part of the step reads."""
    settings: ExtractionSettings
    store: Path | None = None
    """The file of the dumps' templates; None: those of the list are shown."""
    title = "extracting"

    def parts(self) -> Sequence[Part]:
        """The groups, by the bytes of their files."""
        return [Part(str(group[0]), sum(part.size for part in group)) for group in self.groups]

    def run(self, number: int, output: PartOutput) -> None:
        """Extracts one group; if it is the only one, with a progress bar of its own."""
        size = self.parts()[number].size or None
        only = len(self.groups) == 1
        with byte_bar("reading", size) if only else nullcontext() as bar:
            for part in self.groups[number]:
                DumpExtraction(part, self.settings, output, self.store).run(bar)

    def plan(self) -> dict[str, Any]:
        """The dumps, how they are cut, and the settings."""
        parts = [part for group in self.groups for part in group]
        return {
            "dumps": [
                # A pipe brings something else each time.
                uuid.uuid4().hex if is_pipe(path) else dump_identity(path)
                for path in dict.fromkeys(part.path for part in parts)
            ],
            "parts": [[part.begin, part.end] for part in parts],
            "settings": asdict(self.settings),
            "templates": self.store is not None,
        }


def plan_extraction(
    paths: Sequence[Path], settings: ExtractionSettings, part_bytes: int | None = None
) -> ExtractionStep:
    """Cuts dumps into parts.

    Args:
        paths: the dumps, in the order of the output.
        settings: which pages are taken.
        part_bytes: see `cut_dump`.

    Raises:
        UserError: one of them is not a dump, or is given twice.
    """
    refuse_twice(paths)
    if settings.max_articles:
        whole = tuple(part for path in paths for part in cut_dump(path, sys.maxsize))
        return ExtractionStep((whole,), settings)
    parts = (part for path in paths for part in cut_dump(path, part_bytes))
    return ExtractionStep(tuple((part,) for part in parts), settings)


def extract(
    paths: Sequence[Path],
    settings: ExtractionSettings,
    work_dir: Path,
    execution: Execution,
    store: Path,
) -> StepResult:
    """Extracts the articles of dumps; what comes from a pipe is read in this process, for others do
    not have it.

    Args:
        paths: the dumps.
        settings: which pages are taken.
        work_dir: where the parts go.
        execution: where it is done.
        store: the file for the templates of the dumps, kept for the next run.
    """
    step, notes = with_templates(plan_extraction(paths, settings), store, work_dir, execution)
    if any(map(is_pipe, paths)):
        execution = replace(execution, workers=1, executor="local")
    counts = run_step(step, work_dir, execution)
    xml_bytes = counts.pop(XML_BYTES, 0)
    damages, found = read_problems(work_dir)
    details = {INSIDE: read_holes(work_dir, True), ELSEWHERE: read_holes(work_dir, False)}
    if holes := details[INSIDE]:
        names = first_of([f"{hole['template']} ({hole['count']:,})" for hole in holes], SHOWN)
        notes.append(f"{INSIDE}, as what they show is not known: {names}")
    return StepResult(counts, xml_bytes, damages, [*found, *notes], details)


def with_templates(
    step: ExtractionStep, store: Path, work_dir: Path, execution: Execution
) -> tuple[ExtractionStep, list[str]]:
    """A step with the templates of its dumps, and notes where it has none; see `extract`."""
    if step.settings.templates == "list":
        return step, []
    pieces = [part for group in step.groups for part in group]
    files = tuple(part for part in pieces if not is_pipe(part.path))
    notes = [PIPED] if len(files) < len(pieces) else []
    reading = TemplateStep(files)
    known = templates_in(store, reading)
    if step.settings.max_articles and known is None:
        return step, [*notes, *([UNREAD] if files else [])]
    if files and known is None:
        known = learn_templates(reading, store, work_dir / "templates", execution)
    if files and not known:
        notes.append(WITHOUT_TEMPLATES)
    return (replace(step, store=store) if known else step), notes


def read_holes(work_dir: Path, in_sentences: bool) -> list[dict[str, Any]]:
    """The templates that were dropped most often; those inside sentences with an example each."""
    found: dict[str, dict[str, Any]] = {}
    for hole in stream_records(work_dir, HOLES):
        if ("example" in hole) != in_sentences:
            continue
        known = found.setdefault(hole["template"], {**hole, "count": 0})
        known["count"] += hole["count"]
    return sorted(found.values(), key=lambda hole: (-hole["count"], hole["template"]))[:MOST_HOLES]


def find_dumps(paths: Sequence[Path]) -> list[Path]:
    """The dumps among files and folders; those of a folder in the order of the numbers in their
    names.

    Raises:
        UserError: a path does not exist, or a folder has no dump.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = [p for p in path.iterdir() if DUMP_NAME.search(p.name) and p.is_file()]
            if not inside:
                raise UserError(f"{path}: no dump (.xml, .xml.bz2, .xml.gz) is in this folder")
            found += sorted(inside, key=natural_order)
        elif is_pipe(path) or path.exists():
            found.append(path)
        else:
            raise UserError(f"{path}: there is no such file; name a dump, a folder of dumps, or -")
    return found


def natural_order(path: Path) -> list[tuple[int, str]]:
    """A sort key in which multistream2 comes before multistream10."""
    pieces = re.findall(r"\d+|\D+", path.name)
    return [(int(piece), "") if piece.isdecimal() else (-1, piece) for piece in pieces]


def read_problems(work_dir: Path) -> tuple[list[str], list[str]]:
    """What is wrong with the dumps (damages, notes), a sentence each; of many, the first ones."""
    damages: list[str] = []
    notes: list[str] = []
    for problem in stream_records(work_dir, PROBLEMS):
        (notes if problem["note"] else damages).append(f"{problem['dump']}: {problem['what']}")
    return shortened(damages, "damages"), shortened(notes, "notes")


def shortened(sentences: list[str], what: str) -> list[str]:
    """The first sentences, and how many more there are."""
    if (more := len(sentences) - SHOWN) <= 0:
        return sentences
    return [*sentences[:SHOWN], f"and {more:,} more {what}"]
