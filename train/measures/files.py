"""Files that a model is measured on. Their records say by their keys what they measure:

{"text"}                                     bits per byte of texts
{"conversations"}                            bits per byte of the assistant's turns
{"good", "bad"}                              minimal pairs: the good sentence is likelier
{"question", "choices", "answer"}            multiple choice, by length-normalised likelihood
{"question", "reference"}                    bits per byte of the reference answer
{"prompt"}                                   free generations: repetition and distinct n-grams
{"messages", "accepted", "category", ...}    questions: right answers, see
                                             data_process/sample/evaluation.py
the same and "tools", "call", "result"       right calls of tools, and none where none is needed:
                                             see data_process/sample/tool_use.py
{"conversations", "answers"}                 prompts of reinforcement learning: right answers
{"conversations", "json"}                    answers that must be this JSON object: whole, by field
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from config import UserError
from data_process.records.jsonl import read_records
from data_process.records.kinds import (
    QUESTION_FIELDS,
    conversation_of,
    conversation_problems,
    described,
    kind_of,
    question_problems,
    rl_problems,
)
from train.measures.generations import (
    measure_distinct,
    measure_prompts,
    measure_questions,
    measure_repetition,
)
from train.measures.json_answers import field_judges, measure_parsed, measure_whole
from train.measures.likelihood import (
    LikelihoodModel,
    Outcome,
    Record,
    measure_choices,
    measure_conversations,
    measure_pairs,
    measure_references,
    measure_texts,
)
from train.measures.tool_use import (
    TOOL_FIELDS,
    measure_calls,
    measure_restraint,
    tool_question_problems,
)


@dataclass(frozen=True)
class Measure:
    """What is measured on the records of a kind of file."""

    name: str
    keys: tuple[str, ...]
    """The keys of its records."""
    better: str
    """higher or lower"""
    run: Callable[[LikelihoodModel, list[Record]], list[Outcome]]
    problems: Callable[[Record], Iterator[str]]
    """What is wrong with a record that has the keys."""
    chance: Callable[[list[Record]], float | None] = lambda records: None
    """What guessing gives; None: nothing sensible."""


def texts(*names: str, may_be_empty: str = "") -> Callable[[Record], Iterator[str]]:
    """A check that values are texts."""

    def problems(record: Record) -> Iterator[str]:
        for name in names:
            value = record[name]
            if not isinstance(value, str):
                yield f'"{name}" is a {type(value).__name__}; it must be a string'
            elif not value.strip() and name != may_be_empty:
                yield f'"{name}" is empty; it must be a non-empty string'

    return problems


def choice_problems(record: Record) -> Iterator[str]:
    """What is wrong with a question of multiple choice; its answer is the number of a choice."""
    yield from texts("question")(record)
    choices, answer = record["choices"], record["answer"]
    if not isinstance(choices, list) or len(choices) < 2 or not all(map(str, choices)):
        yield '"choices" must be a list of two choices at least, none of them empty'
    elif type(answer) is not int or answer not in range(len(choices)):
        yield f'"answer" is {answer!r}; it must be a whole number from 0 to {len(choices) - 1}'


def chance_of_choices(records: list[Record]) -> float:
    """One over the number of choices, as a mean over all questions."""
    return sum(1 / len(record["choices"]) for record in records) / len(records)


BITS, RIGHT = "bits per byte", "right answers"
PROMPT, CHOICE = ("prompt",), ("question", "choices", "answer")
OBJECT = ("conversations", "json")
REFERENCE = ("question", "reference")
MEASURES = (
    Measure("right calls", TOOL_FIELDS, "higher", measure_calls, tool_question_problems),
    Measure("no needless calls", TOOL_FIELDS, "higher", measure_restraint, tool_question_problems),
    Measure(RIGHT, QUESTION_FIELDS, "higher", measure_questions, question_problems),
    Measure(RIGHT, ("conversations", "answers"), "higher", measure_prompts, rl_problems),
    Measure("exact JSON", OBJECT, "higher", measure_whole, rl_problems),
    Measure("parsed as JSON", OBJECT, "higher", measure_parsed, rl_problems),
    Measure(BITS, ("text",), "lower", measure_texts, texts("text")),
    Measure(BITS, ("conversations",), "lower", measure_conversations, conversation_problems),
    Measure(
        "minimal pairs",
        ("good", "bad"),
        "higher",
        measure_pairs,
        texts("good", "bad"),
        lambda _: 0.5,
    ),
    Measure(
        "multiple choice", CHOICE, "higher", measure_choices, choice_problems, chance_of_choices
    ),
    Measure("repeated 4-grams", PROMPT, "lower", measure_repetition, texts("prompt")),
    Measure("distinct 2-grams", PROMPT, "higher", measure_distinct, texts("prompt")),
    Measure(
        BITS,
        REFERENCE,
        "lower",
        measure_references,
        texts(*REFERENCE, may_be_empty="reference"),  # an open question has an empty one
    ),
)
"""The kinds of files; the first whose keys a record has, and others of the same keys."""


def read_measures(path: Path, limit: int | None) -> tuple[list[Measure], list[Record]]:
    """What a file measures, and its records, or `limit` of them that are evenly spread: such files
    are often sorted by what they ask.

    Raises:
        UserError: the kind is unknown, a record is of another kind than the first, or it holds
            what it must not; the line is named.
    """
    records: list[Record] = []
    measure = None
    for line in read_records(path):
        record = line.value
        if kind_of(record) in ("conversations", "rl"):
            record = {"conversations": conversation_of(record), **record}
        found = next((m for m in MEASURES if set(m.keys) <= record.keys()), None)
        if found is None or measure not in (None, found):
            kinds = "; ".join(dict.fromkeys(", ".join(m.keys) for m in MEASURES))
            raise UserError(
                f"{line.place}: found {described(record)}; all lines must have the keys of one "
                f"kind: {kinds}"
            )
        measure = found
        for problem in found.problems(record):
            raise UserError(f"{line.place}: {problem}")
        records.append(record)
    assert measure  # read_records refuses an empty file
    if limit and limit < len(records):
        records = [records[n * len(records) // limit] for n in range(limit)]
    measures = [m for m in MEASURES if m.keys == measure.keys]
    if measure.keys == OBJECT:
        judges = field_judges(records).items()
        measures += [Measure(name, OBJECT, "higher", run, rl_problems) for name, run in judges]
    return measures, records


def refuse_same_names(flag: str, files: Sequence[Path]) -> None:
    """Raises UserError when two files have the same name, by which results are kept."""
    names = [path.name for path in files]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(
            f"{flag}: two files are named {twice[0]}, and results are kept by name; rename one, or "
            "measure them one after the other"
        )
