"""The cleaning of documents, as steps: counting lines that stand in many of them, and cleaning."""

from __future__ import annotations

import itertools
import operator
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Interval

from config import Settings
from data_process.cleaning.boilerplate import is_countable, line_key, without_boilerplate
from data_process.cleaning.language import UNKNOWN, language_of
from data_process.cleaning.normalisation import Normalisation, normalise
from data_process.cleaning.personal_data import mask_personal_data
from data_process.cleaning.quality import QualityLimits, quality_problem
from data_process.records.jsonl import BadRecords, FilePart, Record, read_part
from data_process.records.kinds import document_problems
from data_process.records.parts import FilesStep, plan_of
from data_process.running.run import StepResult, run_single, run_step
from data_process.running.step import PartOutput, merged_lines
from data_process.running.workers import Execution

LINES = "lines"
"""Name of the stream of counted lines, and of the folder of their work."""


@dataclass(frozen=True)
class CleaningSettings(Settings):
    """What is done to documents."""

    keep_boilerplate: bool = False
    """Leave lines of navigation, copyright, cookies and the like, and licences of Project
    Gutenberg."""
    repeated_lines: Annotated[int, Interval(ge=0, le=10**9)] = 0
    """Remove lines that stand in this many documents or more; they are counted in a pass of its own
    before. 0: none."""
    languages: tuple[str, ...] = ()
    """Languages to keep, such as: zh en; none: all."""
    drop_unknown_language: bool = False
    """With --languages: also drop texts that are too short to tell their language."""
    add_language: bool = False
    """Write the language found into each record, as "lang"."""
    mask_personal_data: bool = False
    """Put [EMAIL], [PHONE], [ID], [IP] and [CARD] in place of such data."""
    text_key: str = "text"
    """Key of the text in JSONL and tables, such as content or meta.text; it is written as text."""
    bad_records: BadRecords = "stop"
    """stop: a line that is no record ends the work, and is named. skip: such lines are counted."""
    normalisation: Normalisation = field(default_factory=Normalisation)
    """How texts are written."""
    quality: QualityLimits = field(default_factory=QualityLimits)
    """What is kept."""

    def conflicts(self) -> list[str]:
        """What is wrong between fields, a sentence each."""
        if self.drop_unknown_language and not self.languages:
            return ["drop_unknown_language needs --languages: name those to keep"]
        return []


@dataclass(frozen=True)
class CleaningStep(FilesStep):
    """Cleans documents. The streams it writes: main, rejected, removed."""

    settings: CleaningSettings
    repeated: frozenset[str] = frozenset()
    """`line_key` of the lines to remove; they follow from the files and the settings."""
    title = "cleaning"

    def plan(self) -> dict[str, Any]:
        """The files and the settings."""
        return {"step": "clean_text 2", **plan_of(self.files), "settings": asdict(self.settings)}

    def run(self, number: int, output: PartOutput) -> None:
        """Cleans the documents of one part."""
        part, settings = self.files[number], self.settings
        for document in read_part(
            part, output, settings.bad_records, document_problems, settings.text_key
        ):
            text, language, reason = self.clean(document, output)
            if reason:
                output.drop(document.value, reason)
                continue
            if settings.mask_personal_data:
                text, found = mask_personal_data(text)
                for what, times in found.items():
                    output.count(f"masked: {what}", times)
            output.count("changed", text != document.value["text"])
            added = {"lang": language} if settings.add_language else {}
            output.keep({**document.value, "text": text, **added})

    def clean(self, document: Record, output: PartOutput) -> tuple[str, str, str | None]:
        """A document's clean text, its language, and why it is dropped, if it is."""
        settings = self.settings
        text = normalise(document.value["text"], settings.normalisation)
        if not settings.keep_boilerplate:
            text, removed = without_boilerplate(text, self.repeated)
            for line in removed:
                output.remove_line(document.with_place, line.line, line.rule, line.number)
        if not text:
            return text, UNKNOWN, "empty"
        language = UNKNOWN
        if settings.languages or settings.add_language:
            language, _ = language_of(text)
        if problem := language_problem(language, settings):
            return text, language, problem
        return text, language, quality_problem(text, settings.quality)


def language_problem(language: str, settings: CleaningSettings) -> str | None:
    """Why a document in a language is dropped, if it is."""
    if not settings.languages or language in settings.languages:
        return None
    if language == UNKNOWN:
        return "unknown language" if settings.drop_unknown_language else None
    return f"language {language}"


@dataclass(frozen=True)
class LineCountingStep(FilesStep):
    """Counts in how many documents a line stands. The stream it writes: lines, sorted."""

    normalisation: Normalisation
    bad_records: BadRecords
    text_key: str
    title = "counting lines"

    def run(self, number: int, output: PartOutput) -> None:
        """Counts the lines of one part."""
        counts: Counter[str] = Counter()
        part = self.files[number]
        for document in read_part(part, output, self.bad_records, document_problems, self.text_key):
            text = normalise(document.value["text"], self.normalisation)
            counts.update({line_key(line) for line in text.split("\n") if is_countable(line)})
        for key in sorted(counts):
            output.write_bytes(f"{key} {counts[key]}\n".encode("ascii"), LINES)


def clean(
    files: tuple[FilePart, ...], settings: CleaningSettings, work_dir: Path, execution: Execution
) -> StepResult:
    """Cleans documents; if lines that stand in many of them are to go, these are counted before."""
    repeated = frozenset[str]()
    if settings.repeated_lines:
        counting = LineCountingStep(
            files, settings.normalisation, settings.bad_records, settings.text_key
        )
        run_step(counting, work_dir / LINES, execution)
        repeated = repeated_lines(work_dir / LINES, settings.repeated_lines)
    return run_single(CleaningStep(files, settings, repeated), work_dir, execution)


def repeated_lines(work_dir: Path, least: int) -> frozenset[str]:
    """The lines that `LineCountingStep` found in at least so many documents."""
    counted = map(bytes.split, merged_lines(work_dir, LINES))  # sorted by key, as each part is
    groups = itertools.groupby(counted, operator.itemgetter(0))
    totals = ((key, sum(int(count) for _, count in counts)) for key, counts in groups)
    return frozenset(key.decode("ascii") for key, total in totals if total >= least)
