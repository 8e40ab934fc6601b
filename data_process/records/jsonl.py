"""Reading JSONL files, with every error told as file:line: what is wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from config import UserError
from data_process.records.kinds import (
    conversation_problems,
    described,
    shortened,
    text_problems,
)
from model.chat import Message

LONGEST_LINE = 32 << 20
"""Bytes of a line; one that is longer would need more memory than a worker has."""
PIECE_BYTES = 1 << 20
"""What is read at once of a line that may be of any length."""
OTHER_FORMATS = (
    (b"\x1f\x8b", "compressed; unpack it first"),
    (b"BZh", "compressed; unpack it first"),
    (b"PK\x03\x04", "compressed; unpack it first"),
    (b"\xfd7zXZ", "compressed; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "compressed; unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "compressed; unpack it first"),
    (b"Rar!", "compressed; unpack it first"),
    (b"PAR1", "Parquet; save it as JSONL first (pandas: read_parquet, to_json with lines=True)"),
)
"""First bytes of files that are something else, and what is said of them."""


@dataclass(frozen=True)
class FilePart:
    """Whole lines of a file, one after another."""

    begin: int
    """Byte at which its first line begins."""
    end: int
    """Byte after its last line."""
    line: int
    """Number of its first line, from 1."""
    records: int
    """Lines before it that are not blank."""


def read_records(path: Path, part: FilePart | None = None) -> Iterator[tuple[int, object]]:
    """The records of a JSONL file, or of a part of it, with their line numbers (from 1); blank
    lines are passed over.

    Raises:
        UserError: the file is missing, empty, not UTF-8 text or not JSONL.
    """
    empty = part is None  # of a part, `survey` has seen that its file is not empty
    for number, raw in read_raw_lines(path, part):
        line = decode_line(path, number, raw)
        if not line.strip():
            continue
        empty = False
        yield number, parse_line(path, number, line)
    if empty:
        raise EmptyFile(path)


def parse_line(path: Path, number: int, line: str) -> object:
    """The value of a line of JSON.

    Raises:
        UserError: it is none, or one that other readers would take for something else (NaN,
            Infinity, a key that occurs twice); the line is named.
    """
    try:
        return DECODER.decode(line)
    except (ValueError, RecursionError) as error:
        cut = "" if line.endswith("\n") else "; the line has no end, so the file may be cut"
        raise UserError(
            f"{path}:{number}: not valid JSON ({json_reason(error)}){cut}; mend or remove it"
        ) from error


def parse_object(
    path: Path, number: int, raw: bytes, longest: int = LONGEST_LINE
) -> dict[str, Any]:
    """The JSON object of a line, which can be written as UTF-8 again.

    Raises:
        UserError: the line is none; it is named.
    """
    line = decode_line(path, number, raw, longest)
    record = parse_line(path, number, line)
    if not isinstance(record, dict):
        raise UserError(
            f'{path}:{number}: found {described(record)}; a line must be a JSON object, {{"...": '
            "...}"
        )
    if "\\ud" in line or "\\uD" in line:
        refuse_lone_surrogates(path, number, json.dumps(record, ensure_ascii=False))
    return record


def json_reason(error: ValueError | RecursionError) -> str:
    """Why a text is no JSON, in a few words."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg.removesuffix(' at')} at character {error.pos + 1}"
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
    raise ValueError(f"{name} is no JSON value; use null or a number")


def finite(digits: str) -> float:
    """A number; ValueError when it is too large to be one."""
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"the number {shortened(digits)} is too large")
    return number


DECODER = json.JSONDecoder(
    object_pairs_hook=unique_keys, parse_constant=refuse_constant, parse_float=finite
)


class EmptyFile(UserError):
    """A file without a record."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path}: the file is empty; it needs one JSON object a line")


class WrongFile(UserError):
    """A file that is no JSONL as a whole."""


def read_raw_lines(
    path: Path, part: FilePart | None = None, longest: int = LONGEST_LINE
) -> Iterator[tuple[int, bytes]]:
    """The bytes of the lines of a file, or of a part of it, with their numbers (from 1).

    Of a line of more than `longest` bytes only the first `longest` + 1 come, for `decode_line` to
    refuse; so memory is bounded.

    Raises:
        UserError: the file is missing or cannot be read.
    """
    with opened(path) as file:
        file.seek(part.begin if part else 0)
        yield from bounded_lines(file, part, longest)


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Opens a file to read; UserError when it is missing or cannot be read."""
    if not path.is_file():
        what = "is a directory, not a file" if path.is_dir() else "there is no such file"
        raise WrongFile(
            f"{path}: {what}; put your data there, name yours, or make the built-in sample with "
            "`python data_process/make_sample.py`"
        )
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise WrongFile(
            f"{path}: cannot be read ({error.strerror or error}); check its permissions and its "
            "disk"
        ) from error


