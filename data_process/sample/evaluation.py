"""Held-out questions and how their answers are judged.

An item of the eval file has these fields:

    id          unique, such as "capital-en-03"
    language    "en" or "zh": the language of the question
    category    a field of EvalAmounts, such as "capital"
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

import random
import re
from dataclasses import asdict, dataclass, fields
from typing import Any

from data_process.sample import world
from data_process.sample.amounts import EvalAmounts
from data_process.sample.conversations import (
    Conversation,
    Conversationalist,
    Memory,
    Rule,
    draw_rule,
    held_memories,
    make_memory,
    rule_kinds,
    shared_answers,
    tell_story,
)
from data_process.sample.facts import Accepted, Question
from data_process.sample.holdout import Holdout
from data_process.sample.languages import CHAT, LANGUAGES, PROMPTS, other_language

MIN_STORY_CHARACTERS = {"en": 150, "zh": 50}
NAMED_GREETINGS = 8  # of the greetings
RULES = ("one_word", "other_language", "ending", "persona")


@dataclass(frozen=True)
class Item:
    """One held-out question, as the eval file stores it (see the module's docstring)."""

    id: str
    language: str
    category: str
    messages: list[dict[str, str]]
    accepted: Accepted
    reference: str
    rejected: tuple[str, ...] = ()
    min_characters: int = 0

    def record(self) -> dict[str, Any]:
        """The item ready for JSON."""
        return asdict(self)


def occurs(text: str, answer: str) -> bool:
    """Whether `text` occurs in `answer` by the rules of this module."""
    text, answer = text.lower(), answer.lower()
    if not text.isascii():
        return text in answer
    return re.search(rf"(?<![a-z0-9]){re.escape(text)}(?![a-z0-9])", answer) is not None


def is_right(item: dict[str, Any], answer: str) -> bool:
    """Whether `answer` is a right answer to a record of the eval file."""
    if len(answer) < item["min_characters"]:
        return False
    if any(occurs(text, answer) for text in item["rejected"]):
        return False
    return any(all(occurs(text, answer) for text in option) for option in item["accepted"])


class Examiner:
    """Makes the held-out questions of one language; all randomness comes from `rng`.

    `training_text` is everything that the training files say: held-out names that stand in it by
    chance are not used.
    """

    def __init__(
        self, holdout: Holdout, language: str, training_text: str, rng: random.Random
    ) -> None:
        self.holdout, self.language, self.rng = holdout, language, rng
        names = [name for name in holdout.held_names[language] if name not in training_text]
        self.fresh_names = iter(names)
        self.chat, self.prompts = CHAT[language], PROMPTS[language]
        self.companion = Conversationalist(holdout, language, rng)  # for turns in between
        self.used: dict[str, int] = {}

    def items(self, amounts: EvalAmounts) -> list[Item]:
        """All held-out questions."""
        items = []
        special = {"story": self.story, "memory": self.memory, "system": self.system}
        special["greeting"] = self.greeting
        for item in fields(amounts):
            for number in range(getattr(amounts, item.name)):
                if item.name in special:
                    items.append(special[item.name](number))
                else:
                    items.append(self.fact(item.name, number))
        return items

    def _item(
        self,
        category: str,
        number: int,
        turns: Conversation,
        accepted: Accepted,
        rejected: tuple[str, ...] = (),
        min_characters: int = 0,
    ) -> Item:
        messages = turns.messages()
        identifier = f"{category}-{self.language}-{number + 1:02}"
        reference = messages.pop()["content"]
        return Item(
            id=identifier,
            language=self.language,
            category=category,
            messages=messages,
            accepted=accepted,
            rejected=rejected,
            min_characters=min_characters,
            reference=reference,
        )

    def _held_question(self, category: str, kinds: tuple[str, ...] = ()) -> Question:
        """The next held-out question that no item has asked yet."""
        pool = self.holdout.held_questions[category, self.language]
        if category == "arithmetic":
            return self._held_sum(pool)
        start = self.used.get(category, 0)
        for index in range(start, len(pool)):
            if not kinds or pool[index].fact.kind in kinds:
                self.used[category] = index + 1
                return pool[index]
        raise ValueError(f"no held-out {category} question is left: raise HELD_OUT_QUESTIONS")

    def _held_sum(self, pool: list[Question]) -> Question:
        """The next question about a held-out sum (two of five) or difference (three of five); the
        two languages share none."""
        number = self.used.get("arithmetic", 0)
        self.used["arithmetic"] = number + 1
        kind = "addition" if number % 5 < 2 else "subtraction"
        keys = list(dict.fromkeys(q.fact.key for q in pool if q.fact.kind == kind))
        keys.sort()  # the same in both languages
        mine = keys[::2] if self.language == "en" else keys[1::2]
        key = mine[(number // 5 * (2 if kind == "addition" else 3) + number % 5) % len(mine)]
        return self.rng.choice([q for q in pool if q.fact.key == key])

    def fact(self, category: str, number: int) -> Item:
        """A held-out question about a fact."""
        question = self._held_question(category)
        turns = Conversation(None, [(question.prompt, question.answer)])
        return self._item(category, number, turns, question.fact.accepted)

    def greeting(self, number: int) -> Item:
        """A greeting with an unseen name, or a held-out greeting without one."""
        if number >= NAMED_GREETINGS:
            return self.fact("greeting", number)
        name = next(self.fresh_names)
        templates = self.prompts.NAMED_GREETINGS
        prompt = templates[number % len(templates)].format(name=name)
        turns = Conversation(None, [(prompt, self.prompts.NAMED_ANSWER.format(name=name))])
        return self._item("greeting", number, turns, ((name,),))

    def story(self, number: int) -> Item:
        """Half with known names in a new pair, half with unseen names."""
        if number % 2 == 0:
            kind, name = self.holdout.held_stories[self.language][number // 2]
        else:
            kind = self.rng.choice(world.STORY_ANIMALS)[self.language == "zh"]
            name = next(self.fresh_names)
        friend = self.companion.name()
        turns = Conversation(None, [tell_story(self.language, kind, name, friend, self.rng)])
        shortest = MIN_STORY_CHARACTERS[self.language]
        accepted = ((kind, name),)
        return self._item("story", number, turns, accepted, min_characters=shortest)

    def memory(self, number: int) -> Item:
        """A thing said one to two turns before the question for it; half of them unseen names."""
        memory = self._held_memory(number)
        turns = [memory.tell]
        for category in self.rng.sample(("capital", "opposite", "colour"), 1 + number % 2):
            turns.append(self.companion.turn(category))
        turns.append(memory.recall)
        accepted = ((memory.value,),)
        return self._item("memory", number, Conversation(None, turns), accepted)

    def _held_memory(self, number: int) -> Memory:
        fixed = held_memories(self.language)
        if number % 2 and number // 2 < len(fixed):
            return fixed[number // 2]
        kind = ("name", "pet", "name", "friend")[number // 2 % 4]
        return make_memory(self.language, kind, next(self.fresh_names), self.rng)

    def system(self, number: int) -> Item:
        """A system prompt: an unseen name, or a rule with a held-out question."""
        if number % 5 == 0:
            return self._named(number)
        kind = RULES[number % 5 - 1]
        other = other_language(self.language)
        rule = draw_rule(self.language, kind, shared_answers(self.holdout, other), self.rng)
        category = self.rng.choice(("capital", "colour", "opposite"))
        if kind == "other_language":
            category = self.rng.choice(("capital", "colour"))
        question = self._held_question(category, rule_kinds(kind))
        turns = Conversation(rule.system, [rule.turn(question)])
        accepted, rejected = self._criteria(rule, question)
        return self._item("system", number, turns, accepted, rejected=rejected)

    def _criteria(self, rule: Rule, question: Question) -> tuple[Accepted, tuple[str, ...]]:
        accepted = question.fact.accepted
        if rule.kind == "one_word":
            return ((question.fact.short,),), self.chat.ONE_WORD_REJECTED
        if rule.kind == "other_language":
            other = other_language(self.language)
            twins = [f for f in self.holdout.facts[other] if f.key == question.fact.key]
            return twins[0].accepted, (question.fact.short,)
        mark = rule.word.rstrip("!！")
        return tuple((*option, mark) for option in accepted), ()

    def _named(self, number: int) -> Item:
        name = next(self.fresh_names)
        system = self.rng.choice(self.chat.NAME_SYSTEMS).format(name=name)
        question = self.rng.choice(self.chat.NAME_QUESTIONS)
        turns = Conversation(system, [(question, self.chat.NAME_ANSWER.format(name=name))])
        return self._item("system", number, turns, ((name,),), rejected=("Etude", "练习曲"))


def make_evaluation(
    holdout: Holdout, amounts: EvalAmounts, training_text: str, rng: random.Random
) -> list[dict[str, Any]]:
    """All records of the eval file."""
    items = []
    for language in LANGUAGES:
        items += Examiner(holdout, language, training_text, rng).items(amounts)
    return [item.record() for item in items]
