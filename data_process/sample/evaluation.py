"""Held-out questions and how their answers are judged.

An item of the eval file has these fields:

    id          unique, such as "capital-en-03"
    language    "en" or "zh": the language of the question
    category    a row of the table "conversations" in texts/amounts.txt, such as "capital"
    messages    the conversation so far; it ends with a user turn, which the model has to answer
    accepted    a list of alternatives, each a list of strings. The answer is right if, for at least
                one alternative, ALL of its strings occur in it, and no string of `rejected` does,
                and it has at least `min_characters` characters.
    rejected    strings that must not occur in the answer; most often none
    min_characters   0, but for stories
    reference   an answer that passes

Strings occur without regard to case. A string of ASCII letters and digits occurs only where no
ASCII letter or digit stands directly before or behind it, so "7" is not in "17", and "is" is not
in "Paris"; any other string, such as a Chinese one, occurs anywhere.
"""

from __future__ import annotations

import random
import re
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from config import UserError
from data_process.sample.conversations import (
    RULE_KINDS,
    Conversation,
    Memory,
    Rule,
    Writer,
)
from data_process.sample.questions import Accepted, Fact, Holdout, Question
from data_process.sample.templates import AMOUNTS, LANGUAGES

MIN_STORY_CHARACTERS = {"en": 150, "zh": 50}
NAMED_GREETINGS = 8  # of the greetings

Item = dict[str, Any]  # a record of the eval file


def occurs(text: str, answer: str) -> bool:
    """Whether `text` occurs in `answer` by the rules of this module."""
    text, answer = text.lower(), answer.lower()
    if not text.isascii():
        return text in answer
    return re.search(rf"(?<![a-z0-9]){re.escape(text)}(?![a-z0-9])", answer) is not None


def is_right(item: Item, answer: str) -> bool:
    """Whether `answer` is a right answer to a record of the eval file."""
    if len(answer) < item.get("min_characters", 0):
        return False
    if any(occurs(text, answer) for text in item.get("rejected", ())):
        return False
    return any(all(occurs(text, answer) for text in option) for option in item["accepted"])


class Exam(NamedTuple):
    """A conversation whose last answer is asked for, and what that answer must be."""

    conversation: Conversation
    accepted: Accepted
    rejected: Collection[str] = ()
    min_characters: int = 0


