"""Splitting long texts into pieces of about one size, cut where a reader would cut them.

A piece is cut at the best kind of place (paragraph, sentence, line, clause, word, character) that
its second half holds, so that it is full and still ends well; the last two share what is left. The
text is read as it comes, and only a few pieces of it are held in memory. Pieces that are joined
give the text back, to the character.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from itertools import accumulate, chain
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge

from config import Settings
from data_process.records.files import RECORD_ENDINGS, find_files
from data_process.records.jsonl import BadRecords, FilePart, read_part
from data_process.records.kinds import document_problems
from data_process.records.opening import look_into, opened, shown
from data_process.records.parts import (
    PART_BYTES,
    jsonl_parts,
    readable_copy,
    refuse_twice,
    signature_of,
)
from data_process.running.compression import inner_name
from data_process.running.run import StepResult, first_of, run_single
from data_process.running.step import Part, PartOutput, Step, grouped, progress
from data_process.running.workers import Execution
from data_process.text.encoding import is_encoding
from data_process.text.files import TEXT_ENDINGS, TextPart, blocks, text_chunks, text_parts
from data_process.text.licences import RULE as LICENCE
from data_process.text.licences import licence_apart
from data_process.text.sentences import FINDERS, SENTENCE_FINDERS, Finder, is_character_border
from data_process.text.unwrapping import unwrapped_blocks
from model.tokenizer import EtudeTokenizer

ENDINGS = (*TEXT_ENDINGS, *RECORD_ENDINGS)
JOINED = "lines of wrapped paragraphs joined"
REPLACED = "places that were no text, now U+FFFD"
BLOCK = 1 << 16
"""Characters that are read at a time."""
LONGEST_CHARACTER = 1_000
"""A letter with more marks than this is cut."""


@dataclass(frozen=True)
class Piece:
    """A part of a text."""

    begin: int
    """Where it begins in the text, in characters."""
    overlap: int
    """How many of its first characters end the piece before."""
    text: str


load_tokenizer = lru_cache(maxsize=1)(EtudeTokenizer.load)
"""Read once a process."""


@dataclass(frozen=True)
class Splitter:
    """Cuts texts into pieces."""

    tokenizer: EtudeTokenizer | None
    """Sizes are in its tokens; None: in characters (code points)."""
    size: int
    """Most units of a piece, its overlap and its white space included."""
    overlap: int = 0
    """Most units that a piece repeats of the one before, in whole sentences; at most half the
    size."""

    def unit_ends(self, text: str) -> Sequence[int]:
        """The character before which each unit ends."""
        if self.tokenizer is None:
            return range(1, len(text) + 1)
        encoding = self.tokenizer.backend.encode(text, add_special_tokens=False)
        # Never falling: offsets may leave out white space.
        return list(accumulate((end for _, end in encoding.offsets), max))

    def length(self, text: str) -> int:
        """Number of units."""
        if self.tokenizer is None:
            return len(text)
        return len(self.tokenizer.encode_batch([text])[0])  # `encode` finds offsets too

    def split(self, chunks: Iterable[str]) -> Iterator[Piece]:
        """The pieces of a text that comes in chunks of any length."""
        buffer, base, begin, new = "", 0, 0, 0  # new: where the text begins that no piece has yet
        for block, is_last in blocks(chunks, max(BLOCK, 8 * self.size)):
            buffer, base, new, begin = buffer[begin:] + block, base + begin, new - begin, 0
            ends = self.unit_ends(buffer)
            while new < len(buffer):
                left = len(ends) - bisect_right(ends, begin)
                if not is_last and left < 3 * self.size:
                    break
                begin, cut = self.next_cut(buffer, ends, begin, new)
                yield Piece(base + begin, new - begin, buffer[begin:cut])
                begin, new = self.overlap_begin(buffer, ends, begin, cut), cut

    def next_cut(self, text: str, ends: Sequence[int], begin: int, new: int) -> tuple[int, int]:
        """Where the piece that is to begin at `begin` begins and ends. Tokens of a piece that
        stands alone may be more than those it had in the text; then it gets less room, and in the
        end no overlap."""
        room = self.size
        while True:
            cut = self.cut_within(text, ends, begin, new, room)
            excess = self.length(text[begin:cut]) - self.size
            if excess <= 0 or (room == 1 and begin == new):
                return begin, cut
            if room == 1:
                begin, room = new, self.size
            else:
                room = max(1, room - excess)

    def cut_within(self, text: str, ends: Sequence[int], begin: int, new: int, room: int) -> int:
        """The best place to end a piece of at most `room` units."""
        first = bisect_right(ends, begin)
        left = len(ends) - first
        if left <= room:
            return len(text)
        low, high, wanted = room // 2, room, room
        if left < 1.5 * room:  # what is left is shared by two
            wanted = left // 2
            high = min(room, left - left // 3)
            low = min(max(left - room + self.overlap, left // 3), high)
        low, high, wanted = (ends[first + max(n, 1) - 1] for n in (low, high, wanted))
        low = max(low, new + 1)
        return best_place(text, low, max(low, high), wanted, new + 1)

    def overlap_begin(self, text: str, ends: Sequence[int], begin: int, cut: int) -> int:
        """Where the piece after a cut begins: as many whole sentences before it as the overlap
        takes."""
        before = bisect_right(ends, cut) - self.overlap
        if not self.overlap or cut == len(text):
            return cut
        low = max(begin + 1, ends[before - 1] if before > 0 else 0)
        places = (p for find in SENTENCE_FINDERS for p in borders(find, text, low, cut))
        return min(places, default=cut)


def best_place(text: str, low: int, high: int, wanted: int, least: int) -> int:
    """The place of the best kind from `low` to `high`, and of these the one nearest to `wanted`.
    Where a single character fills all of that, it is put off (down to `least`), or taken whole."""
    for find in FINDERS:
        if found := borders(find, text, low, high):
            return min(found, key=lambda place: abs(place - wanted))
    nearest = sorted(range(low, high + 1), key=lambda place: abs(place - wanted))
    before, beyond = range(low - 1, least - 1, -1), range(high + 1, high + LONGEST_CHARACTER)
    places = chain(nearest, before, beyond)
    place = next((place for place in places if is_character_border(text, place)), high)
    return min(place, len(text))


def borders(find: Finder, text: str, low: int, high: int) -> list[int]:
    """The places of a kind that cut no character."""
    return [place for place in find(text, low, high) if is_character_border(text, place)]


@dataclass(frozen=True)
class SplitSettings(Settings):
    """How texts are split."""

    size: Annotated[int, Ge(16)] = 1_000
    """Longest piece, in characters, or in tokens with --tokenizer_dir. Pieces are filled to more
    than half, most of them to nine tenths."""
    overlap: Annotated[int, Ge(0)] = 0
    """Most of it that repeats the end of the piece before, in whole sentences; at most half the
    size."""
    tokenizer_dir: Path | None = None
    """Count tokens of this tokenizer, in place of characters."""
    encoding: str | None = None
    """Encoding of all text files; None: each one's is found, and listed."""
    keep_wrapping: bool = False
    """Leave the lines of paragraphs that were wrapped at one width, as those of Project Gutenberg;
    else they are joined, and verse and lists stay."""
    keep_licence: bool = False
    """Leave the header and the licence of Project Gutenberg."""
    text_key: str = "text"
    """Key of the text in JSONL and tables, such as content or meta.text; it is written as text."""
    bad_records: BadRecords = "stop"
    """stop: a line of JSONL that is no record, or bytes that are no text, end the work, and are
    named. skip: such lines are passed over, such bytes become U+FFFD, and both are counted."""

    def conflicts(self) -> list[str]:
        """What is wrong between fields, a sentence each."""
        found = []
        if self.overlap > self.size // 2:
            found.append(f"overlap is {self.overlap}: use 0 to half the size, {self.size // 2}")
        if self.encoding is not None and not is_encoding(self.encoding):
            found.append(
                f"encoding is {self.encoding}, which Python does not know: use such as utf_8, "
                "gb18030, big5, cp932, utf_16, latin_1"
            )
        return found


