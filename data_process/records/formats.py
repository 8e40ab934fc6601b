"""The ways in which others write training data, and how each becomes ours.

    preference     {"chosen": ..., "rejected": ...}, with "prompt" or without
    sharegpt       {"conversations": [{"from", "value"}, ...], "system"}
    messages       {"messages": [{"role", "content"}, ...]}, as OpenAI's API has it
    conversations  {"conversations": [{"role", "content"}, ...]}: ours, and minimind's
    exchanges      {"conversation": [{"human", "assistant"}, ...]}, {"data": ["...", "..."]}
    alpaca         {"instruction", "input", "output", "history", "system"}; Dolly's "context" and
                   "response"
    question       {"question", "answer"} and the like: prompt and response, query and completion
    written        {"text": "<|im_start|>user\\n...<|im_end|>..."}, "### Human: ...", "<s>[INST]
                   ...": a conversation written out
    text           {"text": "..."} or {"content": "..."}, in <s>...</s> or <|im_start|>...<|im_end|>
                   or without
    lines          a text file with a document in each line

All keys that a format does not know are kept. What becomes of turns stands in `turns.py`. A record
with the key "label" (KTO) says whether its answer is good.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Literal, NamedTuple

from data_process.records.kinds import (
    LABELS,
    PICTURE_KEYS,
    BadLine,
    described,
    label_of,
    type_name,
)
from data_process.records.turns import (
    HAS_PICTURES,
    Turn,
    exchange_of,
    read_turns,
    tidy,
    tools_of,
    with_text,
    written_out,
)

FormatName = Literal[
    "preference",
    "sharegpt",
    "messages",
    "conversations",
    "exchanges",
    "alpaca",
    "question",
    "written",
    "text",
    "lines",
]
Goal = Literal["sft", "preference"]
QUESTIONS = (
    *("question", "prompt", "query", "input", "inputs", "q", "问题", "问", "提问"),
    *("instruction", "inputs_pretokenized"),
)
ANSWERS = (
    *("answer", "response", "completion", "output", "target", "targets", "a", "答案", "答", "回答"),
    *("answers", "targets_pretokenized", "content"),
)
SYSTEMS = ("system", "system_prompt")
TEXTS = ("text", "content")
TURNS = (
    *("conversations", "conversation", "messages", "items"),
    *("dialog", "dialogue", "dialogs", "data", "chat"),
)
PAIRS = (
    ("chosen", "rejected"),
    ("response_j", "response_k"),
    ("chosen_response", "rejected_response"),
)
"""Keys of the better and the worse answer."""
Choice = tuple[str, str, str, tuple[Any, Any]]
CHOICES: tuple[Choice, ...] = (
    ("response_0", "response_1", "better_response_id", (0, 1)),
    ("human_ref_A", "human_ref_B", "labels", (1, 0)),
    ("conversation_a", "conversation_b", "winner", ("model_a", "model_b")),
)
"""Keys of two answers, that of the choice, and what it says when the first or the second is better:
PKU-SafeRLHF, SHP, Chatbot Arena."""
WRAPPED = re.compile(r"(?:<s>|<\|im_start\|>)(.*?)(?:</s>|<\|im_end\|>|\Z)", re.DOTALL)
"""A document between markers; the last one may have lost its end."""

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
        what = f"found {described(record)}; " if name not in record else ""
        found = f", not {type_name(value)}" if name in record else ""
        raise BadLine(f"{what}it must have a text under {name!r}{found}")
    return value


def others(record: dict[str, Any], *known: str) -> dict[str, Any]:
    """What a format does not know of a record."""
    return {name: value for name, value in record.items() if name not in known}


def conversation(record: dict[str, Any], turns: list[Turn], *known: str) -> Converted:
    """A conversation of turns, after the record's system turn, and the keys that are not known; or
    the reason for which it is dropped."""
    messages, reason, changes = tidy(with_system(record, turns))
    if reason:
        return record, reason, []
    rest = others(record, *known, *SYSTEMS, *LABELS, "functions")
    lists = (record[name] for name in TURNS if isinstance(record.get(name), list))
    tools = tools_of(record, next(lists, []))
    if tools or "tools" in rest:
        rest["tools"] = tools
    label = {} if label_of(record) is None else {"label": label_of(record)}
    return {"conversations": messages, **rest, **label}, None, changes


def with_system(record: dict[str, Any], turns: list[Turn]) -> list[Turn]:
    """Turns after the system turn that a record has beside them."""
    name = next((name for name in SYSTEMS if record.get(name)), "system")
    system = text_at(record, name, needed=False)
    return [Turn("system", system), *turns] if system.strip() else turns


def turns_at(record: dict[str, Any], name: str, role: str) -> list[Turn]:
    """What stands under a key: messages, a conversation written out, or one turn's text."""
    value = record.get(name)
    if isinstance(value, dict) and ("content" in value or "value" in value):
        value = [value]
    if isinstance(value, list):
        return read_turns(value)
    text = text_at(record, name)
    return written_out(text, loosely=True) or [with_text(role, text, 1)]


