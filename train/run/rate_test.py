"""A learning-rate range test (Smith, arXiv 1506.01186): steps at ever higher rates, on a model that
is thrown away.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

import torch

from config import UserError
from train.data.batches import RowOrder, step_batches
from train.distributed import World
from train.objective import SummedLoss
from train.optimizer import build_optimizers, set_learning_rates
from train.stage import Stage
from train.step import StepGuard, TrainingStep

STEPS = 100
LOWEST, HIGHEST = 1e-3, 1e2
"""The first and the last rate, as multiples of those that the run would have."""
KEEP = 0.9
"""Of the running mean of the loss."""
LINES = 20


def rate_test(stage: Stage, world: World) -> Iterator[str]:
    """Lines that say what the loss was at each rate, and which rate to use.

    Raises:
        UserError: there are several processes, or no rate lowers the loss.
    """
    if world.size > 1:
        raise UserError("--find_lr runs in one process: leave torchrun out")
    config = stage.config
    scales = [LOWEST * (HIGHEST / LOWEST) ** (n / (STEPS - 1)) for n in range(STEPS)]
    losses = measured_losses(stage, world, scales)
    yield f"{len(losses)} steps of {config.batch_size} rows, at ever higher rates:"
    for number in range(0, len(losses), STEPS // LINES):
        yield f"  {rates(stage, scales[number])}  loss {losses[number]:.3f}"
    best = steepest(losses)
    if best is None:
        raise UserError(
            "--find_lr: no rate lowered the loss: raise --learning_rate tenfold (the test covers "
            f"{LOWEST:g} to {HIGHEST:g} times what is given), or see to the data"
        )
    yield f"the loss falls fastest at {rates(stage, scales[best])}"


def rates(stage: Stage, scale: float) -> str:
    """The flags for a multiple of the run's rates."""
    config = stage.config
    text = f"--learning_rate {config.learning_rate * scale:.2g}"
    if config.optimizer == "muon":
        text += f" --muon_learning_rate {config.muon_learning_rate * scale:.2g}"
    return text


def measured_losses(stage: Stage, world: World, scales: Sequence[float]) -> list[float]:
    """The running mean of the loss after a step at each rate, until it is clearly above where it
    began."""
    config, model = stage.config, stage.model.to(world.device)
    dtype = getattr(torch, config.dtype)
    optimizers = build_optimizers(model, config, dtype)
    vocab_size = model.config.vocab_size
    unguarded, first_loss = dataclasses.replace(config, spike_factor=0), stage.objective.first_loss
    guard = StepGuard(unguarded, vocab_size, dtype, world.device, first_loss)
    module = SummedLoss(model, dtype, stage.objective.chunk)
    step = TrainingStep(
        module, model, optimizers, guard, world, config.max_grad_norm, stage.objective
    )
    order = RowOrder(len(stage.rows), config.batch_size, config.seed, stage.rows.mix)
    mean, losses = 0.0, list[float]()
    for number, scale in enumerate(scales):
        set_learning_rates(optimizers, scale)
        batches = step_batches(stage.rows, order, config, world, number)
        loss = float(step([batch.to(world.device) for batch in batches])[0])
        mean = KEEP * mean + (1 - KEEP) * loss
        losses.append(mean / (1 - KEEP ** (number + 1)))
        if not math.isfinite(loss) or losses[-1] > losses[0] + 0.1 * math.log(vocab_size):
            break
    return losses[:-1] if not math.isfinite(losses[-1]) else losses


def steepest(losses: Sequence[float]) -> int | None:
    """Where a curve falls fastest over five steps; None where it never falls."""
    falls = [losses[n] - losses[n + 5] for n in range(len(losses) - 5)]
    best = max(range(len(falls)), key=falls.__getitem__, default=None)
    return None if best is None or falls[best] <= 0 else best + 2
