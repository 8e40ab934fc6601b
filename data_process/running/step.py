"""A step: work cut into parts, each done once and whole, wherever it runs.

The parts follow from the input and the settings alone, each writes files of its own, and the
results are joined in the order of the parts: the output is the same to the byte whatever the number
of workers, the executor, and the number of times the work was killed and started again.

A part's folder appears whole, by a rename, when the part is done; until then what it writes has a
name of its own, for two processes may be at the same part (a job that was put back into its queue,
a process that outlives a killed one for a moment):

    WORK_DIR/parts/00007/counts.json          what part 7 did
    WORK_DIR/parts/00007/main.jsonl           what it wrote
    WORK_DIR/parts/00008.5f0c8a17.tmp         part 8, at work or cut short
"""

from __future__ import annotations

import heapq
import json
import os
import shutil
import sys
import time
import uuid
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

from tqdm import tqdm

from config import UserError
from model.directory.storage import explained, json_writer, replace_file, sync_directory
from terminal import is_screen

T = TypeVar("T")
PARTS, COUNTS = "parts", "counts.json"
MAIN, REJECTED, REMOVED = "main", "rejected", "removed"
"""Names of the streams of what a step keeps, of what it drops with the reason, and of lines that it
takes out of what it keeps."""

LINE_EVERY_S = 60
"""Seconds between two lines about how far work is, where there is no bar."""
LINE = "{desc}{percentage:.0f}% of {total_fmt}, {rate_fmt}, {remaining} left"


@dataclass(frozen=True)
class Part:
    """A piece of the input that needs nothing of the others."""

    name: str
    """For messages, such as `enwiki.xml.bz2 part 3`."""
    size: int
    """Bytes of input, for the progress bar."""


class PartOutput:
    """What a part writes and counts; seen by nobody before the part is done."""

    def __init__(self, folder: Path) -> None:
        """folder: where the files go; it exists and is empty."""
        self.folder = folder
        self.counts: Counter[str] = Counter()
        self.files: dict[str, IO[bytes]] = {}

    def write(self, record: Any, stream: str = MAIN) -> None:
        """Adds a record to a stream, as a line of JSON."""
        line = json.dumps(record, ensure_ascii=False) + "\n"
        # Half a surrogate pair, which UTF-8 cannot spell, becomes \udXXX, as JSON escapes it.
        self.write_bytes(line.encode("utf-8", "backslashreplace"), stream)

    def write_bytes(self, line: bytes, stream: str = MAIN) -> None:
        """Adds whole lines, with their ends, to a stream."""
        if stream not in self.files:
            self.files[stream] = (self.folder / f"{stream}.jsonl").open("wb")
        self.files[stream].write(line)

    def keep(self, record: dict[str, Any] | bytes, stream: str = MAIN) -> None:
        """Adds a record, or its whole line, to a stream, and counts it as `out`."""
        self.count("out")
        if isinstance(record, bytes):
            self.write_bytes(record, stream)
        else:
            self.write(record, stream)

    def drop(self, record: dict[str, Any], reason: str, **details: Any) -> None:
        """Writes a record to the rejected ones with its reason and details, and counts the
        reason."""
        self.count(f"dropped: {reason}")
        self.write({**record, "reason": reason, **details}, REJECTED)

    def remove_line(
        self, record: dict[str, Any], line: str, rule: str, number: int | None = None
    ) -> None:
        """Writes a line that is taken out of a text to the removed ones, and counts its rule.

        Args:
            record: the text's record, whose other keys go with the line.
            line: the line.
            rule: why it goes.
            number: its number in the text, from 1, if it is known.
        """
        self.count(f"lines removed: {rule}")
        others = {key: value for key, value in record.items() if key != "text"}
        place = {} if number is None else {"line_number": number}
        self.write({**others, "rule": rule, "line": line, **place}, REMOVED)

    def count(self, what: str, number: int = 1) -> None:
        """Counts something, such as `in`, `out` or `dropped: too short`."""
        self.counts[what] += number

    def __enter__(self) -> PartOutput:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """Puts all files on the disk; after an error it only closes them."""
        if error is None:
            replace_file(self.folder / COUNTS, json_writer(dict(sorted(self.counts.items()))))
        for stream in self.files.values():
            if error is None:
                put_on_disk(stream)
            stream.close()
        if error is None:
            sync_directory(self.folder)


def put_on_disk(file: IO[Any]) -> None:
    """Flushes an open file to disk."""
    file.flush()
    os.fsync(file.fileno())


class Step(ABC):
    """Something that is done to every part. It is sent to other processes and machines, so it holds
    plain values (paths, settings) only."""

    title: str = "working"
    """What the progress bar says."""

    @abstractmethod
    def parts(self) -> Sequence[Part]:
        """The parts; always the same for the same input and settings."""

    @abstractmethod
    def run(self, number: int, output: PartOutput) -> None:
        """Does part `number` (from 0).

        Raises:
            UserError: the input is wrong; the whole work stops, what is done stays.
        """

    @abstractmethod
    def plan(self) -> dict[str, Any]:
        """All that the output depends on: settings, and name, size and times of the input."""

    @property
    def input_bytes(self) -> int:
        """Bytes of input of all parts."""
        return sum(part.size for part in self.parts())


