"""Files of records in other packings than JSONL: one JSON array, a table, lines of text.

Each is brought to the records of `jsonl.py`, one by one in bounded memory, under its policy for bad
records.
"""

from __future__ import annotations

import codecs
import csv
import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import IO, Any, Literal

from config import UserError
from data_process.records.jsonl import (
    BOM,
    PIECE_BYTES,
    BadLine,
    FilePart,
    OnBad,
    Record,
    decode_line,
    is_blank,
    opened,
    parse_object,
    parsed,
    read_lines,
    read_records,
    refuse_other_formats,
)

Packing = Literal["jsonl", "array", "table", "lines"]
SEPARATORS = {".csv": (",", ";", "\t"), ".tsv": ("\t",)}
"""By the end of the file's name; the one that is most often in the first line."""
LOOKED_AT = 100
"""First records of each file, by which it is decided what all are."""
SPACE = " \t\r\n"
CUT = "; the file may be cut"


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
    try:
        refuse_other_formats(begin)
    except BadLine as error:
        raise UserError(f"{path}:1: {error}") from error
    text = begin.removeprefix(BOM).strip()
    if path.suffix.lower() == ".jsonl" and text.endswith(b"]") and more:
        return "jsonl"  # with a list in its first line, which is a bad record
    return "array" if text.startswith(b"[") or (not text and more == b"[") else "jsonl"


def read_source(source: Path | FilePart, on_bad: OnBad | None, longest: int) -> Iterator[Record]:
    """The records of a file in any packing, or of a part of one; see `jsonl.read_records`. Files
    other than JSONL have one part."""
    path = source.path if isinstance(source, FilePart) else source
    readers = {"array": read_array, "table": read_table, "lines": read_text_lines}
    if reader := readers.get(packing_of(path)):
        return reader(path, on_bad, longest)
    return read_records(source, on_bad=on_bad, longest=longest)


def read_text_lines(path: Path, on_bad: OnBad | None, longest: int) -> Iterator[Record]:
    """Each line that is not blank, as a text."""

    def parse(number: int, raw: bytes) -> dict[str, Any] | None:
        blank = is_blank(raw)
        return None if blank else {"text": decode_line(number, raw, longest).rstrip("\r\n")}

    return parsed(path, read_lines(path, longest), parse, on_bad)


def read_table(path: Path, on_bad: OnBad | None, longest: int) -> Iterator[Record]:
    """The rows of a table whose first line has the names of its columns; a row may go over several
    lines, where a quoted text does.

    Raises:
        UserError: the file is not a table.
    """
    csv.field_size_limit(longest)
    lines = table_lines(path, longest)
    header = next(lines, "")
    separator = max(SEPARATORS[path.suffix.lower()], key=header.count)
    names = [name.strip() for row in csv.reader([header], delimiter=separator) for name in row]
    if len(set(names)) < len(names) or not all(names):
        named = ", ".join(names)[:100]
        raise UserError(f"{path}:1: the first line must name each column once, but has {named}")

    def parse(number: int, row: list[str]) -> dict[str, Any] | None:
        if row and len(row) != len(names):
            raise BadLine(
                f"{len(row)} columns, but the first line names {len(names)}; put texts that "
                "hold a separator into quotes"
            )
        return dict(zip(names, row, strict=True)) if row else None

    return parsed(path, table_rows(path, lines, separator), parse, on_bad)


def table_lines(path: Path, longest: int) -> Iterator[str]:
    """The texts of the lines of a table."""
    for number, _, raw in read_lines(path, longest):
        try:
            yield decode_line(number, raw, longest)
        except BadLine as error:  # where its row ends is not known
            raise UserError(f"{path}:{number}: {error}") from error


def table_rows(
    path: Path, lines: Iterator[str], separator: str
) -> Iterator[tuple[int, int, list[str]]]:
    """Line and cells of each row below the header (and a place that is not known)."""
    rows = csv.reader(lines, delimiter=separator, strict=True)
    line = 2
    try:
        for row in rows:
            yield line, 0, row
            line = rows.line_num + 2
    except csv.Error as error:
        what = f"not a row of a table ({error}); look for a quote that is not closed"
        raise UserError(f"{path}:{line}: {what}") from error


