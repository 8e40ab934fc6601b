"""Pretrains a model on texts: `python train_pretrain.py --preset nano`.

The same command, run again after anything, continues where it was; when the run is complete, it
says so.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cli import run_script, settings_text
from config import EtudeConfig
from train.run.script import run_stage

if TYPE_CHECKING:
    from train.distributed import World
    from train.stage import Stage

PARTS = ("model", "pretrain", "lora", "paths")
"""The parts of the config that this stage uses."""


def main() -> int:
    """Pretrains; see `run_stage`."""
    return run_stage(pretraining, "pretrain", "pretrained_model_dir", PARTS, __doc__)


def pretraining(config: EtudeConfig, world: World) -> Stage:
    """What pretraining brings to the loop: a model, new or that of --init_from, and texts laid
    end to end."""
    import torch

    from model.directory.pretrained import weights_sha256
    from model.tokenizer import EtudeTokenizer
    from model.transformer import Etude
    from train.data.packing import concatenate
    from train.data.token_files import tokenised_data
    from train.distributed import main_first
    from train.objective import CrossEntropy
    from train.run.auto_shape import choose_shape
    from train.run.limits import refuse_too_large
    from train.run.start import initial_model
    from train.stage import make_stage

    settings, paths = config.pretrain, config.paths
    model, built_on = None, {}
    if settings.init_from:
        model, tokenizer = initial_model(settings.init_from, config)
        built_on = {"initial model": weights_sha256(settings.init_from)}
    else:
        tokenizer = EtudeTokenizer.load(paths.tokenizer_dir)
    shape = model.config if model else replace(config.model, vocab_size=len(tokenizer))
    if config.preset != "auto":
        refuse_too_large(shape, settings, world, config.lora)
    with main_first(world):
        data = tokenised_data(
            "pretrain",
            paths.pretrain_files,
            tokenizer,
            settings.validation_every,
            paths.cache_dir,
            settings.validation_files,
        )
    packed = concatenate(
        data.train, settings.max_length, tokenizer.end_of_text_id, settings.cross_document_attention
    )
    if model is None:
        if config.preset == "auto":
            shape = choose_shape(shape, settings, packed[0], paths.pretrained_model_dir, world)
        model = Etude(shape)
        model.initialize(torch.Generator().manual_seed(settings.seed))
    return make_stage(
        "pretrain",
        settings,
        model,
        tokenizer,
        data,
        packed,
        paths.pretrained_model_dir,
        is_chat=False,
        objective=CrossEntropy(),
        built_on=built_on,
        settings=settings_text(config, PARTS),
        lora=config.lora,
        base=settings.init_from,
    )


if __name__ == "__main__":
    run_script(main)
