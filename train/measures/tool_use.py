"""Whether a model calls the tools that it is offered: the right one with the right arguments, only
where one is needed, and an answer by the result.

The model answers greedily and freely: no grammar holds its calls to their form.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from data_process.records.kinds import QUESTION_FIELDS, question_problems
from data_process.sample.evaluation import is_right
from model.answer_parts import CALL, AnswerParser, call_form, has_thoughts
from model.chat import tool_problems
from model.conversation import Conversation, Message
from train.measures.generations import measured_answers
from train.measures.likelihood import LikelihoodModel, Outcome, Record

TOOL_FIELDS = (*QUESTION_FIELDS, "tools", "call", "result")


def tool_question_problems(record: Record) -> Iterator[str]:
    """What is wrong with a question that tools are offered with; see
    data_process/sample/tool_use.py."""
    yield from question_problems(record)
    yield from tool_problems(record["tools"])
    call = record["call"]
    is_call = isinstance(call, dict) and isinstance(call.get("arguments"), dict)
    if call is not None and not (is_call and isinstance(call.get("name"), str)):
        yield '"call" must be null or {"name": "...", "arguments": {...}}'
    elif call is not None and not isinstance(record["result"], str):
        yield '"result" must be a text, what the tool answers to the call'


def measure_calls(scorer: LikelihoodModel, records: list[Record]) -> list[Outcome]:
    """Of questions that need a tool, whether the model calls it with exactly the right arguments,
    and then, when the result is there, gives an accepted answer; others count nothing."""
    needing = [record for record in records if record["call"]]
    said = answers_of(scorer, needing, [record["messages"] for record in needing])
    called = [calls_in(scorer, r, t) == [r["call"]] for r, t in zip(needing, said, strict=True)]
    right = [record for record, good in zip(needing, called, strict=True) if good]
    answers = iter(answers_of(scorer, right, [with_result(record) for record in right]))
    found = []
    for record, text, good in zip(needing, said, called, strict=True):
        answer = next(answers) if good else ""
        found.append((good and is_right(record, answer), f"{text}\n{answer}".strip()))
    return outcomes(records, [bool(record["call"]) for record in records], found)


def measure_restraint(scorer: LikelihoodModel, records: list[Record]) -> list[Outcome]:
    """Of questions that need no tool, whether the model answers without a call; others count
    nothing."""
    needless = [record for record in records if not record["call"]]
    said = answers_of(scorer, needless, [record["messages"] for record in needless])
    found = [
        (bool(text) and CALL not in text and not calls_in(scorer, record, text), text)
        for record, text in zip(needless, said, strict=True)
    ]
    return outcomes(records, [not record["call"] for record in records], found)


def outcomes(
    records: Sequence[Record], counted: Sequence[bool], found: Sequence[tuple[bool, str]]
) -> list[Outcome]:
    """What all records gave; `found` has, of those that are counted, the verdict and the answer."""
    left = iter(found)
    every = []
    for record, counts in zip(records, counted, strict=True):
        good, said = next(left) if counts else (False, "")
        asked = record["messages"][-1]["content"] if counts else ""
        every.append(Outcome(record["category"], float(good), float(counts), asked, said))
    return every


def answers_of(
    scorer: LikelihoodModel, records: Sequence[Record], conversations: Sequence[Sequence[Message]]
) -> list[str]:
    """The greedy answers to conversations with the tools of their records; one that does not end by
    itself is empty."""
    asked = [Conversation(c, r["tools"]) for c, r in zip(conversations, records, strict=True)]
    given = measured_answers(scorer, asked)
    return [text if ended else "" for text, ended in given]


def calls_in(scorer: LikelihoodModel, record: Record, answer: str) -> list[dict[str, Any]]:
    """The calls of an answer, as JSON."""
    names = [tool["function"]["name"] for tool in record["tools"]]
    template = scorer.tokenizer.chat_format.template
    parser = AnswerParser(call_form(template), names, has_thoughts(template))
    parts = [*parser.step(answer), *parser.finish()]
    return [
        {"name": part.name, "arguments": json.loads(part.text)}
        for part in parts
        if part.kind == "call"
    ]


def with_result(record: Record) -> list[Message]:
    """The question, the right call and its result."""
    call = {"type": "function", "function": record["call"]}
    return [
        *record["messages"],
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": record["result"]},
    ]
