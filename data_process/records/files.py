"""The files that a command reads and writes: their flags, finding them, and writing them whole."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, ClassVar

import tyro

from config import PathConfig, Settings, UserError
from data_process.records.jsonl import Reading, Record, counted
from data_process.records.opening import is_pipe, opened
from data_process.records.parts import FilesStep, readable_copy, refuse_twice
from data_process.running.compression import inner_name
from data_process.running.run import StepConfig, nothing_left, outcome, run_and_join, run_single
from data_process.running.step import MAIN, REJECTED, PartOutput, Step, byte_bar
from data_process.running.work_dir import PIPE, open_output, refuse_outputs, remove_work_dir
from data_process.running.workers import Execution
from model.directory.storage import json_text
from terminal import output_is_the_result

BYTES = "bytes read"
TABLES = (".parquet", ".arrow")
RECORD_ENDINGS = (".jsonl", *TABLES)
"""Of the files that are taken from folders, whether compressed or not."""
SPLIT = re.compile(r"(?:^|(?<=[/_-]))(train|test|validation|valid|dev)(?=[/_.-])")
"""The name of a split in the path of a table."""


@dataclass(frozen=True)
class InputConfig(Settings):
    """What is read."""

    input_files: tyro.conf.Positional[tuple[Path, ...]] = ()
    """JSONL files, or folders of them; - is standard input."""
    reading: Reading = field(default_factory=Reading)
    """How files are read."""

    endings: ClassVar[Sequence[str]] = RECORD_ENDINGS
    """Of the files that are taken from folders."""

    def conflicts(self) -> list[str]:
        """What is wrong with the files, a sentence each."""
        return [] if self.input_files else ["input_files: name at least one file, before the flags"]

    def files(self, streaming: bool = False) -> list[Path]:
        """The files that are read, in order; raises UserError when one is not there.

        Args:
            streaming: a pipe is read as it comes; else it is copied, to be read in parts.
        """
        found: list[Path] = []
        for path in self.input_files:
            is_stream = streaming and is_pipe(path)
            found += [path] if is_stream else find_files([path], self.endings)
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


@dataclass(frozen=True)
class RecordStepConfig(InputConfig, StepConfig):
    """The flags of a command that works record by record."""

    output: Path = PIPE
    """JSONL file to write; - is standard output."""

    execution: Execution = field(default_factory=Execution)
    """How the work is spread; what goes to standard output is done by one process."""

    may_write_pipe: ClassVar[bool] = True


def find_files(paths: Sequence[Path], endings: Sequence[str] = RECORD_ENDINGS) -> list[Path]:
    """Files as they are named; of a pipe a copy (see `readable_copy`); and of folders the files
    with one of the endings, in the folders inside too, in the order of their names; hidden ones are
    skipped.

    Raises:
        UserError: a path is not there, or a folder has no such file, or no data at all.
    """
    found: list[Path] = []
    for path in paths:
        if is_pipe(path):
            found.append(readable_copy(path))
        elif path.is_dir():
            found += files_of_folder(path, endings)
        else:
            with opened(path):
                found.append(path)
    return found


def files_of_folder(folder: Path, endings: Sequence[str]) -> list[Path]:
    """The files of a folder; of a dataset of Hugging Face, as it is saved or downloaded, the tables
    of its one split.

    Raises:
        UserError: it has none, several splits, or is a model.
    """
    if (folder / "config.json").exists() and any(folder.glob("*.safetensors")):
        raise UserError(
            f"{folder}: a model of transformers, and no data; to train on from it, bring it in: "
            f"python tool/convert_hf.py --from_hf {folder}"
        )
    if (state := folder / "state.json").exists():
        saved = json.loads(state.read_text(encoding="utf-8"))
        return [folder / file["filename"] for file in saved["_data_files"]]
    inside = [file for file in visible_files(folder) if ending_of(file) in endings]
    if not inside:
        raise UserError(f"{folder}: there is no {' or '.join(endings)} file in this folder")
    tables = [file for file in inside if ending_of(file) in TABLES]
    names = [SPLIT.findall(file.relative_to(folder).as_posix()) for file in tables]
    if len(splits := sorted({name for found in names for name in found[:1]})) > 1:
        raise UserError(
            f"{folder}: has the splits {' and '.join(splits)}, and only one belongs into training: "
            f"name its files or folder, such as {tables[0]}"
        )
    return inside


def ending_of(path: Path) -> str:
    """The ending of a file's name, without that of its compression; .json.gz is usually JSONL."""
    inner = inner_name(path)
    ending = inner.suffix.lower()
    return ".jsonl" if ending == ".json" and inner != path else ending


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
        output_is_the_result()
        stream = io.BufferedWriter(sys.stdout.buffer)  # type: ignore[arg-type]  # may be unbuffered
        try:
            yield stream
        finally:
            stream.detach()  # flushes, and leaves standard output open
        return
    is_device = destination.is_char_device()  # as /dev/null, which must not be replaced
    with destination.open("wb") if is_device else open_output(destination, overwrite) as file:
        yield file


class NothingKeptError(Exception):
    """Leaves files as they were."""


@contextmanager
def writing_streams(streams: Mapping[str, Path | None], overwrite: bool) -> Iterator[PartOutput]:
    """A step's output whose streams go to their files at once, for input that is not cut into
    parts; a stream without a file is not kept. When nothing is kept, only what was rejected is
    written."""
    output = PartOutput(Path(os.devnull))
    with writing(streams.get(REJECTED) or Path(os.devnull), overwrite) as output.files[REJECTED]:
        try:
            with ExitStack() as stack:
                for name, path in streams.items():
                    if name != REJECTED and path:
                        output.files[name] = stack.enter_context(writing(path, overwrite))
                yield output
                if not output.counts["out"]:
                    raise NothingKeptError
        except NothingKeptError:
            pass


@contextmanager
def copying(
    config: CopyConfig, title: str, **streams: Path | None
) -> Iterator[tuple[Generator[Record, None, None], PartOutput]]:
    """The records of a command's input, counted, and the output that they are copied to, whose
    streams are named with their files; what was done is printed at the end."""
    start = time.perf_counter()
    files = config.files(streaming=True)
    outputs = [path for path in streams.values() if path]
    refuse_outputs(outputs, config.input_files, config.overwrite)
    with (
        writing_streams({**streams, REJECTED: None}, config.overwrite) as output,
        closing(counted(read_all(files, config.reading, output, title), output)) as records,
    ):
        yield records, output
    print_outcome(output.counts, start, outputs)


def run_records(config: RecordStepConfig, plan: Callable[[Sequence[Path]], FilesStep]) -> None:
    """Runs a command that works record by record: in parts, or, where standard output is written,
    in this process alone.

    Args:
        config: its flags.
        plan: the step for some files.
    """
    files = config.files()
    if config.output != PIPE:
        run_and_join(config, lambda place: run_single(plan(files), place, config.execution))
        return
    start = time.perf_counter()
    config.refuse_outputs()
    streams = {MAIN: config.output, REJECTED: config.rejected}
    with writing_streams(streams, config.overwrite) as output:
        step = plan(files)
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

    Raises:
        UserError: nothing is left.

    Args:
        counts: what was counted, with BYTES.
        start: time.perf_counter() at the start.
        written: the files, - among them when records went to standard output.
    """
    stream = sys.stderr if PIPE in written else sys.stdout
    lines = outcome(counts, counts.pop(BYTES, 0), time.perf_counter() - start)
    problems = nothing_left(counts)
    for line in (*lines, *(path for path in written if path != PIPE and path.exists())):
        print(line, file=stream)
    if problems:
        raise UserError("\n".join(problems))
