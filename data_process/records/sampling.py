"""Drawing records: a sample, or training and validation.

Every record gets a key of 64 bits, drawn from the seed or made of its content. The n records with
the least keys are drawn: with drawn keys any n are equally likely, and what is drawn does not
depend on how the records are read. Keys wait on the disk, so memory stays small for any number of
records.
"""

from __future__ import annotations

import heapq
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from itertools import zip_longest
from pathlib import Path
from typing import IO, Literal

from config import UserError, in_range
from data_process.records.counts import content_of
from data_process.records.output import tell, writing
from data_process.records.record_lines import RecordLine, is_pipe, read_all
from data_process.records.steps import InputConfig, OutputConfig, scratch_folder
from data_process.running.work_dir import refuse_outputs

KEY_BITS = 64
HIGH_BITS = 16
"""Keys are first told apart by so many bits."""
CHUNK = 1 << 20
"""Keys that are looked at together."""


@dataclass(frozen=True)
class SampleConfig(OutputConfig):
    """Records drawn at random, in their order, as they stand. The same seed draws the same."""

    records: int | None = None
    """Draw exactly so many. From a pipe they are kept in memory until its end."""
    share: float | None = None
    """Draw about this share (0 to 1): each record by itself."""
    seed: int = 1
    """Another seed draws others."""

    def problems(self) -> list[str]:
        """Everything wrong with the values, a sentence each."""
        return super().problems() + amount_problems(self)


@dataclass(frozen=True)
class SplitConfig(InputConfig):
    """Two files, for training and validation: each record, as it stands, is in one of them, in its
    order."""

    train: Path | None = None
    """JSONL file to write, with the most of it."""
    validation: Path | None = None
    """JSONL file to write, with the rest."""
    records: int | None = None
    """So many go to validation."""
    share: float | None = None
    """This share (0 to 1) goes to validation."""
    by: Literal["content", "index"] = "content"
    """content: what a record says decides, so the same text is never in both (and validation has
    some records more where texts repeat), and a record keeps its side when others are added with
    the same share. index: chance alone decides."""
    seed: int = 1
    """Another seed parts them in another way."""
    overwrite: bool = False
    """Replace files that exist with other content."""

    def problems(self) -> list[str]:
        """Everything wrong with the values, a sentence each."""
        found = super().problems() + amount_problems(self)
        if self.train is None or self.validation is None:
            found.append("train and validation: name the two files to write")
        if any(map(is_pipe, self.input_files)):
            found.append("input_files: a pipe can be read only once; name files")
        return found


def amount_problems(config: SampleConfig | SplitConfig) -> list[str]:
    """What is wrong with records and share."""
    if (config.records is None) == (config.share is None):
        return ["give either --records or --share"]
    if config.share is not None:
        return in_range(config, 0.0, 1.0, "share")
    return in_range(config, 1, 10**12, "records")


def run_sample(config: SampleConfig) -> int:
    """Draws in one pass where it can, else in two."""
    start = time.perf_counter()
    files = config.files()
    refuse_outputs([config.output], config.input_files, config.overwrite)
    counts: Counter[str] = Counter()
    lines = read_all(files, config.reading, counts, "drawing")
    draw = random.Random(config.seed)
    keyed = ((draw.getrandbits(KEY_BITS), line) for line in lines)
    with writing(config.output, config.overwrite) as file:
        for line in drawn(config, files, keyed):
            file.write(line.raw)
            counts["out"] += 1
    tell(counts, start, [config.output])
    return 0


def drawn(
    config: SampleConfig, files: list[Path], keyed: Iterator[tuple[int, RecordLine]]
) -> Iterator[RecordLine]:
    """The records that are drawn."""
    if config.share is not None:
        limit = round(config.share * 2**KEY_BITS)
        yield from (line for key, line in keyed if key < limit)
        return
    assert config.records is not None
    if any(map(is_pipe, files)):
        numbered = ((key, number, line) for number, (key, line) in enumerate(keyed))
        least = heapq.nsmallest(config.records, numbered, key=lambda item: item[:2])
        yield from (line for _, _, line in sorted(least, key=lambda item: item[1]))
        return
    with key_file(config.output) as keys:
        total = 0
        for key, _ in keyed:
            keys.write(key.to_bytes(8, "little"))
            total += 1
        limit = limit_of(keys, min(config.records, total))
        again = read_all(files, config.reading, Counter(), "writing")
        yield from (line for key, line in paired(keys, again) if key < limit)