def from_alpaca(record: dict[str, Any]) -> Iterator[Converted]:
    """An instruction, with an input below it, and earlier exchanges before it."""
    answer = "output" if "output" in record else "response"
    turns = [*instructed(record), with_text("assistant", text_at(record, answer), 2)]
    yield conversation(record, turns, *INSTRUCTION, answer)


INSTRUCTION = ("instruction", "input", "context", "history")


def instructed(record: dict[str, Any]) -> list[Turn]:
    """The turns of earlier exchanges, [["question", "answer"], ...], and of an instruction with
    what it is about."""
    about = [text_at(record, name, needed=False) for name in ("input", "context")]
    asked = "\n".join(p for p in (text_at(record, "instruction"), *about) if p.strip())
    written = [t for t in written_out(asked, loosely=True) if t.content.strip()]
    return [*earlier(record), *(written or [with_text("user", asked, 1)])]


def earlier(record: dict[str, Any]) -> list[Turn]:
    """The turns of the exchanges before a question, [["question", "answer"], ...]."""
    history = record.get("history") or []
    if not isinstance(history, list) or not all(isinstance(e, list) for e in history):
        raise BadLine('"history" must be a list of pairs of question and answer')
    return [turn for exchange in history for turn in read_turns([*map(str, exchange)])]


def from_turns(record: dict[str, Any]) -> Iterator[Converted]:
    """A list of messages."""
    name = next((name for name in TURNS if isinstance(record.get(name), list | dict)), None)
    if name is None:
        raise BadLine(f"found {described(record)}; it must have one of {', '.join(TURNS)}")
    yield conversation(record, read_turns(record[name]), name)


def from_preference(record: dict[str, Any], goal: Goal = "sft") -> Iterator[Converted]:
    """The chosen answer: a conversation, or the end of one; or both answers of a preference."""
    for choice in CHOICES:
        if record.keys() >= {*choice[:3]}:
            if (decided := decision(record, choice)) is None:
                yield record, "no answer is said to be better", []
                return
            record = decided
    good, bad = next((p for p in PAIRS if p[0] in record), PAIRS[0])
    if good not in record:
        raise BadLine(f"found {described(record)}; it must have chosen and rejected answers")
    known = (*PAIRS[0], good, bad, *TURNS, *QUESTIONS, *INSTRUCTION)
    new, reason, changes = conversation(record, answered(record, good), *known)
    if goal == "sft" and reason is None and bad in record:
        changes = [*changes, "changed: the rejected answer left out"]
    if goal == "preference" and reason is None:
        worse = tidy(with_system(record, answered(record, bad)))
        new, reason = paired(record, new, worse.messages)
        reason = f"rejected: {worse.reason}" if worse.reason else reason
    yield new, reason, changes


