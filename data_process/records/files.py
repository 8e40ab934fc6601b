"""The files that a command reads and writes: their flags, finding them, and writing them whole."""

from __future__ import annotations

import hashlib
import io
import os
import sys
import time
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, ClassVar

import tyro

from config import PathConfig, Settings, UserError
from data_process.records.jsonl import Reading, Record, counted, is_pipe
from data_process.records.parts import FilesStep, refuse_twice
from data_process.running.run import StepConfig, outcome, run_and_join, run_single
from data_process.running.step import MAIN, REJECTED, PartOutput, Step, byte_bar
from data_process.running.work_dir import PIPE, open_output, refuse_outputs, remove_work_dir
from data_process.running.workers import Execution
from model.directory.storage import json_text

BYTES = "bytes read"


@dataclass(frozen=True)
class InputConfig(Settings):
    """What is read."""

    input_files: tyro.conf.Positional[tuple[Path, ...]] = ()
    """JSONL files, or folders of them; - is standard input."""
    reading: Reading = field(default_factory=Reading)
    """How files are read."""

    endings: ClassVar[Sequence[str]] = (".jsonl",)
    """Of the files that are taken from folders."""
    takes_pipes: ClassVar[bool] = True

    def conflicts(self) -> list[str]:
        """What is wrong with the files, a sentence each."""
        if not self.input_files:
            return ["input_files: name at least one file, before the flags"]
        if not self.takes_pipes and any(map(is_pipe, self.input_files)):
            return ["input_files: a pipe can be read only once; name files"]
        return []

    def files(self) -> list[Path]:
        """The files that are read, in order; raises UserError when one is not there."""
        found: list[Path] = []
        for path in self.input_files:
            found += [path] if is_pipe(path) else find_files([path], self.endings)
        return found


@dataclass(frozen=True)
class CopyConfig(InputConfig):
    """What is read, and what is copied of it."""

    overwrite: bool = False
    """Replace files that exist with other content."""


@dataclass(frozen=True)
class OutputConfig(CopyConfig):
    """What is read, and where one file of records goes."""

    output: Path = PIPE
    """JSONL file to write; - is standard output."""


class RecordStep(FilesStep):
    """A step that works record by record, so also on those of a pipe."""

    @abstractmethod
    def work(self, records: Iterator[Record], output: PartOutput) -> None:
        """Does to records what `run` does to those of a part."""


@dataclass(frozen=True)
class RecordStepConfig(InputConfig, StepConfig):
    """The flags of a command that works record by record."""

    output: Path = PIPE
    """JSONL file to write; - is standard output."""
    execution: Execution = field(default_factory=Execution)
    """How the work is spread; what comes from a pipe or goes to one is done by one process."""


