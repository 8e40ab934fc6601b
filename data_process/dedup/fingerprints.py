"""What is kept of each record to find its duplicates: hashes, in arrays beside the parts.

    places.npy    (records, 2)        byte at which the line begins, and its number
    digests.npy   (records, 2)        the same for records with the same units in the same turns
    lengths.npy   (records,)          units
    keys.npy      (bands, records)    of MinHash
    sets.npy      (elements,)         shingles, sorted, each once, record after record
    borders.npy   (records + 1,)      where each record's begin

An element of a set is a shingle's hash of 31 bits, and in the last bit whether an assistant says
it: questions and answers are compared by themselves, for a question with another answer, or an
answer to another question, is no duplicate. System turns, which thousands of conversations share,
are no part of the sets. Numbers of records (from 0, over all parts) are their order in the
input.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data_process.dedup.minhash import band_keys, bands_for
from data_process.dedup.settings import Comparison
from data_process.dedup.shingles import Windows
from data_process.dedup.units import ORDER, Hashes, Places, Units, mix, units_of
from data_process.records.array_files import save_array
from data_process.records.comparable import (
    ASSISTANT,
    LONGEST,
    SYSTEM,
    Comparable,
    batches,
    hash_of,
    read_comparables,
)
from data_process.records.documents import BadRecords
from data_process.records.jsonl_parts import JsonlPart
from data_process.records.known_files import signature_of
from data_process.running.step import Part, PartOutput, Step

Set = npt.NDArray[np.uint32]


@dataclass(frozen=True)
class FingerprintStep(Step):
    """Reads all records. The stream it writes: rejected (bad records); the arrays: see above."""

    files: tuple[JsonlPart, ...]
    comparison: Comparison
    bad_records: BadRecords
    title = "reading"

    def parts(self) -> Sequence[Part]:
        """The parts of the files."""
        return [file.part for file in self.files]

    def plan(self) -> dict[str, Any]:
        """The files and the settings."""
        paths = sorted({file.path for file in self.files})
        cuts = [[str(f.path), f.lines.begin, f.lines.end] for f in self.files]
        return {
            "step": "fingerprints 1",
            "files": [[str(path), signature_of(path)] for path in paths],
            "parts": cuts,
            "comparison": asdict(self.comparison),
            "bad_records": self.bad_records,
        }

    def run(self, number: int, output: PartOutput) -> None:
        """Reads the records of one part."""
        records = read_comparables(self.files[number], self.bad_records, output)
        found: dict[str, list[npt.NDArray[Any]]] = {}
        for batch in batches(records):
            for name, array in self.arrays(batch).items():
                found.setdefault(name, []).append(array)
        for name, arrays in found.items():
            joined = np.concatenate(arrays, axis=1 if name == "keys" else 0)
            if name == "borders":
                joined = np.concatenate(([0], np.cumsum(joined)))
            save_array(output.folder / f"{name}.npy", joined)

    def arrays(self, batch: list[Comparable]) -> dict[str, npt.NDArray[Any]]:
        """The arrays of a batch; borders are lengths still."""
        turns = [turn for record in batch for turn in record.turns]
        roles = np.array([role for role, _ in turns], dtype=np.uint64)
        owners = np.repeat(np.arange(len(batch)), [len(record.turns) for record in batch])
        texts = [content[:LONGEST] for _, content in turns]
        units = units_of(texts, self.comparison.keep_case, self.comparison.keep_punctuation)
        lengths = np.bincount(owners, units.lengths, len(batch)).astype(np.int64)
        found = {
            "places": np.array([(record.begin, record.line) for record in batch]),
            "digests": digests(batch, units, roles, lengths),
            "lengths": lengths,
        }
        if not self.comparison.exact_only:
            sets, sizes = sets_of(batch, units, roles, owners, self.comparison.ngram)
            found |= {"sets": sets, "borders": sizes, "keys": self.keys(sets, sizes)}
        return found

    def keys(self, sets: Set, sizes: Places) -> Hashes:
        """The keys of the bands; those of records without a shingle are not used."""
        shape = bands_for(self.comparison.threshold)
        keys = np.zeros((shape.bands, len(sizes)), dtype=np.uint64)
        if len(sets):
            begins = (np.cumsum(sizes) - sizes)[sizes > 0]
            keys[:, sizes > 0] = band_keys(sets, begins, shape, self.comparison.seed)
        return keys


def digests(batch: list[Comparable], units: Units, roles: Hashes, lengths: Places) -> Hashes:
    """128 bits for each record, from its units, their places and roles; a record without units has
    those of its characters."""
    begins = np.cumsum(lengths) - lengths
    places = np.arange(len(units.hashes)) - np.repeat(begins, lengths)
    said_by = np.repeat(roles, units.lengths)
    found = np.zeros((len(batch), 2), dtype=np.uint64)
    for half in range(2):
        values = units.hashes ^ mix(said_by + np.uint64(4 * half))
        values += places.astype(np.uint64) * np.uint64(ORDER)
        sums = np.concatenate((np.zeros(1, np.uint64), np.cumsum(mix(values))))
        found[:, half] = sums[begins + lengths] - sums[begins]
    for number, record in enumerate(batch):
        if not lengths[number]:
            found[number] = hash_of("\n".join(content for _, content in record.turns))
        found[number] += np.uint64(record.rest)
    return found


def sets_of(
    batch: list[Comparable], units: Units, roles: Hashes, owners: Places, n: int
) -> tuple[Set, Places]:
    """The sets of records, one after another, and their sizes; that of a record that is not cut
    into units to its end is empty, for it is compared as a whole alone."""
    hashes, places = Windows(units).shingles(n)
    turns = np.repeat(np.arange(len(roles)), units.lengths)[places]
    whole = np.array([record.rest == 0 for record in batch])
    compared = (roles[turns] != SYSTEM) & whole[owners[turns]]
    hashes, turns = hashes[compared], turns[compared]
    elements = (hashes >> np.uint64(32)) & np.uint64(0xFFFFFFFE)
    elements |= (roles[turns] == ASSISTANT).astype(np.uint64)
    elements |= owners[turns].astype(np.uint64) << np.uint64(32)
    elements.sort()
    elements = elements[np.concatenate(([True], elements[1:] != elements[:-1]))[: len(elements)]]
    sizes = np.bincount((elements >> np.uint64(32)).astype(np.int64), minlength=len(batch))
    return (elements & np.uint64(0xFFFFFFFF)).astype(np.uint32), sizes


class Fingerprints:
    """The arrays of all parts, read where they lie."""

    def __init__(self, folders: Sequence[Path]) -> None:
        """folders: those of the parts, in their order; a part without records has no arrays."""
        self.folders = [folder for folder in folders if (folder / "places.npy").exists()]
        self.numbers = [n for n, folder in enumerate(folders) if folder in self.folders]
        counts = [len(self.array(n, "lengths")) for n in range(len(self.folders))]
        self.first = np.concatenate(([0], np.cumsum(counts, dtype=np.int64)))

    @property
    def records(self) -> int:
        """How many there are."""
        return int(self.first[-1])

    def array(self, number: int, name: str) -> npt.NDArray[Any]:
        """An array of a part that has records."""
        array: npt.NDArray[Any] = np.load(self.folders[number] / f"{name}.npy", mmap_mode="r")
        return array

    def arrays(self, name: str) -> Iterator[npt.NDArray[Any]]:
        """An array of each part that has records."""
        return (self.array(number, name) for number in range(len(self.folders)))

    @functools.cached_property
    def sizes(self) -> Places:
        """How many elements the set of each record has."""
        return np.concatenate([np.diff(borders) for borders in self.arrays("borders")])

    def part_of(self, record: int) -> int:
        """The part of a record, among those that have records."""
        return int(np.searchsorted(self.first, record, side="right")) - 1

    def sets(self, records: Places) -> tuple[Set, Places]:
        """The sets of records, in the order given, one after another, and their sizes."""
        parts = np.searchsorted(self.first, records, side="right") - 1
        sizes = np.zeros(len(records), dtype=np.int64)
        begins = np.zeros(len(records), dtype=np.int64)
        for part in np.unique(parts):
            borders, here = self.array(part, "borders"), parts == part
            inside = records[here] - self.first[part]
            begins[here] = borders[inside]
            sizes[here] = borders[inside + 1] - begins[here]
        found = np.empty(sizes.sum(), dtype=np.uint32)
        ends = np.cumsum(sizes)
        sources = np.arange(len(found)) + np.repeat(begins - (ends - sizes), sizes)
        owners = np.repeat(parts, sizes)
        for part in np.unique(parts):
            here = owners == part
            found[here] = self.array(part, "sets")[sources[here]]
        return found, sizes
