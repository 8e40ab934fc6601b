"""Records by their place or by chance: head, cut, merge, sample, split, shuffle.

Drawing and shuffling keep 16 bytes of each record in memory: where it stands, and a random key of
64 bits. The records with the least keys are drawn, and a shuffle is the order of the keys, so every
choice and every order is equally likely and the seed alone decides. The lines are then copied from
where they stand, so files may be far larger than memory; what comes from a pipe waits in a
temporary file.
"""

from __future__ import annotations

import json
import random
import re
import sys
import tempfile
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

from config import Count, Share, UserError
from data_process.records.files import CopyConfig, InputConfig, OutputConfig, copying
from data_process.records.jsonl import Record, written_line
from data_process.records.kinds import content_of, described, kind_of
from data_process.records.opening import opened
from data_process.records.parts import refuse_changed, signature_of
from data_process.running.work_dir import PIPE
from terminal import output_is_the_result

if TYPE_CHECKING:
    import numpy as np

UNITS = "BKMGT"
"""Each is 1000 times the one before, or 1024 times with an i behind it."""
REPEATED = "dropped: the same as an earlier one"
KEY_BITS = 64


@dataclass(frozen=True)
class HeadConfig(InputConfig):
    """The first records of each file, on standard output."""

    records: Count = 10
    """How many of each."""
    pretty: bool = False
    """Write them over several lines, to be read."""


def run_head(config: HeadConfig) -> None:
    """Prints records."""
    output_is_the_result()
    for path in config.files():
        for record in islice(config.reading.records(path), config.records):
            if config.pretty:
                print(json.dumps(record.value, ensure_ascii=False, indent=2))
            else:
                sys.stdout.buffer.write(record.content)
    sys.stdout.flush()


@dataclass(frozen=True)
class CutConfig(OutputConfig):
    """The first records, as they stand."""

    records: Count | None = None
    """So many."""
    size: str | None = None
    """As many whole records as fit into this size, such as 500MB, 2GB or 64KiB."""

    def conflicts(self) -> list[str]:
        """What is wrong between the fields, a sentence each."""
        found = super().conflicts()
        if (self.records is None) == (self.size is None):
            return [*found, "give either --records or --size"]
        if self.size is not None and not parse_size(self.size):
            found.append(f"size is {self.size}: use a number with B, KB, MB, GB or KiB, MiB, GiB")
        return found


