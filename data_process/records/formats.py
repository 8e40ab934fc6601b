"""The ways in which others write training data, and how each becomes ours.

    alpaca         {"instruction", "input", "output", "history", "system"}
    sharegpt       {"conversations": [{"from", "value"}, ...], "system"}
    messages       {"messages": [{"role", "content"}, ...]}, as OpenAI's API has it
    conversations  {"conversations": [{"role", "content"}, ...]}: ours, and minimind's
    preference     {"chosen": ..., "rejected": ...}, with "prompt" or without; chosen is kept
    question       {"question", "answer"} and the like: prompt and response, query and completion
    chatml         {"text": "<|im_start|>user\\n...<|im_end|>..."}: a conversation written out
    text           {"text": "..."} or {"content": "..."}, in <s>...</s> or <|im_start|>...<|im_end|>
                   or without
    lines          a text file with a document in each line

All keys that a format does not know are kept. Conversations come to one system turn at most, then
user and assistant in turn, an assistant's turn last. Nothing is invented. Where a conversation
cannot be kept as it is, this is done, and counted:

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

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import dropwhile, groupby, takewhile
from typing import Any, Literal, NamedTuple

from data_process.records.jsonl import BadLine
from data_process.records.kinds import described, shortened
from model.chat import Message

ConversationFormat = Literal[
    "alpaca", "sharegpt", "messages", "conversations", "preference", "question", "chatml"
]
FormatName = Literal[ConversationFormat, "text", "lines"]
QUESTIONS = ("question", "prompt", "query", "input", "q", "问题", "问", "提问")
ANSWERS = ("answer", "response", "completion", "output", "a", "答案", "答", "回答")
TEXTS = ("text", "content")
TURNS = ("conversations", "conversation", "messages")
WRAPPED = re.compile(r"(?:<s>|<\|im_start\|>)(.*?)(?:</s>|<\|im_end\|>|\Z)", re.DOTALL)
"""A document between markers; the last one may have lost its end."""
WRITTEN_TURN = re.compile(
    r"<\|im_start\|>(system|user|assistant|tool)\n(.*?)(?:<\|im_end\|>|\Z)", re.DOTALL
)


ROLES = {
    "user": "user human prompter question 用户 问",
    "assistant": "assistant gpt chatgpt bot bard bing model answer 助手 答",
    "system": "system developer 系统",
    "tool": "tool function observation function_call function_response tool_call tool_response",
}
"""What others call the roles; upper and lower case are one."""
ROLE_OF = {name: role for role, names in ROLES.items() for name in names.split()}
CALLS = ("tool_calls", "function_call")


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
        BadLine: it is not one.
    """
    if not isinstance(messages, list):
        raise BadLine(f"a conversation must be a list of messages, not {described(messages)}")
    return [read_turn(message, number) for number, message in enumerate(messages, 1)]


def read_turn(message: object, number: int) -> Turn:
    """One message; BadLine when it is not one."""
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
        return Turn(role, "", "a tool message")
    return with_text(role, content, number)


def with_text(role: str, content: object, number: int) -> Turn:
    """A turn by its content: a text, or a list of parts as in OpenAI's API."""
    if isinstance(content, list):
        parts = [part.get("text") if isinstance(part, dict) else part for part in content]
        if not all(isinstance(part, str) for part in parts):
            return Turn(role, "", "a content that is no text")
        content = "\n".join(map(str, parts))
    if content is None:
        content = ""
    if not isinstance(content, str):
        raise BadLine(f"message {number} needs a content that is text, not {described(content)}")
    return Turn(role, content, None if content.strip() else "an empty turn")


def tidy(turns: Sequence[Turn]) -> Tidied:
    """Brings turns to our form; see the module's docstring."""
    changes: list[str] = []
    beginning = list(takewhile(lambda turn: turn.role == "system", turns))
    head = [turn.content for turn in beginning if not turn.trouble]
    if len(head) < len(beginning):
        changes.append("changed: a system turn without a text left out")
    rest = list(turns[len(beginning) :])
    what = None
    for number, turn in enumerate(rest):
        if turn.trouble or turn.role == "system":
            what, rest = turn.trouble or "a second system turn", rest[:number]
            break
    if rest and rest[0].role == "assistant":
        changes.append("changed: assistant's turns before the first user's left out")
        rest = list(dropwhile(lambda turn: turn.role == "assistant", rest))
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


def joined(turns: Sequence[Turn]) -> list[Message]:
    """Messages, those of one role in a row as one."""
    return [
        {"role": role, "content": "\n\n".join(turn.content for turn in run)}
        for role, run in groupby(turns, key=lambda turn: turn.role)
    ]


