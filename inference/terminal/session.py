"""A conversation: its turns, what of them still fits into the model's context, and its file.

Files hold JSON in the form of the training data, as the web page exports it too:
{"conversations": [{"role": "user", "content": "..."}, {"role": "assistant", "content": ...}]}
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from config import UserError
from inference.engine.answers import GenerationResult
from inference.settings import TransformersChatConfig
from inference.terminal.backends import Backend, OnText
from inference.terminal.console import readable
from model.chat import check_messages, fit_turns
from model.conversation import Message


class ChatSession:
    """A conversation with a chat model."""

    def __init__(self, backend: Backend, system: str | None) -> None:
        self.backend = backend
        self.system = system or ""
        self.turns: list[Message] = []
        self.notes: list[str] = []
        """What the user should know about the last answer: left-out turns, a cut."""
        self.question = ""
        """The last message of the user, for another answer."""
        self.before: list[Message] = []
        """The turns before it."""

    @property
    def messages(self) -> list[Message]:
        """The conversation with its system prompt."""
        system: list[Message] = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, *self.turns]

    def ask(self, text: str, on_text: OnText) -> GenerationResult:
        """Answers a message; `on_text` gets the answer as it comes.

        When the conversation outgrows the context, the oldest turns go first. An answer stopped by
        Ctrl-C stays in the conversation as far as it came.

        Raises:
            UserError: the message alone does not fit into the context.
        """
        message: Message = {"role": "user", "content": text}
        room = prompt_room(self.backend)
        prompt, dropped = fit_turns(self.backend.render_chat, [*self.messages, message], room)
        turns = [*self.turns, message][dropped:]
        result = self.backend.generate(prompt, on_text)
        self.notes = notes_on(result, self.backend)
        if dropped:
            note = f"the oldest {dropped} messages are forgotten"
            self.notes.insert(0, f"the conversation outgrew the context: {note}")
        self.question, self.before = text, turns[:-1]
        if result.text.strip():  # without an answer, it is as if nothing had been asked
            self.turns = [*turns, {"role": "assistant", "content": result.text}]
        return result

    def regenerate(self, on_text: OnText) -> GenerationResult:
        """Answers the last message once more; the new answer replaces the old one.

        Raises:
            UserError: there was none.
        """
        if not self.question:
            raise UserError("there is no answer yet that could be made again: write a message")
        turns, self.turns = self.turns, self.before
        try:
            return self.ask(self.question, on_text)
        except UserError:  # a longer system prompt, say
            self.turns = turns
            raise

    def clear(self) -> str:
        """Forgets the turns, not the system prompt; returns a line that says so."""
        self.resume([])
        return "a new conversation"

    def resume(self, turns: Sequence[Message]) -> None:
        """Continues another conversation.

        Args:
            turns: of user and assistant, complete exchanges.
        """
        self.turns = list(turns)
        self.question = self.turns[-2]["content"] if self.turns else ""
        self.before = self.turns[:-2]


class CompletionSession:
    """Texts continued by a pretrained model, each independent of the others."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.notes: list[str] = []
        self.text: str | None = None
        """The last text, for another continuation."""

    def ask(self, text: str, on_text: OnText) -> GenerationResult:
        """Continues a text; of one that is too long, its end."""
        self.text = text
        prompt, room = self.backend.render_text(text), prompt_room(self.backend)
        result = self.backend.generate(prompt[-room:], on_text)
        self.notes = notes_on(result, self.backend)
        if len(prompt) > room:
            note = f"the text has {len(prompt)} tokens: only the last {room} were read"
            self.notes.insert(0, note)
        return result

    def regenerate(self, on_text: OnText) -> GenerationResult:
        """Continues the last text once more.

        Raises:
            UserError: there was none.
        """
        if self.text is None:
            raise UserError("there is no text yet that could be continued again: write one")
        return self.ask(self.text, on_text)

    def clear(self) -> str:
        """Nothing is kept between texts."""
        return "each text is continued independently: there is nothing to forget"


Session = ChatSession | CompletionSession


def open_session(backend: Backend, config: TransformersChatConfig) -> Session:
    """The session that fits a model: a chat, or the continuation of texts.

    Raises:
        UserError: a system prompt for a model that only continues texts, or an empty one.
    """
    if not backend.is_chat:
        if config.system is not None:
            raise UserError(
                f"--system: {config.model_dir} is a pretrained model, which only continues texts; "
                "leave --system out, or name a fine-tuned model with --model_dir"
            )
        return CompletionSession(backend)
    system = (config.system or "").strip()
    if config.system is not None and not system:
        raise UserError("--system is empty: write what the model should be, or leave it out")
    return ChatSession(backend, readable(system))


def prompt_room(backend: Backend) -> int:
    """Most tokens of a prompt, so that a quarter of the context is left for an answer (less when
    max_tokens is less)."""
    return backend.context - max(1, min(backend.sampling.max_tokens, backend.context // 4))


def notes_on(result: GenerationResult, backend: Backend) -> list[str]:
    """What the user should know about the end of an answer."""
    if result.finish_reason == "cancelled":
        return ["stopped"]
    if result.finish_reason == "stop":
        return [] if result.text.strip() else ["the model has nothing to say to this"]
    if result.cut_by == "max_tokens":
        return [f"cut after --max_tokens {backend.sampling.max_tokens}"]
    return [f"cut: the context of {backend.context} tokens is full"]


def save_conversation(path: Path, messages: Sequence[Message]) -> None:
    """Writes a conversation to a file, which is replaced as a whole or not at all.

    Raises:
        UserError: it cannot be written.
    """
    text = json.dumps({"conversations": list(messages)}, ensure_ascii=False, indent=2)
    try:
        part = path.with_name(f"{path.name}.part")
        part.write_text(text + "\n", encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise UserError(f"{path}: it cannot be written ({error.strerror})") from error
    except ValueError as error:  # "/", "."
        raise UserError(f"{path}: this is no name of a file") from error


def load_conversation(path: Path) -> list[Message]:
    """Reads a conversation: maybe a system turn, then exchanges; a question without an answer at
    the end is left out.

    Raises:
        UserError: it cannot be read, or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UserError(f"{path}: it cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, or no end of brackets
        raise UserError(f"{path}: this is no conversation in JSON ({error})") from error
    messages = content.get("conversations") if isinstance(content, dict) else None
    if problem := check_messages(messages):
        raise UserError(f"{path}: {problem}")
    found: list[Message] = [
        {"role": message["role"], "content": message["content"]} for message in messages or []
    ]
    return found[:-1] if found[-1]["role"] == "user" else found
