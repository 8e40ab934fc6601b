"""The flags of the chats in the terminal: inference/inference.py and inference/hf.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from annotated_types import Interval

from config import (
    DeviceName,
    PathConfig,
    QuantizeName,
    SamplingConfig,
    Settings,
    TransformersSampling,
)


@dataclass(frozen=True)
class TransformersChatConfig(Settings):
    """A chat in the terminal, as far as transformers can be asked for it."""

    model_dir: Path = PathConfig.sft_model_dir
    """The model's directory."""
    prompt: str | None = None
    """Answer this (or continue it, with a pretrained model) and end; only the answer is printed."""
    system: str | None = None
    """A system prompt: what the model should be or keep to."""
    device: DeviceName = "auto"
    """auto (CUDA where there is one, else the CPU), cpu, cuda or cuda:N."""
    json: bool = False
    """Write one JSON object a line for each answer, for scripts: its text, why it ended, its token
    counts and time."""
    sampling: TransformersSampling = field(default_factory=TransformersSampling)
    """How the next token is chosen."""


@dataclass(frozen=True)
class ChatConfig(TransformersChatConfig):
    """A chat in the terminal."""

    quantize: QuantizeName = "none"
    """int8: round the weights to 8 bits, which on a CPU makes answers come about three times as
    fast."""
    logprobs: Annotated[int | None, Interval(ge=0, le=20)] = None
    """With --json: each token's log-probability too, and this many of the likeliest tokens at its
    place."""
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    """How the next token is chosen."""

    def conflicts(self) -> list[str]:
        """What is wrong between fields, a sentence each."""
        if self.logprobs is None or self.json:
            return []
        return ["logprobs is only for --json; in a chat, /tokens shows them"]
