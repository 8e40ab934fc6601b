"""Which set of the network's switches is which stock class of transformers.

The network is one class (`model/transformer.py`). Its switches are fields of a ModelConfig; a set
of them that is no row of this table would be at home nowhere, so it is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from config import ModelConfig, UserError

SWITCHES = (
    "attention_bias",
    "use_qk_norm",
    "sliding_window",
    "no_rope_layer_interval",
    "num_experts",
)


@dataclass(frozen=True)
class Family:
    """One stock class."""

    architecture: str
    """Its name in transformers."""
    gguf: str
    """llama.cpp's name for it (general.architecture)."""
    switches: tuple[str, ...] = ()
    """Those of SWITCHES that are on."""
    fields: tuple[str, ...] = ()
    """What its config.json says of a ModelConfig beside what all say."""
    constants: Mapping[str, Any] = field(default_factory=dict)
    """What else it says; with another value it is another network."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """What transformers takes for a field of a ModelConfig that its config.json does not say, where
    that differs from `model.directory.config_json.DEFAULTS`."""


NO_WINDOW = {"use_sliding_window": False}
PLAIN_ATTENTION = {"attention_bias": False, "attention_dropout": 0.0}
EXPERTS = {
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "moe_intermediate_size": 768,
    "norm_topk_prob": False,
    "router_aux_loss_coef": 0.001,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
}
"""The fields about experts, with what transformers takes for them."""

FAMILIES = {
    "llama": Family(
        architecture="LlamaForCausalLM",
        gguf="llama",
        fields=("head_dim",),
        constants={**PLAIN_ATTENTION, "mlp_bias": False},
    ),
    "mistral": Family(
        architecture="MistralForCausalLM",
        gguf="llama",
        switches=("sliding_window",),
        fields=("head_dim", "sliding_window"),
        constants={"attention_dropout": 0.0},
        defaults={"num_key_value_heads": 8, "sliding_window": 4096},
    ),
    "qwen2": Family(
        architecture="Qwen2ForCausalLM",
        gguf="qwen2",
        switches=("attention_bias",),
        constants={"attention_dropout": 0.0, **NO_WINDOW},
        defaults={"num_key_value_heads": 32},
    ),
    "qwen3": Family(
        architecture="Qwen3ForCausalLM",
        gguf="qwen3",
        switches=("use_qk_norm",),
        fields=("head_dim",),
        constants={**PLAIN_ATTENTION, **NO_WINDOW},
        defaults={"num_key_value_heads": 32, "head_dim": 128},
    ),
    "qwen3_moe": Family(
        architecture="Qwen3MoeForCausalLM",
        gguf="qwen3moe",
        switches=("use_qk_norm", "num_experts"),
        fields=("head_dim", *EXPERTS),
        constants={**PLAIN_ATTENTION, **NO_WINDOW},
        defaults={"num_key_value_heads": 4, **EXPERTS},
    ),
    "smollm3": Family(
        architecture="SmolLM3ForCausalLM",
        gguf="smollm3",
        switches=("no_rope_layer_interval",),
        fields=("no_rope_layer_interval",),
        constants={**PLAIN_ATTENTION, "mlp_bias": False, **NO_WINDOW},
        defaults={
            "num_key_value_heads": 4,
            "tie_word_embeddings": True,
            "rope_theta": 2_000_000.0,
            "no_rope_layer_interval": 4,
        },
    ),
}
"""Keyed by transformers' model_type."""


def model_type_of(config: ModelConfig) -> str:
    """The row of FAMILIES that a network is.

    Raises:
        UserError: it is none.
    """
    on = {name for name in SWITCHES if getattr(config, name)}
    for model_type, family in FAMILIES.items():
        if on != set(family.switches):
            continue
        if config.head_dim and config.head_size != config.hidden_size // config.num_attention_heads:
            if "head_dim" not in family.fields:
                raise UserError(
                    f"head_dim is {config.head_dim}, and {family.architecture} has heads of "
                    "hidden_size / num_attention_heads alone: leave head_dim out"
                )
            if model_type == "llama" and config.hidden_size % config.num_attention_heads:
                raise UserError(  # LlamaConfig.validate_architecture
                    f"hidden_size is {config.hidden_size}, and transformers has a Llama only where "
                    f"the {config.num_attention_heads} heads divide it, also beside a head_dim"
                )
        return model_type
    rows = [" with ".join(f.switches) or "none" for f in FAMILIES.values()]
    raise UserError(
        f"{' with '.join(sorted(on))}: transformers has no such network; it has {', '.join(rows)} "
        "(presets with use_qk_norm go without it by --no_use_qk_norm)"
    )


def family_of(config: ModelConfig) -> Family:
    """The stock class that a network is; UserError when it is none."""
    return FAMILIES[model_type_of(config)]
