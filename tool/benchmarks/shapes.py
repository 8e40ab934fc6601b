"""The shapes that benchmarks train."""

from __future__ import annotations

from dataclasses import dataclass

from config import ModelConfig


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
    "T": Shape(
        ModelConfig(
            vocab_size=4_096,
            hidden_size=256,
            intermediate_size=704,
            num_hidden_layers=6,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=256,
        ),
        batch_size=32,
        max_length=256,
    ),
    "S": Shape(
        ModelConfig(
            vocab_size=6_400,
            hidden_size=512,
            intermediate_size=1_408,
            num_hidden_layers=8,
            num_attention_heads=8,
            num_key_value_heads=2,
            max_position_embeddings=512,
        ),
        batch_size=8,
        max_length=512,
    ),
}
"""By name: T as a tiny model on a CPU, S as a small one."""
