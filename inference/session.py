"""A conversation: what was said, what still fits into the model's context, what the user is told
about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from config import ChatConfig, UserError
from inference.speaker import Speaker, Write
from model.chat import Message, fit_turns


@dataclass(frozen=True)
class Reply:
    """How an answer went."""

    text: str
    """What was written."""
    notes: list[str]
    """What the user should know about it: left-out turns, a cut."""


class Session(Protocol):
    """Something to talk to."""

    def ask(self, text: str, write: Write) -> Reply:
        """Answers a text, and writes the answer as it comes.

        Raises:
            UserError: the text does not fit into the context.
        """

    def clear(self) -> str:
        """Forgets what was said, and says so."""


class ChatSession:
    """A conversation with a chat model."""

    def __init__(self, speaker: Speaker, system: str | None, max_tokens: int) -> None:
        self.speaker, self.max_tokens = speaker, max_tokens
        self.system: list[Message] = [{"role": "system", "content": system}] if system else []
        self.turns: list[Message] = []

    def ask(self, text: str, write: Write) -> Reply:
        """Answers a message.

        When the conversation outgrows the context, the oldest turns go first. An answer stopped by
        Ctrl-C stays in the conversation as far as it came.
        """
        turns: list[Message] = [*self.turns, {"role": "user", "content": text}]
        room = prompt_room(self.speaker.context, self.max_tokens)
        prompt, dropped = fit_turns(self.speaker.render_chat, [*self.system, *turns], room)
        turns = turns[dropped:]
        notes = []
        if dropped:
            notes.append(
                f"the conversation outgrew the context: the oldest {dropped} messages are forgotten"
            )
        answer, ending = listen(self.speaker, prompt, write, self.max_tokens)
        if answer.strip():  # without an answer, it is as if nothing had been asked
            self.turns = [*turns, {"role": "assistant", "content": answer}]
        return Reply(answer, notes + ending)

    def clear(self) -> str:
        """Forgets what was said; a system prompt stays."""
        self.turns = []
        return "the conversation starts anew"


class CompletionSession:
    """Texts continued by a pretrained model, each for itself."""

    def __init__(self, speaker: Speaker, max_tokens: int) -> None:
        self.speaker, self.max_tokens = speaker, max_tokens

    def ask(self, text: str, write: Write) -> Reply:
        """Continues a text; of one that is too long, its end."""
        prompt, notes = self.speaker.render_text(text), []
        room = prompt_room(self.speaker.context, self.max_tokens)
        if len(prompt) > room:
            notes.append(f"the text has {len(prompt)} tokens: only the last {room} were read")
            prompt = prompt[-room:]
        answer, ending = listen(self.speaker, prompt, write, self.max_tokens)
        return Reply(answer, notes + ending)

    def clear(self) -> str:
        """Nothing is kept between texts."""
        return "each text is continued for itself: there is nothing to forget"


def open_session(speaker: Speaker, config: ChatConfig) -> Session:
    """The session that fits a model: a chat, or the continuation of texts.

    Raises:
        UserError: a system prompt for a model that only continues texts, or one that is too long.
    """
    max_tokens = config.sampling.max_tokens
    if not speaker.is_chat:
        if config.system is not None:
            raise UserError(
                f"--system: {config.model_dir} is a pretrained model, which only continues texts; "
                "leave --system out, or name a fine-tuned model with --model_dir"
            )
        return CompletionSession(speaker, max_tokens)
    system = (config.system or "").strip()
    if config.system is not None and not system:
        raise UserError("--system is empty: write what the model should be, or leave it out")
    return ChatSession(speaker, readable(system), max_tokens)


def prompt_room(context: int, max_tokens: int) -> int:
    """Most tokens of a prompt, so that a quarter of the context is left for an answer (less when
    max_tokens is less)."""
    return context - max(1, min(max_tokens, context // 4))


def listen(
    speaker: Speaker, prompt: list[int], write: Write, max_tokens: int
) -> tuple[str, list[str]]:
    """Lets a model speak until it ends or Ctrl-C stops it; its text, and notes on how it ended."""
    pieces: list[str] = []
    try:
        reason = speaker.speak(prompt, both(pieces.append, write))
    except KeyboardInterrupt:
        return "".join(pieces), ["stopped"]
    answer = "".join(pieces)
    if reason == "stop":
        return answer, [] if answer.strip() else ["the model has nothing to say to this"]
    if len(prompt) + max_tokens < speaker.context:
        return answer, [f"cut after --max_tokens {max_tokens}"]
    return answer, [f"cut: the context of {speaker.context} tokens is full"]


def both(first: Write, second: Write) -> Write:
    """Writes to two places."""

    def write(text: str) -> None:
        first(text)
        second(text)

    return write


def readable(text: str) -> str:
    """A text without half surrogate pairs, which stand for bytes that were not UTF-8 on a command
    line."""
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
