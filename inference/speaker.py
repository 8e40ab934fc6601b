"""What answers: the interface that a chat needs, and Etude's own engine behind it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from config import ChatConfig, SamplingConfig, UserError
from inference.engine import Engine, FinishReason, Request
from model.chat import Message, render_prompt
from model.device import pick_device
from model.pretrained import is_chat_model, load_pretrained
from model.tokenizer import EtudeTokenizer
from model.transformer import Etude

Write = Callable[[str], None]
"""Takes the pieces of an answer as they come."""


class Speaker(Protocol):
    """A model with its tokenizer, however it is run."""

    is_chat: bool
    """Whether it answers messages, or only continues texts."""
    context: int
    """Most tokens of prompt and answer together."""
    title: str
    """One line about it."""

    def render_chat(self, messages: Sequence[Message]) -> list[int]:
        """The ids of a conversation, up to where the answer begins."""

    def render_text(self, text: str) -> list[int]:
        """The ids of a text to be continued."""

    def speak(self, prompt: list[int], write: Write) -> FinishReason:
        """Continues a prompt, and writes the text as it comes."""


class EtudeSpeaker:
    """A model directory, run by Etude's engine."""

    def __init__(
        self,
        model: Etude,
        tokenizer: EtudeTokenizer,
        is_chat: bool,
        sampling: SamplingConfig,
        title: str = "",
    ) -> None:
        self.model, self.tokenizer, self.sampling = model, tokenizer, sampling
        self.is_chat, self.title = is_chat, title
        self.context = model.config.max_position_embeddings
        self.engine = Engine(model, tokenizer, slots=1)
        self.stop_ids = tokenizer.stop_ids if is_chat else (tokenizer.end_of_text_id,)

    @classmethod
    def load(cls, config: ChatConfig) -> EtudeSpeaker:
        """Reads the model directory of a chat's config.

        Raises:
            UserError: there is no such device or model.
        """
        device = pick_device(config.device)
        require_model(config.model_dir)
        model, tokenizer = load_pretrained(config.model_dir, device)
        size = f"{model.num_parameters() / 1e6:.1f}M parameters"
        context = f"a context of {model.config.max_position_embeddings} tokens"
        title = f"{config.model_dir.resolve().name}: {size}, {context}, on {device}"
        return cls(model, tokenizer, is_chat_model(config.model_dir), config.sampling, title)

    def render_chat(self, messages: Sequence[Message]) -> list[int]:
        """The ids of a conversation, up to where the answer begins."""
        return render_prompt(self.tokenizer, messages)

    def render_text(self, text: str) -> list[int]:
        """The ids of a text; <|endoftext|> comes first, as before every document in training."""
        return [self.tokenizer.end_of_text_id, *self.tokenizer.encode(text)]

    def speak(self, prompt: list[int], write: Write) -> FinishReason:
        """Continues a prompt, and writes the text as it comes, never half a character."""
        request = Request(prompt, self.sampling, self.stop_ids)
        answer = self.engine.submit(request)
        shown = 0
        try:
            while answer.finish_reason is None:
                self.engine.step()
                write("".join(token.text for token in answer.tokens[shown:]))
                shown = len(answer.tokens)
        finally:
            answer.cancel()  # a Ctrl-C must not leave it in its slot
        write(answer.tail)
        return answer.finish_reason


DEMO = (
    "name its directory with --model_dir, or run `make demo`, which trains a small one, and use "
    "`--model_dir weight/demo/etude_sft_model`"
)


def require_model(directory: Path, remedy: str = DEMO) -> None:
    """Raises UserError, with the way to a model, when a directory holds none."""
    if not (directory / "config.json").is_file():
        raise UserError(f"{directory}: there is no model here; {remedy}")
