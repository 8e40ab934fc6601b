"""What is kept of each record to find its duplicates: hashes, in arrays beside the parts.

    places.npy    (records, 2)        byte at which the line begins, and its number
    digests.npy   (2, records)        the same for records with the same units in the same turns
    keys.npy      (bands, records)    of MinHash
    sets.npy      (elements,)         shingles, sorted, each once, record after record
    sizes.npy     (records,)          how many of them each record has
    matches.npy   (matches, 2)        record in the part, and the evaluation n-gram that it holds

An element of a set is a shingle's hash of 31 bits, and in the last bit whether an assistant says
it: questions and answers are compared by themselves, for a question with another answer, or an
answer to another question, is no duplicate. System turns, which thousands of conversations share,
are no part of the sets. Numbers of records (from 0, over all parts) are their order in the
input.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from annotated_types import Interval

from config import Settings
from data_process.dedup.decontamination import EvaluationNgrams, NgramFinder
from data_process.dedup.shingles import (
    GOLDEN,
    Hashes,
    Places,
    Set,
    Units,
    band_keys,
    bands_for,
    mix,
    units_of,
)
from data_process.records.jsonl import BadRecords, read_part
from data_process.records.kinds import conversation_of, described, document_problems
from data_process.records.parts import FilesStep
from data_process.running.step import PartOutput, done_parts, grouped, part_folder
from model.chat import message_problems
from model.conversation import said
from model.directory.storage import replace_file

Arrays = dict[str, npt.NDArray[Any]]

TEXT, USER, ASSISTANT, SYSTEM = range(4)
"""Who says a turn; a text has one turn of its own kind."""
ROLES = {"user": USER, "tool": USER, "assistant": ASSISTANT, "system": SYSTEM}
LONGEST = 1 << 20
"""Characters of a turn that are cut into units; of what follows only a hash is compared, so records
with longer turns can be exact duplicates alone."""
BATCH = 200_000
"""Characters that are worked on together: more leave the processor's cache."""
OVERLAP = 1000
"""Characters that pieces of a longer turn share, so that no evaluation n-gram is cut."""


@dataclass(frozen=True)
class Comparison(Settings):
    """How records are compared."""

    threshold: Annotated[float, Interval(ge=0.1, le=1)] = 0.7
    """Records whose sets of n-grams are as similar as this (Jaccard), from 0 to 1, are near
    duplicates. In conversations both the user's and the assistant's turns must be so."""
    ngram: Annotated[int, Interval(ge=1, le=50)] = 5
    """Units of an n-gram: words, or characters where words are not written apart (Chinese)."""
    exact_only: bool = False
    """Only drop records that are the same, but for case, punctuation and white space."""
    seed: Annotated[int, Interval(ge=0, le=2**63 - 1)] = 1
    """Of the random functions that choose which records are compared."""


@dataclass(frozen=True)
class Comparable:
    """A record that can be compared."""

    begin: int
    """Byte at which its line begins."""
    line: int
    """Its number, from 1."""
    turns: list[tuple[int, str]]
    """Role and content."""

    @property
    def size(self) -> int:
        """Characters that are compared."""
        return sum(min(len(content), LONGEST) for _, content in self.turns)

    @functools.cached_property
    def rest(self) -> int:
        """A hash of what is too long to be cut into units; 0 when there is nothing."""
        tails = [content[LONGEST:] for _, content in self.turns if len(content) > LONGEST]
        return hash_of("\n".join(tails)) if tails else 0


@dataclass(frozen=True)
class FingerprintStep(FilesStep):
    """Reads all records. The stream it writes: rejected (bad records); the arrays: see above."""

    comparison: Comparison
    bad_records: BadRecords
    text_key: str
    ngrams: Path | None
    """Where the n-grams of evaluation files were saved, if there are any."""
    evaluation: dict[str, Any]
    """What the evaluation files are, and how records are compared with them."""
    title = "reading"

    def run(self, number: int, output: PartOutput) -> None:
        """Reads the records of one part."""
        finder = NgramFinder(EvaluationNgrams.load(self.ngrams)) if self.ngrams else None
        part, check = self.files[number], comparable_problems
        read = read_part(part, output, self.bad_records, check, self.text_key)
        records = (Comparable(r.begin, r.line, turns_of(r.value)) for r in read)
        found = [self.arrays([], finder)]
        before = 0
        for batch in grouped(records, attrgetter("size"), BATCH):
            found.append(self.arrays(batch, finder))
            if finder:
                found[-1]["matches"][:, 0] += before
            before += len(batch)
        for name in found[0]:
            arrays = [of_batch[name] for of_batch in found]
            joined = np.concatenate(arrays, axis=1 if name in ("digests", "keys") else 0)
            replace_array(output.folder / f"{name}.npy", joined)

    def arrays(self, batch: Sequence[Comparable], finder: NgramFinder | None) -> Arrays:
        """The arrays of a batch, by their names."""
        turns = [turn for record in batch for turn in record.turns]
        roles = np.array([role for role, _ in turns], dtype=np.uint64)
        owners = np.repeat(np.arange(len(batch)), [len(record.turns) for record in batch])
        units = units_of([content[:LONGEST] for _, content in turns])
        found: Arrays = {
            "places": np.array([(r.begin, r.line) for r in batch], np.int64).reshape(-1, 2),
            "digests": digests(batch, units, roles, owners),
        }
        if not self.comparison.exact_only:
            sets, sizes = sets_of(batch, units, roles, owners, self.comparison.ngram)
            shape = bands_for(self.comparison.threshold)
            keys = band_keys(sets, sizes, shape, self.comparison.seed)
            found |= {"sets": sets, "sizes": sizes, "keys": keys}
        if finder:
            found["matches"] = finder.matches(owners, units, ends_of_long_turns(batch))
        return found


