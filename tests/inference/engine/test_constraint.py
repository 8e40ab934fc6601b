"""Outputs that are held to a grammar, whatever the model would rather write."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import pytest
import torch

from config import SamplingConfig, UserError
from inference.engine.answers import GenerationRequest, make_spell
from inference.engine.constraint import Grammar, Vocabulary, json_grammar, way_to_end
from inference.engine.engine import Engine
from model.tokenizer import EtudeTokenizer
from model.transformer import Etude

Schema = dict[str, Any]
PERSON: Schema = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer"},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 2},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}
SCHEMAS: dict[str, Schema] = {
    "any": {"type": "object"},
    "person": PERSON,
    "recursive": {
        "type": "object",
        "properties": {"child": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
        "required": ["child"],
    },
    "list": {"type": "array", "items": {"type": "number"}, "minItems": 3},
    "text": {"type": "string", "minLength": 20},
    "choice": {"enum": ["red", "green", 5, None]},
}


@pytest.fixture
def vocabulary(model: Etude, tokenizer: EtudeTokenizer) -> Vocabulary:
    size, stop_ids = model.lm_head.weight.shape[0], tokenizer.end_ids(True)
    return Vocabulary(tokenizer, make_spell(tokenizer), size, stop_ids)


def request(grammar: Grammar, sampling: SamplingConfig) -> GenerationRequest:
    return GenerationRequest([5, 6], sampling, grammar.vocabulary.stop_ids, grammar=grammar)


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_model_that_has_learned_nothing_writes_json_of_the_schema(
    name: str, model: Etude, tokenizer: EtudeTokenizer, vocabulary: Vocabulary, native: bool
) -> None:
    grammar = Grammar(vocabulary, json_grammar(SCHEMAS[name]))
    engine = Engine(model, tokenizer, native=native)
    outputs = [
        engine.submit(
            request(
                grammar,
                SamplingConfig(temperature=1.5, top_k=0, top_p=1.0, max_tokens=limit, seed=limit),
            )
        )
        # From the least that there is room for, so that most have to be ended.
        for limit in range(grammar.shortest, grammar.shortest + 24)
    ]
    while engine.busy:
        engine.step()
    for output in outputs:
        value = json.loads(output.text)
        check(value, SCHEMAS[name])
        assert len(output.tokens) <= output.request.sampling.max_tokens
        assert output.finish_reason == "stop" or output.cut_by == "max_tokens"


def check(value: Any, schema: Schema) -> None:
    """Of JSON Schema, what these schemas use."""
    if "enum" in schema:
        assert value in schema["enum"]
        return
    kind: dict[str, Any] = {
        "object": dict,
        "array": list,
        "string": str,
        "integer": int,
        "number": (int, float),
    }
    assert isinstance(value, kind[schema["type"]])
    if isinstance(value, list):
        assert len(value) >= schema["minItems"]
        for item in value:
            check(item, schema["items"])
    if isinstance(value, str):
        assert len(value) >= schema.get("minLength", 0)
    if isinstance(value, dict):
        assert set(schema.get("required", ())) <= set(value)
        if "child" in value and value["child"] is not None:
            check(value["child"], schema)
        if schema is PERSON:
            for key, item in value.items():
                check(item, PERSON["properties"][key])


def test_greedy_takes_the_likeliest_token_that_is_allowed(
    model: Etude, tokenizer: EtudeTokenizer, vocabulary: Vocabulary, native: bool
) -> None:
    grammar = Grammar(vocabulary, json_grammar({"type": "integer"}))
    engine = Engine(model, tokenizer, native=native)
    output = engine.submit(request(grammar, SamplingConfig(temperature=0, max_tokens=500)))
    engine.step()
    with torch.no_grad():
        logits = model(torch.tensor([[5, 6]]))[0, -1]  # (vocab,)
    begins = re.compile(rb"-|-?(0|[1-9][0-9]*)")
    allowed = [i for i in range(len(tokenizer)) if begins.fullmatch(vocabulary.spell(i))]
    assert output.ids[0] == max(allowed, key=lambda i: float(logits[i]))


def test_neighbours_without_a_grammar_get_what_they_get_alone(
    model: Etude, tokenizer: EtudeTokenizer, vocabulary: Vocabulary, native: bool
) -> None:
    grammar = Grammar(vocabulary, json_grammar(PERSON))
    sampling = SamplingConfig(temperature=1.0, max_tokens=30, seed=3)
    free = GenerationRequest([9, 8, 7], sampling, ())
    texts = []
    for crowd in ([free], [request(grammar, sampling)], [request(grammar, sampling), free]):
        engine = Engine(model, tokenizer, native=native)
        outputs = [engine.submit(one) for one in crowd]
        while engine.busy:
            engine.step()
        texts.append([output.text for output in outputs])
    assert texts[2] == [texts[1][0], texts[0][0]]


def test_the_way_to_the_end_is_whole_json(vocabulary: Vocabulary) -> None:
    grammar = Grammar(vocabulary, json_grammar({"type": "object"}))
    draw = random.Random(0)
    for _ in range(50):
        constraint = grammar.start(1000)
        ids: list[int] = []
        for _ in range(draw.randint(0, 40)):
            logits = torch.randn(vocabulary.size, generator=torch.manual_seed(len(ids)))
            token = int(constraint.mask(logits * 3).argmax())
            if token in vocabulary.stop_ids:
                break
            constraint.accept(token)
            ids.append(token)
        way = way_to_end(constraint.matcher, vocabulary, 200)
        assert way is not None
        json.loads(b"".join(map(vocabulary.spell, ids + way)))


def test_a_number_near_the_limit_is_not_replaced(
    vocabulary: Vocabulary, tokenizer: EtudeTokenizer
) -> None:
    names = ("one", "two", "three")
    schema = {"type": "object", "properties": {name: {"type": "integer"} for name in names}}
    grammar = Grammar(vocabulary, json_grammar({**schema, "required": [*names]}))
    ids = tokenizer.encode(json.dumps({"one": 12, "two": -7, "three": 390}))
    constraint = grammar.start(len(ids) + 4)
    assert len(ids) < constraint.near
    for token in ids:
        assert constraint.choose(token) == token
        constraint.accept(token)
    assert constraint.matcher.is_accepting()
    assert not constraint.cut


def test_control_tokens_are_never_text(vocabulary: Vocabulary, tokenizer: EtudeTokenizer) -> None:
    constraint = Grammar(vocabulary, json_grammar({"type": "string"})).start(100)
    constraint.accept(vocabulary.quote)
    masked = constraint.mask(torch.zeros(vocabulary.size))
    for token in tokenizer.control_ids:
        assert masked[token] == -torch.inf


def test_a_schema_that_cannot_be_kept_is_refused(vocabulary: Vocabulary) -> None:
    for schema in ({"type": "objekt"}, {"type": "object", "propertyNames": {"maxLength": 3}}):
        with pytest.raises(UserError):
            Grammar(vocabulary, json_grammar(schema))
