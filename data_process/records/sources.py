"""Files of records in other forms than JSONL, as lines of JSONL: one JSON array, objects over
several lines, a table (CSV, TSV, Parquet, Arrow), lines of text.

Memory is bounded. A record comes in the line of its own number, as far as blank lines before it can
bring it there: so file:line is where it begins, of a table of Parquet or Arrow its row. Only where
several items of an array share a line, the number is that of the item.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from config import UserError
from data_process.records.opening import BOM, SEPARATORS, Packing, shown
from data_process.running.compression import inner_name

PIECE_BYTES = 1 << 20
ROWS = 256
"""Rows of a table that are read at once."""
SPACE = " \t\r\n"
CUT = "; the file may be cut"
NO_RECORD = "\ufdd0"
"""Begins a line in place of what is not a record, before the reason; a noncharacter, so no text has
it."""


def lines_of(
    path: Path, packing: Packing, file: IO[bytes], longest: int, lines: bool = False
) -> Iterator[bytes]:
    """A file in another form than JSONL as lines of JSONL.

    Args:
        path: its place, for messages.
        packing: what it is packed in.
        file: its content, see `opening.look_into`.
        longest: bytes that an item or a cell may have.
        lines: whether each line of a text file is a document.

    Raises:
        UserError: it cannot be read on, or is a text file that is not to be read by lines.
    """
    if packing.form in ("parquet", "arrow"):
        return table_rows(path, packing.form, file)
    if packing.form == "table":
        return csv_rows(path, file, longest)
    if packing.form == "lines":
        if lines:
            return text_lines(file)
        raise UserError(
            f"{shown(path)}: a text file; cut it into documents: python data_process/split_text.py "
            f"{shown(path)} --output training_data/pretrain/{inner_name(path).stem}.jsonl (or, if "
            "each line is one: process_jsonl.py convert --from lines)"
        )
    return placed(ArrayText(path, file, longest).items(packing.form == "array"))


def placed(numbered: Iterator[tuple[int, bytes]]) -> Iterator[bytes]:
    """Lines at their numbers (from 1), as far as those before leave room."""
    line = 1
    for number, content in numbered:
        if number > line:
            yield from [b"\n"] * (number - line)
        yield content
        line = max(number, line) + 1


def json_line(record: object) -> bytes:
    """A record as a line; what is no text in it makes the line one that is not UTF-8."""
    line = json.dumps(record, ensure_ascii=False) + "\n"
    return line.encode("utf-8", "surrogateescape")


def text_lines(file: IO[bytes]) -> Iterator[bytes]:
    """Each line that is not blank, as a text."""
    for number, raw in enumerate(file, 1):
        text = raw.removeprefix(BOM if number == 1 else b"").rstrip(b"\r\n")
        line = text.decode("utf-8", "surrogateescape")
        yield json_line({"text": line}) if line.strip() else b"\n"


def csv_rows(path: Path, file: IO[bytes], longest: int) -> Iterator[bytes]:
    """The rows of a table whose first line has the names of its columns; a row may go over several
    lines, where a quoted text does.

    Raises:
        UserError: the file is not a table.
    """
    csv.field_size_limit(longest)
    text = io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="")
    lines = table_lines(path, text)
    header = next(lines, "")
    if not header:
        return iter(())
    separator = max(SEPARATORS[inner_name(path).suffix.lower()], key=header.count)
    names = [name.strip() for row in csv.reader([header], delimiter=separator) for name in row]
    if len(set(names)) < len(names) or not all(names):
        named = ", ".join(names)[:100]
        raise UserError(f"{shown(path)}:1: the first line must name each column once: {named}")
    return placed(numbered_rows(path, names, csv.reader(lines, delimiter=separator, strict=True)))


def table_lines(path: Path, text: io.TextIOWrapper) -> Iterator[str]:
    """The lines of a table."""
    for number, line in enumerate(text, 1):
        if "\0" in line:
            raise UserError(f"{shown(path)}:{number}: a NUL byte; the file is binary or damaged")
        yield line


def numbered_rows(path: Path, names: list[str], rows: Any) -> Iterator[tuple[int, bytes]]:
    """Line and record of each row below the header."""
    line = 2
    try:
        for row in rows:
            if row and len(row) != len(names):
                why = f"{len(row)} columns, but the first line names {len(names)}; put texts"
                yield line, f"{NO_RECORD}{why} that hold a separator into quotes\n".encode()
            elif row:
                yield line, json_line(dict(zip(names, row, strict=True)))
            line = rows.line_num + 2
    except csv.Error as error:
        what = f"not a row of a table ({error}); look for a quote that is not closed"
        raise UserError(f"{shown(path)}:{line}: {what}") from error


def table_rows(path: Path, form: str, file: IO[bytes]) -> Iterator[bytes]:
    """The rows of a table of Parquet or Arrow.

    Raises:
        UserError: it is damaged.
    """
    import pyarrow as pa  # slow to import
    import pyarrow.parquet as pq

    with ExitStack() as stack:
        if not file.seekable():
            copy = stack.enter_context(tempfile.TemporaryFile("w+b"))
            for piece in iter(lambda: file.read(PIECE_BYTES), b""):
                copy.write(piece)
            file = copy
        try:
            if form == "parquet":
                batches = pq.ParquetFile(file).iter_batches(ROWS)
            else:
                is_stream = file.read(1) == b"\xff"
                file.seek(0)
                arrow = pa.ipc.open_stream(file) if is_stream else pa.ipc.open_file(file)
                batches = (
                    arrow if is_stream else map(arrow.get_batch, range(arrow.num_record_batches))
                )
            for batch in batches:
                yield from map(row_line, batch.to_pylist())
        except (pa.ArrowException, OSError) as error:
            reason = str(error).splitlines()[0][:200]
            raise UserError(
                f"{shown(path)}:1: a damaged table ({reason}); fetch it again"
            ) from error


def row_line(row: dict[str, Any]) -> bytes:
    """A row as a line of JSON; NaN, as which pandas writes what is missing, becomes null."""
    try:
        return (
            json.dumps(row, ensure_ascii=False, allow_nan=False, default=spelled) + "\n"
        ).encode()
    except ValueError:
        return json_line(
            json.loads(json.dumps(row, default=spelled), parse_constant=lambda _: None)
        )


def spelled(value: object) -> str:
    """What JSON has no form for: times and the like as they are printed, bytes (a picture) by their
    number."""
    return f"<{len(value):,} bytes>" if isinstance(value, bytes) else str(value)


class ArrayText:
    """The text of a JSON array, or of objects one after another, of which only as much is held as
    is needed."""

    def __init__(self, path: Path, file: IO[bytes], longest: int) -> None:
        self.path, self.file, self.longest = path, file, longest
        self.decode = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")
        # Only for where an item ends: numbers may be of any size.
        self.scan = json.JSONDecoder(parse_int=str, parse_float=str).raw_decode
        self.text, self.place, self.line = "", 0, 1

    def wrong(self, what: str) -> UserError:
        """A file that cannot be read on."""
        return UserError(f"{shown(self.path)}:{self.line}: {what}; mend it, or save it as JSONL")

    def items(self, is_array: bool) -> Iterator[tuple[int, bytes]]:
        """Line and JSON of each item, in one line; one that is a text is {"text": ...}."""
        if not is_array:
            while self.symbol():
                self.place -= 1
                yield self.item()
            return
        self.symbol()  # the bracket
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
        more = self.decode.decode(raw, final=not raw)
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

    def item(self) -> tuple[int, bytes]:
        """The next item."""
        comma = self.line
        symbol = self.symbol()
        if not symbol:
            raise self.wrong(f"the array has no end{CUT}")
        self.place -= 1
        if symbol == "]":
            self.line = comma
            raise self.wrong("a comma stands behind the last item, before the ]: remove the comma")
        line = self.line
        while (end := self.end_of_item()) == len(self.text) and self.read_on():
            pass  # a number may go on
        item = self.text[self.place : end]
        self.line += item.count("\n")
        self.place = end
        if item.startswith('"'):
            item = f'{{"text": {item}}}'
        # In JSON, line breaks stand between its parts alone.
        one_line = item.replace("\r", " ").replace("\n", " ") + "\n"
        return line, one_line.encode("utf-8", "surrogateescape")

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