def decision(record: dict[str, Any], choice: Choice) -> dict[str, Any] | None:
    """The record with the chosen and the rejected answer; None when neither is better."""
    first, second, key, values = choice
    said = str(record[key])  # tables have texts
    if said not in map(str, values):
        return None
    chosen, rejected = (first, second) if said == str(values[0]) else (second, first)
    new = {**others(record, *choice[:3]), "chosen": record[chosen], "rejected": record[rejected]}
    if isinstance(asked := new.get("history"), str):
        new = {**others(new, "history"), "prompt": asked}
    return new


def paired(
    record: dict[str, Any], new: dict[str, Any], worse: list[dict[str, Any]]
) -> tuple[dict[str, Any], str | None]:
    """A preference of a conversation with the chosen answer and one with the rejected; or the
    record and why it is dropped."""
    *asked, good = new["conversations"]
    if not worse or asked != worse[:-1]:
        return record, "chosen and rejected part before the last answer"
    if good["content"].strip() == worse[-1]["content"].strip():
        return record, "chosen and rejected are the same"
    answers = {"chosen": good["content"], "rejected": worse[-1]["content"]}
    return {"conversations": asked, **answers, **others(new, "conversations")}, None


def answered(record: dict[str, Any], name: str) -> list[Turn]:
    """The conversation that ends with the answer under a key: all of it, or with what the record
    asks before it."""
    turns = turns_at(record, name, "assistant")
    if any(turn.role == "user" for turn in turns):
        return turns
    if record.get("instruction"):
        return [*instructed(record), *turns]
    asked = next((n for n in (*TURNS, *QUESTIONS) if record.get(n)), None)
    return [*(turns_at(record, asked, "user") if asked else []), *turns]


def question_keys(record: dict[str, Any]) -> list[tuple[str, str]]:
    """The pairs of keys of a record that may be question and answer."""
    asked = [n for n in record if n.lower() in QUESTIONS and is_said(record[n])]
    answers = [n for n in record if n.lower() in ANSWERS and (is_said(record[n]) or n == "answers")]
    return [(question, answer) for question in asked for answer in answers]


def is_said(value: object) -> bool:
    """Whether a value is a text or a list of messages."""
    messages = value if isinstance(value, list) else []
    return isinstance(value, str) or any(isinstance(m, dict) and "content" in m for m in messages)


def from_question(
    record: dict[str, Any], question: str | None = None, answer: str | None = None
) -> Iterator[Converted]:
    """A question, with the text that it is about (SQuAD), and its answer, under keys that are named
    or found."""
    pairs = [(question, answer)] if question and answer else question_keys(record)
    if len(pairs) != 1:
        what = ", ".join(f"{q} and {a}" for q, a in pairs) or described(record)
        raise BadLine(f"found {what}; name the right keys with --question_key and --answer_key")
    asked, answered = pairs[0]
    given = record.get(answered)
    if answered == "answers" and isinstance(given, dict | list):  # {"text": [...]}, SQuAD's
        texts = given.get("text") if isinstance(given, dict) else given
        record = {**record, answered: next(iter(texts or []), "")}
    turns = turns_at(record, asked, "user")
    about = text_at(record, "context", needed=False) if answered == "answers" else ""
    if about.strip():
        turns = [Turn("user", f"{about}\n\n{turns[0].content}"), *turns[1:]]
    turns = [*earlier(record), *turns, *turns_at(record, answered, "assistant")]
    known = ("history", *(["context"] if about else []))
    yield conversation(record, turns, asked, answered, *known)


def from_written(record: dict[str, Any]) -> Iterator[Converted]:
    """A conversation that was written out."""
    turns = written_out(text_at(record, "text"))
    if not turns:
        raise BadLine('"text" is no conversation')
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


def has_exchanges(record: dict[str, Any]) -> bool:
    """Whether a key has texts, or questions with their answers, in turn."""
    found = [record.get(name) for name in TURNS]
    listed = [list(m.values()) if isinstance(m, dict) else m for m in found]
    return any(
        (len(m) > 1 and all(isinstance(text, str) for text in m))
        or (isinstance(m[0], dict) and bool(exchange_of(m[0])))
        for m in listed
        if m and isinstance(m, list)
    )