def read_array(path: Path, on_bad: OnBad | None, longest: int) -> Iterator[Record]:
    """The items of a JSON array; one that is a text is {"text": ...}. A bad one is named by its
    number too, for all may stand in one line.

    Raises:
        UserError: the file is not an array, or one that cannot be read on; the line is named.
    """
    numbers = count(1)

    def parse(line: int, item: bytes) -> dict[str, Any]:
        number = next(numbers)
        try:
            return parse_object(decode_line(line, item, longest))
        except BadLine as error:
            raise BadLine(f"{error} (item {number:,} of the array)") from error

    def items() -> Iterator[tuple[int, int, bytes]]:
        with opened(path) as file:
            yield from ArrayText(path, file, longest).items()

    return parsed(path, items(), parse, on_bad)


class ArrayText:
    """The text of a JSON array, of which only as much is held as is needed."""

    def __init__(self, path: Path, file: IO[bytes], longest: int) -> None:
        self.path, self.file, self.longest = path, file, longest
        self.decode = codecs.getincrementaldecoder("utf-8-sig")()
        # Only for where an item ends: numbers may be of any size.
        self.scan = json.JSONDecoder(parse_int=str, parse_float=str).raw_decode
        self.text, self.place, self.line = "", 0, 1

    def wrong(self, what: str) -> UserError:
        """A file that cannot be read on."""
        return UserError(f"{self.path}:{self.line}: {what}; mend it, or save it as JSONL")

    def items(self) -> Iterator[tuple[int, int, bytes]]:
        """Line and JSON of each item (and a place that is not known)."""
        if self.symbol() != "[":
            raise self.wrong("the file is not a JSON array")
        if self.symbol() != "]":
            self.place -= 1
            while True:
                yield self.item()
                symbol = self.symbol()
                if symbol == "]":
                    break
                if symbol != ",":
                    raise self.wrong("an item must be followed by a comma or by the array's end")
        if self.symbol():
            raise self.wrong("something stands behind the array's end")

    def read_on(self) -> bool:
        """Reads more, as much as is waiting at least, and forgets what is done; False when the file
        has ended."""
        waiting = len(self.text) - self.place
        raw = self.file.read(max(PIECE_BYTES, waiting))
        try:
            more = self.decode.decode(raw, final=not raw)
        except UnicodeDecodeError as error:
            raise self.wrong("not UTF-8, here or below") from error
        if more:
            self.text, self.place = self.text[self.place :] + more, 0
        return bool(raw)

    def symbol(self) -> str:
        """The next character that is not white space, which is skipped; empty at the end."""
        while self.place < len(self.text) or self.read_on():
            character = self.text[self.place : self.place + 1]
            self.place += len(character)
            if character not in SPACE:
                return character
            self.line += character == "\n"
        return ""

    def item(self) -> tuple[int, int, bytes]:
        """The next item."""
        if not self.symbol():
            raise self.wrong(f"the array has no end{CUT}")
        self.place -= 1
        while (end := self.end_of_item()) == len(self.text) and self.read_on():
            pass  # a number may go on
        item, line = self.text[self.place : end], self.line
        self.line += item.count("\n")
        self.place = end
        if item.startswith('"'):
            item = f'{{"text": {item}}}'
        return line, 0, item.encode("utf-8") + b"\n"

    def end_of_item(self) -> int:
        """Where the item ends, reading on until it does."""
        while True:
            try:
                return self.scan(self.text, self.place)[1]
            except RecursionError as error:
                raise self.wrong("not valid JSON (nested too deeply)") from error
            except json.JSONDecodeError as error:  # perhaps only of an item that goes on
                reason = f"not valid JSON ({error.msg.removesuffix(' at')})"
                if len(self.text) - self.place > self.longest:
                    limit = f"an item of more than {self.longest:,} characters"
                    raise self.wrong(f"{limit}, or {reason}") from error
                if not self.read_on():
                    cut = "" if self.text.rstrip().endswith("]") else CUT
                    raise self.wrong(reason + cut) from error
