"""Texts as sequences of units, which are compared in place of their characters.

A unit is a word where words are written apart, and a character where they are not (Chinese,
Japanese, Thai, Khmer ...): a mixed text is cut both ways. Symbols that mean something (+ < $ %) and
emoji are units too, so that `3 + 8` and `3 - 8` differ; punctuation, white space and case are left
out. All texts of a batch are worked on together by numpy, at some MB/s.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]
Codes = npt.NDArray[np.uint32]

NOTHING, LETTER, SINGLE, SKIPPED = range(4)
"""What a character is: between units; part of a word; a unit; as if it were not there."""
KNOWN_CODES = 0x32400
"""Characters from here on are tags and private ones."""
UNSPACED = (
    *range(0x0E00, 0x0F00),  # Thai, Lao
    *range(0x1000, 0x10A0),  # Burmese
    *range(0x1780, 0x1800),  # Khmer
    *range(0x2E80, 0x2FE0),  # radicals
    *range(0x3005, 0x3008),  # marks of repetition
    *range(0x3040, 0x3100),  # kana
    *range(0x31F0, 0x3200),
    *range(0x3400, 0xA000),  # Chinese
    *range(0xF900, 0xFB00),
    *range(0x20000, KNOWN_CODES),
)
OPERATORS = "%*-/^"
"""Punctuation by its category, but it means something."""
CHANGING = (
    range(0x80, 0x3400),
    range(0xA000, 0xAC00),
    range(0xD7B0, 0xD800),
    range(0xE000, 0x20000),
    range(0x2F800, 0x2FA20),
)
"""Where characters are that have another compatible form, or join others: not the many Chinese and
Korean ones between."""
DROPPED = ("Zs", "Po", "Pd", "Ps", "Pe", "Pi", "Pf", "Pc")
"""Categories of white space and punctuation."""
ORDER = 0x9E3779B97F4A7C15
"""Odd, from the golden ratio: multiplied by a place it tells the places apart."""


@dataclass(frozen=True)
class Units:
    """The units of several texts, one text after another."""

    hashes: Hashes
    """Of all units."""
    borders: Places  # (texts + 1,)
    """Where each text begins; the last is the number of units."""

    @property
    def lengths(self) -> Places:
        """Units of each text."""
        return np.diff(self.borders)


def units_of(texts: Sequence[str], keep_case: bool, keep_punctuation: bool) -> Units:
    """The units of texts.

    Args:
        texts: any texts; those of about 200,000 characters together are fastest.
        keep_case: capitals differ from small letters.
        keep_punctuation: marks of punctuation are units too.
    """
    table = character_table(keep_case, keep_punctuation)
    codes = codes_of(normalised(texts, table))
    clipped = np.minimum(codes, KNOWN_CODES)
    codes, kinds = table.folded[clipped], table.kinds[clipped]
    if (skipped := kinds == SKIPPED).any():
        codes, kinds = codes[~skipped], kinds[~skipped]
    begins = kinds != NOTHING
    begins[1:] &= (kinds[1:] == SINGLE) | (kinds[:-1] != LETTER)
    starts = np.flatnonzero(begins)
    borders = np.searchsorted(starts, np.flatnonzero(codes == 0))
    return Units(hash_units(codes, kinds, starts), np.concatenate(([0], borders)))


def normalised(texts: Sequence[str], table: CharacterTable) -> Sequence[str]:
    """Texts of which the table gives the same as Unicode's compatible form (NFKC): the few that
    hold a character that becomes several, or joins others, are brought into it."""
    special = table.special[np.minimum(codes := codes_of(texts), KNOWN_CODES)]
    if not special.any():
        return texts
    ends = np.flatnonzero(codes == 0)
    chosen = set(np.searchsorted(ends, np.flatnonzero(special)).tolist())
    return [
        unicodedata.normalize("NFKC", text) if number in chosen else text
        for number, text in enumerate(texts)
    ]


def codes_of(texts: Sequence[str]) -> Codes:
    """The characters of texts, a 0 after each text."""
    joined = "".join(text.replace("\0", " ") + "\0" for text in texts)
    return np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)


def hash_units(codes: Codes, kinds: npt.NDArray[np.uint8], starts: Places) -> Hashes:
    """A hash for each unit: the sum of a random-looking number for each of its characters and their
    places in it."""
    if not len(starts):
        return np.zeros(0, dtype=np.uint64)
    inside = kinds != NOTHING
    letters = codes[inside].astype(np.uint64)
    begins = np.cumsum(inside)[starts] - 1  # of the units, among the letters
    lengths = np.diff(begins, append=len(letters))
    places = np.arange(len(letters)) - np.repeat(begins, lengths)
    letters += places.astype(np.uint64) * np.uint64(ORDER)
    mix(letters)
    return np.asarray(np.add.reduceat(letters, begins), dtype=np.uint64)


def mix(values: Hashes) -> Hashes:
    """Makes random-looking numbers of numbers, in place and one to one (the end of SplitMix64,
    Steele, Lea and Flood 2014)."""
    values ^= values >> np.uint64(30)
    values *= np.uint64(0xBF58476D1CE4E5B9)
    values ^= values >> np.uint64(27)
    values *= np.uint64(0x94D049BB133111EB)
    values ^= values >> np.uint64(31)
    return values


@dataclass(frozen=True)
class CharacterTable:
    """What is known of each character; the last entry stands for all from KNOWN_CODES on."""

    folded: Codes
    """The character as it is compared."""
    kinds: npt.NDArray[np.uint8]
    """NOTHING, LETTER, SINGLE or SKIPPED."""
    special: npt.NDArray[np.bool_]
    """Whether its text must be normalised first."""


@functools.lru_cache(maxsize=4)
def character_table(keep_case: bool, keep_punctuation: bool) -> CharacterTable:
    """The table for a way to compare."""
    folded = np.arange(KNOWN_CODES + 1, dtype=np.uint32)
    special = np.zeros(KNOWN_CODES + 1, dtype=np.bool_)
    for code in chain(*CHANGING):
        plain = unicodedata.normalize("NFKC", chr(code))
        folded[code] = ord(plain) if len(plain) == 1 else code
        counts = keep_punctuation or not all(unicodedata.category(c) in DROPPED for c in plain)
        special[code] = counts and (len(plain) > 1 or unicodedata.category(plain[0])[0] == "M")
    special[0x1160:0x1200] = True  # Hangul letters that join others
    if not keep_case:
        small = [chr(code).lower() for code in folded]
        folded = np.array(
            [ord(c) if len(c) == 1 else n for c, n in zip(small, folded, strict=True)]
        )
        folded = folded.astype(np.uint32)
    return CharacterTable(folded, character_kinds(keep_punctuation)[folded], special)


def character_kinds(keep_punctuation: bool) -> npt.NDArray[np.uint8]:
    """What each character is; (KNOWN_CODES + 1,)."""
    kinds = np.zeros(KNOWN_CODES + 1, dtype=np.uint8)
    for code in range(KNOWN_CODES):
        category = unicodedata.category(chr(code))
        if category[0] in "LNM":
            kinds[code] = LETTER
        elif category[0] == "S" or (keep_punctuation and category[0] == "P"):
            kinds[code] = SINGLE
        elif category == "Cf":  # soft hyphens, joiners, marks of direction
            kinds[code] = SKIPPED
    unspaced = np.array(UNSPACED)
    kinds[unspaced[kinds[unspaced] == LETTER]] = SINGLE
    kinds[[ord(operator) for operator in OPERATORS]] = SINGLE
    kinds[0xFE00:0xFE10] = SKIPPED  # variation selectors
    return kinds
