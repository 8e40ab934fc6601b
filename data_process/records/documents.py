"""Reading documents: JSONL records with a text, one by one, the bad ones stopped at or skipped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from config import UserError
from data_process.records.jsonl import is_blank, parse_object, read_raw_lines
from data_process.records.jsonl_parts import JsonlPart
from data_process.records.kinds import described
from data_process.running.step import REJECTED, PartOutput

BadRecords = Literal["stop", "skip"]
Parsed = TypeVar("Parsed")


@dataclass(frozen=True)
class Document:
    """A record, and where it stands."""

    path: Path
    line: int
    """From 1."""
    record: dict[str, Any]
    """All its keys."""

    @property
    def text(self) -> str:
        """What it says."""
        text: str = self.record["text"]
        return text

    @property
    def place(self) -> str:
        """file:line."""
        return f"{self.path}:{self.line}"


def read_documents(
    part: JsonlPart, bad_records: BadRecords, output: PartOutput | None = None
) -> Iterator[Document]:
    """The documents of a part of a file; see `read_parsed`."""

    def parse(begin: int, number: int, raw: bytes) -> Document:
        return Document(part.path, number, parse_record(part.path, number, raw))

    return read_parsed(part, parse, bad_records, output)


def read_parsed(
    part: JsonlPart,
    parse: Callable[[int, int, bytes], Parsed],
    bad_records: BadRecords,
    output: PartOutput | None = None,
) -> Iterator[Parsed]:
    """The records of a part of a file; each line that is not blank is counted as `in`.

    Args:
        part: which lines.
        parse: makes a record of the byte at which its line begins, the line's number and its
            content; raises a UserError when it is none.
        bad_records: skip: a record that is none is counted, noted among the rejected and passed
            over.
        output: where that is counted and noted, if anywhere.

    Raises:
        UserError: a record is none, and bad_records is "stop".
    """
    begin = part.lines.begin
    for number, raw in read_raw_lines(part.path, part.lines):
        place, begin = begin, begin + len(raw)
        if is_blank(raw):
            continue
        if output:
            output.count("in")
        try:
            yield parse(place, number, raw)
        except UserError as mistake:
            if bad_records == "stop":
                raise
            if output:
                output.count("dropped: bad record")
                output.write({"reason": "bad record", "problem": str(mistake)}, REJECTED)


def parse_record(path: Path, number: int, raw: bytes) -> dict[str, Any]:
    """The record of a line.

    Raises:
        UserError: it is no JSON object with a text; the line is named.
    """
    record = parse_object(path, number, raw)
    if "text" not in record:
        raise UserError(
            f'{path}:{number}: found {described(record)}; a line must be {{"text": "..."}}'
        )
    refuse_other_texts(path, number, record)
    return record


def refuse_other_texts(path: Path, number: int, record: dict[str, Any]) -> None:
    """Raises UserError when a record's text is no string."""
    if not isinstance(record["text"], str):
        raise UserError(
            f'{path}:{number}: "text" is a {type(record["text"]).__name__}; it must be a string'
        )