Converted = tuple[dict[str, Any], str | None, list[str]]
"""What became of a record: the new one, or the old one and why it is dropped; and what was done
beyond writing it in another way."""
Converter = Callable[[dict[str, Any]], Iterator[Converted]]


def has_texts(record: dict[str, Any], *names: str) -> bool:
    """Whether a record has all these keys, with texts."""
    return all(isinstance(record.get(name), str) for name in names)


def text_at(record: dict[str, Any], name: str, needed: bool = True) -> str:
    """A text of a record, empty when it may be missing and is."""
    value = record.get(name)
    if value is None and not needed:
        return ""
    if not isinstance(value, str):
        what = f"found {described(record)}" if name not in record else f'"{name}" is no text'
        raise BadLine(f"{what}; it must have a text under {name!r}")
    return value


def others(record: dict[str, Any], *known: str) -> dict[str, Any]:
    """What a format does not know of a record."""
    return {name: value for name, value in record.items() if name not in known}


def conversation(record: dict[str, Any], turns: list[Turn], *known: str) -> Converted:
    """A conversation of turns and the keys that are not known, or the reason for which it is
    dropped. With "system" among those known, the record may have a system turn under it."""
    if "system" in known and (system := text_at(record, "system", needed=False)).strip():
        turns = [Turn("system", system), *turns]
    messages, reason, changes = tidy(turns)
    if reason:
        return record, reason, []
    return {"conversations": messages, **others(record, *known)}, None, changes


def exchange(question: str, answer: str) -> list[Turn]:
    """A question and its answer."""
    return [with_text("user", question, 1), with_text("assistant", answer, 2)]


def from_alpaca(record: dict[str, Any]) -> Iterator[Converted]:
    """An instruction, with an input below it, and earlier exchanges before it."""
    parts = [text_at(record, "instruction"), text_at(record, "input", needed=False)]
    asked = "\n".join(part for part in parts if part.strip())
    turns = [*history_of(record), *exchange(asked, text_at(record, "output"))]
    yield conversation(record, turns, "instruction", "input", "output", "history", "system")


def history_of(record: dict[str, Any]) -> list[Turn]:
    """Earlier exchanges: [["question", "answer"], ...]."""
    history = record.get("history") or []
    if not isinstance(history, list) or not all(isinstance(e, list) for e in history):
        raise BadLine('"history" must be a list of pairs of question and answer')
    roles = ("user", "assistant")
    return [
        with_text(role, content, number)
        for number, exchange in enumerate(history, 1)
        for role, content in zip(roles, exchange, strict=False)
    ]


def from_turns(record: dict[str, Any]) -> Iterator[Converted]:
    """A list of messages."""
    name = next((name for name in TURNS if name in record), None)
    if name is None:
        raise BadLine(f"found {described(record)}; it must have one of {', '.join(TURNS)}")
    yield conversation(record, read_turns(record[name]), name, "system")


def from_preference(record: dict[str, Any]) -> Iterator[Converted]:
    """The chosen answer: a conversation, or the end of one."""
    chosen = record.get("chosen")
    if isinstance(chosen, list):
        turns = read_turns(chosen)
    elif isinstance(chosen, dict):
        turns = [*asked_of(record), *read_turns([chosen])]
    elif isinstance(chosen, str):
        turns = [*asked_of(record), with_text("assistant", chosen, 1)]
    else:
        raise BadLine(f'found {described(record)}; "chosen" must be messages or a text')
    known = ("chosen", "rejected", "prompt", "question", *TURNS, "system")
    new, reason, changes = conversation(record, turns, *known)
    if reason is None and "rejected" in record:
        changes = [*changes, "changed: the rejected answer left out"]
    yield new, reason, changes


def asked_of(record: dict[str, Any]) -> list[Turn]:
    """What the chosen answer of a record answers."""
    for name in (*TURNS, "prompt", "question"):
        if isinstance(record.get(name), list):
            return read_turns(record[name])
        if isinstance(record.get(name), str):
            return [with_text("user", record[name], 1)]
    raise BadLine(f"found {described(record)}; what was asked must stand under prompt")


def question_keys(record: dict[str, Any]) -> list[tuple[str, str]]:
    """The pairs of keys of a record that may be question and answer."""
    asked = [name for name in QUESTIONS if has_texts(record, name)]
    answers = [name for name in ANSWERS if has_texts(record, name)]
    return [(question, answer) for question in asked for answer in answers]


