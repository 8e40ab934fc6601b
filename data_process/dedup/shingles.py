"""What texts are compared by: units, their n-grams (shingles), and MinHash keys of these.

A unit is a word where words are written apart, and a character where they are not (Chinese,
Japanese, Thai, Khmer ...): a mixed text is cut both ways. Symbols with a meaning (+ < $ %) and
emoji are units too, so that `3 + 8` and `3 - 8` differ; punctuation, white space and case are left
out. All texts of a batch are worked on together by numpy, at some MB/s.

Two texts are as similar as their sets of shingles: Jaccard's similarity, what both hold divided by
what either holds (Broder 1997, "On the resemblance and containment of documents").

The minimum of a random function over a set is the same for two sets with the probability of their
Jaccard similarity s. Of such minima, `rows` together make the key of a band, and two texts are
compared when the key of one of `bands` bands is the same: with the probability

    1 - (1 - s ** rows) ** bands          (Leskovec, Rajaraman, Ullman: Mining of Massive Datasets,
    3.4)

The random functions are (a * x + b) modulo 2**64, whose upper bits are strongly universal for
32-bit x (Dietzfelbinger 1996).
"""

from __future__ import annotations

import functools
import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]
Codes = npt.NDArray[np.uint32]
Set = npt.NDArray[np.uint32]
Chosen = npt.NDArray[np.bool_]

SEPARATOR, LETTER, SINGLE, IGNORED = range(4)
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
"""Punctuation by its category, but it has a meaning."""
DROPPED = ("Zs", "Po", "Pd", "Ps", "Pe", "Pi", "Pf", "Pc")
"""Categories of white space and punctuation."""
GOLDEN = 0x9E3779B97F4A7C15
"""2**64 divided by the golden ratio, odd: a place times this makes hashes depend on the place."""
BASE = 0x2545F4914F6CDD1D
"""Of the rolling hash; odd, so that it has an inverse modulo 2**64."""
MOST_HASHES = 128
"""Minima per text: the time is proportional to it. FineWeb takes 112."""
WANTED = 0.98
"""Probability that two texts that are just as similar as the threshold are compared."""


@dataclass(frozen=True)
class Units:
    """The units of several texts, one text after another, and hashes of runs of them.

    The hash of the run from i is sum(unit[i + j] * BASE**j), modulo 2**64: a difference of two
    prefix sums, divided by BASE**i. So runs of any length take the same few operations.
    """

    hashes: Hashes
    """Of all units."""
    borders: Places  # (texts + 1,)
    """Where each text begins; the last is the number of units."""

    @property
    def lengths(self) -> Places:
        """Units of each text."""
        return np.diff(self.borders)

    @functools.cached_property
    def ends(self) -> Places:
        """For each unit, where its text ends."""
        return np.repeat(self.borders[1:], self.lengths)

    @functools.cached_property
    def prefix(self) -> Hashes:
        """The sums of all units before each place, times the powers of the base."""
        sums = np.zeros(len(self.hashes) + 1, dtype=np.uint64)
        np.cumsum(self.hashes * powers(BASE, len(self.hashes)), out=sums[1:])
        return sums

    def runs(self, length: int) -> tuple[Hashes, Places]:
        """All runs of a length that lie in one text: their hashes, and where they begin."""
        places = np.arange(len(self.ends))
        places = places[places + length <= self.ends]
        return self.hashes_of(places, length), places

    def hashes_of(self, places: Places, length: int) -> Hashes:
        """The hashes of runs of a length that begin at places."""
        found = self.prefix[places + length] - self.prefix[places]
        found *= powers(pow(BASE, -1, 1 << 64), len(self.ends))[places]
        found += np.uint64(length)
        return mix(found)

    def shingles(self, n: int) -> tuple[Hashes, Places]:
        """The n-grams of each text, then those texts that are shorter; where each begins."""
        hashes, places = self.runs(n)
        for length in range(1, n):
            begins = self.borders[:-1][self.lengths == length]
            if len(begins):
                hashes = np.concatenate((hashes, self.hashes_of(begins, length)))
                places = np.concatenate((places, begins))
        return hashes, places


