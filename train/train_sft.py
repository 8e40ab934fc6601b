"""Fine-tunes the pretrained model on conversations: `python train_sft.py --preset nano`.

Trained are the assistant's answers and the tokens that end them, nothing else. The same command,
run again after anything, continues where it was; when the run is complete, it says so.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cli import parse_config, run_script, settings_text
from config import EtudeConfig

if TYPE_CHECKING:
    from train.distributed import World
    from train.stage import Stage

PARTS = ("sft", "lora", "paths")
"""The parts of the config that this stage uses."""


def main() -> int:
    """Reads the command line, loads the pretrained model, tokenises, packs and trains; the exit
    code is that of `train.trainer.train`."""
    config = parse_config(PARTS, __doc__)
    from train.distributed import join_world  # heavy modules come after the command line
    from train.run.limits import out_of_memory_explained
    from train.trainer import train

    settings, output_dir = config.sft, config.paths.sft_model_dir
    with (
        join_world(settings.device, settings.parallel) as world,
        out_of_memory_explained(settings, output_dir),
    ):
        return train(fine_tuning(config, world), world)


def fine_tuning(config: EtudeConfig, world: World) -> Stage:
    """What fine-tuning brings to the loop: the pretrained model (or that of --init_from), and
    conversations packed whole."""
    from model.directory.pretrained import load_pretrained, weights_sha256
    from train.data.packing import pack
    from train.data.token_files import tokenised_data
    from train.distributed import main_first
    from train.objective import CrossEntropy
    from train.run.limits import refuse_too_large
    from train.run.start import refuse_long_rows, refuse_own_directory
    from train.stage import make_stage

    settings, paths = config.sft, config.paths
    start = settings.init_from or paths.pretrained_model_dir
    refuse_own_directory(start, paths.sft_model_dir)
    model, tokenizer = load_pretrained(start)
    refuse_long_rows(settings.max_length, model.config)
    refuse_too_large(model.config, settings, world, config.lora)
    with main_first(world):
        data = tokenised_data(
            "sft",
            paths.sft_files,
            tokenizer,
            settings.validation_every,
            paths.cache_dir,
            settings.validation_files,
            settings.train_on,
        )
    packed = pack(
        data.train, settings.max_length, tokenizer.end_of_text_id, settings.cross_document_attention
    )
    return make_stage(
        "sft",
        settings,
        model,
        tokenizer,
        data,
        packed,
        paths.sft_model_dir,
        is_chat=True,
        objective=CrossEntropy(),
        built_on={"pretrained model": weights_sha256(start)},
        settings=settings_text(config, PARTS),
        lora=config.lora,
        base=start,
    )


if __name__ == "__main__":
    run_script(main)
