"""Bringing records into a random order on the disk, for files that are larger than memory.

Every record gets a random key of 64 bits; the order is that of the keys, so every order is equally
likely and the seed alone decides. Records are first dealt to files by the range that their key is
in, each small enough to be sorted in memory; one that is not is dealt once more.
"""

from __future__ import annotations

import random
import struct
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import IO

from config import in_range
from data_process.records.output import tell, writing
from data_process.records.record_lines import is_pipe, read_all
from data_process.records.steps import OutputConfig, scratch_folder
from data_process.running.work_dir import PIPE, refuse_outputs

KEY_BITS = 64
HEAD = struct.Struct("<QI")
"""Before each record in a file: its key and its length in bytes."""
MOST_FILES = 128
"""Open at once."""
MEMORY_PER_BYTE = 4
"""Memory that sorting takes, as a multiple of the records' size: those of Chinese or English
sentences are some 200 bytes long, and Python needs as much again for each."""
Keyed = tuple[int, bytes]


@dataclass(frozen=True)
class ShuffleConfig(OutputConfig):
    """All records in a random order, as they stand. The same seed gives the same order, whatever
    the memory; the disk needs room for the records twice."""

    seed: int = 1
    """Another seed gives another order."""
    memory_mb: int = 512
    """Memory to use, in MB."""

    def problems(self) -> list[str]:
        """Everything wrong with the values, a sentence each."""
        found = super().problems() + in_range(self, 16, 10**6, "memory_mb")
        return found if self.output != PIPE else [*found, "output: name the file to write"]


def run_shuffle(config: ShuffleConfig) -> int:
    """Deals all records out, and sorts what each file got."""
    start = time.perf_counter()
    files = config.files()
    written = refuse_outputs([config.output], config.input_files, config.overwrite)
    budget = config.memory_mb * 1_000_000 // MEMORY_PER_BYTE
    size = None if any(map(is_pipe, files)) else sum(path.stat().st_size for path in files)
    counts: Counter[str] = Counter()
    draw = random.Random(config.seed)
    lines = read_all(files, config.reading, counts, "shuffling")
    keyed = ((draw.getrandbits(KEY_BITS), line.raw) for line in lines)
    with (
        scratch_folder(config.output) as folder,
        writing(config.output, config.overwrite) as file,
    ):
        for raw in shuffled(keyed, folder / "dealt", (0, 1 << KEY_BITS), size, budget):
            file.write(raw)
            counts["out"] += 1
    tell(counts, start, written)
    return 0


def shuffled(
    records: Iterable[Keyed], place: Path, span: tuple[int, int], size: int | None, budget: int
) -> Iterator[bytes]:
    """Records in the order of their keys.

    Args:
        records: keys and lines.
        place: folder for files, which is made.
        span: the first key that may occur, and the first that may not.
        size: bytes of the records; None: not known.
        budget: bytes of records that may be in memory.
    """
    low, high = span
    count = MOST_FILES if size is None else min(MOST_FILES, size // budget + 1, high - low)
    if count == 1:
        yield from in_order(records)
        return
    place.mkdir(parents=True)
    with ExitStack() as stack:
        files = [stack.enter_context((place / str(n)).open("wb")) for n in range(count)]
        for key, raw in records:
            write_record(files[(key - low) * count // (high - low)], key, raw)
    for number in range(count):
        path = place / str(number)
        inner = (low + edge(number, count, high - low), low + edge(number + 1, count, high - low))
        with path.open("rb") as file:
            size = path.stat().st_size
            yield from shuffled(read_written(file), place / f"{number}.parts", inner, size, budget)
        path.unlink()


def edge(number: int, count: int, width: int) -> int:
    """The first of `width` keys that is dealt to file `number` of `count`."""
    return -(-number * width // count)


def in_order(records: Iterable[Keyed]) -> Iterator[bytes]:
    """Sorts in memory; of two with the same key, the first one stays first."""
    waiting = list(records)
    waiting.sort(key=itemgetter(0))
    for _, raw in waiting:
        yield raw


def write_record(file: IO[bytes], key: int, raw: bytes) -> None:
    """Writes a record behind its key."""
    file.write(HEAD.pack(key, len(raw)))
    file.write(raw)


def read_written(file: IO[bytes]) -> Iterator[Keyed]:
    """The records of a file, in the order in which they were written."""
    while head := file.read(HEAD.size):
        key, length = HEAD.unpack(head)
        yield key, file.read(length)