class Format(NamedTuple):
    """A way to write a record."""

    matches: Callable[[dict[str, Any]], bool]
    """Whether a record is written so, by its keys and the types of their values."""
    convert: Converter
    """Ours; raises BadLine without a place when it is not written so."""
    example: str
    """For messages."""


def is_alpaca(record: dict[str, Any]) -> bool:
    """Whether it has an instruction and what was answered."""
    return any(has_texts(record, "instruction", answer) for answer in ("output", "response"))


def is_written(record: dict[str, Any]) -> bool:
    """Whether a text is a conversation that was written out."""
    return has_texts(record, "text") and any(
        turn.role == "assistant" for turn in written_out(record["text"])
    )


FORMATS: dict[FormatName, Format] = {
    "preference": Format(
        lambda r: any(r.keys() >= {*keys} for keys in (*PAIRS, *(c[:3] for c in CHOICES))),
        from_preference,
        '{"chosen": [messages], "rejected": [messages]}',
    ),
    "sharegpt": Format(
        lambda r: has_turns(r, "from", *TURNS),
        from_turns,
        '{"conversations": [{"from": "human", "value": "..."}, ...]}',
    ),
    "messages": Format(
        lambda r: has_turns(r, "role", "messages"),
        from_turns,
        '{"messages": [{"role": "user", "content": "..."}, ...]}',
    ),
    "conversations": Format(
        lambda r: has_turns(r, "role", *(name for name in TURNS if name != "messages")),
        from_turns,
        '{"conversations": [{"role": "user", "content": "..."}, ...]}',
    ),
    "exchanges": Format(has_exchanges, from_turns, '{"conversation": ["...", "..."]}'),
    "alpaca": Format(
        is_alpaca, from_alpaca, '{"instruction": "...", "input": "...", "output": "..."}'
    ),
    "question": Format(
        lambda r: bool(question_keys(r)) and not is_alpaca(r),
        from_question,
        '{"question": "...", "answer": "..."}',
    ),
    "written": Format(is_written, from_written, '{"text": "<|im_start|>user\\n..."}'),
    "text": Format(
        lambda r: any(has_texts(r, name) for name in TEXTS) and not is_written(r),
        from_text,
        '{"text": "..."}',
    ),
    "lines": Format(lambda r: False, from_text, "a document in each line"),
}
"""By name; a record of several is ambiguous, unless one of them includes the other."""
INCLUDING = (("preference",), ("sharegpt", "messages", "conversations", "exchanges"), ("alpaca",))
"""A record of one of these is not of a later one, nor of a format that does not stand here."""


def converter(
    name: FormatName, question: str | None = None, answer: str | None = None, goal: Goal = "sft"
) -> Converter:
    """What converts from a format, with the keys of question and answer that were named, to
    conversations or to preferences."""
    convert = FORMATS[name].convert
    if name == "question":
        convert = partial(from_question, question=question, answer=answer)
    if name == "preference":
        convert = partial(from_preference, goal=goal)
    return partial(convert_judged, convert, name, goal)


def convert_judged(
    convert: Converter, name: FormatName, goal: Goal, record: dict[str, Any]
) -> Iterator[Converted]:
    """Converts a record, unless it has pictures or its answer is no example."""
    label = label_of(record)
    if name in ("text", "lines") and goal == "sft":  # "label" is a class there
        yield from convert(record)
    elif any(record.get(key) for key in PICTURE_KEYS):
        yield record, HAS_PICTURES, []
    elif label is False and goal == "sft":
        yield record, "an answer that is labelled as bad", []
    elif label is None and goal == "preference" and name != "preference":
        yield record, "no preference in it", []
    else:
        yield from convert(record)


def formats_of(record: dict[str, Any]) -> list[FormatName]:
    """The formats that a record may be written in."""
    found = [name for name, format in FORMATS.items() if format.matches(record)]
    of_groups = ([name for name in found if name in group] for group in INCLUDING)
    return next(filter(None, of_groups), found)
