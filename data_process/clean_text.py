"""Cleans JSONL documents: broken Unicode, boilerplate, rubbish, other languages, personal data.

Reads {"text", ...} a line and writes the same, in the same order, with all other keys. Every
document that is dropped has a reason: it is counted, and --rejected keeps it. Ended in any way, the
same command goes on where it was.
"""

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tyro

from cli import parse_flags, run_script
from config import TRAINING_DATA
from data_process.cleaning.language import check_languages
from data_process.cleaning.step import (
    CleaningSettings,
    CleaningStep,
    LineCountingStep,
    repeated_lines,
)
from data_process.records.documents import REJECTED
from data_process.records.input_files import find_files, refuse_own_input
from data_process.records.jsonl_parts import JsonlPart, jsonl_parts
from data_process.running.execution import run_step
from data_process.running.execution_settings import Execution
from data_process.running.joining import join_streams, refuse_to_overwrite
from data_process.running.outcome import outcome
from data_process.running.work_dir import remove_work_dir, work_dir_of


@dataclass(frozen=True)
class CleanTextConfig:
    """From raw documents to clean ones."""

    input_files: tyro.conf.Positional[tuple[Path, ...]] = ()
    """JSONL files of {"text": ...}, or folders of them."""
    output: Path = TRAINING_DATA / "pretrain" / "clean.jsonl"
    """JSONL file to write."""
    rejected: Path | None = None
    """JSONL file for what is dropped, each record with its reason."""
    overwrite: bool = False
    """Replace files that exist with other content."""
    cleaning: CleaningSettings = field(default_factory=CleaningSettings)
    """What is done to documents."""
    execution: Execution = field(default_factory=Execution)
    """How the work is spread."""

    def problems(self) -> list[str]:
        """Everything wrong with the values, a sentence each."""
        found = self.cleaning.problems() + self.execution.problems()
        return found if self.input_files else [*found, "input_files: name at least one file"]


def main() -> None:
    """Counts lines if that is wanted, cleans, joins, tells."""
    config = parse_flags(CleanTextConfig(), __doc__ or "")
    start = time.perf_counter()
    work_dir = work_dir_of(config.output)
    for path in filter(None, (config.output, config.rejected)):
        refuse_to_overwrite(path, work_dir, config.overwrite)
        refuse_own_input(path, config.input_files)
    files = tuple(jsonl_parts(find_files(config.input_files, (".jsonl",))))
    check_languages(config.cleaning.languages)
    step = CleaningStep(files, config.cleaning, lines_to_remove(files, config, work_dir / "lines"))
    counts = run_step(step, work_dir, config.execution)
    join_streams(work_dir, "main", config.output, config.overwrite)
    if config.rejected:
        join_streams(work_dir, REJECTED, config.rejected, config.overwrite)
    remove_work_dir(work_dir)
    input_bytes = sum(part.size for part in step.parts())
    for line in outcome(counts, input_bytes, time.perf_counter() - start):
        print(line)
    print(config.output)


def lines_to_remove(
    files: tuple[JsonlPart, ...], config: CleanTextConfig, work_dir: Path
) -> frozenset[str]:
    """The lines that stand in many documents, if they are to be removed."""
    if not config.cleaning.repeated_lines:
        return frozenset()
    run_step(LineCountingStep(files, config.cleaning), work_dir, config.execution)
    return repeated_lines(work_dir, config.cleaning.repeated_lines)


if __name__ == "__main__":
    run_script(main)
