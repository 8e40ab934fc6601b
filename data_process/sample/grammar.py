"""A tiny template language: "[a|b]" is a choice, "{slot}" is filled in."""

import random
import re

CHOICE = re.compile(r"\[([^\[\]]*)\]")


def expand(template: str, slots: dict[str, str], rng: random.Random) -> str:
    """Takes one of each choice, then fills the slots; raises KeyError for an unknown slot."""
    chosen = CHOICE.sub(lambda match: rng.choice(match.group(1).split("|")), template)
    return chosen.format(**slots)


def with_article(noun: str) -> str:
    """ "fox" -> "a fox", "owl" -> "an owl"; right for the words of this sample."""
    return ("an " if noun[0].lower() in "aeiou" else "a ") + noun


def capitalise(text: str) -> str:
    """Upper-cases the first character only."""
    return text[:1].upper() + text[1:]
