"""Cleans JSONL documents: broken Unicode, boilerplate, rubbish, other languages, personal data.

Reads {"text", ...} a line and writes the same, in the same order, with all other keys. Every
document that is dropped has a reason: it is counted, and --rejected keeps it; so is every line that
is taken out of a text, and --removed_lines keeps it. After any interruption the same command
continues.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cli import parse_flags, run_script
from config import TRAINING_DATA
from data_process.cleaning.language import check_languages
from data_process.cleaning.step import CleaningSettings, clean
from data_process.records.files import find_files
from data_process.records.parts import jsonl_parts
from data_process.running.run import CleaningConfig, StepResult, run_and_join


@dataclass(frozen=True)
class CleanTextConfig(CleaningConfig):
    """From raw documents to clean ones."""

    output: Path = TRAINING_DATA / "pretrain" / "clean.jsonl"
    """JSONL file to write."""
    cleaning: CleaningSettings = field(default_factory=CleaningSettings)
    """What is done to documents."""


def main() -> None:
    """Cleans the documents of all files."""
    config = parse_flags(CleanTextConfig(), __doc__ or "")

    def work(work_dir: Path) -> StepResult:
        files = tuple(jsonl_parts(find_files(config.input_files)))
        check_languages(config.cleaning.languages)
        return clean(files, config.cleaning, work_dir, config.execution)

    run_and_join(config, work)


if __name__ == "__main__":
    run_script(main)
