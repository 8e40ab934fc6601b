"""The contenders of the training benchmark, and measuring one of them.

All train the same network from the same weights on the same batches, and clip at the same norm. A
contender is measured in a process of its own (`tool/benchmarks/own_process.py`).
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
from tool.benchmarks.llama_training import LlamaRecipe, LlamaTraining, build_llama
from tool.benchmarks.machine import machine_facts
from tool.benchmarks.shapes import Shape
from train.compilation import training_loss, use_deterministic_kernels
from train.data.batches import Batch
from train.distributed import World
from train.machine import (
    keep_freed_memory,
    matmul_speed,
    memory_in_use,
    peak_memory,
    pick_dtype,
    set_matmul_precision,
)
from train.objective import CrossEntropy
from train.optimizer import build_optimizers
from train.step import StepGuard, TrainingStep

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
    cache_dir: str
    """Where compiled code is kept; empty before."""


@dataclass(frozen=True)
class Facts:
    """What a run gave beside the time of its steps."""

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
        clip = config.max_grad_norm
        self.step = TrainingStep(loss, model, optimizers, guard, world, clip, CrossEntropy())

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


class Stand:
    """A contender in the process that it has for itself, trained some steps at a time."""

    def __init__(self, job: SpeedJob) -> None:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = job.cache_dir
        self.job, self.device = job, pick_device(job.device)
        self.peak_flops = matmul_speed(self.device, getattr(torch, job.contender.dtype))
        self.train = build(job, self.device)
        self.number = 0
        self.first_loss = self.first_seconds = 0.0

    def steps(self, count: int) -> tuple[float, ...]:
        """Seconds of each of the next steps.

        Raises:
            ArithmeticError: a loss is not finite.
        """
        seconds = []
        for _ in range(count):
            batch = random_batch(self.job, self.number, self.device)
            wait_for(self.device)
            began = time.perf_counter()
            loss = self.train(batch)
            wait_for(self.device)
            seconds.append(time.perf_counter() - began)
            if not math.isfinite(float(loss)):
                raise ArithmeticError(f"the loss of step {self.number + 1} is not finite")
            if not self.number:
                self.first_loss, self.first_seconds = float(loss), seconds[0]
            self.number += 1
        return tuple(seconds)

    def facts(self) -> Facts:
        """All the rest, after the steps."""
        on_gpu = self.device.type == "cuda"
        batch = random_batch(self.job, 0, self.device)
        return Facts(
            first_step_seconds=self.first_seconds,
            optimizer_seconds=optimizer_seconds(self.train, batch, self.device),
            peak_flops=self.peak_flops,
            memory_bytes=memory_in_use(self.device) if on_gpu else peak_memory(),
            first_loss=self.first_loss,
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
