"""Conversations with tools: questions that need one of those that are offered, or none.

A record offers one to three tools, in any order and with any of their descriptions. A question that
needs one is answered by a call and, when its result has come, by a text that says it; one that
needs none at once. Where no tool is offered and one is needed, the answer says so.

A record of the eval file has, beside the fields of a question (data_process/sample/evaluation.py):

    tools       what is offered
    call        the right call, {"name", "arguments"}; null: none is needed
    result      what the tool answers to it; "accepted" is for the answer after that
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from data_process.sample.conversations import ConversationWriter
from data_process.sample.questions import Accepted, Holdout, Question, any_of
from data_process.sample.tasks import KINDS, TOOLS, HeldNumbers, Task, TaskWriter
from data_process.sample.templates import language
from model.chat_template import IM_END, IM_START, ChatFormat
from model.conversation import Message, template_turns

Record = dict[str, Any]
TOOL_CATEGORIES = (*KINDS, "fact", "missing", "dates")
"""fact: no tool is needed; missing: one is needed and none offered; dates: how a day is written in
numbers, without tools."""
FACTS = ("identity", "capital", "animal", "opposite", "colour", "translation")
SMALL_SUMS = 0.2
OTHERS_OF_A_TASK = (0, 0, 1, 2)
OTHERS = {"fact": (1, 1, 2, 3), "missing": (0,)}
"""How many tools are offered, beside the one that is needed."""
FURTHER_TURNS = (0, 1, 1, 2)
"""How many turns a conversation has beside the one of its category."""
LONGEST = 210
"""Words, digits, Chinese characters and runs of marks of a conversation: nearly always fewer than
256 tokens, a row of the demo."""
UNIT = re.compile(r"[A-Za-z]+|[^\W\d_a-zA-Z]|\d|[^\w\s]+")


def described(name: str, description: str) -> Record:
    """A tool in OpenAI's form."""
    properties = {parameter: {"type": "string"} for parameter in TOOLS[name]}
    function = {"name": name, "description": description} if description else {"name": name}
    parameters = {"type": "object", "properties": properties, "required": list(TOOLS[name])}
    return {"type": "function", "function": {**function, "parameters": parameters}}


def all_tools() -> list[Record]:
    """All tools, for a chat with them."""
    texts = language("en").tools
    return [described(name, texts.lines(f"{name}: descriptions")[0]) for name in TOOLS]


class Exchange(NamedTuple):
    """A question and its answer, with or without a call."""

    prompt: str
    answer: str
    accepted: Accepted
    task: Task | None = None

    def messages(self) -> list[Message]:
        """The turns as the SFT file stores them."""
        asked: Message = {"role": "user", "content": self.prompt}
        answered: Message = {"role": "assistant", "content": self.answer}
        if not self.task:
            return [asked, answered]
        call = {"type": "function", "function": self.task.call}
        called: Message = {"role": "assistant", "content": "", "tool_calls": [call]}
        return [asked, called, {"role": "tool", "content": self.task.result}, answered]


def recorded(exchanges: Sequence[Exchange], tools: Sequence[Record]) -> Record:
    """A conversation as the SFT file stores it."""
    messages = [message for exchange in exchanges for message in exchange.messages()]
    return {"conversations": messages, **({"tools": tools} if tools else {})}


def is_short(record: Record) -> bool:
    """Whether a conversation fits into a row of the demo."""
    return len(UNIT.findall(as_text(record))) <= LONGEST


