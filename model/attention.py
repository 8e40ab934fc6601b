"""RMSNorm, rotary position embedding and multi-head attention, as in transformers' Llama and its
kin."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from config import ModelConfig
from model.blockwise_attention import blockwise_attention
from model.kv_cache import LayerCache


class RMSNorm(nn.Module):
    """x / sqrt(mean(x ** 2) + eps) * weight (arXiv 1910.07467)."""

    def __init__(self, size: int, eps: float) -> None:
        """size: that of the last dimension."""
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """x and result: (..., size)."""
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)  # (..., size)


def rotary_frequencies(config: ModelConfig) -> tuple[Tensor, float]:
    """Angles per position (head_dim / 2,), and what sines and cosines are multiplied by; with the
    scaling for longer contexts as in transformers' modeling_rope_utils."""
    scaling, dim = config.rope_scaling, config.head_size
    exponents = torch.arange(0, dim, 2, dtype=torch.float32) / dim  # (head_dim / 2,)
    plain = 1.0 / config.rope_theta**exponents  # (head_dim / 2,) radians per position
    slowed = plain / scaling.factor  # (head_dim / 2,) as if positions were divided
    # (head_dim / 2,) full turns within the original context: channels that turn often encode
    # neighbourhoods and are kept, those that do not get round once are slowed down.
    turns = plain * scaling.original_max_position_embeddings / (2 * math.pi)
    if scaling.rope_type == "linear":
        return slowed, 1.0
    if scaling.rope_type == "llama3":
        low, high = scaling.low_freq_factor, scaling.high_freq_factor
        keep = ((turns - low) / (high - low)).clamp(0, 1)  # (head_dim / 2,) 1: as trained
        return keep * plain + (1 - keep) * slowed, 1.0
    if scaling.rope_type == "yarn":
        first = max(math.floor(yarn_channel(config, scaling.beta_fast)), 0)
        last = min(math.ceil(yarn_channel(config, scaling.beta_slow)), dim - 1)
        ramp = (torch.arange(dim // 2) - first) / (last - first or 0.001)  # (head_dim / 2,)
        keep = 1 - ramp.clamp(0, 1)  # (head_dim / 2,) 1: as trained
        # The factor sharpens attention, which longer contexts flatten (section 3.4).
        return keep * plain + (1 - keep) * slowed, 0.1 * math.log(scaling.factor) + 1
    return plain, 1.0


def yarn_channel(config: ModelConfig, turns: float) -> float:
    """The channel that turns so often in the original context (arXiv 2309.00071, appendix A)."""
    positions = config.rope_scaling.original_max_position_embeddings
    ratio = positions / (turns * 2 * math.pi)
    return config.head_size * math.log(ratio) / (2 * math.log(config.rope_theta))


class RotaryEmbedding(nn.Module):
    """Rotary position embedding (RoFormer, arXiv 2104.09864) in the rotate-half layout of Llama in
    transformers.

    Channel i of a head is turned together with channel i + head_dim / 2 by the angle
    position * rope_theta ** (-2 i / head_dim).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        frequencies, factor = rotary_frequencies(config)
        positions = torch.arange(config.max_position_embeddings, dtype=torch.float32)  # (context,)
        angles = torch.outer(positions, frequencies).repeat(1, 2)  # (context, head_dim)
        self.register_buffer("cos", angles.cos() * factor, persistent=False)
        self.register_buffer("sin", angles.sin() * factor, persistent=False)
        self.cos: Tensor
        self.sin: Tensor

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines for positions (seq,) or (batch, seq): each (1 or batch, 1, seq,
        head_dim)."""
        cos, sin = self.cos[positions], self.sin[positions]  # (seq, head_dim) or (batch, ...)
        if positions.dim() == 1:
            cos, sin = cos[None], sin[None]  # (1, seq, head_dim): the same for all rows
        return cos[:, None], sin[:, None]  # (1 or batch, 1, seq, head_dim): for all heads


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turns the heads x (batch, heads, seq, head_dim) by the angles of their positions."""
    first, second = x.chunk(2, dim=-1)  # (batch, heads, seq, head_dim / 2) each
    # A turn of the plane (first, second): (a cos - b sin, b cos + a sin).
    return x * cos + torch.cat((-second, first), dim=-1) * sin  # (batch, heads, seq, head_dim)


class MultiHeadAttention(nn.Module):
    """Causal self-attention; grouped-query (arXiv 2305.13245) when there are fewer key/value heads
    than heads."""

    def __init__(self, config: ModelConfig, layer: int = 0) -> None:
        """layer: the number of the block, from 0."""
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.num_kv_heads = config.num_key_value_heads
        self.head_dim = config.head_size
        self.window = config.sliding_window
        self.has_rope = config.has_rope(layer)
        q_size, kv_size = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        bias = config.attention_bias
        self.q_proj = nn.Linear(config.hidden_size, q_size, bias=bias)
        self.k_proj = nn.Linear(config.hidden_size, kv_size, bias=bias)
        self.v_proj = nn.Linear(config.hidden_size, kv_size, bias=bias)
        self.o_proj = nn.Linear(q_size, config.hidden_size, bias=False)
        if config.use_qk_norm:
            self.q_norm = RMSNorm(self.head_dim, config.rms_norm_eps)
            self.k_norm = RMSNorm(self.head_dim, config.rms_norm_eps)
        self.use_qk_norm = config.use_qk_norm

    def forward(
        self,
        x: Tensor,
        cos: Tensor,
        sin: Tensor,
        mask: Tensor | None = None,
        cache: LayerCache | None = None,
    ) -> Tensor:
        """x and result: (batch, seq, hidden).

        A mask (batch or 1, 1, seq, keys), True where a position may look, takes the place of plain
        causality; it has the sliding window in it. With a cache, x continues what the cache holds.
        """
        batch, seq, _ = x.shape
        # (batch, seq, heads * head_dim) -> (batch, heads, seq, head_dim): heads apart like rows
        q = self.q_proj(x).view(batch, seq, self.num_heads, self.head_dim).transpose(1, 2)
        k = self.k_proj(x).view(batch, seq, self.num_kv_heads, self.head_dim).transpose(1, 2)
        v = self.v_proj(x).view(batch, seq, self.num_kv_heads, self.head_dim).transpose(1, 2)
        if self.use_qk_norm:  # in float32, whatever the products are in
            q, k = self.q_norm(q.float()), self.k_norm(k.float())
        if self.has_rope:
            q, k = rotate(q, cos, sin), rotate(k, cos, sin)  # (batch, heads, seq, head_dim)
        if cache is not None:
            k, v = cache.append(k, v)  # (batch, kv_heads, keys, head_dim), the earlier ones too
        # attended: (batch, heads, seq, head_dim). torch's fused CPU kernel is slow in bfloat16.
        if torch.compiler.is_compiling() and x.device.type == "cpu" and cache is None:
            attended = blockwise_attention(q, k, v, mask, self.window)
        else:
            attended = F.scaled_dot_product_attention(
                q,
                k,
                v,
                attn_mask=mask,
                is_causal=mask is None and seq > 1,
                enable_gqa=self.num_heads != self.num_kv_heads,
            )
        merged = attended.transpose(1, 2).reshape(batch, seq, -1)  # (batch, seq, heads * head_dim)
        return self.o_proj(merged)  # (batch, seq, hidden)
