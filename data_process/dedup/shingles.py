"""Shingles: the n-grams of a text's units, as hashes.

Two texts are as similar as their sets of shingles: Jaccard's similarity, what both hold divided by
what either holds (Broder 1997, "On the resemblance and containment of documents").
"""

from __future__ import annotations

import functools

import numpy as np

from data_process.dedup.units import Hashes, Places, Units, mix

BASE = 0x2545F4914F6CDD1D
"""Odd, so that it has an inverse modulo 2**64."""


class Windows:
    """Hashes of runs of units of any length, each in the same few operations.

    The hash of the run from i is sum(unit[i + j] * BASE**j), modulo 2**64: a difference of two
    prefix sums, divided by BASE**i.
    """

    def __init__(self, units: Units) -> None:
        count = len(units.hashes)
        self.units = units
        self.prefix = np.zeros(count + 1, dtype=np.uint64)
        np.cumsum(units.hashes * powers(BASE, count), out=self.prefix[1:])
        self.ends = np.repeat(units.borders[1:], units.lengths)  # of the text of each unit

    def whole(self, length: int) -> tuple[Hashes, Places]:
        """All runs of a length that lie in one text: their hashes, and where they begin."""
        places = np.arange(len(self.ends))
        places = places[places + length <= self.ends]
        return self.hashes(places, length), places

    def hashes(self, places: Places, length: int) -> Hashes:
        """The hashes of runs of a length (of units) that begin at places."""
        found = self.prefix[places + length] - self.prefix[places]
        found *= powers(pow(BASE, -1, 1 << 64), len(self.ends))[places]
        found += np.uint64(length)
        return mix(found)

    def shingles(self, n: int) -> tuple[Hashes, Places]:
        """The n-grams of each text, then those texts that are shorter; where each begins."""
        hashes, places = self.whole(n)
        lengths = self.units.lengths
        for length in range(1, n):
            begins = self.units.borders[:-1][lengths == length]
            if len(begins):
                hashes = np.concatenate((hashes, self.hashes(begins, length)))
                places = np.concatenate((places, begins))
        return hashes, places


def powers(base: int, count: int) -> Hashes:
    """base**0, base**1 ... modulo 2**64, at least `count` of them."""
    size = max(1 << 16, 1 << (count - 1).bit_length()) if count else 1
    return all_powers(base, size)[:count]


@functools.lru_cache(maxsize=4)
def all_powers(base: int, count: int) -> Hashes:
    """base**0 ... base**(count - 1), modulo 2**64."""
    values = np.full(count, base, dtype=np.uint64)
    values[0] = 1
    return np.multiply.accumulate(values)
