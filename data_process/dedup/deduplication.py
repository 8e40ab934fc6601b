"""From records to those that stay: the order of the steps, and writing what was decided.

    WORK_DIR/read      hashes of every record (fingerprints.py)
    WORK_DIR/bands     pairs that may be alike (duplicate_pairs.py)
    WORK_DIR/pairs     pairs that are
    WORK_DIR/against   n-grams of evaluation files in records (decontamination.py)
    WORK_DIR           the records that stay, and those that do not

Each is a step of its own, so a killed run goes on where it was. Between the steps the choice is
made here, in one process, of numbers alone: 20 bytes a record.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_process.dedup.choice import (
    Fates,
    choose,
    exact_duplicates,
)
from data_process.dedup.decontamination import (
    Contamination,
    ContaminationStep,
    contamination,
    read_evaluation,
)
from data_process.dedup.fingerprints import Fingerprints, FingerprintStep
from data_process.dedup.minhash import bands_for
from data_process.dedup.pairs import BandStep, SimilarPairs, VerifyStep, united
from data_process.dedup.removal import RemovalStep, save_fates
from data_process.dedup.settings import DedupSettings
from data_process.records.array_files import replace_array
from data_process.records.jsonl_parts import JsonlPart
from data_process.records.known_files import signature_of
from data_process.running.run import StepResult, run_step
from data_process.running.step import part_folder
from data_process.running.workers import Execution
from model.directory.storage import replace_file

NGRAMS = "against/ngrams.npz"


@dataclass(frozen=True)
class Deduplication:
    """All steps of a run."""

    files: tuple[JsonlPart, ...]
    """What is read."""
    against: tuple[Path, ...]
    """Evaluation files."""
    settings: DedupSettings
    work_dir: Path
    """Where the work is kept; the streams of the last step, main and rejected, are in it."""
    execution: Execution

    def run(self) -> StepResult:
        """Does all steps; counts in, out, and what was dropped, by reason."""
        reading = FingerprintStep(self.files, self.settings.comparison, self.settings.bad_records)
        counts = run_step(reading, self.work_dir / "read", self.execution)
        folders = self.folders("read", len(self.files))
        fingerprints = Fingerprints(folders)
        fates = exact_duplicates(fingerprints)
        if fingerprints.records and not self.settings.comparison.exact_only:
            fates = self.near_duplicates(fingerprints, fates, reading.plan(), counts)
        ngram = None
        if fingerprints.records and self.against:
            found = self.find_contamination(fingerprints, fates, reading.plan())
            counts["evaluation n-grams that are common phrases"] = found.common
            ngram = found.ngram
        save_fates(self.work_dir, fates, ngram)
        plan = {**reading.plan(), **self.evaluation(), "keep": self.settings.keep}
        ngrams = self.work_dir / NGRAMS
        removal = RemovalStep(self.files, folders, self.work_dir, self.against, ngrams, plan)
        counts.update(run_step(removal, self.work_dir, self.execution))
        return StepResult(counts, reading.input_bytes)

    def folders(self, step: str, parts: int) -> tuple[Path, ...]:
        """Where the parts of a step are."""
        return tuple(part_folder(self.work_dir / step, number) for number in range(parts))

    def near_duplicates(
        self, fingerprints: Fingerprints, exact: Fates, plan: dict[str, Any], counts: Counter[str]
    ) -> Fates:
        """Proposes pairs, compares them, and chooses; adds to counts what was done."""
        threshold, records = self.settings.comparison.threshold, fingerprints.records
        left_out = self.work_dir / "read" / "left_out.npy"
        replace_array(left_out, exact.dropped | (fingerprints.sizes == 0))
        folders = tuple(fingerprints.folders)
        bands = BandStep(folders, left_out, bands_for(threshold), records, plan)
        pairs = run_step(bands, self.work_dir / "bands", self.execution)["pairs"]
        proposed = self.folders("bands", len(bands.parts()))
        verify = VerifyStep(folders, proposed, threshold, records, pairs, plan)
        counts.update(run_step(verify, self.work_dir / "pairs", self.execution))
        found = [SimilarPairs.load(folder) for folder in self.folders("pairs", verify.shares)]
        return choose(fingerprints, exact, united(found), self.settings.keep, threshold)

    def find_contamination(
        self, fingerprints: Fingerprints, fates: Fates, plan: dict[str, Any]
    ) -> Contamination:
        """Looks for the texts of evaluation files in all records."""
        settings, place = self.settings.decontamination, self.work_dir / NGRAMS
        ngrams = read_evaluation(self.against, settings)
        place.parent.mkdir(parents=True, exist_ok=True)
        replace_file(place, ngrams.save)
        print(
            f"looking for {len(ngrams.hashes):,} n-grams of evaluation texts; {ngrams.short:,} "
            f"texts have fewer than {settings.against_shortest} words and are passed over"
        )
        step = ContaminationStep(
            self.files, self.settings.bad_records, place, {**plan, **self.evaluation()}
        )
        run_step(step, self.work_dir / "against", self.execution)
        folders = self.folders("against", len(self.files))
        found = [np.load(folders[number] / "found.npy") for number in fingerprints.numbers]
        return contamination(found, fingerprints.first, fates.dropped, settings.against_common)

    def evaluation(self) -> dict[str, Any]:
        """What the evaluation files are, and how records are compared with them, for plans."""
        settings = {**asdict(self.settings.decontamination), "against": len(self.against)}
        signatures = [[str(path), signature_of(path)] for path in self.against]
        return {"evaluation files": signatures, "decontamination": settings}
