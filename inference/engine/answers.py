"""What the engine is asked for and what it generates, as tokens and as text.

A `GenerationRequest` goes in; a `GenerationOutput` grows token by token; a `GenerationResult` is
what remains when it is done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from config import SamplingConfig
from inference.engine.constraint import Grammar
from model.tokenizer import EtudeTokenizer, StreamDecoder

FinishReason = Literal["stop", "length", "cancelled", "failed"]
"""stop: a stop token or text. length: something cut it, see CutBy. failed: the engine did."""
CutBy = Literal["max_tokens", "context", "time", "shutdown"]
"""What cut an output of finish_reason "length"; the last two are limits of the server's."""


@dataclass(frozen=True)
class GenerationRequest:
    """A prompt, and how to continue it."""

    prompt: Sequence[int]
    """Its ids; not empty, shorter than the context."""
    sampling: SamplingConfig
    stop_ids: Collection[int]
    """Tokens that end the output; they are not part of it."""
    stop: tuple[str, ...] = ()
    """Texts that end it, and are not part of it either."""
    top_logprobs: int | None = None
    """None: no log-probabilities; N: each token's, and those of the N likeliest at its place."""
    adapter: str | None = None
    """The name of the adapter that answers; None: the base alone."""
    grammar: Grammar | None = None
    """What the output must be; None: anything."""
    prompt_logprobs: int | None = None
    """As top_logprobs, for the tokens of the prompt; all of it is computed then, whatever is in the
    cache."""


@dataclass(frozen=True)
class Token:
    """A generated token."""

    id: int
    text: str
    """Text finalised by this token: never half a character; it may be empty."""
    logprob: float | None = None
    """Its log-probability under the model, before penalties and sampling; None: not requested."""
    alternatives: tuple[tuple[int, float], ...] = ()
    """The likeliest ids at its place with their log-probabilities, likeliest first."""


@dataclass(frozen=True)
class GenerationResult:
    """What a prompt was continued with."""

    text: str
    tokens: tuple[Token, ...]
    """The new tokens, without the prompt and without the stop token."""
    finish_reason: FinishReason
    cut_by: CutBy | None
    prompt_tokens: int
    cached_tokens: int = field(default=0, compare=False)
    """Tokens of the prompt whose keys and values were in the cache already."""
    seconds: float = field(default=0.0, compare=False)
    """From the request to the end."""
    stop_token: Token | None = None
    """The one that ended it, where a token did."""
    prompt: tuple[Token, ...] = ()
    """Those of the prompt, where their log-probabilities were requested; the first has none."""

    @property
    def ids(self) -> list[int]:
        """The ids of the tokens."""
        return [token.id for token in self.tokens]

    @property
    def tokens_per_second(self) -> float:
        """Its speed, the prompt's prefill included."""
        return len(self.tokens) / max(self.seconds, 1e-9)


class GenerationOutput:
    """The output for a request; it grows while the engine steps."""

    def __init__(self, request: GenerationRequest, tokenizer: EtudeTokenizer | None) -> None:
        self.request = request
        self.tokens: list[Token] = []
        self.finish_reason: FinishReason | None = None
        """Why it ended; None while it is being generated."""
        self.cut_by: CutBy | None = None
        self.stop_token: Token | None = None
        self.prompt: list[Token] = []
        """Those tokens of the prompt whose log-probabilities were requested and are known."""
        self.tail = ""
        """Text finalised by the end alone: what was held back until then."""
        self.cached_tokens = 0
        """Tokens of the prompt whose keys and values were in the cache already."""
        self.cancelled = False
        self.stream = TextStream(tokenizer, request.stop) if tokenizer else None
        self.prompt_decoder = StreamDecoder(tokenizer) if tokenizer else None
        self.created = time.perf_counter()
        self.seconds = 0.0

    @property
    def text(self) -> str:
        """All text that is final so far."""
        return "".join(token.text for token in self.tokens) + self.tail

    @property
    def ids(self) -> list[int]:
        """The ids of its tokens."""
        return [token.id for token in self.tokens]

    def cancel(self, cut_by: CutBy | None = None) -> None:
        """Ends it at the next step, which frees its slot; with a limit, as cut by that."""
        self.cancelled, self.cut_by = True, cut_by

    def append(self, token: Token) -> None:
        """Appends a token; its text is decoded here."""
        if not self.stream:
            self.tokens.append(token)
            return
        self.tokens.append(replace(token, text=self.stream.step(token.id)))
        if self.stream.stopped:
            self.finish("stop")

    def append_prompt(self, token: Token) -> None:
        """Appends a token of the prompt."""
        text = self.prompt_decoder.step(token.id) if self.prompt_decoder else ""
        self.prompt.append(replace(token, text=text))
        if self.prompt_decoder and len(self.prompt) == len(self.request.prompt):
            self.prompt[-1] = replace(self.prompt[-1], text=text + self.prompt_decoder.finish())

    def finish(self, reason: FinishReason, cut_by: CutBy | None = None) -> None:
        """Ends it."""
        if self.stream and reason in ("stop", "length"):
            self.tail = self.stream.finish()
        self.finish_reason, self.cut_by = reason, cut_by
        self.seconds = time.perf_counter() - self.created

    def result(self) -> GenerationResult:
        """The whole, once it has ended."""
        assert self.finish_reason, "the output has not ended"
        return GenerationResult(
            self.text,
            tuple(self.tokens),
            self.finish_reason,
            self.cut_by,
            len(self.request.prompt),
            self.cached_tokens,
            self.seconds,
            self.stop_token,
            tuple(self.prompt),
        )


