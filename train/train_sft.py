"""Fine-tunes the pretrained model on conversations: `python train_sft.py --preset nano`.

Trained are the assistant's answers and the tokens that end them, nothing else. The same command,
run again after anything, continues where it was; when the run is complete, it says so.
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
    from train.distributed import World
    from train.stage import Stage

PARTS = ("sft", "lora", "paths")
"""The parts of the config that this stage uses."""


def main() -> int:
    """Fine-tunes; see `run_stage`."""
    return run_stage(fine_tuning, "sft", "sft_model_dir", PARTS, __doc__)


def fine_tuning(config: EtudeConfig, world: World) -> Stage:
    """What fine-tuning brings to the loop: the pretrained model (or that of --init_from), and
    conversations packed whole."""
    from model.directory.pretrained import weights_sha256
    from train.data.packing import pack
    from train.data.token_files import tokenised_data
    from train.distributed import main_first
    from train.objective import CrossEntropy
    from train.run.start import starting_model
    from train.stage import make_stage

    settings, paths = config.sft, config.paths
    start = settings.init_from or paths.pretrained_model_dir
    model, tokenizer = starting_model(start, paths.sft_model_dir, settings, world, config.lora)
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
