"""--preset auto: the model size with the lowest expected loss after the given time.

A larger model learns more from each token and sees fewer of them. How loss falls with parameters
and tokens is a scaling law, fitted to small runs by `tool/scaling_study.py`: its form is
Chinchilla's (arXiv 2203.15556, equation 2), and what repeated data are worth is from arXiv
2305.16264. How many tokens each size sees is measured here, on this machine and these rows.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from config import LADDER, SHAPE, ModelConfig, PretrainConfig, rung
from model.transformer import Etude
from train.data.batches import TokenRows
from train.distributed import World
from train.machine import pick_dtype
from train.run.directory import saved_settings
from train.run.plan import seconds_per_token

REPETITIONS = 15.39
"""R* of arXiv 2305.16264, equation 5: the worth of repeated passes falls off by e in so many."""
EXPONENTS = (0.1, 1.2)
"""Between these a fit looks for both exponents."""
POINTS, ZOOMS = 9, 26
"""Points on a side of each grid, and how many grids there are, each half as wide as the last."""


@dataclass(frozen=True)
class ScalingLaw:
    """loss = irreducible + size * (N / 1e6) ** -size_exponent + data * (D / 1e6) ** -data_exponent,
    for N parameters, embedding included, and D tokens."""

    irreducible: float
    size: float
    size_exponent: float
    data: float
    data_exponent: float

    def loss(self, parameters: float, tokens: float) -> float:
        """The loss to expect, in the unit of the fit (bits per byte)."""
        of_size = self.size * (parameters / 1e6) ** -self.size_exponent
        return self.irreducible + of_size + self.data * (tokens / 1e6) ** -self.data_exponent


@dataclass(frozen=True)
class Trial:
    """A run and its end."""

    parameters: int
    tokens: int
    loss: float


def fresh_tokens(tokens: float, unique: float) -> float:
    """How many fresh tokens so many are worth when they are `unique` ones gone through again and
    again (arXiv 2305.16264, equation 5)."""
    if tokens <= unique:
        return tokens
    repetitions = tokens / unique - 1
    return unique + unique * REPETITIONS * (1 - math.exp(-repetitions / REPETITIONS))


def fit(trials: Sequence[Trial]) -> ScalingLaw:
    """The law with the least squared error of the logarithm of the loss, to first order: a search
    over both exponents by grids that get finer, and linear least squares for the rest, none of it
    below zero.

    Raises:
        ValueError: there are fewer trials than the five numbers of the law, or no law falls with
            both size and tokens.
    """
    if len(trials) < 5:
        raise ValueError(f"{len(trials)} trials are too few for the five numbers of the law")
    lowest, highest = EXPONENTS
    centre, reach = [(lowest + highest) / 2] * 2, (highest - lowest) / 2
    for _ in range(ZOOMS):
        near = reach * np.linspace(-1, 1, POINTS)  # the best so far is among them
        around = [np.clip(exponent + near, lowest, highest) for exponent in centre]
        laws = [linear_fit(trials, *exponents) for exponents in itertools.product(*around)]
        falling = [law for law in laws if law is not None]
        if not falling:
            raise ValueError("the losses do not fall with size and tokens")
        best = min(falling, key=lambda law: residual(law, trials))
        centre, reach = [best.size_exponent, best.data_exponent], reach / 2
    return best


def linear_fit(
    trials: Sequence[Trial], size_exponent: float, data_exponent: float
) -> ScalingLaw | None:
    """The law with these exponents and the least squared error; None where a term of it is below
    zero."""
    table = np.array([dataclasses.astuple(trial) for trial in trials], dtype=np.float64)
    parameters, tokens, loss = table.T
    terms = [
        np.ones_like(loss),
        (parameters / 1e6) ** -size_exponent,
        (tokens / 1e6) ** -data_exponent,
    ]
    shares = np.stack(terms, axis=1) / loss[:, None]  # errors as shares of the loss
    values, *_ = np.linalg.lstsq(shares, np.ones_like(loss), rcond=None)
    irreducible, size, data = values.tolist()
    if min(irreducible, size, data) < 0:
        return None
    return ScalingLaw(irreducible, size, float(size_exponent), data, float(data_exponent))


def residual(law: ScalingLaw, trials: Sequence[Trial]) -> float:
    """The root of the mean squared error of a law, as a share of the loss."""
    errors = [law.loss(trial.parameters, trial.tokens) / trial.loss - 1 for trial in trials]
    return math.sqrt(sum(error**2 for error in errors) / len(errors))


def left_out(trials: Sequence[Trial]) -> list[ScalingLaw]:
    """The laws that all trials but one give: how far the numbers can be trusted."""
    return [fit([*trials[:n], *trials[n + 1 :]]) for n in range(len(trials))]


def rounded(law: ScalingLaw) -> ScalingLaw:
    """The law with four digits, as it is printed."""
    return ScalingLaw(*(round(value, 4) for value in dataclasses.astuple(law)))


LAW = ScalingLaw(1.3886, 0.1917, 0.7653, 0.9863, 0.3125)
"""In bits per byte, as docs/recipes.md describes: what --preset auto uses."""


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
    chosen, lowest, summary = sizes(shape), float("inf"), ""
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
        summary = (
            f"preset auto: {model.num_parameters() / 1e6:.1f}M parameters, {place[0]} wide, "
            f"{place[1]} layers; about {tokens / 1e6:.1f}M tokens in {config.max_minutes:g} min"
        )
    print(summary)
    return chosen


def sizes(shape: ModelConfig) -> dict[str, Any]:
    """The fields that are chosen."""
    return {name: getattr(shape, name) for name in SHAPE}
