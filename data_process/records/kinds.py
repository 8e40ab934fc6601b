"""What a record may be, and everything that is wrong with one.

{"text": "..."}                                                    a text
{"conversations": [{"role": "user", "content": "..."}, ...]}       a conversation
{"id", "language", "category", "messages", "accepted"}             a question with its answers
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Literal

from model.chat import message_problems

Kind = Literal["text", "conversations", "questions", "any"]
QUESTION_FIELDS = ("id", "language", "category", "messages", "accepted")
TEXT_EXAMPLE = '{"text": "..."}'
CONVERSATION_EXAMPLE = (
    '{"conversations": [{"role": "user", "content": "..."}, {"role": "assistant", ...}]}'
)


def kind_of(record: dict[str, Any]) -> Kind:
    """What a record is meant to be, by its keys."""
    if "conversations" in record:
        return "conversations"
    if "text" in record:
        return "text"
    return "questions" if all(name in record for name in QUESTION_FIELDS) else "any"


def text_problems(record: dict[str, Any]) -> Iterator[str]:
    """What is wrong with a record as a text to learn from."""
    text = record.get("text")
    if not isinstance(text, str):
        yield from document_problems(record)
    elif not text.strip():
        yield '"text" is empty; it must be a non-empty string'


def document_problems(record: dict[str, Any]) -> Iterator[str]:
    """What is wrong with a record as a document to work on, which may be empty."""
    if "text" not in record:
        yield f"found {described(record)}; a line must be {TEXT_EXAMPLE}"
    elif not isinstance(record["text"], str):
        yield f'"text" is a {type(record["text"]).__name__}; it must be a non-empty string'


def conversation_problems(record: dict[str, Any]) -> Iterator[str]:
    """What is wrong with a record as a conversation to learn from."""
    if "conversations" not in record:
        yield f"found {described(record)}; a line must be {CONVERSATION_EXAMPLE}"
        return
    messages = record["conversations"]
    found = list(message_problems(messages))
    yield from found
    if not found and not any(message["role"] == "assistant" for message in messages):
        yield "no assistant's turn, so nothing to learn; add one"


def question_problems(record: dict[str, Any]) -> Iterator[str]:
    """What is wrong with a record as a question; see data_process/sample/evaluation.py."""
    if any(name not in record for name in QUESTION_FIELDS):
        yield f"a question needs the fields {', '.join(QUESTION_FIELDS)}"
        return
    found = list(message_problems(record["messages"]))
    yield from found
    if not found and record["messages"][-1]["role"] != "user":
        yield "the messages must end with a user's turn"


def no_problems(record: dict[str, Any]) -> Iterator[str]:
    """Any JSON object will do."""
    return iter(())


PROBLEMS: dict[Kind, Callable[[dict[str, Any]], Iterator[str]]] = {
    "text": text_problems,
    "conversations": conversation_problems,
    "questions": question_problems,
    "any": no_problems,
}
"""Finds everything that is wrong with a record, by what it should be."""


def messages_of(record: dict[str, Any]) -> list[tuple[str, str]]:
    """Role and content of the turns of a conversation or a question; malformed ones are skipped."""
    messages = record.get("conversations", record.get("messages"))
    found = [m for m in messages if isinstance(m, dict)] if isinstance(messages, list) else []
    pairs = [(message.get("role"), message.get("content")) for message in found]
    return [(r, c) for r, c in pairs if isinstance(r, str) and isinstance(c, str)]


def text_of(record: dict[str, Any]) -> str:
    """All that a record says: its text, or its turns, or its values that are text; a line each."""
    text = record.get("text")
    if isinstance(text, str):
        return text
    if messages := messages_of(record):
        return "\n".join(content for _, content in messages)
    return "\n".join(value for value in record.values() if isinstance(value, str))


def content_of(record: dict[str, Any]) -> bytes:
    """What makes two records the same: their text or turns, else all of them."""
    if messages := messages_of(record):
        value: object = messages
    else:
        value = record["text"] if isinstance(record.get("text"), str) else record
    return json.dumps(value, ensure_ascii=True, sort_keys=True).encode("ascii")


def described(record: object) -> str:
    """What a record is, in a few words, for a message."""
    if not isinstance(record, dict):
        return type(record).__name__
    names = [shortened(name) for name in list(record)[:5]]
    return f"the keys {names}" + (" and more" if len(record) > 5 else "")


def shortened(text: str, longest: int = 40) -> str:
    """A text, or its first characters, for a message."""
    return text if len(text) <= longest else text[:longest] + "..."
