"""From records to those that stay: the order of the steps, and writing what was decided.

    WORK_DIR/against/ngrams.npz   n-grams of evaluation files (decontamination.py)
    WORK_DIR/read                 hashes of every record (fingerprints.py)
    WORK_DIR                      the records that stay, and those that do not

Reading and writing are steps, done part by part, so a killed run continues where it was. Between
them the choice is made here, in one process, of numbers alone (duplicates.py): 30 bytes a record.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from config import Settings
from data_process.dedup.decontamination import (
    Decontamination,
    EvaluationNgrams,
    contaminated,
    read_ngrams,
)
from data_process.dedup.duplicates import KEPT, exact_duplicates, near_duplicates
from data_process.dedup.fingerprints import Comparison, Fingerprints, FingerprintStep, replace_array
from data_process.records.jsonl import BadRecords, FilePart
from data_process.records.opening import BOM, shown
from data_process.records.parts import FilesStep, signature_of
from data_process.running.run import StepResult, run_step
from data_process.running.step import REJECTED, PartOutput, part_folder
from data_process.running.workers import Execution
from model.directory.storage import replace_file

READ, NGRAMS, DECISIONS = "read", "against/ngrams.npz", "decisions.npy"
EXACT, NEAR, CONTAMINATED = "exact duplicate", "near duplicate", "in an evaluation file"
SHOWN = 100
"""Characters of the text that a record is like: enough to find it in the output."""
DECISION = np.dtype(
    [("like", "i8"), ("similarity", "f4"), ("is_copy", "?"), ("ngram", "i8")], align=True
)
"""Of a record: the one that stays and that it is like (or KEPT), how like it is, whether it is
exactly that one, and the evaluation n-gram that it holds (or KEPT)."""


@dataclass(frozen=True)
class DedupSettings(Settings):
    """What is dropped."""

    text_key: str = "text"
    """Key of the text in JSONL and tables, such as content or meta.text; records are written as
    they stand."""
    bad_records: BadRecords = "stop"
    """stop: a line that is no record ends the work, and is named. skip: such lines are counted."""
    comparison: Comparison = field(default_factory=Comparison)
    """When records are alike."""
    decontamination: Decontamination = field(default_factory=Decontamination)
    """Evaluation files whose text must not be in the output."""


def deduplicate(
    files: tuple[FilePart, ...],
    against: tuple[Path, ...],
    settings: DedupSettings,
    work_dir: Path,
    execution: Execution,
) -> StepResult:
    """Drops duplicates, and records that hold evaluation text.

    Args:
        files: what is read.
        against: evaluation files.
        settings: what is dropped.
        work_dir: where the work is kept; the streams of the last step, main and rejected, are in
            it.
        execution: how the work is spread.
    """
    signatures = [[str(path), signature_of(path)] for path in against]
    evaluation = {**asdict(settings.decontamination), "against": signatures}
    ngrams = save_ngrams(against, settings.decontamination, work_dir) if against else None
    reading = FingerprintStep(
        files, settings.comparison, settings.bad_records, settings.text_key, ngrams, evaluation
    )
    counts = run_step(reading, work_dir / READ, execution)
    decisions = decide(Fingerprints(work_dir / READ), settings, counts)
    replace_array(work_dir / DECISIONS, decisions)
    removal = RemovalStep(files, against, work_dir, reading.plan())
    counts.update(run_step(removal, work_dir, execution))
    return StepResult(counts, reading.input_bytes)


def save_ngrams(against: Sequence[Path], settings: Decontamination, work_dir: Path) -> Path:
    """Puts the n-grams of evaluation files where the workers find them."""
    place = work_dir / NGRAMS
    ngrams, short = read_ngrams(against, settings)
    place.parent.mkdir(parents=True, exist_ok=True)
    replace_file(place, ngrams.save)
    print(
        f"looking for {len(ngrams.hashes):,} n-grams of evaluation texts; {short:,} texts have "
        f"fewer than {settings.against_shortest} words and are passed over"
    )
    return place


def decide(
    fingerprints: Fingerprints, settings: DedupSettings, counts: Counter[str]
) -> npt.NDArray[Any]:
    """A DECISION about each record; adds to counts what was compared."""
    exact = found = exact_duplicates(fingerprints)
    if fingerprints.records and not settings.comparison.exact_only:
        found = near_duplicates(fingerprints, exact, settings.comparison.threshold, counts)
    decisions = np.zeros(fingerprints.records, dtype=DECISION)
    decisions["like"], decisions["similarity"] = found.like, found.similarity
    decisions["is_copy"] = exact.like == found.like
    decisions["ngram"] = KEPT
    if settings.decontamination.against:
        common = settings.decontamination.against_common
        decisions["ngram"], counts["evaluation n-grams that are common phrases"] = contaminated(
            fingerprints.matches, found.dropped, common
        )
    return decisions


@dataclass(frozen=True)
class RemovalStep(FilesStep):
    """Writes all records: those that stay, as they stand, and those that do not, with what they are
    like. The streams: main, rejected."""

    against: tuple[Path, ...]
    """Evaluation files."""
    work_dir: Path
    """Where the fingerprints, the n-grams and the decisions are."""
    origin: dict[str, Any]
    """All that the decisions follow from."""
    title = "writing"

    def run(self, number: int, output: PartOutput) -> None:
        """Writes the records of one part; bad records were rejected when they were read."""
        for rejected in part_folder(self.work_dir / READ, number).glob(f"{REJECTED}.jsonl"):
            output.write_bytes(rejected.read_bytes(), REJECTED)
        decided = Decided(self)
        first = int(decided.fingerprints.first[number])
        begins = decided.fingerprints.array(number, "places")[:, 0].tolist()
        with self.files[number].path.open("rb") as file:
            for record, begin in enumerate(begins, first):
                raw = line_at(file, begin)
                decided.write(record, raw if raw.endswith(b"\n") else raw + b"\n", output)


def line_at(file: IO[bytes], begin: int) -> bytes:
    """The line of a file that begins at a byte."""
    file.seek(begin)
    return file.readline().removeprefix(BOM)


class Decided:
    """What was decided about all records."""

    def __init__(self, step: RemovalStep) -> None:
        self.step = step
        self.fingerprints = Fingerprints(step.work_dir / READ)
        self.decisions = np.load(step.work_dir / DECISIONS, mmap_mode="r")
        if step.against:
            self.sources = EvaluationNgrams.load(step.work_dir / NGRAMS).sources

    def write(self, record: int, raw: bytes, output: PartOutput) -> None:
        """Writes a record to the stream it belongs to."""
        like, similarity, is_copy, ngram = self.decisions[record].item()
        if like == ngram == KEPT:
            output.keep(raw)
            return
        if like != KEPT:
            reason = EXACT if is_copy else NEAR
            cause = {"duplicate_of": self.place(like), "similarity": round(similarity, 3)}
        else:
            reason = CONTAMINATED
            file, line = self.sources[ngram].tolist()
            cause = {"found_in": {"file": str(self.step.against[file]), "line": line}}
        output.drop(json.loads(raw), reason, **cause)

    def place(self, record: int) -> dict[str, Any]:
        """Where a record stands, its id, if it has one, and how its text begins."""
        part, number = self.fingerprints.part_of(record)
        begin, line = self.fingerprints.array(part, "places")[number].tolist()
        path = self.step.files[part].path
        with path.open("rb") as file:
            content = json.loads(line_at(file, begin))
        identity = {"id": content["id"]} if "id" in content else {}
        if isinstance(text := content.get("text"), str):
            identity["text"] = text[:SHOWN]
        return {"file": shown(path), "line": line, **identity}