@dataclass(frozen=True)
class SplitStep(Step):
    """Splits texts. The streams it writes: main, rejected, removed."""

    groups: tuple[tuple[TextPart | FilePart, ...], ...]
    """What each part reads."""
    settings: SplitSettings
    title = "splitting"

    def parts(self) -> Sequence[Part]:
        """The groups, by the name of their first file."""
        return [Part(group[0].part.name, sum(m.part.size for m in group)) for group in self.groups]

    def plan(self) -> dict[str, Any]:
        """The files, how they are cut, the settings, and the tokenizer."""
        members = [member for group in self.groups for member in group]
        paths = dict.fromkeys(member.path for member in members)
        directory = self.settings.tokenizer_dir
        return {
            "step": "split_text 3",
            "files": [[str(path), signature_of(path)] for path in paths],
            "cuts": [asdict(member.part) for member in members],
            "encodings": [m.encoding.name for m in members if isinstance(m, TextPart)],
            "settings": {**asdict(self.settings), "tokenizer_dir": str(directory)},
            "tokenizer": directory and load_tokenizer(directory).fingerprint,
        }

    def run(self, number: int, output: PartOutput) -> None:
        """Splits the texts of one part."""
        settings = self.settings
        directory = settings.tokenizer_dir
        tokenizer = load_tokenizer(directory) if directory else None
        splitter = Splitter(tokenizer, settings.size, settings.overlap)
        for member in self.groups[number]:
            if isinstance(member, FilePart):
                for record in read_part(
                    member, output, settings.bad_records, document_problems, settings.text_key
                ):
                    taken = Taken(settings, output, record.with_place)
                    pieces = splitter.split(taken.of([record.value["text"]]))
                    write_pieces(pieces, record.value, 0, output)
            else:
                split_file(member, splitter, settings, output)


