"""Facts of the world in both languages, and the questions that can be asked about them."""

from dataclasses import dataclass, field
from itertools import product

from data_process.sample import world
from data_process.sample.grammar import capitalise, with_article
from data_process.sample.languages import PROMPTS

IDENTITY_KINDS = ("who", "name", "what", "human", "trained", "size", "languages", "abilities")

Accepted = tuple[tuple[str, ...], ...]
Triple = tuple[int, str, int]  # (3, "+", 8)


@dataclass(frozen=True)
class Fact:
    """One thing that is so. `key` is shared by the same fact in the other language."""

    category: str
    kind: str
    language: str
    key: tuple[str, int]
    slots: dict[str, str] = field(hash=False)
    short: str  # the answer in one word or phrase
    accepted: Accepted


@dataclass(frozen=True)
class Question:
    """A fact asked in one way, with the answer that the sample teaches."""

    fact: Fact
    prompt: str
    answer: str


def make_facts(language: str) -> list[Fact]:
    """All facts of the world except arithmetic and greetings, in a fixed order."""
    facts = _country_facts(language) + _animal_facts(language)
    facts += _opposite_facts(language) + _colour_facts(language) + _word_facts(language)
    return facts + _identity_facts(language)


def _any_of(alternatives: str) -> Accepted:
    return tuple((item,) for item in dict.fromkeys(alternatives.split("|")))


def _country_facts(language: str) -> list[Fact]:
    facts = []
    for index, (country_en, capital_en, country_zh, capital_zh) in enumerate(world.COUNTRIES):
        pair = (country_en, capital_en) if language == "en" else (country_zh, capital_zh)
        country, capitals = pair
        slots = {"country": country, "capital": world.first(capitals)}
        shared = ("capital", index)
        facts.append(
            Fact("capital", "capital", language, shared, slots, slots["capital"], _any_of(capitals))
        )
        back = ("country", index)
        facts.append(Fact("capital", "country", language, back, slots, country, ((country,),)))
    return facts


def _animal_facts(language: str) -> list[Fact]:
    facts = []
    rows = zip(world.ANIMALS_EN, world.ANIMALS_ZH, strict=True)
    for index, (english, chinese) in enumerate(rows):
        animal, sound, home, young, food, legs = english
        if language == "zh":
            (animal, sound, home, food), young = chinese, ""
        values = {"sound": sound, "home": home, "young": young, "food": food, "legs": str(legs)}
        slots = {name: world.first(value) for name, value in values.items()}
        slots["animal"] = animal
        if language == "en":
            slots["a_animal"] = with_article(animal)
            slots["a_young"] = with_article(slots["young"] or "none")
            slots["an_animal"] = capitalise(slots["a_animal"])
        for kind, value in values.items():
            if value and value != "0":
                accepted = _animal_accepted(kind, value, language)
                fact = Fact("animal", kind, language, (kind, index), slots, slots[kind], accepted)
                facts.append(fact)
    return facts


def _animal_accepted(kind: str, value: str, language: str) -> Accepted:
    if kind == "legs":
        words = {"2": ("two", "两"), "4": ("four", "四"), "6": ("six", "六"), "8": ("eight", "八")}
        return ((value,), (words[value][language == "zh"],))
    if kind == "home":  # "in a kennel" -> "kennel", and 狗窝里 -> 狗窝
        places = [item.split()[-1].removesuffix("里") for item in value.split("|")]
        return _any_of("|".join(places))
    return _any_of(value)


def _opposite_facts(language: str) -> list[Fact]:
    pairs = world.split_pairs(world.OPPOSITES_EN if language == "en" else world.OPPOSITES_ZH)
    directed = pairs + [(other, word) for word, other in pairs]
    facts = []
    for index, (word, other) in enumerate(directed):
        slots = {"word": word, "other": other, "upper_word": capitalise(word)}
        key = ("opposite", index)
        # The Chinese word is asked for in quotes: one character alone would match too much.
        accepted = ((other,),) if language == "en" or len(other) > 1 else _quoted(other)
        facts.append(Fact("opposite", "opposite", language, key, slots, other, accepted))
    return facts


