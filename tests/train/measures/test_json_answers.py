"""Answers that must be a JSON object: judged strictly, by field, and held to a schema."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from config import UserError
from model.tokenizer import EtudeTokenizer
from model.transformer import Etude
from tool.evaluation.evaluation import grammar_of, measure_files, read_schema
from tool.settings import EvaluateConfig
from train.measures.files import read_measures
from train.measures.json_answers import answers
from train.measures.likelihood import LikelihoodModel
from train.rollouts.rewards import is_object

WANTED = {"kind": "order", "quantity": 2, "day": None}
SCHEMA = {
    "type": "object",
    "properties": {"kind": {"enum": ["order", "question"]}, "quantity": {"type": "integer"}},
    "required": ["kind", "quantity"],
    "additionalProperties": False,
}


def record(number: int = 0, **wanted: Any) -> dict[str, Any]:
    turns = [{"role": "user", "content": f"message {number}"}]
    return {"category": "c", "conversations": turns, "json": WANTED | wanted}


def write(path: Path, *records: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
    return path


@pytest.fixture
def scorer(model: Etude, tokenizer: EtudeTokenizer) -> LikelihoodModel:
    return LikelihoodModel(model, model, tokenizer, 128, True, torch.device("cpu"))


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ('{"kind": "order", "quantity": 2, "day": null}', 1),
        (' {"day":null,\n"quantity":2,"kind":"order"}', 1),
        ('{"kind": "order", "quantity": 2.0, "day": null}', 0),
        ('{"kind": "order", "quantity": "2", "day": null}', 0),
        ('{"kind": "order", "quantity": 2}', 0),
        ('{"kind": "order", "quantity": 2, "day": null, "more": 1}', 0),
        ('[{"kind": "order", "quantity": 2, "day": null}]', 0),
        ('Here it is: {"kind": "order", "quantity": 2, "day": null}', 0),
        ("[" * 100_000, 0),
        ("", 0),
    ],
)
def test_an_answer_is_the_object_or_it_is_wrong(answer: str, right: float) -> None:
    assert is_object(answer, record()) == right


def test_true_is_not_one() -> None:
    assert is_object('{"a": true}', {"json": {"a": True}})
    assert not is_object('{"a": true}', {"json": {"a": 1}})


def test_each_measure_counts_what_its_name_says(scorer: LikelihoodModel, tmp_path: Path) -> None:
    records = [record(0), record(1, quantity=3), record(2), record(3)]
    del records[3]["json"]["day"]
    right = json.dumps(WANTED)
    given = [(right, True), (right, True), ("no idea", True), (right, False)]
    key = tuple(map(json.dumps, records))
    scorer = replace(scorer, answered={key: given})
    measures, read = read_measures(write(tmp_path / "a.jsonl", *records), None)
    assert read == records
    found = {m.name: [(o.value, o.weight) for o in m.run(scorer, records)] for m in measures}
    yes, no = (1.0, 1.0), (0.0, 1.0)
    assert found == {
        "exact JSON": [yes, no, no, no],  # the last one was cut
        "parsed as JSON": [yes, yes, no, yes],
        "field kind": [yes, yes, no, yes],
        "field quantity": [yes, no, no, yes],
        "field day": [yes, yes, no, (0.0, 0.0)],  # which the last object does not have
    }


def test_answers_are_generated_once_and_held_to_the_schema(scorer: LikelihoodModel) -> None:
    records = [record(number) for number in range(3)]
    free = answers(scorer, records)
    assert answers(scorer, records) is free
    held = replace(scorer, answered={}, grammar=grammar_of(scorer, SCHEMA, None))
    for text, _ in answers(held, records):
        assert json.loads(text).keys() == SCHEMA["properties"].keys()  # type: ignore[attr-defined]


def test_the_script_measures_with_and_without_a_schema(model_dir: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", record(0), record(1))
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps(SCHEMA), encoding="utf-8")
    rows = {}
    for name, path in (("free", None), ("held", schema)):
        output = tmp_path / name
        output.mkdir()
        config = EvaluateConfig(model_dir, (file,), json_schema=path, output_dir=output)
        rows[name] = {row["measure"]: row["value"] for row in measure_files(config)}
        kept = json.loads((output / "evaluation_records.json").read_text(encoding="utf-8"))
        assert len(kept["a.jsonl: exact JSON"]["said"]) == 2
    assert rows["free"]["parsed as JSON"] == 0
    assert rows["held"]["parsed as JSON"] == 1


@pytest.mark.parametrize("wanted", ["order", [], {}, None])
def test_what_is_no_object_is_named_by_its_line(wanted: object, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", record(), {**record(), "json": wanted})
    with pytest.raises(UserError, match=r'a\.jsonl:2: "json" is .*must be the object'):
        read_measures(path, None)


@pytest.mark.parametrize("content", [None, "{", "[]", '{"type": "nothing"}'])
def test_a_schema_that_is_none_is_one_sentence(
    content: str | None, scorer: LikelihoodModel, tmp_path: Path
) -> None:
    path = tmp_path / "schema.json"
    if content:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=r"^--json_schema .*schema\.json: .+"):
        grammar_of(scorer, read_schema(path), path)


def test_results_with_a_schema_want_a_directory_of_their_own(tmp_path: Path) -> None:
    (problem,) = EvaluateConfig(json_schema=tmp_path / "schema.json").problems()
    assert "json_schema is given and output_dir is not" in problem
