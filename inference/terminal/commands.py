"""What a person can tell a chat to do, beside talking: the lines that begin with a slash."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from config import SamplingConfig, UserError
from inference.terminal.console import show, tell
from inference.terminal.conversation_file import load_conversation, save_conversation
from inference.terminal.session import ChatSession, Reply, Session, readable
from inference.terminal.token_view import view_tokens

ALTERNATIVES = 5
"""Alternatives to a token that /tokens can tell."""

HELP = """\
/system TEXT        tell the model what to be (alone: show it; none: forget it)
/temperature NUMBER how daring it is; 0: always the likeliest
/set NAME VALUE     any setting of sampling (alone: show them)
/regenerate         another answer in the place of the last one
/tokens             the last answer's tokens, their probabilities and alternatives
/save FILE          keep the conversation
/load FILE          go on from one that was kept
/clear              begin a new conversation
/help               show this
/exit               leave (as does Ctrl-D, or Ctrl-C twice)
Alt-Enter           a new line in a message
Ctrl-C              stop the answer"""


@dataclass
class Talk:
    """A session at a terminal."""

    session: Session
    top_logprobs: int | None = None
    """What to ask the model for beside text."""
    last: Reply | None = None
    """The last answer."""
    own_files: set[Path] = field(default_factory=set)
    """Files of this conversation, which may be written again."""


def obey(talk: Talk, line: str) -> None:
    """Does what a line with a slash says.

    Raises:
        UserError: it cannot be done.
    """
    name, _, argument = line.partition(" ")
    if name not in COMMANDS:
        raise UserError(f"there is no {name}; /help shows the commands")
    COMMANDS[name](talk, argument.strip())


def is_command(line: str) -> bool:
    """Whether a line is meant for the chat, not for the model: /word, maybe with something after
    it on the same line."""
    name = line.partition(" ")[0]
    return name.startswith("/") and name[1:].isalpha() and "\n" not in line


def show_help(talk: Talk, argument: str) -> None:
    """/help"""
    tell(*HELP.splitlines())


def clear(talk: Talk, argument: str) -> None:
    """/clear"""
    talk.last = None
    talk.own_files.clear()
    tell(talk.session.clear())


def chat_of(talk: Talk) -> ChatSession:
    """The conversation, where there is one."""
    if not isinstance(talk.session, ChatSession):
        raise UserError("a pretrained model only continues texts: it has no conversation")
    return talk.session


def set_system(talk: Talk, argument: str) -> None:
    """/system TEXT"""
    chat = chat_of(talk)
    if argument:
        chat.system = "" if argument == "none" else readable(argument)
    tell(f"system prompt: {chat.system}" if chat.system else "there is no system prompt")


def set_temperature(talk: Talk, argument: str) -> None:
    """/temperature NUMBER"""
    set_value(talk, f"temperature {argument}")


def set_value(talk: Talk, argument: str) -> None:
    """/set NAME VALUE"""
    sampling = talk.session.speaker.sampling
    name, _, value = argument.partition(" ")
    known = [f.name for f in dataclasses.fields(SamplingConfig)]
    if name and name not in known:
        raise UserError(f"there is no setting {name}: choose one of {', '.join(known)}")
    if value:
        changed = replace(sampling, **{name: number_of(name, value.strip())})
        if problems := changed.problems():
            raise UserError("; ".join(problems))
        talk.session.speaker.sampling = sampling = changed
    for shown in [name] if name else known:
        tell(f"{shown} = {getattr(sampling, shown)}")


def number_of(name: str, value: str) -> Any:
    """A setting's value from its text."""
    if name == "seed" and value == "none":
        return None
    try:
        return float(value) if isinstance(getattr(SamplingConfig(), name), float) else int(value)
    except ValueError as error:
        raise UserError(f"{name} must be a number, not {value!r}") from error


def regenerate(talk: Talk, argument: str) -> None:
    """/regenerate"""
    talk.last = talk.session.answer_again(show, talk.top_logprobs)
    print(flush=True)
    tell(*talk.last.notes)
    if talk.session.speaker.sampling.seed is not None:
        tell("the seed is fixed, so the answer is the same: /set seed none")


def show_tokens(talk: Talk, argument: str) -> None:
    """/tokens"""
    if talk.last is None:
        raise UserError("there is no answer yet: write something first")
    speech, speaker = talk.last.speech, talk.session.speaker
    if not speech.tokens:
        asked = talk.top_logprobs is not None
        remedy = "it has none" if asked else "scripts get them by --json --logprobs 5"
        raise UserError(f"nothing is known about the tokens of the last answer: {remedy}")
    tell(*view_tokens(speech.tokens, speaker.spell), style="")
    tell(f"{speech.completion_tokens} tokens, {speech.tokens_per_second:.0f} tokens/s")


def save(talk: Talk, argument: str) -> None:
    """/save FILE"""
    messages = chat_of(talk).messages
    path = path_of(argument, "/save")
    if not chat_of(talk).turns:
        raise UserError("there is nothing to save yet: write something first")
    if path.exists() and path.resolve() not in talk.own_files:
        raise UserError(f"{path} is there already: choose another name")
    save_conversation(path, messages)
    talk.own_files.add(path.resolve())
    tell(f"saved as {path}")


def load(talk: Talk, argument: str) -> None:
    """/load FILE"""
    chat = chat_of(talk)
    path = path_of(argument, "/load")
    messages = load_conversation(path)
    has_system = messages[:1] and messages[0]["role"] == "system"
    chat.system = messages[0]["content"] if has_system else ""
    chat.take_up(messages[1:] if has_system else messages)
    talk.last, talk.own_files = None, {path.resolve()}
    for message in chat.messages:
        tell(f"{message['role']}: {message['content']}")


def path_of(argument: str, command: str) -> Path:
    """A file's name from a line."""
    if not argument:
        raise UserError(f"name a file: {command} talk.json")
    return Path(argument).expanduser()


COMMANDS: dict[str, Callable[[Talk, str], None]] = {
    "/help": show_help,
    "/clear": clear,
    "/system": set_system,
    "/temperature": set_temperature,
    "/set": set_value,
    "/regenerate": regenerate,
    "/tokens": show_tokens,
    "/save": save,
    "/load": load,
}
