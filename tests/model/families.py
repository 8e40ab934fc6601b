"""Tiny networks of every family."""

from __future__ import annotations

from dataclasses import replace

import torch

from config import ModelConfig, RopeScaling
from model.transformer import Etude

START = ModelConfig(
    vocab_size=400,
    hidden_size=48,
    intermediate_size=96,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=300,
)
QWEN3 = replace(START, use_qk_norm=True)
EXPERTS = replace(QWEN3, num_experts=6, moe_intermediate_size=24)
YARN = RopeScaling("yarn", 4.0, 64)
BETAS = RopeScaling("yarn", 4.0, 64, beta_fast=8.0, beta_slow=0.5)

SHAPES = {
    "llama": [
        replace(START, num_key_value_heads=4),
        replace(START, head_dim=20),
        replace(START, head_dim=8, tie_word_embeddings=False, num_key_value_heads=1),
        replace(START, hidden_size=64, head_dim=32, rope_scaling=BETAS),
    ],
    "mistral": [
        replace(START, sliding_window=8),
        replace(START, sliding_window=20, head_dim=16, tie_word_embeddings=False),
        replace(START, sliding_window=3, num_key_value_heads=4),
        replace(START, sliding_window=200, num_key_value_heads=1, rope_theta=1e6),
        replace(START, sliding_window=33, rope_scaling=YARN, rms_norm_eps=1e-6),
    ],
    "qwen2": [
        replace(START, attention_bias=True),
        replace(START, attention_bias=True, tie_word_embeddings=False, num_key_value_heads=1),
        replace(START, attention_bias=True, num_key_value_heads=4, rope_theta=1e6),
        replace(START, attention_bias=True, hidden_size=64, rope_scaling=YARN),
    ],
    "qwen3": [
        QWEN3,
        replace(QWEN3, head_dim=32, tie_word_embeddings=False),
        replace(QWEN3, head_dim=128, num_key_value_heads=1, num_attention_heads=3),
        replace(QWEN3, num_key_value_heads=4, rope_theta=1e6, rms_norm_eps=1e-6),
        replace(QWEN3, head_dim=6, num_attention_heads=5, num_key_value_heads=5),
    ],
    "qwen3_moe": [
        EXPERTS,
        replace(EXPERTS, norm_topk_prob=False, head_dim=16, tie_word_embeddings=False),
        replace(EXPERTS, num_experts=3, num_experts_per_tok=3, moe_intermediate_size=None),
        replace(EXPERTS, num_hidden_layers=4, decoder_sparse_step=2, mlp_only_layers=(3,)),
        replace(EXPERTS, num_experts_per_tok=1, num_hidden_layers=3, mlp_only_layers=(0, 1)),
    ],
    "smollm3": [
        replace(START, num_hidden_layers=4, no_rope_layer_interval=4),
        replace(START, num_hidden_layers=5, no_rope_layer_interval=2, tie_word_embeddings=False),
        replace(START, no_rope_layer_interval=1, num_key_value_heads=1),
        replace(START, num_hidden_layers=3, no_rope_layer_interval=3, num_key_value_heads=4),
    ],
}
"""Heads grouped and not, tied and untied, a head_dim of its own, windows shorter and longer than
the text of the tests, experts in some blocks."""


def seeded(seed: int) -> torch.Generator:
    """A generator with a seed."""
    return torch.Generator().manual_seed(seed)


def make(config: ModelConfig) -> Etude:
    """A network with random weights, large enough that each part of it shows in the logits."""
    model = Etude(config)
    model.initialize(seeded(7))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() >= 2:  # strong layers: a strong embedding repeats its own token
                parameter.mul_(12 if "layers" in name else 2)
            else:  # norms that are all ones, or biases of zero, would hide one that is left out
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=seeded(1)))
    return model.eval()
