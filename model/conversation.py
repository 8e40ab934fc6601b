"""A conversation as chat templates read it, and the texts in it that are not the template's own.

The form is OpenAI's: messages with role and content; of an assistant also `reasoning_content` (its
thoughts) and `tool_calls`; results of tools in messages of the role tool; beside them `tools`, what
may be called.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypedDict

from config import UserError

TEMPLATE = -1
"""The owner of what belongs to no message."""
HOLDER = "\ue000"
"""Encloses the number of a place holder."""
Tool = Mapping[str, Any]
"""What may be called: {"type": "function", "function": {"name", "description", "parameters"}}."""


class MessageOptions(TypedDict, total=False):
    """What a turn may have."""

    weight: int
    """0: an assistant's turn that is not trained; 1, or left out: one that is."""
    reasoning_content: str
    """What an assistant thinks before it answers."""
    tool_calls: list[dict[str, Any]]
    """What an assistant calls: [{"type": "function", "function": {"name", "arguments"}}];
    arguments are an object, or its JSON."""
    tool_call_id: str
    """Which call a tool's turn is the result of."""
    name: str
    """The tool whose result it is."""


class Message(MessageOptions):
    """One turn of a conversation."""

    role: str
    content: str


class Conversation(NamedTuple):
    """Messages, and what the template is given beside them."""

    messages: Sequence[Message]
    tools: Sequence[Tool] = ()
    """What may be called."""
    options: tuple[tuple[str, Any], ...] = ()
    """Other variables of the template, by their names, such as ("enable_thinking", False)."""


def as_conversation(given: Conversation | Sequence[Message]) -> Conversation:
    """A conversation; messages alone have no tools."""
    return given if isinstance(given, Conversation) else Conversation(given)


def said(message: Mapping[str, Any]) -> str:
    """All that a message says: thoughts, content, and calls in JSON."""
    calls = [call.get("function", call) for call in message.get("tool_calls") or []]
    written = [json.dumps(call, ensure_ascii=False) for call in calls]
    content = message.get("content") or ""
    if not written and not message.get("reasoning_content"):
        return str(content)
    return "\n".join(filter(None, [message.get("reasoning_content"), content, *written]))


PartName = Literal["content", "reasoning_content", "name", "other"]


class Leaf(NamedTuple):
    """A text that no template has written."""

    text: str
    owner: int
    """The message it stands in, from 0; TEMPLATE: it is of a tool's description."""
    part: PartName
    """Where it stands; name: of a tool."""

    def forms(self, is_answer: bool) -> tuple[str, ...]:
        """How a template may write it: as it is, trimmed or, where it is no answer's text, which
        would be made so too, escaped as in JSON."""
        text = self.text
        trimmed = (text.strip(), text.rstrip(), text.lstrip())
        forms = (text, *trimmed, text.strip("\n"), text.rstrip("\n"), text.lstrip("\n"))
        if is_answer and self.part in ("content", "reasoning_content"):
            return forms
        return (*forms, *(json.dumps(form, ensure_ascii=False)[1:-1] for form in forms[:2]))


@dataclass(frozen=True)
class Outline:
    """What a template is given, with place holders for texts."""

    turns: list[dict[str, Any]]
    tools: list[Any] | None
    leaves: list[Leaf]
    """The texts, by the numbers of their place holders. That of a beginning of the conversation
    are a beginning of them."""


def outline_of(conversation: Conversation, control: re.Pattern[str]) -> Outline:
    """A conversation with place holders for what its messages say, for names of tools, and for
    every text that spells a control token."""
    leaves: list[Leaf] = []

    def put(leaf: Leaf) -> str:
        is_other = leaf.part == "other"
        if not (control.search(leaf.text) or HOLDER in leaf.text if is_other else leaf.text):
            return leaf.text
        leaves.append(leaf)
        return f"{HOLDER}{len(leaves) - 1}{HOLDER}"

    turns, tools = with_texts(conversation, put)
    return Outline(turns, tools, leaves)


def with_texts(
    conversation: Conversation, put: Callable[[Leaf], str]
) -> tuple[list[dict[str, Any]], list[Any] | None]:
    """The messages and tools of a conversation as a template reads them, with other texts."""
    tools = [with_leaves(tool, put, TEMPLATE) for tool in conversation.tools]
    turns = template_turns(conversation.messages)
    for owner, turn in enumerate(turns):
        for part in ("reasoning_content", "content"):
            if turn.get(part):
                turn[part] = put(Leaf(turn[part], owner, part))
        for key in ("tool_calls", "tool_call_id", "name"):
            if key in turn:
                turn[key] = with_leaves(turn[key], put, owner)
    return turns, tools or None


def with_leaves(
    value: Any, put: Callable[[Leaf], str], owner: int, part: PartName = "other"
) -> Any:
    """A JSON value with other texts; the name of a function is known by where it stands."""
    if isinstance(value, str):
        return put(Leaf(value, owner, part))
    if isinstance(value, list):
        return [with_leaves(item, put, owner) for item in value]
    if not isinstance(value, dict):
        return value
    is_function = "arguments" in value or "parameters" in value or "description" in value
    return {
        put(Leaf(key, owner, "other")): with_leaves(
            item, put, owner, "name" if is_function and key == "name" else "other"
        )
        for key, item in value.items()
    }


def template_turns(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Messages as templates read them: arguments as objects, each call with an id, each result
    with that of its call, no key without a value."""
    turns: list[dict[str, Any]] = []
    calls = 0
    waiting: list[str] = []  # calls without a result
    for message in messages:
        turn: dict[str, Any] = {"role": message["role"], "content": message.get("content") or ""}
        if message["role"] == "assistant":
            waiting = []
            if thoughts := message.get("reasoning_content"):
                turn["reasoning_content"] = thoughts
            if made := message.get("tool_calls"):
                turn["tool_calls"] = [
                    called(call, f"call{n:05d}") for n, call in enumerate(made, calls)
                ]
                calls += len(made)
                waiting = [call["id"] for call in turn["tool_calls"]]
        elif message["role"] == "tool":
            given = message.get("tool_call_id") or (waiting[0] if waiting else None)
            waiting = [call for call in waiting if call != given]
            if given:
                turn["tool_call_id"] = given
            if name := message.get("name"):
                turn["name"] = name
        turns.append(turn)
    return turns


def called(call: Mapping[str, Any], default_id: str) -> dict[str, Any]:
    """A call with its arguments as an object, and an id: nine letters and digits, as Mistral's
    templates want it, where it has none."""
    function = call["function"]
    function = {"name": function["name"], "arguments": arguments_of(function)}
    return {"id": call.get("id") or default_id, "type": "function", "function": function}


def arguments_of(function: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call, an object or its JSON; UserError when they are neither."""
    arguments = function.get("arguments") or {}
    with suppress(ValueError):
        arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
    if not isinstance(arguments, dict):
        raise UserError(f"the arguments of a call must be a JSON object, not {arguments!r:.60}")
    return arguments
