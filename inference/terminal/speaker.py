"""What answers: the interface that a chat needs, and Etude's own engine behind it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from config import ChatConfig, SamplingConfig
from inference.engine.answers import FinishReason, Request, Token
from inference.engine.loading import LoadedModel, load_model
from inference.engine.token_bytes import TokenBytes
from model.chat import Message, render_prompt

Write = Callable[[str], None]
"""Takes the pieces of an answer as they come."""


@dataclass(frozen=True)
class Speech:
    """How a speaker came to the end of an answer."""

    finish_reason: FinishReason
    """"cancelled" after Ctrl-C."""
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    """From the question to the end."""
    cached_tokens: int = 0
    """Tokens of the prompt that needed no reading: they were known from the turn before."""
    tokens: Sequence[Token] = ()
    """The answer's tokens with their log-probabilities, where they were asked for and are known."""

    @property
    def tokens_per_second(self) -> float:
        """How fast it was, the reading of the prompt included."""
        return self.completion_tokens / max(self.seconds, 1e-9)


class Speaker(Protocol):
    """A model with its tokenizer, however it is run."""

    is_chat: bool
    """Whether it answers messages, or only continues texts."""
    context: int
    """Most tokens of prompt and answer together."""
    title: str
    """One line about it."""
    sampling: SamplingConfig
    """How it chooses its words; may be changed between answers."""

    def render_chat(self, messages: Sequence[Message]) -> list[int]:
        """The ids of a conversation, up to where the answer begins."""

    def render_text(self, text: str) -> list[int]:
        """The ids of a text to be continued."""

    def speak(self, prompt: list[int], write: Write, top_logprobs: int | None = None) -> Speech:
        """Continues a prompt, and writes the text as it comes, until the end or Ctrl-C.

        Args:
            prompt: what to continue.
            write: takes the text.
            top_logprobs: also tell each token's log-probability and this many of the likeliest at
                its place; None: do not. A speaker that knows none tells none.
        """

    def spell(self, token: int) -> bytes:
        """The bytes of a token."""


class EtudeSpeaker:
    """A model directory, run by Etude's engine. What a conversation has said before is still in the
    engine's cache when it goes on."""

    def __init__(self, model: LoadedModel, sampling: SamplingConfig) -> None:
        self.model, self.engine, self.tokenizer = model, model.engine, model.tokenizer
        self.is_chat, self.title, self.context = model.is_chat, model.title, model.engine.context
        self.sampling = sampling

    @classmethod
    def load(cls, config: ChatConfig) -> EtudeSpeaker:
        """Reads the model directory of a chat's config.

        Raises:
            UserError: there is no such device or model.
        """
        model = load_model(config.model_dir, config.device, quantize=config.quantize)
        return cls(model, config.sampling)

    def render_chat(self, messages: Sequence[Message]) -> list[int]:
        """The ids of a conversation, up to where the answer begins."""
        return render_prompt(self.tokenizer, messages)

    def render_text(self, text: str) -> list[int]:
        """The ids of a text; <|endoftext|> comes first, as before every document in training."""
        return [self.tokenizer.end_of_text_id, *self.tokenizer.encode(text)]

    def speak(self, prompt: list[int], write: Write, top_logprobs: int | None = None) -> Speech:
        """Continues a prompt, and writes the text as it comes, never half a character."""
        begin = time.perf_counter()
        request = Request(prompt, self.sampling, self.model.stop_ids, top_logprobs=top_logprobs)
        answer = self.engine.submit(request)
        reason: FinishReason = "cancelled"
        shown = 0
        try:
            while answer.finish_reason is None:
                self.engine.step()
                write("".join(token.text for token in answer.tokens[shown:]))
                shown = len(answer.tokens)
            reason = answer.finish_reason
        except KeyboardInterrupt:
            pass
        finally:
            answer.cancel()  # it must not stay in its slot
        write(answer.tail)
        return Speech(
            reason,
            len(prompt),
            len(answer.tokens),
            time.perf_counter() - begin,
            answer.reused,
            answer.tokens if top_logprobs is not None else (),
        )

    @cached_property
    def token_bytes(self) -> TokenBytes:
        """The bytes of its tokens."""
        return TokenBytes(self.tokenizer)

    def spell(self, token: int) -> bytes:
        """The bytes of a token."""
        return self.token_bytes[token]
