"""The turns of conversations as others write them, and what becomes of them.

A conversation comes to one system turn at most, then user and assistant in turn, an assistant's
turn last; calls of tools and their results stand where they stood. Nothing is invented. Where a
conversation cannot be kept as it is, this is done, and counted:

- Turns of one role in a row are joined, with a blank line between them: they were one turn that was
  sent in pieces.
- An assistant's turns before the first user's are left out: what they answer is not there.
- The conversation ends before the first exchange that has an empty turn, a content that is no text,
  or a second system turn: an answer that rests on something the model cannot see teaches it to
  invent.
- Turns behind the last answer are left out: there is nothing to learn in them.
- When nothing is left, the conversation is dropped, with the reason; so is one with pictures.
- Thoughts that stand before an assistant's answer in <think> and </think> become its
  reasoning_content.
- Keys of messages that training knows nothing of are left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from itertools import dropwhile, takewhile
from typing import Any, NamedTuple

from data_process.records.kinds import BadLine, described, shortened

ROLES = {
    "user": "user human prompter question instruction 用户 问",
    "assistant": "assistant gpt chatgpt bot bard bing claude model moss response answer 助手 答",
    "system": "system developer 系统",
    "tool": "tool function observation function_response tool_response",
    "call": "function_call tool_call",
}
"""What others call the roles; upper and lower case are one."""
ROLE_OF = {name: role for role, names in ROLES.items() for name in names.split()}
PICTURES = re.compile(r"image|video|audio|picture")
"""In the names of keys, and of the types of parts of a content."""
KEPT_KEYS = ("weight", "reasoning_content", "tool_calls", "tool_call_id")
KNOWN_KEYS = {"role", "content", "from", "value", "function_call", *KEPT_KEYS}
THOUGHTS = re.compile(r"\s*<think>\s*(\S.*?)\s*</think>\s*(\S.*)", re.DOTALL)
"""What DeepSeek-R1 and Qwen3 write before an answer."""
HAS_PICTURES = "has pictures"
TOOLS = ("tools", "functions")
MARKS = (
    re.compile(
        r"(?:\s*Below is an instruction[^#]*)?### ?(Human|User|Instruction|Assistant|Response):"
    ),
    re.compile(r"\n\n(Human|Assistant):"),
    re.compile(r"(?:A chat between a [^:]*?\.)?\s*(?:</s>)?\s*\b(USER|ASSISTANT): "),
)
"""What stands before the turns of a conversation that was written out: Guanaco's and Alpaca's,
Anthropic's, Vicuna's."""
LOOSE_MARKS = re.compile(r"(?:^|\n)(Human|User|Assistant):")
"""BELLE's, which may also stand in a play."""
LLAMA = re.compile(r"(?:<s>)?\s*\[INST\](.*?)\[/INST\](.*?)(?:</s>|(?=<s>|\[INST\])|\Z)", re.DOTALL)
LLAMA_SYSTEM = re.compile(r"\s*<<SYS>>(.*?)<</SYS>>", re.DOTALL)
SIGNS = (
    (r"<\|im_start\|>", r"\n", r"<\|im_end\|>"),
    (r"<\|start_header_id\|>", r"<\|end_header_id\|>\n*", r"<\|eot_id\|>"),
    ("<start_of_turn>", r"\n", r"\n?<end_of_turn>"),
    (r"<\|", r"\|>\s*", r"\s*(?:</s>|<\|end\|>|<\|endoftext\|>|(?=<\|(?:user|assistant)\|>))"),
)
"""What stands around the name of a role, and behind its turn: ChatML, Llama 3, Gemma, and Zephyr,
Phi and GLM."""
WRITTEN_TURNS = [
    re.compile(rf"{before}(system|user|assistant|tool|model){after}(.*?)(?:{end}|\Z)", re.DOTALL)
    for before, after, end in SIGNS
]
TEXT_START = re.compile(r"\A\s*(?:<\|begin_of_text\|>|<bos>|\[gMASK\]\s*<sop>|<s>(?=\s*<\|))?\s*")
PICTURE_SIGN = re.compile(
    r"\A\s*<(?:image|video|audio)>|<(?:image|video|audio)>\s*\Z|<img>[^<>]+</img>"
)
"""What stands for a picture in the text of a user's turn (LLaVA, Qwen-VL)."""
WRAPPING = re.compile(r"\s*(?:<\|(?:Human|MOSS)\|>:\s*)?(.*?)(?:<eo[hm]>)?\s*", re.DOTALL)
"""MOSS's marks around a turn."""


class Turn(NamedTuple):
    """A turn, and what is in the way of keeping it."""

    role: str
    content: str
    trouble: str | None = None
    more: dict[str, Any] = {}  # noqa: RUF012  # never changed
    """What else is kept of it: weight, tool_calls."""
    left_out: tuple[str, ...] = ()
    """Keys that are not."""


