"""The chain from dumps, texts and records to training text, and its input files.

    WORK_DIR/extract     articles of dumps (wiki/)
    WORK_DIR/split       samples of texts (text/)
    WORK_DIR/clean       what is clean, of both and of the records (cleaning/)
    WORK_DIR/dedup       what is left of that (dedup/)
    WORK_DIR/count       what it holds (records/counts.py)

A stage reads what the parts of the one before have written, where they wrote it. Each has a plan,
so one that is done is not done again, unless its settings or its input changed.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Interval

from config import Count, Settings, UserError
from data_process.cleaning.step import CleaningSettings, clean
from data_process.dedup.decontamination import Decontamination
from data_process.dedup.deduplication import DedupSettings, deduplicate
from data_process.dedup.fingerprints import Comparison
from data_process.records.files import RECORD_ENDINGS, ending_of, visible_files
from data_process.records.jsonl import BadRecords
from data_process.records.opening import is_pipe, opened
from data_process.records.parts import jsonl_parts, readable_copy, refuse_twice
from data_process.running.run import StepResult, counts_named, first_of, nothing_left, outcome
from data_process.running.step import stream_files
from data_process.running.work_dir import blocks, open_output
from data_process.running.workers import Execution
from data_process.text.files import TEXT_ENDINGS
from data_process.text.splitting import SplitSettings, is_text, split
from data_process.wiki.extraction import DUMP_NAME, ExtractionSettings, extract, natural_order
from data_process.wiki.text.wikitext import VariantName, WikitextSettings

EXTRACT, SPLIT, CLEAN, DEDUP, COUNT = "extract", "split", "clean", "dedup", "count"
STAGES = {
    EXTRACT: "extracting articles",
    SPLIT: "splitting texts",
    CLEAN: "cleaning",
    DEDUP: "dropping duplicates",
}
"""Those that make text, in their order, with their headings."""
Kind = Literal["dump", "index", "text", "records", "other"]
INDEX_NAME = re.compile(r"multistream-index\d*\.txt")
"""The index of a multistream dump, which is not a text."""
SHOWN = 10
"""Most files that are named when they are passed over."""


@dataclass
class ChainInputs:
    """Files by what they are, each kind in the order of the output."""

    dumps: list[Path] = field(default_factory=list)
    texts: dict[Path, str] = field(default_factory=dict)
    """With the source that their samples name: the file, in a folder with its place there."""
    records: list[Path] = field(default_factory=list)
    """JSONL."""
    passed_over: list[Path] = field(default_factory=list)
    """Other files of folders."""

    @property
    def notes(self) -> list[str]:
        """A sentence about files that were passed over."""
        if not self.passed_over:
            return []
        names = first_of(self.passed_over, SHOWN)
        return [f"passed over, not a dump, text or JSONL by their names: {names}"]


def find_inputs(places: Sequence[Path]) -> ChainInputs:
    """Sorts files, and those in folders and the folders inside: dumps in the order of the numbers
    in their names, the rest by name.

    Raises:
        UserError: a path is not there, is nothing that can be read, or is given twice, or a folder
            has no file that can be read.
    """
    inputs, known = ChainInputs(), list[Path]()
    for place in places:
        found = defaultdict[Kind, list[Path]](list)
        for path in files_of(place):
            found[kind_of(path)].append(path)
        if is_pipe(place):
            place = readable_copy(place)
            found["text" if is_text(place) else "records"].append(place)
        readable = [*found["dump"], *found["text"], *found["records"]]
        if not readable:
            raise UserError(
                f"{place}: no dump (.xml, .xml.bz2, .xml.gz), text (.txt, .md, .html) or JSONL "
                "(.jsonl) by its name; unpack it, or let its name say what it is"
            )
        known += readable
        folder = place if place.is_dir() else place.parent
        inputs.dumps += sorted(found["dump"], key=lambda path: (path.parent, natural_order(path)))
        inputs.texts.update({p: p.relative_to(folder).as_posix() for p in found["text"]})
        inputs.records += found["records"]
        inputs.passed_over += found["other"]
    refuse_twice(known)
    return inputs


def files_of(place: Path) -> list[Path]:
    """A file, or the files of a folder that are not hidden, by their places in it."""
    if place.is_dir():
        return visible_files(place)
    if is_pipe(place):
        return []
    with opened(place):
        return [place]


def kind_of(path: Path) -> Kind:
    """What a file is by its name."""
    if DUMP_NAME.search(path.name):
        return "dump"
    if INDEX_NAME.search(path.name):
        return "index"
    if (ending := ending_of(path)) in RECORD_ENDINGS:
        return "records"
    return "text" if ending in TEXT_ENDINGS else "other"


@dataclass(frozen=True)
class ChainSettings(Settings):
    """What the stages do; the rest is as each script does it by default."""

    lang: str | None = None
    """Language of the dumps, such as zh; None: what the head of each one says."""
    variant: VariantName = "zh-cn"
    """Chinese dumps: whose words are taken where a page names those of several regions."""
    min_length: Count = 50
    """Shortest article of a dump that is taken, in characters."""
    languages: tuple[str, ...] = ()
    """Languages to keep, such as: zh en; none: all."""
    mask_personal_data: bool = False
    """Put [EMAIL], [PHONE], [ID], [IP] and [CARD] in place of such data."""
    threshold: Annotated[float, Interval(ge=0.1, le=1)] = 0.7
    """Documents whose sets of n-grams are as similar as this (Jaccard), from 0 to 1, are near
    duplicates."""
    against: tuple[Path, ...] = ()
    """JSONL files, or folders of them, with evaluation texts that must not be in the output."""
    encoding: str | None = None
    """Encoding of all text files; None: each one's is found, and listed."""
    text_key: str = "text"
    """Key of the text in JSONL and tables, such as content or meta.text; it is written as text."""
    bad_records: BadRecords = "stop"
    """stop: a line of JSONL that is not a record, or bytes that are not text, end the work with an
    error. skip: they are passed over or mended, and counted."""


