"""Measures what a model knows and can do.

    python evaluate.py --model_dir ../weight/demo/etude_grpo_model          held-out questions
    python evaluate.py --eval_files texts.jsonl pairs.jsonl choices.jsonl  as their keys ask
    python evaluate.py --lm_eval my_task --lm_eval_dir my_tasks            tasks of lm-eval
    python evaluate.py --compare MODEL_A MODEL_B                           which one is better
    python evaluate.py --quantize int8 --output_dir int8 --eval_files ...  what rounding costs

Shares and bits per byte go to evaluation.json and evaluation.png, with 95% intervals; answers to
questions to answers.jsonl.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cli import parse_flags, run_script
from config import TRAINING_DATA
from terminal import output_is_the_result
from tool.settings import EvaluateConfig

SAMPLE = TRAINING_DATA / "eval" / "eval_sample.jsonl"


def main() -> None:
    """Reads the command line, and compares or evaluates."""
    config = parse_flags(EvaluateConfig(), __doc__)
    if config.compare:
        from tool.evaluation.evaluation import compare

        output_is_the_result()
        print("\n".join(compare(*config.compare)))
        return
    evaluate(config)


def evaluate(config: EvaluateConfig) -> None:
    """Evaluates on files and questions, and writes the results to those that are there."""
    # heavy modules come after the flags
    from model.directory.storage import explained, json_writer, replace_file
    from tool.evaluation.evaluation import earlier_results

    output_dir = config.output_dir or config.model_dir
    with explained(output_dir):
        output_dir.mkdir(parents=True, exist_ok=True)
    result = earlier_results(output_dir, config.model_dir, config.quantize)
    if config.lm_eval:
        result["lm_eval"] = ask_lm_eval(config)
    if config.eval_files:
        from tool.evaluation.evaluation import HEADER, measure_files
        from tool.evaluation.picture import draw_evaluation

        print(HEADER)
        result["files"] = measure_files(config)
        draw_evaluation(result["files"], config.model_dir.name, output_dir / "evaluation.png")
        print(f"the results are in {output_dir / 'evaluation.json'} and evaluation.png")
    if config.questions or not (config.eval_files or config.lm_eval):
        result |= ask_questions(config, config.questions or SAMPLE, output_dir)
    replace_file(output_dir / "evaluation.json", json_writer(result))


def ask_lm_eval(config: EvaluateConfig) -> list[dict[str, Any]]:
    """Runs tasks of lm-eval, and prints what came of them."""
    from tool.evaluation.evaluation import HEADER, line
    from tool.evaluation.lm_eval_run import run_lm_eval

    rows = run_lm_eval(
        config.model_dir, config.lm_eval, config.lm_eval_dir, config.limit, config.device
    )
    print("\n".join([HEADER, *map(line, rows)]))
    return rows


def ask_questions(config: EvaluateConfig, questions: Path, output_dir: Path) -> dict[str, Any]:
    """Asks a chat model, greedily; prints and returns the shares of right answers by category."""
    from model.directory.storage import jsonl_text, replace_file, text_writer
    from train.measures.generations import ask, read_questions, report, table
    from train.measures.likelihood import load_likelihood_model

    asked = read_questions(questions)
    scorer = load_likelihood_model(config.model_dir, config.device, "etude", config.quantize)
    answers = ask(scorer.model, scorer.tokenizer, asked, config.max_tokens)
    replace_file(output_dir / "answers.jsonl", text_writer(jsonl_text(map(asdict, answers))))
    shares = report(answers)
    print(table(shares))
    print(f"every answer is in {output_dir / 'answers.jsonl'}")
    return shares


if __name__ == "__main__":
    run_script(main)
