"""Finding records that hold text of evaluation files.

As for GPT-3 (Brown et al. 2020, appendix C): a record that shares an n-gram of 13 words with an
evaluation text is contaminated, and an n-gram that more than 10 records hold is a common phrase
and tells nothing. Of a shorter evaluation text, down to 8 words, the whole must be found. Chinese
has no words apart: there 20 characters stand for 13 words, and 12 for 8. All strings of an
evaluation file count, whatever its keys are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data_process.cleaning.language import script_of
from data_process.dedup.settings import Decontamination
from data_process.dedup.shingles import Windows
from data_process.dedup.units import Hashes, Places, units_of
from data_process.records.array_files import save_array
from data_process.records.comparable import LONGEST, Comparable, batches, read_comparables
from data_process.records.documents import BadRecords
from data_process.records.jsonl import read_records
from data_process.records.jsonl_parts import JsonlPart
from data_process.running.step import Part, PartOutput, Step

CHARACTERS_OF_WORD = 1.5
"""Chinese characters that weigh as much as a word."""
OVERLAP = 1000
"""Characters that pieces of a very long turn share, so that no n-gram is cut."""
SIEVE_BITS = 24
"""Size of the table that most n-grams are sifted out by, before the sorted list is searched."""
TEXTS_AT_ONCE = 1000


@dataclass(frozen=True)
class EvaluationNgrams:
    """What is looked for."""

    lengths: npt.NDArray[np.int64]
    """Which lengths there are, in units."""
    hashes: Hashes
    """Of all n-grams of all lengths, sorted, each once."""
    sources: Places  # (n-grams, 2)
    """Number of the file, and of the line that it stands in first."""
    short: int
    """Texts that are too short to be looked for."""

    @staticmethod
    def load(path: Path) -> EvaluationNgrams:
        """Reads what `save` wrote."""
        with np.load(path) as arrays:
            short = int(arrays["short"])
            return EvaluationNgrams(arrays["lengths"], arrays["hashes"], arrays["sources"], short)

    def save(self, path: Path) -> None:
        """Writes all to a file."""
        with path.open("wb") as file:
            np.savez(
                file,
                lengths=self.lengths,
                hashes=self.hashes,
                sources=self.sources,
                short=np.array(self.short),
            )


def read_evaluation(paths: Sequence[Path], settings: Decontamination) -> EvaluationNgrams:
    """Cuts the texts of evaluation files into n-grams.

    Raises:
        UserError: a file is missing, or is not JSONL.
    """
    texts, sources = [], []
    for number, path in enumerate(paths):
        for line, record in read_records(path):
            for text in strings_of(record):
                texts.append(text)
                sources.append((number, line))
    places = np.array(sources, dtype=np.int64).reshape(-1, 2)
    found, owners = [np.zeros(0, dtype=np.uint64)], [np.zeros(0, dtype=np.int64)]
    lengths: set[int] = set()
    for begin in range(0, len(texts), TEXTS_AT_ONCE):
        batch = texts[begin : begin + TEXTS_AT_ONCE]
        for length, hashes, texts_of in ngrams_of(batch, settings):
            lengths.add(length)
            found.append(hashes)
            owners.append(begin + texts_of)
    of_text = np.concatenate(owners)
    hashes, first = np.unique(np.concatenate(found), return_index=True)
    short = len(texts) - len(np.unique(of_text))
    return EvaluationNgrams(np.array(sorted(lengths)), hashes, places[of_text[first]], short)


def strings_of(value: object) -> Iterator[str]:
    """All strings in a record, those in lists and objects too, but for keys."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            waiting.extend(reversed(item.values()))
        elif isinstance(item, list):
            waiting.extend(reversed(item))


def ngrams_of(
    texts: Sequence[str], settings: Decontamination
) -> Iterator[tuple[int, Hashes, Places]]:
    """The n-grams of evaluation texts: their length, hashes and the texts they are of."""
    units = units_of(texts, keep_case=False, keep_punctuation=False)
    windows = Windows(units)
    weights = [CHARACTERS_OF_WORD if script_of(text) == "han" else 1.0 for text in texts]
    longest = np.array([round(settings.against_ngram * weight) for weight in weights])
    shortest = np.array([round(settings.against_shortest * weight) for weight in weights])
    wanted = np.minimum(units.lengths, longest)
    wanted[units.lengths < shortest] = 0
    owners = np.repeat(np.arange(len(texts)), units.lengths)
    for length in np.unique(wanted[wanted > 0]).tolist():
        hashes, places = windows.whole(length)
        here = wanted[owners[places]] == length
        yield length, hashes[here], owners[places[here]]


