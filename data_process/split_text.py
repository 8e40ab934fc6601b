"""Splits long texts into training samples, at the ends of paragraphs and sentences.

Reads .txt and .md files in any encoding, the text of .html pages, .jsonl files of {"text", ...},
and folders of these. Writes JSONL: {"text", "source", "text_begin"}, where text_begin is the place
of the piece in its text, in characters; a document's other keys stay. Pieces that are joined give
the text back, once the characters that "text_overlap" counts are taken off the beginning of each.
After any interruption the same command continues.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tyro

from cli import parse_flags, run_script
from config import TRAINING_DATA
from data_process.running.run import CleaningConfig, run_and_join
from data_process.text.splitting import SplitSettings, split


@dataclass(frozen=True)
class SplitTextConfig(CleaningConfig):
    """From long texts to samples."""

    input_files: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Text files, JSONL files, or folders of them, which are searched with all folders inside."""
    output: Path = TRAINING_DATA / "pretrain" / "split.jsonl"
    """JSONL file to write."""
    splitting: SplitSettings = field(default_factory=SplitSettings)
    """How texts are split."""


def main() -> None:
    """Finds the encodings of all files and splits their texts."""
    config = parse_flags(SplitTextConfig(), __doc__ or "")
    files, settings = config.input_files, config.splitting
    run_and_join(config, lambda work_dir: split(files, settings, work_dir, config.execution))


if __name__ == "__main__":
    run_script(main)
