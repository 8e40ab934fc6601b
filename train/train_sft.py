"""Fine-tunes the pretrained model on conversations: `python train_sft.py --preset nano`.

Trained are the assistant's answers and the tokens that end them, nothing else. The same command,
run again after anything, continues where it was; when the run is complete, it says so.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from config import EtudeConfig, UserError, parse_config, run_script


def main() -> int:
    """Reads the command line and trains."""
    return fine_tune(parse_config(["sft", "paths"], __doc__))


def fine_tune(config: EtudeConfig) -> int:
    """Loads the pretrained model, tokenises, packs and trains; the exit code is that of
    `train.trainer.train`."""
    from model.device import pick_device  # heavy modules come after the command line
    from model.pretrained import WEIGHTS, load_pretrained
    from model.storage import sha256_of
    from train.evaluation import validation_groups
    from train.packing import pack
    from train.stage import Stage
    from train.token_shards import tokenise_conversations
    from train.trainer import train

    device = pick_device(config.sft.device)
    settings, paths = config.sft, config.paths
    model, tokenizer = load_pretrained(paths.pretrained_model_dir)
    if settings.max_length > model.config.max_position_embeddings:
        raise UserError(
            f"--max_length {settings.max_length} is more than the model's context: use at most "
            f"{model.config.max_position_embeddings}"
        )
    data = tokenise_conversations(
        paths.sft_files, tokenizer, settings.validation_every, paths.cache_dir
    )
    crossing = settings.cross_document_attention
    rows, report = pack(data.train, settings.max_length, tokenizer.end_of_text_id, crossing)
    stage = Stage(
        name="sft",
        config=settings,
        model=model,
        tokenizer=tokenizer,
        rows=rows,
        packing=report,
        validation=validation_groups(data.validation, settings.max_length, tokenizer, crossing),
        output_dir=paths.sft_model_dir,
        is_chat=True,
        fingerprints={
            "data": data.fingerprint,
            "tokenizer": tokenizer.fingerprint,
            "pretrained model": sha256_of(paths.pretrained_model_dir / WEIGHTS),
        },
    )
    return train(stage, device)


if __name__ == "__main__":
    run_script(main)
