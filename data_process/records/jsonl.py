"""The reader of data files: strict, in bounded memory, with one policy for bad records.

Every mistake is named as `file:line: what is wrong; what to do`. A bad record stops the reader, or
is handed to `on_bad` and skipped (`--bad_records skip`). A file that cannot be read as a whole
(missing, empty, binary) stops it in any case. What is compressed, in another encoding or in another
form, such as an array or a table, is brought to lines of JSONL by `opening.py` and `sources.py`.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from annotated_types import Interval

from config import Settings, UserError
from data_process.records.kinds import (
    PROBLEMS,
    BadLine,
    described,
    label_of,
    labelled_problems,
    pair_problems,
    shortened,
    with_text_of,
    with_tools,
)
from data_process.records.opening import BOM, is_pipe, look_into, opened, shown
from data_process.records.recognition import advice
from data_process.records.sources import NO_RECORD, PIECE_BYTES, lines_of
from data_process.running.step import Part, PartOutput
from model.conversation import Conversation

LONGEST_LINE = 32 << 20
"""Bytes of a line; one that is longer would need more memory than a worker has."""
BAD = "dropped: bad record"

TEXT = "text"
BadRecords = Literal["stop", "skip"]
Check = Callable[[dict[str, Any]], Iterator[str]]
"""Yields what is wrong with a record, a sentence each; see `kinds.py`."""


@dataclass(frozen=True)
class Reading(Settings):
    """How files are read."""

    bad_records: BadRecords = "stop"
    """stop: a line that is not a record ends the work, and is named. skip: such lines are skipped
    and counted."""
    max_line_bytes: Annotated[int, Interval(ge=16, le=1 << 31)] = LONGEST_LINE
    """A longer line is a bad record; so much memory a line may take, in bytes."""

    def records(self, source: Source, output: PartOutput | None = None) -> Iterator[Record]:
        """The records of a file or of a part of one; bad ones that are skipped are noted in the
        output of a step, if there is one. See `read_records`."""
        return read_records(source, on_bad=self.on_bad(output), longest=self.max_line_bytes)

    def on_bad(self, output: PartOutput | None = None) -> OnBad | None:
        """What becomes of a bad record; see `skipping`."""
        return skipping(self.bad_records, output)


@dataclass(frozen=True)
class FilePart:
    """Whole lines of a file, one after another."""

    path: Path
    begin: int
    """Byte at which its first line begins."""
    end: int
    """Byte after its last line."""
    line: int
    """Number of its first line, from 1."""
    records: int
    """Lines of the file before it that are not blank."""

    @property
    def part(self) -> Part:
        """Its name and size, for a step."""
        return Part(f"{self.path} from line {self.line}", self.end - self.begin)


Source = Path | FilePart
"""What records are read from."""


class Record(NamedTuple):
    """A record, and where it stands."""

    path: Path
    line: int
    """From 1."""
    begin: int
    """Byte at which its line begins; -1 when the file is no plain JSONL."""
    raw: bytes
    """The line as it was read."""
    value: dict[str, Any]
    """All its keys."""

    @property
    def place(self) -> str:
        """file:line."""
        return f"{shown(self.path)}:{self.line}"

    @property
    def with_place(self) -> dict[str, Any]:
        """Its keys; the place when it has none but its text."""
        return self.value if len(self.value) > 1 else {**self.value, "record": self.place}

    @property
    def content(self) -> bytes:
        """The line as it is written again: without a byte-order mark, \\n at its end."""
        return written_line(self.raw, self.line == 1)


def written_line(raw: bytes, is_first: bool) -> bytes:
    """A line as it is written again; `is_first`: it may begin with a byte-order mark."""
    raw = raw.removeprefix(BOM) if is_first else raw
    return raw.rstrip(b"\r\n") + b"\n"


class BadRecord(UserError):
    """A line that is not a record; the message is the first of its problems."""

    def __init__(self, place: str, problems: Iterable[str]) -> None:
        self.problems = [f"{place}: {problem}" for problem in problems]
        super().__init__(self.problems[0])


class EmptyFile(UserError):
    """A file without a record."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{shown(path)}: the file is empty; it needs one JSON object a line")


OnBad = Callable[[BadRecord], object]


