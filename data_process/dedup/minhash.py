"""MinHash with bands: which texts of very many are likely to be similar, without comparing all.

A minimum of a random function over a set is the same for two sets with the probability of their
Jaccard similarity s (Broder 1997). Of such minima, `rows` together make the key of a band, and two
texts are compared when the key of one of `bands` bands is the same: with the probability

    1 - (1 - s ** rows) ** bands          (Leskovec, Rajaraman, Ullman: Mining of Massive Datasets,
    3.4)

The random functions are (a * x + b) modulo 2**64, whose upper bits are strongly universal for
32-bit x (Dietzfelbinger 1996).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data_process.dedup.units import ORDER, Hashes, Places, mix

MOST_HASHES = 128
"""Minima per text: the time is proportional to it. FineWeb takes 112."""
WANTED = 0.98
"""Probability that two texts that are just as similar as the threshold are compared."""


@dataclass(frozen=True)
class Bands:
    """How minima are put together."""

    bands: int
    rows: int

    def probability(self, similarity: float) -> float:
        """That two texts of this similarity are compared."""
        return float(1 - (1 - similarity**self.rows) ** self.bands)


def bands_for(threshold: float) -> Bands:
    """The bands with the most rows, for that compares the fewest unlike texts, that miss no more
    than 1 - WANTED at the threshold and need no more than MOST_HASHES minima.

    Of the default threshold 0.7: 22 bands of 5 rows; at 0.8 they compare 99.98%, at 0.5 half, at
    0.3 one in 20, at 0.1 one in 5,000.
    """
    found = Bands(1, 1)
    for rows in range(1, MOST_HASHES + 1):
        agree = threshold**rows  # the probability that a band's keys are the same
        bands = math.ceil(math.log(1 - WANTED) / math.log1p(-agree)) if agree < 1 else 1
        if rows * bands <= MOST_HASHES:
            found = Bands(bands, rows)
    return found


def band_keys(sets: npt.NDArray[np.uint32], begins: Places, shape: Bands, seed: int) -> Hashes:
    """The keys of texts.

    Args:
        sets: the shingles of all texts, one text after another.
        begins: where each text's begin; none is empty.
        shape: bands and rows.
        seed: of the random functions.

    Returns:
        (bands, texts)
    """
    random = np.random.default_rng(seed)
    limit = np.iinfo(np.uint64).max
    factors = random.integers(0, limit, shape.bands * shape.rows, dtype=np.uint64) | np.uint64(1)
    terms = random.integers(0, limit, shape.bands * shape.rows, dtype=np.uint64)
    wide = sets.astype(np.uint64)
    work = np.empty_like(wide)
    keys = np.zeros((shape.bands, len(begins)), dtype=np.uint64)
    for number, (factor, term) in enumerate(zip(factors, terms, strict=True)):
        np.multiply(wide, factor, out=work)
        np.add(work, term, out=work)
        key = keys[number // shape.rows]
        key *= np.uint64(ORDER)
        key += np.minimum.reduceat(work, begins)
        mix(key)
    return keys
