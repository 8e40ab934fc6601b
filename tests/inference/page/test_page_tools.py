"""Tools, thoughts and JSON on the page: folded, sent on, kept, exported and brought in again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from config import ModelConfig
from data_process.records.kinds import conversation_problems
from model.chat import render_prompt
from model.tokenizer import EtudeTokenizer
from tests.inference.http_server import running, tiny_model
from tests.inference.page.conftest import Visitor
from tests.inference.page.scripted_server import PageServer, Refusal
from tests.inference.page.test_page_storage import bring

Visit = Callable[..., Visitor]

NUMBERS = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}}
ADD = {"name": "add", "parameters": NUMBERS}
TOOLS = [{"type": "function", "function": ADD}, {"type": "function", "function": {"name": "now"}}]


def call(name: str, arguments: str = "{}") -> dict[str, Any]:
    """A call as the server sends it; its id is its name."""
    return {"id": name, "type": "function", "function": {"name": name, "arguments": arguments}}


def delta(*calls: dict[str, Any]) -> dict[str, Any]:
    return {"tool_calls": [{"index": n, **one} for n, one in enumerate(calls)]}


ASKED = call("add", '{"a": 2, "b": 12345678901234567890}')


@pytest.fixture
def caller(server: PageServer, visit: Visit) -> Visitor:
    """Somebody whose model has called a tool."""
    server.script.card = {"tools": True}
    server.script.answers |= {"What is 2 + 3?": ["Let me see.", delta(ASKED)], "5": ["It is 5."]}
    visitor = visit()
    choose(visitor, "#set-tools", json.dumps([ADD, TOOLS[1]]))
    visitor.says("What is 2 + 3?")
    return visitor


def choose(visitor: Visitor, field: str, value: str) -> None:
    """Fills a field of the settings."""
    visitor.sees("#model b")
    visitor.clicks("#open-settings")
    visitor.page.fill(field, value)
    visitor.presses("Escape")


def test_a_call_is_folded_and_its_result_sent_on(server: PageServer, caller: Visitor) -> None:
    assert server.script.requests[0]["tools"] == TOOLS
    caller.sees(".call summary", f"Calls add {ASKED['function']['arguments']}")
    assert not caller.page.locator(".call pre").is_visible()
    caller.page.focus(".call summary")
    caller.presses("Enter")
    shown = caller.sees(".call pre").inner_text()
    assert shown == '{\n  "a": 2,\n  "b": 12345678901234567890\n}'
    caller.page.fill("#text", "Something else")
    assert caller.page.locator("#send").is_disabled()
    caller.page.fill(".results textarea", "5")
    caller.clicks("#theme")  # draws the page again
    assert caller.sees(".call pre").is_visible()
    caller.page.focus(".results textarea")
    caller.presses("Enter")
    caller.sees(".answer", "It is 5.")
    said = server.script.requests[-1]["messages"]
    assert said[1] == {"role": "assistant", "content": "Let me see.", "tool_calls": [ASKED]}
    assert said[2] == {"role": "tool", "tool_call_id": "add", "name": "add", "content": "5"}
    assert caller.page.input_value("#text") == "Something else"
    caller.page.reload()
    caller.sees(".result summary", "Result of add")
    caller.sees(".call summary", f"Calls add {ASKED['function']['arguments']}")


@pytest.mark.full
def test_several_calls_get_their_results_in_one_turn(server: PageServer, visit: Visit) -> None:
    server.script.card = {"tools": True}
    server.script.answers["Both"] = [delta(call("add"), call("now"))]
    visitor = visit()
    choose(visitor, "#set-tools", json.dumps(TOOLS))
    visitor.says("Both")
    visitor.sees("#spoken", "Calls add, now")
    visitor.sees(".results textarea", count=2)
    assert visitor.page.evaluate("document.activeElement.closest('.results') !== null")
    visitor.page.keyboard.type("7")
    visitor.presses("Enter")
    visitor.page.keyboard.type("noon")
    visitor.presses("Enter")
    visitor.sees(".answer", "All right.")
    sent = server.script.requests[-1]["messages"]
    assert [(m["role"], m["content"]) for m in sent[-2:]] == [("tool", "7"), ("tool", "noon")]


@pytest.mark.full
def test_results_without_an_answer_stay_and_can_be_changed(
    server: PageServer, caller: Visitor
) -> None:
    server.script.refusals = [Refusal(503)]
    caller.page.fill(".results textarea", "6")
    caller.clicks(".results button")
    caller.sees("#trouble span")
    caller.sees(".result")
    caller.clicks(".result [aria-label=Edit]")
    caller.page.fill(".result .edit textarea", "5")
    caller.presses("Enter")
    caller.sees(".answer", "It is 5.")
    results = [m for m in server.script.requests[-1]["messages"] if m["role"] == "tool"]
    assert [(m["content"], m["tool_call_id"]) for m in results] == [("5", "add")]
    caller.sees(".result .branches", "2/2")


@pytest.mark.full
@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("[{", "The tools are no JSON: "),
        ("7", "Tool 1 must be "),
        ('[{"name": "f"}, {"function": {"name": ""}}]', "Tool 2 must be "),
        ('[{"name": "f", "parameters": []}]', "Tool 1 must be "),
        ('[{"name": "f"}, {"name": "f"}]', "Two tools are called f."),
    ],
)
def test_tools_that_are_none_are_refused_in_a_sentence(
    server: PageServer, visit: Visit, written: str, problem: str
) -> None:
    server.script.card = {"tools": True}
    visitor = visit()
    choose(visitor, "#set-tools", written)
    assert visitor.page.locator("#problem-tools").text_content().startswith(problem)
    visitor.says("Hi")
    assert visitor.sees("#trouble span").inner_text().startswith(problem)
    assert visitor.page.input_value("#text") == "Hi"
    assert server.script.requests == []
    choose(visitor, "#set-tools", "")
    assert visitor.page.locator("#problem-tools").text_content() == ""


@pytest.mark.full
def test_a_model_without_tools_is_sent_none(server: PageServer, visit: Visit) -> None:
    visitor = visit()
    choose(visitor, "#set-tools", json.dumps(TOOLS))
    assert "knows no tools" in visitor.page.locator("#hint-tools").text_content()
    visitor.says("Hi")
    assert "tools" not in server.script.requests[0]


def exported(visitor: Visitor, kind: str, path: Path) -> str:
    """What is saved of the conversation."""
    visitor.page.hover("#conversations li")
    visitor.clicks("#conversations [aria-label=Export]")
    with visitor.page.expect_download() as download:
        visitor.clicks(f"#export-{kind}")
    download.value.save_as(path)
    return path.read_text(encoding="utf-8")


@pytest.mark.full
def test_calls_are_exported_as_training_data_and_come_back(
    server: PageServer, caller: Visitor, tmp_path: Path
) -> None:
    caller.page.fill(".results textarea", "5")
    caller.clicks(".results button")
    caller.sees(".answer", "It is 5.")
    before = server.script.requests[-1]["messages"]
    record = json.loads(exported(caller, "data", tmp_path / "talk.jsonl"))
    assert list(conversation_problems(record)) == []
    assert record["tools"] == TOOLS
    assert record["conversations"][1]["tool_calls"][0]["function"]["arguments"]["a"] == 2
    caller.page.hover("#conversations li")
    caller.clicks("#conversations [aria-label=Delete]")
    bring(caller, json.dumps(record))
    caller.sees(".answer", "It is 5.")
    server.script.otherwise = ["Fine."]
    caller.says("Thanks")
    after = server.script.requests[-1]
    assert after["tools"] == TOOLS
    roles = [m["role"] for m in after["messages"]]
    assert roles == ["user", "assistant", "tool", "assistant", "user"]
    assert [m["content"] for m in after["messages"][:3]] == [m["content"] for m in before]
    text = exported(caller, "text", tmp_path / "talk.md")
    assert "## Result of add\n\n```\n5\n```" in text
    assert "Calls `add`\n\n```json\n{\n" in text


SHAREGPT: dict[str, Any] = {
    "conversations": [
        {"from": "human", "value": "2 + 3?"},
        {"from": "function_call", "value": '{"name": "add", "arguments": {"a": 2, "b": 3}}'},
        {"from": "observation", "value": "5"},
        {"from": "gpt", "value": "5."},
    ],
    "tools": json.dumps([ADD]),
}
OPENAI: dict[str, Any] = {
    "messages": [
        {"role": "user", "content": "2 + 3?"},
        {"role": "assistant", "content": None, "tool_calls": [call("add", '{"a": 2, "b": 3}')]},
        {"role": "tool", "tool_call_id": "add", "content": "5"},
        {"role": "assistant", "content": "5.", "reasoning_content": "Easy."},
    ],
    "tools": TOOLS[:1],
}


@pytest.mark.full
@pytest.mark.parametrize("content", [SHAREGPT, OPENAI])
def test_calls_of_other_programs_are_brought_in(
    server: PageServer, visit: Visit, content: dict[str, Any]
) -> None:
    server.script.card = {"tools": True}
    visitor = visit()
    bring(visitor, content)
    shown = visitor.sees(".call summary").inner_text()
    assert shown.replace(" ", "") == 'Callsadd{"a":2,"b":3}'
    visitor.sees(".result summary", "Result of add")
    visitor.says("And 3 + 3?")
    sent = server.script.requests[-1]
    made = sent["messages"][1]["tool_calls"][0]
    assert json.loads(made["function"]["arguments"]) == {"a": 2, "b": 3}
    assert sent["messages"][2]["tool_call_id"] == made["id"]
    assert sent["tools"] == TOOLS[:1]


def test_thoughts_are_open_while_they_come_and_folded_after(
    server: PageServer, visit: Visit
) -> None:
    server.script.card = {"enable_thinking": True}
    thoughts = [{"reasoning_content": f"{n} "} for n in range(200)]
    server.script.answers["Why?"] = [*thoughts, "So."]
    server.script.delay = 0.1
    visitor = visit()
    visitor.says("Why?", wait=False)
    visitor.sees(".thoughts[open]:has-text('5')")
    assert visitor.sees(".thoughts summary").inner_text().startswith("Thinking · ")
    server.script.delay = 0
    visitor.sees(".answer", "So.")
    visitor.sees("#send:not(.stop)")
    title = visitor.sees(".thoughts:not([open]) summary").inner_text()
    assert title.startswith("Thought for ")
    assert title.endswith(" s · 200 tokens")
    assert server.script.requests[0]["chat_template_kwargs"] == {"enable_thinking": True}
    visitor.clicks("#open-settings")
    visitor.page.uncheck("#set-thinking")
    visitor.presses("Escape")
    visitor.clicks(".thoughts summary")
    visitor.says("And now?")
    sent = server.script.requests[1]
    assert sent["chat_template_kwargs"] == {"enable_thinking": False}
    assert sent["messages"][1]["reasoning_content"].startswith("0 1 2")
    assert visitor.page.locator(".thoughts[open]").count() == 1, "what was opened stays open"


JSON = '{"name": "Ann", "tags": ["a", {}], "n": 1.50}'


@pytest.mark.full
def test_json_is_asked_for_and_shown_as_code(server: PageServer, visit: Visit) -> None:
    server.script.otherwise = [JSON[n : n + 5] for n in range(0, len(JSON), 5)]
    visitor = visit()
    visitor.sees("#model b")
    visitor.clicks("#open-settings")
    visitor.page.select_option("#set-format", "json_object")
    visitor.presses("Escape")
    visitor.sees("#modes", "JSON")
    visitor.says("Who?")
    assert server.script.requests[0]["response_format"] == {"type": "json_object"}
    shown = '{\n  "name": "Ann",\n  "tags": [\n    "a",\n    {}\n  ],\n  "n": 1.50\n}'
    assert visitor.sees(".answer pre").inner_text() == shown
    visitor.clicks("#open-settings")
    visitor.page.select_option("#set-format", "json_schema")
    visitor.page.fill("#set-schema", "[1]")
    assert "must be an object" in visitor.sees("#problem-schema").inner_text()
    visitor.page.fill("#set-schema", json.dumps(NUMBERS))
    visitor.presses("Escape")
    visitor.says("What?")
    sent = server.script.requests[1]["response_format"]
    assert sent == {"type": "json_schema", "json_schema": {"schema": NUMBERS}}


@pytest.mark.full
def test_the_real_server_keeps_to_a_schema_and_reads_results(
    visit: Visit, tokenizer: EtudeTokenizer, model_config: ModelConfig
) -> None:
    model = tiny_model(tokenizer, model_config, context=1024)
    with running(model) as real:
        visitor = visit(real.address)
        visitor.sees("#model b", "tiny")
        bring(visitor, OPENAI | {"messages": OPENAI["messages"][:2]})
        visitor.page.fill(".results textarea", "5")
        visitor.clicks(".results button")
        visitor.sees("#send:not(.stop)")
        kept = next(chat for chat in visitor.kept() if chat["title"] == "old talk")
        answer = kept["messages"][kept["leaf"]]
        turns = [{k: v for k, v in m.items() if v is not None} for m in OPENAI["messages"][:3]]
        turns[2]["name"] = "add"
        expected: Any = turns
        assert answer["usage"][0] == len(render_prompt(tokenizer, expected, TOOLS[:1]))
        visitor.presses("Control+Shift+O")
        visitor.clicks("#open-settings")
        visitor.page.select_option("#set-format", "json_schema")
        person = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
        visitor.page.fill("#set-schema", json.dumps(person))
        visitor.presses("Escape")
        visitor.says("Who?")
        (chat,) = (chat for chat in visitor.kept() if chat["title"] == "Who?")
        value = json.loads(chat["messages"][chat["leaf"]]["content"])
        assert isinstance(value["age"], int)
