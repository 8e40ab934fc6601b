"""A chat in the terminal: message after message, or one answer and no more; text, or JSON for
scripts; and the commands that begin with a slash."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from config import SamplingConfig, UserError
from inference.engine.answers import GenerationResult, chat_logprobs
from inference.settings import TransformersChatConfig
from inference.terminal.backends import Backend
from inference.terminal.console import (
    ReadLine,
    hidden_keys,
    notify,
    open_input,
    prepare_streams,
    readable,
    show,
    show_note,
    view_tokens,
)
from inference.terminal.session import (
    ChatSession,
    Session,
    load_conversation,
    open_session,
    save_conversation,
)
from model.answer_parts import Part
from model.conversation import said
from terminal import output_is_the_result

ALTERNATIVES = 5
"""Alternatives to a token that /tokens shows."""

KEYS = """\
/exit               leave (as does Ctrl-D, or Ctrl-C twice)
Alt-Enter           a new line in a message
Ctrl-C              stop the answer"""


@dataclass
class ChatState:
    """A session at a terminal."""

    session: Session
    last: GenerationResult | None = None
    """The last answer."""
    own_files: set[Path] = field(default_factory=set)
    """Files of this conversation, which may be written again."""
    failed: bool = False
    """Whether a message or a command was refused."""


def run_chat(backend: Backend, config: TransformersChatConfig) -> int:
    """A chat in the terminal; with a prompt, one answer.

    Args:
        backend: the model.
        config: the flags.

    Returns:
        The exit code: of a pipe, 2 when one of its lines was refused.

    Raises:
        UserError: the flags do not fit the model, or the prompt does not fit the context.
    """
    prepare_streams()
    person = sys.stdin.isatty() and config.prompt is None and not config.json
    if not person:
        output_is_the_result()
    else:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # ends an answer, not the chat
    if person:  # for /tokens; they cost a little, so a script gets them only when it asks
        backend.top_logprobs = ALTERNATIVES
    state = ChatState(open_session(backend, config))
    answer = answer_in_json if config.json else answer_in_text
    if config.prompt is not None:
        if backend.is_chat and not config.prompt.strip():
            raise UserError("--prompt is empty: write a message, or leave it out to chat")
        answer(state, readable(config.prompt))
        if state.last and state.last.finish_reason == "cancelled":
            raise KeyboardInterrupt
        return 0
    if person:
        kind = "" if backend.is_chat else "A pretrained model: it continues what you write. "
        notify(backend.title, f"{kind}/help shows the commands, Ctrl-D leaves.")
    with hidden_keys() if person else nullcontext():
        converse(state, open_input(), config.json)
    return 2 if state.failed and not person else 0


def converse(state: ChatState, read: ReadLine, as_json: bool) -> None:
    """Answers message after message, until the input ends or the user leaves."""
    warned = False  # the last thing that happened was a Ctrl-C at the prompt
    while True:
        try:
            text = read()
            warned = False
            if text is None or command_of(text.strip()) == "/exit":
                return
            respond(state, text, as_json)
        except KeyboardInterrupt:
            if warned:
                notify("")
                return
            warned = True
            notify("", "Ctrl-C again leaves, as does Ctrl-D.")


def respond(state: ChatState, text: str, as_json: bool) -> None:
    """Answers a message, or runs it as a command."""
    line = text.strip()
    try:
        if command_of(line):
            run_command(state, line)
        elif line and as_json:
            answer_in_json(state, text)
        elif line:
            if not state.session.backend.is_chat and sys.stdin.isatty():
                show(text)  # so that it reads as one with its continuation
            answer_in_text(state, text)
    except UserError as error:
        state.failed = True
        if as_json:  # a script waits for a line a message
            print(json.dumps({"error": str(error)}, ensure_ascii=False), flush=True)
        else:
            notify(str(error))


def answer_in_text(state: ChatState, text: str) -> None:
    """Writes an answer as it comes."""
    if not state.session.keep_result(text):
        state.last = state.session.ask(text, AnswerView().show)
        print(flush=True)
    notify(*state.session.notes)


@dataclass
class AnswerView:
    """Shows the parts of an answer: text as output, thoughts and calls as notes."""

    last: str = ""

    def show(self, part: Part) -> None:
        """Shows what has come."""
        if part.kind == "call":
            notify(f"calls {part.name}({part.text})")
        elif part.kind == "result":
            notify(f"its result: {part.text}")
        elif part.kind == "reasoning_content":
            show_note(part.text)
        else:
            if self.last == "reasoning_content":
                notify("")
            show(part.text)
        self.last = part.kind


def answer_in_json(state: ChatState, text: str) -> None:
    """Writes an answer as a line of JSON when it is complete."""
    session = state.session
    if session.keep_result(text):
        print(json.dumps({"notes": session.notes}, ensure_ascii=False), flush=True)
        return
    parts: list[Part] = []
    result = state.last = session.ask(text, parts.append)
    answer = session.answer if isinstance(session, ChatSession) else {"content": result.text}
    more = {key: answer[key] for key in ("reasoning_content", "tool_calls") if key in answer}
    if calls := calls_that_ran(parts):
        more["calls"] = calls
    reply = {
        "text": answer["content"],
        **more,
        "finish_reason": result.finish_reason,
        "usage": {
            "prompt_tokens": result.prompt_tokens,
            "cached_tokens": result.cached_tokens,
            "completion_tokens": len(result.tokens),
            "total_tokens": result.prompt_tokens + len(result.tokens),
        },
        "seconds": round(result.seconds, 4),
        "tokens_per_second": round(result.tokens_per_second, 1),
        "notes": session.notes,
    }
    if session.backend.top_logprobs is not None and result.tokens:
        reply["tokens"] = chat_logprobs(result.tokens, session.backend.token_bytes)
    print(json.dumps(reply, ensure_ascii=False), flush=True)


def calls_that_ran(parts: Sequence[Part]) -> list[dict[str, Any]]:
    """The calls of an answer that have results, with them."""
    calls, results = ([p for p in parts if p.kind == kind] for kind in ("call", "result"))
    return [
        {"name": call.name, "arguments": json.loads(call.text), "result": result.text}
        for call, result in zip(calls, results, strict=False)
    ]


def run_command(state: ChatState, line: str) -> None:
    """Runs a line that begins with a slash.

    Raises:
        UserError: it cannot be done.
    """
    name, argument = command_of(line), " ".join(line.split(maxsplit=1)[1:])
    if name not in COMMANDS:
        raise UserError(f"there is no {name}; /help shows the commands")
    usage, _, _ = (COMMANDS[name].__doc__ or "").partition("  ")
    if argument and usage == name:
        raise UserError(f"{name} stands alone, without {argument!r:.60}; /help shows the commands")
    COMMANDS[name](state, argument)


def command_of(line: str) -> str:
    """The command of a line, /word, maybe with an argument on the same line; empty when the line is
    a message."""
    name = line.split(maxsplit=1)[0] if line else ""
    is_command = name.startswith("/") and name[1:].isalpha() and "\n" not in line
    return name.lower() if is_command else ""


def show_help(state: ChatState, argument: str) -> None:
    """/help               show this"""
    notify(*(command.__doc__ or "" for command in COMMANDS.values()), *KEYS.splitlines())


def clear(state: ChatState, argument: str) -> None:
    """/clear              begin a new conversation"""
    state.last = None
    state.own_files.clear()
    notify(state.session.clear())


def chat_of(state: ChatState) -> ChatSession:
    """The conversation of a chat model."""
    if not isinstance(state.session, ChatSession):
        raise UserError("a pretrained model only continues texts: it has no conversation")
    return state.session


def set_system(state: ChatState, argument: str) -> None:
    """/system TEXT        set the system prompt (alone: show it; none: remove it)"""
    chat = chat_of(state)
    if argument:
        chat.system = "" if argument == "none" else readable(argument)
    notify(f"system prompt: {chat.system}" if chat.system else "there is no system prompt")


def set_temperature(state: ChatState, argument: str) -> None:
    """/temperature NUMBER how random the answers are; 0: always the likeliest token"""
    set_value(state, f"temperature {argument}")


def set_value(state: ChatState, argument: str) -> None:
    """/set NAME VALUE     any setting of sampling (alone: show them)"""
    sampling = state.session.backend.sampling
    name, _, value = argument.partition(" ")
    known = [f.name for f in dataclasses.fields(sampling)]
    if name and name not in known:
        raise UserError(f"there is no setting {name}: choose one of {', '.join(known)}")
    if value:
        changed = replace(sampling, **{name: number_of(name, value.strip())})
        if problems := changed.problems():
            raise UserError("; ".join(problems))
        state.session.backend.sampling = sampling = changed
    for shown in [name] if name else known:
        notify(f"{shown} = {getattr(sampling, shown)}")


def number_of(name: str, value: str) -> Any:
    """A setting's value from its text."""
    if name == "seed" and value == "none":
        return None
    is_float = isinstance(getattr(SamplingConfig(), name), float)
    try:
        return float(value) if is_float else int(value)
    except ValueError as error:
        kind = "a number" if is_float else "a whole number"
        raise UserError(f"{name} must be {kind}, not {value!r:.60}") from error


