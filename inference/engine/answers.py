"""What is asked of the engine, and what it answers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from config import SamplingConfig
from inference.engine.text_stream import TextStream
from model.tokenizer import EtudeTokenizer

FinishReason = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True)
class Request:
    """A prompt, and how to continue it."""

    prompt: Sequence[int]
    """Its ids; not empty, shorter than the context."""
    sampling: SamplingConfig
    stop_ids: Collection[int]
    """Tokens that end the answer; they are not part of it."""
    stop: tuple[str, ...] = ()
    """Texts that end it, and are not part of it either."""
    top_logprobs: int | None = None
    """None: no log-probabilities; N: each token's, and the N likeliest at its place."""


@dataclass(frozen=True)
class Token:
    """A token of an answer."""

    id: int
    text: str
    """What it made certain: never half a character; it may be empty."""
    logprob: float | None = None
    """Its log-probability as the model sees it, before penalties and sampling; None: not asked."""
    alternatives: tuple[tuple[int, float], ...] = ()
    """The likeliest ids at its place with their log-probabilities, likeliest first."""


@dataclass(frozen=True)
class Generation:
    """What a prompt was continued with."""

    ids: list[int]
    """The new tokens, without the prompt and without the stop token."""
    finish_reason: FinishReason


class Answer:
    """The answer to a request; it grows while the engine steps."""

    def __init__(self, request: Request, tokenizer: EtudeTokenizer | None) -> None:
        self.request = request
        self.tokens: list[Token] = []
        self.finish_reason: FinishReason | None = None
        """Why it ended; None while it goes on."""
        self.tail = ""
        """Text that became certain only at the end."""
        self.reused = 0
        """Tokens of the prompt that were in the cache already."""
        self.cancelled = False
        self.stream = TextStream(tokenizer, request.stop) if tokenizer else None

    @property
    def text(self) -> str:
        """All of its text that is certain so far."""
        return "".join(token.text for token in self.tokens) + self.tail

    @property
    def ids(self) -> list[int]:
        """Its tokens."""
        return [token.id for token in self.tokens]

    def cancel(self) -> None:
        """Ends it; its slot is free at the next step."""
        self.cancelled = True

    def take(self, token: Token) -> None:
        """Adds a token, whose text is found here."""
        text = self.stream.step(token.id) if self.stream else ""
        self.tokens.append(replace(token, text=text))
        if self.stream and self.stream.stopped:
            self.finish("stop")

    def finish(self, reason: FinishReason) -> None:
        """Ends it."""
        self.tail = self.stream.finish() if self.stream else ""
        self.finish_reason = reason
