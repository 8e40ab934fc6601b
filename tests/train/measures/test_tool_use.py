"""Questions with tools: what counts as a right call, and as none."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from config import UserError
from model.conversation import Conversation
from model.tokenizer import EtudeTokenizer
from model.transformer import Etude
from train.measures import tool_use
from train.measures.files import read_measures
from train.measures.likelihood import LikelihoodModel
from train.measures.tool_use import measure_calls, measure_restraint

ADD = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
CALL = {"name": "add", "arguments": {"a": 1, "b": "x"}}


def record(call: dict[str, Any] | None = CALL, **more: Any) -> dict[str, Any]:
    asked = {"id": "a", "language": "en", "category": "sum", "tools": [ADD], "call": call}
    messages = [{"role": "user", "content": "?"}]
    return {**asked, "messages": messages, "result": "7", "accepted": [["7"]], **more}


def said(arguments: str, name: str = "add") -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


RIGHT = said('{"b":"x",  "a": 1}')  # compared as JSON


@pytest.fixture
def scorer(model: Etude, tokenizer: EtudeTokenizer) -> LikelihoodModel:
    return LikelihoodModel(model, model, tokenizer, 64, True, torch.device("cpu"))


def answer_with(monkeypatch: pytest.MonkeyPatch, *rounds: list[tuple[str, bool]]) -> list[Any]:
    """Scripts the answers; returns the conversations that were answered."""
    seen: list[Any] = []
    left = list(rounds)

    def scripted(_: LikelihoodModel, asked: Sequence[Conversation]) -> Any:
        seen.extend(asked)
        return left.pop(0)

    monkeypatch.setattr(tool_use, "measured_answers", scripted)
    return seen


@pytest.mark.parametrize(
    ("first", "value"),
    [
        (RIGHT, 1.0),
        (f"Well.\n{RIGHT}", 1.0),
        (said('{"a": 1}'), 0.0),
        (said('{"a": "1", "b": "x"}'), 0.0),
        (said('{"a": 1, "b": "x", "c": 2}'), 0.0),
        (said('{"a": 1, "b": "x"}', "subtract"), 0.0),
        (f"{RIGHT}\n{RIGHT}", 0.0),
        (RIGHT.replace("}}", "}"), 0.0),
        ("7", 0.0),
        ("", 0.0),
    ],
)
def test_only_the_very_call_counts(
    first: str, value: float, scorer: LikelihoodModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = answer_with(monkeypatch, [(first, True)], [("It is 7.", True)] if value else [])
    (outcome,) = measure_calls(scorer, [record()])
    assert (outcome.value, outcome.weight) == (value, 1.0)
    assert seen[0].tools == [ADD]
    if value:
        assert [m["role"] for m in seen[1].messages] == ["user", "assistant", "tool"]
        assert seen[1].messages[-1]["content"] == "7"


@pytest.mark.parametrize(
    ("second", "value"), [(("7", True), 1.0), (("17", True), 0.0), (("7", False), 0.0)]
)
def test_the_answer_must_say_the_result_and_end(
    second: tuple[str, bool], value: float, scorer: LikelihoodModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_with(monkeypatch, [(RIGHT, True)], [second])
    assert measure_calls(scorer, [record()])[0].value == value


@pytest.mark.parametrize(
    ("answer", "value"),
    [("Paris.", 1.0), (RIGHT, 0.0), (said("{}", "unknown"), 0.0), ("<tool_call>\n{", 0.0)],
)
def test_a_call_where_none_is_needed_is_wrong_whatever_it_says(
    answer: str, value: float, scorer: LikelihoodModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_with(monkeypatch, [(answer, True)])
    assert measure_restraint(scorer, [record(None)])[0].value == value


def test_each_measure_counts_its_own_records_in_their_order(
    scorer: LikelihoodModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = [record(None), record(), record(None), record(category="other")]
    answer_with(monkeypatch, [("no", True), (RIGHT, True)], [("7", True)])
    calls = measure_calls(scorer, records)
    assert [(o.weight, o.value, o.group) for o in calls] == [
        (0.0, 0.0, "sum"),
        (1.0, 0.0, "sum"),
        (0.0, 0.0, "sum"),
        (1.0, 1.0, "other"),
    ]
    answer_with(monkeypatch, [("Paris.", True), (RIGHT, True)])
    assert [o.weight for o in measure_restraint(scorer, records)] == [1.0, 0.0, 1.0, 0.0]


def test_a_model_is_measured_as_it_answers(scorer: LikelihoodModel, tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text(f"{json.dumps(record())}\n{json.dumps(record(None))}\n", encoding="utf-8")
    measures, records = read_measures(path, None)
    assert [measure.name for measure in measures] == ["right calls", "no needless calls"]
    for measure in measures:
        assert len(measure.run(scorer, records)) == 2


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"call": "add"}, '"call" must be null'),
        ({"call": {"name": "add", "arguments": "{}"}}, '"call" must be null'),
        ({"tools": [{}]}, "tool 1 must be"),
        ({"result": None}, '"result" must be a text'),
        ({"messages": []}, "non-empty list"),
    ],
)
def test_a_malformed_question_is_refused_by_its_line(
    fields: dict[str, Any], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text(f"{json.dumps(record())}\n{json.dumps(record(**fields))}\n", encoding="utf-8")
    with pytest.raises(UserError, match=rf"questions\.jsonl:2: .*{words}"):
        read_measures(path, None)
