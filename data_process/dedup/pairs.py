"""Pairs of records that are near duplicates: proposed by the bands, then compared themselves.

Of many records that share a key, each is compared with the first and with the one before it, so
that a thousand copies of a template make two thousand pairs and not a million: `choose` needs
chains of pairs, not all of them. They stand in the order of another band's keys, so neighbours are
more alike than most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data_process.dedup.fingerprints import Fingerprints
from data_process.dedup.minhash import Bands
from data_process.dedup.units import Hashes, Places
from data_process.records.array_files import save_array
from data_process.running.step import Part, PartOutput, Step

KEYS = 1 << 22
"""Keys that are sorted at once."""
PAIRS_OF_PART = 1 << 20
ELEMENTS = 1 << 21
"""Elements of sets that are compared at once."""
Pairs = npt.NDArray[np.int64]  # (pairs, 2): numbers of records, the lower one first
Similarities = npt.NDArray[np.float32]


@dataclass(frozen=True)
class BandStep(Step):
    """Finds the records that share the key of a band. A part is a band, or a share of its keys; it
    writes pairs.npy: lower record * 2**32 + higher, sorted."""

    folders: tuple[Path, ...]
    """Where the fingerprints are."""
    left_out: Path
    """An array that tells which records are not compared."""
    shape: Bands
    records: int
    origin: dict[str, Any]
    """The plan of the fingerprints."""
    title = "sorting bands"

    @property
    def shares(self) -> int:
        """Parts of a band."""
        return max(1, -(-self.records // KEYS))

    def parts(self) -> Sequence[Part]:
        """A part for each band and share."""
        size = self.records * 8 // self.shares
        count = self.shape.bands * self.shares
        return [Part(f"band {n // self.shares + 1}", size) for n in range(count)]

    def plan(self) -> dict[str, Any]:
        """All follows from the fingerprints."""
        return {"step": "bands 1", "origin": self.origin}

    def run(self, number: int, output: PartOutput) -> None:
        """Sorts the keys of one share of a band."""
        band, share = divmod(number, self.shares)
        fingerprints = Fingerprints(self.folders)
        left_out = np.load(self.left_out, mmap_mode="r")
        keys, others, records = [], [], []
        other = (band + 1) % self.shape.bands
        for first, array in zip(fingerprints.first, fingerprints.arrays("keys"), strict=False):
            here = np.array(array[band])
            compared = ~left_out[first : first + len(here)]
            if self.shares > 1:
                compared &= (here >> np.uint64(32)) * self.shares >> np.uint64(32) == share
            keys.append(here[compared])
            others.append(array[other][compared])
            records.append(np.flatnonzero(compared) + first)
        pairs = pairs_of(*map(np.concatenate, (keys, others, records)))
        save_array(output.folder / "pairs.npy", pairs)
        output.count("pairs", len(pairs))


def pairs_of(keys: Hashes, others: Hashes, records: Places) -> Hashes:
    """The pairs to compare, sorted.

    Args:
        keys: of the records.
        others: what orders those that share a key.
        records: their numbers, ascending.
    """
    order = np.lexsort((records, others, keys))
    keys, records = keys[order], records[order]
    begins = np.concatenate(([True], keys[1:] != keys[:-1]))[: len(keys)]
    firsts = np.flatnonzero(begins)
    sizes = np.diff(firsts, append=len(keys))
    lowest = np.repeat(np.minimum.reduceat(records, firsts), sizes)  # of those with the same key
    neighbours = joined(records[:-1], records[1:])[~begins[1:]]
    return np.unique(np.concatenate((neighbours, joined(lowest, records)[records != lowest])))


def joined(one: Places, other: Places) -> Hashes:
    """Two numbers of records in one of 64 bits, the lower number first."""
    lower, higher = np.minimum(one, other), np.maximum(one, other)
    return lower.astype(np.uint64) << np.uint64(32) | higher.astype(np.uint64)


def parted(pairs: Hashes) -> Pairs:
    """The two numbers of records again; (pairs, 2)."""
    both = (pairs >> np.uint64(32), pairs & np.uint64(0xFFFFFFFF))
    return np.stack(both, axis=1).astype(np.int64)


@dataclass(frozen=True)
class VerifyStep(Step):
    """Compares the sets of shingles of pairs. A part is a range of first records; it writes
    alike.npy and similarity.npy, of the pairs at or above the threshold."""

    folders: tuple[Path, ...]
    """Where the fingerprints are."""
    bands: tuple[Path, ...]
    """Where the pairs are."""
    threshold: float
    records: int
    pairs: int
    """How many there are in all bands together."""
    origin: dict[str, Any]
    """The plan of the fingerprints."""
    title = "comparing pairs"

    @property
    def shares(self) -> int:
        """Parts; at most one for each record."""
        return max(1, min(self.records, -(-self.pairs // PAIRS_OF_PART)))

    def parts(self) -> Sequence[Part]:
        """A part for each range of records."""
        size = self.pairs * 8 // self.shares
        return [Part(f"pairs {number + 1}", size) for number in range(self.shares)]

    def plan(self) -> dict[str, Any]:
        """All follows from the fingerprints."""
        return {"step": "verify 1", "origin": self.origin}

    def run(self, number: int, output: PartOutput) -> None:
        """Compares the pairs of one range."""
        limits = [self.records * n // self.shares << 32 for n in (number, number + 1)]
        slices = []
        for folder in self.bands:
            pairs = np.load(folder / "pairs.npy", mmap_mode="r")
            begin, end = np.searchsorted(pairs, np.array(limits, dtype=np.uint64))
            slices.append(np.array(pairs[begin:end]))
        pairs = np.unique(np.concatenate(slices))
        fingerprints = Fingerprints(self.folders)
        alike = similar_pairs(fingerprints, parted(pairs), self.threshold)
        alike.save(output.folder)
        output.count("pairs compared", len(pairs))
        output.count("pairs alike", len(alike.pairs))


@dataclass(frozen=True)
class SimilarPairs:
    """Pairs that are alike."""

    pairs: Pairs
    similarity: Similarities

    def save(self, folder: Path) -> None:
        """Writes both arrays."""
        save_array(folder / "alike.npy", self.pairs)
        save_array(folder / "similarity.npy", self.similarity)

    @staticmethod
    def load(folder: Path) -> SimilarPairs:
        """Reads what `save` wrote."""
        return SimilarPairs(np.load(folder / "alike.npy"), np.load(folder / "similarity.npy"))


def united(found: Sequence[SimilarPairs]) -> SimilarPairs:
    """All pairs, sorted, each once."""
    pairs = np.concatenate([some.pairs for some in found])
    similarity = np.concatenate([some.similarity for some in found])
    _, first = np.unique(joined(pairs[:, 0], pairs[:, 1]), return_index=True)
    return SimilarPairs(pairs[first], similarity[first])


def similar_pairs(fingerprints: Fingerprints, pairs: Pairs, threshold: float) -> SimilarPairs:
    """Those pairs that are at least so similar."""
    similarity = similarities(fingerprints, pairs, threshold)
    enough = similarity >= np.float32(threshold)
    return SimilarPairs(pairs[enough], similarity[enough])


def similarities(fingerprints: Fingerprints, pairs: Pairs, threshold: float) -> Similarities:
    """How similar the records of pairs are; 0 where their sizes forbid the threshold."""
    found = np.zeros(len(pairs), dtype=np.float32)
    if not len(pairs):
        return found
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
