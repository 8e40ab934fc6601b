"""A conversation: what was said, what still fits into the model's context, what the user is told
about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from config import ChatConfig, UserError
from inference.terminal.speaker import Speaker, Speech, Write
from model.chat import Message, fit_turns


@dataclass(frozen=True)
class Reply:
    """How an answer went."""

    text: str
    """What was written."""
    notes: list[str]
    """What the user should know about it: left-out turns, a cut."""
    speech: Speech
    """What the model did."""


class Session(Protocol):
    """Something to talk to."""

    speaker: Speaker

    def ask(self, text: str, write: Write, top_logprobs: int | None = None) -> Reply:
        """Answers a text, and writes the answer as it comes.

        Raises:
            UserError: the text does not fit into the context.
        """

    def answer_again(self, write: Write, top_logprobs: int | None = None) -> Reply:
        """Answers the last text once more; the new answer takes the place of the old one.

        Raises:
            UserError: there was none.
        """

    def clear(self) -> str:
        """Forgets what was said, and says so."""


class ChatSession:
    """A conversation with a chat model."""

    def __init__(self, speaker: Speaker, system: str | None) -> None:
        self.speaker = speaker
        self.system = system or ""
        self.turns: list[Message] = []
        self.question = ""
        """The last message that was asked, for another answer."""
        self.before: list[Message] = []
        """The turns before it."""

    @property
    def messages(self) -> list[Message]:
        """The conversation with its system prompt."""
        system: list[Message] = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, *self.turns]

    def ask(self, text: str, write: Write, top_logprobs: int | None = None) -> Reply:
        """Answers a message.

        When the conversation outgrows the context, the oldest turns go first. An answer stopped by
        Ctrl-C stays in the conversation as far as it came.
        """
        before = self.turns
        turns: list[Message] = [*before, {"role": "user", "content": text}]
        system = self.messages[: len(self.messages) - len(before)]
        room = prompt_room(self.speaker)
        prompt, dropped = fit_turns(self.speaker.render_chat, [*system, *turns], room)
        turns = turns[dropped:]
        notes = []
        if dropped:
            notes.append(
                f"the conversation outgrew the context: the oldest {dropped} messages are forgotten"
            )
        reply = listen(self.speaker, prompt, write, notes, top_logprobs)
        self.question, self.before = text, turns[:-1]
        if reply.text.strip():  # without an answer, it is as if nothing had been asked
            self.turns = [*turns, {"role": "assistant", "content": reply.text}]
        return reply

    def answer_again(self, write: Write, top_logprobs: int | None = None) -> Reply:
        """Answers the last message once more."""
        if not self.question:
            raise UserError("there is no answer yet that could be made again: write a message")
        turns, self.turns = self.turns, self.before
        try:
            return self.ask(self.question, write, top_logprobs)
        except UserError:  # a longer system prompt, say
            self.turns = turns
            raise

    def clear(self) -> str:
        """Forgets what was said; a system prompt stays."""
        self.take_up([])
        return "the conversation starts anew"

    def take_up(self, turns: Sequence[Message]) -> None:
        """Goes on from another conversation.

        Args:
            turns: of user and assistant, complete exchanges.
        """
        self.turns = list(turns)
        self.question = self.turns[-2]["content"] if self.turns else ""
        self.before = self.turns[:-2]


class CompletionSession:
    """Texts continued by a pretrained model, each for itself."""

    def __init__(self, speaker: Speaker) -> None:
        self.speaker = speaker
        self.text: str | None = None
        """The last text, for another continuation."""

    def ask(self, text: str, write: Write, top_logprobs: int | None = None) -> Reply:
        """Continues a text; of one that is too long, its end."""
        self.text = text
        prompt, notes = self.speaker.render_text(text), []
        room = prompt_room(self.speaker)
        if len(prompt) > room:
            notes.append(f"the text has {len(prompt)} tokens: only the last {room} were read")
            prompt = prompt[-room:]
        return listen(self.speaker, prompt, write, notes, top_logprobs)

    def answer_again(self, write: Write, top_logprobs: int | None = None) -> Reply:
        """Continues the last text once more."""
        if self.text is None:
            raise UserError("there is no text yet that could be continued again: write one")
        return self.ask(self.text, write, top_logprobs)

    def clear(self) -> str:
        """Nothing is kept between texts."""
        return "each text is continued for itself: there is nothing to forget"


def open_session(speaker: Speaker, config: ChatConfig) -> Session:
    """The session that fits a model: a chat, or the continuation of texts.

    Raises:
        UserError: a system prompt for a model that only continues texts, or one that is too long.
    """
    if not speaker.is_chat:
        if config.system is not None:
            raise UserError(
                f"--system: {config.model_dir} is a pretrained model, which only continues texts; "
                "leave --system out, or name a fine-tuned model with --model_dir"
            )
        return CompletionSession(speaker)
    system = (config.system or "").strip()
    if config.system is not None and not system:
        raise UserError("--system is empty: write what the model should be, or leave it out")
    return ChatSession(speaker, readable(system))


def prompt_room(speaker: Speaker) -> int:
    """Most tokens of a prompt, so that a quarter of the context is left for an answer (less when
    max_tokens is less)."""
    return speaker.context - max(1, min(speaker.sampling.max_tokens, speaker.context // 4))


def listen(
    speaker: Speaker,
    prompt: list[int],
    write: Write,
    notes: Sequence[str],
    top_logprobs: int | None,
) -> Reply:
    """Lets a model speak until it ends or Ctrl-C stops it; notes on how it ended are added."""
    pieces: list[str] = []

    def hear(text: str) -> None:
        pieces.append(text)
        write(text)

    speech = speaker.speak(prompt, hear, top_logprobs)
    text = "".join(pieces)
    return Reply(text, [*notes, *notes_on(speech, text, speaker)], speech)


def notes_on(speech: Speech, text: str, speaker: Speaker) -> list[str]:
    """What the user should know about the end of an answer."""
    if speech.finish_reason == "cancelled":
        return ["stopped"]
    if speech.finish_reason == "stop":
        return [] if text.strip() else ["the model has nothing to say to this"]
    most = speaker.sampling.max_tokens
    if speech.prompt_tokens + most < speaker.context:
        return [f"cut after --max_tokens {most}"]
    return [f"cut: the context of {speaker.context} tokens is full"]


def readable(text: str) -> str:
    """A text without half surrogate pairs, which stand for bytes that were not UTF-8 on a command
    line."""
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
