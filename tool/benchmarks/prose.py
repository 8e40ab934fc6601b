"""What counts as a sentence of prose, and whether a text still has it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

MIN_WORDS = 6
"""A Chinese or Japanese character is half a word."""
KEPT_SHARE = 2 / 3
"""Share of a sentence's groups of words that the other text must have: templates that only one of
them shows stand in the middle of sentences."""
GROUP = 3
"""Words in a group."""
HAN = "\u3040-\u30ff\u3400-\u9fff"
BOUNDARY = re.compile(
    r"(?<=[.!?][\s\"”’)])\s*(?=[^\W\d_a-z])|(?<=[.!?])\s+(?=[\"“‘(])|(?<=[。！？])"
)
ENDING = re.compile(r"[.!?。！？][\"'”’»」』)）]*$")
WORD = re.compile(rf"[{HAN}]|[^\W_{HAN}]+")
NO_PROSE = re.compile(
    r"[|={}\[\]<>\\\t_•·]|https?:|''|&[a-z]+;|\bISBN\b|\bpp?\. ?\d|\d{4}\)?\.\s*$"
    r"|^\W*(?:File|Image):"
)
"""Signs of tables, infoboxes, links, formulas and references."""
FORMULA = re.compile(
    r"\$(?!\d)[^$\n]*?[\\^_={}][^$\n]*\$|\b(?:formula|codice|math)_\d+", re.IGNORECASE
)
MIN_LETTERS = 0.7
MAX_CAPITALS = 0.4


def sentences_in(text: str) -> Iterator[str]:
    """The sentences of prose of a text.

    A sentence is what stands in one line between the ends of sentences. It is prose if it ends like
    one, has six words, most of them in small letters, is made of letters for the most part, and
    shows no sign of a table, link, formula or reference.
    """
    for line in text.split("\n"):
        for piece in BOUNDARY.split(line):
            if is_prose(piece := piece.strip(" *#:;-")):
                yield piece


def is_prose(sentence: str) -> bool:
    """Whether a piece of a line is a sentence of prose."""
    if not ENDING.search(sentence) or NO_PROSE.search(sentence):
        return False
    words = WORD.findall(sentence)
    han = sum(len(word) == 1 and word > "\u3000" for word in words)
    if len(words) - han / 2 < MIN_WORDS:
        return False
    capitals = sum(word[0].isupper() or word[0].isdigit() for word in words)
    letters = sum(map(str.isalpha, sentence))
    spaces = sentence.count(" ")
    return capitals <= MAX_CAPITALS * len(words) and letters >= MIN_LETTERS * (
        len(sentence) - spaces
    )


def words_of(text: str) -> list[str]:
    """The words of a text for comparison: raised digits are digits, formulas are left out."""
    return WORD.findall(unicodedata.normalize("NFKC", FORMULA.sub(" ", text)).casefold())


def groups_of(words: Sequence[str]) -> set[tuple[str, ...]]:
    """All groups of words that stand side by side."""
    return set(zip(*(words[n:] for n in range(GROUP)), strict=False))


def lost_sentences(text: str, peer: str) -> tuple[int, list[str]]:
    """How many sentences of prose a peer's text has, and those of them that a text has not."""
    known = groups_of(words_of(text))
    count, lost = 0, []
    for sentence in sentences_in(peer):
        groups = groups_of(words_of(sentence))
        if not groups:
            continue
        count += 1
        if len(groups & known) < KEPT_SHARE * len(groups):
            lost.append(sentence)
    return count, lost
