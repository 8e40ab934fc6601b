"""What a model has generated, taken apart: thoughts, text and calls of tools, as they come.

    parser = AnswerParser(call_form(template), thinks=has_thoughts(template))
    for part in parser.step(text): ...
    for part in parser.finish(): ...

A template says in which form its model calls tools:

    tagged  <tool_call>{"name": "f", "arguments": {...}}</tool_call>, in text: Hermes, Qwen, Etude
    bare    {"name": "f", "parameters": {...}}, or a list of such, alone: Llama 3, Mistral
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from typing import Any, Literal, NamedTuple

PartKind = Literal["content", "reasoning_content", "call", "result"]
"""result: no part of an answer, but what a call has given, where a chat runs it."""
CallForm = Literal["tagged", "bare"]

CALL, CALL_END = "<tool_call>", "</tool_call>"
THOUGHT, THOUGHT_END = "<think>", "</think>"
BARE_MARKS = ("<|python_tag|>", "[TOOL_CALLS]")
"""What may stand before bare calls."""
BARE_SIGNS = (*BARE_MARKS, '"parameters": ')
"""What tells from a template that its calls are bare."""


class Part(NamedTuple):
    """A piece of an answer."""

    kind: PartKind
    text: str
    """Of a call, its arguments: an object in JSON."""
    name: str = ""
    """Of a call, that of the tool."""


def call_form(template: str) -> CallForm:
    """The form in which the model of a chat template calls tools."""
    return (
        "bare"
        if CALL not in template and any(sign in template for sign in BARE_SIGNS)
        else "tagged"
    )


def has_thoughts(template: str) -> bool:
    """Whether the model of a chat template thinks before it answers."""
    return THOUGHT_END in template


class AnswerParser:
    """Takes one answer apart. All texts of its parts and calls, with the marks around them, are the
    answer, but for the white space about thoughts and calls."""

    def __init__(
        self,
        form: CallForm | None = None,
        names: Collection[str] = (),
        thinks: bool = False,
        is_thought: bool = False,
    ) -> None:
        """How to read it.

        Args:
            form: of calls; None: none are expected, and what looks like one is text.
            names: of the tools that may be called.
            thinks: whether there may be thoughts.
            is_thought: whether the prompt has ended inside of a thought.
        """
        self.form, self.names, self.thinks = form, frozenset(names), thinks
        self.state: Literal["start", "thought", "content", "call", "bare"] = "start"
        if is_thought:
            self.state = "thought"
        self.held = ""
        """Text that is not certain yet."""
        self.trims = is_thought
        """Whether white space that comes next is left out."""

    def step(self, text: str) -> Iterator[Part]:
        """What is certain by more of the answer."""
        self.held += text
        before = None
        while before != (self.state, len(self.held)):
            before = (self.state, len(self.held))
            yield from getattr(self, f"in_{self.state}")()

    def finish(self) -> Iterator[Part]:
        """What was held back, when no more comes."""
        text, self.held = self.held, ""
        if self.state == "thought":
            yield from part("reasoning_content", text.rstrip())
        elif self.state in ("call", "bare"):
            calls = self.calls(text.removeprefix(CALL))
            yield from calls or part("content", text)
        else:
            yield from part("content", text)

    def in_start(self) -> Iterator[Part]:
        """Before it is known what comes first."""
        text = self.held.lstrip()
        if self.thinks and text.startswith(THOUGHT):
            self.state, self.held, self.trims = "thought", text.removeprefix(THOUGHT), True
        elif self.thinks and THOUGHT.startswith(text):
            return
        elif self.form == "bare" and text[:1] in ("{", "["):
            self.state = "bare"
        elif text:
            self.state = "content"
        yield from ()

    def in_thought(self) -> Iterator[Part]:
        """Up to the end of the thoughts."""
        if self.trims:
            self.held = self.held.lstrip()
            self.trims = not self.held
        thought, end, rest = self.held.partition(THOUGHT_END)
        if end:
            yield from part("reasoning_content", thought.rstrip())
            self.state, self.held, self.trims = "content", rest, True
            return
        certain = without_ending(self.held, THOUGHT_END)
        yield from part("reasoning_content", self.taken(certain))

    def in_content(self) -> Iterator[Part]:
        """Text, up to a call."""
        if self.trims:
            self.held = self.held.lstrip()
            self.trims = not self.held
        if self.form != "tagged":
            if self.form == "bare" and self.held[:1] in ("{", "["):  # behind thoughts
                self.state = "bare"
                return
            yield from part("content", self.taken(len(self.held)))
            return
        content, mark, _ = self.held.partition(CALL)
        if mark:
            yield from part("content", content.rstrip())
            self.state, self.held = "call", self.held[len(content) :]
            return
        yield from part("content", self.taken(without_ending(self.held, CALL)))

    def in_call(self) -> Iterator[Part]:
        """Up to the end of a call."""
        call, end, rest = self.held.partition(CALL_END)
        if end:
            calls = self.calls(call.removeprefix(CALL))
            yield from calls or part("content", call + end)
            self.state, self.held, self.trims = "content", rest, bool(calls)

    def in_bare(self) -> Iterator[Part]:
        """Up to the end of the answer."""
        yield from ()

    def taken(self, count: int) -> str:
        """The first characters of what is held, which are held no longer."""
        text, self.held = self.held[:count], self.held[count:]
        return text

    def calls(self, text: str) -> list[Part]:
        """The calls that a JSON text says; none where it is no JSON, or calls no tool there is."""
        text = text.strip()
        for mark in BARE_MARKS:
            text = text.removeprefix(mark)
        with suppress(ValueError, RecursionError):
            found = json.loads(text)
            calls = [self.call(one) for one in (found if isinstance(found, list) else [found])]
            return [] if None in calls else [call for call in calls if call]
        return []

    def call(self, said: Any) -> Part | None:
        """A call; None where it is none."""
        if not isinstance(said, Mapping) or said.get("name") not in self.names:
            return None
        arguments = said.get("arguments", said.get("parameters", {}))
        if isinstance(arguments, str):
            arguments = json.loads(arguments)
        if not isinstance(arguments, Mapping):
            return None
        return Part("call", json.dumps(arguments, ensure_ascii=False), str(said["name"]))


def part(kind: PartKind, text: str) -> Iterator[Part]:
    """A part, unless it is empty."""
    if text:
        yield Part(kind, text)


def without_ending(text: str, mark: str) -> int:
    """How many characters are certain not to be the beginning of a mark, or white space before
    one."""
    for length in range(min(len(text), len(mark) - 1), 0, -1):
        if text.endswith(mark[:length]):
            text = text[:-length]
            break
    return len(text.rstrip())
