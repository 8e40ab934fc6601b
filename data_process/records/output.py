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

from data_process.records.record_lines import BYTES
from data_process.running.run import outcome
from data_process.running.step import PartOutput
from data_process.running.work_dir import PIPE, open_output


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
    with open_output(destination, overwrite) as file:
        yield file


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