@dataclass(frozen=True, kw_only=True)
class Stage(StepResult):
    """What a stage did."""

    name: str
    output_bytes: int
    """Size of what it wrote, as JSONL."""
    seconds: float | None
    """Time that it took; None when an earlier start had done a part of it."""

    def dropped(self) -> list[tuple[str, int]]:
        """The reasons why documents were dropped, and how many were, the most frequent first."""
        return counts_named(self.counts, "dropped: ")

    def table(self) -> list[str]:
        """What is printed of it when it has ended."""
        lines = outcome(self.counts, self.input_bytes, self.seconds or 0.0)
        return [f"{STAGES[self.name]}:", *(lines if self.seconds is not None else lines[:-1])]

    def nothing_left(self) -> str:
        """The error when this stage, the last one, has dropped everything."""
        return nothing_left(self.counts, f" after {STAGES[self.name]}")[0]


@dataclass(frozen=True)
class Chain:
    """All stages of a run."""

    inputs: ChainInputs
    settings: ChainSettings
    against: tuple[Path, ...]
    """The evaluation files of the settings, those of folders too."""
    work_dir: Path
    execution: Execution

    def run(self) -> Iterator[Stage]:
        """Does what is not done of each stage; ends early when a stage leaves nothing.

        Raises:
            UserError: the input is wrong; what is done stays.
            SystemExit: a Slurm job was submitted, or still runs.
        """
        if self.inputs.dumps:
            yield self.stage(EXTRACT, self.extract)
        if self.inputs.texts:
            yield self.stage(SPLIT, self.split)
        if made := [*self.output_of(EXTRACT), *self.output_of(SPLIT), *self.inputs.records]:
            yield self.stage(CLEAN, partial(self.clean, made))
        if made and (clean := self.output_of(CLEAN)):
            yield self.stage(DEDUP, partial(self.deduplicate, clean))

    def output_of(self, stage: str) -> list[Path]:
        """The files that a stage has written; none if it has nothing to do."""
        has_input = {EXTRACT: self.inputs.dumps, SPLIT: self.inputs.texts}
        if not has_input.get(stage, True):
            return []  # an earlier start may have had some
        return list(stream_files(self.work_dir / stage))

    def write_stream(
        self, stages: Sequence[Stage], stream: str, destination: Path, overwrite: bool
    ) -> None:
        """Writes what stages have dropped or taken out, in their order, into one file."""
        with open_output(destination, overwrite) as file:
            for stage in stages:
                file.writelines(blocks(self.work_dir / stage.name, stream))

    def stage(self, name: str, work: Callable[[Path], StepResult]) -> Stage:
        """Runs a stage in its work directory."""
        is_begun, start = (self.work_dir / name).exists(), time.perf_counter()
        result = work(self.work_dir / name)
        seconds = None if is_begun else time.perf_counter() - start
        written = sum(path.stat().st_size for path in self.output_of(name))
        return Stage(**vars(result), name=name, output_bytes=written, seconds=seconds)

    def extract(self, work_dir: Path) -> StepResult:
        """Dumps to articles."""
        given, cleaning = self.settings, WikitextSettings(variant=self.settings.variant)
        taken = ExtractionSettings(lang=given.lang, min_length=given.min_length, cleaning=cleaning)
        store = self.work_dir.with_suffix(".templates")
        return extract(self.inputs.dumps, taken, work_dir, self.execution, store)

    def split(self, work_dir: Path) -> StepResult:
        """Texts to samples."""
        given = self.settings
        settings = SplitSettings(encoding=given.encoding, bad_records=given.bad_records)
        sources = self.inputs.texts
        return split(list(sources), settings, work_dir, self.execution, sources)

    def clean(self, paths: Sequence[Path], work_dir: Path) -> StepResult:
        """Records to clean ones."""
        settings = self.settings
        cleaning = CleaningSettings(
            languages=settings.languages,
            mask_personal_data=settings.mask_personal_data,
            bad_records=settings.bad_records,
            text_key=settings.text_key,
        )
        return clean(tuple(jsonl_parts(paths)), cleaning, work_dir, self.execution)

    def deduplicate(self, paths: Sequence[Path], work_dir: Path) -> StepResult:
        """Clean records to different ones."""
        comparison = Comparison(threshold=self.settings.threshold)
        evaluation = Decontamination(against=self.settings.against)
        settings = DedupSettings(comparison=comparison, decontamination=evaluation)
        files = tuple(jsonl_parts(paths))
        return deduplicate(files, self.against, settings, work_dir, self.execution)
