"""The same chat through transformers alone: what anyone does with a converted Etude.

Nothing of Etude's network or engine is used here, and nothing is ever fetched from the net.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, TextStreamer

from config import ChatConfig, SamplingConfig
from inference.engine.answers import FinishReason
from inference.engine.loading import require_model
from inference.terminal.speaker import Speech, Write
from model.chat import Message
from model.device import pick_device

CONVERT = (
    "convert one with `python tool/convert_hf.py` and name the result with --model_dir, or run "
    "`make demo`, which does both, and use `--model_dir weight/demo/etude_sft_model_llama`"
)


class TransformersSpeaker:
    """A converted model directory, run by transformers."""

    def __init__(self, config: ChatConfig) -> None:
        device = pick_device(config.device)
        require_model(config.model_dir, CONVERT)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(config.model_dir, local_files_only=True)
        model = AutoModelForCausalLM.from_pretrained(config.model_dir, local_files_only=True)
        self.model: Any = model.to(device).eval()  # type: ignore[arg-type]  # a decorator hides it
        self.sampling = config.sampling
        self.context = self.model.config.max_position_embeddings
        self.is_chat = self.tokenizer.eos_token == "<|im_end|>"
        self.title = f"{config.model_dir.resolve().name}, through transformers, on {device}"

    def render_chat(self, messages: Sequence[Message]) -> list[int]:
        """The ids of a conversation, up to where the answer begins."""
        safe = [{**m, "content": self.without_control_tokens(m["content"])} for m in messages]
        return self.tokenizer.apply_chat_template(
            safe, add_generation_prompt=True, return_dict=False
        )

    def render_text(self, text: str) -> list[int]:
        """The ids of a text; <|endoftext|> comes first, as before every document in training."""
        ids = self.tokenizer.encode(self.without_control_tokens(text), add_special_tokens=False)
        return [self.tokenizer.pad_token_id, *ids]

    def without_control_tokens(self, text: str) -> str:
        """A text that cannot forge a turn: transformers would read a written <|im_end|> as the
        control token."""
        tokens = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
        while any(token in text for token in tokens):
            for token in tokens:
                text = text.replace(token, "")
        return text

    def speak(self, prompt: list[int], write: Write, top_logprobs: int | None = None) -> Speech:
        """Continues a prompt, and writes the text as it comes; tells no log-probabilities."""
        begin = time.perf_counter()
        if self.sampling.seed is not None:
            torch.manual_seed(self.sampling.seed)
        input_ids = torch.tensor([prompt], device=self.model.device)
        streamer = Streamer(self.tokenizer, write)
        reason: FinishReason = "cancelled"
        try:
            output = self.model.generate(
                input_ids,
                attention_mask=torch.ones_like(input_ids),
                streamer=streamer,
                max_new_tokens=min(self.sampling.max_tokens, self.context - len(prompt)),
                **sampling_flags(self.sampling),
            )
            ends = self.model.generation_config.eos_token_id
            reason = "stop" if output[0, -1].item() in ends else "length"
        except KeyboardInterrupt:
            pass
        count = streamer.count - (reason == "stop")
        return Speech(reason, len(prompt), count, time.perf_counter() - begin)

    def spell(self, token: int) -> bytes:
        """The bytes of a token, as text; a piece of a character is lost."""
        return self.tokenizer.decode([token]).encode("utf-8")


class Streamer(TextStreamer):
    """Hands the text to a function in place of printing it."""

    def __init__(self, tokenizer: Any, write: Write) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self.write = write
        self.count = -1
        """Tokens so far; the prompt comes first, all at once."""

    def put(self, value: torch.Tensor) -> None:
        """Called by transformers with the prompt, then with each token."""
        self.count += 1
        super().put(value)  # type: ignore[no-untyped-call]

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """Called by transformers with each piece that is certain."""
        self.write(text)


def sampling_flags(sampling: SamplingConfig) -> dict[str, Any]:
    """The arguments of transformers' generate."""
    flags: dict[str, Any] = {"repetition_penalty": sampling.repetition_penalty}
    if sampling.temperature == 0:
        return {**flags, "do_sample": False}
    return {
        **flags,
        "do_sample": True,
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "min_p": sampling.min_p,
    }
