"""Reading JSONL files, with every error told as file:line: what is wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from config import UserError
from model.chat import Message, check_messages


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
    for number, line in read_lines(path, part):
        if not line.strip():
            continue
        empty = False
        try:
            yield number, json.loads(line)
        except (ValueError, RecursionError) as error:
            cut = "" if line.endswith("\n") else "; the line has no end, so the file may be cut"
            reason = getattr(error, "msg", None) or str(error)
            raise UserError(
                f"{path}:{number}: not valid JSON ({reason}){cut}; mend or remove it"
            ) from error
    if empty:
        raise EmptyFile(path)


class EmptyFile(UserError):
    """A file without a record."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path}: the file is empty; it needs one JSON object a line")


def read_lines(path: Path, part: FilePart | None = None) -> Iterator[tuple[int, str]]:
    """The lines of a UTF-8 file, or of a part of it, with their numbers (from 1), line ends
    kept."""
    for number, raw in read_raw_lines(path, part):
        yield number, decode_line(path, number, raw)


def read_raw_lines(path: Path, part: FilePart | None = None) -> Iterator[tuple[int, bytes]]:
    """The bytes of the lines of a file, or of a part of it, with their numbers (from 1).

    Raises:
        UserError: the file is missing or cannot be read.
    """
    if not path.is_file():
        what = "is a directory, not a file" if path.is_dir() else "there is no such file"
        raise UserError(
            f"{path}: {what}; put your data there, name yours, or make the built-in sample with "
            "`python data_process/make_sample.py`"
        )
    number, position = (part.line, part.begin) if part else (1, 0)
    try:
        with path.open("rb") as file:
            file.seek(position)
            while (part is None or position < part.end) and (raw := file.readline()):
                yield number, raw
                number, position = number + 1, position + len(raw)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror or error}); check its permissions and its "
            "disk"
        ) from error


def is_blank(raw: bytes) -> bool:
    """Whether a line holds nothing but white space; one that is no text is not blank."""
    if raw[:1] == b"{":  # nearly every line, told at once
        return False
    try:
        return not raw.removeprefix(b"\xef\xbb\xbf").decode("utf-8").strip()
    except UnicodeDecodeError:
        return False


def decode_line(path: Path, number: int, raw: bytes) -> str:
    """The text of a line; UserError when its bytes are not UTF-8 text."""
    if number == 1:
        refuse_other_encodings(path, raw)
        raw = raw.removeprefix(b"\xef\xbb\xbf")
    if b"\0" in raw:
        raise UserError(f"{path}:{number}: a NUL byte; the file is binary or damaged, not JSONL")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}:{number}: not UTF-8 (byte {error.start + 1} of the line); save the file as "
            "UTF-8"
        ) from error


def refuse_other_encodings(path: Path, first_line: bytes) -> None:
    """Raises UserError when a file's first bytes are those of UTF-16, UTF-32 or a compressed
    file."""
    marked = first_line.startswith((b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff"))
    if marked or re.match(rb"\0{1,3}[\t -~]|[\t -~]\0", first_line):
        raise UserError(f"{path}:1: the file is UTF-16 or UTF-32; save it as UTF-8")
    if first_line.startswith(
        (b"\x1f\x8b", b"BZh", b"PK\x03\x04", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
    ):
        raise UserError(f"{path}:1: the file is compressed; unpack it first")


def read_texts(path: Path, part: FilePart | None = None) -> Iterator[tuple[int, str]]:
    """The texts of a pretraining file, {"text": ...} a line, or of a part of it, with their line
    numbers.

    Raises:
        UserError: a record has no text; the line is named.
    """
    for number, record in read_records(path, part):
        if not isinstance(record, dict) or "text" not in record:
            raise UserError(
                f'{path}:{number}: found {described(record)}; a line must be {{"text": "..."}}'
            )
        text = record["text"]
        if not isinstance(text, str) or not text.strip():
            what = "is empty" if isinstance(text, str) else f"is a {type(text).__name__}"
            raise UserError(f'{path}:{number}: "text" {what}; it must be a non-empty string')
        refuse_lone_surrogates(path, number, text)
        yield number, text


def read_conversations(
    path: Path, part: FilePart | None = None
) -> Iterator[tuple[int, list[Message]]]:
    """The conversations of an SFT file, {"conversations": [{"role", "content"}, ...]} a line, or of
    a part of it, with line numbers.

    Raises:
        UserError: a record is not a conversation with an assistant's turn; the line is named.
    """
    example = '{"conversations": [{"role": "user", "content": "..."}, {"role": "assistant", ...}]}'
    for number, record in read_records(path, part):
        if not isinstance(record, dict) or "conversations" not in record:
            raise UserError(f"{path}:{number}: found {described(record)}; a line must be {example}")
        messages = record["conversations"]
        if problem := check_messages(messages):
            raise UserError(f"{path}:{number}: {problem}")
        if not any(message["role"] == "assistant" for message in messages):
            raise UserError(f"{path}:{number}: no assistant's turn, so nothing to learn; add one")
        for message in messages:
            refuse_lone_surrogates(path, number, message["content"])
        yield number, messages


def refuse_lone_surrogates(path: Path, number: int, text: str) -> None:
    """Raises UserError for half a surrogate pair, which JSON can spell but UTF-8 cannot."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UserError(
            f"{path}:{number}: half a surrogate pair ({text[error.start]!r}); mend or remove it"
        ) from error


def described(record: object) -> str:
    """What a record is, in a few words, for a message."""
    if not isinstance(record, dict):
        return type(record).__name__
    names = [name if len(name) <= 40 else name[:40] + "..." for name in list(record)[:5]]
    return f"the keys {names}" + (" and more" if len(record) > 5 else "")
