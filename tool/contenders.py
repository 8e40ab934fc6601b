"""The contenders of the training benchmark, and measuring one of them.

All train the same network from the same weights on the same batches, and clip at the same norm. A
contender is measured in a process of its own (`tool/own_process.py`).
"""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from config import DtypeName, PretrainConfig, nano
from model.device import pick_device
from model.transformer import Etude
from tool.llama_training import LlamaRecipe, LlamaTraining, build_llama
from tool.machine import machine_facts
from tool.shapes import Shape
from train.compilation import training_loss, use_deterministic_kernels
from train.distributed import World
from train.guard import StepGuard
from train.memory import keep_freed_memory, memory_in_use, peak_memory
from train.optimizer import build_optimizers
from train.precision import matmul_speed, pick_dtype, set_matmul_precision
from train.rows import Batch
from train.step import TrainingStep

OPTIMIZER_STEPS = 3
"""Steps in which the optimizer's share is measured, after the others: it waits for the device."""


@dataclass(frozen=True)
class Contender:
    """Something that trains."""

    name: str
    dtype: DtypeName
    """Format of its matrix products."""
    llama: LlamaRecipe | None = None
    """How transformers is run; None: Etude."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """Etude's --optimizer."""
    whole: bool = False
    """Etude's --compile_whole."""


@dataclass(frozen=True)
class SpeedJob:
    """One run of a contender."""

    contender: Contender
    shape: Shape
    device: str
    seed: int
    warmup_steps: int
    steps: int
    cache_dir: str
    """Where compiled code is kept; empty before the contender's first round."""


@dataclass(frozen=True)
class Measurement:
    """What one run gave."""

    step_seconds: tuple[float, ...]
    """Of the measured steps."""
    first_step_seconds: float
    """The first step compiles."""
    optimizer_seconds: float
    """Of a step, the optimizer's part."""
    peak_flops: float
    """Operations per second of a matrix product in the contender's format, measured just before."""
    memory_bytes: int
    """Largest resident memory of the process, or the largest allocation on a GPU."""
    first_loss: float
    """In nats, before anything was learnt: the same for all contenders."""


class Training(Protocol):
    """A contender that is ready to train."""

    @property
    def optimizers(self) -> Sequence[torch.optim.Optimizer]:
        """The optimizers of a step."""

    def __call__(self, batch: Batch) -> Tensor:
        """Trains on a batch; returns its mean loss, in nats, on the device."""


class EtudeTraining:
    """Etude's step, made of what the trainer makes it of."""

    def __init__(self, model: Etude, config: PretrainConfig, device: torch.device) -> None:
        dtype = getattr(torch, config.dtype)
        use_deterministic_kernels(device)
        keep_freed_memory()
        set_matmul_precision(device, dtype)
        loss = training_loss(model, dtype, config.compile, whole=config.compile_whole)
        optimizers = build_optimizers(model, config, dtype)
        self.optimizers = list(optimizers.values())
        guard = StepGuard(config, model.config.vocab_size, dtype, device)
        world = World(device=device)
        self.step = TrainingStep(loss, model, optimizers, guard, world, config.max_grad_norm)

    def __call__(self, batch: Batch) -> Tensor:
        """See Training."""
        return self.step([batch])[0]


def probe(device_name: str, dtype: DtypeName) -> tuple[dict[str, Any], DtypeName]:
    """The machine, and the format that its matrix products are fastest in (or the one asked for).

    Raises:
        UserError: there is no such device.
    """
    return machine_facts(device_name), pick_dtype(dtype, pick_device(device_name))


def build(job: SpeedJob, device: torch.device) -> Training:
    """A contender, with the weights that all of them start from."""
    shape, contender = job.shape, job.contender
    config = dataclasses.replace(
        nano().pretrain,
        optimizer=contender.optimizer,
        compile_whole=contender.whole,
        dtype=contender.dtype,
        batch_size=shape.batch_size,
        max_length=shape.max_length,
        seed=job.seed,
    )
    model = Etude(shape.model)
    model.initialize(torch.Generator().manual_seed(job.seed))
    if contender.llama is None:
        return EtudeTraining(model.to(device), config, device)
    llama = build_llama(shape.model, contender.llama.attention, device)
    llama.load_state_dict(model.state_dict())
    return LlamaTraining(llama, contender.llama, config)


def random_batch(job: SpeedJob, number: int, device: torch.device) -> Batch:
    """A batch of random tokens; speed does not depend on what they say."""
    generator = torch.Generator().manual_seed(job.seed * 1_000_003 + number)
    size = (job.shape.batch_size, job.shape.max_length + 1)
    ids = torch.randint(0, job.shape.model.vocab_size, size, generator=generator)
    return Batch(ids[:, :-1].contiguous(), ids[:, 1:].contiguous()).to(device)


def measure(job: SpeedJob) -> Measurement:
    """Runs a contender's steps and times them."""
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = job.cache_dir
    device = pick_device(job.device)
    peak = matmul_speed(device, getattr(torch, job.contender.dtype))
    train = build(job, device)
    seconds, losses = [], []
    for number in range(job.warmup_steps + job.steps):
        batch = random_batch(job, number, device)
        wait_for(device)
        began = time.perf_counter()
        loss = train(batch)
        wait_for(device)
        seconds.append(time.perf_counter() - began)
        losses.append(float(loss))
    if not all(math.isfinite(loss) for loss in losses):
        raise ArithmeticError(f"the loss is not finite: {losses}")
    return Measurement(
        step_seconds=tuple(seconds[job.warmup_steps :]),
        first_step_seconds=seconds[0],
        optimizer_seconds=optimizer_seconds(train, random_batch(job, 0, device), device),
        peak_flops=peak,
        memory_bytes=memory_in_use(device) if device.type == "cuda" else peak_memory(),
        first_loss=losses[0],
    )


def optimizer_seconds(train: Training, batch: Batch, device: torch.device) -> float:
    """Seconds that the optimizers take in one step."""
    began, spent = 0.0, 0.0

    def before(*_: Any) -> None:
        nonlocal began
        wait_for(device)
        began = time.perf_counter()

    def after(*_: Any) -> None:
        nonlocal spent
        wait_for(device)
        spent += time.perf_counter() - began

    for optimizer in train.optimizers:
        optimizer.register_step_pre_hook(before)
        optimizer.register_step_post_hook(after)
    for _ in range(OPTIMIZER_STEPS):
        train(batch)
    return spent / OPTIMIZER_STEPS


def wait_for(device: torch.device) -> None:
    """Waits until the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
