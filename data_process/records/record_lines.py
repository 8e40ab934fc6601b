"""Records with the lines they stand in, of files, parts of files and pipes; the bad ones are
stopped at or skipped."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

from config import Settings, UserError, in_range
from data_process.records.documents import BadRecords
from data_process.records.jsonl import (
    LONGEST_LINE,
    EmptyFile,
    WrongFile,
    bounded_lines,
    is_blank,
    parse_object,
    read_raw_lines,
)
from data_process.records.jsonl_parts import JsonlPart, refuse_twice
from data_process.running.step import REJECTED, PartOutput, byte_bar
from data_process.running.work_dir import PIPE

PIPE_NAME = Path("standard input")
BAD = "dropped: bad record"
BYTES = "bytes read"


@dataclass(frozen=True)
class Reading(Settings):
    """How files are read."""

    bad_records: BadRecords = "stop"
    """stop: a line that is no record ends the work, and is named. skip: such lines are passed over
    and counted."""
    max_line_bytes: int = LONGEST_LINE
    """A longer line is a bad record; so much memory a line may take, in bytes."""

    def problems(self) -> list[str]:
        """Everything wrong with the values, a sentence each."""
        return in_range(self, 16, 1 << 31, "max_line_bytes")


class RecordLine(NamedTuple):
    """A record, and where it stands."""

    path: Path
    number: int
    """Line, from 1."""
    raw: bytes
    """The line, with \\n at its end."""
    record: dict[str, Any]

    @property
    def place(self) -> str:
        """file:line."""
        return f"{self.path}:{self.number}"


def parse_lines(
    path: Path,
    lines: Iterable[tuple[int, bytes]],
    reading: Reading,
    tell_bad: Callable[[UserError], object] | None = None,
) -> Iterator[RecordLine]:
    """The records of lines; blank lines are passed over.

    Args:
        path: the file, for messages.
        lines: numbers and bytes.
        reading: what is done about a bad one.
        tell_bad: is told of each one that is skipped.

    Raises:
        UserError: a line is no record, and bad_records is "stop".
    """
    for number, raw in lines:
        if is_blank(raw):
            continue
        try:
            record = parse_object(path, number, raw, reading.max_line_bytes)
        except UserError as mistake:
            if reading.bad_records == "stop" or isinstance(mistake, WrongFile):
                raise
            if tell_bad:
                tell_bad(mistake)
            continue
        if number == 1:
            raw = raw.removeprefix(b"\xef\xbb\xbf")
        yield RecordLine(path, number, raw.rstrip(b"\r\n") + b"\n", record)


def read_part(part: JsonlPart, reading: Reading, output: PartOutput) -> Iterator[RecordLine]:
    """The records of a part of a file; each one is counted as `in`, and bad ones are counted and
    noted among the rejected."""
    lines = read_raw_lines(part.path, part.lines, reading.max_line_bytes)
    note = noting(output.counts, rejecter(output))
    yield from counted(parse_lines(part.path, lines, reading, note), output.counts)


def rejecter(output: PartOutput) -> Callable[[UserError], None]:
    """What notes bad records among the rejected."""
    return lambda mistake: output.write({"reason": "bad record", "problem": str(mistake)}, REJECTED)


def noting(
    counts: Counter[str], tell_bad: Callable[[UserError], object] | None
) -> Callable[[UserError], None]:
    """What counts bad records, and tells of them."""

    def note(mistake: UserError) -> None:
        counts["in"] += 1
        counts[BAD] += 1
        if tell_bad:
            tell_bad(mistake)

    return note


def counted(lines: Iterator[RecordLine], counts: Counter[str]) -> Iterator[RecordLine]:
    """Counts records as `in`."""
    for line in lines:
        counts["in"] += 1
        yield line


def read_all(
    paths: Sequence[Path],
    reading: Reading,
    counts: Counter[str],
    title: str,
    tell_bad: Callable[[UserError], object] | None = None,
) -> Generator[RecordLine, None, None]:
    """The records of files and pipes, one after another, with a progress bar.

    Args:
        paths: files; - is standard input.
        reading: how they are read.
        counts: where records (`in`), bad ones, and bytes are counted.
        title: what the bar says.
        tell_bad: is told of each bad record.

    Raises:
        UserError: a file cannot be read, or is empty; or a line is no record.
    """
    refuse_twice(paths)
    sizes = [path.stat().st_size for path in paths if path.is_file()]
    total = sum(sizes) if len(sizes) == len(paths) else None
    with byte_bar(title, total) as bar:
        for path in paths:
            before = counts["in"]
            name = PIPE_NAME if path == PIPE else path
            lines = told(raw_lines(path, reading.max_line_bytes), bar.update, counts)
            yield from counted(parse_lines(name, lines, reading, noting(counts, tell_bad)), counts)
            if counts["in"] == before:
                raise EmptyFile(name)


def told(
    lines: Iterator[tuple[int, bytes]], tell: Callable[[int], object], counts: Counter[str]
) -> Iterator[tuple[int, bytes]]:
    """Tells the bytes of lines to a progress bar, some thousands at once, and counts them."""
    waiting = 0
    try:
        for number, raw in lines:
            waiting += len(raw)
            if waiting > 1 << 20:
                tell(waiting)
                counts[BYTES] += waiting
                waiting = 0
            yield number, raw
    finally:  # also when no more is wanted
        tell(waiting)
        counts[BYTES] += waiting


def raw_lines(path: Path, longest: int) -> Iterator[tuple[int, bytes]]:
    """The lines of a file, of a named pipe, or of standard input."""
    if path == PIPE:
        yield from bounded_lines(standard_input(), None, longest)
    elif path.is_fifo() or path.is_char_device():
        with path.open("rb") as file:
            yield from bounded_lines(file, None, longest)
    else:
        yield from read_raw_lines(path, None, longest)


def standard_input() -> IO[bytes]:
    """The bytes of standard input."""
    return sys.stdin.buffer


def is_pipe(path: Path) -> bool:
    """Whether a path can be read only once."""
    return path == PIPE or path.is_fifo() or path.is_char_device()
