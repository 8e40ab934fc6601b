"""Pretrains a model on texts: `python train_pretrain.py --preset nano`.

The same command, run again after anything, continues where it was; when the run is complete, it
says so.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from config import EtudeConfig, parse_config, run_script


def main() -> int:
    """Reads the command line and trains."""
    return pretrain(parse_config(["model", "pretrain", "paths"], __doc__))


def pretrain(config: EtudeConfig) -> int:
    """Tokenises, packs and trains; the exit code is that of `train.trainer.train`."""
    import dataclasses  # heavy modules come after the command line, so that --help is quick

    import torch

    from model.device import pick_device
    from model.tokenizer import EtudeTokenizer
    from model.transformer import Etude
    from train.evaluation import validation_groups
    from train.packing import concatenate
    from train.stage import Stage
    from train.token_shards import tokenise_texts
    from train.trainer import train

    device = pick_device(config.pretrain.device)
    tokenizer = EtudeTokenizer.load(config.paths.tokenizer_dir)
    settings, paths = config.pretrain, config.paths
    data = tokenise_texts(
        paths.pretrain_files, tokenizer, settings.validation_every, paths.cache_dir
    )
    crossing = settings.cross_document_attention
    rows, report = concatenate(data.train, settings.max_length, tokenizer.end_of_text_id, crossing)
    model = Etude(dataclasses.replace(config.model, vocab_size=len(tokenizer)))
    model.initialize(torch.Generator().manual_seed(settings.seed))
    stage = Stage(
        name="pretrain",
        config=settings,
        model=model,
        tokenizer=tokenizer,
        rows=rows,
        packing=report,
        validation=validation_groups(data.validation, settings.max_length, tokenizer, crossing),
        output_dir=paths.pretrained_model_dir,
        is_chat=False,
        fingerprints={"data": data.fingerprint, "tokenizer": tokenizer.fingerprint},
    )
    return train(stage, device)


if __name__ == "__main__":
    run_script(main)
