"""Messages to be turned into JSON: what is asked can be answered, and nothing is in both files."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from data_process.records.kinds import PROBLEMS
from data_process.sample.messages import FIELDS, HELD_OUT_FILE, TRAINING_FILE, make_messages
from data_process.sample.templates import TEXTS
from inference.engine.answers import make_spell
from inference.engine.constraint import Grammar, Vocabulary, json_grammar
from model.tokenizer import EtudeTokenizer

Record = dict[str, Any]
Pairs = list[tuple[str, Record]]


@pytest.fixture(scope="module")
def training() -> Pairs:
    records = make_messages()[TRAINING_FILE]
    assert not [problem for r in records for problem in PROBLEMS["conversations"](r)]
    turns = [record["conversations"] for record in records]
    return [(asked["content"], json.loads(answer["content"])) for _, asked, answer in turns]


@pytest.fixture(scope="module")
def held_out() -> Pairs:
    records = make_messages()[HELD_OUT_FILE]
    assert not [problem for record in records for problem in PROBLEMS["rl"](record)]
    return [(record["conversations"][-1]["content"], record["json"]) for record in records]


def test_there_are_200_to_learn_from_and_100_held_out(training: Pairs, held_out: Pairs) -> None:
    assert (len(training), len(held_out)) == (200, 100)
    for pairs in (training, held_out):
        kinds = [wanted["kind"] for _, wanted in pairs]
        shares = {kind: kinds.count(kind) / len(pairs) for kind in kinds}
        assert shares == {"order": 0.4, "booking": 0.2, "complaint": 0.2, "question": 0.2}


def test_names_and_nearly_all_items_of_held_out_messages_are_new(
    training: Pairs, held_out: Pairs
) -> None:
    seen = {name: {wanted[name] for _, wanted in training} for name in FIELDS}
    new = [wanted for _, wanted in held_out]
    assert {asked for asked, _ in training}.isdisjoint(asked for asked, _ in held_out)
    assert {w["name"] for w in new if w["name"]}.isdisjoint(seen["name"])
    items = [w["item"] for w in new if w["kind"] != "booking" and w["item"]]
    assert sum(item in seen["item"] for item in items) <= 5


def test_what_is_asked_for_stands_in_the_message(training: Pairs, held_out: Pairs) -> None:
    for asked, wanted in training + held_out:
        for name in ("name", "item"):
            assert (wanted[name] or "").lower() in asked.lower(), asked
        assert re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", wanted["time"] or "00:00"), asked
        day = wanted["day"] or ""
        assert day in ("today", "yesterday") or day in asked.lower() or day[:3] in asked.lower()


def test_the_schema_allows_every_answer_as_it_is_trained(
    tokenizer: EtudeTokenizer, training: Pairs, held_out: Pairs
) -> None:
    stops = tokenizer.end_ids(is_chat=True)
    vocabulary = Vocabulary(tokenizer, make_spell(tokenizer), len(tokenizer), stops)
    schema = json.loads((TEXTS / "messages_schema.json").read_text(encoding="utf-8"))
    assert tuple(schema["required"]) == FIELDS
    grammar = Grammar(vocabulary, json_grammar(schema))
    for _, wanted in training + held_out:
        matcher = grammar.matcher.deep_copy()
        assert matcher.consume_tokens(tokenizer.encode(json.dumps(wanted, ensure_ascii=False)))
        assert matcher.is_accepting()
