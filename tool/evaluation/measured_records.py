"""What is wrong with a record of an evaluation file, by the kind that its keys say it is of.

Each function takes a record that has the keys of its kind, and yields a sentence a mistake.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Record = dict[str, Any]


def pair_problems(record: Record) -> Iterator[str]:
    """{"good", "bad"}: two texts."""
    yield from not_texts(record, "good", "bad")


def choice_problems(record: Record) -> Iterator[str]:
    """{"question", "choices", "answer"}: the answer is the number, from 0, of a choice."""
    yield from not_texts(record, "question")
    yield from not_choices(record, "choices", [record["answer"]], '"answer"')


def idiom_problems(record: Record) -> Iterator[str]:
    """{"content", "candidates", "answer"}: #idiom# stands for one of the candidates."""
    yield from not_texts(record, "content")
    yield from not_choices(record, "candidates", [record["answer"]], '"answer"')
    if "#idiom#" not in str(record["content"]):
        yield '"content" has no #idiom#, which is the blank'


def sentence_problems(record: Record) -> Iterator[str]:
    """{"context", "choices", "answers"}: [BLANK1] ... each stand for one of the choices."""
    yield from not_texts(record, "context")
    answers = record["answers"]
    if not isinstance(answers, list) or not answers:
        yield '"answers" must be a list of numbers of choices, one a blank'
        return
    yield from not_choices(record, "choices", answers, '"answers"')
    for number in range(1, len(answers) + 1):
        if (count := str(record["context"]).count(f"[BLANK{number}]")) != 1:
            yield f'"context" has [BLANK{number}] {count} times; it must be there once'


def word_problems(record: Record) -> Iterator[str]:
    """{"passage", "query", "answer", "blank"}: the blank stands for the answer."""
    names = ("passage", "query", "answer", "blank")
    yield from not_texts(record, *names)
    if not any(str(record["blank"]) in str(record[name]) for name in ("passage", "query")):
        yield '"blank" is neither in "passage" nor in "query"'


def prompt_problems(record: Record) -> Iterator[str]:
    """{"prompt"}: a text to be continued."""
    yield from not_texts(record, "prompt")


def reference_problems(record: Record) -> Iterator[str]:
    """{"question", "reference"}: two texts; an open question has an empty reference."""
    yield from not_texts(record, "question")
    if record["reference"] != "":
        yield from not_texts(record, "reference")


def not_texts(record: Record, *names: str) -> Iterator[str]:
    """Values that are no text, or an empty one."""
    for name in names:
        value = record[name]
        if not isinstance(value, str) or not value.strip():
            what = "is empty" if isinstance(value, str) else f"is a {type(value).__name__}"
            yield f'"{name}" {what}; it must be a non-empty string'


def not_choices(record: Record, name: str, answers: list[Any], told: str) -> Iterator[str]:
    """A list of choices that is none, and answers that do not point into it."""
    choices = record[name]
    if not isinstance(choices, list) or len(choices) < 2 or not all(map(str, choices)):
        yield f'"{name}" must be a list of two choices at least, none of them empty'
        return
    for answer in answers:
        if (
            isinstance(answer, bool)
            or not isinstance(answer, int)
            or not 0 <= answer < len(choices)
        ):
            yield f"{told} is {answer!r}; it must be a whole number from 0 to {len(choices) - 1}"
