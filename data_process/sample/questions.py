"""Facts of the world in both languages, the questions about them, and what of it is held out.

Held out are combinations of known parts: a question template with an entity, a sum whose
commuted form is trained, an animal with a name, a name built of known syllables.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations, product

from config import UserError
from data_process.sample.templates import LANGUAGES, Template, TextFile, language, world

IDENTITY_KINDS = ("who", "name", "what", "human", "trained", "size", "languages", "abilities")
ANIMAL_KINDS = ("sound", "home", "young", "food", "legs")
GREETING_KINDS = ("hello", "how", "morning", "evening", "thanks", "bye")
COUNTRY_KINDS = {"capital": "capital", "country": "country"}
WORD_KINDS = {"word_to_zh": "zh", "word_to_en": "en"}
HELD_OUT_NAMES = 120  # per language
HELD_OUT_QUESTIONS = 48  # per category and language
HELD_OUT_SUMS = 16  # of the 36 whose smaller number comes first
HELD_OUT_DIFFERENCES = 24  # questions, one about a difference; the difference itself is trained
HELD_OUT_STORIES = 16  # (animal, name) pairs of known animals and known names, per language

Accepted = tuple[tuple[str, ...], ...]
Triple = tuple[int, str, int]  # (3, "+", 8)
OPERATIONS = {
    "+": "addition",
    "-": "subtraction",
    "<": "comparison",  # says which is larger
    ">": "sorting",  # names the larger one first
    "=": "order",  # of a sum
}
"""What is done with two numbers."""


@dataclass(frozen=True)
class Fact:
    """One thing that is so. `key` is shared by the same fact in the other language."""

    category: str
    kind: str
    language: str
    key: tuple[str, int]
    values: dict[str, str] = field(hash=False)  # of the placeholders
    short: str  # the answer in one word or phrase
    accepted: Accepted


@dataclass(frozen=True)
class Question:
    """A fact asked in one way, with the answer that the sample teaches."""

    fact: Fact
    prompt: str
    answer: str


Split = tuple[list[Question], list[Question]]
"""Questions for training, and those that are held out."""


def first(alternatives: str) -> str:
    """The alternative that the sample teaches."""
    return alternatives.split("/")[0]


def any_of(alternatives: str) -> Accepted:
    """Each of the alternatives is right in an answer."""
    return tuple((item,) for item in dict.fromkeys(alternatives.split("/")))


def make_facts(code: str) -> list[Fact]:
    """All facts of the world except arithmetic and greetings, in a fixed order."""
    pairs = world().table(f"opposites_{code}", "word", "other")
    back = [{"word": pair["other"], "other": pair["word"]} for pair in pairs]
    countries, words = _rows("countries", code, "country", "capital"), world().table("words")
    tables: list[tuple[str, Sequence[dict[str, str]], dict[str, str]]] = [
        ("capital", countries, COUNTRY_KINDS),
        ("animal", _rows("animals", code, "animal"), {kind: kind for kind in ANIMAL_KINDS}),
        ("opposite", pairs + back, {"opposite": "other"}),
        ("colour", _rows("colours", code, "thing", "colour"), {"colour": "colour"}),
        ("translation", words, WORD_KINDS),
    ]
    facts = [fact for table in tables for fact in _facts(code, *table)]
    return facts + [_fact_of_lines("identity", kind, code) for kind in IDENTITY_KINDS]


def places(code: str) -> list[Fact]:
    """What countries and their capitals are called in the other language."""
    rows = world().table("countries")
    pairs = [{c: row[f"{name}_{c}"] for c in LANGUAGES} for row in rows for name in COUNTRY_KINDS]
    return list(_facts(code, "translation", pairs, WORD_KINDS))


def _rows(table: str, code: str, *required: str) -> list[dict[str, str]]:
    """The columns of one language, by their names without it."""
    rows = world().table(table, *(f"{column}_{code}" for column in required))
    end = f"_{code}"
    return [{c.removesuffix(end): v for c, v in row.items() if c.endswith(end)} for row in rows]


def _facts(
    code: str, category: str, rows: Sequence[Mapping[str, str]], kinds: Mapping[str, str]
) -> Iterator[Fact]:
    """The facts of a table: of each row those of `kinds` whose column holds an answer."""
    for index, row in enumerate(rows):
        values = {column: first(cell) for column, cell in row.items() if cell}
        for kind, column in kinds.items():
            if answer := row.get(column):
                accepted = _accepted(kind, answer, code)
                yield Fact(category, kind, code, (kind, index), values, first(answer), accepted)


def _accepted(kind: str, answer: str, code: str) -> Accepted:
    """What is right in an answer where a table has `answer`."""
    if kind == "home":  # "in a kennel/on a farm" -> "kennel/farm", and 狗窝里 -> 狗窝
        answer = "/".join(home.split()[-1].removesuffix("里") for home in answer.split("/"))
    if kind == "opposite" and len(answer) == 1:  # a character, which alone would match too much
        return _in_templates("one character in an answer", code, {"other": answer})
    return any_of(answer)


def _fact_of_lines(category: str, kind: str, code: str) -> Fact:
    """A fact of no table, whose right answers are listed beside its questions."""
    lines = language(code).facts.lines(f"{kind}: accepted")
    accepted = tuple(tuple(line.split(" + ")) for line in lines)
    return Fact(category, kind, code, (kind, 0), {}, "", accepted)


def _in_templates(section: str, code: str, values: dict[str, str]) -> Accepted:
    return tuple((template.fill(values),) for template in language(code).facts[section])


def arithmetic_fact(triple: Triple, code: str) -> Fact:
    """What is so about two numbers, such as a + b = c."""
    a, operator, b = triple
    kind, low, high = OPERATIONS[operator], str(min(a, b)), str(max(a, b))
    values, key = {"a": str(a), "b": str(b), "low": low, "high": high}, (kind, a * 100 + b)
    if operator not in "+-":
        accepted = _in_templates(f"{kind}: answer", code, values)
        return Fact("arithmetic", kind, code, key, values, high, accepted)
    result = a + b if operator == "+" else a - b
    values["c"] = str(result)
    word = language(code).facts.several("numbers", 21)[result].text
    accepted = any_of(str(result)) + _in_templates("number in an answer", code, {"number": word})
    return Fact("arithmetic", kind, code, key, values, str(result), accepted)


def ask(fact: Fact, further: bool = False) -> list[Question]:
    """All questions about a fact, each with the one answer; `further`: those for training only,
    which few kinds have."""
    texts = language(fact.language).facts
    answer = texts.one(f"{_answer_kind(fact)}: answer").fill(fact.values)
    more = texts.sections.get(f"{fact.kind}: further questions", [])
    lines = more if further else texts[f"{fact.kind}: questions"]
    templates = [template for template in lines if fits(template, fact)]
    prompts = [template.fill(fact.values) for template in templates]
    if fact.category == "identity":
        frames = product(texts["questions about the model"], prompts)
        prompts = [frame.fill({"question": prompt}) for frame, prompt in frames]
    return [Question(fact, prompt, answer) for prompt in prompts]


def _answer_kind(fact: Fact) -> str:
    """A sum is answered with its larger number first: that is the sum to know by heart."""
    smaller_first = fact.kind == "addition" and int(fact.values["a"]) < int(fact.values["b"])
    return "addition, smaller number first" if smaller_first else fact.kind


def fits(template: Template, fact: Fact) -> bool:
    """False for an English plural with the number 1, such as "1 apples" or "1 are left"."""
    if fact.category != "arithmetic" or fact.language != "en":
        return True
    counts = any(word in template.text for word in ("{items}", "apples", " are left", "remain"))
    return not counts or "1" not in (fact.values["a"], fact.values["b"], fact.values["c"])


def further_triples() -> dict[str, list[Triple]]:
    """More about numbers, to learn from only. None says what a held-out sum is: of two digits,
    which one is larger; sums up to 20 with a number above 9, and the order of such numbers."""
    digits = range(1, 10)
    sums = [(a, b) for b in range(10, 20) for a in digits if a + b <= 20]
    return {
        "comparison": [(a, sign, b) for sign in "<>" for a, b in permutations(digits, 2)],
        "addition": [t for a, b in sums for t in ((a, "+", b), (b, "+", a))],
        "order": [(a, "=", b) for b in range(10, 100) for a in range(2, b)],
    }


def statements(fact: Fact) -> list[Template]:
    """Templates that state a fact; empty for kinds that are only asked."""
    if fact.category == "identity" or fact.kind in ("country", f"word_to_{fact.language}"):
        return []
    texts, kind = language(fact.language).facts, _answer_kind(fact)
    templates = texts[f"{fact.kind}: statements"]
    if kind != fact.kind:
        templates = [*templates, texts.one(f"{kind}: answer")]
    return [template for template in templates if fits(template, fact)]


def greetings(code: str) -> list[Question]:
    """All greetings without a name."""
    texts = language(code).facts
    questions = []
    for kind in GREETING_KINDS:
        fact = _fact_of_lines("greeting", kind, code)
        answer = texts.one(f"{kind}: answer").text
        mark = texts.several("marks", 2)[kind == "how"].text
        for start in texts.lines(f"{kind}: starts"):
            longer = kind in ("hello", "morning", "evening") and not start.endswith("again")
            which = "hello, morning and evening" if longer else "other greetings"
            for ending in texts[f"endings of {which}"]:
                prompt = ending.fill({"greeting": start}) + mark
                questions.append(Question(fact, prompt, answer))
    return questions


def common_prompts(code: str) -> set[str]:
    """What people say most often, such as "Who are you?" and "Thanks!": always trained."""
    texts = language(code).facts
    prompts = {line for kind in IDENTITY_KINDS for line in texts.lines(f"{kind}: questions")}
    starts = [start for kind in GREETING_KINDS for start in texts.lines(f"{kind}: starts")]
    return prompts | {start + mark for start in starts for mark in texts.lines("marks")}


@dataclass(frozen=True)
class Holdout:
    """Both sides of the split. Mappings go by language, or by (category, language)."""

    names: dict[str, list[str]]
    held_names: dict[str, list[str]]
    triples: list[Triple]
    held_triples: list[Triple]
    questions: dict[tuple[str, str], list[Question]]
    held_questions: dict[tuple[str, str], list[Question]]
    held_stories: dict[str, list[tuple[str, str]]]  # (animal, name)
    facts: dict[str, list[Fact]]  # all facts that may be stated, without arithmetic
    further_names: dict[str, list[str]]  # of more syllables, for training only
    further: dict[str, list[Triple]]  # kind -> more about numbers, for training only
    further_questions: dict[tuple[str, str], list[Question]]  # in other words, for training only

    def draw_name(self, code: str, rng: random.Random, further: bool = False) -> str:
        """A training name; a third of the Chinese ones carry a surname."""
        name = rng.choice((self.further_names if further else self.names)[code])
        if code == "zh" and rng.random() < 0.33:
            return rng.choice(language(code).names.words("surnames")) + name
        return name

    def training_questions(self, category: str, code: str) -> list[Question]:
        """All questions that may be asked in training."""
        key = (category, code)
        return self.questions[key] + self.further_questions.get(key, [])

    def in_other_language(self, fact: Fact) -> Fact:
        """The same fact in the other language; not every kind of fact has one."""
        twins = self.facts["zh" if fact.language == "en" else "en"]
        return next(twin for twin in twins if twin.key == fact.key)


def all_names(code: str) -> list[str]:
    """All names of a language, in a fixed order."""
    texts = language(code).names
    return _names(texts, texts.words("beginnings"), texts.words("endings"))


def _names(texts: TextFile, starts: list[str], endings: list[str]) -> list[str]:
    excluded = texts.words("words that are no names")
    names = [start + ending for start in starts for ending in endings if start != ending]
    return [name for name in names if name not in excluded]


def further_names(code: str, held_names: Sequence[str]) -> list[str]:
    """More names, so that the next syllable is hard to guess and has to be copied. None holds a
    held-out one."""
    texts = language(code).names
    starts, endings = (
        texts.words(part) + texts.words(f"further {part}") for part in ("beginnings", "endings")
    )
    known = set(all_names(code))
    names = [name for name in _names(texts, starts, endings) if name not in known]
    return [name for name in names if not any(held in name for held in held_names)]


def make_holdout(rng: random.Random) -> Holdout:
    """Draws the split."""
    triples, held_triples = split_triples(rng)
    holdout = Holdout({}, {}, triples, held_triples, {}, {}, {}, {}, {}, further_triples(), {})
    for code in LANGUAGES:
        names = all_names(code)
        if len(names) < 2 * HELD_OUT_NAMES:
            end = language(code).names.end
            raise UserError(f"{end}: {len(names)} names are too few: add beginnings or endings")
        rng.shuffle(names)
        held_names, names = names[:HELD_OUT_NAMES], names[HELD_OUT_NAMES:]
        holdout.names[code], holdout.held_names[code] = names, held_names
        holdout.further_names[code] = further_names(code, held_names)
        holdout.facts[code] = make_facts(code)
        _split_all_questions(holdout, code, rng)
        # Helpers and pets are named by chance elsewhere, so they cannot be held out.
        named = language(code).stories.lines("helpers") + language(code).chat.lines("pets")
        heroes = [a for a in language(code).story_animals if a not in named]
        pairs = [(rng.choice(heroes), name) for name in rng.sample(names, HELD_OUT_STORIES)]
        holdout.held_stories[code] = pairs
    return holdout


def split_triples(rng: random.Random) -> tuple[list[Triple], list[Triple]]:
    """The addition table of the numbers 1 to 9, and its differences.

    Held out are sums a + b with a < b, whose b + a is trained. (A difference has no such twin: of
    differences only questions are held out.)
    """
    digits = range(1, 10)
    additions = [(a, "+", b) for a in digits for b in digits]
    subtractions = [(a + b, "-", b) for a in digits for b in digits]
    candidates = [(a, op, b) for a, op, b in additions if 2 <= a < b]
    held = sorted(rng.sample(candidates, HELD_OUT_SUMS))
    rng.shuffle(held)
    return [triple for triple in additions + subtractions if triple not in held], held


def _split_all_questions(holdout: Holdout, code: str, rng: random.Random) -> None:
    by_category: dict[str, list[Question]] = {"greeting": greetings(code)}
    for fact in holdout.facts[code]:
        by_category.setdefault(fact.category, []).extend(ask(fact))
    for category, questions in by_category.items():
        trained, held = _split_questions(questions, category, rng)
        holdout.questions[category, code], holdout.held_questions[category, code] = trained, held
    trained, held = _split_differences(_sums(holdout.triples, code), rng)
    holdout.questions["arithmetic", code] = trained
    holdout.held_questions["arithmetic", code] = _sums(holdout.held_triples, code) + held
    _ask_further(holdout, code)


def _ask_further(holdout: Holdout, code: str) -> None:
    """Enters the questions for training only: in further wordings, and about further numbers."""
    smaller_first = [triple for triple in holdout.further["addition"] if triple[0] < triple[2]]
    found = {"arithmetic": _sums(smaller_first, code)}
    triples = [*holdout.triples, *smaller_first, *holdout.further["comparison"]]
    for fact in [*holdout.facts[code], *(arithmetic_fact(triple, code) for triple in triples)]:
        found.setdefault(fact.category, []).extend(ask(fact, further=True))
    holdout.further_questions.update({(name, code): more for name, more in found.items()})


def _sums(triples: list[Triple], code: str) -> list[Question]:
    return [question for triple in triples for question in ask(arithmetic_fact(triple, code))]


def _split_differences(questions: list[Question], rng: random.Random) -> Split:
    """Holds out one question about each of some differences."""
    keys = list(dict.fromkeys(q.fact.key for q in questions if q.fact.kind == "subtraction"))
    held = []
    for key in rng.sample(keys, HELD_OUT_DIFFERENCES):
        held.append(rng.choice([q for q in questions if q.fact.key == key]))
    return [q for q in questions if q not in held], held


def _split_questions(questions: list[Question], category: str, rng: random.Random) -> Split:
    """Holds out at most one question about each fact (more of the few general ones)."""
    limit = 4 if category in ("greeting", "identity") else 1
    common = {prompt for code in LANGUAGES for prompt in common_prompts(code)}
    candidates = list(questions)
    rng.shuffle(candidates)
    asked: Counter[tuple[str, int]] = Counter()
    held: list[Question] = []
    for question in candidates:
        if question.prompt not in common and asked[question.fact.key] < limit:
            asked[question.fact.key] += 1
            held.append(question)
    held = held[:HELD_OUT_QUESTIONS]
    return [question for question in questions if question not in held], held
