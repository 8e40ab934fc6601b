"""The network, small class to large: FeedForward, TransformerBlock, Transformer, Etude.

Mathematics and parameter names are those of transformers' `LlamaForCausalLM`, so a trained Etude is
a Llama; with the switches of `model/families.py` it is another stock class.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from config import ModelConfig, QuantizeName
from model.attention import MultiHeadAttention, RMSNorm, RotaryEmbedding
from model.experts import SparseFeedForward
from model.families import model_type_of
from model.kv_cache import KVCache, LayerCache


class FeedForward(nn.Module):
    """SwiGLU (arXiv 2002.05202): down(silu(gate(x)) * up(x))."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x and result: (batch, seq, hidden)."""
        gate, up = self.gate_proj(x), self.up_proj(x)  # (batch, seq, intermediate) each
        return self.down_proj(F.silu(gate) * up)  # (batch, seq, hidden)


class TransformerBlock(nn.Module):
    """Attention and feed-forward, each on the normalised stream and added back to it."""

    def __init__(self, config: ModelConfig, layer: int = 0) -> None:
        """layer: the number of the block, from 0."""
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = MultiHeadAttention(config, layer)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        sparse = config.has_experts(layer)
        self.mlp = SparseFeedForward(config) if sparse else FeedForward(config)

    def forward(
        self,
        x: Tensor,
        cos: Tensor,
        sin: Tensor,
        mask: Tensor | None = None,
        cache: LayerCache | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """x (batch, seq, hidden) -> the same, and the router's logits (batch, seq, experts) or None
        where there are no experts; mask and cache as in MultiHeadAttention."""
        # Pre-norm (arXiv 2002.04745): the stream itself is never normalised, so that gradients
        # reach the first block undiminished. x: (batch, seq, hidden) throughout.
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, mask, cache)
        normed = self.post_attention_layernorm(x)
        if isinstance(self.mlp, SparseFeedForward):
            update, router_logits = self.mlp(normed)
            return x + update, router_logits
        return x + self.mlp(normed), None  # (batch, seq, hidden)


class Transformer(nn.Module):
    """The trunk: token embedding, blocks, final norm."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(
            TransformerBlock(config, layer) for layer in range(config.num_hidden_layers)
        )
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.window = config.sliding_window
        self.rotary_emb = RotaryEmbedding(config)

    def forward(
        self,
        input_ids: Tensor,
        cache: KVCache | None = None,
        document_ids: Tensor | None = None,
        router_logits: list[Tensor] | None = None,
    ) -> Tensor:
        """input_ids (batch, seq) -> hidden states (batch, seq, hidden).

        With a cache, input_ids continue what it holds; the caller then counts them with
        `cache.advance`. With document_ids (batch, seq), no position looks into another document; a
        cache holds one document a row, so the two exclude each other. A list of router_logits gets
        those of each block with experts, (batch, seq, experts).
        """
        seq = input_ids.shape[1]
        assert cache is None or document_ids is None
        if cache is None:
            positions = torch.arange(seq, device=input_ids.device)  # (seq,)
            mask = None if document_ids is None else same_document(document_ids)
            if mask is not None:
                # Each document counts from 0, as when it stands alone: RoPE sees differences only,
                # but angles are rounded, and the further down a row the more. A position may look
                # at all of its document that stands before it, and at itself.
                positions = mask[:, 0].sum(dim=-1) - 1  # (batch, seq)
            if self.window is not None and self.window < seq:
                mask = within(self.window, seq, input_ids.device, mask)
            layer_caches: list[LayerCache | None] = [None] * len(self.layers)
        else:
            positions, mask, views = cache.begin(seq)
            layer_caches = [*views]
        cos, sin = self.rotary_emb(positions)  # (1 or batch, 1, seq, head_dim), once for all layers
        x = self.embed_tokens(input_ids)  # (batch, seq, hidden)
        for layer, layer_cache in zip(self.layers, layer_caches, strict=True):
            x, logits = layer(x, cos, sin, mask, layer_cache)  # x: (batch, seq, hidden)
            if router_logits is not None and logits is not None:
                router_logits.append(logits)
        return self.norm(x)  # (batch, seq, hidden)


def same_document(document_ids: Tensor) -> Tensor:
    """document_ids (batch, seq) -> (batch, 1, seq, seq), True where a position (third) may look at
    another (fourth): the same document, and not later."""
    same = document_ids[:, :, None] == document_ids[:, None, :]  # (batch, seq, seq)
    return same.tril()[:, None]  # (batch, 1, seq, seq), for all heads


def within(window: int, seq: int, device: torch.device, mask: Tensor | None) -> Tensor:
    """A mask (batch or 1, 1, seq, seq) as of `same_document`, None for plain causality, that also
    keeps a position from what lies window tokens or more before it (arXiv 2310.06825)."""
    positions = torch.arange(seq, device=device)  # (seq,)
    ago = positions[:, None] - positions[None, :]  # (seq, seq)
    near = (ago >= 0) & (ago < window)  # (seq, seq)
    return near[None, None] if mask is None else mask & near


class Etude(nn.Module):
    """The language model: trunk and output layer."""

    def __init__(self, config: ModelConfig) -> None:
        """Raises UserError when the network is no stock class of transformers."""
        super().__init__()
        model_type_of(config)
        self.config = config
        self.rounded: QuantizeName = "none"
        """How `inference.engine.rounding.quantize_model` has rounded it."""
        self.model = Transformer(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight

    def forward(
        self, input_ids: Tensor, cache: KVCache | None = None, document_ids: Tensor | None = None
    ) -> Tensor:
        """input_ids (batch, seq) -> logits (batch, seq, vocab); see Transformer.forward."""
        hidden = self.model(input_ids, cache, document_ids)  # (batch, seq, hidden)
        return self.lm_head(hidden)  # (batch, seq, vocab)

    @torch.no_grad()
    def initialize(self, generator: torch.Generator) -> None:
        """Draws the initial weights: normal with the config's initializer_range; what writes to the
        residual stream is smaller by sqrt(2 * layers), as in GPT-2, so that the stream does not
        grow with depth."""
        std = self.config.initializer_range
        residual_std = std / math.sqrt(2 * self.config.num_hidden_layers)
        for name, parameter in self.named_parameters():
            if parameter.dim() < 2:
                if name.endswith("bias"):
                    parameter.zero_()
                continue  # norms start at one
            into_stream = name.endswith(("o_proj.weight", "down_proj.weight", "down_proj"))
            parameter.normal_(0.0, residual_std if into_stream else std, generator=generator)

    def active_parameters(self) -> int:
        """Number of weights that one token's forward pass takes part of: all but the experts that
        it does not choose."""
        idle = 1 - self.config.num_experts_per_tok / max(1, self.config.num_experts)
        experts = [p.numel() for n, p in self.named_parameters() if ".experts." in n]
        return self.num_parameters() - round(idle * sum(experts))

    def num_parameters(self) -> int:
        """Number of weights, a tied embedding counted once."""
        return sum(parameter.numel() for parameter in self.parameters())