@dataclass(frozen=True)
class ContaminationStep(Step):
    """Finds n-grams of evaluation texts in records. It writes found.npy (matches, 2): number of the
    record in its part, and of the n-gram, each pair once."""

    files: tuple[JsonlPart, ...]
    bad_records: BadRecords
    ngrams: Path
    """Where the n-grams were saved."""
    origin: dict[str, Any]
    """What the files and the evaluation files are."""
    title = "comparing with evaluation files"

    def parts(self) -> Sequence[Part]:
        """The parts of the files."""
        return [file.part for file in self.files]

    def plan(self) -> dict[str, Any]:
        """The files and the settings."""
        return {"step": "contamination 1", "origin": self.origin}

    def run(self, number: int, output: PartOutput) -> None:
        """Reads the records of one part."""
        finder = NgramFinder(EvaluationNgrams.load(self.ngrams))
        found = [np.zeros((0, 2), dtype=np.int64)]
        before = 0
        for batch in batches(read_comparables(self.files[number], self.bad_records)):
            for owners, texts in pieces(batch):
                matches = finder.find(texts)
                matches[:, 0] = owners[matches[:, 0]] + before
                found.append(matches)
            before += len(batch)
        save_array(output.folder / "found.npy", np.unique(np.concatenate(found), axis=0))


def pieces(batch: Sequence[Comparable]) -> Iterator[tuple[Places, list[str]]]:
    """All turns of records, in groups of bounded size, and the records they are of; a very long
    turn comes in pieces that overlap."""
    turns = [(number, text) for number, record in enumerate(batch) for _, text in record.turns]
    short = [(number, text[:LONGEST]) for number, text in turns]
    yield np.array([number for number, _ in short], dtype=np.int64), [text for _, text in short]
    for number, text in turns:
        for begin in range(LONGEST, len(text), LONGEST):
            yield np.array([number]), [text[begin - OVERLAP : begin + LONGEST]]


class NgramFinder:
    """Looks for n-grams in texts."""

    def __init__(self, ngrams: EvaluationNgrams) -> None:
        self.ngrams = ngrams
        self.sieve = np.zeros(1 << SIEVE_BITS, dtype=np.bool_)
        self.sieve[ngrams.hashes >> np.uint64(64 - SIEVE_BITS)] = True

    def find(self, texts: Sequence[str]) -> Places:
        """The n-grams that texts hold; (matches, 2): number of the text, and of the n-gram."""
        units = units_of(texts, keep_case=False, keep_punctuation=False)
        windows = Windows(units)
        found = [np.zeros((0, 2), dtype=np.int64)]
        for length in self.ngrams.lengths.tolist():
            hashes, places = windows.whole(length)
            likely = self.sieve[hashes >> np.uint64(64 - SIEVE_BITS)]
            hashes, places = hashes[likely], places[likely]
            rank = np.searchsorted(self.ngrams.hashes, hashes)
            rank = np.minimum(rank, len(self.ngrams.hashes) - 1)
            same = self.ngrams.hashes[rank] == hashes
            texts_of = np.searchsorted(units.borders, places[same], side="right") - 1
            found.append(np.stack((texts_of, rank[same]), axis=1))
        return np.concatenate(found)


@dataclass(frozen=True)
class Contamination:
    """Which records hold text of evaluation files."""

    ngram: Places  # (records,)
    """The first n-gram that tells it, or -1."""
    common: int
    """N-grams that too many records hold."""


def contamination(
    found: Sequence[Places], first: Places, dropped: npt.NDArray[np.bool_], common: int
) -> Contamination:
    """Tells contaminated records from those that only share a common phrase.

    Args:
        found: of each part, records and n-grams.
        first: number of the first record of each part.
        dropped: records that do not count, for they are duplicates.
        common: most records that hold an n-gram; 0: any number.
    """
    shifted = [
        matches + np.array((before, 0)) for matches, before in zip(found, first, strict=False)
    ]
    matches = np.concatenate([np.zeros((0, 2), dtype=np.int64), *shifted])
    matches = matches[~dropped[matches[:, 0]]]
    counts = np.bincount(matches[:, 1])
    too_common = counts > common if common else np.zeros(len(counts), dtype=np.bool_)
    telling = matches[~too_common[matches[:, 1]]]
    ngram = np.full(len(dropped), -1, dtype=np.int64)
    records, places = np.unique(telling[:, 0], return_index=True)
    ngram[records] = telling[places, 1]
    return Contamination(ngram, int(too_common.sum()))
