"""The rows of a CSV or TSV file, as records."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path

from config import UserError
from data_process.records.jsonl import WrongFile, decode_line
from data_process.records.record_lines import Reading, RecordLine

SEPARATORS = {".csv": (",", ";", "\t"), ".tsv": ("\t",)}
"""By the end of the file's name; the one that is most often in the first line."""


def read_table(
    path: Path,
    lines: Iterator[tuple[int, bytes]],
    reading: Reading,
    tell_bad: Callable[[UserError], object],
) -> Iterator[RecordLine]:
    """The rows of a table whose first line has the names of its columns; a row may go over several
    lines, where a quoted text does.

    Raises:
        UserError: the file is no table, or a row is none and bad_records is "stop".
    """
    csv.field_size_limit(reading.max_line_bytes)
    numbers: list[int] = [0]
    texts = decoded(path, lines, reading, numbers)
    header = next(texts, None)
    if header is None:
        return
    separator = max(SEPARATORS[path.suffix.lower()], key=header.count)
    names = [name.strip() for name in next(csv.reader([header], delimiter=separator))]
    refuse_names(path, names)
    rows = csv.reader(texts, delimiter=separator, strict=True)
    while True:
        begin = numbers[0] + 1
        try:
            row = next(rows, None)
        except csv.Error as error:
            raise WrongFile(
                f"{path}:{begin}: no row of a table ({error}); look for a quote that is not closed"
            ) from error
        if row is None:
            return
        if not row:
            continue
        if len(row) != len(names):
            mistake = UserError(
                f"{path}:{begin}: {len(row)} columns, but the first line names {len(names)}; put "
                "texts that hold a separator into quotes"
            )
            if reading.bad_records == "stop":
                raise mistake
            tell_bad(mistake)
            continue
        yield RecordLine(path, begin, b"", dict(zip(names, row, strict=True)))


def decoded(
    path: Path, lines: Iterator[tuple[int, bytes]], reading: Reading, numbers: list[int]
) -> Iterator[str]:
    """The texts of lines; the number of the last one stands in `numbers`."""
    for number, raw in lines:
        numbers[0] = number
        try:
            yield decode_line(path, number, raw, reading.max_line_bytes)
        except UserError as mistake:  # where its row ends cannot be told
            raise WrongFile(str(mistake)) from mistake


def refuse_names(path: Path, names: list[str]) -> None:
    """Raises WrongFile when the first line does not name columns."""
    if len(set(names)) < len(names) or not all(names):
        raise WrongFile(
            f"{path}:1: the first line must name each column once, but has {', '.join(names)[:100]}"
        )
