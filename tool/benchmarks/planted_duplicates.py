"""Near duplicates made on purpose, to see how many of them are found.

Each copy is an edit of a real text. How similar it still is, is counted here in plain Python, apart
from the code that is measured.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass

PIECE = re.compile(r"[\u3400-\u9fff]|[^\W\u3400-\u9fff_]+|[\W_]", re.DOTALL)
"""A Chinese character, a word, or anything else."""
SENTENCE = re.compile(r"[^.!?。！？\n]*[.!?。！？\n]+[”’」』\")]*\s*|.+", re.DOTALL)
PUNCTUATION = ",.!?;:\"'()，。！？；：“”‘’（）、"
Edit = Callable[[str, str, random.Random], str]
"""Makes a copy of a text; the second text is another one, to take words from."""


@dataclass(frozen=True)
class Planted:
    """A copy among the texts."""

    kind: str
    original: int
    """Number of the text that it was made of."""
    text: str


def change_words(share: float) -> Edit:
    """Puts other words (of Chinese, characters) in place of a share of them."""

    def edit(text: str, other: str, chance: random.Random) -> str:
        pieces = PIECE.findall(text)
        others = [piece for piece in PIECE.findall(other) if piece.isalnum()]
        words = [place for place, piece in enumerate(pieces) if piece.isalnum()]
        for place in chance.sample(words, max(1, round(share * len(words)))):
            pieces[place] = chance.choice(others)
        return "".join(pieces)

    return edit


def drop_sentences(share: float) -> Edit:
    """Leaves out a share of the sentences, one at least."""

    def edit(text: str, other: str, chance: random.Random) -> str:
        sentences = SENTENCE.findall(text)
        for _ in range(max(1, round(share * len(sentences)))):
            del sentences[chance.randrange(len(sentences))]
        return "".join(sentences)

    return edit


def swap_sentences(text: str, other: str, chance: random.Random) -> str:
    """Puts the last third of the sentences first."""
    sentences = SENTENCE.findall(text)
    cut = len(sentences) - max(1, len(sentences) // 3)
    return "".join(sentences[cut:] + sentences[:cut])


def add_sentence(text: str, other: str, chance: random.Random) -> str:
    """Begins with a sentence of another text, as web pages do."""
    return chance.choice(SENTENCE.findall(other)) + text


def change_punctuation(text: str, other: str, chance: random.Random) -> str:
    """Leaves out half of the punctuation, and writes all in capitals, with other white space."""
    kept = "".join(c for c in text if c not in PUNCTUATION or chance.random() < 0.5)
    return re.sub(r"\s+", "\n ", kept).upper()


def replace_half(text: str, other: str, chance: random.Random) -> str:
    """The first half of the text and the second of another: no duplicate."""
    return text[: len(text) // 2] + other[len(other) // 2 :]


EDITS: dict[str, Edit] = {
    "punctuation, case, space": change_punctuation,
    "1% of words": change_words(0.01),
    "2% of words": change_words(0.02),
    "5% of words": change_words(0.05),
    "10% of words": change_words(0.1),
    "20% of words": change_words(0.2),
    "1 sentence in 10 left out": drop_sentences(0.1),
    "1 sentence in 4 left out": drop_sentences(0.25),
    "sentences swapped": swap_sentences,
    "a sentence added": add_sentence,
    "half of it another text": replace_half,
}


def plant(texts: list[str], copies: int, seed: int) -> list[Planted]:
    """Copies of texts, `copies` of each kind of edit, of different texts as far as there are."""
    chance = random.Random(seed)
    usable = [n for n, text in enumerate(texts) if len(SENTENCE.findall(text)) >= 4]
    planted = []
    for kind, edit in EDITS.items():
        for original in chance.sample(usable, min(copies, len(usable))):
            other = texts[chance.choice(usable)]
            planted.append(Planted(kind, original, edit(texts[original], other, chance)))
    return planted


def jaccard(one: str, other: str, n: int) -> float:
    """How similar two texts are by their n-grams of words or Chinese characters."""
    sets = []
    for text in (one, other):
        units = [piece.lower() for piece in PIECE.findall(text) if piece.isalnum()]
        sets.append({tuple(units[i : i + n]) for i in range(max(1, len(units) - n + 1))})
    return len(sets[0] & sets[1]) / max(1, len(sets[0] | sets[1]))
