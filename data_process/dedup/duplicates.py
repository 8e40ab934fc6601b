"""Which records stay: pairs that are near duplicates, and the choice among them.

The bands propose pairs, and their sets are then compared. Of many records that share a key, each is
compared with the first and with the one before it, so that a thousand copies of a template make two
thousand pairs and not a million: the choice needs chains of pairs, not all of them. They stand in
the order of another band's keys, so neighbours are more alike than most.

Records that hang together by a chain of pairs are gone through in their order: the first stays,
those that are alike to it are dropped, and so on with the rest. So nothing is dropped whose like
does not stay, which would happen if a chain made one cluster. The result depends on the order of
the records alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data_process.dedup.fingerprints import Fingerprints
from data_process.dedup.shingles import Chosen, Hashes, Places
from data_process.running.step import progress

KEPT = -1
MOST_STAYING = 200
"""Records of one chain that all others of it are compared with."""
KEYS = 1 << 22
"""Keys that are sorted at once."""
PAIRS = 1 << 20
"""Pairs that are compared between two movements of the progress bar."""
ELEMENTS = 1 << 21
"""Elements of sets that are compared at once."""
Pairs = npt.NDArray[np.int64]  # (pairs, 2): numbers of records, the lower one first
Similarities = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Duplicates:
    """What is decided about each record."""

    like: Places
    """The record that stays and that it is like; KEPT when it stays itself."""
    similarity: Similarities
    """How like it is; 1 for the same."""

    @property
    def dropped(self) -> Chosen:
        """Whether it is a duplicate."""
        return self.like != KEPT


def exact_duplicates(fingerprints: Fingerprints) -> Duplicates:
    """Of records with the same digest, all but the first are dropped."""
    like = np.full(fingerprints.records, KEPT, dtype=np.int64)
    for one, other, records in sorted_shares(fingerprints, "digests", (0, 1), like == KEPT):
        same = np.zeros(len(records), dtype=np.bool_)
        same[1:] = (one[1:] == one[:-1]) & (other[1:] == other[:-1])
        firsts = np.maximum.accumulate(np.where(same, 0, np.arange(len(same))))
        like[records[same]] = records[firsts[same]]
    return Duplicates(like, np.ones(len(like), dtype=np.float32))


def sorted_shares(
    fingerprints: Fingerprints, name: str, rows: tuple[int, int], chosen: Chosen
) -> Iterator[tuple[Hashes, Hashes, Places]]:
    """Chosen records sorted by two hashes, in shares of about KEYS records by the first hash.

    Args:
        fingerprints: of all records.
        name: the array of the hashes.
        rows: which rows of it.
        chosen: for each record, whether it is wanted.

    Yields:
        The first hashes, the second ones, and the numbers of the records.
    """
    shares = max(1, -(-fingerprints.records // KEYS))
    for share in range(shares):
        found = []
        for first, array in zip(fingerprints.first, fingerprints.arrays(name), strict=False):
            keys, others = array[list(rows)]
            here = (keys >> np.uint64(32)) * shares >> np.uint64(32) == share
            here &= chosen[first : first + len(here)]
            found.append((keys[here], others[here], np.flatnonzero(here) + first))
        keys, others, records = map(np.concatenate, zip(*found, strict=True))
        order = np.lexsort((records, others, keys))
        yield keys[order], others[order], records[order]


def near_duplicates(
    fingerprints: Fingerprints, exact: Duplicates, threshold: float, counts: Counter[str]
) -> Duplicates:
    """Also drops records that are at least so similar to one that stays; counts what was
    compared."""
    candidates = candidate_pairs(fingerprints, exact)
    alike = similar_pairs(fingerprints, candidates, threshold)
    counts.update({"pairs compared": len(candidates), "pairs alike": len(alike.pairs)})
    return choose(fingerprints, exact, alike, threshold)


def candidate_pairs(fingerprints: Fingerprints, exact: Duplicates) -> Hashes:
    """The pairs of records that share the key of a band and are no exact duplicates, sorted; see
    `joined`."""
    compared = ~exact.dropped & (fingerprints.sizes > 0)
    found = np.zeros(0, dtype=np.uint64)
    bands = range(len(fingerprints.array(0, "keys")))
    for band in progress(bands, desc="sorting bands"):
        both = (band, (band + 1) % len(bands))
        shares = sorted_shares(fingerprints, "keys", both, compared)
        found = np.unique(np.concatenate([found, *(pairs_of(k, r) for k, _, r in shares)]))
    return found


def pairs_of(keys: Hashes, records: Places) -> Hashes:
    """The pairs of records to compare, which share a key.

    Args:
        keys: of the records, sorted.
        records: their numbers, those that share a key in the order of the next band's keys.
    """
    begins = np.concatenate(([True], keys[1:] != keys[:-1]))[: len(keys)]
    firsts = np.flatnonzero(begins)
    sizes = np.diff(firsts, append=len(keys))
    lowest = np.repeat(np.minimum.reduceat(records, firsts), sizes)  # of those with the same key
    neighbours = joined(records[:-1], records[1:])[~begins[1:]]
    return np.concatenate((neighbours, joined(lowest, records)[records != lowest]))


def joined(one: Places, other: Places) -> Hashes:
    """Two numbers of records in one of 64 bits: lower * 2**32 + higher."""
    lower, higher = np.minimum(one, other), np.maximum(one, other)
    return lower.astype(np.uint64) << np.uint64(32) | higher.astype(np.uint64)


def parted(pairs: Hashes) -> Pairs:
    """The two numbers of records again; (pairs, 2)."""
    both = (pairs >> np.uint64(32), pairs & np.uint64(0xFFFFFFFF))
    return np.stack(both, axis=1).astype(np.int64)


@dataclass(frozen=True)
class SimilarPairs:
    """Pairs that are alike, sorted."""

    pairs: Pairs
    similarity: Similarities


def similar_pairs(fingerprints: Fingerprints, candidates: Hashes, threshold: float) -> SimilarPairs:
    """Those pairs that are at least so similar."""
    found, similarity = [np.zeros((0, 2), np.int64)], [np.zeros(0, np.float32)]
    blocks = range(0, len(candidates), PAIRS)
    for begin in progress(blocks, desc="comparing pairs"):
        pairs = parted(candidates[begin : begin + PAIRS])
        values = similarities(fingerprints, pairs, threshold)
        enough = values >= np.float32(threshold)
        found.append(pairs[enough])
        similarity.append(values[enough])
    return SimilarPairs(np.concatenate(found), np.concatenate(similarity))


def similarities(fingerprints: Fingerprints, pairs: Pairs, threshold: float) -> Similarities:
    """How similar the records of pairs are; 0 where their sizes forbid the threshold."""
    found = np.zeros(len(pairs), dtype=np.float32)
    both = fingerprints.sizes[pairs]
    places = np.flatnonzero(both.min(axis=1) >= threshold * both.max(axis=1))
    group = np.cumsum(both[places].sum(axis=1)) // ELEMENTS
    for batch in np.split(places, np.flatnonzero(np.diff(group)) + 1):
        if len(batch):
            found[batch] = similarity_of(fingerprints, pairs[batch])
    return found


def similarity_of(fingerprints: Fingerprints, pairs: Pairs) -> Similarities:
    """Jaccard's similarity of the sets of each pair; of conversations, the lower one of what their
    users and what their assistants say."""
    elements, sizes = fingerprints.sets(pairs.reshape(-1))
    owners = np.repeat(np.arange(2 * len(pairs)) // 2, sizes).astype(np.uint64)
    elements = (owners << np.uint64(32)) | elements
    elements.sort()
    shared = elements[1:][elements[1:] == elements[:-1]]  # a set holds an element once
    lowest = np.ones(len(pairs))
    for said_by in range(2):
        every, both = pair_counts(elements, said_by, pairs), pair_counts(shared, said_by, pairs)
        either = every - both
        lowest = np.minimum(lowest, np.where(either > 0, both / np.maximum(either, 1), 1))
    return lowest.astype(np.float32)


def pair_counts(elements: Hashes, said_by: int, pairs: Pairs) -> Places:
    """How many elements of each pair have the last bit `said_by`."""
    chosen = elements[(elements & np.uint64(1)) == said_by]
    owners = (chosen >> np.uint64(32)).astype(np.int64)
    return np.bincount(owners, minlength=len(pairs))


def choose(
    fingerprints: Fingerprints, exact: Duplicates, alike: SimilarPairs, threshold: float
) -> Duplicates:
    """Decides about the records of pairs that are alike.

    Args:
        fingerprints: of all records.
        exact: what is dropped already; in no pair.
        alike: the pairs.
        threshold: how similar alike records are.
    """
    found = Duplicates(exact.like.copy(), exact.similarity.copy())
    label = components(alike.pairs, fingerprints.records)
    waiting = np.unique(alike.pairs)
    waiting = waiting[np.argsort(label[waiting], kind="stable")]
    for _ in range(MOST_STAYING):
        begins = np.concatenate(([True], np.diff(label[waiting]) != 0))[: len(waiting)]
        staying, rest = waiting[begins][np.cumsum(begins) - 1][~begins], waiting[~begins]
        similarity = similarities(fingerprints, np.stack((staying, rest), axis=1), threshold)
        enough = similarity >= np.float32(threshold)
        found.like[rest[enough]] = staying[enough]
        found.similarity[rest[enough]] = similarity[enough]
        waiting = rest[~enough]
        if not len(waiting):
            break
    drop_by_pairs(found, alike, waiting)
    lead_copies(found)
    return found


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


def drop_by_pairs(found: Duplicates, alike: SimilarPairs, waiting: Places) -> None:
    """Decides about records by the pairs that are known, in the order of the records."""
    undecided = np.zeros(len(found.like), dtype=np.bool_)
    undecided[waiting] = True
    known = undecided[alike.pairs].all(axis=1)
    pairs, similarity = alike.pairs[known], alike.similarity[known]
    lower, higher = pairs.T
    for place in np.lexsort((lower, -similarity, higher)).tolist():
        one, other = pairs[place].tolist()
        if found.like[one] == KEPT and found.like[other] == KEPT:
            found.like[other], found.similarity[other] = one, similarity[place]


def lead_copies(found: Duplicates) -> None:
    """Leads the copies of a record that is dropped itself to the one that stays."""
    copies = np.flatnonzero(found.dropped)
    of = found.like[copies]
    late = found.like[of] != KEPT
    found.similarity[copies[late]] = found.similarity[of[late]]
    found.like[copies[late]] = found.like[of[late]]
