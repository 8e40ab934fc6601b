"""Texts of the pretraining file: stories, meetings, quizzes, facts, sums, words, descriptions."""

import random
from dataclasses import fields

from data_process.sample import prose_en, world
from data_process.sample.amounts import PretrainAmounts
from data_process.sample.conversations import held_memories, make_memory
from data_process.sample.facts import Fact, arithmetic_fact, statements
from data_process.sample.grammar import capitalise, expand, with_article
from data_process.sample.holdout import Holdout
from data_process.sample.languages import LANGUAGES, PROSE, SPACES, STORIES
from data_process.sample.names import draw_name, is_girl
from data_process.sample.stories import long_story

FACT_CATEGORIES = ("capital", "animal", "opposite", "colour")
QUIZ_CATEGORIES = ("capital", "animal", "opposite", "colour", "translation", "arithmetic")


class Author:
    """Writes training texts of one language; all randomness comes from `rng`."""

    def __init__(self, holdout: Holdout, language: str, rng: random.Random) -> None:
        self.holdout, self.language, self.rng = holdout, language, rng
        self.prose = PROSE[language]
        self.space = SPACES[language]
        self.held_tells = {memory.tell for memory in held_memories(language)}
        self.facts: dict[str, list[Fact]] = {}
        for fact in holdout.facts[language]:
            if statements(fact):
                self.facts.setdefault(fact.category, []).append(fact)

    def name(self) -> str:
        """A training name."""
        return draw_name(self.holdout.names[self.language], self.language, self.rng)

    def names(self, count: int) -> list[str]:
        """Different training names."""
        drawn: list[str] = []
        while len(drawn) < count:
            name = self.name()
            if name not in drawn:
                drawn.append(name)
        return drawn

    def stories(self) -> str:
        """A long story about an animal (mostly) or a person."""
        module = STORIES[self.language]
        name, friend = self.names(2)
        if self.rng.random() < 0.7:
            kind = self.rng.choice(world.STORY_ANIMALS)[self.language == "zh"]
        elif self.language == "zh":
            kind = self.rng.choice(module.PEOPLE)
        else:
            kind = self.rng.choice(module.PEOPLE_GIRL if is_girl(name) else module.PEOPLE_BOY)
        if (kind, name) in self.holdout.held_stories[self.language]:
            return self.stories()
        return long_story(self.language, module.story_slots(kind, name, friend, self.rng), self.rng)

    def meetings(self) -> str:
        """Two people tell their names, use them, and remember a thing about each other."""
        first, second = self.names(2)
        slots = {"a": first, "b": second, "c": self.names(1)[0]}
        if self.language == "en":
            slots |= prose_en.pronouns("a", first) | prose_en.pronouns("b", second)
        parts = [expand(self.rng.choice(self.prose.MEETINGS), slots, self.rng)]
        parts.append(self._remembering(first, second))
        parts.append(expand(self.rng.choice(self.prose.PARTINGS), slots, self.rng))
        return "\n\n".join(parts)

    def _remembering(self, first: str, second: str) -> str:
        """The second asks the first for a thing that was said before."""
        kind = self.rng.choice(("name", "friend", "pet", "colour", "food", "country", "age"))
        value = first if kind == "name" else self.name()
        memory = make_memory(self.language, kind, value, self.rng)
        while memory.tell in self.held_tells:
            memory = make_memory(self.language, kind, value, self.rng)
        slots = {"a": first, "b": second}
        slots |= self._spoken(*memory.recall, *memory.tell)
        return expand(self.rng.choice(self.prose.REMEMBERINGS), slots, self.rng)

    def _spoken(self, ask: str, answer: str, tell: str = "", reply: str = "") -> dict[str, str]:
        """The slots of sentences that stand in quotes (see prose_en.py)."""
        slots = {"ask": ask, "answer": answer, "tell": tell, "reply": reply}
        is_question = ask.endswith(("?", "？"))
        if self.language == "en":
            slots = {name: text.replace('"', "'") for name, text in slots.items()}
            commas = {f"{k}_": v[:-1] + "," if v.endswith(".") else v for k, v in slots.items()}
            return slots | commas | {"asked": "asked" if is_question else "said"}
        # Quotes inside quotes are single ones.
        slots = {name: text.replace("“", "‘").replace("”", "’") for name, text in slots.items()}
        return slots | {"asked": "问" if is_question else "说"}

    def quizzes(self) -> str:
        """Two people ask each other three or four questions about facts."""
        first, second = self.names(2)
        slots = {"a": first, "b": second}
        parts = [expand(self.rng.choice(self.prose.QUIZ_OPENINGS), slots, self.rng)]
        for _ in range(self.rng.choice((3, 4, 4))):
            category = self.rng.choice(QUIZ_CATEGORIES)
            question = self.rng.choice(self.holdout.questions[category, self.language])
            slots |= self._spoken(question.prompt, question.answer)
            parts.append(expand(self.rng.choice(self.prose.QUIZ_TURNS), slots, self.rng))
        parts.append(expand(self.rng.choice(self.prose.QUIZ_ENDINGS), slots, self.rng))
        return self.space.join(parts)

    def facts_of(self, category: str, count: int) -> list[str]:
        """Different facts of a category, each told in one of its ways."""
        facts = self.rng.sample(self.facts[category], count)
        return [self.tell(fact) for fact in facts]

    def tell(self, fact: Fact) -> str:
        """One sentence that tells the fact."""
        slots = fact.slots | {"items": self.rng.choice(self.prose.ITEMS)}
        sentence = self.rng.choice(statements(fact)).format(**slots)
        return capitalise(sentence) if self.language == "en" else sentence

    def texts_of_facts(self) -> str:
        """A paragraph of facts of one category."""
        category = self.rng.choice(FACT_CATEGORIES)
        opening = self.rng.choice(self.prose.FACT_OPENINGS[category])
        count = self.rng.randint(6, 10) if self.language == "en" else self.rng.randint(8, 12)
        return self.space.join([opening, *self.facts_of(category, count)])

    def sums(self) -> str:
        """Sums and differences: a family that belongs together, a row, or a mixture."""
        draw = self.rng.random()
        if draw < 0.5:
            triples = [t for _ in range(3) for t in self._family()]
        elif draw < 0.7:
            triples = self._row()
        else:
            triples = self.rng.sample(self.holdout.triples, 9)
        told = [self.tell(arithmetic_fact(triple, self.language)) for triple in triples]
        opening = self.rng.choice(self.prose.SUM_OPENINGS)
        if self.rng.random() < 0.4:
            told.insert(0, self._counting())
        return self.space.join([opening, *told])

    def _counting(self) -> str:
        """Six numbers in a row, up or down: what the sums stand on."""
        step, start = self.rng.choice((1, -1)), self.rng.randint(0, 15)
        numbers = [str(number) for number in range(start, start + 6)][::step]
        return self.prose.COUNTING[step].format(numbers=self.prose.COMMA.join(numbers))

    def _family(self) -> list[tuple[int, str, int]]:
        """The trained ones of a + b, b + a, (a + b) - a and (a + b) - b."""
        a, operator, b = self.rng.choice(self.holdout.triples)
        if operator == "-":
            a = a - b
        family = [(a, "+", b), (b, "+", a), (a + b, "-", a), (a + b, "-", b)]
        return [triple for triple in dict.fromkeys(family) if triple in self.holdout.triples]

    def _row(self) -> list[tuple[int, str, int]]:
        """The trained ones of a + 1, a + 2 and so on, or of a - 1, a - 2 and so on."""
        a, operator = self.rng.randint(2, 17), self.rng.choice("+-")
        row = [(a, operator, b) for b in range(1, 20)]
        row = [triple for triple in row if triple in self.holdout.triples]
        return row[:10] if len(row) > 5 else self.rng.sample(self.holdout.triples, 9)

    def words(self) -> str:
        """A list of words in both languages."""
        count = self.rng.randint(8, 12)
        return self.space.join(
            [self.rng.choice(self.prose.WORD_OPENINGS), *self.facts_of("translation", count)]
        )

    def descriptions(self) -> str:
        """A season, place or thing; or everything about one animal that has a name."""
        if self.rng.random() < 0.5:
            return self._portrait()
        slots = {"a": self.name(), "b": self.name()}
        first, second = self.rng.sample(self.prose.DESCRIPTIONS, 2)
        return expand(first, slots, self.rng) + "\n\n" + expand(second, slots, self.rng)

    def _portrait(self) -> str:
        facts: list[Fact] = []
        while len(facts) < 3:  # of a few animals the sample says little
            index = self.rng.randrange(len(world.ANIMALS_EN))
            facts = [fact for fact in self.facts["animal"] if fact.key[1] == index]
        self.rng.shuffle(facts)
        animal = facts[0].slots["animal"]
        name = self.name()
        while (animal, name) in self.holdout.held_stories[self.language]:
            name = self.name()
        slots = {"animal": animal, "a_animal": with_article(animal), "a": name, "b": self.name()}
        opening = expand(self.rng.choice(self.prose.PORTRAIT_OPENINGS), slots, self.rng)
        ending = expand(self.rng.choice(self.prose.PORTRAIT_ENDINGS), slots, self.rng)
        told = self.space.join(self.tell(fact) for fact in facts)
        return f"{opening}{self.space}{told}\n\n{ending}"


def make_texts(holdout: Holdout, amounts: PretrainAmounts, rng: random.Random) -> list[str]:
    """All texts of the pretraining file, shuffled."""
    texts: list[str] = []
    for language in LANGUAGES:
        author = Author(holdout, language, rng)
        for item in fields(amounts):
            kind, of_language = item.name.rsplit("_", 1)
            if of_language == language:
                write = author.texts_of_facts if kind == "facts" else getattr(author, kind)
                texts.extend(write() for _ in range(getattr(amounts, item.name)))
    rng.shuffle(texts)
    return texts
