"""What a JSONL file measures of a model, found by the keys of its records.

{"text"}                                     bits per byte of texts
{"conversations"}                            bits per byte of the assistant's turns
{"good", "bad"}                              minimal pairs: the good sentence is likelier
{"question", "choices", "answer"}            multiple choice, by length-normalised likelihood
{"question", "reference"}                    bits per byte of the reference answer
{"content", "candidates", "answer"}          cloze: #idiom# is filled with each candidate
{"context", "choices", "answers"}            cloze: [BLANK1] ... are filled with sentences
{"passage", "query", "answer", "blank"}      cloze: the blank of the query, among ten words
{"prompt"}                                   free generations: repetition and distinct n-grams
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config import UserError
from data_process.records.jsonl import read_records
from data_process.records.kinds import conversation_problems, described, text_problems
from tool.evaluation.bits_per_byte import measure_conversations, measure_references, measure_texts
from tool.evaluation.candidates import (
    DISTRACTORS,
    measure_choices,
    measure_idioms,
    measure_pairs,
    measure_sentences,
    measure_words,
)
from tool.evaluation.continuations import measure_distinct, measure_repetition
from tool.evaluation.measured_records import (
    choice_problems,
    idiom_problems,
    pair_problems,
    prompt_problems,
    reference_problems,
    sentence_problems,
    word_problems,
)
from tool.evaluation.scoring import Judge, Outcome


@dataclass(frozen=True)
class Measure:
    """A kind of file."""

    name: str
    keys: tuple[str, ...]
    better: str
    """higher or lower"""
    run: Callable[[Judge, Path, list[dict[str, Any]]], list[Outcome]]
    problems: Callable[[dict[str, Any]], Iterator[str]]
    """What is wrong with a record that has the keys."""
    chance: Callable[[list[dict[str, Any]]], float | None] = lambda records: None
    """What guessing gives; None: nothing sensible."""


def read_measures(path: Path, limit: int | None) -> tuple[list[Measure], list[dict[str, Any]]]:
    """What a file measures, and its records, or `limit` of them that are evenly spread: such files
    are often sorted by what they ask.

    Raises:
        UserError: the kind is unknown, a record is of another kind than the first, or it holds
            what it must not; the line is named.
    """
    records: list[dict[str, Any]] = []
    measure = None
    for number, record in read_records(path):
        keys = record.keys() if isinstance(record, dict) else set()
        found = next((m for m in MEASURES if set(m.keys) <= keys), None)
        if found is None or measure not in (None, found):
            kinds = "; ".join(", ".join(m.keys) for m in MEASURES)
            raise UserError(
                f"{path}:{number}: found {described(record)}; all lines must have the keys of one "
                f"kind: {kinds}"
            )
        measure = found
        assert isinstance(record, dict)
        for problem in found.problems(record):
            raise UserError(f"{path}:{number}: {problem}")
        records.append(record)
    assert measure  # read_records refuses an empty file
    if limit and limit < len(records):
        records = [records[n * len(records) // limit] for n in range(limit)]
    return [m for m in MEASURES if m.keys == measure.keys], records


def share_of(*keys: str) -> Callable[[list[dict[str, Any]]], float]:
    """Chance: one over the number of candidates, over all records."""

    def chance(records: list[dict[str, Any]]) -> float:
        sizes = [len(record[key]) for record in records for key in keys]
        return sum(1 / size for size in sizes) / len(sizes)

    return chance


MEASURES = (
    Measure("bits per byte", ("text",), "lower", measure_texts, text_problems),
    Measure(
        "bits per byte", ("conversations",), "lower", measure_conversations, conversation_problems
    ),
    Measure(
        "minimal pairs",
        ("good", "bad"),
        "higher",
        measure_pairs,
        pair_problems,
        lambda records: 0.5,
    ),
    Measure(
        "multiple choice",
        ("question", "choices", "answer"),
        "higher",
        measure_choices,
        choice_problems,
        share_of("choices"),
    ),
    Measure(
        "cloze",
        ("content", "candidates", "answer"),
        "higher",
        measure_idioms,
        idiom_problems,
        share_of("candidates"),
    ),
    Measure(
        "cloze",
        ("context", "choices", "answers"),
        "higher",
        measure_sentences,
        sentence_problems,
        share_of("choices"),
    ),
    Measure(
        "cloze",
        ("passage", "query", "answer", "blank"),
        "higher",
        measure_words,
        word_problems,
        lambda records: 1 / (1 + min(DISTRACTORS, len({r["answer"] for r in records}) - 1)),
    ),
    Measure("repeated 4-grams", ("prompt",), "lower", measure_repetition, prompt_problems),
    Measure("distinct 2-grams", ("prompt",), "higher", measure_distinct, prompt_problems),
    Measure(
        "bits per byte", ("question", "reference"), "lower", measure_references, reference_problems
    ),
)
"""The kinds of files; the first whose keys a record has, and others of the same keys."""
