"""Reinforcement learning with verifiable rewards: `python train_grpo.py --preset nano`, by GRPO,
CISPO or GSPO.

Starts from the fine-tuned model (or that of --init_from), answers the prompts of --rl_files several
times each, and makes likelier what was rewarded more than the other answers to the same prompt. The
same command, run again after anything, continues where it was.
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

PARTS = ("grpo", "lora", "paths")
"""The parts of the config that this stage uses."""


def main() -> int:
    """Learns from rewards; see `run_stage`."""
    return run_stage(reinforcing, "grpo", "grpo_model_dir", PARTS, __doc__)


def reinforcing(config: EtudeConfig, world: World) -> Stage:
    """What reinforcement learning brings to the loop: the model to start from, and rollouts on the
    prompts."""
    import copy

    from model.directory.pretrained import weights_sha256
    from model.directory.storage import sha256_of
    from train.objectives.policy import Policy
    from train.rollouts.prompts import read_prompts
    from train.rollouts.rewards import Rewards
    from train.rollouts.rollouts import Rollouts
    from train.run.start import starting_model
    from train.stage import rollout_stage

    settings, paths = config.grpo, config.paths
    start = settings.init_from or paths.sft_model_dir
    model, tokenizer = starting_model(start, paths.grpo_model_dir, settings, world, config.lora)
    rewards = Rewards(settings)
    prompts = read_prompts(paths.rl_files, settings, tokenizer, rewards)
    reference = copy.deepcopy(model) if settings.beta else None
    own = {"reward file": sha256_of(settings.reward_file)} if settings.reward_file else {}
    return rollout_stage(
        "grpo",
        settings,
        model,
        tokenizer,
        Rollouts(settings, prompts, rewards, tokenizer, reference),
        paths.grpo_model_dir,
        objective=Policy(settings),
        built_on={"model to start from": weights_sha256(start), **own},
        settings=settings_text(config, PARTS),
        lora=config.lora,
        base=start,
    )


if __name__ == "__main__":
    run_script(main)
