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
HELD_OUT_SUMS = 46  # of 380
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
    """Sums up to 20 and differences inside 20.

    A held-out a + b has b + a in training; a held-out a - b has a - (a - b) and (a - b) + b.
    """
    additions = [(a, "+", b) for a in range(1, 20) for b in range(1, 21 - a)]
    subtractions = [(a, "-", b) for a in range(2, 21) for b in range(1, a)]
    candidates = additions + subtractions
    rng.shuffle(candidates)
    held: list[Triple] = []
    for triple in candidates:
        if len(held) < HELD_OUT_SUMS and _may_hold(triple, held):
            held.append(triple)
    return [t for t in additions + subtractions if t not in held], held


def _may_hold(triple: Triple, held: list[Triple]) -> bool:
    a, operator, b = triple
    if operator == "+":
        family = [(b, "+", a), (a + b, "-", a), (a + b, "-", b)]
        easy = a == b or min(a, b) < 2
    else:
        family = [(a, "-", a - b), (a - b, "+", b), (b, "+", a - b)]
        easy = a == 2 * b or min(b, a - b) < 2
    kept = sum(operator == other for _, other, _ in held)
    return not easy and kept < HELD_OUT_SUMS // 2 and not any(member in held for member in family)


def _split_all_questions(holdout: Holdout, language: str, rng: random.Random) -> None:
    by_category: dict[str, list[Question]] = {"greeting": greetings(language)}
    for fact in holdout.facts[language]:
        by_category.setdefault(fact.category, []).extend(ask(fact))
    for category, questions in by_category.items():
        trained, held = _split_questions(questions, category, rng)
        holdout.questions[category, language] = trained
        holdout.held_questions[category, language] = held
    for name, triples in (("questions", holdout.triples), ("held_questions", holdout.held_triples)):
        pool = [q for triple in triples for q in ask(arithmetic_fact(triple, language))]
        getattr(holdout, name)["arithmetic", language] = pool


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
