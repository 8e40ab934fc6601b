"""Which script a text is written in."""

from __future__ import annotations


def script_of(text: str) -> str:
    """The script of most of a text's words: han (Chinese), latin or other.

    A Chinese character weighs as much as three letters, about what its word has in English.
    """
    han = sum("\u3400" <= c <= "\u9fff" or "\U00020000" <= c <= "\U0003ffff" for c in text)
    latin = sum(c.isalpha() and c < "\u0250" for c in text)
    letters = sum(c.isalpha() for c in text)
    if han and 3 * han >= letters - han:
        return "han"
    return "latin" if latin and 2 * latin >= letters else "other"
