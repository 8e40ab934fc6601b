"""What dedup_jsonl.py drops: its flags."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from config import Settings, in_range
from data_process.records.documents import BadRecords

Keep = Literal["first", "longest"]


@dataclass(frozen=True)
class Comparison:
    """How records are compared."""

    threshold: float = 0.7
    """Records whose sets of n-grams are as similar as this (Jaccard), from 0 to 1, are near
    duplicates. In conversations both the user's and the assistant's turns must be so."""
    ngram: int = 5
    """Units of an n-gram: words, or characters where words are not written apart (Chinese)."""
    exact_only: bool = False
    """Only drop records that are the same, but for case, punctuation and white space."""
    keep_case: bool = False
    """Capitals differ from small letters."""
    keep_punctuation: bool = False
    """Punctuation counts, brackets in code for example. Operators such as - * / + always do."""
    seed: int = 1
    """Of the random functions that choose which records are compared."""


@dataclass(frozen=True)
class Decontamination:
    """Evaluation files, and what counts as holding their text."""

    against: tuple[Path, ...] = ()
    """JSONL files of any shape whose texts must not be in the output."""
    against_ngram: int = 13
    """Words that a record must share with an evaluation text; of Chinese, half as many characters
    more."""
    against_shortest: int = 8
    """Words of the shortest evaluation text that is looked for."""
    against_common: int = 10
    """An n-gram that more records than this hold is a common phrase, and no reason to drop them; 0:
    none is."""


@dataclass(frozen=True)
class DedupSettings(Settings):
    """What is dropped."""

    keep: Keep = "first"
    """Of records that are alike, the one that stays: first in the input, or longest."""
    bad_records: BadRecords = "stop"
    """stop: a line that is no record ends the work, and is named. skip: such lines are counted."""
    comparison: Comparison = field(default_factory=Comparison)
    """When records are alike."""
    decontamination: Decontamination = field(default_factory=Decontamination)
    """Evaluation files whose text must not be in the output."""

    def problems(self) -> list[str]:
        """Everything wrong with the values, a sentence each."""
        against = self.decontamination
        found = in_range(self.comparison, 0.1, 1.0, "threshold")
        found += in_range(self.comparison, 1, 50, "ngram")
        found += in_range(self.comparison, 0, 2**63 - 1, "seed")
        found += in_range(against, 1, 100, "against_ngram", "against_shortest")
        found += in_range(against, 0, 10**9, "against_common")
        if against.against_shortest > against.against_ngram:
            found.append(
                f"against_shortest is {against.against_shortest}: use at most against_ngram, "
                f"{against.against_ngram}"
            )
        return found
