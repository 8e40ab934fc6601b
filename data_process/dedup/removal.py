"""Writing the records that stay, as they stand, and those that do not, with what they are like."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_process.dedup.choice import NOBODY, Fates
from data_process.dedup.decontamination import EvaluationNgrams
from data_process.dedup.fingerprints import Fingerprints
from data_process.dedup.units import Places
from data_process.records.array_files import replace_array
from data_process.records.jsonl import read_raw_lines
from data_process.records.jsonl_parts import JsonlPart
from data_process.running.step import REJECTED, Part, PartOutput, Step

EXACT, NEAR, CONTAMINATED = "exact duplicate", "near duplicate", "in an evaluation file"
BOM = b"\xef\xbb\xbf"
SHOWN = 100
"""Characters of the text that a record is like: enough to find it in the output."""
LIKE, SIMILARITY, NGRAM = "like.npy", "similarity.npy", "ngram.npy"


def save_fates(folder: Path, fates: Fates, ngram: Places | None) -> None:
    """Puts the decisions where the workers find them.

    Args:
        folder: where.
        fates: which records are duplicates.
        ngram: for each record the n-gram of an evaluation file that it holds, or NOBODY.
    """
    if ngram is None:
        ngram = np.full(len(fates.like), NOBODY, dtype=np.int64)
    replace_array(folder / LIKE, fates.like)
    replace_array(folder / SIMILARITY, fates.similarity)
    replace_array(folder / NGRAM, ngram)


@dataclass(frozen=True)
class RemovalStep(Step):
    """Writes all records. The streams: main, rejected."""

    files: tuple[JsonlPart, ...]
    folders: tuple[Path, ...]
    """Where the fingerprints of their parts are."""
    fates: Path
    """Where `save_fates` put the decisions."""
    against: tuple[Path, ...]
    """Evaluation files."""
    ngrams: Path
    """Their n-grams, if there are any."""
    origin: dict[str, Any]
    """All that the decisions follow from."""
    title = "writing"

    def parts(self) -> Sequence[Part]:
        """The parts of the files."""
        return [file.part for file in self.files]

    def plan(self) -> dict[str, Any]:
        """The files and the settings."""
        return {"step": "dedup_jsonl 1", **self.origin}

    def run(self, number: int, output: PartOutput) -> None:
        """Writes the records of one part; those that are none were noted when they were read."""
        for noted in self.folders[number].glob(f"{REJECTED}.jsonl"):
            output.write_bytes(noted.read_bytes(), REJECTED)
        if not (self.folders[number] / "places.npy").exists():
            return
        decided = Decided(self)
        record = int(decided.fingerprints.first[decided.fingerprints.numbers.index(number)])
        lines = np.load(self.folders[number] / "places.npy")[:, 1].tolist()
        expected = iter(lines)
        line = next(expected, None)
        part = self.files[number]
        for found, raw in read_raw_lines(part.path, part.lines):
            if found != line:
                continue  # blank or bad
            raw = raw.removeprefix(BOM) if found == 1 else raw
            self.write(decided, record, raw if raw.endswith(b"\n") else raw + b"\n", output)
            record, line = record + 1, next(expected, None)

    def write(self, decided: Decided, record: int, raw: bytes, output: PartOutput) -> None:
        """Writes a record to the stream it belongs to."""
        reason = decided.reason(record)
        if reason is None:
            output.count("out")
            output.write_bytes(raw)
            return
        output.count(f"dropped: {reason}")
        noted = {**json.loads(raw), "reason": reason, **decided.cause(record)}
        output.write(noted, REJECTED)


class Decided:
    """What was decided about all records."""

    def __init__(self, step: RemovalStep) -> None:
        self.step = step
        self.fingerprints = Fingerprints(step.folders)
        self.like = np.load(step.fates / LIKE, mmap_mode="r")
        self.similarity = np.load(step.fates / SIMILARITY, mmap_mode="r")
        self.ngram = np.load(step.fates / NGRAM, mmap_mode="r")
        self.sources = EvaluationNgrams.load(step.ngrams).sources if step.against else None

    def reason(self, record: int) -> str | None:
        """Why a record is dropped, or None when it stays."""
        if self.like[record] != NOBODY:
            return EXACT if self.similarity[record] == 1 and self.same(record) else NEAR
        return CONTAMINATED if self.ngram[record] != NOBODY else None

    def same(self, record: int) -> bool:
        """Whether a duplicate has the digest of the one it is like."""
        one, other = self.digest(record), self.digest(int(self.like[record]))
        return one == other

    def digest(self, record: int) -> list[int]:
        """The digest of a record."""
        part = self.fingerprints.part_of(record)
        place = record - int(self.fingerprints.first[part])
        digest: list[int] = self.fingerprints.array(part, "digests")[place].tolist()
        return digest

    def cause(self, record: int) -> dict[str, Any]:
        """What makes a record one to drop, for the reader of the rejected ones."""
        other = int(self.like[record])
        if other != NOBODY:
            similarity = round(float(self.similarity[record]), 3)
            return {"duplicate_of": self.place(other), "similarity": similarity}
        assert self.sources is not None
        file, line = self.sources[self.ngram[record]].tolist()
        return {"found_in": {"file": str(self.step.against[file]), "line": line}}

    def place(self, record: int) -> dict[str, Any]:
        """Where a record stands, its id, if it has one, and how its text begins."""
        part = self.fingerprints.part_of(record)
        place = record - int(self.fingerprints.first[part])
        begin, line = self.fingerprints.array(part, "places")[place].tolist()
        path = self.step.files[self.fingerprints.numbers[part]].path
        with path.open("rb") as file:
            file.seek(begin)
            content = json.loads(file.readline().removeprefix(BOM))
        identity = {"id": content["id"]} if "id" in content else {}
        if isinstance(text := content.get("text"), str):
            identity["text"] = text[:SHOWN]
        return {"file": str(path), "line": line, **identity}
