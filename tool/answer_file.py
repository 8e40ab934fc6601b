"""Answers a file of prompts or conversations with a model, many at a time: SFT data for a student.

python tool/answer_file.py --model_dir TEACHER --input_files prompts.jsonl --output answers.jsonl
python tool/answer_file.py --model_dir TEACHER --input_files chats.jsonl --answers 4 --temperature 1

The teacher may have another vocabulary than the student. Of a conversation the last answer is made
anew. Killed and run again, it goes on where it was.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cli import parse_flags, run_script
from tool.settings import AnswerConfig


def main() -> None:
    """Answers, and says how many answers there are."""
    config = parse_flags(AnswerConfig(), __doc__)
    from tool.answering import answer_files  # heavy modules come after the flags

    print(answer_files(config).sentence(config))


if __name__ == "__main__":
    run_script(main)
