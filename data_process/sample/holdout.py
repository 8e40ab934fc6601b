"""What the training files may use, and what is kept back for the eval file.

Held out are combinations of known parts: a question template with an entity, a sum whose
commuted form is trained, an animal with a name, a name built of known syllables.
"""

import random
from dataclasses import dataclass

from data_process.sample.facts import (
    IDENTITY_KINDS,
    Fact,
    Question,
    Triple,
    arithmetic_fact,
    ask,
    greetings,
    make_facts,
)
from data_process.sample.languages import CHAT, LANGUAGES, PROMPTS, STORIES
from data_process.sample.names import split_names
from data_process.sample.world import STORY_ANIMALS

HELD_OUT_QUESTIONS = 48  # per category and language
HELD_OUT_SUMS = 16  # of the 36 whose smaller number comes first
HELD_OUT_DIFFERENCES = 24  # questions, one about a difference; the difference itself is trained
HELD_OUT_STORIES = 16  # (animal, name) pairs of known animals and known names, per language


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
    facts: dict[str, list[Fact]]  # all facts that may be told, arithmetic of trained triples only


def make_holdout(rng: random.Random) -> Holdout:
    """Draws the split."""
    triples, held_triples = split_triples(rng)
    holdout = Holdout({}, {}, triples, held_triples, {}, {}, {}, {})
    for language in LANGUAGES:
        names, held_names = split_names(language, rng)
        holdout.names[language], holdout.held_names[language] = names, held_names
        holdout.facts[language] = make_facts(language)
        _split_all_questions(holdout, language, rng)
        # Helpers and pets are named by chance elsewhere, so they cannot be held out.
        heroes = [animal[language == "zh"] for animal in STORY_ANIMALS]
        named = STORIES[language].HELPERS + CHAT[language].PETS
        heroes = [hero for hero in heroes if hero not in named]
        pairs = [(rng.choice(heroes), name) for name in rng.sample(names, HELD_OUT_STORIES)]
        holdout.held_stories[language] = pairs
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


def _split_all_questions(holdout: Holdout, language: str, rng: random.Random) -> None:
    by_category: dict[str, list[Question]] = {"greeting": greetings(language)}
    for fact in holdout.facts[language]:
        by_category.setdefault(fact.category, []).extend(ask(fact))
    for category, questions in by_category.items():
        trained, held = _split_questions(questions, category, rng)
        holdout.questions[category, language] = trained
        holdout.held_questions[category, language] = held
    pools = {
        kind: [q for t in triples for q in ask(arithmetic_fact(t, language))]
        for kind, triples in (("trained", holdout.triples), ("held", holdout.held_triples))
    }
    trained, held = _split_differences(pools["trained"], rng)
    holdout.questions["arithmetic", language] = trained
    holdout.held_questions["arithmetic", language] = pools["held"] + held


def _split_differences(
    questions: list[Question], rng: random.Random
) -> tuple[list[Question], list[Question]]:
    """Holds out one question about each of some differences."""
    keys = list(dict.fromkeys(q.fact.key for q in questions if q.fact.kind == "subtraction"))
    held = []
    for key in rng.sample(keys, HELD_OUT_DIFFERENCES):
        held.append(rng.choice([q for q in questions if q.fact.key == key]))
    return [q for q in questions if q not in held], held


def _split_questions(
    questions: list[Question], category: str, rng: random.Random
) -> tuple[list[Question], list[Question]]:
    """Holds out at most one question about each fact (more of the few general ones)."""
    limit = 4 if category in ("greeting", "identity") else 1
    bare = _bare_prompts()
    order = list(range(len(questions)))
    rng.shuffle(order)
    count: dict[tuple[str, int], int] = {}
    chosen: list[int] = []
    for index in order:
        key = questions[index].fact.key
        if questions[index].prompt in bare:
            continue
        if count.get(key, 0) < limit and len(chosen) < HELD_OUT_QUESTIONS:
            count[key] = count.get(key, 0) + 1
            chosen.append(index)
    kept = [q for index, q in enumerate(questions) if index not in chosen]
    return kept, [questions[index] for index in chosen]


def _bare_prompts() -> set[str]:
    """What people say most often, such as "Who are you?" and "Thanks!": always trained."""
    bare = set()
    for module in PROMPTS.values():
        bare |= {text for kind in IDENTITY_KINDS for text in module.PROMPTS[kind]}
        starts = [start for kind in module.GREETING_STARTS.values() for start in kind]
        bare |= {start + mark for start in starts for mark in module.GREETING_MARKS}
    return bare
