"""Work cut into parts, run here or on a cluster by datatrove, and restartable.

The parts follow from the input and the settings alone, each writes files of its own, and the
results are joined in the order of the parts: the output is the same to the byte whatever the number
of workers, the executor, and the number of times the work was killed and started again.

A part's folder appears whole, by a rename, when the part is done:

    WORK_DIR/plan.json                  what the work is; another plan begins anew
    WORK_DIR/parts/00007/counts.json    what part 7 did
    WORK_DIR/parts/00007/main.jsonl     what it wrote
"""

from __future__ import annotations

import json
import os
import shutil
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

PLAN, PARTS, COUNTS, LOGS = "plan.json", "parts", "counts.json", "logs"


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

    def write(self, record: Any, stream: str = "main") -> None:
        """Adds a record to a stream, as a line of JSON."""
        line = json.dumps(record, ensure_ascii=False) + "\n"
        self.write_bytes(line.encode("utf-8"), stream)

    def write_bytes(self, line: bytes, stream: str = "main") -> None:
        """Adds whole lines, with their ends, to a stream."""
        if stream not in self.files:
            self.files[stream] = (self.folder / f"{stream}.jsonl").open("wb")
        self.files[stream].write(line)

    def count(self, what: str, number: int = 1) -> None:
        """Counts something, such as `in`, `out` or `dropped: too short`."""
        self.counts[what] += number

    def close(self) -> None:
        """Puts all files on the disk, counts last."""
        for file in self.files.values():
            file.flush()
            os.fsync(file.fileno())
            file.close()
        with (self.folder / COUNTS).open("w", encoding="utf-8") as file:
            json.dump(dict(sorted(self.counts.items())), file, ensure_ascii=False)
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


def run_part(step: Step, number: int, work_dir: Path) -> None:
    """Does one part, unless it is done."""
    folder = part_folder(work_dir, number)
    if (folder / COUNTS).exists():
        return
    unfinished = folder.with_name(f"{folder.name}.tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    output = PartOutput(unfinished)
    step.run(number, output)
    output.close()
    unfinished.rename(folder)


def part_folder(work_dir: Path, number: int) -> Path:
    """Where a part's files are once it is done."""
    return work_dir / PARTS / f"{number:05d}"


def part_counts(work_dir: Path, number: int) -> Counter[str] | None:
    """What a part counted, or None while it is not done."""
    path = part_folder(work_dir, number) / COUNTS
    if not path.exists():
        return None
    return Counter(json.loads(path.read_text(encoding="utf-8")))


def stream_files(work_dir: Path, stream: str = "main") -> Iterator[Path]:
    """The files of a stream, in the order of the parts; a part that wrote nothing has none."""
    for folder in sorted((work_dir / PARTS).iterdir()):
        if (path := folder / f"{stream}.jsonl").exists():
            yield path
