"""What a run will cost, said before it starts."""

from __future__ import annotations

import time

import torch

from config import ModelConfig, TrainConfig
from model.transformer import Etude

TYPICAL_UTILIZATION = 0.55
"""Share of the matrix-product peak that a training step reaches, evaluation and saving included."""


def flops_per_token(model: Etude, max_length: int) -> float:
    """Floating-point operations to train one token: 6 for each weight of a matrix product, and
    attention over the causal half of a row (PaLM, arXiv 2204.02311, appendix B)."""
    config = model.config
    weights = sum(p.numel() for n, p in model.named_parameters() if p.dim() == 2)
    if not config.tie_word_embeddings:
        weights -= config.vocab_size * config.hidden_size  # looked up, not multiplied
    return 6.0 * weights + 6.0 * config.num_hidden_layers * config.hidden_size * max_length


def matmul_peak(device: torch.device, seconds: float = 0.3) -> float:
    """Float32 operations per second of a large matrix product on the device, measured."""
    x = torch.ones(1024, 1024, device=device)
    x @ x  # warm up
    done, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        product = x @ x
        done += 1
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    del product
    return done * 2.0 * 1024**3 / (time.perf_counter() - begin)


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