def regenerate(state: ChatState, argument: str) -> None:
    """/regenerate         another answer in the place of the last one"""
    state.last = state.session.regenerate(AnswerView().show)
    print(flush=True)
    notify(*state.session.notes)
    if state.session.backend.sampling.seed is not None:
        notify("the seed is fixed, so the answer is the same: /set seed none")


def show_tokens(state: ChatState, argument: str) -> None:
    """/tokens             the last answer's tokens, their probabilities and alternatives"""
    if state.last is None:
        raise UserError("there is no answer yet: write something first")
    tokens = state.last.tokens
    if not tokens or tokens[0].logprob is None:
        asked = state.session.backend.top_logprobs is not None
        remedy = "it has none" if asked else "scripts get them by --json --logprobs 5"
        raise UserError(f"nothing is known about the tokens of the last answer: {remedy}")
    notify(*view_tokens(tokens, state.session.backend.token_bytes), style="")
    notify(f"{len(tokens)} tokens, {state.last.tokens_per_second:.0f} tokens/s")


def give_up_calls(state: ChatState, argument: str) -> None:
    """/none               no result for a call: forget the question that led to it"""
    notify(chat_of(state).give_up_calls())


def save(state: ChatState, argument: str) -> None:
    """/save FILE          keep the conversation"""
    messages = chat_of(state).messages
    path = path_of(argument, "/save")
    if not chat_of(state).turns:
        raise UserError("there is nothing to save yet: write something first")
    if os.path.lexists(path) and path.resolve() not in state.own_files:
        raise UserError(f"{path} is there already: choose another name")
    save_conversation(path, messages)
    state.own_files.add(path.resolve())
    notify(f"saved as {path}")


def load(state: ChatState, argument: str) -> None:
    """/load FILE          go on from one that was kept"""
    chat = chat_of(state)
    path = path_of(argument, "/load")
    messages = load_conversation(path)
    has_system = messages[:1] and messages[0]["role"] == "system"
    chat.system = messages[0]["content"] if has_system else ""
    chat.resume(messages[1:] if has_system else messages)
    state.last, state.own_files = None, {path.resolve()}
    for message in chat.messages:
        notify(f"{message['role']}: {said(message)}")


def path_of(argument: str, command: str) -> Path:
    """The file that a command names."""
    if not argument:
        raise UserError(f"name a file: {command} talk.json")
    try:
        return Path(argument.replace("\0", "")).expanduser()
    except RuntimeError as error:
        raise UserError(f"{argument}: there is no such home directory") from error


COMMANDS: dict[str, Callable[[ChatState, str], None]] = {
    "/system": set_system,
    "/temperature": set_temperature,
    "/set": set_value,
    "/regenerate": regenerate,
    "/tokens": show_tokens,
    "/none": give_up_calls,
    "/save": save,
    "/load": load,
    "/clear": clear,
    "/help": show_help,
}
"""The docstring of a command is its line of /help."""
