"""Files of records in any packing: JSONL, one JSON array, a table, lines of text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from config import UserError
from data_process.records.json_array import array_items
from data_process.records.jsonl import (
    PIECE_BYTES,
    EmptyFile,
    decode_line,
    is_blank,
    opened,
    parse_object,
    read_raw_lines,
    refuse_other_formats,
)
from data_process.records.jsonl_parts import JsonlPart
from data_process.records.record_lines import (
    Reading,
    RecordLine,
    counted,
    noting,
    parse_lines,
    read_part,
    rejecter,
)
from data_process.records.table_file import SEPARATORS, read_table
from data_process.running.step import Part, PartOutput

Packing = Literal["jsonl", "array", "table", "lines"]
TellBad = Callable[[UserError], object]


@dataclass(frozen=True)
class WholeFile:
    """A file that is read from its begin to its end."""

    path: Path
    packing: Packing

    @property
    def part(self) -> Part:
        """Its name and size."""
        return Part(str(self.path), self.path.stat().st_size)


def packing_of(path: Path) -> Packing:
    """How a file holds its records, by its name and its first bytes.

    Raises:
        UserError: it cannot be read, or is of another format.
    """
    if path.suffix.lower() in SEPARATORS:
        return "table"
    if path.suffix.lower() == ".txt":
        return "lines"
    with opened(path) as file:
        begin = file.readline(PIECE_BYTES)
        more = file.read(1)
    refuse_other_formats(path, begin)
    text = begin.removeprefix(b"\xef\xbb\xbf").strip()
    if path.suffix.lower() == ".jsonl" and text.endswith(b"]") and more:
        return "jsonl"  # with a list in its first line, which is a bad record
    return "array" if text.startswith(b"[") or (not text and more == b"[") else "jsonl"


def read_whole(source: WholeFile, reading: Reading, tell_bad: TellBad) -> Iterator[RecordLine]:
    """The records of a file.

    Raises:
        UserError: it cannot be read, or a record is bad and bad_records is "stop".
    """
    path = source.path
    if source.packing == "array":
        with opened(path) as file:
            items = array_items(path, file, reading.max_line_bytes)
            yield from parse_items(path, items, reading, tell_bad)
        return
    lines = read_raw_lines(path, None, reading.max_line_bytes)
    if source.packing == "table":
        yield from read_table(path, lines, reading, tell_bad)
    elif source.packing == "lines":
        yield from read_text_lines(path, lines, reading, tell_bad)
    else:
        yield from parse_lines(path, lines, reading, tell_bad)


def read_source(
    source: JsonlPart | WholeFile, reading: Reading, output: PartOutput
) -> Iterator[RecordLine]:
    """The records of a file or of a part of one, counted; bad ones are counted and noted."""
    if isinstance(source, JsonlPart):
        yield from read_part(source, reading, output)
        return
    tell_bad = noting(output.counts, rejecter(output))
    yield from counted(read_whole(source, reading, tell_bad), output.counts)
    if not output.counts["in"]:
        raise EmptyFile(source.path)


def parse_items(
    path: Path, items: Iterator[tuple[int, bytes]], reading: Reading, tell_bad: TellBad
) -> Iterator[RecordLine]:
    """The records of an array; a bad one is named by its number too, for all may stand in one
    line."""
    for position, (number, raw) in enumerate(items, 1):
        try:
            record = parse_object(path, number, raw, reading.max_line_bytes)
        except UserError as error:
            mistake = UserError(f"{error} (item {position:,} of the array)")
            if reading.bad_records == "stop":
                raise mistake from error
            tell_bad(mistake)
            continue
        yield RecordLine(path, number, raw, record)


def read_text_lines(
    path: Path, lines: Iterator[tuple[int, bytes]], reading: Reading, tell_bad: TellBad
) -> Iterator[RecordLine]:
    """Each line that is not blank, as a text."""
    for number, raw in lines:
        if is_blank(raw):
            continue
        try:
            text = decode_line(path, number, raw, reading.max_line_bytes).rstrip("\r\n")
        except UserError as mistake:
            if reading.bad_records == "stop":
                raise
            tell_bad(mistake)
            continue
        yield RecordLine(path, number, raw, {"text": text})
