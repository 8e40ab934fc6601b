"""Makes a model prefer good answers: `python train_dpo.py --preset nano`, by DPO, IPO, KTO, ORPO or
SimPO.

Starts from the fine-tuned model (or that of --init_from) and learns from pairs of answers, or from
answers that are labelled. The same command, run again after anything, continues where it was.
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

PARTS = ("dpo", "lora", "paths")
"""The parts of the config that this stage uses."""


def main() -> int:
    """Learns from preferences; see `run_stage`."""
    return run_stage(preferring, "dpo", "dpo_model_dir", PARTS, __doc__)


def preferring(config: EtudeConfig, world: World) -> Stage:
    """What learning from preferences brings to the loop: the model to start from, and pairs of
    answers packed whole, with their log-probabilities under that model."""
    from model.directory.pretrained import weights_sha256
    from train.data.token_files import tokenised_data
    from train.distributed import main_first
    from train.objectives.pairs import Reference, held_out_pairs, pack_pairs
    from train.objectives.preference import Preference
    from train.run.start import starting_model
    from train.stage import make_stage

    settings, paths = config.dpo, config.paths
    start = settings.init_from or paths.sft_model_dir
    model, tokenizer = starting_model(start, paths.dpo_model_dir, settings, world, config.lora)
    with main_first(world):
        data = tokenised_data(
            "labelled" if settings.loss == "kto" else "preference",
            paths.preference_files,
            tokenizer,
            settings.validation_every,
            paths.cache_dir,
            settings.validation_files,
        )
    weights = weights_sha256(start)
    reference = Reference(model, paths.cache_dir, f"{data.fingerprint} {weights}", world)
    packed = pack_pairs(data.train, settings, tokenizer, reference)
    validation, held_out = held_out_pairs(data.validation, settings, tokenizer, reference)
    return make_stage(
        "dpo",
        settings,
        model,
        tokenizer,
        data,
        packed,
        paths.dpo_model_dir,
        is_chat=True,
        objective=Preference(settings),
        built_on={"model to start from": weights},
        settings=settings_text(config, PARTS),
        validation=validation,
        held_out=held_out,
        lora=config.lora,
        base=start,
    )


if __name__ == "__main__":
    run_script(main)