def find_files(paths: Sequence[Path], endings: Sequence[str] = (".jsonl",)) -> list[Path]:
    """Files as they are named, and of folders those with one of the endings, in the folders inside
    too, in the order of their names; hidden ones are skipped.

    Raises:
        UserError: a path is not there, or a folder has no such file.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_file():
            found.append(path)
        elif path.is_dir():
            inside = [file for file in visible_files(path) if file.suffix.lower() in endings]
            if not inside:
                raise UserError(f"{path}: there is no {' or '.join(endings)} file in this folder")
            found += inside
        else:
            raise UserError(f"{path}: there is no such file or folder; check its name")
    return found


def visible_files(folder: Path) -> list[Path]:
    """The files in a folder and the folders inside that are not hidden, in the order of their
    names."""
    names = {path: path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    seen = [path for path, name in names.items() if not any(n[0] == "." for n in name.parts)]
    return sorted(seen, key=lambda path: names[path].as_posix())


def read_all(
    paths: Sequence[Path], reading: Reading, output: PartOutput, title: str
) -> Generator[Record, None, None]:
    """The records of files and pipes, one after another, with a progress bar.

    Args:
        paths: files; - is standard input.
        reading: how they are read.
        output: where bytes and bad records are counted, and those noted.
        title: what the bar says.

    Raises:
        UserError: a file cannot be read, or is empty; or a line is not a record.
    """
    refuse_twice(paths)
    sizes = [path.stat().st_size for path in paths if path.is_file()]
    total = sum(sizes) if len(sizes) == len(paths) else None
    with byte_bar(title, total) as bar:
        for path in paths:
            for record in reading.records(path, output):
                bar.update(len(record.raw))
                output.count(BYTES, len(record.raw))
                yield record


@contextmanager
def writing(destination: Path, overwrite: bool) -> Iterator[IO[bytes]]:
    """A file that gets its name when the block ends well, and leaves nothing when it does not; - is
    standard output.

    Raises:
        UserError: it exists with another content, or cannot be written.
    """
    if destination == PIPE:
        stream = io.BufferedWriter(sys.stdout.buffer)  # type: ignore[arg-type]  # may be unbuffered
        try:
            yield stream
        finally:
            stream.detach()  # flushes, and leaves standard output open
        return
    is_device = destination.is_char_device()  # as /dev/null, which must not be replaced
    with destination.open("wb") if is_device else open_output(destination, overwrite) as file:
        yield file


@contextmanager
def writing_streams(streams: Mapping[str, Path | None], overwrite: bool) -> Iterator[PartOutput]:
    """A step's output whose streams go to their files at once, for input that is not cut into
    parts; a stream without a file is not kept."""
    output = PartOutput(Path(os.devnull))
    with ExitStack() as stack:
        for name, path in streams.items():
            place = path or Path(os.devnull)
            output.files[name] = stack.enter_context(writing(place, overwrite))
        yield output


@contextmanager
def copying(
    config: CopyConfig, title: str, **streams: Path | None
) -> Iterator[tuple[Generator[Record, None, None], PartOutput]]:
    """The records of a command's input, counted, and the output that they are copied to, whose
    streams are named with their files; what was done is printed at the end."""
    start = time.perf_counter()
    files = config.files()
    outputs = [path for path in streams.values() if path]
    refuse_outputs(outputs, config.input_files, config.overwrite)
    with (
        writing_streams({**streams, REJECTED: None}, config.overwrite) as output,
        closing(counted(read_all(files, config.reading, output, title), output)) as records,
    ):
        yield records, output
    print_outcome(output.counts, start, outputs)


def run_records(config: RecordStepConfig, plan: Callable[[Sequence[Path]], RecordStep]) -> None:
    """Runs a command that works record by record: in parts, or, where a pipe is read or written, in
    this process alone.

    Args:
        config: its flags.
        plan: the step for some files; without one, for the records of pipes.
    """
    files = config.files()
    from_pipe = any(map(is_pipe, files))
    if not from_pipe and config.output != PIPE:
        run_and_join(config, lambda place: run_single(plan(files), place, config.execution))
        return
    start = time.perf_counter()
    config.refuse_outputs()
    streams = {MAIN: config.output, REJECTED: config.rejected}
    with writing_streams(streams, config.overwrite) as output:
        step = plan([] if from_pipe else files)
        if from_pipe:
            step.work(read_all(files, config.reading, output, "reading"), output)
        for number, part in enumerate(step.parts()):
            step.run(number, output)
            output.count(BYTES, part.size)
    print_outcome(output.counts, start, [path for path in streams.values() if path])


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


def print_outcome(counts: Counter[str], start: float, written: Sequence[Path]) -> None:
    """Prints the table of what was done, and the files that were written; on standard error when
    standard output has the records.

    Args:
        counts: what was counted, with BYTES.
        start: time.perf_counter() at the start.
        written: the files, - among them when records went to standard output.
    """
    stream = sys.stderr if PIPE in written else sys.stdout
    lines = outcome(counts, counts.pop(BYTES, 0), time.perf_counter() - start)
    for line in (*lines, *(path for path in written if path != PIPE)):
        print(line, file=stream)
