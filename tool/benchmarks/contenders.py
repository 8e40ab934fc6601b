"""The networks that the benchmarks train, a training step of each contender, and transformers'
training against the clock.

All train the same network from the same weights on the same batches, and clip at the same norm.
transformers' `LlamaForCausalLM` with AdamW runs as its users run it (eager, float32) and tuned as
far as it goes (the whole loss compiled, AdamW fused, autocast in the format that is fastest here,
freed memory kept). Everything here runs in processes of its own (`measuring.py`).
"""

from __future__ import annotations

import dataclasses
import importlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from config import (
    DtypeName,
    LoraConfig,
    ModelConfig,
    PretrainConfig,
    TrainConfig,
    UserError,
    mini,
    nano,
    rung,
)
from model.adapters import add_adapter
from model.device import pick_device
from model.directory.pretrained import load_pretrained
from model.tokenizer import EtudeTokenizer
from model.transformer import Etude
from tool.benchmarks.measuring import machine_facts
from train.compilation import Compilation, training_loss, use_deterministic_kernels
from train.data.batches import Batch, Prefetch, RowOrder, TokenRows, step_batches
from train.data.packing import concatenate
from train.data.token_files import tokenised_data
from train.distributed import World
from train.evaluation import ValidationGroup, bits_per_byte, validation_groups
from train.machine import keep_freed_memory, pick_dtype, set_matmul_precision
from train.objective import CrossEntropy, SummedLoss
from train.optimizer import build_optimizers, lr_scale
from train.step import StepGuard, TrainingStep

Train = Callable[[Batch], Tensor]
"""Trains on a batch; returns its mean loss, in nats, on the device."""
TICKS = 1_000
"""The clock's parts: the schedule counts in them as it would in steps."""


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


def as_llama(shape: ModelConfig, context: int) -> ModelConfig:
    """The network that transformers' Llama is, at a preset's size."""
    return dataclasses.replace(shape, use_qk_norm=False, max_position_embeddings=context)


SMOLLM2 = ModelConfig(49_152, 576, 1_536, 30, 9, 3, 8_192, rope_theta=1e5)
SHAPES = {
    "T": Shape(as_llama(rung(256, 6), 256), 32, 256),
    "S": Shape(as_llama(mini().model, 512), 8, 512),
    "SmolLM2": Shape(SMOLLM2, 4, 512),
}
"""By name: T as a tiny model on a CPU, S as a small one, and SmolLM2-135M."""
OF_FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {"sliding_window": 4_096},
    "qwen2": {"attention_bias": True},
    "qwen3": {"use_qk_norm": True},
    "qwen3_moe": {"use_qk_norm": True, "num_experts": 16, "num_experts_per_tok": 4}
    | {"moe_intermediate_size": 384},
    "smollm3": {"no_rope_layer_interval": 4},
}
"""What makes SmolLM2-135M one of each family. A token's experts have the weights of its own
feed-forward layer, all of them four times as many."""


@dataclass(frozen=True)
class Contender:
    """Something that trains."""

    name: str
    dtype: DtypeName = "float32"
    """Format of its matrix products."""
    attention: Literal["sdpa", "eager"] | None = None
    """transformers' attn_implementation, of which sdpa is its default; None: Etude."""
    tuned: bool = False
    """transformers compiled, fused, with freed memory kept; else as its users run it."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """Etude's --optimizer."""
    whole: bool = False
    """Etude's --compile_whole."""
    lora_rank: int = 0
    """Rank of an adapter on all linear layers, which is trained alone (transformers: by peft); 0:
    the whole model is trained."""


@dataclass(frozen=True)
class SpeedJob:
    """One run of a contender."""

    contender: Contender
    shape: Shape
    device: str
    seed: int
    cache_dir: str
    """Where compiled code is kept; empty before."""


