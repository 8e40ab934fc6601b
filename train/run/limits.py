"""What a run wants of its machine, compared with what there is: before the start, and when memory
runs out on the way.
"""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from config import LoraConfig, ModelConfig, TrainConfig, UserError, divisors
from model.adapters import attach, target_names, trained_parameters
from model.frozen import freeze_weights, saved_bytes
from model.transformer import Etude
from train.checkpoint import list_checkpoints, step_of
from train.distributed import World
from train.machine import free_memory, memory_in_use, refuse_full_disk
from train.run.plan import OWN_BYTES, estimated_bytes
from train.stage import Stage

SURELY = 1.2
"""An estimate must be this many times what is free before it refuses a run."""
ALLOCATION_FAILED = ("can't allocate memory", "out of memory", "bad_alloc", "start new thread")
"""What the messages of torch's allocators and of Python say when memory is short."""


def refuse_uneven_batch(config: TrainConfig, world: World) -> None:
    """Raises UserError when processes and micro-batches do not divide the batch."""
    parts = world.size * config.gradient_accumulation_steps
    if config.batch_size % parts:
        raise UserError(
            f"--batch_size {config.batch_size} cannot be shared by {world.size} processes with "
            f"{config.gradient_accumulation_steps} micro-batches each: use a multiple of {parts}"
        )


def refuse_too_large(
    shape: ModelConfig, config: TrainConfig, world: World, lora: LoraConfig | None = None
) -> None:
    """Raises UserError when a step cannot fit in the memory that is free now; a way out is named.

    Nothing of the model is allocated for it.
    """
    if config.dry_run:
        return
    with torch.device("meta"):
        model = Etude(shape)
    if lora and lora.lora_rank:
        freeze_weights(model, lora.weights)
        attach(model, dict.fromkeys(target_names(model, lora.lora_targets), lora.lora_rank), lora)
    parameters, trained, saved = model.num_parameters(), trained_parameters(model), 0
    if lora and lora.lora_rank:
        saved = saved_bytes(model)
    free, where = free_memory(world.device)
    if world.device.type == "cpu":
        free //= int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # set by torchrun
    here = min(OWN_BYTES, memory_in_use(torch.device("cpu")))  # torch is loaded by now

    def fits(pieces: int, times: float = 1.0) -> bool:
        cut = replace(config, gradient_accumulation_steps=pieces)
        needed = estimated_bytes(shape, cut, parameters, world.size, trained) - saved
        return needed - here <= times * free

    if fits(config.gradient_accumulation_steps, SURELY):
        return
    needed = (estimated_bytes(shape, config, parameters, world.size, trained) - saved) / 1e9
    ways = [n for n in divisors(max(1, config.batch_size // world.size)) if fits(n)]
    raise UserError(
        f"a step needs about {needed:,.1f} GB and {free / 1e9:,.1f} GB {where}: "
        + (
            f"use --gradient_accumulation_steps {ways[0]} (the result stays the same), or lower "
            "--batch_size or --max_length"
            if ways
            else "not even one row at a time fits; use a smaller model or --max_length"
        )
    )


def refuse_without_room(stage: Stage, total: int) -> None:
    """Raises UserError when the disk has no room for the run's checkpoints and its model."""
    config, checkpoints = stage.config, stage.output_dir / "checkpoints"
    weights = 4 * trained_parameters(stage.model)  # float32
    checkpoint = weights * (2 if config.optimizer == "muon" else 3)  # and one or two moments
    # The newest, the best one, and the next while it is written; those that are there stay or go.
    most = min(math.ceil(total / config.save_steps), config.save_total_limit + 2)
    new = max(1, most - len(list_checkpoints(checkpoints)))
    refuse_full_disk(
        stage.output_dir,
        new * checkpoint + weights,
        f"{new} checkpoints and the model",
        "lower --save_total_limit, or name a model directory on another disk",
    )


@contextmanager
def out_of_memory_explained(config: TrainConfig, output_dir: Path) -> Iterator[None]:
    """Around training: when memory runs out, one sentence that says how to go on."""
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if not is_out_of_memory(error):
            raise
        newest = next(iter(list_checkpoints(output_dir / "checkpoints")), None)
        kept = f"step {step_of(newest)} is saved" if newest else "nothing is saved yet"
        rows = config.batch_size // config.gradient_accumulation_steps
        raise UserError(
            f"out of memory: {rows} rows of {config.max_length} tokens at once are too many here. "
            f"Raise --gradient_accumulation_steps (now {config.gradient_accumulation_steps}; the "
            "result stays the same), or end other programs, and run the same command again: "
            f"{kept}. If that is not enough, use --gradient_checkpointing or a smaller --max_length"
        ) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that memory, of the machine or of a GPU, was short."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return any(words in str(error) for words in ALLOCATION_FAILED)
