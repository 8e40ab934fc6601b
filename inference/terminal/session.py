"""A conversation: its turns, what of them still fits into the model's context, and its file.

Files hold JSON in the form of the training data, as the web page exports it too:
{"conversations": [{"role": "user", "content": "..."}, {"role": "assistant", "content": ...}]}
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from config import UserError
from inference.engine.answers import GenerationResult
from inference.settings import TransformersChatConfig
from inference.terminal.backends import Backend
from inference.terminal.console import readable
from inference.terminal.tool_calls import MOST_ROUNDS, Functions, load_functions, run_call
from model.answer_parts import THOUGHT, AnswerParser, Part, call_form, has_thoughts
from model.chat import check_messages, fit_turns, tool_problems
from model.conversation import Message, Tool

OnPart = Callable[[Part], object]
"""Takes the parts of an answer as they come."""


class ChatSession:
    """A conversation with a chat model."""

    def __init__(
        self,
        backend: Backend,
        system: str | None,
        tools: Sequence[Tool] = (),
        options: Mapping[str, Any] = {},  # never changed
        functions: Functions | None = None,
    ) -> None:
        self.backend = backend
        self.system = system or ""
        self.tools, self.options, self.functions = tools, options, functions or {}
        self.waiting: list[dict[str, Any]] = []
        """Calls of the last answer that have no result yet: the next messages are theirs."""
        self.turns: list[Message] = []
        self.notes: list[str] = []
        """What the user should know about the last answer: left-out turns, a cut."""
        self.question: Message | None = None
        """The last message, for another answer."""
        self.before: list[Message] = []
        """The turns before it."""
        self.answer: Message = {"role": "assistant", "content": ""}
        """The last answer, in its parts."""

    @property
    def messages(self) -> list[Message]:
        """The conversation with its system prompt."""
        system: list[Message] = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, *self.turns]

    def keep_result(self, text: str) -> bool:
        """Keeps the result of a call when another call waits for its own; whether that is so."""
        if len(self.waiting) < 2:
            return False
        call, *self.waiting = self.waiting
        self.turns = [*self.turns, result_of(call, text)]
        self.notes = [waiting_note(self.waiting)]
        return True

    def ask(self, text: str, on_part: OnPart) -> GenerationResult:
        """Answers a message, or the result of the last call; `on_part` gets the answer as it comes.

        When the conversation outgrows the context, the oldest turns go first. An answer stopped by
        Ctrl-C stays in the conversation as far as it came.

        Raises:
            UserError: the message alone does not fit into the context.
        """
        message: Message = {"role": "user", "content": text}
        return self.respond(result_of(self.waiting[0], text) if self.waiting else message, on_part)

    def respond(self, message: Message, on_part: OnPart) -> GenerationResult:
        """Answers the turns with a message behind them; calls that can be run are run, and the
        model goes on with their results."""
        result = self.respond_once(message, on_part)
        for _ in range(MOST_ROUNDS):
            if not (self.functions and self.waiting) or result.finish_reason == "cancelled":
                break
            *earlier, last = [run_call(self.functions, call) for call in self.waiting]
            for found in (*earlier, last):
                on_part(Part("result", found["content"]))
            self.turns = [*self.turns, *earlier]
            result = self.respond_once(last, on_part)
        return result

    def respond_once(self, message: Message, on_part: OnPart) -> GenerationResult:
        """Answers the turns with a message behind them."""
        room = prompt_room(self.backend)
        prompt, dropped = fit_turns(self.render, [*self.messages, message], room)
        turns = [*self.turns, message][dropped:]
        result, self.answer = self.generate(prompt, on_part)
        self.notes = notes_on(result, self.backend)
        if dropped:
            note = f"the oldest {dropped} messages are forgotten"
            self.notes.insert(0, f"the conversation outgrew the context: {note}")
        self.question, self.before = message, turns[:-1]
        self.waiting = list(self.answer.get("tool_calls", []))
        if self.waiting:
            self.notes.append(waiting_note(self.waiting))
        if result.text.strip():  # without an answer, it is as if nothing had been asked
            self.turns = [*turns, self.answer]
        return result

    def render(self, messages: Sequence[Message]) -> list[int]:
        """The prompt of a conversation."""
        return self.backend.render_chat(messages, self.tools, self.options)

    def generate(self, prompt: list[int], on_part: OnPart) -> tuple[GenerationResult, Message]:
        """An answer as it was generated, and in its parts."""
        template = self.backend.template
        names = [tool["function"]["name"] for tool in self.tools]
        form = call_form(template) if names else None
        is_thought = self.backend.decode(prompt[-8:]).rstrip().endswith(THOUGHT)
        parser = AnswerParser(form, names, has_thoughts(template), is_thought)
        parts: list[Part] = []

        def take(found: Iterable[Part]) -> None:
            for part in found:
                parts.append(part)
                on_part(part)

        result = self.backend.generate(prompt, lambda text: take(parser.step(text)))
        take(parser.finish())
        return result, self.message_of(parts)

    def message_of(self, parts: Sequence[Part]) -> Message:
        """The parts of an answer as a message."""
        texts = {
            kind: "".join(part.text for part in parts if part.kind == kind)
            for kind in ("content", "reasoning_content")
        }
        message: Message = {"role": "assistant", "content": texts["content"]}
        if texts["reasoning_content"]:
            message["reasoning_content"] = texts["reasoning_content"]
        before = sum(len(turn.get("tool_calls", [])) for turn in self.turns)
        calls = [part for part in parts if part.kind == "call"]
        if calls:
            message["tool_calls"] = [
                {
                    "id": f"call{number:05d}",
                    "type": "function",
                    "function": {"name": part.name, "arguments": part.text},
                }
                for number, part in enumerate(calls, before)
            ]
        return message

    def give_up_calls(self) -> str:
        """Goes back to before the question that has led to calls; returns a line that says so.

        Raises:
            UserError: no call waits for its result.
        """
        if not self.waiting:
            raise UserError("no call of a tool waits for its result")
        asked = [n for n, turn in enumerate(self.turns) if turn["role"] == "user"]
        self.resume(self.turns[: asked[-1]])
        return "the calls have no results: the question is forgotten"

    def regenerate(self, on_part: OnPart) -> GenerationResult:
        """Answers the last message once more; the new answer replaces the old one.

        Raises:
            UserError: there was none.
        """
        if not self.question:
            raise UserError("there is no answer yet that could be made again: write a message")
        turns, self.turns = self.turns, self.before
        try:
            return self.respond(self.question, on_part)
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
            turns: complete exchanges.
        """
        self.turns, self.waiting = list(turns), []
        self.question = self.turns[-2] if self.turns else None
        self.before = self.turns[:-2]


