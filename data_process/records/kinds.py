"""What a record may be, and everything that is wrong with one.

{"text": "..."}                                                    a text
{"conversations": [{"role": "user", "content": "..."}, ...]}       a conversation; "messages" is
                                                                   another name for its turns
{"conversations": [{"role": "assistant", "tool_calls": [...],      one with tools: calls, results in
    "reasoning_content": "..."}, {"role": "tool", ...}], "tools"}  the role tool, and thoughts
{"conversations": [...], "chosen": "...", "rejected": "..."}       a preference: of two answers
{"conversations": [...], "label": false}                           or of one, whether it is good
{"conversations": [...], "answers": ["...", ["...", "..."]]}       a prompt for reinforcement
                                                                   learning, with accepted answers
{"conversations": [...], "rule": {"number": 42}}                   or a rule for them, or both
{"conversations": [...], "json": {"kind": "order", ...}}           or the JSON object it must be
{"id", "language", "category", "messages", "accepted"}             a question with its answers
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, Literal

from model.chat import message_problems, problems_of, tool_problems
from model.conversation import Conversation, said

Kind = Literal["text", "conversations", "preference", "rl", "questions", "any"]
QUESTION_FIELDS = ("id", "language", "category", "messages", "accepted")
TEXT_EXAMPLE = '{"text": "..."}'
CONVERSATION_EXAMPLE = (
    '{"conversations": [{"role": "user", "content": "..."}, {"role": "assistant", ...}]}'
)
PAIR_EXAMPLE = '{"conversations": [..., {"role": "user", ...}], "chosen": "...", "rejected": "..."}'
LABELLED_EXAMPLE = '{"conversations": [..., {"role": "assistant", ...}], "label": true}'
BY_CONVERT = "; bring other forms in with process_jsonl.py convert --to preference"
RL_EXAMPLE = '{"conversations": [..., {"role": "user", ...}], "answers": ["..."]}'
RL_KEYS = {"answers", "rule", "json"}
"""What makes a conversation a prompt for reinforcement learning."""
RULES: dict[str, tuple[type, ...]] = {
    "number": (int, float),
    "format": (str,),
    "min_characters": (int,),
    "max_characters": (int,),
    "language": (str,),
    "rejected": (list,),
}
"""What a rule for answers may say, and as what; see train/rollouts/rewards.py."""
LABELS = ("label", "kto_tag")
"""Keys that say whether an answer is good (KTO)."""
SPELLED = {"true": True, "1": True, "false": False, "0": False}
"""Their values; tables have texts, and numbers."""
PICTURE_KEYS = ("image", "images", "video", "videos", "audio", "audios")
BESIDE = {"chosen", "rejected", "tools", "system", *LABELS, *PICTURE_KEYS}
"""What changes the meaning of turns that it stands beside."""
TURN_KEYS = {"role", "content", "weight"}
"""What most messages have."""
KNOWN_KEYS = {*TURN_KEYS, "reasoning_content", "tool_calls", "tool_call_id"}
"""What training knows of a message."""
ASKING = ("user", "tool")
"""Roles of turns that an answer follows."""
TOOL_KEYS = {"tool_calls", "tool_call_id", "function_call"}


class BadLine(Exception):
    """What is wrong with a line, a sentence each; the reader adds the place."""

    def __init__(self, *problems: str) -> None:
        super().__init__(*problems)
        self.problems = problems


def conversation_of(record: dict[str, Any]) -> Any:
    """The turns of a conversation, or None when a record has none."""
    return record.get("conversations", record.get("messages"))


def with_tools(record: dict[str, Any]) -> Conversation:
    """A well-formed conversation with its tools."""
    return Conversation(conversation_of(record), record.get("tools") or ())


def value_at(record: dict[str, Any], key: str) -> Any:
    """The value under a key, which may be nested, such as meta.score; None when there is none."""
    if key in record:
        return record[key]
    value: Any = record
    for name in key.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def with_text_of(record: dict[str, Any], key: str) -> dict[str, Any]:
    """A record with the text that stands under a key, which may be nested, as its "text"; one that
    has none there keeps its own.

    Raises:
        BadLine: it has neither.
    """
    text = value_at(record, key)
    if text is None and "text" in record:
        return record
    if not isinstance(text, str):
        what = described(record) if text is None else type_name(text)
        raise BadLine(f"there must be a text under {key!r}, and there is {what}: see --text_key")
    rest = inner = dict(record)
    *outer, last = [key] if key in record else key.split(".")
    for name in outer:
        inner[name] = inner = dict(inner[name])
    inner.pop(last)
    return {"text": text, **{name: value for name, value in rest.items() if name != "text"}}


def label_of(record: dict[str, Any]) -> bool | None:
    """Whether the answer of a record is good; None when it does not say."""
    found = (value for value in map(record.get, LABELS) if value is not None)
    return next((SPELLED.get(str(value).lower()) for value in found), None)


def kind_of(record: dict[str, Any]) -> Kind:
    """What a record is meant to be, by its keys; any, when it is written as others do."""
    turns = conversation_of(record)
    if all(name in record for name in QUESTION_FIELDS):
        return "questions"
    if turns is not None:
        others = isinstance(turns, list) and any(
            isinstance(m, str) or (isinstance(m, dict) and "role" not in m) for m in turns
        )
        is_pair = "chosen" in record and "rejected" in record
        if others:
            return "any"
        if is_pair or label_of(record) is not None:
            return "preference"
        return "conversations" if RL_KEYS.isdisjoint(record) else "rl"
    return "text" if "text" in record else "any"


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
        talk = "; conversations are for train_sft.py" if conversation_of(record) else ""
        yield f"found {described(record)}; a line must be {TEXT_EXAMPLE}{talk}"
    elif not isinstance(record["text"], str):
        yield f'"text" is {type_name(record["text"])}; it must be a non-empty string'


def conversation_problems(record: dict[str, Any]) -> Iterator[str]:
    """What is wrong with a record as a conversation to learn from."""
    if not ("conversations" in record or "messages" in record):
        texts = "; texts are for train_pretrain.py" if "text" in record else ""
        yield f"found {described(record)}; a line must be {CONVERSATION_EXAMPLE}{texts}"
        return
    messages = conversation_of(record)
    found = list(message_problems(messages))
    if found or not is_ordinary(record, messages):
        if "chosen" in record or "rejected" in record or label_of(record) is False:
            yield "a preference, no conversation to learn: process_jsonl.py convert keeps the good"
            return
        found = [*turn_problems(record, messages)] or found
    yield from found
    if not found and not any(message["role"] == "assistant" for message in messages):
        yield "no assistant's turn, so nothing to learn; add one"


def is_ordinary(record: dict[str, Any], messages: list[dict[str, Any]]) -> bool:
    """Whether a good conversation has nothing beside its turns: of nearly all that is known at
    once."""
    return BESIDE.isdisjoint(record) and all(message.keys() <= TURN_KEYS for message in messages)


def turn_problems(record: dict[str, Any], messages: object) -> Iterator[str]:
    """What a conversation says that training does not see."""
    by_convert = "bring it in with process_jsonl.py convert"
    if isinstance(tools := record.get("tools") or [], str):
        yield f"tools are JSON in a text; {by_convert}"
    else:
        yield from tool_problems(tools)
    if record.get("system"):
        yield f'"system" stands beside the turns, and would not be trained on; {by_convert}'
    if pictures := [key for key in PICTURE_KEYS if record.get(key)]:
        yield f'"{pictures[0]}": pictures and sounds cannot be trained on; {by_convert}'
    for number, message in enumerate(messages if isinstance(messages, list) else [], 1):
        if isinstance(message, dict) and (unknown := message.keys() - KNOWN_KEYS):
            if message.get("role") == "tool":
                unknown.discard("name")
            for key in sorted(key for key in unknown if message[key] not in (None, "", [], {})):
                where = f"message {number} has the key {shortened(key)!r}"
                yield f"{where}, which is not known; {by_convert}"


def roles_of(record: dict[str, Any]) -> set[str]:
    """The roles of a conversation; tool where one is called, too."""
    turns = conversation_of(record)
    messages = [m for m in turns if isinstance(m, dict)] if isinstance(turns, list) else []
    calls = any(m.get(key) for m in messages for key in TOOL_KEYS & m.keys())
    return {str(m.get("role")) for m in messages} | ({"tool"} if calls else set())


def preference_problems(record: dict[str, Any]) -> Iterator[str]:
    """What is wrong with a record as a preference."""
    messages = conversation_of(record)
    found = [*turn_problems(record, messages)] or [*message_problems(messages)]
    yield from found
    if label_of(record) is not None:
        if not found and messages[-1]["role"] != "assistant":
            yield "the labelled answer, an assistant's turn, must be the last turn"
        return
    answers = [record.get(name) for name in ("chosen", "rejected")]
    for name, answer in zip(("chosen", "rejected"), answers, strict=True):
        if not isinstance(answer, str) or not answer.strip():
            yield f'"{name}" must be an answer, a text that is not empty'
    texts = [answer.strip() for answer in answers if isinstance(answer, str)]
    if len(texts) == 2 and texts[0] == texts[1]:  # stripped, as training reads them
        yield "chosen and rejected are the same, so nothing to learn"
    if not found and messages[-1]["role"] not in ASKING:
        yield "the turns must end with a user's, which chosen and rejected answer"


def pair_problems(record: dict[str, Any]) -> Iterator[str]:
    """What is wrong with a record as a pair of answers to learn from."""
    if conversation_of(record) is None or not {"chosen", "rejected"} <= record.keys():
        labelled = "; answers with a label are for --loss kto"
        way = BY_CONVERT if label_of(record) is None else labelled
        yield f"found {described(record)}; a line must be {PAIR_EXAMPLE}{way}"
        return
    yield from preference_problems({**record, **dict.fromkeys(LABELS)})


def labelled_problems(record: dict[str, Any]) -> Iterator[str]:
    """What is wrong with a record as a labelled answer to learn from."""
    if conversation_of(record) is None or label_of(record) is None:
        pairs = "; pairs of chosen and rejected are for --loss dpo, ipo, orpo and simpo"
        way = pairs if "chosen" in record else BY_CONVERT
        yield f"found {described(record)}; a line must be {LABELLED_EXAMPLE}{way}"
        return
    yield from preference_problems(record)


def rl_problems(record: dict[str, Any]) -> Iterator[str]:
    """What is wrong with a record as a prompt for reinforcement learning."""
    messages = conversation_of(record)
    if messages is None:
        yield f"found {described(record)}; a line must be {RL_EXAMPLE}"
        return
    found = [*turn_problems(record, messages)] or [*message_problems(messages)]
    yield from found
    if not found and messages[-1]["role"] not in ASKING:
        yield "the turns must end with a user's, which is to be answered"
    answers, rule = record.get("answers", []), record.get("rule", {})
    if not isinstance(answers, list) or not all(map(is_alternative, answers)):
        yield '"answers" must be a list of accepted answers, each a text or several to occur in it'
    elif "answers" in record and not answers:
        yield '"answers" is empty; name at least one accepted answer, or give a "rule"'
    if not isinstance(wanted := record.get("json", {"": ""}), dict) or not wanted:
        yield f'"json" is {type_name(wanted)}; it must be the object that the answer is to be'
    yield from rule_problems(rule)


def is_alternative(answer: object) -> bool:
    """Whether an accepted answer is a text, or several texts that must all occur."""
    texts = answer if isinstance(answer, list) else [answer]
    return bool(texts) and all(isinstance(text, str) and text.strip() for text in texts)


def rule_problems(rule: object) -> Iterator[str]:
    """What is wrong with the rule for the answers to a prompt."""
    if not isinstance(rule, dict):
        yield f'"rule" is {type_name(rule)}; it must be an object such as {{"number": 42}}'
        return
    for name, value in rule.items():
        if name not in RULES:
            yield f"the rule {shortened(name)!r} is not known: use {', '.join(RULES)}"
        elif not isinstance(value, RULES[name]) or isinstance(value, bool):
            yield f"the rule {name!r} is {type_name(value)}"
        elif isinstance(value, list) and not all(map(is_alternative, value)):
            yield "the rule 'rejected' must be a list of texts"
    if isinstance(pattern := rule.get("format"), str):
        try:
            re.compile(pattern)
        except re.error as error:
            yield f"the rule 'format' is no regular expression ({error})"


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
    "preference": preference_problems,
    "rl": rl_problems,
    "questions": question_problems,
    "any": no_problems,
}
"""Finds everything that is wrong with a record, by what it should be."""


def messages_of(record: dict[str, Any]) -> list[tuple[str, str]]:
    """Role and content of the turns of a conversation or a question; malformed ones are skipped."""
    messages = conversation_of(record)
    found = [m for m in messages if isinstance(m, dict)] if isinstance(messages, list) else []
    pairs = [(message.get("role"), said_by(message)) for message in found]
    return [(r, c) for r, c in pairs if isinstance(r, str) and isinstance(c, str)]


def said_by(message: dict[str, Any]) -> object:
    """All that a message says, thoughts and calls included; its content when it is malformed."""
    if message.keys() <= TURN_KEYS or next(problems_of({"role": "assistant", **message}), None):
        return message.get("content")
    return said(message)


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
        value: object = [messages, record["tools"]] if record.get("tools") else messages
    else:
        value = record["text"] if isinstance(record.get("text"), str) else record
    return json.dumps(value, ensure_ascii=True, sort_keys=True).encode("ascii")


def described(record: object) -> str:
    """What a record is, in a few words, for a message."""
    if not isinstance(record, dict):
        return type(record).__name__
    names = [shortened(name) for name in list(record)[:5]]
    return f"the keys {names}" + (" and more" if len(record) > 5 else "")


def type_name(value: object) -> str:
    """The type of a JSON value, for a message."""
    if value is None:
        return "null"
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false"}
    return names.get(type(value), f"a {type(value).__name__}")


def shortened(text: str, longest: int = 40) -> str:
    """A text, or its first characters, for a message."""
    return text if len(text) <= longest else text[:longest] + "..."
