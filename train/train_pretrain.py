"""Pretrains a model on texts: `python train_pretrain.py --preset nano`.

The same command, run again after anything, continues where it was; when the run is complete, it
says so.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cli import parse_config, run_script
from config import EtudeConfig
from train.run.signals import leave_on_interrupt

if TYPE_CHECKING:
    from train.distributed import World
    from train.stage import Stage


def main() -> int:
    """Reads the command line and trains."""
    leave_on_interrupt()
    return pretrain(parse_config(["model", "pretrain", "paths"], __doc__))


def pretrain(config: EtudeConfig) -> int:
    """Tokenises, packs and trains; the exit code is that of `train.trainer.train`."""
    from train.distributed import join_world  # heavy modules come after the command line
    from train.trainer import train

    with join_world(config.pretrain.device, config.pretrain.parallel) as world:
        return train(pretraining(config, world), world)


def pretraining(config: EtudeConfig, world: World) -> Stage:
    """What pretraining brings to the loop: a new model, and texts laid end to end."""
    import torch

    from model.tokenizer import EtudeTokenizer
    from model.transformer import Etude
    from train.data.packing import concatenate
    from train.data.token_files import tokenise_texts
    from train.distributed import main_first
    from train.evaluation import validation_groups
    from train.objective import CrossEntropy
    from train.run.auto_shape import choose_shape
    from train.stage import Stage

    settings, paths = config.pretrain, config.paths
    tokenizer = EtudeTokenizer.load(paths.tokenizer_dir)
    with main_first(world):
        data = tokenise_texts(
            paths.pretrain_files, tokenizer, settings.validation_every, paths.cache_dir
        )
    crossing = settings.cross_document_attention
    rows, report = concatenate(data.train, settings.max_length, tokenizer.end_of_text_id, crossing)
    shape = dataclasses.replace(config.model, vocab_size=len(tokenizer))
    if config.preset == "auto":
        shape = choose_shape(shape, settings, rows, paths.pretrained_model_dir, world)
    model = Etude(shape)
    model.initialize(torch.Generator().manual_seed(settings.seed))
    return Stage(
        name="pretrain",
        config=settings,
        model=model,
        tokenizer=tokenizer,
        rows=rows,
        packing=report,
        validation=validation_groups(
            data.validation, settings.max_length, tokenizer, crossing, settings.validation_bytes
        ),
        output_dir=paths.pretrained_model_dir,
        is_chat=False,
        fingerprints={"data": data.fingerprint, "tokenizer": tokenizer.fingerprint},
        objective=CrossEntropy(),
    )


if __name__ == "__main__":
    run_script(main)