class CompletionSession:
    """Texts continued by a pretrained model, each independent of the others."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.notes: list[str] = []
        self.text: str | None = None
        """The last text, for another continuation."""

    def keep_result(self, text: str) -> bool:
        """Nothing is called."""
        return False

    def ask(self, text: str, on_part: OnPart) -> GenerationResult:
        """Continues a text; of one that is too long, its end."""
        self.text = text
        prompt, room = self.backend.render_text(text), prompt_room(self.backend)
        result = self.backend.generate(prompt[-room:], lambda text: on_part(Part("content", text)))
        self.notes = notes_on(result, self.backend)
        if len(prompt) > room:
            note = f"the text has {len(prompt)} tokens: only the last {room} were read"
            self.notes.insert(0, note)
        return result

    def regenerate(self, on_part: OnPart) -> GenerationResult:
        """Continues the last text once more.

        Raises:
            UserError: there was none.
        """
        if self.text is None:
            raise UserError("there is no text yet that could be continued again: write one")
        return self.ask(self.text, on_part)

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
    thinking = config.enable_thinking
    options = {} if thinking is None else {"enable_thinking": thinking}
    tools = read_tools(config.tools) if config.tools else []
    functions = load_functions(config.tool_file, tools) if config.tool_file else {}
    return ChatSession(backend, readable(system), tools, options, functions)


def read_tools(path: Path) -> list[Tool]:
    """The tools of a file.

    Raises:
        UserError: it cannot be read, or holds something else.
    """
    tools = read_json(path, "no list of tools")
    for problem in tool_problems(tools):
        raise UserError(f"{path}: {problem}")
    return list(tools)


def result_of(call: dict[str, Any], text: str) -> Message:
    """The result of a call as a message."""
    return {"role": "tool", "content": text, "tool_call_id": call["id"]}


def waiting_note(calls: Sequence[dict[str, Any]]) -> str:
    """What is waited for."""
    name = calls[0]["function"]["name"]
    return f"the next message is the result of {name} (/none: there is none)"


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
    content = read_json(path, "no conversation")
    messages = content.get("conversations") if isinstance(content, dict) else None
    if problem := check_messages(messages):
        raise UserError(f"{path}: {problem}")
    found: list[Message] = [
        {key: message[key] for key in MESSAGE_KEYS if message.get(key) is not None}  # type: ignore[misc]
        for message in messages or []
    ]
    ended = [n for n, turn in enumerate(found) if is_ended(turn)]
    return found[: ended[-1] + 1] if ended else []


MESSAGE_KEYS = ("role", "content", "reasoning_content", "tool_calls", "tool_call_id")


def is_ended(turn: Message) -> bool:
    """Whether a conversation may end with a turn: a system's, or an answer without calls."""
    return turn["role"] == "system" or (turn["role"] == "assistant" and not turn.get("tool_calls"))


def read_json(path: Path, what: str) -> Any:
    """What a file holds in JSON.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UserError(f"{path}: it cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, or no end of brackets
        raise UserError(f"{path}: this is {what} in JSON ({error})") from error
