"""Conversations of the SFT file, made from questions, memories, stories and system prompts."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from data_process.sample.questions import Holdout, Question, ask
from data_process.sample.templates import LANGUAGES, Template, language, world

FACT_CATEGORIES = ("capital", "animal", "opposite", "colour", "arithmetic", "translation")
QUESTION_CATEGORIES = ("identity", *FACT_CATEGORIES)
CATEGORIES = ("greeting", *QUESTION_CATEGORIES, "story", "memory", "system", "mixed")
MEMORY_KINDS = ("name", "friend", "pet", "colour", "food", "country", "age")
IMPERSONAL_MEMORY_KINDS = ("colour", "food", "country", "age")
# What system prompts ask for, and the kinds of facts that are asked under each of these rules.
ONE_WORD_KINDS = ("capital", "country", "opposite", "colour", "word_to_zh", "word_to_en", "sound")
ALL_KINDS = (*ONE_WORD_KINDS, "legs", "food", "home", "addition", "subtraction")
SHARED_KINDS = ("capital", "country", "colour")  # the same in both languages
RULE_KINDS = {
    "one word": ONE_WORD_KINDS,
    "other language": SHARED_KINDS,
    "ending": ALL_KINDS,
    "persona": ALL_KINDS,
}
HARD_RULES = ("one word", "other language")  # trained more often

Turn = tuple[str, str]  # what the user says, and the answer


@dataclass(frozen=True)
class Conversation:
    """Turns after an optional system prompt."""

    system: str | None
    turns: list[Turn]

    def messages(self) -> list[dict[str, str]]:
        """The conversation as the SFT file stores it."""
        messages = [{"role": "system", "content": self.system}] if self.system else []
        for question, answer in self.turns:
            messages.append({"role": "user", "content": question})
            messages.append({"role": "assistant", "content": answer})
        return messages


class Memory(NamedTuple):
    """Something the user says about themselves (`statement`), and asks for later (`question`)."""

    kind: str
    value: str
    statement: Turn
    question: Turn


class Plot(NamedTuple):
    """Five lines of a stories file. `talk` takes the place of `help` in some long stories."""

    problem: Template
    attempt: Template
    talk: Template
    help: Template
    end: Template


@dataclass(frozen=True)
class Rule:
    """A system prompt and what it does to an answer."""

    kind: str  # of RULE_KINDS
    system: str
    word: str  # the ending word, or the cry of a persona


class Writer:
    """What texts, conversations and held-out questions of one language are made of; all randomness
    comes from `rng`."""

    def __init__(self, holdout: Holdout, code: str, rng: random.Random) -> None:
        self.holdout, self.code, self.rng = holdout, code, rng
        self.texts = language(code)

    def name(self) -> str:
        """A training name."""
        return self.holdout.draw_name(self.code, self.rng)

    def is_held_story(self, kind: str, name: str) -> bool:
        """Whether no training text may be about a `kind` of this name."""
        return (kind, name) in self.holdout.held_stories[self.code]

    def story_values(self, kind: str, name: str, friend: str) -> dict[str, str]:
        """Values for the plots, of a hero (kind, name) and a friend (name)."""
        texts = self.texts.stories
        helper = self.rng.choice([helper for helper in texts.lines("helpers") if helper != kind])
        values = {"name": name, "kind": kind, "friend": friend, "friend_kind": helper}
        values |= self.texts.pronouns(name)
        if self.code == "zh":
            rows = texts.table("measure words", "kind", "measure")
            measures = {row["kind"]: row["measure"] for row in rows}
            values["measure"] = measures.get(kind) or texts.one("usual measure word").text
        for section in texts.names("{"):
            values[section.strip("{}")] = self.rng.choice(texts.lines(section))
        return values

    def plot(self) -> Plot:
        """One of the plots."""
        texts = self.texts.stories
        return Plot(*texts.several(self.rng.choice(texts.names("plot: ")), len(Plot._fields)))

    def story_turn(self, kind: str, name: str, friend: str) -> Turn:
        """The request for a story about `kind` named `name`, and a story of five sentences."""
        values = self.story_values(kind, name, friend)
        request, plot = self.texts.chat.draw("story requests", values, self.rng), self.plot()
        opening = self.texts.stories.one("opening")
        lines = (opening, plot.problem, plot.attempt, plot.help, plot.end)
        return request, self.texts.space.join(line.fill(values, self.rng) for line in lines)

    def memory_of(self, kind: str, name: str) -> Memory:
        """A memory of the kind; `name` is used where the value is a name."""
        texts, value = self.texts.chat, name
        if kind == "country":
            rows = world().table("countries")
            value = self.rng.choice([row[f"country_{self.code}"] for row in rows])
        elif kind == "age":
            value = str(self.rng.randrange(5, 60))
        elif kind in IMPERSONAL_MEMORY_KINDS:
            value = self.rng.choice(texts.lines(f"favourite {kind}s"))
        values = {"value": value, "animal": self.rng.choice(texts.lines("pets"))}
        statement = texts.draw(f"{kind}: statements", values, self.rng)
        question = texts.draw(f"{kind}: questions", values, self.rng)
        reply, answer = (texts.one(f"{kind}: {name}").fill(values) for name in ("reply", "answer"))
        return Memory(kind, value, (statement, reply), (question, answer))

    def held_memories(self) -> list[Memory]:
        """Memories without a name whose first turn is kept out of training: always the same."""
        fixed = Writer(self.holdout, self.code, random.Random(f"held memories {self.code}"))
        return [fixed.memory_of(kind, "") for kind in IMPERSONAL_MEMORY_KINDS for _ in range(2)]

    def rule(self, kind: str) -> Rule:
        """A rule of the kind, with a system prompt that states it."""
        texts, values, word = self.texts.chat, {}, ""
        if kind == "ending":
            word = self.rng.choice(texts.lines("ending: words"))
            values = {"word": word}
        elif kind == "persona":
            values = self.rng.choice(texts.table("personas", "persona", "cry"))
            word = values["cry"]
        return Rule(kind, texts.draw(f"{kind}: system prompts", values, self.rng), word)

    def turn_under(self, rule: Rule, question: Question) -> Turn:
        """The question with the answer that follows the rule."""
        if rule.kind == "other language":
            return question.prompt, ask(self.holdout.in_other_language(question.fact))[0].answer
        values = {"short": question.fact.short, "answer": question.answer}
        values |= {"word": rule.word, "cry": rule.word}
        return question.prompt, self.texts.chat.one(f"{rule.kind}: answer").fill(values)

    def named_assistant(self, name: str) -> Conversation:
        """A system prompt that gives the assistant a name, and the question for it."""
        texts, values, section = self.texts.chat, {"name": name}, "assistant's name"
        system = texts.draw(f"{section}: system prompts", values, self.rng)
        question = texts.draw(f"{section}: questions", values, self.rng)
        return Conversation(system, [(question, texts.one(f"{section}: answer").fill(values))])


class TrainingWriter(Writer):
    """Makes what is trained: of further names too, and never in a held-out wording."""

    def __init__(self, holdout: Holdout, code: str, rng: random.Random) -> None:
        super().__init__(holdout, code, rng)
        self.held_statements = {memory.statement for memory in self.held_memories()}

    def name(self) -> str:
        """A training name, half of them further ones."""
        return self.holdout.draw_name(self.code, self.rng, self.rng.random() < 0.5)


class ConversationWriter(TrainingWriter):
    """Makes training conversations."""

    def __init__(self, holdout: Holdout, code: str, rng: random.Random) -> None:
        super().__init__(holdout, code, rng)
        self.decks: dict[str, list[Question]] = {}

    def question(self, category: str) -> Question:
        """A training question of the category: none comes again before all have come."""
        if not (deck := self.decks.get(category)):
            pool = self.holdout.training_questions(category, self.code)
            deck = self.decks[category] = self.rng.sample(pool, len(pool))
        return deck.pop()

    def turn(self, category: str) -> Turn:
        """One question with its answer."""
        if category == "story":
            return self.story()
        if category == "greeting" and self.rng.random() < 0.6:
            return self.greeting()
        question = self.question(category)
        return question.prompt, question.answer

    def greeting(self) -> Turn:
        """ "Hello, I am Mira." and the answer to it."""
        texts, values = self.texts.facts, {"name": self.name()}
        greeting = texts.draw("greetings with a name", values, self.rng)
        return greeting, texts.one("answer to a greeting with a name").fill(values)

    def story(self) -> Turn:
        """The request for a story about an animal with a name, and the story."""
        kind, name = self.rng.choice(self.texts.story_animals), self.name()
        if self.is_held_story(kind, name):
            return self.story()
        return self.story_turn(kind, name, self.name())

    def memory(self) -> Memory:
        """Something that the user says, never in one of the held-out ways."""
        kind = self.rng.choice([*MEMORY_KINDS, "name", "name", "pet", "friend"])
        while True:
            memory = self.memory_of(kind, self.name())
            if memory.statement not in self.held_statements:
                return memory

    def remembering(self) -> Conversation:
        """A memory, a turn or two about something else, and the question for it."""
        memory = self.memory()
        turns = [memory.statement]
        for _ in range(self.rng.choice((0, 1, 1, 1, 2))):
            turns.append(self.turn(self.rng.choice(QUESTION_CATEGORIES)))
        last = [memory.question]
        if self.rng.random() < 0.4:  # a second thing to remember, so the right one must be found
            other = self.memory()
            if other.kind != memory.kind:
                turns.insert(self.rng.randrange(len(turns) + 1), other.statement)
                if self.rng.random() < 0.4:
                    last.append(other.question)
        return Conversation(self._plain_system(0.15), turns + last)

    def following(self) -> Conversation:
        """A system prompt with a rule, and one or two answers that follow it."""
        kind = self.rng.choice(("name", *RULE_KINDS, *HARD_RULES))
        if kind == "name":
            return self._named()
        rule = self.rule(kind)
        questions = [self._question_for(kind) for _ in range(self.rng.choice((1, 1, 2)))]
        return Conversation(rule.system, [self.turn_under(rule, q) for q in questions])

    def _question_for(self, rule_kind: str) -> Question:
        while True:
            category = self.rng.choice(FACT_CATEGORIES)
            question = self.rng.choice(self.holdout.training_questions(category, self.code))
            if question.fact.kind in RULE_KINDS[rule_kind]:
                return question

    def _named(self) -> Conversation:
        conversation = self.named_assistant(self.name())
        if self.rng.random() < 0.3:
            at = self.rng.randrange(2)
            conversation.turns.insert(at, self.turn(self.rng.choice(FACT_CATEGORIES)))
        return conversation

    def mixed(self) -> Conversation:
        """Two to four turns of different categories."""
        count = self.rng.choice((2, 2, 3, 3, 4))
        turns = [self.turn(name) for name in self.rng.sample(QUESTION_CATEGORIES, count)]
        if self.rng.random() < 0.4:
            turns[0] = self.turn("greeting")
        if self.rng.random() < 0.1:
            turns[-1] = self.story()
        return Conversation(self._plain_system(0.3), turns)

    def conversation(self, category: str) -> Conversation:
        """A conversation of a category: of the special ones, or one question."""
        special = {"memory": self.remembering, "system": self.following, "mixed": self.mixed}
        if category in special:
            return special[category]()
        return Conversation(self._plain_system(0.12), [self.turn(category)])

    def record(self, category: str) -> dict[str, Any]:
        """A conversation of a category, as the SFT file stores it."""
        return {"conversations": self.conversation(category).messages()}

    def _plain_system(self, probability: float) -> str | None:
        """Sometimes a system prompt without a rule."""
        if self.rng.random() < probability:
            return self.rng.choice(self.texts.chat.lines("system prompts without a rule"))
        return None


def make_records(
    kind: Callable[[Holdout, str, random.Random], ConversationWriter],
    holdout: Holdout,
    amounts: Mapping[str, int],
    rng: random.Random,
) -> list[dict[str, Any]]:
    """All records of the file that such writers make, shuffled; `amounts` are those of each
    language."""
    records = []
    for code in LANGUAGES:
        writer = kind(holdout, code, rng)
        for category, count in amounts.items():
            records += [writer.record(category) for _ in range(count)]
    rng.shuffle(records)
    return records
