"""Calls of tools: what an answer may be where some are offered, and how it is read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from inference.api import schema
from inference.engine.constraint import COMPACT, Vocabulary
from inference.engine.loading import LoadedModel
from model.answer_parts import (
    CALL,
    CALL_END,
    THOUGHT,
    THOUGHT_END,
    AnswerParser,
    call_form,
    has_thoughts,
)

MISTRAL_MARK = "[TOOL_CALLS]"


def offered(body: schema.ChatCompletionRequest) -> list[schema.FunctionOptions]:
    """The functions that may be called: all, the one that must be, or none."""
    tools = [tool.function for tool in body.tools or []]
    if isinstance(body.tool_choice, schema.NamedTool):
        return [tool for tool in tools if tool.name == body.tool_choice.function.name]
    return [] if body.tool_choice == "none" else tools


def must_call(body: schema.ChatCompletionRequest) -> bool:
    """Whether the answer must be a call."""
    return body.tool_choice not in (None, "auto", "none")


def has_tools(model: LoadedModel) -> bool:
    """Whether the model's chat template writes which tools there are."""
    return "tools" in model.tokenizer.chat_format.template


def parser_for(
    model: LoadedModel, body: schema.ChatCompletionRequest, prompt: Sequence[int]
) -> AnswerParser:
    """What takes an answer apart."""
    template, names = model.tokenizer.chat_format.template, [tool.name for tool in offered(body)]
    before = model.tokenizer.decode(list(prompt)[-16:], skip_special_tokens=False)
    begins, last = before.rstrip().endswith(THOUGHT), body.messages[-1]
    goes_on = last.role == "assistant" and bool(last.reasoning_content) and not last.text.strip()
    form = call_form(template) if names else None
    parser = AnswerParser(form, names, has_thoughts(template), begins or goes_on)
    parser.trims = begins  # a thought that goes on may do so with a space
    return parser


def knows_thinking(model: LoadedModel) -> bool:
    """Whether thinking can be switched on and off in the model's chat template."""
    return "enable_thinking" in model.tokenizer.chat_format.template


def tool_grammar(
    model: LoadedModel, body: schema.ChatCompletionRequest, answer: dict[str, Any] | None
) -> str | None:
    """The grammar of an answer that may or must call tools, in llguidance's form of Lark.

    Args:
        model: its chat template says how calls are written.
        body: what was asked.
        answer: the schema of an answer that is no call; None: any text.

    Returns:
        None where there is nothing to call.
    """
    tools = offered(body)
    if not tools:
        return None
    template, words = model.tokenizer.chat_format.template, model.vocabulary
    is_tagged = call_form(template) == "tagged"
    rules = [f"call: {' | '.join(f'call_{n}' for n in range(len(tools)))}"]
    for number, tool in enumerate(tools):
        name = json.dumps(tool.name, ensure_ascii=False)
        key = "arguments" if is_tagged or MISTRAL_MARK in template else "parameters"
        begin = literal(f'{{"name": {name}, "{key}": ')
        rules += [
            f'call_{number}: {begin} arguments_{number} "}}"',
            f"arguments_{number}: %json {json.dumps(arguments_schema(tool))}",
        ]
    if is_tagged:
        rules += [f'body: "\\n" call "\\n" {mark(words, CALL_END)}']
        once, head = f"{mark(words, CALL)} body", mark(words, CALL)
        repeat = "?" if body.parallel_tool_calls is False else "*"
        free = f"(head body){repeat} tail"
        texts = " | ".join(["TEXT", *(mark(words, m) for m in (THOUGHT, THOUGHT_END))])
        if head.startswith("<"):  # a token of its own, which no text holds
            rules += [f"head: text {head}", f"text: ({texts})*", "tail: text"]
        else:
            rules += [f"head[lazy]: TEXT {head}", "tail: TEXT"]
        rules += [r"TEXT: /(.|\n)*/"]
    else:
        start = mark(words, MISTRAL_MARK) if MISTRAL_MARK in template else '""'
        once = f'{start} "[" call "]"' if MISTRAL_MARK in template else "call"
        free = f"{once} | TEXT"
        rules += [r"TEXT: /([^{\[](.|\n)*)?/"]
    if must_call(body):
        start = once
    elif answer is not None:
        rules += [f"answer: %json {json.dumps(answer | {'x-guidance': COMPACT})}"]
        start = f"{once} | answer"
    else:
        start = free
    return "\n".join(["%llguidance {}", f"start: {start}", *rules, ""])


def arguments_schema(tool: schema.FunctionOptions) -> dict[str, Any]:
    """The schema of a function's arguments; what it does not name is not written."""
    wanted = {"type": "object", **(tool.parameters or {})}
    if "properties" in wanted:
        wanted.setdefault("additionalProperties", False)
    return wanted | {"x-guidance": {**COMPACT, "lenient": not tool.strict}}


def mark(words: Vocabulary, text: str) -> str:
    """A mark around a call, as Lark has it: a token of its own, or text."""
    token = words.special.get(text)
    return literal(text) if token is None else f"<[{token}]>"


def literal(text: str) -> str:
    """A text in Lark."""
    return json.dumps(text, ensure_ascii=False)
