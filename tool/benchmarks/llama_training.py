"""How transformers trains the same network: what Etude is measured against.

`LlamaForCausalLM` with AdamW, twice: as its users run it (eager, float32), and tuned as far as it
goes (the whole loss compiled, AdamW fused, autocast in the format that is fastest here, freed
memory kept).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from config import DtypeName, ModelConfig, TrainConfig
from train.data.batches import Batch
from train.machine import keep_freed_memory, set_matmul_precision


@dataclass(frozen=True)
class LlamaRecipe:
    """How transformers is run."""

    tuned: bool = False
    """Compiled, fused, in a short format, with freed memory kept; else as its users run it."""
    dtype: DtypeName = "float32"
    """Format of the matrix products."""
    attention: Literal["sdpa", "eager"] = "sdpa"
    """transformers' attn_implementation; sdpa is its default."""
    compile_mode: str = "default"
    """torch.compile's mode."""


def build_llama(config: ModelConfig, attention: str, device: torch.device) -> LlamaForCausalLM:
    """transformers' model of an Etude's shape, on a device, with transformers' own initial
    weights."""
    settings: Any = LlamaConfig(
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        num_hidden_layers=config.num_hidden_layers,
        num_attention_heads=config.num_attention_heads,
        num_key_value_heads=config.num_key_value_heads,
        max_position_embeddings=config.max_position_embeddings,
        rms_norm_eps=config.rms_norm_eps,
        rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
        initializer_range=config.initializer_range,
        tie_word_embeddings=config.tie_word_embeddings,
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
            self.loss = torch.compile(self.mean_loss, mode=recipe.compile_mode)
        self.max_grad_norm = config.max_grad_norm
        self.optimizer = torch.optim.AdamW(
            decay_groups(model, config.weight_decay),
            lr=config.learning_rate,
            betas=(config.adam_beta1, config.adam_beta2),
            eps=config.adam_epsilon,
            fused=True if recipe.tuned else None,
        )
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)

    @property
    def optimizers(self) -> list[torch.optim.Optimizer]:
        """The optimizers of a step."""
        return [self.optimizer]

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
