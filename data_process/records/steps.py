"""What the commands share that do something to each record: their flags, and running them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import tyro

from config import PathConfig, Settings, UserError
from data_process.records.input_files import find_files
from data_process.records.record_lines import Reading, is_pipe
from data_process.running.run import StepConfig
from data_process.running.step import PARTS, Step
from data_process.running.work_dir import PIPE, held, remove_work_dir, work_dir_of
from data_process.running.workers import Execution
from model.directory.storage import explained, json_text, remove

JSONL = (".jsonl",)


@dataclass(frozen=True)
class InputConfig(Settings):
    """What is read."""

    input_files: tyro.conf.Positional[tuple[Path, ...]] = ()
    """JSONL files, or folders of them; - is standard input."""
    reading: Reading = field(default_factory=Reading)
    """How files are read."""

    @property
    def endings(self) -> Sequence[str]:
        """Of the files that are taken from folders."""
        return JSONL

    def conflicts(self) -> list[str]:
        """What is wrong between fields, a sentence each."""
        return [] if self.input_files else ["input_files: name at least one file, before the flags"]

    def files(self) -> list[Path]:
        """The files that are read, in order; raises UserError when one is not there."""
        found: list[Path] = []
        for path in self.input_files:
            found += [path] if is_pipe(path) else find_files([path], self.endings)
        return found


@dataclass(frozen=True)
class OutputConfig(InputConfig):
    """What is read, and where one file of records goes."""

    output: Path = PIPE
    """JSONL file to write; - is standard output."""
    overwrite: bool = False
    """Replace files that exist with other content."""


@dataclass(frozen=True)
class RecordStepConfig(InputConfig, StepConfig):
    """The flags of a command that works record by record."""

    output: Path = PIPE
    """JSONL file to write; - is standard output."""
    execution: Execution = field(default_factory=Execution)
    """How the work is spread; what comes from a pipe or goes to one is done by one process."""

    @property
    def is_stream(self) -> bool:
        """Whether a pipe is read or written."""
        return self.output == PIPE or any(map(is_pipe, self.input_files))

    @property
    def written(self) -> list[Path]:
        """The files to write."""
        return [path for path in (self.output, self.rejected) if path is not None]


@contextmanager
def passing_work_dir(step: Step) -> Iterator[Path]:
    """A work directory for a step that writes no file of its own: in the cache, which machines of
    a cluster see too, named by what the step does; it goes with the block, also after a mistake in
    the input, but stays when the block is interrupted, to be continued."""
    digest = hashlib.sha256(json_text(step.plan()).encode("utf-8")).hexdigest()[:12]
    work_dir = PathConfig.cache_dir / f"{step.title.replace(' ', '_')}-{digest}.work"
    try:
        yield work_dir
    except UserError:
        with suppress(UserError):  # another process may be at work there
            remove_work_dir(work_dir)
        raise
    remove_work_dir(work_dir)


@contextmanager
def scratch_folder(destination: Path) -> Iterator[Path]:
    """An empty folder for what does not fit into memory: beside what is written, or in the cache
    when that is standard output; it goes with the block, and a killed one's is used again.

    Raises:
        UserError: it cannot be written, or another process is at the same work.
    """
    place = PathConfig.cache_dir / f"scratch-{os.getpid()}" if destination == PIPE else destination
    work_dir = work_dir_of(place)
    try:
        with held(work_dir), explained(work_dir):
            remove(work_dir / PARTS)
            (work_dir / PARTS).mkdir()
            yield work_dir / PARTS
    finally:
        with suppress(UserError):  # another process is at work there
            remove_work_dir(work_dir)