def run_split(config: SplitConfig) -> int:
    """Gives each record its key, then writes both files."""
    start = time.perf_counter()
    assert config.train
    assert config.validation
    files = config.files()
    written = refuse_outputs(
        (config.train, config.validation), config.input_files, config.overwrite
    )
    counts: Counter[str] = Counter()
    draw = random.Random(config.seed)
    with key_file(config.train) as keys:
        for line in read_all(files, config.reading, counts, "drawing"):
            by_chance = config.by == "index"
            key = draw.getrandbits(KEY_BITS) if by_chance else content_key(line, config.seed)
            keys.write(key.to_bytes(8, "little"))
        good = keys.tell() // 8
        limit = limit_of(keys, validation_records(config, good))
        with (
            writing(config.train, config.overwrite) as train,
            writing(config.validation, config.overwrite) as validation,
        ):
            again = read_all(files, config.reading, Counter(), "writing")
            for key, line in paired(keys, again):
                is_validation = key < limit
                (validation if is_validation else train).write(line.raw)
                counts["validation" if is_validation else "train"] += 1
    counts["out"] = counts["train"] + counts["validation"]
    tell(counts, start, written)
    return 0


def validation_records(config: SplitConfig, total: int) -> int:
    """How many records go to validation; UserError when one of the files would be empty."""
    wanted = config.records if config.share is None else round(config.share * total)
    assert wanted is not None
    if not 0 < wanted < total:
        raise UserError(
            f"{wanted:,} of {total:,} records would go to validation: change --records or --share "
            "so that both files have some"
        )
    return wanted


def content_key(line: RecordLine, seed: int) -> int:
    """A key made of a record's content."""
    salt = (seed % 2**64).to_bytes(8, "little")
    digest = blake2b(content_of(line.record), digest_size=8, salt=salt).digest()
    return int.from_bytes(digest, "little")


@contextmanager
def key_file(destination: Path) -> Iterator[IO[bytes]]:
    """A file for the keys, which goes with the block."""
    with scratch_folder(destination) as folder, (folder / "keys").open("w+b") as file:
        yield file


def keys_in(file: IO[bytes]) -> Iterator[int]:
    """The keys that were written, in order."""
    file.seek(0)
    while block := file.read(8 * 4096):
        for begin in range(0, len(block), 8):
            yield int.from_bytes(block[begin : begin + 8], "little")


def paired(file: IO[bytes], lines: Iterator[RecordLine]) -> Iterator[tuple[int, RecordLine]]:
    """Each record with its key; UserError when they are not as many as in the first pass."""
    for key, line in zip_longest(keys_in(file), lines):
        if key is None or line is None:
            raise UserError(
                "the input was changed while it was read; run the same command again when nothing "
                "writes to it"
            )
        yield key, line


def limit_of(file: IO[bytes], count: int) -> int:
    """The number that at least `count` keys are below, and the fewest that can be: the count-th
    least key, and one."""
    import numpy as np  # slow to import

    def chunks() -> Iterator[np.ndarray]:
        file.seek(0)
        while block := file.read(8 * CHUNK):
            yield np.frombuffer(block, dtype="<u8")

    if not count:
        return 0
    shift = np.uint64(KEY_BITS - HIGH_BITS)
    sizes = np.zeros(1 << HIGH_BITS, dtype=np.int64)
    for keys in chunks():
        sizes += np.bincount((keys >> shift).astype(np.int64), minlength=len(sizes))
    high = int(np.searchsorted(np.cumsum(sizes), count))
    below = int(sizes[:high].sum())
    near = np.concatenate([keys[(keys >> shift) == np.uint64(high)] for keys in chunks()])
    return int(np.partition(near, count - below - 1)[count - below - 1]) + 1
