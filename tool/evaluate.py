"""Asks a chat model held-out questions, greedily, and prints the share of right answers by
category.

    python evaluate.py --model_dir ../weight/demo/etude_sft_model

Every answer goes to answers.jsonl, the shares to evaluation.json.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from config import EvaluateConfig, parse_flags, run_script


def main() -> None:
    """Reads the command line, asks, prints the table and writes both files."""
    evaluate(parse_flags(EvaluateConfig(), __doc__))


def evaluate(config: EvaluateConfig) -> None:
    """Asks all questions, prints the shares by category and writes answers and shares."""
    from model.device import pick_device  # heavy modules come after the command line
    from model.pretrained import load_pretrained
    from model.storage import json_writer, replace_file, text_writer
    from tool.questions import answers_as_jsonl, ask, read_questions, report, table

    questions = read_questions(config.questions)
    model, tokenizer = load_pretrained(config.model_dir, pick_device(config.device))
    answers = ask(model, tokenizer, questions, config.max_tokens)
    result = report(answers)
    output_dir = config.output_dir or config.model_dir
    replace_file(output_dir / "answers.jsonl", text_writer(answers_as_jsonl(answers)))
    replace_file(output_dir / "evaluation.json", json_writer(result))
    print(table(result))
    print(f"every answer is in {output_dir / 'answers.jsonl'}")


if __name__ == "__main__":
    run_script(main)
