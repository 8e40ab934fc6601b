"""The splitting of text files and documents, as a step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from tqdm import tqdm

from config import Settings, positive
from data_process.records.documents import BadRecords, read_documents
from data_process.records.input_files import find_files
from data_process.records.jsonl_parts import PART_BYTES, JsonlPart, jsonl_parts, refuse_twice
from data_process.records.known_files import signature_of
from data_process.running.run import StepResult, run_single
from data_process.running.step import REJECTED, Part, PartOutput, Step
from data_process.running.workers import Execution
from data_process.text.files import TextFile, TextPart, is_encoding, survey_text, text_chunks
from data_process.text.splitting import CharacterRuler, Piece, Splitter, TokenRuler
from model.tokenizer import EtudeTokenizer

ENDINGS = (".txt", ".jsonl")
REPLACED = "places that were no text, now U+FFFD"
BLANK = "dropped: nothing but white space"
SMALLEST = 16


@dataclass(frozen=True)
class SplitSettings(Settings):
    """How texts are split."""

    size: int = 1_000
    """Longest piece, in characters, or in tokens with --tokenizer_dir. Pieces are filled to more
    than half, most of them to nine tenths."""
    overlap: int = 0
    """Most of it that repeats the end of the piece before, in whole sentences; at most half the
    size."""
    tokenizer_dir: Path | None = None
    """Count tokens of this tokenizer, in place of characters."""
    encoding: str | None = None
    """Encoding of all text files; None: found out for each one, and told."""
    bad_records: BadRecords = "stop"
    """stop: a line of JSONL that is no record, or bytes that are no text, end the work, and are
    named. skip: such lines are passed over, such bytes become U+FFFD, and both are counted."""

    def problems(self) -> list[str]:
        """Everything wrong with the values, a sentence each."""
        found = positive(self, "size")
        if self.size < SMALLEST:
            found.append(f"size is {self.size}: use {SMALLEST} or more")
        if not 0 <= self.overlap <= self.size // 2:
            found.append(f"overlap is {self.overlap}: use 0 to half the size, {self.size // 2}")
        if self.encoding is not None and not is_encoding(self.encoding):
            found.append(
                f"encoding is {self.encoding}, which Python does not know: use such as utf_8, "
                "gb18030, big5, cp932, utf_16, latin_1"
            )
        return found


@dataclass(frozen=True)
class TextSpan:
    """A part of a text file, and what its pieces are said to come from."""

    file: TextFile
    part: TextPart
    source: str

    @property
    def size(self) -> int:
        """In bytes."""
        return self.part.end - self.part.begin


@dataclass(frozen=True)
class SplitStep(Step):
    """Splits texts. The streams it writes: main, rejected."""

    groups: tuple[tuple[TextSpan | JsonlPart, ...], ...]
    """What each part reads."""
    settings: SplitSettings
    title = "splitting"

    def parts(self) -> Sequence[Part]:
        """The groups, by the name of their first file."""
        return [Part(name_of(group[0]), sum(map(size_of, group))) for group in self.groups]

    def plan(self) -> dict[str, Any]:
        """The files, how they are cut, the settings, and the tokenizer."""
        members = [member for group in self.groups for member in group]
        paths = dict.fromkeys(path_of(member) for member in members)
        tokenizer = self.settings.tokenizer_dir
        return {
            "step": "split_text 1",
            "files": [[str(path), signature_of(path)] for path in paths],
            "cuts": [[name_of(member), size_of(member)] for member in members],
            "encodings": [m.file.encoding.name for m in members if isinstance(m, TextSpan)],
            "settings": {**asdict(self.settings), "tokenizer_dir": str(tokenizer)},
            "tokenizer": tokenizer and EtudeTokenizer.load(tokenizer).fingerprint,
        }

    def run(self, number: int, output: PartOutput) -> None:
        """Splits the texts of one part."""
        splitter = splitter_for(self.settings)
        for member in self.groups[number]:
            if isinstance(member, JsonlPart):
                split_records(member, splitter, self.settings.bad_records, output)
            else:
                split_file(member, splitter, output)


def split_records(
    part: JsonlPart, splitter: Splitter, bad_records: BadRecords, output: PartOutput
) -> None:
    """Splits documents; their pieces keep all other keys."""
    for document in read_documents(part, bad_records, output):
        write_pieces(splitter.split([document.text]), document.record, 0, output)


def split_file(span: TextSpan, splitter: Splitter, output: PartOutput) -> None:
    """Splits a part of a text file."""
    if not span.part.begin:
        output.count("in")
        output.count(REPLACED, span.file.damaged)
    pieces = splitter.split(text_chunks(span.file, span.part))
    record = {"text": "", "source": span.source}
    write_pieces(pieces, record, span.part.characters_before, output)


def write_pieces(
    pieces: Iterator[Piece], record: dict[str, Any], before: int, output: PartOutput
) -> None:
    """Writes pieces that say something, each with the place where it begins."""
    for piece in pieces:
        if not piece.text.strip():
            output.count(BLANK)
            output.write({**record, "text": piece.text, "reason": BLANK.split(": ")[1]}, REJECTED)
            continue
        places = {"text_begin": before + piece.begin}
        if piece.overlap:
            places["text_overlap"] = piece.overlap
        output.count("out")
        output.write({**record, "text": piece.text, **places})


def splitter_for(settings: SplitSettings) -> Splitter:
    """What cuts texts by the settings."""
    ruler = TokenRuler(tokenizer(settings.tokenizer_dir)) if settings.tokenizer_dir else None
    return Splitter(ruler or CharacterRuler(), settings.size, settings.overlap)


@lru_cache(maxsize=1)
def tokenizer(directory: Path) -> EtudeTokenizer:
    """A tokenizer, read once a process."""
    return EtudeTokenizer.load(directory)


def name_of(member: TextSpan | JsonlPart) -> str:
    """What a part of a file is called."""
    if isinstance(member, JsonlPart):
        return member.part.name
    return f"{member.file.path} from byte {member.part.begin + 1:,}"


def size_of(member: TextSpan | JsonlPart) -> int:
    """Bytes of a part of a file."""
    return member.part.size if isinstance(member, JsonlPart) else member.size


def path_of(member: TextSpan | JsonlPart) -> Path:
    """The file that a part is of."""
    return member.path if isinstance(member, JsonlPart) else member.file.path


def plan_splitting(
    paths: Sequence[Path], settings: SplitSettings, part_bytes: int = PART_BYTES
) -> SplitStep:
    """Finds the files, looks through each one, and cuts them into parts of about one size.

    Raises:
        UserError: there is nothing to split, or a file is not what it should be.
    """
    members: list[TextSpan | JsonlPart] = []
    found = [(place, path) for place in paths for path in find_files([place], ENDINGS)]
    refuse_twice([path for _, path in found])
    with tqdm(
        found, desc="looking through", unit=" files", delay=1, leave=False, disable=None
    ) as bar:
        for place, path in bar:
            if path.suffix.lower() == ".jsonl":
                members += jsonl_parts([path], part_bytes)
                continue
            source = path.relative_to(place).as_posix() if place.is_dir() else path.name
            skip = settings.bad_records == "skip"
            file = survey_text(path, part_bytes, settings.encoding, skip)
            members += [TextSpan(file, part, source) for part in file.parts]
    return SplitStep(tuple(grouped(members, part_bytes)), settings)


def split(step: SplitStep, work_dir: Path, execution: Execution) -> StepResult:
    """Runs a step, after a list of the encodings that were found."""
    for line in encodings_found(step):
        print(line)
    return run_single(step, work_dir, execution)


def grouped(
    members: Sequence[TextSpan | JsonlPart], part_bytes: int
) -> Iterator[tuple[TextSpan | JsonlPart, ...]]:
    """Small files go together."""
    group: list[TextSpan | JsonlPart] = []
    size = 0
    for member in members:
        if group and size + size_of(member) > part_bytes:
            yield tuple(group)
            group, size = [], 0
        group.append(member)
        size += size_of(member)
    yield tuple(group)


def encodings_found(step: SplitStep) -> list[str]:
    """What encodings were found: how many files of each, and those that were guessed."""
    files = {m.file.path: m.file for group in step.groups for m in group if isinstance(m, TextSpan)}
    kinds: dict[str, list[TextFile]] = {}
    for file in files.values():
        kinds.setdefault(f"{file.encoding.name} ({file.encoding.evidence})", []).append(file)
    lines = []
    for kind, those in sorted(kinds.items()):
        names = ", ".join(str(file.path) for file in those[:3])
        more = f" and {len(those) - 3:,} more" if len(those) > 3 else ""
        lines.append(f"{len(those):>14,}  {kind}: {names}{more}")
    return lines
