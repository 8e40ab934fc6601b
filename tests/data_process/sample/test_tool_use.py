"""The sample's world with tools: what is held out, whether calls are right, and its functions."""

import json
import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from data_process.records.kinds import PROBLEMS
from data_process.sample import functions
from data_process.sample.build import (
    TOOL_EVAL_FILE,
    TOOL_SFT_FILE,
    TOOL_TEXT_FILE,
    TOOLS_FILE,
    build_tool_use,
    read_amounts,
    to_bytes,
)
from data_process.sample.evaluation import is_right
from data_process.sample.questions import Holdout, make_holdout
from data_process.sample.tool_use import UNIT, as_text, is_short
from inference.terminal.session import read_tools
from inference.terminal.tool_calls import load_functions
from train.measures.tool_use import tool_question_problems

SEED = 1
Record = dict[str, Any]
NUMBER = re.compile(r"\d+")
DATE = re.compile(r"\d{4}-\d\d-\d\d")


@pytest.fixture(scope="module")
def holdout() -> Holdout:
    return make_holdout(random.Random(f"split {SEED}"))


@pytest.fixture(scope="module")
def sample(holdout: Holdout) -> dict[Path, list[Record]]:
    return build_tool_use(read_amounts().tools, holdout, SEED)


@pytest.fixture(scope="module")
def trained(sample: dict[Path, list[Record]]) -> list[Record]:
    return sample[TOOL_SFT_FILE]


@pytest.fixture(scope="module")
def questions(sample: dict[Path, list[Record]]) -> list[Record]:
    return sample[TOOL_EVAL_FILE]


def calls_of(record: Record) -> list[tuple[Record, Record, Record]]:
    """Each call of a conversation, its result, and the answer."""
    turns = record["conversations"]
    places = [n for n, turn in enumerate(turns) if turn.get("tool_calls")]
    for n in places:
        assert [turn["role"] for turn in turns[n : n + 3]] == ["assistant", "tool", "assistant"]
        assert len(turns[n]["tool_calls"]) == 1
    return [(turns[n]["tool_calls"][0]["function"], turns[n + 1], turns[n + 2]) for n in places]


def test_calls_are_of_offered_tools_by_their_schema_and_results_are_true(
    trained: list[Record], questions: list[Record]
) -> None:
    made = [(record, *found) for record in trained for found in calls_of(record)]
    assert len(made) > 2_000
    for record, call, result, answer in made:
        check_call(record["tools"], call, result["content"])
        if call["name"] != "weekday":
            assert result["content"] in answer["content"]
    for record in questions:
        if record["call"]:
            check_call(record["tools"], record["call"], record["result"])


def check_call(tools: list[Record], call: Record, result: str) -> None:
    by_name = {tool["function"]["name"]: tool["function"] for tool in tools}
    schema = by_name[call["name"]]["parameters"] | {"additionalProperties": False}
    jsonschema.validate(call["arguments"], schema)
    assert getattr(functions, call["name"])(**call["arguments"]) == result
    assert re.fullmatch(r"\d+|[A-Z][a-z]+day", result)  # no fraction, nothing below 0


def test_numbers_and_dates_of_held_out_questions_are_asked_nowhere(
    sample: dict[Path, list[Record]], questions: list[Record]
) -> None:
    asked = [m["content"] for r in sample[TOOL_SFT_FILE] for m in r["conversations"]]
    asked += [json.dumps(call) for r in sample[TOOL_SFT_FILE] for call, _, _ in calls_of(r)]
    text = "\n".join(asked + [record["text"] for record in sample[TOOL_TEXT_FILE]])
    expressions = re.findall(r'"expression": "([^"]+)"', text)
    operands = {number for expression in expressions for number in NUMBER.findall(expression)}
    dates = set(DATE.findall(text))
    assert len(operands) > 500
    assert len(dates) > 500
    for record in questions:
        for argument in (record["call"] or {"arguments": {}})["arguments"].values():
            found = DATE.findall(argument) or NUMBER.findall(argument)
            assert found
            assert not {*found} & (dates if "-" in argument and " " not in argument else operands)


