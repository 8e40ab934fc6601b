"""Finding records that hold text of evaluation files.

As for GPT-3 (Brown et al. 2020, appendix C): a record that shares an n-gram of 13 words with an
evaluation text is contaminated, and an n-gram that more than 10 records hold is a common phrase
and no evidence. Of a shorter evaluation text, down to 8 words, the whole must be found. Chinese
has no words apart: there 20 characters stand for 13 words, and 12 for 8. All strings of an
evaluation file count, whatever its keys are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Interval

from config import Settings
from data_process.dedup.shingles import Chosen, Hashes, Places, Units, units_of
from data_process.records.jsonl import read_records
from model.tokenizer import script_of

CHARACTERS_OF_WORD = 1.5
"""Chinese characters that weigh as much as a word."""
SIEVE_BITS = 24
"""Size of the table that most n-grams are sifted out by, before the sorted list is searched."""
TEXTS_AT_ONCE = 1000


@dataclass(frozen=True)
class Decontamination(Settings):
    """Evaluation files, and what counts as holding their text."""

    against: tuple[Path, ...] = ()
    """JSONL files of any shape whose texts must not be in the output."""
    against_ngram: Annotated[int, Interval(ge=1, le=100)] = 13
    """Words that a record must share with an evaluation text; of Chinese, half as many characters
    more."""
    against_shortest: Annotated[int, Interval(ge=1, le=100)] = 8
    """Words of the shortest evaluation text that is looked for."""
    against_common: Annotated[int, Interval(ge=0, le=10**9)] = 10
    """An n-gram that more records than this hold is a common phrase, and no reason to drop them; 0:
    no n-gram is."""

    def conflicts(self) -> list[str]:
        """What is wrong between fields, a sentence each."""
        shortest, longest = self.against_shortest, self.against_ngram
        if shortest <= longest:
            return []
        return [f"against_shortest is {shortest}: use at most against_ngram, {longest}"]


@dataclass(frozen=True)
class EvaluationNgrams:
    """The n-grams of evaluation files."""

    lengths: Places
    """Which lengths there are, in units."""
    hashes: Hashes
    """Of all n-grams of all lengths, sorted, each once."""
    sources: Places  # (n-grams, 2)
    """Number of the file, and of the line that it stands in first."""

    @staticmethod
    def load(path: Path) -> EvaluationNgrams:
        """Reads what `save` wrote."""
        with np.load(path) as arrays:
            return EvaluationNgrams(**arrays)

    def save(self, path: Path) -> None:
        """Writes all to a file."""
        with path.open("wb") as file:
            np.savez(file, **vars(self))


def read_ngrams(paths: Sequence[Path], settings: Decontamination) -> tuple[EvaluationNgrams, int]:
    """Cuts the texts of evaluation files into n-grams; also returns how many texts are too short.

    Raises:
        UserError: a file is missing, or is not JSONL.
    """
    texts, sources = list[str](), list[tuple[int, int]]()
    for number, path in enumerate(paths):
        for record in read_records(path):
            texts += (strings := list(strings_of(record.value)))
            sources += [(number, record.line)] * len(strings)
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
    return EvaluationNgrams(np.array(sorted(lengths)), hashes, places[of_text[first]]), short


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


def ngrams_of(texts: list[str], settings: Decontamination) -> Iterator[tuple[int, Hashes, Places]]:
    """The n-grams of evaluation texts: their length, hashes and the texts they are of."""
    units = units_of(texts)
    weights = [CHARACTERS_OF_WORD if script_of(text) == "han" else 1.0 for text in texts]
    longest = np.array([round(settings.against_ngram * weight) for weight in weights])
    shortest = np.array([round(settings.against_shortest * weight) for weight in weights])
    wanted = np.minimum(units.lengths, longest)
    wanted[units.lengths < shortest] = 0
    owners = np.repeat(np.arange(len(texts)), units.lengths)
    for length in np.unique(wanted[wanted > 0]).tolist():
        hashes, places = units.runs(length)
        here = wanted[owners[places]] == length
        yield length, hashes[here], owners[places[here]]


class NgramFinder:
    """Looks for the n-grams of evaluation files in records."""

    def __init__(self, ngrams: EvaluationNgrams) -> None:
        self.ngrams = ngrams
        self.sieve = np.zeros(1 << SIEVE_BITS, dtype=np.bool_)
        self.sieve[ngrams.hashes >> np.uint64(64 - SIEVE_BITS)] = True

    def matches(self, owners: Places, units: Units, long_ends: Iterable[tuple[int, str]]) -> Places:
        """The n-grams that the records of a batch hold.

        Args:
            owners: the record of each turn.
            units: of the turns, as far as they are cut.
            long_ends: what of very long turns is not cut, and the record of each piece.

        Returns:
            (matches, 2): number of the record in the batch, and of the n-gram; each pair once.
        """
        pieces = ((np.array([owner]), units_of([piece])) for owner, piece in long_ends)
        found = []
        for records, cut in chain([(owners, units)], pieces):
            matches = self.find(cut)
            matches[:, 0] = records[matches[:, 0]]
            found.append(matches)
        return np.unique(np.concatenate(found), axis=0)

    def find(self, units: Units) -> Places:
        """The n-grams that texts hold; (matches, 2): number of the text, and of the n-gram."""
        found = [np.zeros((0, 2), dtype=np.int64)]
        for length in self.ngrams.lengths.tolist():
            hashes, places = units.runs(length)
            likely = self.sieve[hashes >> np.uint64(64 - SIEVE_BITS)]
            hashes, places = hashes[likely], places[likely]
            last = len(self.ngrams.hashes) - 1
            rank = np.minimum(np.searchsorted(self.ngrams.hashes, hashes), last)
            same = self.ngrams.hashes[rank] == hashes
            texts_of = np.searchsorted(units.borders, places[same], side="right") - 1
            found.append(np.stack((texts_of, rank[same]), axis=1))
        return np.concatenate(found)


def contaminated(matches: Places, dropped: Chosen, common: int) -> tuple[Places, int]:
    """Separates contaminated records from those that only share a common phrase.

    Args:
        matches: (matches, 2): number of the record, and of the n-gram; each pair once.
        dropped: for each record whether it does not count, for it is a duplicate.
        common: most records that hold an n-gram; 0: any number.

    Returns:
        The first n-gram that each record is dropped for, or -1; and how many n-grams too many
        records hold.
    """
    matches = matches[~dropped[matches[:, 0]]]
    counts = np.bincount(matches[:, 1])
    too_common = counts > (common or np.inf)
    telling = matches[~too_common[matches[:, 1]]]
    ngram = np.full(len(dropped), -1, dtype=np.int64)
    records, places = np.unique(telling[:, 0], return_index=True)
    ngram[records] = telling[places, 1]
    return ngram, int(too_common.sum())
