"""Which records stay: of records that are alike, the first, or the longest.

In their order of preference, a record is dropped when it is alike to one that stays. So nothing is
dropped whose like does not stay, which would happen if all that hang together by a chain of
likenesses made one cluster. The choice follows from the numbers of the records alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data_process.dedup_settings import Keep
from data_process.duplicate_pairs import KEYS, Pairs, Similarities
from data_process.fingerprints import Fingerprints
from data_process.text_units import Places

NOBODY = -1


@dataclass
class Fates:
    """What becomes of each record."""

    like: Places
    """The record that stays and that it is like; NOBODY when it stays itself."""
    similarity: Similarities
    """How like it is; 1 for the same."""

    @property
    def dropped(self) -> npt.NDArray[np.bool_]:
        """Whether it is a duplicate."""
        return self.like != NOBODY


def exact_duplicates(fingerprints: Fingerprints) -> Fates:
    """Of records with the same digest, all but the first are dropped."""
    like = np.full(fingerprints.records, NOBODY, dtype=np.int64)
    shares = max(1, -(-fingerprints.records // KEYS))
    for share in range(shares):
        digests, records = [], []
        for first, array in zip(fingerprints.first, fingerprints.arrays("digests"), strict=False):
            here = np.flatnonzero((array[:, 0] >> np.uint64(32)) * shares >> np.uint64(32) == share)
            digests.append(array[here])
            records.append(here + first)
        both, record = np.concatenate(digests), np.concatenate(records)
        order = np.lexsort((record, both[:, 1], both[:, 0]))
        both, record = both[order], record[order]
        same = np.concatenate(([False], (both[1:] == both[:-1]).all(axis=1)))
        firsts = np.maximum.accumulate(np.where(same, 0, np.arange(len(same))))
        like[record[same]] = record[firsts[same]]
    return Fates(like, np.ones(len(like), dtype=np.float32))


def drop_near_duplicates(
    fates: Fates, pairs: Pairs, similarity: Similarities, preference: Places
) -> None:
    """Decides about the records of pairs that are alike.

    Args:
        fates: where the decisions go; records that are dropped already lead to those that stay.
        pairs: (pairs, 2), of records that are not dropped yet.
        similarity: of the pairs.
        preference: each record's place in the order of preference.
    """
    swapped = preference[pairs[:, 0]] > preference[pairs[:, 1]]
    pairs = np.where(swapped[:, None], pairs[:, ::-1], pairs)
    better, worse = preference[pairs].T
    order = np.lexsort((better, -similarity, worse))
    near: dict[int, tuple[int, float]] = {}
    columns = (pairs[order, 0].tolist(), pairs[order, 1].tolist(), similarity[order].tolist())
    for one, other, alike in zip(*columns, strict=True):
        if one not in near and other not in near:
            near[other] = (one, alike)
    for record, (one, alike) in near.items():
        fates.like[record], fates.similarity[record] = one, alike
    follow(fates)


def follow(fates: Fates) -> None:
    """Leads the copies of a record that was dropped after them to the one that stays."""
    copies = np.flatnonzero(fates.dropped)
    of = fates.like[copies]
    late = fates.like[of] != NOBODY
    fates.similarity[copies[late]] = fates.similarity[of[late]]
    fates.like[copies[late]] = fates.like[of[late]]


def preference_of(fingerprints: Fingerprints, keep: Keep) -> Places:
    """Each record's place in the order of preference, from 0."""
    places = np.arange(fingerprints.records)
    if keep == "longest":
        lengths = np.concatenate(list(fingerprints.arrays("lengths")))
        order = np.lexsort((places, -lengths))
        places[order] = np.arange(len(order))
    return places