class QuestionWriter(Writer):
    """Makes the held-out questions of one language.

    `training_text` is everything that the training files say: held-out names that stand in it by
    chance are not used.
    """

    def __init__(self, holdout: Holdout, code: str, training_text: str, rng: random.Random) -> None:
        super().__init__(holdout, code, rng)
        names = [name for name in holdout.held_names[code] if name not in training_text]
        self.fresh_names = iter(names)
        self.used: dict[str, int] = {}

    def fresh_name(self) -> str:
        """The next name that no training file and no other item has."""
        if (name := next(self.fresh_names, None)) is None:
            raise UserError(f"no held-out name is left: lower held_out in {AMOUNTS}")
        return name

    def item(self, category: str, number: int) -> Item:
        """The held-out question of a category with this number, from 0 on."""
        special = (self.greeting, self.story, self.memory, self.system)
        write = {method.__name__: method for method in special}.get(category)
        exam = write(number) if write else self.fact(category)
        *messages, reference = exam.conversation.messages()
        name, shortest = f"{category}-{self.code}-{number + 1:02}", exam.min_characters
        asked = {"id": name, "language": self.code, "category": category, "messages": messages}
        right = {"accepted": exam.accepted, "reference": reference["content"]}
        return {**asked, **right, "rejected": exam.rejected, "min_characters": shortest}

    def fact(self, category: str) -> Exam:
        """A held-out question about a fact."""
        question = self._held_question(category)
        conversation = Conversation(None, [(question.prompt, question.answer)])
        return Exam(conversation, question.fact.accepted)

    def _held_question(self, category: str, kinds: Collection[str] = ()) -> Question:
        """The next held-out question that no item has asked yet."""
        pool = self.holdout.held_questions.get((category, self.code), [])
        if category == "arithmetic":
            return self._held_sum(pool)
        for index in range(self.used.get(category, 0), len(pool)):
            if not kinds or pool[index].fact.kind in kinds:
                self.used[category] = index + 1
                return pool[index]
        raise UserError(f"no held-out {category} question is left: lower held_out in {AMOUNTS}")

    def _held_sum(self, pool: list[Question]) -> Question:
        """The next question about a held-out sum (two of five) or difference (three of five); the
        two languages share none."""
        number = self.used.get("arithmetic", 0)
        self.used["arithmetic"] = number + 1
        kind, share = ("addition", 2) if number % 5 < 2 else ("subtraction", 3)
        keys = sorted({q.fact.key for q in pool if q.fact.kind == kind})  # same in both languages
        mine = keys[LANGUAGES.index(self.code) :: len(LANGUAGES)]
        key = mine[(number // 5 * share + number % 5) % len(mine)]
        return self.rng.choice([q for q in pool if q.fact.key == key])

    def greeting(self, number: int) -> Exam:
        """A greeting with an unseen name, or a held-out greeting without one."""
        if number >= NAMED_GREETINGS:
            return self.fact("greeting")
        name, texts = self.fresh_name(), self.texts.facts
        templates = texts["greetings with a name"]
        prompt = templates[number % len(templates)].fill({"name": name})
        answer = texts.one("answer to a greeting with a name").fill({"name": name})
        return Exam(Conversation(None, [(prompt, answer)]), ((name,),))

    def story(self, number: int) -> Exam:
        """Half with known names in a new pair, half with unseen names."""
        pairs = self.holdout.held_stories[self.code]
        if number % 2 == 0 and number // 2 < len(pairs):
            kind, name = pairs[number // 2]
        else:
            kind, name = self.rng.choice(self.texts.story_animals), self.fresh_name()
        conversation = Conversation(None, [self.story_turn(kind, name, self.name())])
        shortest = MIN_STORY_CHARACTERS[self.code]
        return Exam(conversation, ((kind, name),), min_characters=shortest)

    def memory(self, number: int) -> Exam:
        """A thing said one to two turns before the question for it; half of them unseen names."""
        memory = self._held_memory(number)
        categories = self.rng.sample(("capital", "opposite", "colour"), 1 + number % 2)
        known = [self.holdout.questions[category, self.code] for category in categories]
        between = [(q.prompt, q.answer) for q in map(self.rng.choice, known)]
        conversation = Conversation(None, [memory.statement, *between, memory.question])
        return Exam(conversation, ((memory.value,),))

    def _held_memory(self, number: int) -> Memory:
        fixed = self.held_memories()
        if number % 2 and number // 2 < len(fixed):
            return fixed[number // 2]
        kind = ("name", "pet", "name", "friend")[number // 2 % 4]
        return self.memory_of(kind, self.fresh_name())

    def system(self, number: int) -> Exam:
        """A system prompt: an unseen name, or a rule with a held-out question."""
        if number % 5 == 0:
            name = self.fresh_name()
            rejected = self.texts.chat.lines("assistant's name: rejected")
            return Exam(self.named_assistant(name), ((name,),), rejected)
        kind = list(RULE_KINDS)[number % 5 - 1]
        rule = self.rule(kind)
        category = self.rng.choice(("capital", "colour", "opposite"))
        if kind == "other language":  # has no opposites
            category = self.rng.choice(("capital", "colour"))
        question = self._held_question(category, RULE_KINDS[kind])
        conversation = Conversation(rule.system, [self.turn_under(rule, question)])
        return Exam(conversation, *criteria_of(self, rule, question.fact))


def criteria_of(writer: Writer, rule: Rule, fact: Fact) -> tuple[Accepted, Collection[str]]:
    """What the answer under a rule must contain, and must not."""
    if rule.kind == "one word":
        return ((fact.short,),), writer.texts.chat.lines("one word: rejected")
    if rule.kind == "other language":
        return writer.holdout.in_other_language(fact).accepted, (fact.short,)
    mark = rule.word.rstrip("!！")
    return tuple((*option, mark) for option in fact.accepted), ()


def make_evaluation(
    holdout: Holdout, amounts: Mapping[str, int], training_text: str, rng: random.Random
) -> list[Item]:
    """All records of the eval file; `amounts` are those of each language."""
    items = []
    for code in LANGUAGES:
        writer = QuestionWriter(holdout, code, training_text, rng)
        for category, count in amounts.items():
            items += [writer.item(category, number) for number in range(count)]
    return items