class Taken:
    """What is taken of texts: licences are removed, wrapped paragraphs become one line each."""

    def __init__(
        self,
        settings: SplitSettings,
        output: PartOutput | None = None,
        record: dict[str, Any] | None = None,
        is_whole: bool = True,
    ) -> None:
        """
        output: where removed lines are written and counted; None: they are not.
        record: the text's, whose keys go with them.
        is_whole: the text is no later part of a file, so the numbers of its lines are known.
        """
        self.settings = settings
        self.output = output
        self.record = record or {}
        self.is_whole = is_whole

    def of(self, chunks: Iterable[str]) -> Iterator[str]:
        """What is taken of a text that comes in chunks."""
        if not self.settings.keep_licence:
            chunks = self.without_licence(chunks)
        if not self.settings.keep_wrapping:
            chunks = self.unwrapped(chunks)
        yield from chunks

    def without_licence(self, chunks: Iterable[str]) -> Iterator[str]:
        """A text without licences, whose lines are noted."""
        number = 1
        for text, is_licence in licence_apart(chunks):
            if not is_licence:
                yield text
            elif self.output:
                for n, line in enumerate(text.splitlines(), number):
                    if line:
                        self.output.remove_line(
                            self.record, line, LICENCE, n if self.is_whole else None
                        )
            number += text.count("\n")

    def unwrapped(self, chunks: Iterable[str]) -> Iterator[str]:
        """A text with one line a paragraph; the lines that are joined are counted."""
        lines = 0

        def counted() -> Iterator[str]:
            nonlocal lines
            for text in chunks:
                lines += text.count("\n")
                yield text

        for text in unwrapped_blocks(counted()):
            lines -= text.count("\n")
            yield text
        if self.output:
            self.output.count(JOINED, lines)


def split_file(
    part: TextPart, splitter: Splitter, settings: SplitSettings, output: PartOutput
) -> None:
    """Splits a part of a text file."""
    output.count("in", part.begin == 0)
    output.count(REPLACED, part.damaged)
    record = {"text": "", "source": part.source}
    taken = Taken(settings, output, record, part.begin == 0)
    pieces = splitter.split(taken.of(text_chunks(part)))
    write_pieces(pieces, record, part.characters_before, output)


def write_pieces(
    pieces: Iterator[Piece], record: dict[str, Any], before: int, output: PartOutput
) -> None:
    """Writes pieces that say something, each with the other keys of its record and the place where
    it begins."""
    for piece in pieces:
        if not piece.text.strip():
            output.drop({**record, "text": piece.text}, "nothing but white space")
            continue
        places = {"text_begin": before + piece.begin}
        if piece.overlap:
            places["text_overlap"] = piece.overlap
        output.keep({**record, "text": piece.text, **places})


def split(
    paths: Sequence[Path],
    settings: SplitSettings,
    work_dir: Path,
    execution: Execution,
    sources: Mapping[Path, str] | None = None,
) -> StepResult:
    """Splits the texts of files, after a list of the encodings that were found; see
    `plan_splitting`."""
    step = plan_splitting(paths, settings, sources=sources)
    for line in encodings_found(step):
        print(line)
    return run_single(step, work_dir, execution)


def plan_splitting(
    paths: Sequence[Path],
    settings: SplitSettings,
    part_bytes: int = PART_BYTES,
    sources: Mapping[Path, str] | None = None,
) -> SplitStep:
    """Finds the files, looks through each one, and cuts them into parts of about one size.

    Args:
        paths: files and folders.
        settings: how they are split.
        part_bytes: about how long a part is.
        sources: what pieces of text files are said to come from; None: the file, by its path in
            the folder.

    Raises:
        UserError: there is nothing to split, or a file is not what it should be.
    """
    members: list[TextPart | FilePart] = []
    found = [(place, path) for place in paths for path in find_files([place], ENDINGS)]
    refuse_twice([path for _, path in found])
    mend = settings.bad_records == "skip"
    for place, path in progress(found, desc="looking through", unit=" files"):
        if not is_text(path):
            members += jsonl_parts([path], part_bytes)
            continue
        source = path.relative_to(place).as_posix() if place.is_dir() else Path(shown(path)).name
        source = sources[path] if sources else source
        copy = readable_copy(path)
        parts = text_parts(copy, part_bytes, settings.encoding, mend, Taken(settings).of)
        members += [replace(part, source=source) for part in parts]
    groups = grouped(members, lambda member: member.part.size, part_bytes)
    return SplitStep(tuple(groups), settings)


def is_text(path: Path) -> bool:
    """Whether a file is a text, by its name, or, where that says nothing, by how it begins."""
    if suffix := inner_name(path).suffix:
        return suffix.lower() in TEXT_ENDINGS
    with opened(path) as file:
        return look_into(path, file)[0].form == "lines"


def encodings_found(step: SplitStep) -> list[str]:
    """A line for each encoding: how many files have it, how that was found, and some of them."""
    parts = (part for group in step.groups for part in group if isinstance(part, TextPart))
    encodings = {part.path: part.encoding for part in parts}
    kinds: dict[str, list[Path]] = {}
    for path, encoding in encodings.items():
        kinds.setdefault(f"{encoding.name} ({encoding.evidence})", []).append(path)
    lines = []
    for kind, paths in sorted(kinds.items()):
        lines.append(f"{len(paths):>14,}  {kind}: {first_of(paths, 3)}")
    return lines
