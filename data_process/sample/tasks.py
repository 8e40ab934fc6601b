"""What the tools of the sample are asked: calculations and dates, in words.

Held out is a share of all numbers and days: no training question is about one of them, and a
held-out question about nothing else.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, NamedTuple

from data_process.sample import functions
from data_process.sample.questions import Accepted, Question, any_of
from data_process.sample.templates import Language, Template

SIGNS = {"addition": "+", "subtraction": "-", "multiplication": "*", "division": "/"}
STEPS = ("{a} + {b} + {c}", "{a} + {b} * {c}", "{a} * {b} + {c}", "{a} * {b} - {c}")
TOOLS = {"calculate": ("expression",), "weekday": ("date",), "days_between": ("start", "end")}
"""The functions and their parameters, all of them texts."""
KINDS = dict.fromkeys((*SIGNS, "steps"), "calculate")
KINDS |= {"weekday": "weekday", "days": "days_between"}
"""The kinds of tasks, and the tool that each needs."""
FIRST_DAY, DAYS = date(1900, 1, 1), 73_000
LONGEST_SPAN = 400
"""Days between two dates."""
LARGEST_OF_TABLE = 20
"""Sums and differences of smaller numbers are known by heart."""
HELD_OUT_SHARE = 0.15
DATES_OF_A_TEXT = 8


class Task(NamedTuple):
    """A question for a tool: the call that it needs, and the answer when the result is there."""

    prompt: str
    name: str
    arguments: dict[str, str]
    result: str
    answer: str
    accepted: Accepted

    @property
    def call(self) -> dict[str, Any]:
        """The call as a message says it."""
        return {"name": self.name, "arguments": self.arguments}


@dataclass(frozen=True)
class HeldNumbers:
    """What no training question is about."""

    numbers: frozenset[int]
    days: frozenset[int]
    """Counted from FIRST_DAY."""

    @classmethod
    def drawn(cls, rng: random.Random) -> HeldNumbers:
        """A share of the numbers above those of the table of sums, and of the days."""
        ranges = range(LARGEST_OF_TABLE + 1, 10_000), range(DAYS + LONGEST_SPAN)
        return cls(*(frozenset(rng.sample(r, int(len(r) * HELD_OUT_SHARE))) for r in ranges))


def date_of(day: int) -> date:
    """The date of a day that is counted from FIRST_DAY."""
    return FIRST_DAY + timedelta(day)


class TaskWriter:
    """Makes the tasks of one language: held-out ones, or those for training."""

    def __init__(
        self, texts: Language, held: HeldNumbers, is_held: bool, rng: random.Random
    ) -> None:
        self.texts, self.held, self.is_held, self.rng = texts.tools, held, is_held, rng

    def task(self, kind: str) -> Task:
        """A task of one of KINDS."""
        values, arguments = self.dates(kind) if kind in ("weekday", "days") else self.sum(kind)
        prompt = self.texts.draw(f"{kind}: questions", values, self.rng)
        return self.solved(prompt, KINDS[kind], arguments)

    def known_sum(self, question: Question) -> Task:
        """A sum or difference of the table, asked as where there is no calculator."""
        values, sign = question.fact.values, SIGNS[question.fact.kind]
        expression = f"{values['a']} {sign} {values['b']}"
        return self.solved(question.prompt, "calculate", {"expression": expression})

    def solved(self, prompt: str, name: str, arguments: dict[str, str]) -> Task:
        """A task with what the tool really answers."""
        result = says = getattr(functions, name)(**arguments)
        if name == "weekday":
            says = self.texts.several("weekdays", 7)[functions.WEEKDAYS.index(result)].text
        answer = self.texts.one(f"{name}: answer").fill({**arguments, "result": says})
        return Task(prompt, name, arguments, result, answer, any_of(says))

    def sum(self, kind: str) -> tuple[dict[str, str], dict[str, str]]:
        """The values and arguments of a calculation whose result is no fraction, nor below 0."""
        if kind == "steps":
            values = {name: str(self.number(2)) for name in "abc"}
            expression = Template(self.rng.choice(STEPS), "STEPS").fill(values)
        else:
            a, b = self.operands(kind)
            values = {"a": str(a), "b": str(b)}
            expression = f"{a} {SIGNS[kind]} {b}"
        if functions.calculate(expression).startswith("-"):
            return self.sum(kind)
        return {**values, "expression": expression}, {"expression": expression}

    def operands(self, kind: str) -> tuple[int, int]:
        """Two numbers to calculate with: none that the table of sums has."""
        a, b = self.number(3), self.number(2 if kind in ("multiplication", "division") else 3)
        if kind == "division":
            results = [q for q in range(2, 100) if (q * b in self.held.numbers) == self.is_held]
            return self.rng.choice(results) * b, b
        if kind in ("addition", "subtraction") and max(a, b) <= LARGEST_OF_TABLE:
            return self.operands(kind)
        is_in_order = self.rng.random() < 0.5 if kind != "subtraction" else a > b
        return (a, b) if is_in_order else (b, a)

    def number(self, digits: int) -> int:
        """A number of at most so many digits, seldom of one."""
        while True:
            least = 2 if self.rng.random() < 0.7 else 1
            number = self.rng.randrange(2, 10 ** self.rng.randint(least, digits))
            if (number in self.held.numbers) == self.is_held:
                return number

    def dates(self, kind: str) -> tuple[dict[str, str], dict[str, str]]:
        """The values and arguments of a question about one day, or two."""
        first = self.day(range(DAYS))
        words = self.rng.choice(self.texts["dates"])
        values, day = {"date": self.say(first, words)}, date_of(first)
        if kind == "weekday":
            return values, {"date": str(day)}
        last = self.day(range(first + 2, first + LONGEST_SPAN))
        values["until"] = self.say(last, words)
        return values, {"start": str(day), "end": str(date_of(last))}

    def text_of_dates(self) -> str:
        """A text that says some days in words and in numbers."""
        lines = [self.texts.draw("date openings", {}, self.rng)]
        for _ in range(DATES_OF_A_TEXT):
            lines.append(self.texts.draw("date lines", self.date_in_words(), self.rng))
        return "\n".join(lines)

    def question_of_a_date(self) -> tuple[str, str]:
        """How a day is written in numbers, and the answer."""
        values = self.date_in_words()
        return self.texts.draw("date questions", values, self.rng), values["iso"]

    def date_in_words(self) -> dict[str, str]:
        """A day in words and in numbers."""
        day = self.day(range(DAYS))
        ways = [way for way in self.texts["dates"] if "{month}" in way.text]
        return {"date": self.say(day, self.rng.choice(ways)), "iso": str(date_of(day))}

    def day(self, days: range) -> int:
        """A day, counted from FIRST_DAY."""
        while True:
            day = self.rng.choice(days)
            if (day in self.held.days) == self.is_held:
                return day

    def say(self, number: int, words: Template) -> str:
        """A day in words."""
        day = date_of(number)
        values: Mapping[str, str] = {
            "day": str(day.day),
            "month": self.texts.several("months", 12)[day.month - 1].text,
            "year": str(day.year),
            "iso": str(day),
        }
        return words.fill(values)
