"""Writing records to a file that appears whole, or to standard output; and saying what was done."""

from __future__ import annotations

import io
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from config import UserError
from data_process.records.input_files import refuse_own_input
from data_process.records.record_lines import BYTES, PIPE
from data_process.running.joining import put_in_place, refuse_to_overwrite
from data_process.running.outcome import outcome
from data_process.running.tasks import PartOutput, put_on_disk
from data_process.running.work_dir import work_dir_of
from model.directory.storage import explained, sync_directory


def refuse_outputs(
    outputs: Sequence[Path | None], inputs: Sequence[Path], overwrite: bool
) -> list[Path]:
    """The files that will be written, of which none may be in the way, be read too, or be named
    twice.

    Raises:
        UserError: one is.
    """
    given = [path for path in outputs if path is not None and path != PIPE]
    for path in given:
        refuse_to_overwrite(path, work_dir_of(given[0]), overwrite)
        refuse_own_input(path, [place for place in inputs if place != PIPE])
        if path.is_dir():
            raise UserError(f"{path} is a folder: name the file to write, such as {path}/out.jsonl")
    if len({path.resolve() for path in given}) < len(given):
        raise UserError(f"{given[-1]} would be written twice: name different files")
    return given


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
    aside = destination.with_name(destination.name + ".tmp")
    with explained(destination):
        destination.parent.mkdir(parents=True, exist_ok=True)
        try:
            with aside.open("wb") as file:
                yield file
                put_on_disk(file)
            put_in_place(aside, destination, overwrite)
        finally:
            aside.unlink(missing_ok=True)
        sync_directory(destination.parent)


@contextmanager
def writing_streams(
    destination: Path, rejected: Path | None, rejected_name: str, overwrite: bool
) -> Iterator[PartOutput]:
    """A step's output that goes to its files at once, for input that cannot be cut into parts."""
    with writing(destination, overwrite) as main:
        output = PartOutput(destination.parent)
        output.files["main"] = main
        if rejected is None:
            with open_nowhere() as nowhere:
                output.files[rejected_name] = nowhere
                yield output
            return
        with writing(rejected, overwrite) as file:
            output.files[rejected_name] = file
            yield output


@contextmanager
def open_nowhere() -> Iterator[IO[bytes]]:
    """A file that keeps nothing."""
    with Path(os.devnull).open("wb") as file:
        yield file


def tell(
    counts: Counter[str], start: float, written: Sequence[Path], input_bytes: int | None = None
) -> None:
    """Prints the table of what was done, and the files that were written; on standard error when
    standard output has the records.

    Args:
        counts: what was counted.
        start: time.perf_counter() at the begin.
        written: the files, - among them when records went to standard output.
        input_bytes: size of the input; None: it was counted too.
    """
    kept = Counter({name: count for name, count in counts.items() if name != BYTES})
    stream = sys.stderr if PIPE in written else sys.stdout
    size = counts[BYTES] if input_bytes is None else input_bytes
    for line in outcome(kept, size, time.perf_counter() - start):
        print(line, file=stream)
    for path in written:
        if path != PIPE:
            print(path, file=stream)