def comparable_problems(record: dict[str, Any]) -> Iterator[str]:
    """What is wrong with a record as a text or a conversation."""
    if (turns := conversation_of(record)) is not None:
        yield from message_problems(turns)
    elif "text" in record:
        yield from document_problems(record)
    else:
        example = '{"text": "..."} or {"conversations": [...]}'
        yield f"found {described(record)}; a line must be {example}"


def turns_of(record: dict[str, Any]) -> list[tuple[int, str]]:
    """Role and content of what a record says."""
    if (turns := conversation_of(record)) is not None:
        return [(ROLES[m["role"]], said(m)) for m in turns]
    return [(TEXT, record["text"])]


def ends_of_long_turns(batch: Sequence[Comparable]) -> Iterator[tuple[int, str]]:
    """What of very long turns is not cut into units with the rest, in pieces of bounded size that
    overlap; and the number of the record in its batch."""
    for number, record in enumerate(batch):
        for _, text in record.turns:
            for begin in range(LONGEST, len(text), LONGEST):
                yield number, text[begin - OVERLAP : begin + LONGEST]


def digests(batch: Sequence[Comparable], units: Units, roles: Hashes, owners: Places) -> Hashes:
    """128 bits for each record, from its units, their places and roles; a record without units has
    those of its characters."""
    lengths = np.bincount(owners, units.lengths, len(batch)).astype(np.int64)
    begins = np.cumsum(lengths) - lengths
    places = np.arange(len(units.hashes)) - np.repeat(begins, lengths)
    said_by = np.repeat(roles, units.lengths)
    found = np.zeros((2, len(batch)), dtype=np.uint64)
    for half in range(2):
        values = units.hashes ^ mix(said_by + np.uint64(4 * half))
        values += places.astype(np.uint64) * np.uint64(GOLDEN)
        sums = np.concatenate((np.zeros(1, np.uint64), np.cumsum(mix(values))))
        found[half] = sums[begins + lengths] - sums[begins]
    for number, record in enumerate(batch):
        if not lengths[number]:
            found[:, number] = hash_of("\n".join(content for _, content in record.turns))
        found[:, number] += np.uint64(record.rest)
    return found


def hash_of(text: str) -> int:
    """A hash of a text as it stands, of 64 bits."""
    data = text.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def sets_of(
    batch: Sequence[Comparable], units: Units, roles: Hashes, owners: Places, n: int
) -> tuple[Set, Places]:
    """The sets of records, one after another, and their sizes; that of a record that is not cut
    into units to its end is empty, for it is compared as a whole alone."""
    hashes, places = units.shingles(n)
    turns = np.repeat(np.arange(len(roles)), units.lengths)[places]
    whole = np.array([record.rest == 0 for record in batch], dtype=np.bool_)
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

    def __init__(self, work_dir: Path) -> None:
        """work_dir: where `FingerprintStep` has done all parts."""
        self.folders = [part_folder(work_dir, number) for number in done_parts(work_dir)]
        counts = [len(array) for array in self.arrays("places")]
        self.first = np.concatenate(([0], np.cumsum(counts, dtype=np.int64)))

    @property
    def records(self) -> int:
        """How many there are."""
        return int(self.first[-1])

    def array(self, number: int, name: str) -> npt.NDArray[Any]:
        """An array of a part."""
        array: npt.NDArray[Any] = np.load(self.folders[number] / f"{name}.npy", mmap_mode="r")
        return array

    def arrays(self, name: str) -> Iterator[npt.NDArray[Any]]:
        """An array of each part."""
        return (self.array(number, name) for number in range(len(self.folders)))

    @functools.cached_property
    def sizes(self) -> Places:
        """How many elements the set of each record has."""
        return np.concatenate([np.array(sizes) for sizes in self.arrays("sizes")])

    @functools.cached_property
    def begins(self) -> Places:
        """Where the set of each record begins among those of its part."""
        return np.concatenate([np.cumsum(sizes) - sizes for sizes in self.arrays("sizes")])

    @property
    def matches(self) -> Places:
        """(matches, 2): the numbers of records, and of evaluation n-grams that they hold."""
        shifted = zip(self.arrays("matches"), self.first, strict=False)
        return np.concatenate([matches + np.array((before, 0)) for matches, before in shifted])

    def part_of(self, record: int) -> tuple[int, int]:
        """The part of a record, and its number in it."""
        part = int(np.searchsorted(self.first, record, side="right")) - 1
        return part, record - int(self.first[part])

    def sets(self, records: Places) -> tuple[Set, Places]:
        """The sets of records, in the order given, one after another, and their sizes."""
        parts = np.searchsorted(self.first, records, side="right") - 1
        sizes = self.sizes[records]
        ends = np.cumsum(sizes)
        found = np.empty(sizes.sum(), dtype=np.uint32)
        sources = np.arange(len(found)) + np.repeat(self.begins[records] - (ends - sizes), sizes)
        owners = np.repeat(parts, sizes)
        for part in np.unique(parts):
            here = owners == part
            found[here] = self.array(part, "sets")[sources[here]]
        return found, sizes


def replace_array(path: Path, array: npt.NDArray[Any]) -> None:
    """Writes an array as .npy, whole or not at all."""

    def save(aside: Path) -> None:
        with aside.open("wb") as file:  # to a path, numpy would add its own ending
            np.save(file, array, allow_pickle=False)

    replace_file(path, save)