def bounded_lines(
    file: IO[bytes], part: FilePart | None = None, longest: int = LONGEST_LINE
) -> Iterator[tuple[int, bytes]]:
    """The lines of an open file that stands at its begin, or at that of a part; see
    `read_raw_lines`."""
    number, position = (part.line, part.begin) if part else (1, 0)
    while (part is None or position < part.end) and (raw := file.readline(longest + 1)):
        position += len(raw)
        last = raw
        while len(raw) > longest and not last.endswith(b"\n"):
            if not (last := file.readline(PIECE_BYTES)):
                break
            position += len(last)
        yield number, raw
        number += 1


def read_pieces(path: Path) -> Iterator[bytes]:
    """The bytes of a file, line by line, long lines in pieces: the end of a line ends a piece."""
    with opened(path) as file:
        while piece := file.readline(PIECE_BYTES):
            yield piece


def is_blank(raw: bytes) -> bool:
    """Whether a line holds nothing but white space; one that is no text is not blank."""
    if raw[:1] == b"{":  # nearly every line, told at once
        return False
    try:
        return not raw.removeprefix(b"\xef\xbb\xbf").decode("utf-8").strip()
    except UnicodeDecodeError:
        return False


def decode_line(path: Path, number: int, raw: bytes, longest: int = LONGEST_LINE) -> str:
    """The text of a line; UserError when it is too long, or its bytes are not UTF-8 text."""
    if number == 1:
        refuse_other_formats(path, raw)
        raw = raw.removeprefix(b"\xef\xbb\xbf")
    if len(raw) > longest:
        raise UserError(
            f"{path}:{number}: a line of more than {longest:,} bytes; split its text into several "
            "records, or give it as a .txt file to data_process/split_text.py, which takes any size"
        )
    if b"\0" in raw:
        raise UserError(f"{path}:{number}: a NUL byte; the file is binary or damaged, not JSONL")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}:{number}: not UTF-8 (byte {error.start + 1} of the line); save the file as "
            "UTF-8"
        ) from error


def refuse_other_formats(path: Path, first_line: bytes) -> None:
    """Raises WrongFile when a file's first bytes are those of UTF-16, UTF-32, or of a compressed or
    binary format."""
    marked = first_line.startswith((b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff"))
    if marked or re.match(rb"\0{1,3}[\t -~]|[\t -~]\0", first_line):
        raise WrongFile(f"{path}:1: the file is UTF-16 or UTF-32; save it as UTF-8")
    for begin, what in OTHER_FORMATS:
        if first_line.startswith(begin):
            raise WrongFile(f"{path}:1: the file is {what}")


def read_texts(path: Path, part: FilePart | None = None) -> Iterator[tuple[int, str]]:
    """The texts of a pretraining file, {"text": ...} a line, or of a part of it, with their line
    numbers.

    Raises:
        UserError: a record has no text; the line is named.
    """
    for number, record in read_records(path, part):
        for problem in text_problems(record):
            raise UserError(f"{path}:{number}: {problem}")
        assert isinstance(record, dict)
        refuse_lone_surrogates(path, number, record["text"])
        yield number, record["text"]


def read_conversations(
    path: Path, part: FilePart | None = None
) -> Iterator[tuple[int, list[Message]]]:
    """The conversations of an SFT file, {"conversations": [{"role", "content"}, ...]} a line, or of
    a part of it, with line numbers.

    Raises:
        UserError: a record is not a conversation with an assistant's turn; the line is named.
    """
    for number, record in read_records(path, part):
        for problem in conversation_problems(record):
            raise UserError(f"{path}:{number}: {problem}")
        assert isinstance(record, dict)
        for message in record["conversations"]:
            refuse_lone_surrogates(path, number, message["content"])
        yield number, record["conversations"]


def refuse_lone_surrogates(path: Path, number: int, text: str) -> None:
    """Raises UserError for half a surrogate pair, which JSON can spell but UTF-8 cannot."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UserError(
            f"{path}:{number}: half a surrogate pair ({text[error.start]!r}); mend or remove it"
        ) from error