class Tidied(NamedTuple):
    """What became of a conversation."""

    messages: list[dict[str, Any]]
    """Empty when it is dropped."""
    reason: str | None
    """Why it is dropped."""
    changes: list[str]
    """What was done to it."""


def read_turns(messages: object) -> list[Turn]:
    """The turns of a list of messages, {"role", "content"} or {"from", "value"}, of exchanges,
    {"human", "assistant"}, or of texts of user and assistant in turn.

    Raises:
        BadLine: it is not one.
    """
    if isinstance(messages, dict):  # MOSS: {"turn_1": {"Human", "MOSS"}, ...}
        messages = [m for name, m in messages.items() if name.startswith("turn")]
    if not isinstance(messages, list):
        raise BadLine(f"a conversation must be a list of messages, not {described(messages)}")
    if messages and all(isinstance(message, str) for message in messages):
        roles = ("user", "assistant")
        return [with_text(roles[n % 2], text, n + 1) for n, text in enumerate(messages)]
    return [turn for number, m in enumerate(messages, 1) for turn in read_message(m, number)]


def read_message(message: object, number: int) -> Iterator[Turn]:
    """The turn of a message, or those of an exchange; BadLine when it is neither."""
    if not isinstance(message, dict):
        raise BadLine(f"message {number} must be an object, not {described(message)}")
    name = message.get("role", message.get("from"))
    if name is None and (exchange := exchange_of(message)):
        for role, content in exchange:
            yield with_text(role, content, number)
        return
    role = ROLE_OF.get(name.lower(), "") if isinstance(name, str) else ""
    if not role:
        wrong = shortened(repr(name))
        raise BadLine(f"message {number} has the role {wrong}: known are {', '.join(ROLE_OF)}")
    content = message.get("content", message.get("value"))
    more = {key: message[key] for key in KEPT_KEYS if message.get(key) is not None}
    calls = message.get("function_call") or more.pop("tool_calls", None)
    if call := calls or (content if role == "call" else None):
        role, content = "assistant", None if role == "call" else content
        more["tool_calls"] = called(call, number)
    for key in ("weight", "reasoning_content") if role != "assistant" else ():
        more.pop(key, None)  # they are never trained
    if role == "tool" and message.get("name"):
        more["name"] = message["name"]
    known = {*KNOWN_KEYS, {"system": "tools", "tool": "name"}.get(role, "role")}
    left_out = tuple(k for k, v in message.items() if k not in known and v not in (None, ""))
    turn = with_text(role, content, number, role == "tool" or bool(more.get("tool_calls")))
    yield turn._replace(more={k: v for k, v in more.items() if v != []}, left_out=left_out)


def exchange_of(message: dict[str, Any]) -> list[tuple[str, Any]]:
    """Question and answer of an exchange, such as {"human", "assistant"} or {"input", "output"}."""
    names = {**ROLE_OF, "input": "user", "output": "assistant"}
    found = [(names.get(key.lower()), value) for key, value in message.items()]
    pairs = [(role, value) for role, value in found if role and isinstance(value, str)]
    is_exchange = [role for role, _ in pairs if role != "system"] == ["user", "assistant"]
    return [(r, (WRAPPING.fullmatch(v) or [v, v])[1]) for r, v in pairs] if is_exchange else []


def called(call: object, number: int) -> list[dict[str, Any]]:
    """Calls of tools, objects or their JSON, as OpenAI's API has them.

    Raises:
        BadLine: it is not the call of a tool.
    """
    try:
        calls = json.loads(call) if isinstance(call, str) else call
    except ValueError as error:
        raise BadLine(f"message {number} must call a tool in JSON, not {call!r:.60}") from error
    calls = calls if isinstance(calls, list) else [calls]
    if not all(isinstance(c, dict) and ("name" in c or "function" in c) for c in calls):
        raise BadLine(f"message {number} must name the tool that it calls")
    return [c if "function" in c else {"type": "function", "function": c} for c in calls]


def tools_of(record: dict[str, Any], messages: list[Any]) -> list[dict[str, Any]]:
    """What a record, or (minimind) the first of its messages, says may be called, as OpenAI's API
    has it.

    Raises:
        BadLine: it is not a list of tools, nor the JSON of one.
    """
    first = messages[0] if messages and isinstance(messages[0], dict) else {}
    given: Any = next((found for key in TOOLS if (found := record.get(key) or first.get(key))), [])
    try:
        tools = json.loads(given) if isinstance(given, str) else given
    except ValueError as error:
        raise BadLine(f'"tools" must be JSON, not {given!r:.60}') from error
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise BadLine('"tools" must be a list of objects')
    return [t if "function" in t else {"type": "function", "function": t} for t in tools]