class ToolWriter(ConversationWriter):
    """Makes conversations with tools of one language."""

    is_held = False
    """Whether of held-out questions."""

    def __init__(self, holdout: Holdout, code: str, rng: random.Random, held: HeldNumbers) -> None:
        super().__init__(holdout, code, rng)
        self.tasks = TaskWriter(self.texts, held, self.is_held, rng)

    def record(self, category: str) -> Record:
        """A conversation of a category, with further turns of others where they fit."""
        if category == "dates":
            return recorded([Exchange(*self.tasks.question_of_a_date(), ())], [])
        names = self.offered(category)
        tools = [self.describe(name) for name in names]
        exchanges = [self.exchange(category, names)]
        if not is_short(recorded(exchanges, tools)):
            tools = [described(name, "") for name in names]
        record = recorded(exchanges, tools)
        answerable = [kind for kind, name in KINDS.items() if name in names]
        for _ in range(self.rng.choice(FURTHER_TURNS)):
            further = self.exchange(self.rng.choice((*answerable, "fact")), names)
            exchanges.insert(self.rng.randrange(len(exchanges) + 1), further)
            if not is_short(longer := recorded(exchanges, tools)):
                break
            record = longer
        return record

    def offered(self, category: str) -> list[str]:
        """The tools that are offered, in any order: with the one that a question of the category
        needs, if any."""
        needed = KINDS.get(category)
        others = [name for name in TOOLS if name != needed]
        counts = OTHERS.get(category, OTHERS_OF_A_TASK)
        names = self.rng.sample(others, self.rng.choice(counts)) + ([needed] if needed else [])
        return self.rng.sample(names, len(names))

    def describe(self, name: str) -> Record:
        """A tool, described in one of the ways of its section."""
        return described(name, self.rng.choice(self.texts.tools.lines(f"{name}: descriptions")))

    def exchange(self, category: str, names: Collection[str]) -> Exchange:
        """A question of a category, where these tools are offered."""
        if category == "fact":
            found = self.fact(names)
            return Exchange(found.prompt, found.answer, found.fact.accepted)
        if category == "missing":
            category = self.rng.choice(list(KINDS))
        task = self.task(category, may_be_small="calculate" in names)
        if task.name in names:
            return Exchange(task.prompt, task.answer, task.accepted, task)
        answer, sign = (self.texts.tools.one(f"missing: {part}") for part in ("answer", "accepted"))
        return Exchange(task.prompt, answer.text, any_of(sign.text))

    def task(self, category: str, may_be_small: bool) -> Task:
        """A task; some sums and differences in training are those of the table."""
        is_sum = category in ("addition", "subtraction") and may_be_small and not self.is_held
        if not is_sum or self.rng.random() > SMALL_SUMS:
            return self.tasks.task(category)
        while (found := self.question("arithmetic")).fact.kind != category:
            pass
        return self.tasks.known_sum(found)

    def fact(self, names: Collection[str]) -> Question:
        """A question that needs no tool: small sums are known, where there is no calculator."""
        category = self.rng.choice((*FACTS, *(["arithmetic"] * ("calculate" not in names))))
        if self.is_held:  # the other questions of the eval file are taken from the beginning
            return self.rng.choice(self.holdout.held_questions[category, self.code][-20:])
        return self.question(category)


class ToolTextWriter(ToolWriter):
    """Makes texts for the tokenizer and for pretraining, so that calls have few tokens."""

    def record(self, category: str) -> Record:
        """A text of a category, or a list of dates."""
        is_list = category == "dates"
        text = self.tasks.text_of_dates() if is_list else as_text(super().record(category))
        return {"text": text}


class ToolQuestionWriter(ToolWriter):
    """Makes held-out questions."""

    is_held = True

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.made: Counter[str] = Counter()

    def record(self, category: str) -> Record:
        """The next question of a category."""
        self.made[category] += 1
        names = self.offered(category)
        asked = self.exchange(category, names)
        return {
            "id": f"{category}-{self.code}-{self.made[category]:02}",
            "language": self.code,
            "category": category,
            "messages": asked.messages()[:1],
            "tools": [self.describe(name) for name in names],
            "call": asked.task and asked.task.call,
            "result": asked.task and asked.task.result,
            "accepted": asked.accepted,
            "reference": asked.answer,
        }


def as_text(record: Record) -> str:
    """A conversation with tools as the chat template writes it, without its control tokens."""
    turns = template_turns(record["conversations"])
    text = ChatFormat().render(turns, False, record.get("tools"))
    return text.replace(IM_START, "").replace(IM_END, "").strip()