def _quoted(word: str) -> Accepted:
    return ((f"“{word}”",), (f"是{word}",), (f'"{word}"',), (f"「{word}」",))


def _colour_facts(language: str) -> list[Fact]:
    facts = []
    for index, (thing_en, colour_en, thing_zh, colour_zh) in enumerate(world.COLOURS):
        thing, colour = (thing_en, colour_en) if language == "en" else (thing_zh, colour_zh)
        slots = {"thing": thing, "colour": colour, "upper_thing": capitalise(thing)}
        accepted = ((colour,), ("gray",)) if colour == "grey" else ((colour,),)
        key = ("colour", index)
        facts.append(Fact("colour", "colour", language, key, slots, colour, accepted))
    return facts


def _word_facts(language: str) -> list[Fact]:
    facts = []
    for index, (en, zh) in enumerate(world.split_pairs(world.WORDS)):
        slots = {"en": en, "zh": zh}
        for kind, answer in (("word_to_zh", zh), ("word_to_en", en)):
            key = (kind, index)
            fact = Fact("translation", kind, language, key, slots, answer, ((answer,),))
            facts.append(fact)
    return facts


def _identity_facts(language: str) -> list[Fact]:
    prompts = PROMPTS[language]
    return [
        Fact("identity", kind, language, (kind, 0), {}, "", prompts.ACCEPTED[kind])
        for kind in IDENTITY_KINDS
    ]


def arithmetic_fact(triple: Triple, language: str) -> Fact:
    """The fact a + b = c or a - b = c."""
    a, operator, b = triple
    kind = "addition" if operator == "+" else "subtraction"
    result = str(a + b if operator == "+" else a - b)
    slots = {"a": str(a), "b": str(b), "c": result}
    key = (kind, a * 100 + b)
    accepted = ((result,), *PROMPTS[language].number_words(int(result)))
    return Fact("arithmetic", kind, language, key, slots, result, accepted)


def ask(fact: Fact) -> list[Question]:
    """All questions about a fact, each with the one answer."""
    prompts = PROMPTS[fact.language]
    answer = prompts.ANSWERS[_answer_kind(fact)].format(**fact.slots)
    templates = prompts.PROMPTS[fact.kind]
    if fact.category == "identity":
        templates = [frame + text for frame, text in product(prompts.FRAMES, templates)]
    templates = [template for template in templates if fits(template, fact)]
    return [Question(fact, template.format(**fact.slots), answer) for template in templates]


def _answer_kind(fact: Fact) -> str:
    """A sum is answered with its larger number first: that is the sum to know by heart."""
    smaller_first = fact.kind == "addition" and int(fact.slots["a"]) < int(fact.slots["b"])
    return "swapped_addition" if smaller_first else fact.kind


def fits(template: str, fact: Fact) -> bool:
    """False for an English plural with the number 1, such as "1 apples" or "1 are left"."""
    if fact.category != "arithmetic" or fact.language != "en":
        return True
    counts = any(word in template for word in ("{items}", "apples", " are left", "remain"))
    return not counts or "1" not in (fact.slots["a"], fact.slots["b"], fact.slots["c"])


def greetings(language: str) -> list[Question]:
    """All greetings without a name."""
    prompts = PROMPTS[language]
    questions = []
    for kind, (answer, accepted) in prompts.GREETINGS.items():
        fact = Fact("greeting", kind, language, (kind, 0), {}, "", accepted)
        mark = prompts.GREETING_MARKS[kind == "how"]
        for start, end in product(prompts.GREETING_STARTS[kind], prompts.GREETING_ENDS):
            fitting = kind in ("hello", "morning", "evening") and not start.endswith("again")
            if fitting or end not in prompts.GREETING_ENDS_FOR_SOME:
                questions.append(Question(fact, start + end + mark, answer))
    return questions


def statements(fact: Fact) -> tuple[str, ...]:
    """Templates that tell a fact; empty for kinds that are only asked."""
    prompts = PROMPTS[fact.language]
    templates = prompts.STATEMENTS.get(fact.kind, ())
    if _answer_kind(fact) == "swapped_addition":
        templates = (*templates, prompts.ANSWERS["swapped_addition"])
    return tuple(template for template in templates if fits(template, fact))