def read_records(
    source: Source,
    check: Check = PROBLEMS["any"],
    on_bad: OnBad | None = None,
    longest: int = LONGEST_LINE,
    text_key: str = TEXT,
) -> Iterator[Record]:
    """The records of a file in any form, of a part of a JSONL file, or of a pipe; blank lines are
    skipped. The policy for bad records stands here alone.

    Args:
        source: what is read; `PIPE` is standard input.
        check: what a record must be, beyond a JSON object that UTF-8 can spell.
        on_bad: gets each bad record, which is then skipped; None: the first one is raised.
        longest: bytes that a line may have.
        text_key: where the text of a record stands; it comes under "text".

    Raises:
        UserError: the file is missing, empty, or cannot be read as a whole.
        BadRecord: a line is not a record, and `on_bad` is None.
    """
    path = source.path if isinstance(source, FilePart) else source
    # Of a part, `parts.py` has seen that its file is not empty.
    is_empty = not isinstance(source, FilePart)
    for number, begin, raw in read_lines(source, longest):
        if is_blank(raw):
            continue
        is_empty = False
        try:
            value = parse_object(decode_line(number, raw, longest))
            if text_key != TEXT:
                value = with_text_of(value, text_key)
            for _ in check(value):  # faster than a list of what is nearly always empty
                to_preference = check in (pair_problems, labelled_problems)
                help = None if on_bad else advice(value, shown(path), to_preference)
                raise BadLine(*([help] if help else check(value)))
        except BadLine as bad:
            mistake = BadRecord(f"{shown(path)}:{number}", bad.problems)
            if on_bad is None:
                raise mistake from bad
            on_bad(mistake)
            continue
        yield Record(path, number, begin, raw, value)
    if is_empty:
        raise EmptyFile(path)


def read_part(
    part: FilePart,
    output: PartOutput,
    bad_records: BadRecords,
    check: Check,
    text_key: str = TEXT,
) -> Iterator[Record]:
    """The records of a part of a file, for a step: counted as `in`, and bad ones that are skipped
    counted and written to the rejected ones; see `read_records`."""
    on_bad = skipping(bad_records, output)
    return counted(read_records(part, check, on_bad, text_key=text_key), output)


def counted(records: Iterator[Record], output: PartOutput) -> Generator[Record, None, None]:
    """Counts records as `in`."""
    for record in records:
        output.count("in")
        yield record


def skipping(bad_records: BadRecords, output: PartOutput | None = None) -> OnBad | None:
    """What counts the bad records of a step and writes them to the rejected ones; None when they
    stop it."""

    def skip(bad: BadRecord) -> None:
        if output:
            output.count("in")
            output.drop({}, "bad record", problem=str(bad))

    return skip if bad_records == "skip" else None


def read_texts(source: Source) -> Iterator[tuple[int, str]]:
    """The texts of a pretraining file, {"text": ...} a line, with their line numbers."""
    for record in read_records(source, PROBLEMS["text"]):
        yield record.line, record.value["text"]


def read_conversations(source: Source) -> Iterator[tuple[int, Conversation]]:
    """The conversations of an SFT file, {"conversations": [{"role", "content"}, ...]} a line (or
    "messages"), maybe with "tools", each with an assistant's turn, with their line numbers."""
    for record in read_records(source, PROBLEMS["conversations"]):
        yield record.line, with_tools(record.value)


class Preference(NamedTuple):
    """A prompt and two answers to it, or one that is labelled."""

    prompt: Conversation
    answers: tuple[str, ...]
    """Chosen and rejected; or the one."""
    wanted: bool = True
    """The label of the one."""


def read_pairs(source: Source) -> Iterator[tuple[int, Preference]]:
    """The pairs of a preference file, {"conversations", "chosen", "rejected"} a line, with their
    line numbers."""
    for record in read_records(source, pair_problems):
        answers = record.value["chosen"], record.value["rejected"]
        yield record.line, Preference(with_tools(record.value), answers)


def read_labelled(source: Source) -> Iterator[tuple[int, Preference]]:
    """The labelled answers (KTO) of a preference file, {"conversations", "label"} a line, with
    their line numbers."""
    for record in read_records(source, labelled_problems):
        messages, tools, _ = with_tools(record.value)
        prompt, answer = Conversation(messages[:-1], tools), messages[-1]["content"]
        yield record.line, Preference(prompt, (answer,), bool(label_of(record.value)))