def with_text(role: str, content: object, number: int, may_be_empty: bool = False) -> Turn:
    """A turn by its content: a text, or a list of parts as in OpenAI's API."""
    if isinstance(content, list) and role != "tool":
        parts = [part if isinstance(part, dict) else {"text": part} for part in content]
        if any(PICTURES.search(f"{part.get('type')} {' '.join(part)}") for part in parts):
            return Turn(role, "", HAS_PICTURES)
        texts = [part.get("text", part.get("value", part.get("content"))) for part in parts]
        if not all(isinstance(text, str) for text in texts):
            return Turn(role, "", "a content that is no text")
        content = "\n".join(map(str, texts))
    if content is None:
        content = ""
    if role == "tool" and not isinstance(content, str):
        content = json.dumps(content, ensure_ascii=False)
    if not isinstance(content, str):
        raise BadLine(f"message {number} needs a content that is text, not {described(content)}")
    if role == "user" and "<" in content and PICTURE_SIGN.search(content):
        return Turn(role, "", HAS_PICTURES)
    return Turn(role, content, None if content.strip() or may_be_empty else "an empty turn")


def written_out(text: str, loosely: bool = False) -> list[Turn]:
    """The turns of a conversation that was written out as one text; none when it is not one.

    Args:
        text: the text.
        loosely: it is known to be a conversation, or a turn of one.
    """
    begin = TEXT_START.sub("", text)
    for written in WRITTEN_TURNS:
        if written.match(begin):
            return [with_text(ROLE_OF[role], said, 1) for role, said in written.findall(text)]
    if text.lstrip().startswith(("<s>", "[INST]")):
        return [turn for exchange in LLAMA.findall(text) for turn in llama_turns(*exchange)]
    for marks in (*MARKS, LOOSE_MARKS) if loosely else MARKS:
        if marks.match(text):
            pieces = marks.split(text)[1:]
            turns = zip((ROLE_OF[name.lower()] for name in pieces[::2]), pieces[1::2], strict=True)
            found = [with_text(r, c.strip().removesuffix("</s>").rstrip(), 1) for r, c in turns]
            return found if found[-1].content else found[:-1]  # "Assistant:" asks for an answer
    return []


def llama_turns(asked: str, answer: str) -> Iterator[Turn]:
    """An exchange of Llama 2, whose first one may begin with a system turn."""
    if system := LLAMA_SYSTEM.match(asked):
        yield with_text("system", system[1].strip(), 1)
        asked = asked[system.end() :]
    yield with_text("user", asked.strip(), 1)
    if answer.strip():
        yield with_text("assistant", answer.strip(), 1)


def tidy(turns: Sequence[Turn]) -> Tidied:
    """Brings turns to our form; see the module's docstring."""
    if any(turn.trouble == HAS_PICTURES for turn in turns):
        return Tidied([], HAS_PICTURES, [])
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
    if rest and rest[0].role in ("assistant", "tool"):
        changes.append("changed: assistant's turns before the first user's left out")
        rest = list(dropwhile(lambda turn: turn.role != "user", rest))
    while rest and rest[-1].role != "assistant":
        last = rest.pop()
        what = what or f"a {last.role}'s turn without an answer"
    messages = joined(rest)
    if sum(map(move_thoughts, messages)):
        changes.append("changed: thoughts moved to reasoning_content")
    if not messages:
        return Tidied([], f"nothing to learn before {what}" if what else "no answer in it", [])
    if what:
        changes.append(f"changed: ends before {what}")
    if len(messages) < len(rest):
        changes.append("changed: turns of one role in a row joined")
    for key in sorted({key for turn in rest for key in turn.left_out}):
        changes.append(f"changed: left out of messages: {shortened(key)}")
    system = [{"role": "system", "content": "\n\n".join(head)}] if head else []
    return Tidied([*system, *messages], None, changes)


def move_thoughts(message: dict[str, Any]) -> bool:
    """Moves the thoughts out of an assistant's content; whether there were any."""
    found = THOUGHTS.fullmatch(message["content"]) if message["role"] == "assistant" else None
    if not found or "reasoning_content" in message:
        return False
    message["reasoning_content"], message["content"] = found.groups()
    return True


def joined(turns: Sequence[Turn]) -> list[dict[str, Any]]:
    """Messages, those of one role in a row as one, unless something else is kept of one."""
    found: list[dict[str, Any]] = []
    for turn in turns:
        plain = {"role": turn.role, "content": turn.content}
        last = found[-1] if found else {}
        if last.keys() == plain.keys() and turn.role == last["role"] != "tool" and not turn.more:
            last["content"] += f"\n\n{turn.content}"
        else:
            found.append({**plain, **turn.more})
    return found