def test_held_out_sums_of_the_table_are_not_worked_out(
    sample: dict[Path, list[Record]], holdout: Holdout
) -> None:
    text = "\n".join(map(str, sample[TOOL_SFT_FILE] + sample[TOOL_TEXT_FILE]))
    small = {(int(a), sign, int(b)) for a, sign, b in re.findall(r"'(\d+) ([+-]) (\d+)'", text)}
    assert len(small & set(holdout.triples)) > 30
    assert not small & set(holdout.held_triples)
    held = {q.prompt for some in holdout.held_questions.values() for q in some}
    turns = [m["content"] for r in sample[TOOL_SFT_FILE] for m in r["conversations"]]
    assert not held & set(turns)


def test_tools_vary_and_are_needed_or_not(trained: list[Record]) -> None:
    orders = Counter(
        tuple(tool["function"]["name"] for tool in record.get("tools", [])) for record in trained
    )
    assert len(orders) == 1 + 3 + 6 + 6  # none, one, two and three of three, in every order
    assert min(orders.values()) > 30
    descriptions = {t["function"].get("description") for r in trained for t in r.get("tools", [])}
    assert len(descriptions) > 12
    used = [bool(calls_of(record)) for record in trained if record.get("tools")]
    assert 0.8 < sum(used) / len(used) < 0.95
    for record in trained:
        offered = {tool["function"]["name"] for tool in record.get("tools", [])}
        for turn in record["conversations"]:
            if turn["content"] in ("I have no tool for that.", "我没有能做这件事的工具。"):
                assert not offered


def test_every_record_is_well_formed_and_short(
    trained: list[Record], questions: list[Record]
) -> None:
    assert 4_500 < len(trained) < 5_000
    assert [found for record in trained for found in PROBLEMS["conversations"](record)] == []
    assert sum(map(is_short, trained)) > 0.7 * len(trained)
    assert max(len(UNIT.findall(as_text(record))) for record in trained) < 256
    assert [found for record in questions for found in tool_question_problems(record)] == []
    assert all(is_right(record, record["reference"]) for record in questions)
    assert len({record["id"] for record in questions}) == len(questions)
    needing = Counter(bool(record["call"]) for record in questions)
    assert needing[True] >= 200
    assert needing[False] >= 80


def test_the_tools_of_a_chat_have_their_functions(
    sample: dict[Path, list[Record]], tmp_path: Path
) -> None:
    path = tmp_path / "tools.json"
    path.write_bytes(to_bytes(TOOLS_FILE, sample[TOOLS_FILE]))
    tools = read_tools(path)
    assert load_functions(Path(functions.__file__), tools).keys() == {
        "calculate",
        "weekday",
        "days_between",
    }


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("482 * 37", "17834"),
        ("(2 + 3) * -4", "-20"),
        ("10 / 4", "2.5"),
        ("1 / 3", "0.333333333333"),
        ("0.1 + 0.2", "0.3"),
        (" 7 ", "7"),
    ],
)
def test_the_calculator_is_exact(expression: str, result: str) -> None:
    assert functions.calculate(expression) == result


@pytest.mark.parametrize(
    "expression",
    ["", "2 ** 9", "__import__('os')", "a + 1", "1 / 0", "1e400 + 1j", "9" * 300, "(1", "True + 1"],
)
def test_the_calculator_runs_nothing_else(expression: str) -> None:
    with pytest.raises((ValueError, SyntaxError, ArithmeticError)):
        functions.calculate(expression)


def test_the_calendar_knows_leap_years_and_refuses_what_is_no_date() -> None:
    assert functions.weekday("2000-02-29") == "Tuesday"
    assert functions.days_between("1999-12-31", "2000-03-01") == "61"
    assert functions.days_between("2000-03-01", "1999-12-31") == "-61"
    for text in ("1900-02-29", "tomorrow", ""):
        with pytest.raises(ValueError, match=r"isoformat|month"):
            functions.weekday(text)