def from_question(
    record: dict[str, Any], question: str | None = None, answer: str | None = None
) -> Iterator[Converted]:
    """A question with its answer, under keys that are named or found."""
    pairs = [(question, answer)] if question and answer else question_keys(record)
    if len(pairs) != 1:
        what = ", ".join(f"{q} and {a}" for q, a in pairs) or described(record)
        raise BadLine(f"found {what}; name the right keys with --question_key and --answer_key")
    asked, answered = pairs[0]
    turns = exchange(text_at(record, asked), text_at(record, answered))
    yield conversation(record, turns, asked, answered, "system")


def from_chatml(record: dict[str, Any]) -> Iterator[Converted]:
    """A conversation that was written out in ChatML."""
    text = text_at(record, "text")
    turns = [with_text(role, content, 1) for role, content in WRITTEN_TURN.findall(text)]
    if not turns:
        raise BadLine('"text" has no <|im_start|>user')
    yield conversation(record, turns, "text")


def from_text(record: dict[str, Any]) -> Iterator[Converted]:
    """A text, or the documents that stand in one between markers."""
    name = next((name for name in TEXTS if name in record), "text")
    text, rest = text_at(record, name), others(record, name)
    pieces = WRAPPED.findall(text) if WRAPPED.match(text.lstrip()) else [text]
    texts = [piece for piece in pieces if piece.strip()]
    changes = ["changed: markers around documents removed"] if pieces != [text] else []
    for piece in texts:
        yield {"text": piece, **rest}, None, changes
    if not texts:
        yield record, "empty", []


def has_turns(record: dict[str, Any], role: str, *names: str) -> bool:
    """Whether a key has messages whose roles stand under a name; an empty list is ours."""
    found = [record[name] for name in names if isinstance(record.get(name), list)]
    return any(
        all(isinstance(message, dict) and role in message for message in messages)
        for messages in found
        if messages or role == "role"
    )


def is_question(record: dict[str, Any]) -> bool:
    """Whether keys may be question and answer."""
    return bool(question_keys(record)) and "instruction" not in record


def is_chatml(record: dict[str, Any]) -> bool:
    """Whether a text is a conversation that was written out."""
    return has_texts(record, "text") and bool(WRITTEN_TURN.match(record["text"].lstrip()))


def is_text(record: dict[str, Any]) -> bool:
    """Whether there is a text, which is not a conversation."""
    return any(has_texts(record, name) for name in TEXTS) and not is_chatml(record)


class Format(NamedTuple):
    """A way to write a record."""

    matches: Callable[[dict[str, Any]], bool]
    """Whether a record is written so, by its keys and the types of their values."""
    convert: Converter
    """Ours; raises BadLine without a place when it is not written so."""


FORMATS: dict[FormatName, Format] = {
    "preference": Format(lambda r: "chosen" in r and "rejected" in r, from_preference),
    "alpaca": Format(lambda r: has_texts(r, "instruction", "output"), from_alpaca),
    "sharegpt": Format(lambda r: has_turns(r, "from", *TURNS), from_turns),
    "messages": Format(lambda r: has_turns(r, "role", "messages"), from_turns),
    "conversations": Format(lambda r: has_turns(r, "role", *TURNS[:2]), from_turns),
    "question": Format(is_question, from_question),
    "chatml": Format(is_chatml, from_chatml),
    "text": Format(is_text, from_text),
    "lines": Format(lambda r: False, from_text),
}
"""By name, in the order in which they are described above but for what includes another."""
EXAMPLES: dict[FormatName, str] = {
    "preference": '{"chosen": [messages], "rejected": [messages]}',
    "alpaca": '{"instruction": "...", "input": "...", "output": "..."}',
    "sharegpt": '{"conversations": [{"from": "human", "value": "..."}, ...]}',
    "messages": '{"messages": [{"role": "user", "content": "..."}, ...]}',
    "conversations": '{"conversations": [{"role": "user", "content": "..."}, ...]}',
    "question": '{"question": "...", "answer": "..."}',
    "chatml": '{"text": "<|im_start|>user\\n..."}',
    "text": '{"text": "..."}',
    "lines": "a document in each line",
}
"""For messages."""
WITHOUT_TEXT = ("preference", "alpaca", "sharegpt", "messages", "conversations")
"""Formats whose records may have a text beside, which says the same."""


def converter(name: FormatName, question: str | None, answer: str | None) -> Converter:
    """What converts from a format, with the keys of question and answer that were named."""
    if name == "question":
        return partial(from_question, question=question, answer=answer)
    return FORMATS[name].convert


def formats_of(record: dict[str, Any]) -> list[FormatName]:
    """The formats that a record may be written in."""
    found = [name for name, format in FORMATS.items() if format.matches(record)]
    if "preference" in found:
        return ["preference"]
    if any(name in WITHOUT_TEXT for name in found):
        found = [name for name in found if name not in ("text", "chatml")]
    return found
