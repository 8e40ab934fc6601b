"""The texts that a tokenizer is trained on: all are counted, then the wanted share is read."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from data_process.records.jsonl import read_texts
from model.directory.storage import sha256_of


@dataclass(frozen=True)
class DataFile:
    """What a JSONL file of texts holds."""

    path: Path
    records: int
    text_bytes: int
    """Size of all texts, as UTF-8."""
    sha256: str
    """Fingerprint of the file."""


def survey(path: Path) -> DataFile:
    """Reads a file to its end.

    Raises:
        UserError: it is missing, or a line is not a record with a text; file and line are named.
    """
    records = text_bytes = 0
    for _, text in read_texts(path):
        records += 1
        text_bytes += len(text.encode("utf-8"))
    return DataFile(path, records, text_bytes, sha256_of(path))


@dataclass(frozen=True)
class Sample:
    """Which share of the records is used: all, or so many that they hold about max_bytes."""

    files: tuple[DataFile, ...]
    max_bytes: int

    @property
    def text_bytes(self) -> int:
        """Size of all texts of all files."""
        return sum(file.text_bytes for file in self.files)

    @property
    def share(self) -> float:
        """The share of the records that is used."""
        return min(1.0, self.max_bytes / max(1, self.text_bytes))

    @cached_property
    def texts(self) -> list[str]:
        """The texts that are used, read once: learning from them takes several times their memory.

        A seeded coin decides for each record, the same way every time. Taking every n-th would be
        more even, but where two languages take turns in a file it would see only one of them.
        """
        coin = random.Random(1)
        return [
            text
            for file in self.files
            for _, text in read_texts(file.path)
            if self.share == 1 or coin.random() < self.share
        ]
