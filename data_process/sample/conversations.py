"""Conversations of the SFT file, made from questions, memories, stories and system prompts.

A conversation here is a list of turns (question, answer), with a system prompt or None.
"""

import random
from dataclasses import dataclass, fields

from data_process.sample import world
from data_process.sample.amounts import ChatAmounts
from data_process.sample.facts import Question, ask
from data_process.sample.grammar import capitalise, with_article
from data_process.sample.holdout import Holdout
from data_process.sample.languages import CHAT, LANGUAGES, PROMPTS, STORIES, other_language
from data_process.sample.names import draw_name
from data_process.sample.stories import short_story

QUESTION_CATEGORIES = (
    "identity",
    "capital",
    "animal",
    "opposite",
    "colour",
    "arithmetic",
    "translation",
)
# Kinds whose answer can be one word, and kinds that are the same in both languages.
ONE_WORD_KINDS = ("capital", "country", "opposite", "colour", "word_to_zh", "word_to_en", "sound")
SHARED_KINDS = ("capital", "country", "colour")
SYSTEM_KINDS = ("name", "one_word", "other_language", "ending", "persona")

Turn = tuple[str, str]


@dataclass(frozen=True)
class Conversation:
    """Turns (user, assistant) after an optional system prompt."""

    system: str | None
    turns: list[Turn]

    def messages(self) -> list[dict[str, str]]:
        """The conversation as the SFT file stores it."""
        messages = [{"role": "system", "content": self.system}] if self.system else []
        for question, answer in self.turns:
            messages.append({"role": "user", "content": question})
            messages.append({"role": "assistant", "content": answer})
        return messages


@dataclass(frozen=True)
class Memory:
    """Something the user says of himself (`tell`), and asks for later (`recall`)."""

    kind: str
    value: str
    tell: Turn
    recall: Turn


class Conversationalist:
    """Makes training conversations of one language; all randomness comes from `rng`."""

    def __init__(self, holdout: Holdout, language: str, rng: random.Random) -> None:
        self.holdout, self.language, self.rng = holdout, language, rng
        self.chat, self.prompts = CHAT[language], PROMPTS[language]
        self.held_tells = {memory.tell for memory in held_memories(language)}
        self.other_answers = shared_answers(holdout, other_language(language))

    def question(self, category: str) -> Question:
        """A training question of the category."""
        pool = self.holdout.questions[category, self.language]
        return self.rng.choice(pool)

    def turn(self, category: str) -> Turn:
        """One question with its answer."""
        if category == "story":
            return self.story()
        if category == "greeting" and self.rng.random() < 0.6:
            return self.named_greeting()
        question = self.question(category)
        return question.prompt, question.answer

    def name(self) -> str:
        """A training name."""
        return draw_name(self.holdout.names[self.language], self.language, self.rng)

    def named_greeting(self) -> Turn:
        """ "Hello, I am Mira." and the answer to it."""
        name = self.name()
        prompt = self.rng.choice(self.prompts.NAMED_GREETINGS).format(name=name)
        return prompt, self.prompts.NAMED_ANSWER.format(name=name)

    def story(self) -> Turn:
        """The wish for a story about an animal with a name, and the story."""
        animals = [pair[self.language == "zh"] for pair in world.STORY_ANIMALS]
        kind, name = self.rng.choice(animals), self.name()
        while (kind, name) in self.holdout.held_stories[self.language]:
            kind, name = self.rng.choice(animals), self.name()
        return tell_story(self.language, kind, name, self.name(), self.rng)

    def memory(self) -> Memory:
        """Something that the user tells, never one of the held-out ways."""
        kind = self.rng.choice([*list(self.chat.MEMORIES), "name", "name", "pet", "friend"])
        while True:
            memory = make_memory(self.language, kind, self.name(), self.rng)
            if memory.tell not in self.held_tells:
                return memory

    def remembering(self) -> Conversation:
        """A memory, a turn or two about something else, and the question for it."""
        memory = self.memory()
        turns = [memory.tell]
        for _ in range(self.rng.choice((0, 1, 1, 1, 2))):
            turns.append(self.turn(self.rng.choice(QUESTION_CATEGORIES)))
        if self.rng.random() < 0.4:  # a second thing to remember, so the right one must be found
            other = self.memory()
            if other.kind != memory.kind:
                turns.insert(self.rng.randrange(len(turns) + 1), other.tell)
                turns.append(memory.recall)
                if self.rng.random() < 0.4:
                    turns.append(other.recall)
                return Conversation(self._plain_system(0.15), turns)
        return Conversation(self._plain_system(0.15), [*turns, memory.recall])

    def following(self) -> Conversation:
        """A system prompt with a rule, and one or two answers that keep it."""
        kind = self.rng.choice(SYSTEM_KINDS)
        if kind == "name":
            return self._named()
        rule = self._rule(kind)
        count = self.rng.choice((1, 1, 2))
        return Conversation(
            rule.system, [rule.turn(self._fact_question(kind)) for _ in range(count)]
        )

    def _named(self) -> Conversation:
        name = self.name()
        system = self.rng.choice(self.chat.NAME_SYSTEMS).format(name=name)
        asked = (self.rng.choice(self.chat.NAME_QUESTIONS), self.chat.NAME_ANSWER.format(name=name))
        turns = [asked]
        if self.rng.random() < 0.3:
            at = self.rng.randrange(2)
            turns.insert(at, self.turn(self.rng.choice(QUESTION_CATEGORIES[1:])))
        return Conversation(system, turns)

    def _fact_question(self, kind: str) -> Question:
        allowed = rule_kinds(kind)
        while True:
            question = self.question(self.rng.choice(QUESTION_CATEGORIES[1:]))
            if question.fact.kind in allowed:
                return question

    def _rule(self, kind: str) -> "Rule":
        return draw_rule(self.language, kind, self.other_answers, self.rng)

    def mixed(self) -> Conversation:
        """Two to four turns of different categories."""
        categories = list(QUESTION_CATEGORIES)
        count = self.rng.choice((2, 2, 3, 3, 4))
        turns = [self.turn(category) for category in self.rng.sample(categories, count)]
        if self.rng.random() < 0.4:
            turns[0] = self.turn("greeting")
        if self.rng.random() < 0.1:
            turns[-1] = self.story()
        return Conversation(self._plain_system(0.3), turns)

    def single(self, category: str) -> Conversation:
        """One question of the category, sometimes under a system prompt without a rule."""
        return Conversation(self._plain_system(0.12), [self.turn(category)])

    def _plain_system(self, probability: float) -> str | None:
        if self.rng.random() < probability:
            return self.rng.choice(self.chat.PLAIN_SYSTEMS)
        return None


