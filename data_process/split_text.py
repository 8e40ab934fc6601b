"""Splits long texts into training samples, at the ends of paragraphs and sentences.

Reads .txt files in any encoding, .jsonl files of {"text", ...}, and folders of both. Writes JSONL:
{"text", "source", "text_begin"}, where text_begin is the place of the piece in its text, in
characters; a document's other keys stay. Pieces that are joined give the text back, once the
characters that "text_overlap" counts are taken from the begin of each. Ended in any way, the same
command goes on where it was.
"""

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tyro

from cli import parse_flags, run_script
from config import TRAINING_DATA
from data_process.records.documents import REJECTED
from data_process.records.input_files import refuse_own_input
from data_process.running.execution import run_step
from data_process.running.execution_settings import Execution
from data_process.running.joining import join_streams, refuse_to_overwrite
from data_process.running.outcome import outcome
from data_process.running.work_dir import remove_work_dir, work_dir_of
from data_process.text.split_step import SplitSettings, encodings_told, plan_splitting


@dataclass(frozen=True)
class SplitTextConfig:
    """From long texts to samples."""

    input_files: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Text files, JSONL files, or folders of them, which are searched with all folders inside."""
    output: Path = TRAINING_DATA / "pretrain" / "split.jsonl"
    """JSONL file to write."""
    rejected: Path | None = None
    """JSONL file for what is dropped (white space, bad records), each with its reason."""
    overwrite: bool = False
    """Replace files that exist with other content."""
    splitting: SplitSettings = field(default_factory=SplitSettings)
    """How texts are split."""
    execution: Execution = field(default_factory=Execution)
    """How the work is spread."""

    def problems(self) -> list[str]:
        """Everything wrong with the values, a sentence each."""
        found = self.splitting.problems() + self.execution.problems()
        return found if self.input_files else [*found, "input_files: name at least one file"]


def main() -> None:
    """Finds out the encodings, splits, joins, tells."""
    config = parse_flags(SplitTextConfig(), __doc__ or "")
    start = time.perf_counter()
    work_dir = work_dir_of(config.output)
    for path in filter(None, (config.output, config.rejected)):
        refuse_to_overwrite(path, work_dir, config.overwrite)
        refuse_own_input(path, config.input_files)
    step = plan_splitting(config.input_files, config.splitting)
    for line in encodings_told(step):
        print(line)
    counts = run_step(step, work_dir, config.execution)
    join_streams(work_dir, "main", config.output, config.overwrite)
    if config.rejected:
        join_streams(work_dir, REJECTED, config.rejected, config.overwrite)
    remove_work_dir(work_dir)
    input_bytes = sum(part.size for part in step.parts())
    for line in outcome(counts, input_bytes, time.perf_counter() - start):
        print(line)
    print(config.output)


if __name__ == "__main__":
    run_script(main)
