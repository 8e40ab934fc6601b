"""Trains models of several sizes for several numbers of tokens, and fits how bits per byte fall.

python scaling_study.py --pretrain_files en.jsonl zh.jsonl

Prints a table, the law and the best size for some budgets; writes scaling.json and scaling.png. A
study that was stopped goes on where it was.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cli import parse_flags, run_script
from config import UserError, nano
from tool.settings import ScalingStudyConfig


def main() -> None:
    """Reads the command line and runs the study."""
    study(parse_flags(ScalingStudyConfig(), __doc__))


def study(config: ScalingStudyConfig) -> None:
    """Trains what is not trained yet, fits, prints, and writes the files.

    Raises:
        UserError: a run failed, or the losses fit no law.
    """
    # heavy modules come after the flags
    from model.directory.storage import explained, json_writer, replace_file
    from tool.benchmarks import scaling
    from tool.benchmarks.measuring import train_tokenizer
    from train.run.auto_shape import fit, left_out, residual, rounded

    output_dir = config.output_dir
    with explained(output_dir):
        output_dir.mkdir(parents=True, exist_ok=True)
    tokenizer = config.tokenizer_dir or train_tokenizer(
        output_dir / "tokenizer", config.pretrain_files, nano().tokenizer.vocab_size
    )
    runs = [
        scaling.train(config, tokenizer, shape, steps) for shape, steps in scaling.planned(config)
    ]
    trials = [run.trial for run in runs]
    try:
        law, others = fit(trials), left_out(trials)
    except ValueError as error:
        raise UserError(f"{output_dir}: {error}; train longer or larger models") from error
    off = residual(law, trials)
    budgets = [scaling.best_of_ladder(law, others, budget) for budget in scaling.BUDGETS]
    result = {
        "machine": scaling.machine_of(output_dir),
        "law": dataclasses.asdict(rounded(law)),
        "residual": off,
        "budgets": budgets,
        "runs": [dataclasses.asdict(run) for run in runs],
    }
    replace_file(output_dir / "scaling.json", json_writer(result))
    scaling.draw_study(runs, law, output_dir / "scaling.png")
    print(scaling.table(runs, law), *scaling.law_lines(law, off, budgets), sep="\n")
    print(f"the study is in {output_dir / 'scaling.json'} and scaling.png")


if __name__ == "__main__":
    run_script(main)
