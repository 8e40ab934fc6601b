"""--preset auto: the size of model that gets furthest in the time that it is given.

A larger model learns more from each token and sees fewer of them. How both count is known from
small runs (`train/run/scaling_law.py`); how many tokens each size sees is measured here, on this
machine and these rows.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch

from config import LADDER, SHAPE, ModelConfig, PretrainConfig, rung
from model.transformer import Etude
from train.data.rows import TokenRows
from train.distributed import World
from train.precision import pick_dtype
from train.run.directory import saved_settings
from train.run.plan import seconds_per_token
from train.run.scaling_law import LAW, fresh_tokens

STARTING_SECONDS = 30.0
"""Of a run, before its first step is compiled."""
STEPPING_SHARE = 0.9
"""Of the rest, what is left after measurements and checkpoints."""


def choose_shape(
    shape: ModelConfig, config: PretrainConfig, rows: TokenRows, model_dir: Path, world: World
) -> ModelConfig:
    """The shape with the lowest expected loss; a run that continues keeps the one it began with.

    Args:
        shape: what is not chosen: vocabulary, context, rotary positions.
        config: the run's settings, max_minutes among them.
        rows: the data.
        model_dir: where the run lies, if it has begun.
        world: the processes; the main one chooses for all.
    """
    saved = saved_settings(model_dir)
    chosen: dict[str, Any] = {}
    if set(SHAPE) <= set(saved):
        chosen = {name: saved[name] for name in SHAPE}
    elif world.is_main:
        chosen = measured_shape(shape, config, rows, world)
    return dataclasses.replace(shape, **world.same(chosen))


def measured_shape(
    shape: ModelConfig, config: PretrainConfig, rows: TokenRows, world: World
) -> dict[str, Any]:
    """Goes up the ladder while the loss that is to be expected falls."""
    assert config.max_minutes is not None, "EtudeConfig.problems refuses auto without a time"
    limit = 60 * config.max_minutes
    seconds = STEPPING_SHARE * max(limit - STARTING_SECONDS, 0.3 * limit)
    timed = dataclasses.replace(config, dtype=pick_dtype(config.dtype, world.device))
    unique = float(len(rows) * config.max_length)
    chosen, lowest, told = sizes(shape), float("inf"), ""
    for place in LADDER:
        tried = dataclasses.replace(shape, **sizes(rung(*place)))
        model = Etude(tried)
        model.initialize(torch.Generator().manual_seed(config.seed))
        model.to(world.device)
        tokens = seconds * world.size / seconds_per_token(model, rows, timed, world.device)
        loss = LAW.loss(model.num_parameters(), fresh_tokens(tokens, unique))
        if loss >= lowest:
            break
        chosen, lowest = sizes(tried), loss
        told = (
            f"preset auto: {model.num_parameters() / 1e6:.1f}M parameters, {place[0]} wide, "
            f"{place[1]} layers; about {tokens / 1e6:.1f}M tokens in {config.max_minutes:g} min"
        )
    print(told)
    return chosen


def sizes(shape: ModelConfig) -> dict[str, Any]:
    """The fields that are chosen."""
    return {name: getattr(shape, name) for name in SHAPE}