class TextStream:
    """Tokens to text as they come: never half a character, never the beginning of a stop text.

    All that `step` and `finish` return, joined, is the decoded output up to the first stop text.
    """

    def __init__(self, tokenizer: EtudeTokenizer, stop: tuple[str, ...] = ()) -> None:
        """stop: texts that end the output, and are not part of it."""
        self.decoder, self.stop = StreamDecoder(tokenizer), tuple(filter(None, stop))
        self.held = ""
        """Decoded text that may yet turn out to be the beginning of a stop text."""
        self.stopped = False
        """Whether a stop text has come."""

    def step(self, token: int) -> str:
        """The text finalised by a token."""
        return self.release(self.decoder.step(token), at_end=False)

    def finish(self) -> str:
        """What was held back, when no more tokens come."""
        return self.release(self.decoder.finish(), at_end=True)

    def release(self, text: str, at_end: bool) -> str:
        """The part of held and new text that can be shown."""
        if self.stopped:
            return ""
        self.held += text
        found = [at for at in map(self.held.find, self.stop) if at >= 0]
        if found:
            self.stopped = True
            shown, self.held = self.held[: min(found)], ""
            return shown
        keep = 0 if at_end else max((overlap(self.held, stop) for stop in self.stop), default=0)
        cut = len(self.held) - keep
        shown, self.held = self.held[:cut], self.held[cut:]
        return shown


def overlap(text: str, stop: str) -> int:
    """Length of the longest end of a text that a stop text begins with."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0


Spell = Callable[[int], bytes]
"""Gives the bytes of a token."""


def make_spell(tokenizer: EtudeTokenizer) -> Spell:
    """The bytes of each token of a byte-level tokenizer, which may be a piece of a character; those
    of a control token spell its name."""
    backend, control = tokenizer.backend, tokenizer.backend.get_added_tokens_decoder()
    byte_of = {letter: byte for byte, letter in enumerate(byte_letters())}

    def spell(token: int) -> bytes:
        name = backend.id_to_token(token) or ""
        return name.encode("utf-8") if token in control else bytes(byte_of[c] for c in name)

    return spell


def byte_letters() -> list[str]:
    """The letter that stands for each byte in a byte-level vocabulary: itself where it is
    printable, else one from U+0100 on (GPT-2's table, github.com/openai/gpt-2, src/encoder.py)."""
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = [byte for byte in range(256) if byte not in visible]
    return [chr(b) if b in visible else chr(256 + hidden.index(b)) for b in range(256)]


def token_text(data: bytes) -> str:
    """A token's text; bytes that are no whole characters are spelled out, as OpenAI does."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return "bytes:" + "".join(
            chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}" for byte in data
        )


def chat_logprobs(tokens: Sequence[Token], spell: Spell) -> list[dict[str, Any]]:
    """Tokens with their log-probabilities, in the form of OpenAI's chat completions."""

    def entry(token: int, logprob: float | None) -> dict[str, Any]:
        data = spell(token)
        return {"token": token_text(data), "bytes": list(data), "logprob": logprob}

    return [
        {
            **entry(token.id, token.logprob),
            "top_logprobs": [entry(other, value) for other, value in token.alternatives],
        }
        for token in tokens
    ]
