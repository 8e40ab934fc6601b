"""Answers that must be a JSON object: whole, by field, and whether they can be parsed at all.

Of records {"conversations", "json"}; "json" is the object. Answers are greedy, and held to a
grammar where the `LikelihoodModel` has one.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial

from data_process.records.kinds import with_tools
from train.measures.generations import measured_answers
from train.measures.likelihood import LikelihoodModel, Outcome, Record
from train.rollouts.rewards import is_object, is_same, object_of

Judge = Callable[[LikelihoodModel, list[Record]], list[Outcome]]


def answers(scorer: LikelihoodModel, records: list[Record]) -> list[tuple[str, bool]]:
    """The greedy answer to each record, and whether it ended by itself; generated once for all
    measures of these records."""
    key = tuple(json.dumps(record) for record in records)
    if key not in scorer.answered:
        conversations = [with_tools(record) for record in records]
        scorer.answered[key] = measured_answers(scorer, conversations, scorer.grammar)
    return scorer.answered[key]


def measure_whole(scorer: LikelihoodModel, records: list[Record]) -> list[Outcome]:
    """Whether an answer is the object, no more and no less, and ended by itself."""
    return [
        Outcome(
            str(record.get("category", "")),
            is_object(text, record) * ended,
            asked=with_tools(record).messages[-1]["content"],
            said=text,
        )
        for record, (text, ended) in zip(records, answers(scorer, records), strict=True)
    ]


def measure_parsed(scorer: LikelihoodModel, records: list[Record]) -> list[Outcome]:
    """Whether an answer is any JSON object."""
    given = answers(scorer, records)
    return [Outcome("", float(object_of(text) is not None)) for text, _ in given]


def measure_field(name: str, scorer: LikelihoodModel, records: list[Record]) -> list[Outcome]:
    """Whether a field has the right value; objects without the field do not count."""
    outcomes = []
    for record, (text, _) in zip(records, answers(scorer, records), strict=True):
        found, wanted = object_of(text) or {}, record["json"]
        right = name in found and name in wanted and is_same(found[name], wanted[name])
        outcomes.append(Outcome("", float(right), float(name in wanted)))
    return outcomes


def field_judges(records: list[Record]) -> dict[str, Judge]:
    """A measure for each field of the objects."""
    names = dict.fromkeys(name for record in records for name in record["json"])
    return {f"field {name}": partial(measure_field, name) for name in names}
