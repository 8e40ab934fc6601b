"""Measures what a model knows and can do.

    python evaluate.py --model_dir ../weight/demo/etude_sft_model          held-out questions
    python evaluate.py --eval_files texts.jsonl pairs.jsonl choices.jsonl  what their keys say
    python evaluate.py --compare MODEL_A MODEL_B                           which one is better

Shares and bits per byte go to evaluation.json and evaluation.png, with 95% intervals; answers to
questions to answers.jsonl.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from config import TRAINING_DATA, parse_flags, run_script
from tool.settings import EvaluateConfig

SAMPLE = TRAINING_DATA / "eval" / "eval_sample.jsonl"


def main() -> None:
    """Reads the command line, and compares or evaluates."""
    config = parse_flags(EvaluateConfig(), __doc__)
    if config.compare:
        from tool.evaluation import compare

        print("\n".join(compare(*config.compare)))
        return
    evaluate(config)


def evaluate(config: EvaluateConfig) -> None:
    """Evaluates on files and questions, and writes the results."""
    from model.storage import json_writer, replace_file  # heavy modules come after the flags

    output_dir = config.output_dir or config.model_dir
    result: dict[str, Any] = {}
    if config.eval_files:
        from tool.evaluation import HEADER, measure_files
        from tool.evaluation_picture import draw_evaluation

        print(HEADER)
        result["files"] = measure_files(config)
        draw_evaluation(result["files"], config.model_dir.name, output_dir / "evaluation.png")
        print(f"the results are in {output_dir / 'evaluation.json'} and evaluation.png")
    if config.questions or not config.eval_files:
        result |= ask_questions(config, config.questions or SAMPLE, output_dir)
    replace_file(output_dir / "evaluation.json", json_writer(result))


def ask_questions(config: EvaluateConfig, questions: Path, output_dir: Path) -> dict[str, Any]:
    """Asks a chat model, greedily; prints and returns the shares of right answers by category."""
    from model.device import pick_device
    from model.pretrained import load_pretrained
    from model.storage import replace_file, text_writer
    from tool.questions import answers_as_jsonl, ask, read_questions, report, table

    asked = read_questions(questions)
    model, tokenizer = load_pretrained(config.model_dir, pick_device(config.device))
    answers = ask(model, tokenizer, asked, config.max_tokens)
    replace_file(output_dir / "answers.jsonl", text_writer(answers_as_jsonl(answers)))
    shares = report(answers)
    print(table(shares))
    print(f"every answer is in {output_dir / 'answers.jsonl'}")
    return shares


if __name__ == "__main__":
    run_script(main)