@dataclass(frozen=True)
class Rule:
    """A system prompt and what it does to an answer."""

    language: str
    kind: str
    system: str
    word: str  # the ending word, or the cry of a persona
    other_answers: dict[tuple[str, int], str]

    def turn(self, question: Question) -> Turn:
        """The question with the answer that keeps the rule."""
        return question.prompt, self.answer(question)

    def answer(self, question: Question) -> str:
        """The answer of `question`, changed by the rule."""
        chat = CHAT[self.language]
        if self.kind == "one_word":
            return chat.ONE_WORD_ANSWER.format(short=capitalise(question.fact.short))
        if self.kind == "other_language":
            return self.other_answers[question.fact.key]
        if self.kind == "ending":
            return chat.ENDING_ANSWER.format(answer=question.answer, word=self.word)
        return chat.PERSONA_ANSWER.format(answer=question.answer, cry=self.word)


def draw_rule(
    language: str, kind: str, other_answers: dict[tuple[str, int], str], rng: random.Random
) -> Rule:
    """A rule of the kind (any of SYSTEM_KINDS but "name"), with a system prompt that states it."""
    chat, word, slots = CHAT[language], "", {}
    if kind == "one_word":
        templates = chat.ONE_WORD_SYSTEMS
    elif kind == "other_language":
        templates = chat.OTHER_LANGUAGE_SYSTEMS
    elif kind == "ending":
        templates, word = chat.ENDING_SYSTEMS, rng.choice(chat.ENDING_WORDS)
        slots = {"word": word}
    else:
        persona, word = rng.choice(chat.PERSONAS)
        templates, slots = chat.PERSONA_SYSTEMS, {"persona": persona, "cry": word}
    return Rule(language, kind, rng.choice(templates).format(**slots), word, other_answers)


def rule_kinds(kind: str) -> tuple[str, ...]:
    """The kinds of facts that are asked under a rule."""
    if kind == "one_word":
        return ONE_WORD_KINDS
    if kind == "other_language":
        return SHARED_KINDS
    return (*ONE_WORD_KINDS, "legs", "food", "home", "addition", "subtraction")


def shared_answers(holdout: Holdout, language: str) -> dict[tuple[str, int], str]:
    """The answers in `language` by the key that both languages share."""
    facts = [fact for fact in holdout.facts[language] if fact.kind in SHARED_KINDS]
    return {fact.key: ask(fact)[0].answer for fact in facts}


def tell_story(language: str, kind: str, name: str, friend: str, rng: random.Random) -> Turn:
    """The wish for a story about `kind` named `name`, and a short story."""
    slots = STORIES[language].story_slots(kind, name, friend, rng)
    request = rng.choice(CHAT[language].STORY_REQUESTS).format(**slots)
    return request, short_story(language, slots, rng)


def make_memory(language: str, kind: str, name: str, rng: random.Random) -> Memory:
    """A memory of the kind; `name` is used where the value is a name."""
    chat = CHAT[language]
    values = {
        "colour": chat.FAVOURITE_COLOURS,
        "food": chat.FOODS,
        "country": [row[0 if language == "en" else 2] for row in world.COUNTRIES],
        "age": [str(age) for age in range(5, 60)],
    }
    value = rng.choice(values[kind]) if kind in values else name
    animal = rng.choice(chat.PETS)
    slots = {"value": value, "upper_value": capitalise(value), "animal": animal}
    slots["a_animal"] = with_article(animal)
    tells, reply, questions, answer = chat.MEMORIES[kind]
    tell = (rng.choice(tells).format(**slots), reply.format(**slots))
    recall = (rng.choice(questions).format(**slots), answer.format(**slots))
    return Memory(kind, value, tell, recall)


def held_memories(language: str) -> list[Memory]:
    """Memories without a name whose first turn is kept out of training: always the same ones."""
    rng = random.Random(f"held memories {language}")
    return [
        make_memory(language, kind, "", rng)
        for kind in ("colour", "food", "country", "age")
        for _ in range(2)
    ]


def make_conversations(
    holdout: Holdout, amounts: ChatAmounts, rng: random.Random
) -> list[Conversation]:
    """All conversations of the SFT file, shuffled."""
    conversations: list[Conversation] = []
    for language in LANGUAGES:
        maker = Conversationalist(holdout, language, rng)
        special = {"memory": maker.remembering, "system": maker.following, "mixed": maker.mixed}
        for item in fields(amounts):
            for _ in range(getattr(amounts, item.name)):
                if item.name in special:
                    conversations.append(special[item.name]())
                else:
                    conversations.append(maker.single(item.name))
    rng.shuffle(conversations)
    return conversations