def run_part(step: Step, number: int, work_dir: Path) -> None:
    """Does one part, unless it is done.

    Raises:
        UserError: the input is wrong, or cannot be read, or the disk is full.
    """
    folder = part_folder(work_dir, number)
    if folder.exists():
        return
    aside = folder.with_name(f"{folder.name}.{uuid.uuid4().hex[:8]}.tmp")
    with explained(work_dir):
        aside.mkdir(parents=True)
        try:
            with PartOutput(aside) as output:
                run_reading(step, number, output)
            try:
                aside.rename(folder)
            except OSError:  # another process did the part too, and wrote the same bytes
                if not folder.exists():
                    raise
            sync_directory(folder.parent)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def run_reading(step: Step, number: int, output: PartOutput) -> None:
    """Does one part; a file that it cannot read is named, and not taken for one that it cannot
    write."""
    try:
        step.run(number, output)
    except OSError as error:
        if error.filename is None or Path(str(error.filename)).parent == output.folder:
            raise
        raise UserError(
            f"{error.filename}: cannot be read ({error.strerror}); check that it is there, and run "
            "the same command again: what is done is kept"
        ) from error


def part_folder(work_dir: Path, number: int) -> Path:
    """Where a part's files are once it is done."""
    return work_dir / PARTS / f"{number:05d}"


def done_parts(work_dir: Path) -> list[int]:
    """The numbers of the parts that are done, ascending."""
    place = work_dir / PARTS
    names = os.listdir(place) if place.exists() else []
    return sorted(int(name) for name in names if name.isdigit())


def part_counts(work_dir: Path, number: int) -> Counter[str]:
    """What a part that is done counted."""
    path = part_folder(work_dir, number) / COUNTS
    return Counter(json.loads(path.read_text(encoding="utf-8")))


def stream_files(work_dir: Path, stream: str = MAIN) -> Iterator[Path]:
    """The files of a stream, in the order of the parts; a part that wrote nothing has none."""
    for number in done_parts(work_dir):
        if (path := part_folder(work_dir, number) / f"{stream}.jsonl").exists():
            yield path


def stream_records(work_dir: Path, stream: str) -> Iterator[Any]:
    """What all parts wrote to a stream, in their order."""
    for path in stream_files(work_dir, stream):
        with path.open("rb") as file:
            yield from map(json.loads, file)


def merged_lines(work_dir: Path, stream: str) -> Iterator[bytes]:
    """The lines of a stream whose parts are each sorted, in one order."""
    with ExitStack() as stack:
        paths = stream_files(work_dir, stream)
        yield from heapq.merge(*[stack.enter_context(path.open("rb")) for path in paths])


def grouped(items: Iterable[T], size_of: Callable[[T], int], most: int) -> Iterator[tuple[T, ...]]:
    """Items that follow one another in groups of at most so much; a larger one is alone."""
    group: list[T] = []
    size = 0
    for item in items:
        if group and size + size_of(item) > most:
            yield tuple(group)
            group, size = [], 0
        group.append(item)
        size += size_of(item)
    if group:
        yield tuple(group)


class Progress(tqdm):  # type: ignore[misc]  # tqdm comes without types
    """A bar in a terminal; in a file, a pipe or a dumb terminal a line a minute."""

    def __init__(self, items: Iterable[Any] | None, desc: str, **options: Any) -> None:
        bar = is_screen(sys.stderr)
        super().__init__(items, desc, delay=1, leave=False, disable=not bar, **options)
        self.shown = {"prefix": f"{desc}: ", "bar_format": LINE, **options}
        self.began = self.last_line = time.monotonic()

    def __iter__(self) -> Iterator[Any]:
        """The items, each counted when the next one is asked for."""
        if not self.disable:
            yield from super().__iter__()
            return
        for item in self.iterable:
            yield item
            self.update()

    def update(self, n: float | None = 1) -> bool | None:
        """Counts more as done."""
        if not self.disable:
            return super().update(n)
        self.n += n or 0
        if (now := time.monotonic()) - self.last_line >= LINE_EVERY_S:
            self.last_line = now
            options = {"total": self.total, **self.shown}
            line = self.format_meter(self.n, elapsed=now - self.began, **options)
            print(line, file=sys.stderr)
        return None


def progress(items: Iterable[Any] | None = None, desc: str = "", **options: Any) -> Progress:
    """Shows how far work is, once it takes longer than a second."""
    return Progress(items, desc, **options)


def byte_bar(title: str, total: int | None, initial: int = 0) -> Progress:
    """The progress bar of all work that reads bytes.

    Args:
        title: what is done.
        total: bytes in all; None: not known.
        initial: bytes that were done before.
    """
    return progress(None, title, total=total, initial=initial, unit="B", unit_scale=True)