def units_of(texts: Sequence[str]) -> Units:
    """The units of texts; those of about 200,000 characters together are fastest."""
    table = character_table()
    codes = codes_of(normalised(texts, table))
    clipped = np.minimum(codes, KNOWN_CODES)
    codes, kinds = table.folded[clipped], table.kinds[clipped]
    if (ignored := kinds == IGNORED).any():
        codes, kinds = codes[~ignored], kinds[~ignored]
    begins = kinds != SEPARATOR
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
    inside = kinds != SEPARATOR
    letters = codes[inside].astype(np.uint64)
    begins = np.cumsum(inside)[starts] - 1  # of the units, among the letters
    lengths = np.diff(begins, append=len(letters))
    places = np.arange(len(letters)) - np.repeat(begins, lengths)
    letters += places.astype(np.uint64) * np.uint64(GOLDEN)
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
    """SEPARATOR, LETTER, SINGLE or IGNORED."""
    special: Chosen
    """Whether its text must be normalised first."""


@functools.cache
def character_table() -> CharacterTable:
    """The table, made once a process."""
    folded = np.arange(KNOWN_CODES + 1, dtype=np.uint32)
    special = np.zeros(KNOWN_CODES + 1, dtype=np.bool_)
    for code in range(0x80, KNOWN_CODES):
        plain = unicodedata.normalize("NFKC", chr(code))
        folded[code] = ord(plain) if len(plain) == 1 else code
        counts = not all(unicodedata.category(c) in DROPPED for c in plain)
        special[code] = counts and (len(plain) > 1 or unicodedata.category(plain[0])[0] == "M")
    special[0x1160:0x1200] = True  # Hangul letters that join others
    for code, character in enumerate(map(chr, folded.tolist())):
        if len(small := character.lower()) == 1:
            folded[code] = ord(small)
    return CharacterTable(folded, character_kinds()[folded], special)


def character_kinds() -> npt.NDArray[np.uint8]:
    """What each character is; (KNOWN_CODES + 1,)."""
    kinds = np.zeros(KNOWN_CODES + 1, dtype=np.uint8)
    for code in range(KNOWN_CODES):
        category = unicodedata.category(chr(code))
        if category[0] in "LNM":
            kinds[code] = LETTER
        elif category[0] == "S":
            kinds[code] = SINGLE
        elif category == "Cf":  # soft hyphens, joiners, marks of direction
            kinds[code] = IGNORED
    unspaced = np.array(UNSPACED)
    kinds[unspaced[kinds[unspaced] == LETTER]] = SINGLE
    kinds[[ord(operator) for operator in OPERATORS]] = SINGLE
    kinds[0xFE00:0xFE10] = IGNORED  # variation selectors
    return kinds


def powers(base: int, count: int) -> Hashes:
    """base**0, base**1 ... modulo 2**64, `count` of them."""
    values = np.full(count, base, dtype=np.uint64)
    values[:1] = 1
    return np.multiply.accumulate(values)


def bands_for(threshold: float) -> tuple[int, int]:
    """How many bands, and rows of each: the most rows, for that compares the fewest unlike texts,
    with which no more than 1 - WANTED are missed at the threshold, of MOST_HASHES minima.

    Of the default threshold 0.7: 22 bands of 5 rows; at 0.8 they compare 99.98%, at 0.5 half, at
    0.3 one in 20, at 0.1 one in 5,000.
    """
    found = (1, 1)
    for rows in range(1, MOST_HASHES + 1):
        agree = threshold**rows  # the probability that a band's keys are the same
        bands = math.ceil(math.log(1 - WANTED) / math.log1p(-agree)) if agree < 1 else 1
        if rows * bands <= MOST_HASHES:
            found = (bands, rows)
    return found


def band_keys(sets: Set, sizes: Places, shape: tuple[int, int], seed: int) -> Hashes:
    """The keys of texts.

    Args:
        sets: the shingles of all texts, one text after another.
        sizes: how many each text has.
        shape: bands, and rows of each.
        seed: of the random functions.

    Returns:
        (bands, texts); 0 for a text without a shingle.
    """
    bands, rows = shape
    random = np.random.default_rng(seed)
    limit = np.iinfo(np.uint64).max
    factors = random.integers(0, limit, bands * rows, dtype=np.uint64) | np.uint64(1)
    terms = random.integers(0, limit, bands * rows, dtype=np.uint64)
    wide = sets.astype(np.uint64)
    work = np.empty_like(wide)
    filled = sizes > 0
    begins = (np.cumsum(sizes) - sizes)[filled]
    keys = np.zeros((bands, len(sizes)), dtype=np.uint64)
    for number, (factor, term) in enumerate(zip(factors, terms, strict=True)):
        np.multiply(wide, factor, out=work)
        np.add(work, term, out=work)
        key = keys[number // rows]
        key *= np.uint64(GOLDEN)
        key[filled] += np.minimum.reduceat(work, begins)
        mix(key)  # 0 stays 0
    return keys
