"""What a run will cost, said before it starts."""

from __future__ import annotations

import math

import torch

from config import ModelConfig, TrainConfig
from model.transformer import Etude
from train.precision import matmul_speed
from train.provenance import describe_machine
from train.stage import Stage

TYPICAL_UTILIZATION = 0.55
"""Share of the matrix-product peak that a training step reaches, evaluation and saving included."""


def announcement(stage: Stage, device: torch.device, step: int, total: int) -> str:
    """What will happen: size, data, steps, memory, time; and where a run that continues stands."""
    config, model, vocab_size = stage.config, stage.model, stage.model.config.vocab_size
    tokens = (total - step) * config.batch_size * config.max_length
    rate = matmul_speed(device, getattr(torch, config.dtype)) * TYPICAL_UTILIZATION
    seconds = tokens * flops_per_token(model, config.max_length) / rate
    memory = estimated_bytes(model.config, config, model.num_parameters())
    validation = sum(group.num_bytes for group in stage.validation.values())
    passes = total * config.batch_size / len(stage.rows)
    lines = [
        f"{stage.name}: {model.num_parameters() / 1e6:.2f}M parameters, vocabulary {vocab_size}, "
        f"on {describe_machine(device)}",
        f"  data: {stage.packing.sentence()}; validation: {validation:,} bytes",
        f"  plan: {total} steps of {config.batch_size} x {config.max_length} tokens "
        f"({passes:.2f} passes), {config.optimizer}, {config.dtype}; "
        f"about {memory / 1e9:.1f} GB and {duration(seconds)}",
    ]
    if step:
        lines.append(f"  continuing at step {step} of {total}")
    elif stage.name == "pretrain":
        expected = math.log(vocab_size)
        lines.append(f"  the first loss should be near ln({vocab_size}) = {expected:.2f}")
    return "\n".join(lines)


def flops_per_token(model: Etude, max_length: int) -> float:
    """Floating-point operations to train one token: 6 for each weight of a matrix product, and
    attention over the causal half of a row (PaLM, arXiv 2204.02311, appendix B)."""
    config = model.config
    weights = sum(p.numel() for n, p in model.named_parameters() if p.dim() == 2)
    if not config.tie_word_embeddings:
        weights -= config.vocab_size * config.hidden_size  # looked up, not multiplied
    return 6.0 * weights + 6.0 * config.num_hidden_layers * config.hidden_size * max_length


def estimated_bytes(config: ModelConfig, training: TrainConfig, num_parameters: int) -> int:
    """Memory of weights, gradients, optimizer state and one micro-batch's activations, in bytes of
    float32."""
    rows = training.batch_size // training.gradient_accumulation_steps
    tokens = rows * training.max_length
    state = 3 if training.optimizer == "muon" else 4  # weights, gradients, one or two moments
    per_layer = 10 * config.hidden_size + 4 * config.intermediate_size
    logits = 3 * config.vocab_size
    return 4 * (state * num_parameters + tokens * (config.num_hidden_layers * per_layer + logits))


def duration(seconds: float) -> str:
    """Seconds as people say them: 42 s, 7 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
