"""Looking at the first records of files, cutting them, and putting them together."""

from __future__ import annotations

import json
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice

from config import UserError, in_range
from data_process.records.counts import content_of
from data_process.records.kinds import described, kind_of
from data_process.records.output import tell, writing
from data_process.records.record_lines import RecordLine, read_all
from data_process.records.steps import InputConfig, OutputConfig
from data_process.running.work_dir import PIPE, refuse_outputs

UNITS = {
    "": 1,
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 1 << 10,
    "MIB": 1 << 20,
    "GIB": 1 << 30,
    "TIB": 1 << 40,
}
REPEATED = "dropped: the same as an earlier one"


@dataclass(frozen=True)
class HeadConfig(InputConfig):
    """The first records of each file, on standard output."""

    records: int = 10
    """How many of each."""
    pretty: bool = False
    """Write them over several lines, to be read."""

    def problems(self) -> list[str]:
        """Everything wrong with the values, a sentence each."""
        return super().problems() + in_range(self, 1, 10**9, "records")


def run_head(config: HeadConfig) -> int:
    """Prints records."""
    for path in config.files():
        lines = read_all([path], config.reading, Counter(), "reading")
        for line in islice(lines, config.records):
            if config.pretty:
                print(json.dumps(line.record, ensure_ascii=False, indent=2))
            else:
                sys.stdout.buffer.write(line.raw)
    sys.stdout.flush()
    return 0


@dataclass(frozen=True)
class CutConfig(OutputConfig):
    """The first records, as they stand."""

    records: int | None = None
    """So many."""
    size: str | None = None
    """As many whole records as fit into this size, such as 500MB, 2GB or 64KiB."""

    def problems(self) -> list[str]:
        """Everything wrong with the values, a sentence each."""
        found = super().problems()
        if (self.records is None) == (self.size is None):
            return [*found, "give either --records or --size"]
        if self.records is not None:
            return found + in_range(self, 1, 10**12, "records")
        if not parse_size(self.size or ""):
            found.append(f"size is {self.size}: use a number with B, KB, MB, GB or KiB, MiB, GiB")
        return found


def parse_size(text: str) -> int | None:
    """A size in bytes, or None when it is no size."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    if not found or found.group(2).upper() not in UNITS:
        return None
    return int(float(found.group(1)) * UNITS[found.group(2).upper()])


def run_cut(config: CutConfig) -> int:
    """Copies records until there are enough."""
    start = time.perf_counter()
    files = config.files()
    refuse_outputs([config.output], config.input_files, config.overwrite)
    counts: Counter[str] = Counter()
    limit = parse_size(config.size) if config.size else None
    size = 0
    lines = read_all(files, config.reading, counts, "cutting")
    with writing(config.output, config.overwrite) as file, closing(lines):
        for line in lines if limit else islice(lines, config.records):
            size += len(line.raw)
            if limit and size > limit:
                break
            file.write(line.raw)
            counts["out"] += 1
    tell(counts, start, [config.output])
    return 0


@dataclass(frozen=True)
class MergeConfig(OutputConfig):
    """Several files as one, in the order in which they are named. They must hold records of one
    kind."""

    dedup: bool = False
    """Leave out records that say the same as an earlier one; this takes about 100 bytes of memory
    for each record. Near duplicates: data_process/dedup_jsonl.py."""


def run_merge(config: MergeConfig) -> int:
    """Copies all records, one file after another."""
    start = time.perf_counter()
    files = config.files()
    refuse_outputs([config.output], config.input_files, config.overwrite)
    counts: Counter[str] = Counter()
    keys: Counter[str] = Counter()
    lines = of_one_kind(read_all(files, config.reading, counts, "merging"))
    seen: set[bytes] = set()
    with writing(config.output, config.overwrite) as file:
        for line in lines:
            if config.dedup:
                digest = blake2b(content_of(line.record), digest_size=16).digest()
                if digest in seen:
                    counts[REPEATED] += 1
                    continue
                seen.add(digest)
            keys.update(line.record.keys())
            file.write(line.raw)
            counts["out"] += 1
    tell(counts, start, [config.output])
    if partial := [f"{k} ({n:,})" for k, n in sorted(keys.items()) if n < counts["out"]]:
        stream = sys.stderr if config.output == PIPE else sys.stdout
        print(f"note: keys that not all records have: {', '.join(partial[:20])}", file=stream)
    return 0


def of_one_kind(lines: Iterator[RecordLine]) -> Iterator[RecordLine]:
    """Records, as long as they are of one kind; UserError with the first that is not."""
    first: RecordLine | None = None
    for line in lines:
        first = first or line
        if kind_of(line.record) != kind_of(first.record):
            raise UserError(
                f"{line.place}: found {described(line.record)}, but {first.place} has "
                f"{described(first.record)}: texts and conversations go to different files"
            )
        yield line
