"""Dumps as a step in parts: what each part extracts, and what was wrong in all of them."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from config import UserError
from data_process.records.known_files import signature_of
from data_process.running.byte_bar import byte_bar
from data_process.running.tasks import Part, PartOutput, Step, stream_files
from data_process.wiki.dump.file import STDIN, is_pipe
from data_process.wiki.dump.parts import DumpSpan, cut_dump
from data_process.wiki.dump.reader import Span
from data_process.wiki.extraction import PROBLEMS, DumpExtraction, ExtractionSettings

DUMP_NAME = re.compile(r"\.xml(-p\d+p\d+)?(\.bz2|\.gz)?$")
SHOWN = 10
"""Most damages, and most notes, that are told on the screen."""


@dataclass(frozen=True)
class ExtractionStep(Step):
    """Extracts the articles of dumps. The streams it writes: main, rejected, problems."""

    groups: tuple[tuple[DumpSpan, ...], ...]
    """What each part reads."""
    settings: ExtractionSettings
    title = "extracting"

    def parts(self) -> Sequence[Part]:
        """The groups, by the bytes of their files."""
        return [Part(group[0].name, sum(span.size for span in group)) for group in self.groups]

    def run(self, number: int, output: PartOutput) -> None:
        """Extracts one group; if it is the only one, with a progress bar of its own."""
        bar = self.bar() if len(self.groups) == 1 else None
        with nullcontext() if bar is None else bar:
            for dump in self.groups[number]:
                DumpExtraction(dump, self.settings, output).run(bar)

    def bar(self) -> tqdm[Any]:
        """Shows the bytes that were read of the files."""
        return byte_bar("reading", self.parts()[0].size or None)

    def plan(self) -> dict[str, Any]:
        """The dumps, how they are cut, and the settings."""
        spans = [dump.span for group in self.groups for dump in group]
        paths = list(dict.fromkeys(span.path for span in spans))
        return {
            "dumps": [
                # A pipe brings something else each time.
                uuid.uuid4().hex if is_pipe(path) else [str(path.resolve()), signature_of(path)]
                for path in paths
            ],
            "spans": [[span.begin, span.end, span.pages] for span in spans],
            "settings": asdict(self.settings),
        }

    @property
    def reads_a_pipe(self) -> bool:
        """Whether it must run in this process."""
        return any(is_pipe(dump.span.path) for group in self.groups for dump in group)


def plan_extraction(
    paths: Sequence[Path],
    settings: ExtractionSettings,
    index: Path | None = None,
    part_bytes: int | None = None,
) -> ExtractionStep:
    """Cuts dumps into parts.

    Args:
        paths: the dumps, in the order of the output.
        settings: which pages are taken.
        index: of the one multistream dump; None: that beside each dump, if there is one.
        part_bytes: see `cut_dump`.

    Raises:
        UserError: one of them is no dump, or is given twice.
    """
    if index and len(paths) != 1:
        raise UserError(f"--index {index}: it belongs to one dump, and {len(paths)} are given")
    if len({path.resolve() for path in paths}) < len(paths):
        raise UserError("input_files: a dump is given twice; each of its articles would be, too")
    dumps = [cut_dump(path, index, part_bytes) for path in paths]
    if settings.max_articles is None:
        return ExtractionStep(tuple((span,) for dump in dumps for span in dump), settings)
    whole = (
        DumpSpan(Span(path), spans[0].site, sum(span.size for span in spans), path.name)
        for path, spans in zip(paths, dumps, strict=True)
    )
    return ExtractionStep((tuple(whole),), settings)


def find_dumps(paths: Sequence[Path]) -> list[Path]:
    """The dumps among files and folders; those of a folder in the order of the numbers in their
    names.

    Raises:
        UserError: a path is not there, or a folder has no dump.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = [p for p in path.iterdir() if DUMP_NAME.search(p.name) and p.is_file()]
            if not inside:
                raise UserError(f"{path}: no dump (.xml, .xml.bz2, .xml.gz) is in this folder")
            found += sorted(inside, key=numbers_apart)
        elif path == STDIN or path.exists():
            found.append(path)
        else:
            raise UserError(f"{path}: there is no such file; name a dump, a folder of dumps, or -")
    return found


def numbers_apart(path: Path) -> list[tuple[int, str]]:
    """A sort key in which multistream2 comes before multistream10."""
    pieces = re.findall(r"\d+|\D+", path.name)
    return [(int(piece), "") if piece.isdecimal() else (-1, piece) for piece in pieces]


def read_problems(work_dir: Path) -> tuple[list[str], list[str]]:
    """What is wrong with the dumps (damages, notes), a sentence each; of many, the first ones."""
    damages: list[str] = []
    notes: list[str] = []
    for path in stream_files(work_dir, PROBLEMS):
        for line in path.read_text(encoding="utf-8").splitlines():
            problem = json.loads(line)
            (notes if problem["note"] else damages).append(f"{problem['dump']}: {problem['what']}")
    return first_of(damages, "damages"), first_of(notes, "notes")


def first_of(sentences: list[str], what: str) -> list[str]:
    """Some sentences, and how many there are."""
    if (more := len(sentences) - SHOWN) <= 0:
        return sentences
    return [*sentences[:SHOWN], f"and {more:,} more {what}"]
