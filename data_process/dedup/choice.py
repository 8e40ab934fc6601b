"""Which records stay: of records that are alike, the first, or the longest.

Records that hang together by a chain of pairs are gone through in their order of preference: the
first stays, those that are alike to it are dropped, and so on with the rest. So nothing is dropped
whose like does not stay, which would happen if a chain made one cluster; and it is enough that the
pairs that were found make a chain. The choice depends on the order of the records alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data_process.dedup.fingerprints import Fingerprints
from data_process.dedup.pairs import KEYS, Pairs, Similarities, SimilarPairs, similarities
from data_process.dedup.settings import Keep
from data_process.dedup.units import Places

NOBODY = -1
MOST_STAYING = 200
"""Records of one chain that all others of it are compared with."""


@dataclass(frozen=True)
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


def choose(
    fingerprints: Fingerprints, exact: Fates, alike: SimilarPairs, keep: Keep, threshold: float
) -> Fates:
    """Decides about the records of pairs that are alike.

    Args:
        fingerprints: of all records.
        exact: what is dropped already; in no pair.
        alike: the pairs.
        keep: which of alike records stays.
        threshold: how similar alike records are.
    """
    preference = preference_of(fingerprints, keep)
    fates = Fates(exact.like.copy(), exact.similarity.copy())
    label = components(alike.pairs, len(preference))
    waiting = np.unique(alike.pairs)
    waiting = waiting[np.lexsort((preference[waiting], label[waiting]))]
    for _ in range(MOST_STAYING):
        begins = np.concatenate(([True], np.diff(label[waiting]) != 0))[: len(waiting)]
        staying, rest = waiting[begins][np.cumsum(begins) - 1][~begins], waiting[~begins]
        likeness = similarities(fingerprints, np.stack((staying, rest), axis=1), threshold)
        drop(fates, rest, staying, likeness, likeness >= np.float32(threshold))
        waiting = rest[fates.like[rest] == NOBODY]
        if not len(waiting):
            break
    drop_by_pairs(fates, alike, waiting, preference)
    follow(fates)
    return fates


def components(pairs: Pairs, records: int) -> Places:
    """The lowest record that hangs together with each record by a chain of pairs."""
    label = np.arange(records)
    while True:
        lowest = label.copy()
        both = label[pairs]
        least = both.min(axis=1)
        for side in range(2):
            np.minimum.at(lowest, both[:, side], least)
        lowest = lowest[lowest[label]]
        if np.array_equal(lowest, label):
            return label
        label = lowest


def drop(
    fates: Fates,
    records: Places,
    like: Places,
    similarity: Similarities,
    chosen: npt.NDArray[np.bool_],
) -> None:
    """Notes what the chosen records are like."""
    fates.like[records[chosen]] = like[chosen]
    fates.similarity[records[chosen]] = similarity[chosen]


def drop_by_pairs(fates: Fates, alike: SimilarPairs, waiting: Places, preference: Places) -> None:
    """Decides about records by the pairs that are known, in the order of preference."""
    undecided = np.zeros(len(preference), dtype=np.bool_)
    undecided[waiting] = True
    known = undecided[alike.pairs].all(axis=1)
    pairs, similarity = alike.pairs[known], alike.similarity[known]
    swapped = preference[pairs[:, 0]] > preference[pairs[:, 1]]
    pairs = np.where(swapped[:, None], pairs[:, ::-1], pairs)
    better, worse = preference[pairs].T
    order = np.lexsort((better, -similarity, worse))
    dropped = set[int]()
    for place in order.tolist():
        one, other = pairs[place].tolist()
        if one not in dropped and other not in dropped:
            dropped.add(other)
            fates.like[other], fates.similarity[other] = one, similarity[place]


def follow(fates: Fates) -> None:
    """Leads the copies of a record that is dropped itself to the one that stays."""
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
