"""Learns from a bigger model: `python train_distill.py --preset nano --teacher_dir DIRECTORY`, on
conversations, on texts, or on the student's own answers.

What the teacher finds likely is computed once and cached beside the tokens; --on_policy asks it
while training. The same command, run again after anything, continues where it was.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cli import run_script, settings_text
from config import EtudeConfig
from train.run.script import run_stage

if TYPE_CHECKING:
    from model.tokenizer import EtudeTokenizer
    from train.data.batches import TokenRows
    from train.data.packing import PackingReport
    from train.data.token_files import TokenisedData
    from train.distributed import World
    from train.objectives.teacher import Teacher
    from train.stage import Stage

PARTS = ("model", "distill", "lora", "paths")
"""The parts of the config that this stage uses."""


def main() -> int:
    """Learns from a teacher; see `run_stage`."""
    return run_stage(distilling, "distill", "distilled_model_dir", PARTS, __doc__)


def distilling(config: EtudeConfig, world: World) -> Stage:
    """What distillation brings to the loop: a student, and rows with what the teacher says."""
    from train.objectives.distillation import Distillation
    from train.objectives.teacher import Teacher
    from train.rollouts.on_policy import OnPolicy
    from train.rollouts.prompts import read_prompts
    from train.run.start import student
    from train.stage import make_stage, rollout_stage

    settings, paths = config.distill, config.paths
    model, tokenizer, start, built_on = student(config, world)
    teacher = Teacher(settings, tokenizer, world)
    objective, text = Distillation(settings), settings_text(config, PARTS)
    built_on = {**built_on, "teacher": teacher.sha256}
    if settings.on_policy:
        assert start
        prompts = read_prompts(paths.rl_files, settings, tokenizer, None)
        return rollout_stage(
            "distill",
            settings,
            model,
            tokenizer,
            OnPolicy(settings, prompts, tokenizer, teacher),
            paths.distilled_model_dir,
            objective,
            built_on,
            text,
            config.lora,
            start,
        )
    data, packed = taught_data(config, tokenizer, teacher, world)
    return make_stage(
        "distill",
        settings,
        model,
        tokenizer,
        data,
        packed,
        paths.distilled_model_dir,
        is_chat=settings.data == "conversations",
        objective=objective,
        built_on=built_on,
        settings=text,
        lora=config.lora,
        base=start,
    )


def taught_data(
    config: EtudeConfig, tokenizer: EtudeTokenizer, teacher: Teacher, world: World
) -> tuple[TokenisedData, tuple[TokenRows, PackingReport]]:
    """The texts or conversations, and their rows with what the teacher says about them."""
    from train.data.packing import concatenate, pack
    from train.data.token_files import tokenised_data
    from train.distributed import main_first
    from train.objectives.taught import taught_rows

    settings, paths = config.distill, config.paths
    is_chat = settings.data == "conversations"
    with main_first(world):
        data = tokenised_data(
            "sft" if is_chat else "pretrain",
            paths.sft_files if is_chat else paths.pretrain_files,
            tokenizer,
            settings.validation_every,
            paths.cache_dir,
            settings.validation_files,
            settings.train_on if is_chat else "all",
        )
    rows, report = (pack if is_chat else concatenate)(
        data.train, settings.max_length, tokenizer.end_of_text_id, settings.cross_document_attention
    )
    return data, (taught_rows(rows, data.fingerprint, teacher, paths.cache_dir), report)


if __name__ == "__main__":
    run_script(main)
