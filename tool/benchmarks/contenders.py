"""The networks that the benchmarks train, and a training step of each contender.

All train the same network from the same weights on the same batches, and clip at the same norm.
transformers' `LlamaForCausalLM` with AdamW runs as its users run it (eager, float32) and tuned as
far as it goes (the whole loss compiled, AdamW fused, autocast in the format that is fastest here,
freed memory kept).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from config import DtypeName, ModelConfig, PretrainConfig, TrainConfig, mini, nano, rung
from model.device import pick_device
from model.transformer import Etude
from tool.benchmarks.measuring import machine_facts
from train.compilation import training_loss, use_deterministic_kernels
from train.data.batches import Batch
from train.distributed import World
from train.machine import keep_freed_memory, pick_dtype, set_matmul_precision
from train.objective import CrossEntropy
from train.optimizer import build_optimizers
from train.step import StepGuard, TrainingStep


@dataclass(frozen=True)
class Shape:
    """A network and the batch that it is trained with."""

    model: ModelConfig
    batch_size: int
    """Rows in a step."""
    max_length: int
    """Tokens in a row."""

    @property
    def tokens(self) -> int:
        """Tokens in a step."""
        return self.batch_size * self.max_length

    def sentence(self) -> str:
        """The shape in one line."""
        model = self.model
        return (
            f"hidden {model.hidden_size}, {model.num_hidden_layers} layers, "
            f"{model.num_attention_heads} heads ({model.num_key_value_heads} for keys and values), "
            f"ffn {model.intermediate_size}, vocabulary {model.vocab_size}, "
            f"batch {self.batch_size} x {self.max_length}"
        )


SHAPES = {
    "T": Shape(dataclasses.replace(rung(256, 6), max_position_embeddings=256), 32, 256),
    "S": Shape(dataclasses.replace(mini().model, max_position_embeddings=512), 8, 512),
}
"""By name: T as a tiny model on a CPU, S as a small one."""


@dataclass(frozen=True)
class LlamaRecipe:
    """How transformers is run."""

    tuned: bool = False
    """Compiled, fused, in a short format, with freed memory kept; else as its users run it."""
    dtype: DtypeName = "float32"
    """Format of the matrix products."""
    attention: Literal["sdpa", "eager"] = "sdpa"
    """transformers' attn_implementation; sdpa is its default."""


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


def build_llama(config: ModelConfig, attention: str, device: torch.device) -> LlamaForCausalLM:
    """transformers' model of an Etude's shape, on a device, with transformers' own initial
    weights."""
    settings: Any = LlamaConfig(
        **{name: value for name, value in vars(config).items() if not name.startswith("rope_")},
        rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
        use_cache=False,  # a cache is of no use in training, and costs time
    )
    settings._attn_implementation = attention
    model: Any = LlamaForCausalLM(settings)
    llama: LlamaForCausalLM = model.to(device)
    return llama


class LlamaTraining:
    """transformers' model on its device, and all that one of its steps needs."""

    def __init__(self, model: LlamaForCausalLM, recipe: LlamaRecipe, config: TrainConfig) -> None:
        """The model is on its device already; config gives rates, decay and clipping."""
        self.device, self.dtype = model.device, getattr(torch, recipe.dtype)
        if recipe.tuned:
            keep_freed_memory()
            set_matmul_precision(self.device, self.dtype)
        self.model = model.train()
        self.loss: Any = self.mean_loss
        if recipe.tuned:
            self.loss = torch.compile(self.mean_loss)
        self.max_grad_norm = config.max_grad_norm
        self.optimizer = torch.optim.AdamW(
            decay_groups(model, config.weight_decay),
            lr=config.learning_rate,
            betas=(config.adam_beta1, config.adam_beta2),
            eps=config.adam_epsilon,
            fused=True if recipe.tuned else None,
        )
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)

    def mean_loss(self, input_ids: Tensor, labels: Tensor) -> Tensor:
        """The mean cross-entropy, as transformers computes it; labels are shifted already."""
        short = self.dtype != torch.float32
        with torch.autocast(self.device.type, self.dtype, enabled=short):
            loss: Tensor = self.model(input_ids=input_ids, labels=labels, shift_labels=labels).loss
        return loss

    def __call__(self, batch: Batch) -> Tensor:
        """Trains on a batch; returns its mean loss, in nats, on the device."""
        loss: Tensor = self.loss(batch.input_ids, batch.labels)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.max_grad_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.detach()


def decay_groups(model: LlamaForCausalLM, weight_decay: float) -> list[dict[str, Any]]:
    """Weights that decay (matrices) and weights that do not (norms), as transformers' Trainer has
    it."""
    parameters = list(model.parameters())
    return [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]


class EtudeTraining:
    """Etude's step, made of what the trainer makes it of."""

    def __init__(self, model: Etude, config: PretrainConfig, device: torch.device) -> None:
        dtype = getattr(torch, config.dtype)
        use_deterministic_kernels(device)
        keep_freed_memory()
        set_matmul_precision(device, dtype)
        loss = training_loss(model, dtype, config.compile, whole=config.compile_whole)
        optimizers = build_optimizers(model, config, dtype)
        guard = StepGuard(config, model.config.vocab_size, dtype, device)
        world = World(device=device)
        clip = config.max_grad_norm
        self.step = TrainingStep(loss, model, optimizers, guard, world, clip, CrossEntropy())

    def __call__(self, batch: Batch) -> Tensor:
        """Trains on a batch; returns its mean loss, in nats, on the device."""
        return self.step([batch])[0]


def build(job: SpeedJob, device: torch.device) -> EtudeTraining | LlamaTraining:
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


def probe(device_name: str, dtype: DtypeName) -> tuple[dict[str, Any], DtypeName]:
    """The machine, and the format that its matrix products are fastest in (or the one asked for).

    Raises:
        UserError: there is no such device.
    """
    return machine_facts(device_name), pick_dtype(dtype, pick_device(device_name))
