"""Drops duplicates and near duplicates from JSONL files, and records that hold evaluation text.

Reads {"text", ...} or {"conversations", ...} a line and writes the records that stay as they stand,
in the same order. Near duplicates share most of their n-grams of 5 words, or 5 characters in
Chinese; MinHash proposes the pairs, and their sets of n-grams are then compared. --rejected keeps
what is dropped, each with the record it is like. After any interruption the same command continues.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tyro

from cli import parse_flags, run_script
from config import TRAINING_DATA
from data_process.dedup.deduplication import DedupSettings, deduplicate
from data_process.records.files import find_files
from data_process.records.parts import jsonl_parts
from data_process.running.run import StepConfig, StepResult, run_and_join


@dataclass(frozen=True)
class DedupConfig(StepConfig):
    """From records to different ones."""

    input_files: tyro.conf.Positional[tuple[Path, ...]] = ()
    """JSONL files of {"text": ...} or {"conversations": ...}, or folders of them."""
    output: Path = TRAINING_DATA / "pretrain" / "dedup.jsonl"
    """JSONL file to write."""
    dedup: DedupSettings = field(default_factory=DedupSettings)
    """What is dropped."""


def main() -> None:
    """Finds duplicates and evaluation text in the records of all files."""
    config = parse_flags(DedupConfig(), __doc__ or "")
    against = tuple(find_files(config.dedup.decontamination.against))

    def work(work_dir: Path) -> StepResult:
        files = tuple(jsonl_parts(find_files(config.input_files)))
        return deduplicate(files, against, config.dedup, work_dir, config.execution)

    run_and_join(config, work, against)


if __name__ == "__main__":
    run_script(main)