def build_llama(
    config: ModelConfig, attention: str | None, device: torch.device
) -> LlamaForCausalLM:
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

    def __init__(self, model: LlamaForCausalLM, contender: Contender, config: TrainConfig) -> None:
        """The model is on its device already; config gives rates, decay and clipping."""
        self.device, self.dtype = model.device, getattr(torch, contender.dtype)
        if contender.tuned:
            keep_freed_memory()
            set_matmul_precision(self.device, self.dtype)
        self.model = model.train()
        self.loss: Any = torch.compile(self.mean_loss) if contender.tuned else self.mean_loss
        self.max_grad_norm = config.max_grad_norm
        self.optimizer = torch.optim.AdamW(
            decay_groups(model, config.weight_decay),
            lr=config.learning_rate,
            betas=(config.adam_beta1, config.adam_beta2),
            eps=config.adam_epsilon,
            fused=True if contender.tuned else None,
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


def build_etude(model: Etude, config: PretrainConfig, device: torch.device) -> Train:
    """Etude's step, made of what the trainer makes it of."""
    dtype = getattr(torch, config.dtype)
    use_deterministic_kernels(device)
    keep_freed_memory()
    set_matmul_precision(device, dtype)
    loss = training_loss(model, dtype, Compilation(config.compile), whole=config.compile_whole)
    optimizers = build_optimizers(model, config, dtype)
    guard = StepGuard(config, model.config.vocab_size, dtype, device)
    world, clip = World(device=device), config.max_grad_norm
    step = TrainingStep(loss, model, optimizers, guard, world, clip, CrossEntropy())
    return lambda batch: step([batch])[0]


def build(job: SpeedJob, device: torch.device) -> Train:
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
    lora = LoraConfig(contender.lora_rank)
    model = Etude(shape.model)
    model.initialize(torch.Generator().manual_seed(job.seed))
    if contender.attention is None:
        if lora.lora_rank:
            add_adapter(model, lora, torch.Generator().manual_seed(job.seed))
        return build_etude(model.to(device), config, device)
    llama = build_llama(shape.model, contender.attention, device)
    llama.load_state_dict(model.state_dict())
    return LlamaTraining(with_peft(llama, lora) if lora.lora_rank else llama, contender, config)


def with_peft(llama: LlamaForCausalLM, lora: LoraConfig) -> LlamaForCausalLM:
    """transformers' model with an adapter on all linear layers, by peft.

    Raises:
        UserError: peft is not installed.
    """
    try:
        peft: Any = importlib.import_module("peft")
    except ImportError:
        raise UserError("--lora_rank compares with peft: pip install peft") from None
    settings = peft.LoraConfig(
        r=lora.lora_rank,
        lora_alpha=lora.lora_alpha,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    adapted: LlamaForCausalLM = peft.get_peft_model(llama, settings)
    return adapted


def probe(device_name: str, dtype: DtypeName) -> tuple[dict[str, Any], DtypeName]:
    """The machine, which is printed, and the format that its matrix products are fastest in (or the
    one asked for).

    Raises:
        UserError: there is no such device.
    """
    machine = machine_facts(device_name)
    print(
        f"{machine['processor']}, {machine['cores']} cores; {machine['device']}; "
        f"transformers {machine['transformers']}",
        flush=True,
    )
    return machine, pick_dtype(dtype, pick_device(device_name))


@dataclass(frozen=True)
class TextData:
    """The texts, for training and for measuring."""

    files: tuple[Path, ...]
    tokenizer_dir: Path
    cache_dir: Path
    max_length: int

    def read(self) -> tuple[TokenRows, dict[str, ValidationGroup], EtudeTokenizer]:
        """Rows to train on, rows to measure with, and the tokenizer.

        Raises:
            UserError: a file is missing or malformed, or there is too little text.
        """
        tokenizer = EtudeTokenizer.load(self.tokenizer_dir)
        defaults = PretrainConfig()
        data = tokenised_data(
            "pretrain", self.files, tokenizer, defaults.validation_every, self.cache_dir
        )
        rows, _ = concatenate(data.train, self.max_length, tokenizer.end_of_text_id)
        groups = validation_groups(
            data.validation, self.max_length, tokenizer, True, defaults.validation_bytes
        )
        return rows, groups, tokenizer


@dataclass(frozen=True)
class ClockedJob:
    """One run of transformers."""

    data: TextData
    model: ModelConfig
    """Its vocabulary is the tokenizer's, whatever stands here."""
    contender: Contender
    config: PretrainConfig
    """Rate, schedule, batch; the data's order."""
    minutes: float
    device: str


@dataclass(frozen=True)
class Point:
    """A measurement in a run, or at its end."""

    seconds: float
    tokens: int
    bits_per_byte: float


def train_llama(job: ClockedJob) -> Point:
    """Trains transformers' model until the time is over, and measures it; a run that diverges ends
    early, with bits per byte that are infinite.

    Raises:
        UserError: the data cannot be used, or there is no such device.
    """
    device = pick_device(job.device)
    rows, groups, tokenizer = job.data.read()
    shape = dataclasses.replace(job.model, vocab_size=len(tokenizer))
    torch.manual_seed(job.config.seed)  # transformers draws initial weights from it alone
    llama = build_llama(shape, job.contender.attention, device)
    step = LlamaTraining(llama, job.contender, job.config)
    order = RowOrder(len(rows), job.config.batch_size, job.config.seed)
    batches = Prefetch(partial(step_batches, rows, order, job.config, World(device=device)), order)
    try:
        seconds, steps, finite = run_clocked(job, step, batches)
    finally:
        batches.close()
    tokens = steps * job.config.batch_size * job.config.max_length
    etude = Etude(shape).to(device)
    return Point(seconds, tokens, measure_llama(llama, etude, groups) if finite else math.inf)


def run_clocked(job: ClockedJob, step: LlamaTraining, batches: Prefetch) -> tuple[float, int, bool]:
    """The loop of `train_llama`: seconds (compiling included), steps, and whether the last loss is
    finite."""
    limit = 60 * job.minutes
    began = time.perf_counter()
    steps, seconds, start, loss = 0, 0.0, 0.0, 0.0
    while seconds < limit and math.isfinite(loss):
        rate = learning_rate(job.config, (seconds - start) / (limit - start))
        for group in step.optimizer.param_groups:
            group["lr"] = rate
        loss = float(step(batches(steps)[0].to(step.device)))
        steps += 1
        seconds = time.perf_counter() - began
        if steps == 1:
            start = seconds  # it may have compiled, which must not use up the warm-up
    return seconds, steps, math.isfinite(loss)


def learning_rate(config: PretrainConfig, share: float) -> float:
    """The rate where a share of the time is over."""
    return config.learning_rate * lr_scale(share * (TICKS - 1), TICKS, config)


def measure_llama(
    llama: LlamaForCausalLM, etude: Etude, groups: dict[str, ValidationGroup]
) -> float:
    """Bits per byte of transformers' weights, by the code that measures Etude: the names of the
    weights are the same."""
    etude.load_state_dict(llama.state_dict())
    return measure_etude(etude, groups, llama.device)


def measure_etude(etude: Etude, groups: dict[str, ValidationGroup], device: torch.device) -> float:
    """Bits per byte of a model on the validation records."""
    measured = bits_per_byte(SummedLoss(etude), groups, World(device=device))
    assert measured is not None  # nothing stops it
    return measured["all"]


def measure_directory(directory: Path, data: TextData, device_name: str) -> float:
    """Bits per byte of a model directory on the validation records.

    Raises:
        UserError: the directory holds no model of the data's tokenizer.
    """
    device = pick_device(device_name)
    model, own = load_pretrained(directory, device)
    _, groups, tokenizer = data.read()
    if own.fingerprint != tokenizer.fingerprint:
        raise UserError(f"{directory}: it was trained with another tokenizer; remove it")
    return measure_etude(model, groups, device)
