"""Pairs of records that are near duplicates: proposed by the bands, then compared themselves.

Where many records share a key, each is compared with the first of them and with the NEIGHBOURS
before it, so that a thousand copies of a template make thousands of pairs and not a million.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data_process.array_files import save_array
from data_process.fingerprints import Fingerprints
from data_process.minhash import Bands
from data_process.tasks import Part, PartOutput, Step
from data_process.text_units import Hashes, Places

NEIGHBOURS = 4
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
    writes pairs.npy: first record * 2**32 + second, sorted."""

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
        keys, records = [], []
        for first, array in zip(fingerprints.first, fingerprints.arrays("keys"), strict=False):
            here = np.array(array[band])
            compared = ~left_out[first : first + len(here)]
            if self.shares > 1:
                compared &= (here >> np.uint64(32)) * self.shares >> np.uint64(32) == share
            keys.append(here[compared])
            records.append(np.flatnonzero(compared) + first)
        pairs = pairs_of(np.concatenate(keys), np.concatenate(records))
        save_array(output.folder / "pairs.npy", pairs)
        output.count("pairs", len(pairs))


def pairs_of(keys: Hashes, records: Places) -> Hashes:
    """The pairs to compare, sorted; records ascend."""
    order = np.argsort(keys, kind="stable")
    keys, records = keys[order], records[order]
    begins = np.concatenate(([True], keys[1:] != keys[:-1]))[: len(keys)]
    firsts = np.flatnonzero(begins)
    first = np.repeat(firsts, np.diff(firsts, append=len(keys)))  # of the group of each record
    places = np.arange(len(keys))
    found = []
    for distance in range(1, NEIGHBOURS + 1):
        here = places[places - distance >= first]
        found.append(joined(records[here - distance], records[here]))
    here = places[places - NEIGHBOURS > first]
    found.append(joined(records[first[here]], records[here]))
    return np.sort(np.concatenate(found))


def joined(lower: Places, higher: Places) -> Hashes:
    """Two numbers of records in one of 64 bits."""
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
        alike, similarity = similar_pairs(fingerprints, parted(pairs), self.threshold)
        save_array(output.folder / "alike.npy", alike)
        save_array(output.folder / "similarity.npy", similarity)
        output.count("pairs compared", len(pairs))
        output.count("pairs alike", len(alike))


def similar_pairs(
    fingerprints: Fingerprints, pairs: Pairs, threshold: float
) -> tuple[Pairs, Similarities]:
    """Those pairs that are at least so similar, and how similar they are."""
    alike, similarities = [np.zeros((0, 2), dtype=np.int64)], [np.zeros(0, dtype=np.float32)]
    for batch in pair_batches(fingerprints, pairs, threshold):
        similarity = similarity_of(fingerprints, batch)
        enough = similarity >= np.float32(threshold)
        alike.append(batch[enough])
        similarities.append(similarity[enough])
    return np.concatenate(alike), np.concatenate(similarities)


def pair_batches(fingerprints: Fingerprints, pairs: Pairs, threshold: float) -> Iterator[Pairs]:
    """Pairs in groups of about ELEMENTS elements; those whose sizes forbid the threshold are left
    out."""
    both = fingerprints.sizes()[pairs]
    possible = both.min(axis=1) >= threshold * both.max(axis=1)
    pairs, both = pairs[possible], both[possible]
    group = np.cumsum(both.sum(axis=1)) // ELEMENTS
    cuts = np.flatnonzero(np.diff(group)) + 1
    return (batch for batch in np.split(pairs, cuts) if len(batch))


def similarity_of(fingerprints: Fingerprints, pairs: Pairs) -> Similarities:
    """Jaccard's similarity of the sets of each pair, or of their assistants' elements, where that
    is lower."""
    elements, sizes = fingerprints.sets(pairs.reshape(-1))
    owners = np.repeat(np.arange(2 * len(pairs)) // 2, sizes).astype(np.uint64)
    elements = (owners << np.uint64(32)) | elements
    elements.sort()
    said = (elements & np.uint64(1)).astype(np.bool_)
    shared = np.flatnonzero(elements[1:] == elements[:-1])  # a set holds an element once
    lowest = np.ones(len(pairs))
    for chosen in (slice(None), said):
        all_of = np.bincount((elements[chosen] >> np.uint64(32)).astype(np.int64), None, len(pairs))
        both = shared if isinstance(chosen, slice) else shared[said[shared]]
        inside = np.bincount((elements[both] >> np.uint64(32)).astype(np.int64), None, len(pairs))
        lowest = np.minimum(
            lowest, np.where(all_of > 0, inside / np.maximum(all_of - inside, 1), 1)
        )
    return lowest.astype(np.float32)
