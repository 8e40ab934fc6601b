"""Drops duplicates and near duplicates from JSONL files, and records that hold evaluation text.

Reads {"text", ...} or {"conversations", ...} a line and writes the records that stay as they stand,
in the same order. Near duplicates share most of their n-grams of 5 words, or 5 characters in
Chinese; MinHash proposes the pairs, and their sets of n-grams are then compared. --rejected keeps
what is dropped, each with the record it is like. Ended in any way, the same command goes on where
it was.
"""

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tyro

from cli import parse_flags, run_script
from config import TRAINING_DATA
from data_process.dedup.settings import DedupSettings
from data_process.records.documents import REJECTED
from data_process.records.input_files import find_files, refuse_own_input
from data_process.records.jsonl_parts import jsonl_parts
from data_process.running.execution_settings import Execution
from data_process.running.joining import join_streams, refuse_to_overwrite
from data_process.running.outcome import outcome
from data_process.running.work_dir import remove_work_dir, work_dir_of


@dataclass(frozen=True)
class DedupConfig:
    """From records to different ones."""

    input_files: tyro.conf.Positional[tuple[Path, ...]] = ()
    """JSONL files of {"text": ...} or {"conversations": ...}, or folders of them."""
    output: Path = TRAINING_DATA / "pretrain" / "dedup.jsonl"
    """JSONL file to write."""
    rejected: Path | None = None
    """JSONL file for what is dropped, each record with its reason and what it is like."""
    overwrite: bool = False
    """Replace files that exist with other content."""
    dedup: DedupSettings = field(default_factory=DedupSettings)
    """What is dropped."""
    execution: Execution = field(default_factory=Execution)
    """How the work is spread."""

    def problems(self) -> list[str]:
        """Everything wrong with the values, a sentence each."""
        found = self.dedup.problems() + self.execution.problems()
        return found if self.input_files else [*found, "input_files: name at least one file"]


def main() -> None:
    """Finds duplicates, joins what stays, tells."""
    config = parse_flags(DedupConfig(), __doc__ or "")
    start = time.perf_counter()
    work_dir = work_dir_of(config.output)
    against = tuple(find_files(config.dedup.decontamination.against, (".jsonl",)))
    for path in filter(None, (config.output, config.rejected)):
        refuse_to_overwrite(path, work_dir, config.overwrite)
        refuse_own_input(path, (*config.input_files, *against))
    files = tuple(jsonl_parts(find_files(config.input_files, (".jsonl",))))
    from data_process.dedup.deduplication import Deduplication  # numpy takes a while to import

    counts = Deduplication(files, against, config.dedup, work_dir, config.execution).run()
    join_streams(work_dir, "main", config.output, config.overwrite)
    if config.rejected:
        join_streams(work_dir, REJECTED, config.rejected, config.overwrite)
    remove_work_dir(work_dir)
    input_bytes = sum(file.part.size for file in files)
    for line in outcome(counts, input_bytes, time.perf_counter() - start):
        print(line)
    print(config.output)


if __name__ == "__main__":
    run_script(main)