def read_lines(source: Source, longest: int = LONGEST_LINE) -> Iterator[tuple[int, int, bytes]]:
    """Number (from 1), first byte and bytes of each line of a part of a JSONL file, or of the lines
    of JSONL that a file in any form or a pipe comes to (then the first byte is -1).

    Of a line of more than `longest` bytes only the first `longest` + 1 come, for `decode_line` to
    refuse; so memory is bounded.

    Raises:
        UserError: the file is missing or cannot be read.
    """
    part = source if isinstance(source, FilePart) else FilePart(source, 0, sys.maxsize, 1, 0)
    number, begin = part.line, part.begin
    with opened(part.path) as file:
        is_plain = part is source
        if not is_plain:
            packing, content = look_into(part.path, file)
            if packing.form != "jsonl":
                lines = lines_of(part.path, packing, content, longest)
                yield from ((number, -1, line) for number, line in enumerate(lines, 1))
                return
            is_plain = content is file and not is_pipe(part.path)
            file = content
        if begin:
            file.seek(begin)
        while begin < part.end and (raw := file.readline(longest + 1)):
            size, piece = len(raw), raw
            while len(raw) > longest and piece and not piece.endswith(b"\n"):
                piece = file.readline(PIECE_BYTES)
                size += len(piece)
            yield number, begin if is_plain else -1, raw
            number, begin = number + 1, begin + size


def is_blank(raw: bytes) -> bool:
    """Whether a line holds nothing but white space; one that is not UTF-8 is not blank."""
    if raw[:1] == b"{":  # nearly every line, decided at once
        return False
    try:
        return not raw.removeprefix(BOM).decode("utf-8").strip()
    except UnicodeDecodeError:
        return False


def decode_line(number: int, raw: bytes, longest: int = LONGEST_LINE) -> str:
    """The text of a line; BadLine when it is too long, or its bytes are not UTF-8 text."""
    if number == 1:
        raw = raw.removeprefix(BOM)
    if len(raw) > longest:
        raise BadLine(
            f"a line of more than {longest:,} bytes; split its text into several records, or give "
            "it as a .txt file to data_process/split_text.py, which takes any size"
        )
    if b"\0" in raw:
        raise BadLine("a NUL byte; the file is binary or damaged, not JSONL")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadLine(
            f"not UTF-8 (byte {error.start + 1} of the line); save the file as UTF-8"
        ) from error


def parse_object(line: str) -> dict[str, Any]:
    """The JSON object of a line.

    Raises:
        BadLine: it is not one, or one that other readers would take for something else (NaN,
            Infinity, a key that occurs twice), or that UTF-8 cannot spell.
    """
    try:
        record = DECODER.decode(line)
    except (ValueError, RecursionError) as error:
        if line.startswith(NO_RECORD):
            raise BadLine(line.removeprefix(NO_RECORD).rstrip()) from None
        cut = "" if line.endswith("\n") else "; the line has no end, so the file may be cut"
        raise BadLine(f"not valid JSON ({json_reason(error)}){cut}; mend or remove it") from error
    if not isinstance(record, dict):
        raise BadLine(f'found {described(record)}; a line must be a JSON object, {{"...": ...}}')
    if "\\u" in line and ("\\ud" in line or "\\uD" in line):
        refuse_half_pairs(json.dumps(record, ensure_ascii=False))
    return record


def refuse_half_pairs(text: str) -> None:
    """Raises BadLine for half of a surrogate pair, which JSON can spell but UTF-8 cannot."""
    if half := re.search("[\ud800-\udfff]", text):
        raise BadLine(f"half a surrogate pair ({half[0]!r}); mend or remove it")


def json_reason(error: ValueError | RecursionError) -> str:
    """Why a text is not JSON, in a few words."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, json.JSONDecodeError):
        rest = error.doc[error.pos :].strip()
        hint = ": a comma stands behind the object" if rest == "," else ""
        if rest.startswith("{") and error.msg == "Extra data":
            hint = ": a second object, which needs a line of its own"
        if error.doc.lstrip().startswith("{'"):
            hint = ": single quotes, as Python prints; write it with json.dumps"
        return f"{error.msg.removesuffix(' at')} at character {error.pos + 1}{hint}"
    return "a number of too many digits" if "int_max_str" in str(error) else str(error)


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; ValueError when a key occurs twice: one of its values would be lost."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {shortened(twice)!r} occurs twice in one object")
    return found


def refuse_constant(name: str) -> float:
    """Raises ValueError for NaN and Infinity, which Python reads and JSON does not have."""
    raise ValueError(f"{name} is not a JSON value; use null or a number")


def finite(digits: str) -> float:
    """A number; ValueError when it is too large to be one."""
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"the number {shortened(digits)} is too large")
    return number


DECODER = json.JSONDecoder(
    object_pairs_hook=unique_keys, parse_constant=refuse_constant, parse_float=finite
)
