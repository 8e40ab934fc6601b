"""Texts of the pretraining file: stories, meetings, quizzes, facts, sums, words, descriptions."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from data_process.sample.conversations import MEMORY_KINDS, TrainingWriter
from data_process.sample.questions import Fact, Holdout, Triple, arithmetic_fact, places, statements
from data_process.sample.templates import LANGUAGES, Template, world

FACT_CATEGORIES = ("capital", "animal", "opposite", "colour")
QUIZ_CATEGORIES = ("capital", "animal", "opposite", "colour", "translation", "arithmetic")
FACTS_OF_A_TEXT = {"en": (6, 10), "zh": (8, 12)}
INNER_QUOTES = str.maketrans('"“”', "'‘’")  # quotes inside quotes are single ones


class TextWriter(TrainingWriter):
    """Writes training texts."""

    def __init__(self, holdout: Holdout, code: str, rng: random.Random) -> None:
        super().__init__(holdout, code, rng)
        self.space = self.texts.space
        self.facts: dict[str, list[Fact]] = {}
        for fact in [*holdout.facts[code], *places(code)]:
            if statements(fact):
                self.facts.setdefault(fact.category, []).append(fact)

    def draw(self, section: str, values: Mapping[str, str]) -> str:
        """A line of the prose file, filled in."""
        return self.texts.prose.draw(section, values, self.rng)

    def two_names(self) -> tuple[str, str]:
        """Different training names."""
        first = second = self.name()
        while second == first:
            second = self.name()
        return first, second

    def story(self) -> str:
        """A long story about an animal (mostly) or a person."""
        name, friend = self.two_names()
        if self.rng.random() < 0.7:
            kind = self.rng.choice(self.texts.story_animals)
        else:
            pronouns = self.texts.pronouns(name)
            people = f"people: {pronouns['child']}" if pronouns else "people"
            kind = self.rng.choice(self.texts.stories.lines(people))
        if self.is_held_story(kind, name):
            return self.story()
        values = self.story_values(kind, name, friend)
        filled = [[line.fill(values, self.rng) for line in lines] for lines in self._story_lines()]
        return "\n\n".join(self.space.join(filter(None, lines)) for lines in filled)

    def _story_lines(self) -> tuple[tuple[Template, ...], ...]:
        """The lines of three paragraphs, half of the time with a dialogue."""
        stories = self.texts.stories
        plot = self.plot()
        opening = (self.rng.choice(stories["long openings"]), self.rng.choice(stories["scenes"]))
        end = (plot.end, self.rng.choice(stories["closings"]))
        if self.rng.random() < 0.5:
            return opening, (plot.problem, plot.attempt, plot.help), end
        return (*opening, plot.problem, plot.attempt), (plot.talk,), end

    def meeting(self) -> str:
        """Two people say their names, use them, and remember a thing about each other."""
        first, second = self.two_names()
        values = {"a": first, "b": second, "c": self.name()}
        for person in ("a", "b"):
            forms = self.texts.pronouns(values[person])
            values |= {f"{form}_{person}": word for form, word in forms.items()}
        meeting, memory = self.draw("meetings", values), self._memory(first, second)
        return "\n\n".join((meeting, memory, self.draw("partings", values)))

    def _memory(self, first: str, second: str) -> str:
        """The first asks the second for a thing that was said before."""
        kind = self.rng.choice(MEMORY_KINDS)
        value = first if kind == "name" else self.name()
        memory = self.memory_of(kind, value)
        while memory.statement in self.held_statements:
            memory = self.memory_of(kind, value)
        sentences = dict(zip(("statement", "reply"), memory.statement, strict=True))
        return self.draw("memories", self._quoted(first, second, *memory.question, **sentences))

    def _quoted(
        self, first: str, second: str, question: str, answer: str, **others: str
    ) -> dict[str, str]:
        """The values of two people and of the sentences that they say."""
        sentences = {"question": question, "answer": answer} | others
        values = {name: text.translate(INNER_QUOTES) for name, text in sentences.items()}
        asked, said = self.texts.prose.several("asked", 2)
        verb = asked if question.endswith(("?", "？")) else said
        return {"a": first, "b": second, "asked": verb.text} | values

    def quiz(self) -> str:
        """Two people ask each other three or four questions about facts."""
        first, second = self.two_names()
        values = {"a": first, "b": second}
        parts = [self.draw("quiz openings", values)]
        for _ in range(self.rng.choice((3, 4, 4))):
            category = self.rng.choice(QUIZ_CATEGORIES)
            question = self.rng.choice(self.holdout.training_questions(category, self.code))
            quoted = self._quoted(first, second, question.prompt, question.answer)
            parts.append(self.draw("quiz turns", quoted))
        return self.space.join([*parts, self.draw("quiz endings", values)])

    def state(self, fact: Fact) -> str:
        """One sentence that states the fact."""
        values = fact.values | {"items": self.rng.choice(self.texts.facts.lines("items"))}
        return self.rng.choice(statements(fact)).fill(values, self.rng)

    def _states(self, category: str, count: int) -> list[str]:
        """Different facts of a category, each stated in one of its ways."""
        facts = self.facts[category]
        return [self.state(fact) for fact in self.rng.sample(facts, min(count, len(facts)))]

    def paragraph_of_facts(self) -> str:
        """A paragraph of facts of one category."""
        category = self.rng.choice(FACT_CATEGORIES)
        opening = self.draw(f"{category}: openings", {})
        count = self.rng.randint(*FACTS_OF_A_TEXT[self.code])
        return self.space.join([opening, *self._states(category, count)])

    def words(self) -> str:
        """A list of words in both languages."""
        count = self.rng.randint(8, 12)
        opening = self.draw("word openings", {})
        return self.space.join([opening, *self._states("translation", count)])

    def sums(self) -> str:
        """Sums and differences: families that belong together, a row, or a mixture; or numbers
        that are compared, put in order, or added beyond the table."""
        draw = self.rng.random()
        if draw < 0.35:
            triples = [triple for _ in range(3) for triple in self._family()]
        elif draw < 0.5:
            triples = self._row()
        elif draw < 0.65:
            triples = self.rng.sample(self.holdout.triples, 9)
        else:
            kinds = self.rng.choices(list(self.holdout.further), k=9)
            triples = [self.rng.choice(self.holdout.further[kind]) for kind in kinds]
        parts = [self.state(arithmetic_fact(triple, self.code)) for triple in triples]
        opening = self.draw("sum openings", {})
        if self.rng.random() < 0.4:
            parts.insert(0, self._counting())
        return self.space.join([opening, *parts])

    def _counting(self) -> str:
        """Six numbers in a row, up or down: what the sums stand on."""
        step, start = self.rng.choice((1, -1)), self.rng.randint(0, 15)
        numbers = [str(number) for number in range(start, start + 6)][::step]
        prose = self.texts.prose
        values = {"numbers": (prose.one("comma").text + self.space).join(numbers)}
        return prose.one("counting up" if step == 1 else "counting down").fill(values, self.rng)

    def _family(self) -> list[Triple]:
        """The trained ones of a + b, b + a, (a + b) - a and (a + b) - b."""
        a, operator, b = self.rng.choice(self.holdout.triples)
        if operator == "-":
            a = a - b
        family = [(a, "+", b), (b, "+", a), (a + b, "-", a), (a + b, "-", b)]
        return [triple for triple in dict.fromkeys(family) if triple in self.holdout.triples]

    def _row(self) -> list[Triple]:
        """The trained ones of a + 1, a + 2 and so on, or of a - 1, a - 2 and so on."""
        a, operator = self.rng.randint(2, 17), self.rng.choice("+-")
        row = [(a, operator, b) for b in range(1, 20)]
        row = [triple for triple in row if triple in self.holdout.triples]
        return row[:10] if len(row) > 5 else self.rng.sample(self.holdout.triples, 9)

    def description(self) -> str:
        """A season, place or thing; or everything about one animal that has a name."""
        if self.rng.random() < 0.5:
            return self._portrait()
        values = {"a": self.name(), "b": self.name()}
        chosen = self.rng.sample(self.texts.prose["descriptions"], 2)
        return "\n\n".join(template.fill(values, self.rng) for template in chosen)

    def _portrait(self) -> str:
        facts: list[Fact] = []
        while len(facts) < 3:  # of a few animals the sample says little
            index = self.rng.randrange(len(world().table("animals")))
            facts = [fact for fact in self.facts["animal"] if fact.key[1] == index]
        self.rng.shuffle(facts)
        animal, name = facts[0].values["animal"], self.name()
        while self.is_held_story(animal, name):
            name = self.name()
        values = {"animal": animal, "a": name, "b": self.name()}
        opening = self.draw("portrait openings", values)
        ending = self.draw("portrait endings", values)
        return self.space.join([opening, *map(self.state, facts)]) + "\n\n" + ending


KINDS: dict[str, Callable[[TextWriter], str]] = {
    "stories": TextWriter.story,
    "meetings": TextWriter.meeting,
    "quizzes": TextWriter.quiz,
    "facts": TextWriter.paragraph_of_facts,
    "sums": TextWriter.sums,
    "words": TextWriter.words,
    "descriptions": TextWriter.description,
}


def make_texts(
    holdout: Holdout, amounts: Mapping[str, Mapping[str, int]], rng: random.Random
) -> list[str]:
    """All texts of the pretraining file, shuffled; `amounts` go by kind (of KINDS) and language."""
    texts = []
    for code in LANGUAGES:
        writer = TextWriter(holdout, code, rng)
        for kind, counts in amounts.items():
            texts += [KINDS[kind](writer) for _ in range(counts[code])]
    rng.shuffle(texts)
    return texts
