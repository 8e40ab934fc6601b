"""Conversations as others write them, brought to ours: one system turn at most, then user and
assistant in turn, an assistant's turn last.

Nothing is invented. Where a conversation cannot be kept as it is, this is done, and counted:

- Turns of one role in a row are joined, with a blank line between them: they were one turn that was
  sent in pieces.
- An assistant's turns before the first user's are left out: what they answer is not there.
- The conversation ends before the first exchange that has an empty turn, a content that is no text
  (an image), a call of a tool or its result, or a second system turn: an answer that rests on
  something the model cannot see teaches it to invent.
- A user's turns at the end are left out: there is no answer to learn.
- When nothing is left, the conversation is dropped, with the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from data_process.records.jsonl import BadLine
from data_process.records.kinds import described, shortened
from model.chat import Message

ROLES = {
    "user": "user human prompter question 用户 问",
    "assistant": "assistant gpt chatgpt bot bard bing model answer 助手 答",
    "system": "system developer 系统",
    "tool": "tool function observation function_call function_response tool_call tool_response",
}
"""What others call the roles; upper and lower case are one."""
ROLE_OF = {name: role for role, names in ROLES.items() for name in names.split()}
CALLS = ("tool_calls", "function_call")

TOOL = "a tool message"
EMPTY = "an empty turn"
NO_TEXT = "a content that is no text"
SYSTEM = "a second system turn"


class Turn(NamedTuple):
    """A turn, and what is in the way of keeping it."""

    role: str
    content: str
    trouble: str | None = None


class Tidied(NamedTuple):
    """What became of a conversation."""

    messages: list[Message]
    """Empty when it is dropped."""
    reason: str | None
    """Why it is dropped."""
    changes: list[str]
    """What was done to it."""


def read_turns(messages: object) -> list[Turn]:
    """The turns of a list of messages, {"role", "content"} or {"from", "value"}.

    Raises:
        BadLine: it is none; told without a place.
    """
    if not isinstance(messages, list):
        raise BadLine(f"a conversation must be a list of messages, not {described(messages)}")
    return [read_turn(message, number) for number, message in enumerate(messages, 1)]


def read_turn(message: object, number: int) -> Turn:
    """One message; BadLine when it is none."""
    if not isinstance(message, dict):
        raise BadLine(f"message {number} must be an object, not {described(message)}")
    name = message.get("role", message.get("from"))
    role = ROLE_OF.get(name.lower()) if isinstance(name, str) else None
    if role is None:
        wrong = shortened(repr(name))
        raise BadLine(f"message {number} has the role {wrong}: known are {', '.join(ROLE_OF)}")
    if any(message.get(key) for key in CALLS):
        role = "tool"
    content = message.get("content", message.get("value"))
    if role == "tool":
        return Turn(role, "", TOOL)
    return with_text(role, content, number)


def with_text(role: str, content: object, number: int) -> Turn:
    """A turn by its content: a text, or a list of parts as in OpenAI's API."""
    if isinstance(content, list):
        parts = [part.get("text") if isinstance(part, dict) else part for part in content]
        if not all(isinstance(part, str) for part in parts):
            return Turn(role, "", NO_TEXT)
        content = "\n".join(map(str, parts))
    if content is None:
        content = ""
    if not isinstance(content, str):
        raise BadLine(f"message {number} needs a content that is text, not {described(content)}")
    return Turn(role, content, None if content.strip() else EMPTY)


def tidy(turns: Sequence[Turn]) -> Tidied:
    """Brings turns to our form; see the module's docstring."""
    changes: list[str] = []
    beginning = leading(turns, "system")
    head = [turn.content for turn in beginning if not turn.trouble]
    if len(head) < len(beginning):
        changes.append("changed: a system turn without a text left out")
    rest = list(turns[len(beginning) :])
    trouble = next(
        (n for n, turn in enumerate(rest) if turn.trouble or turn.role == "system"), None
    )
    what = None
    if trouble is not None:
        what = rest[trouble].trouble or SYSTEM
        rest = rest[:trouble]
    if unasked := len(leading(rest, "assistant")):
        changes.append("changed: assistant's turns before the first user's left out")
        rest = rest[unasked:]
    while rest and rest[-1].role == "user":
        rest.pop()
        if what is None:
            what = "a user's turn without an answer"
    messages = joined(rest)
    if not messages:
        return Tidied([], f"nothing to learn before {what}" if what else "no answer in it", [])
    if what:
        changes.append(f"changed: ends before {what}")
    if len(messages) < len(rest):
        changes.append("changed: turns of one role in a row joined")
    system: list[Message] = [{"role": "system", "content": "\n\n".join(head)}] if head else []
    return Tidied(system + messages, None, changes)


def leading(turns: Sequence[Turn], role: str) -> list[Turn]:
    """The turns of a role with which a conversation begins."""
    count = next((n for n, turn in enumerate(turns) if turn.role != role), len(turns))
    return list(turns[:count])


def joined(turns: Sequence[Turn]) -> list[Message]:
    """Messages, those of one role in a row as one."""
    return [
        {"role": role, "content": "\n\n".join(turn.content for turn in run)}
        for role, run in groupby(turns, key=lambda turn: turn.role)
    ]