def parse_size(text: str) -> int | None:
    """A size in bytes, or None when it is not a size."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(?:([KMGT])(I?))?B?\s*", text.upper())
    if not found:
        return None
    number, unit, binary = found.groups()
    return int(float(number) * (1024 if binary else 1000) ** UNITS.index(unit or "B"))


def run_cut(config: CutConfig) -> None:
    """Copies records until there are enough."""
    left = parse_size(config.size) if config.size else None
    with copying(config, "cutting", main=config.output) as (records, output):
        for record in islice(records, config.records):
            if left is not None and (left := left - len(record.content)) < 0:
                break
            output.keep(record.content)


@dataclass(frozen=True)
class MergeConfig(OutputConfig):
    """Several files as one, in the order in which they are named. They must hold records of one
    kind."""

    dedup: bool = False
    """Leave out records that say the same as an earlier one; this takes about 100 bytes of memory
    for each record. Near duplicates: data_process/dedup_jsonl.py."""


def run_merge(config: MergeConfig) -> None:
    """Copies all records, one file after another."""
    keys: Counter[str] = Counter()
    seen: set[bytes] = set()
    with copying(config, "merging", main=config.output) as (records, output):
        for record in of_one_kind(records):
            if config.dedup:
                digest = blake2b(content_of(record.value), digest_size=16).digest()
                if digest in seen:
                    output.count(REPEATED)
                    continue
                seen.add(digest)
            keys.update(record.value.keys())
            output.keep(record.content)
    total = output.counts["out"]
    if partial := [f"{k} ({n:,})" for k, n in sorted(keys.items()) if n < total]:
        stream = sys.stderr if config.output == PIPE else sys.stdout
        print(f"note: keys that not all records have: {', '.join(partial[:20])}", file=stream)


def of_one_kind(records: Iterable[Record]) -> Iterator[Record]:
    """Records, as long as they are of one kind; UserError with the first that is not."""
    first: Record | None = None
    for record in records:
        first = first or record
        if kind_of(record.value) != kind_of(first.value):
            raise UserError(
                f"{record.place}: found {described(record.value)}, but {first.place} has "
                f"{described(first.value)}: texts and conversations go to different files"
            )
        yield record


@dataclass(frozen=True)
class SampleConfig(OutputConfig):
    """Records drawn at random, in their order, as they stand. The same seed draws the same."""

    records: Count | None = None
    """Draw exactly so many."""
    share: Share | None = None
    """Draw about this share (0 to 1): each record by itself."""
    seed: int = 1
    """Another seed draws others."""

    def conflicts(self) -> list[str]:
        """What is wrong between the fields, a sentence each."""
        return super().conflicts() + amount_problems(self.records, self.share)


def amount_problems(records: int | None, share: float | None) -> list[str]:
    """What is wrong with records and share."""
    return ["give either --records or --share"] if (records is None) == (share is None) else []


def run_sample(config: SampleConfig) -> None:
    """Draws in one pass where it can, else out of an index."""
    draw = random.Random(config.seed).getrandbits
    with copying(config, "drawing", main=config.output) as (records, output):
        if config.share is not None:
            limit = round(config.share * 2**KEY_BITS)
            chosen: Iterator[bytes] = (r.content for r in records if draw(KEY_BITS) < limit)
        else:
            assert config.records is not None
            index = Index(records, lambda record: draw(KEY_BITS))
            least = index.least(min(config.records, len(index.keys)))
            chosen = index.contents(least.nonzero()[0])
        for content in chosen:
            output.keep(content)


@dataclass(frozen=True)
class SplitConfig(CopyConfig):
    """Two files, for training and validation: each record, as it stands, is in one of them, in its
    order."""

    train: Path | None = None
    """JSONL file to write, with the most of it."""
    validation: Path | None = None
    """JSONL file to write, with the rest."""
    records: Count | None = None
    """So many go to validation."""
    share: Share | None = None
    """This share (0 to 1) goes to validation."""
    by: Literal["content", "index"] = "content"
    """content: what a record says decides, so the same text is never in both (and validation has
    some records more where texts repeat), and a record keeps its side when others are added with
    the same share. index: chance alone decides."""
    seed: int = 1
    """Another seed parts them in another way."""

    def conflicts(self) -> list[str]:
        """What is wrong between the fields, a sentence each."""
        found = super().conflicts() + amount_problems(self.records, self.share)
        if self.train is None or self.validation is None:
            found.append("train and validation: name the two files to write")
        return found


def run_split(config: SplitConfig) -> None:
    """Gives each record its key; those with the least ones go to validation."""
    draw = random.Random(config.seed)
    salt = (config.seed % 2**64).to_bytes(8, "little")

    def key(record: Record) -> int:
        if config.by == "index":
            return draw.getrandbits(KEY_BITS)
        digest = blake2b(content_of(record.value), digest_size=8, salt=salt).digest()
        return int.from_bytes(digest, "little")

    sides = {"train": config.train, "validation": config.validation}
    with copying(config, "splitting", **sides) as (records, output):
        index = Index(records, key)
        is_validation = index.least(validation_records(config, len(index.keys))).tolist()
        contents = index.contents(range(len(is_validation)))
        for content, number in zip(contents, is_validation, strict=True):
            side = list(sides)[number]
            output.count(side)
            output.keep(content, side)


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


@dataclass(frozen=True)
class ShuffleConfig(OutputConfig):
    """All records in a random order, as they stand. The same seed gives the same order. It takes
    some 32 bytes of memory for each record; records are read from where they stand, so a file that
    is larger than memory wants a disk that seeks fast."""

    seed: int = 1
    """Another seed gives another order."""

    def conflicts(self) -> list[str]:
        """What is wrong with the files, a sentence each."""
        found = super().conflicts()
        return found if self.output != PIPE else [*found, "output: name the file to write"]


def run_shuffle(config: ShuffleConfig) -> None:
    """Copies the records in the order of their keys."""
    draw = random.Random(config.seed)
    with copying(config, "shuffling", main=config.output) as (records, output):
        index = Index(records, lambda record: draw.getrandbits(KEY_BITS))
        for content in index.contents(index.order()):
            output.keep(content)


class Index:
    """Where each record of some files stands, and its key: 16 bytes a record."""

    def __init__(self, records: Iterable[Record], key: Callable[[Record], int]) -> None:
        """Reads all records to their end; those of pipes are copied to a temporary file."""
        self.keys = array("Q")
        self.begins = array("Q")
        self.files: list[tuple[Path, int, list[list[object]]]] = []
        """Each file, the number of its first record, and its signature; PIPE: the copy."""
        self.copy = tempfile.TemporaryFile("w+b")  # noqa: SIM115  # as long as the index
        path: Path | None = None
        for record in records:
            if record.path != path:
                path = record.path
                from_pipe = record.begin < 0
                first = len(self.keys)
                signature = [] if from_pipe else signature_of(path)
                self.files.append((PIPE if from_pipe else path, first, signature))
            self.keys.append(key(record))
            self.begins.append(self.copy.tell() if from_pipe else record.begin)
            if from_pipe:
                self.copy.write(record.content)

    def least(self, count: int) -> np.ndarray:
        """Whether each record's key is among the `count` least (records,); of equal keys, all."""
        import numpy as np  # slow to import

        keys = np.frombuffer(self.keys, dtype=np.uint64)
        if not count:
            return np.zeros(len(keys), dtype=np.bool_)
        return keys <= np.partition(keys, count - 1)[count - 1]

    def order(self) -> np.ndarray:
        """The numbers of the records in the order of their keys (records,)."""
        import numpy as np

        return np.argsort(np.frombuffer(self.keys, dtype=np.uint64), kind="stable")

    def contents(self, numbers: Iterable[int]) -> Iterator[bytes]:
        """The lines of records, read again from where they stand.

        Raises:
            UserError: a file has changed since.
        """
        firsts = [first for _, first, _ in self.files]
        with ExitStack() as stack:
            files: list[IO[bytes]] = [
                self.copy if path == PIPE else stack.enter_context(opened(path))
                for path, _, _ in self.files
            ]
            for number in numbers:
                file = bisect_right(firsts, number) - 1
                begin = self.begins[number]
                files[file].seek(begin)
                yield written_line(files[file].readline(), begin == 0)
        for path, _, signature in self.files:
            if path != PIPE:
                refuse_changed(path, signature)
